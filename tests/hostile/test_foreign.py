"""Hostile files of other formats are refused for what they are; nothing in them is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tiedio
from tests.hostile.foreign import FOREIGN, SECRET
from tests.hostile.good import good, small_model
from tests.hostile.watching import suspicious, watched
from tiedio.errors import FormatError, PathError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    model, path = small_model(), tmp_path_factory.mktemp("good") / "good.safetensors"
    path.write_bytes(good().raw)
    tiedio.load(path)  # what is imported at the first call is no event of an attack
    tiedio.load_weights(model, path)
    tiedio.verify(path)
    return model


@pytest.mark.parametrize("name", FOREIGN)
def test_is_refused_whatever_its_name_says(
    name: str, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / SECRET
    secret.write_bytes(b"12345678")
    path = tmp_path / "model.safetensors"
    path.write_bytes(FOREIGN[name]())
    before = [value.tobytes() for value in model.get_weights()]
    for call in (
        lambda: tiedio.load(path),
        lambda: tiedio.inspect(path),
        lambda: tiedio.verify(path),
        lambda: tiedio.load_weights(model, path),
    ):
        events, error = watched(call)
        assert isinstance(error, FormatError)
        with pytest.raises(FormatError, match=r"not a safetensors file.*(a zip archive|an HDF5 file)"):
            raise error
        assert suspicious(events, str(path)) == []
    assert [value.tobytes() for value in model.get_weights()] == before
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([path.name, SECRET])
    assert secret.read_bytes() == b"12345678"


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".npz", ".weights.h5"])
def test_other_names_are_refused_before_anything_is_opened(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(next(iter(FOREIGN.values()))())
    events, error = watched(lambda: tiedio.load(path))
    assert isinstance(error, PathError)
    assert events == []
