"""A file is never converted or repaired into itself: what does not come over would be gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tiedio
from tests.conversion_models import saved, two_convolutions


@pytest.mark.parametrize("way", ["itself", "link", "name"])
def test_convert_refuses_to_write_over_its_source(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(saved(two_convolutions(), tmp_path / "m.keras"))
    before = source.read_bytes()
    monkeypatch.chdir(tmp_path)
    target = {"itself": source, "link": tmp_path / "link.keras", "name": Path("m.keras")}[way]
    if way == "link":
        os.link(source, target)
    with pytest.raises(tiedio.PathError, match=r"the file to write is the one that is read.*write to '.*-new\.keras'"):
        tiedio.convert(source, target)
    assert source.read_bytes() == before


def test_repair_refuses_to_write_over_its_source(tmp_path: Path) -> None:
    tiedio.save(two_convolutions(), path := tmp_path / "m.safetensors")
    before = path.read_bytes()
    with pytest.raises(tiedio.PathError, match="the file to write is the one that is read"):
        tiedio.repair(path, path, all=True)
    assert path.read_bytes() == before


def test_a_report_does_not_say_that_ties_came_over_which_keras_does_not_carry(tmp_path: Path) -> None:
    tiedio.save(two_convolutions(None), path := tmp_path / "m.safetensors")
    with pytest.warns(UserWarning, match="does not carry the tie"):
        report = tiedio.convert(path, tmp_path / "m.keras")
    assert report.ties
    assert "ties of the model:" in str(report)
    assert "came over" not in str(report)
