"""`inspect` reads what a file holds from its header alone; a file that is not ours, or not sound, is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy

import tiedio
from tiedio.errors import FormatError
from tiedio.manifest import FORMAT

ROOT = Path(__file__).resolve().parents[1]


def told(caught: pytest.ExceptionInfo[Any], *words: str, path: str, expected: str, found: str, remedy: str) -> None:
    """The error carries its five parts, and its text shows all of them."""
    error, text = caught.value, str(caught.value)
    parts = {"path": path, "expected": expected, "found": found, "remedy": remedy}
    for part, wanted in parts.items():
        value = getattr(error, part)
        assert value is not None, f"no {part} in: {text}"
        assert wanted in str(value), f"{wanted!r} is not in {part} of: {text}"
        assert str(value).rstrip(".") in text
    for word in words:
        assert word in text


def model() -> Any:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")], name="model")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(path: Path) -> Path:
    tiedio.save(model(), path)
    return path


def edit(path: Path, change: Callable[[dict[str, Any], dict[str, str]], None]) -> None:
    """Rewrites the header of a file: `change` gets the tensors' entries and the metadata."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    metadata = header.pop("__metadata__")
    change(header, metadata)
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def edit_json(path: Path, key: str, change: Callable[[Any], None]) -> None:
    def inside(_tensors: dict[str, Any], metadata: dict[str, str]) -> None:
        value = json.loads(metadata[key])
        change(value)
        metadata[key] = json.dumps(value)

    edit(path, inside)


# --- what is read -----------------------------------------------------------------------------------------


def test_a_manifest_tells_roots_objects_variables_and_ties(path: Path) -> None:
    shared = keras.layers.Dense(2, name="shared")
    one = keras.Sequential([keras.Input((3,)), shared], name="one")
    other = keras.Sequential([keras.Input((3,)), shared, keras.layers.Dense(2, name="own")], name="other")
    own = other.layers[1]
    own._tracker.unlock()
    own._trainable_variables.pop()
    own.bias = shared.bias
    other.compile("sgd")
    other.optimizer.build(other.trainable_variables)
    tiedio.save({"a": one, "b": other}, path)
    manifest = tiedio.inspect(path)
    assert [(root.name, root.path) for root in manifest.roots] == [("a", "a"), ("b", "b")]
    assert [found.paths for found in manifest.shared_objects] == [("a/shared", "b/shared")]
    assert list(manifest.ties) == tiedio.find_ties({"a": one, "b": other})
    assert manifest.ties[0].slots == ("a/shared/bias", "b/own/bias")
    assert [optimizer.variables for optimizer in manifest.optimizers] == [
        ("a/shared/kernel", "a/shared/bias", "b/own/kernel")
    ]
    assert {tensor.name for tensor in manifest.tensors} == set(safetensors.numpy.load_file(path))
    assert manifest.versions["keras"] == keras.__version__
    assert manifest.versions["tiedio"] == tiedio.__version__


def test_a_manifest_lists_custom_classes(path: Path) -> None:
    class Mine(keras.layers.Layer):
        pass

    tiedio.save(keras.Sequential([keras.Input((3,)), Mine()]), path)
    assert tiedio.inspect(path).custom == ("Mine",)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_string_or_a_path(saved: Path, kind: Callable[[Path], Any]) -> None:
    assert tiedio.inspect(kind(saved)) == tiedio.inspect(saved)


def test_a_file_is_inspected_without_keras_and_without_its_data(saved: Path) -> None:
    code = (
        "import sys, tiedio\n"
        f"print(tiedio.inspect({str(saved)!r}).objects[-1].class_name)\n"
        "print(sorted(set(sys.modules) & {'keras', 'tensorflow', 'jax', 'torch'}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.split() == ["Dense", "[]"]


def test_a_file_that_is_inspected_can_be_replaced_and_removed(saved: Path) -> None:
    tiedio.inspect(saved)
    tiedio.save(model(), saved)
    saved.unlink()
    assert not saved.exists()


# --- files that are not ours ----------------------------------------------------------------------------


@pytest.mark.parametrize("read", [tiedio.load, tiedio.inspect])
def test_not_a_safetensors_file(path: Path, read: Callable[[Path], Any]) -> None:
    for content in (b"", b"x", b"PK\x03\x04" + bytes(50), b"\x89HDF" + bytes(50), b"{}" * 40, bytes(100)):
        path.write_bytes(content)
        with pytest.raises(FormatError) as caught:
            read(path)
        told(caught, path="model.safetensors", expected="", found="", remedy="")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}], ids=["no metadata", "another library's"])
@pytest.mark.parametrize("read", [tiedio.load, tiedio.inspect])
def test_a_safetensors_file_without_a_manifest(
    path: Path, metadata: dict[str, str] | None, read: Callable[[Path], Any]
) -> None:
    safetensors.numpy.save_file({"a": np.ones(3)}, path, metadata)
    with pytest.raises(FormatError) as caught:
        read(path)
    found = "format" if metadata else "no metadata"
    told(caught, "no manifest", path="model.safetensors", expected="tiedio.manifest", found=found, remedy="tiedio.save")


@pytest.mark.parametrize("key", ["tiedio.format", "tiedio.manifest", "tiedio.structure", "tiedio.training"])
def test_a_file_that_lost_one_of_its_records(saved: Path, key: str) -> None:
    def drop(_tensors: dict[str, Any], metadata: dict[str, str]) -> None:
        del metadata[key]

    edit(saved, drop)
    with pytest.raises(FormatError) as caught:
        tiedio.load(saved)
    told(caught, path="model.safetensors", expected="", found="", remedy="")


def test_truncated_anywhere(saved: Path) -> None:
    raw = saved.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    for stop in (0, 7, 8, 9, 8 + length // 2, 8 + length - 1, 8 + length, 8 + length + 1, len(raw) - 1):
        saved.write_bytes(raw[:stop])
        for read in (tiedio.load, tiedio.inspect):
            with pytest.raises(FormatError) as caught:
                read(saved)
            told(caught, path="model.safetensors", expected="", found="", remedy="")
    saved.write_bytes(raw + b"\0")
    with pytest.raises(FormatError):
        tiedio.load(saved)


# --- versions, keys, views ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [FORMAT + 1, 99])
def test_newer_format_version(saved: Path, version: int) -> None:
    edit(saved, lambda _tensors, metadata: metadata.update({"tiedio.format": str(version)}))
    with pytest.raises(FormatError) as caught:
        tiedio.load(saved)
    found = f"format {version}"
    told(caught, "newer", path="model.safetensors", expected="format 1, 2, 3, 4", found=found, remedy="upgrade")


def test_a_format_version_that_never_was(saved: Path) -> None:
    for version in ("0", "-1", "one", "", "1.0", "1" * 400, "²"):
        edit(saved, lambda _tensors, metadata, version=version: metadata.update({"tiedio.format": version}))  # type: ignore[misc]
        with pytest.raises(FormatError) as caught:
            tiedio.load(saved)
        told(caught, "version", path="model.safetensors", expected="", found=version[:9] or "''", remedy="")


def test_two_format_versions(saved: Path) -> None:
    edit_json(saved, "tiedio.manifest", lambda manifest: manifest.update(format=1))
    with pytest.raises(FormatError) as caught:
        tiedio.load(saved)
    told(caught, path="model.safetensors", expected=str(FORMAT), found="1", remedy="")


@pytest.mark.parametrize(
    ("key", "change", "place"),
    [
        ("tiedio.manifest", lambda m: m.update(extra=1), "manifest"),
        ("tiedio.manifest", lambda m: m["variables"][0].update(extra=1), "variables[0]"),
        ("tiedio.manifest", lambda m: m["objects"][1].update(extra=1), "objects[1]"),
        ("tiedio.structure", lambda s: s.update(extra=1), "structure"),
        ("tiedio.structure", lambda s: s["objects"][0].update(extra=1), "objects[0]"),
        ("tiedio.training", lambda t: t.update(extra=1), "training"),
    ],
)
def test_unknown_key(saved: Path, key: str, change: Callable[[Any], None], place: str) -> None:
    edit_json(saved, key, change)
    with pytest.raises(FormatError) as caught:
        tiedio.load(saved)
    told(caught, "unknown key", path=place, expected="only", found="'extra'", remedy="format version")


def put_view(path: Path, view: Any, version: int = FORMAT) -> None:
    """Gives the kernel in a file a second slot that holds a view."""

    def change(manifest: Any) -> None:
        manifest["format"] = version
        manifest["variables"][0]["slots"].append({"path": "dense/other", "view": view})

    edit_json(path, "tiedio.manifest", change)
    edit(path, lambda _tensors, metadata: metadata.update({"tiedio.format": str(version)}))


READERS = pytest.mark.parametrize("read", [tiedio.load, tiedio.inspect])


@READERS
@pytest.mark.parametrize("view", [{"name": "conjugate"}, {"name": ""}, {"name": "Transpose", "axes": [1, 0]}])
def test_unknown_view(saved: Path, read: Callable[[Path], Any], view: Any) -> None:
    put_view(saved, view)
    with pytest.raises(FormatError) as caught:
        read(saved)
    told(
        caught, "unknown view", path="model.safetensors: dense/other", expected="one of transpose, reshape, slice",
        found=repr(view["name"]), remedy="upgrade",
    )  # fmt: skip


@READERS
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("view", [{"name": "transpose", "axes": [1, 0]}, {"name": "conjugate"}])
def test_a_view_in_a_file_of_a_format_without_views(
    saved: Path, read: Callable[[Path], Any], version: int, view: Any
) -> None:
    put_view(saved, view, version)
    with pytest.raises(FormatError) as caught:
        read(saved)
    told(
        caught, "unknown view", path="model.safetensors: dense/other", expected=f"none: format {version} has no views",
        found=repr(view["name"]), remedy="upgrade",
    )  # fmt: skip


@READERS
@pytest.mark.parametrize("view", ["transpose", 1, [], False])
def test_a_view_that_is_no_record(saved: Path, read: Callable[[Path], Any], view: Any) -> None:
    put_view(saved, view)
    with pytest.raises(FormatError) as caught:
        read(saved)
    told(caught, "wrong kind of value", path="slots[1].view", expected="a View", found=repr(view), remedy="damaged")


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        ({"name": "transpose"}, "does not fit its variable"),
        ({"name": "transpose", "axes": [0, 1]}, "is the variable itself"),
        ({"name": "reshape", "shape": [-1]}, "does not fit its variable"),
        ({"name": "slice", "start": [-1, 0], "shape": [1, 1]}, "does not fit its variable"),
    ],
)
@READERS
def test_a_view_that_contradicts_its_variable(
    saved: Path, read: Callable[[Path], Any], view: Any, problem: str
) -> None:
    put_view(saved, view)
    with pytest.raises(FormatError) as caught:
        read(saved)
    told(caught, "contradicts itself", path="model.safetensors", expected="agree", found=problem, remedy="damaged")
    assert "'dense/other'" in str(caught.value.found)


def test_a_manifest_tells_views_with_their_ties(path: Path) -> None:
    encoder, decoder = keras.layers.Dense(2, name="encoder"), keras.layers.Dense(3, name="decoder")
    one = keras.Sequential([keras.Input((3,)), encoder, decoder])
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    tiedio.save(one, path)
    (tie,) = tiedio.inspect(path).ties
    assert (tie.path, tie.slots, tie.shape) == ("encoder/kernel", ("encoder/kernel", "decoder/kernel"), (3, 2))
    assert tie.views == (None, tiedio.transpose((1, 0)))
    assert tiedio.find_ties(one) == [tie]
    assert "decoder/kernel" not in safetensors.numpy.load_file(path)


@pytest.mark.parametrize("key", ["tiedio.manifest", "tiedio.structure", "tiedio.training"])
def test_a_record_that_is_no_record(saved: Path, key: str) -> None:
    for text in ("{", "[]", "null", "1", '{"a":1,"a":2}', "NaN", "1e999", "[" * 100_000):
        edit(saved, lambda _tensors, metadata, text=text: metadata.update({key: text}))  # type: ignore[misc]
        with pytest.raises(FormatError) as caught:
            tiedio.load(saved)
        told(caught, path="model.safetensors", expected="", found="", remedy="")


# --- tensors against manifest ---------------------------------------------------------------------------


def test_tensor_missing(saved: Path) -> None:
    edit(saved, lambda tensors, _metadata: tensors.update({"renamed": tensors.pop("dense/bias")}))
    for read in (tiedio.load, tiedio.inspect):
        with pytest.raises(FormatError) as caught:
            read(saved)
        told(caught, "missing", path="model.safetensors", expected="dense/bias", found="renamed", remedy="damaged")


def test_tensor_left_over(saved: Path) -> None:
    edit(
        saved, lambda tensors, _metadata: tensors.update(extra={"dtype": "F32", "shape": [0], "data_offsets": [32, 32]})
    )
    with pytest.raises(FormatError) as caught:
        tiedio.load(saved)
    told(caught, "left over", path="model.safetensors", expected="only", found="extra", remedy="damaged")


@pytest.mark.parametrize(
    ("change", "found"), [({"shape": [2, 3]}, "(2, 3)"), ({"shape": [6]}, "(6,)"), ({"dtype": "I32"}, "I32")]
)
def test_shape_or_dtype_differs(saved: Path, change: dict[str, Any], found: str) -> None:
    edit(saved, lambda tensors, _metadata: tensors["dense/kernel"].update(change))
    for read in (tiedio.load, tiedio.inspect):
        with pytest.raises(FormatError) as caught:
            read(saved)
        told(caught, "differs", path="dense/kernel", expected="float32 (3, 2)", found=found, remedy="damaged")
