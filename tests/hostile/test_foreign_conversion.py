"""Hostile files in Keras's own formats, given to what converts them: refused before anything runs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import tiedio
from tests.hostile.foreign import FOREIGN, SECRET
from tests.hostile.foreign_more import MORE
from tests.hostile.measure import can_measure, measure
from tests.hostile.watching import suspicious, watched

ALL: dict[str, Callable[[], bytes]] = {**FOREIGN, **MORE}


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is imported at the first call is no event of an attack."""
    path = tmp_path_factory.mktemp("warm")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    for name in ("m.keras", "m.h5"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(path / name)
        tiedio.convert(path / name, path / "m.safetensors")


def _suffix(raw: bytes) -> str:
    return ".h5" if raw.startswith(b"\x89HDF") else ".keras"


@pytest.mark.parametrize("name", ALL)
def test_is_refused_and_nothing_happens(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / SECRET
    secret.write_bytes(b"12345678")
    raw = ALL[name]()
    path, target = tmp_path / f"model{_suffix(raw)}", tmp_path / "out.safetensors"
    path.write_bytes(raw)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    before = [value.tobytes() for value in model.get_weights()]
    calls: list[Callable[[], Any]] = [
        lambda: tiedio.convert(path, target),
        lambda: tiedio.repair(path, target, all=True),
        lambda: tiedio.find_lost_ties(path),
    ]
    if path.suffix == ".h5":
        calls.append(lambda: tiedio.convert(path, target, model=model))
    for call in calls:
        events, error = watched(call)
        assert isinstance(error, tiedio.TiedioError), error
        assert len(str(error)) < 2000
        assert str(error).isprintable()
        assert suspicious(events, str(path)) == []
    assert [value.tobytes() for value in model.get_weights()] == before
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([path.name, SECRET])
    assert secret.read_bytes() == b"12345678"


WHY = {
    "2024-3660 a lambda in an archive": (tiedio.UnsafeError, "lambda"),
    "2025-1550 a function of any module in an archive": (tiedio.UnregisteredError, "system"),
    "2025-8747 a download in an archive": (tiedio.UnregisteredError, "get_file"),
    "2025-9905 a lambda in HDF5": (tiedio.UnsafeError, "lambda"),
    "2025-9906 safe mode switched off in an archive": (tiedio.UnregisteredError, "enable_unsafe"),
    "2025-49655 a torch module in an archive": (tiedio.UnsafeError, "pickle"),
    "2025-12058 a vocabulary that is a path in an archive": (tiedio.UnsafeError, "vocabulary"),
    "2025-12060 members that lead out of an archive": (tiedio.FormatError, "odd name|leads out"),
    "2026-0897 a shape without data in HDF5": (tiedio.LimitError, "far larger"),
    "2026-0897 a shape without data in the weights of an archive": (tiedio.LimitError, "far larger"),
    "2026-1462 a SavedModel elsewhere in an archive": (tiedio.UnsafeError, "SavedModel"),
    "2026-1669 an external dataset": (tiedio.FormatError, "another file"),
    "2026-1669 an external dataset in an archive": (tiedio.FormatError, "another file"),
    "a virtual dataset": (tiedio.FormatError, "another file"),
    "an external link": (tiedio.FormatError, "leads elsewhere"),
    "a symbolic link in an archive": (tiedio.FormatError, "link"),
    "a zip bomb": (tiedio.FormatError, "no model of Keras"),
    "a zip bomb of a whole archive": (tiedio.LimitError, "far larger"),
    "a soft link": (tiedio.FormatError, "leads elsewhere"),
    "a group in itself": (tiedio.FormatError, "two places"),
    "a dataset in two places": (tiedio.FormatError, "two places"),
    "a chunk far larger than its dataset": (tiedio.LimitError, "far larger"),
    "one text in a list for thousands of times": (tiedio.LimitError, "far larger than the file"),
    "a list of names for each of a list of names": (tiedio.FormatError, "twice"),
    "a layer that hides behind a name of the user's": (tiedio.FormatError, "without the module"),
    "a directory that stands nowhere": (tiedio.FormatError, "hole|damaged"),
    "a member whose header says another compression": (tiedio.FormatError, "two things"),
    "bytes before an archive": (tiedio.FormatError, "not what its name says"),
    "bytes after an archive": (tiedio.FormatError, "directory"),
    "bytes between members": (tiedio.FormatError, "hole"),
    "a member twice": (tiedio.FormatError, "twice"),
    "references to objects": (tiedio.FormatError, "no numbers"),
    "text of any length": (tiedio.FormatError, "no numbers"),
    "millions of units": (tiedio.LimitError, "unlisted|integer"),
    "a wide layer without weights": (tiedio.LimitError, "unlisted"),
    "a call without a tensor": (tiedio.FormatError, "without a tensor"),
    "a typespec": (tiedio.UnregisteredError, "TensorSpec|typespec"),
    "a lambda among the losses": (tiedio.UnsafeError, "lambda"),
    "safe mode off in a nested configuration": (tiedio.TiedioError, ""),
    "a key twice in the configuration": (tiedio.FormatError, "twice"),
    "very deep": (tiedio.LimitError, "deep|levels"),
}


@pytest.mark.parametrize("name", WHY)
def test_the_error_says_what_is_wrong(name: str, tmp_path: Path) -> None:
    raw = ALL[name]()
    kind, text = WHY[name]
    path = tmp_path / f"model{_suffix(raw)}"
    path.write_bytes(raw)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]) if _is_weights(raw) else None
    with pytest.raises(kind, match=f"(?i){text}"):
        tiedio.convert(path, tmp_path / "out.safetensors", model=model)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def _is_weights(raw: bytes) -> bool:
    return raw.startswith(b"\x89HDF") and b"model_config" not in raw


def test_many_datasets_take_no_more_than_the_file_may(tmp_path: Path) -> None:
    if not can_measure():
        pytest.skip("this system does not tell the peak of a process")
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for n in range(15_000):
            file.create_dataset(f"g{n}", data=np.int8(1))
    good = tmp_path / "good.weights.h5"
    weights_of(good)
    one = measure([path], "tests.hostile.test_foreign_conversion:converted", warm=good)[0]
    assert one.ours, one
    assert one.peak < one.bound, one


def weights_of(path: Path) -> Any:
    """A small model, whose weights were saved."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save_weights(path)
    return model


def converted(path: str) -> None:
    """Reads a file of weights into a small model."""
    with tempfile.TemporaryDirectory() as folder:
        model = weights_of(Path(folder) / "m.weights.h5")
        tiedio.convert(path, Path(folder) / "out.safetensors", model=model)
