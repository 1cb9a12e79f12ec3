"""`verify`, and loading with `verify=True`: what was changed in a file is found and named before it becomes a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy

import tiedio
from tiedio import inspection
from tiedio.container.digests import verified_header
from tiedio.container.header import Header, build_header, read_header
from tiedio.errors import DamagedError, FormatError
from tiedio.inspection import DIGESTS_KEY

ROOT = Path(__file__).resolve().parents[1]


def model() -> Any:
    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(2, name="one")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="two")(outputs), name="model")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(path: Path) -> Path:
    tiedio.save(model(), path)
    return path


def load_weights(path: Path) -> None:
    tiedio.load_weights(model(), path, verify=True)


READERS = pytest.mark.parametrize(
    "read",
    [
        tiedio.verify,
        partial(tiedio.load, verify=True),
        partial(tiedio.load, verify=True, mmap=False),
        load_weights,
    ],
    ids=["verify", "load", "load without mmap", "load_weights"],
)


def flip(path: Path, place: int, bit: int = 0) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1 << bit
    path.write_bytes(raw)


def place_of(path: Path, name: str) -> int:
    header = read_header(path)
    return header.data_start + header.entries[name].start


def with_metadata(path: Path, change: Callable[[dict[str, str]], Any]) -> None:
    """Writes other metadata, without sealing it."""
    header = read_header(path)
    metadata = dict(header.metadata)
    change(metadata)
    path.write_bytes(build_header(list(header.entries.values()), metadata) + path.read_bytes()[header.data_start :])


@READERS
def test_a_file_that_is_sound_is_read(saved: Path, read: Callable[[Path], Any]) -> None:
    read(saved)


def test_what_is_verified_is_loaded_as_it_is_without(saved: Path) -> None:
    plain, verified = tiedio.load(saved), tiedio.load(saved, verify=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(plain.weights, verified.weights, strict=True))


def test_a_file_of_weights_only_is_verified(path: Path) -> None:
    tiedio.save_weights(model(), path)
    tiedio.verify(path)
    load_weights(path)
    flip(path, place_of(path, "two/kernel"))
    with pytest.raises(DamagedError, match="'two/kernel'"):
        tiedio.verify(path)


@READERS
@pytest.mark.parametrize("name", ["one/kernel", "one/bias", "two/kernel", "two/bias"])
def test_a_flipped_bit_in_a_tensor_is_found_and_the_tensor_named(
    saved: Path, read: Callable[[Path], Any], name: str
) -> None:
    flip(saved, place_of(saved, name), 3)
    with pytest.raises(DamagedError) as caught:
        read(saved)
    error = caught.value
    assert (error.path, error.header, error.tensors) == (str(saved), False, (name,))
    assert error.found == f"others in tensor {name!r}"
    assert error.expected
    assert error.remedy


@READERS
def test_a_flipped_bit_in_a_config_is_found(saved: Path, read: Callable[[Path], Any]) -> None:
    flip(saved, saved.read_bytes().index(b"linear"))  # a legal header with another activation
    tiedio.inspect(saved)
    with pytest.raises(DamagedError, match="others in its header") as caught:
        read(saved)
    assert (caught.value.header, caught.value.tensors) == (True, ())


def test_bits_all_over_a_file_of_save_are_found(saved: Path) -> None:
    raw = saved.read_bytes()
    with saved.open("r+b", buffering=0) as file:
        for bit in range(5, 8 * len(raw), 61):
            os.pwrite(file.fileno(), bytes([raw[bit // 8] ^ 1 << bit % 8]), bit // 8)
            with pytest.raises(FormatError):
                tiedio.verify(saved)
            os.pwrite(file.fileno(), raw[bit // 8 : bit // 8 + 1], bit // 8)
    tiedio.verify(saved)


def test_without_verify_a_flipped_bit_in_a_tensor_is_loaded(saved: Path) -> None:
    flip(saved, place_of(saved, "one/bias"))
    assert tiedio.load(saved).get_layer("one").bias.numpy()[0] != 0


def test_a_damaged_file_leaves_a_model_as_it_was(saved: Path) -> None:
    flip(saved, place_of(saved, "one/kernel"))
    into = model()
    before = [weight.numpy() for weight in into.weights]
    with pytest.raises(DamagedError):
        tiedio.load_weights(into, saved, verify=True)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, into.weights, strict=True))


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_that_is_replaced_meanwhile_is_not_what_is_loaded(
    saved: Path, mmap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = tiedio.load(saved, mmap=False).get_layer("one").kernel.numpy()
    other = saved.with_name("other.safetensors")
    tiedio.save(model(), other)

    def verified_then_replaced(file: Any, shown: str, limits: Any, progress: Any) -> Header:
        header = verified_header(file, shown, limits)
        other.replace(saved)
        return header

    monkeypatch.setattr("tiedio.container.single.verified_header", verified_then_replaced)
    loaded = tiedio.load(saved, mmap=mmap, verify=True)
    assert np.array_equal(loaded.get_layer("one").kernel.numpy(), kernel)
    assert not np.array_equal(tiedio.load(saved).get_layer("one").kernel.numpy(), kernel)


# --- files without digests, or with wrong ones ------------------------------------------------------------


@pytest.mark.parametrize("read", [tiedio.verify, tiedio.load, tiedio.inspect, partial(tiedio.load, verify=True)])
def test_a_file_of_this_format_has_digests(saved: Path, read: Callable[[Path], Any]) -> None:
    with_metadata(saved, lambda metadata: metadata.pop(DIGESTS_KEY))
    with pytest.raises(FormatError, match=r"no digests.*metadata key 'tiedio\.digests'") as caught:
        read(saved)
    assert caught.value.path == str(saved)
    assert caught.value.found
    assert caught.value.remedy


@pytest.mark.parametrize("read", [tiedio.verify, tiedio.load, tiedio.inspect])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.pop("header"), "keys they should have"),
        (lambda d: d.update(algorithm="md5"), "unknown algorithm.*'md5'.*update tiedio"),
        (lambda d: d.update(header=d["header"][1:]), "32 hex digits"),
        (lambda d: d["tensors"].__setitem__(0, "A" * 32), "32 hex digits in lower case"),
        (lambda d: d["tensors"].pop(), "one digest for each tensor"),
    ],
)
def test_digests_of_another_shape_are_refused(
    saved: Path, read: Callable[[Path], Any], change: Callable[[Any], Any], match: str
) -> None:
    value = json.loads(read_header(saved).metadata[DIGESTS_KEY])
    change(value)
    with_metadata(saved, lambda metadata: metadata.update({DIGESTS_KEY: json.dumps(value, separators=(",", ":"))}))
    with pytest.raises(FormatError, match=match) as caught:
        read(saved)
    assert caught.value.path == str(saved)


@READERS
def test_a_file_of_another_library_has_nothing_to_verify(path: Path, read: Callable[[Path], Any]) -> None:
    safetensors.numpy.save_file({"a": np.ones(3)}, path)
    with pytest.raises(FormatError, match="holds no digests"):
        read(path)


def test_sound_bytes_that_are_no_model_are_refused(path: Path) -> None:
    from tiedio.container.single import write_tensors

    write_tensors(path, [], {"note": "hi"})
    with pytest.raises(FormatError, match="no manifest of tiedio"):
        tiedio.verify(path)


def test_a_missing_file_and_a_folder_are_told(path: Path) -> None:
    with pytest.raises(tiedio.NoSuchFileError):
        tiedio.verify(path)
    path.mkdir()
    with pytest.raises(tiedio.PathError, match="a folder"):
        tiedio.verify(path)


# --- what it needs ----------------------------------------------------------------------------------------


def test_a_file_is_verified_without_keras_and_closed_again(saved: Path) -> None:
    code = (
        "import sys, tiedio\n"
        f"tiedio.verify({str(saved)!r})\n"
        "print(sorted(set(sys.modules) & {'keras', 'tensorflow', 'jax', 'torch', 'numpy'}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.split() == ["[]"]


def test_the_key_of_the_digests_stands_beside_the_others() -> None:
    keys = {value for name, value in vars(inspection).items() if name.endswith("_KEY")}
    assert keys == {f"tiedio.{name}" for name in ("digests", "format", "manifest", "structure", "training")}
