"""`keep=N`: the newest or the best stay, and nothing is removed that the callback did not write."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import keras
import pytest

from tests.callbacks.models import fit, names, plain
from tiedio.callbacks import ModelCheckpoint, checkpoint
from tiedio.callbacks.keeping import Kept, number
from tiedio.errors import TiedioError


def files(*epochs: int) -> list[str]:
    return [f"{n}.safetensors" for n in epochs]


@pytest.mark.parametrize("background", [False, True])
def test_the_newest_stay(background: bool, tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path / "{epoch}.safetensors", keep=2, background=background)
    fit(plain(), saving, epochs=4)
    assert names(tmp_path) == files(3, 4)


class Given(keras.callbacks.Callback):
    def __init__(self, values: list[float | None]) -> None:
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.values[epoch] is not None:
            logs["given"] = self.values[epoch]


@pytest.mark.filterwarnings("ignore:Can save best model only")
def test_the_best_stay_and_one_without_a_value_goes_first(tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path / "{epoch}.safetensors", "given", mode="min", save_best_only=True, keep=2)
    fit(plain(), Given([3.0, None, 2.0, 5.0]), saving, epochs=4)
    assert names(tmp_path) == files(1, 3)


def test_a_later_run_goes_on_with_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    for first in (0, 2, 4):
        saving = ModelCheckpoint(tmp_path / "{epoch}.safetensors", keep=3)
        fit(plain(), saving, epochs=first + 2, initial_epoch=first)
    assert names(tmp_path) == files(4, 5, 6)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_later_run_that_is_worse_leaves_the_best_of_the_earlier_one(mode: str, tmp_path: Path) -> None:
    def run(first: int, *values: float) -> None:
        signed = [value if mode == "min" else -value for value in values]
        saving = ModelCheckpoint(tmp_path / "{epoch}.safetensors", "given", mode=mode, save_best_only=True, keep=2)
        fit(plain(), Given([None] * first + signed), saving, epochs=first + len(values), initial_epoch=first)

    run(0, 3.0, 1.0)
    run(2, 9.0, 8.0)
    assert names(tmp_path) == files(2, 4)
    run(4, 0.5)
    assert names(tmp_path) == files(2, 5)


def test_files_of_others_stay(tmp_path: Path) -> None:
    for name in ("0.safetensors", "notes.txt", "9.safetensors"):
        (tmp_path / name).write_text("mine")
    fit(plain(), ModelCheckpoint(tmp_path / "{epoch}.safetensors", keep=1), epochs=3)
    assert names(tmp_path) == ["0.safetensors", "3.safetensors", "9.safetensors", "notes.txt"]


class Replace(keras.callbacks.Callback):
    """Puts something of the user's in the place of the first file."""

    def __init__(self, path: Path, link: bool) -> None:
        super().__init__()
        self.path, self.link = path, link

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch != 0:
            return
        if self.link:
            os.replace(self.path, self.path.with_name("mine"))
            self.path.symlink_to("mine")
        else:
            self.path.write_text("mine")


@pytest.mark.parametrize("link", [False, True])
def test_what_took_the_place_of_a_file_stays(link: bool, tmp_path: Path) -> None:
    first = tmp_path / "1.safetensors"
    fit(plain(), ModelCheckpoint(tmp_path / "{epoch}.safetensors", keep=1), Replace(first, link), epochs=3)
    assert first.exists()
    assert first.is_symlink() is link
    assert "3.safetensors" in names(tmp_path)
    assert "2.safetensors" not in names(tmp_path)


class Remove(Replace):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.path.unlink(missing_ok=True)


def test_a_file_that_the_user_removed_is_no_error(tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path / "{epoch}.safetensors", keep=1)
    fit(plain(), saving, Remove(tmp_path / "1.safetensors", False), epochs=3)
    assert names(tmp_path) == files(3)


@pytest.mark.parametrize("background", [False, True])
def test_nothing_is_removed_before_the_new_file_is_there(
    background: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_given: Any, **_options: Any) -> None:
        if os.path.exists(tmp_path / "1.safetensors"):
            raise TiedioError("no space", path="there", expected="space", found="none", remedy="make some")
        (tmp_path / "1.safetensors").write_text("the first")

    monkeypatch.setattr(checkpoint, "write_tensors" if background else "save", failing)
    with pytest.raises(TiedioError, match="no space"):
        fit(plain(), ModelCheckpoint(tmp_path / "{epoch}.safetensors", keep=1, background=background), epochs=2)
    assert names(tmp_path) == files(1)


def test_a_file_written_twice_counts_once(tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path / "{epoch}.safetensors", keep=2, save_freq=1)
    fit(plain(), saving, epochs=3)
    assert names(tmp_path) == files(2, 3)


def noted(folder: Path, *paths: str) -> Kept:
    kept = Kept(str(folder / "{epoch}.safetensors"), 1)
    for path in paths:
        (folder / path).write_text(path)
        kept.note(str(folder / path))
    return kept


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _told: "{",
        lambda _told: "[]",
        lambda told: json.dumps({**told, "version": 9}),
        lambda told: json.dumps({**told, "template": "other"}),
        lambda told: json.dumps({**told, "files": [{**told["files"][0], "size": "3"}]}),
        lambda told: json.dumps({**told, "files": [{**told["files"][0], "path": "../1.safetensors"}]}),
        lambda told: json.dumps({**told, "files": [{"path": "1.safetensors"}]}),
    ],
)
def test_a_note_that_was_tampered_with_removes_nothing_and_is_told(spoil: Any, tmp_path: Path) -> None:
    kept = noted(tmp_path, "1.safetensors")
    Path(kept.record).write_text(spoil(json.loads(Path(kept.record).read_text())))
    with pytest.warns(UserWarning, match="what an earlier run has written stays"):
        noted(tmp_path, "2.safetensors")
    assert names(tmp_path) == files(1, 2)


def test_a_run_that_ended_before_it_removed_a_file_leaves_it_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = noted(tmp_path, "1.safetensors")

    def killed(_path: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed)
        (tmp_path / "2.safetensors").write_text("2")
        with pytest.raises(KeyboardInterrupt):
            kept.note(str(tmp_path / "2.safetensors"))
    assert names(tmp_path) == files(1, 2)
    noted(tmp_path, "3.safetensors")
    assert names(tmp_path) == files(3)


def test_two_callbacks_in_one_folder_keep_their_own(tmp_path: Path) -> None:
    callbacks = [ModelCheckpoint(tmp_path / f"{name}-{{epoch}}.safetensors", keep=1) for name in ("a", "b")]
    fit(plain(), *callbacks, epochs=2)
    assert names(tmp_path) == ["a-2.safetensors", "b-2.safetensors"]


def test_only_finite_numbers_are_ranked() -> None:
    assert [number(value) for value in (1, "x", None, float("nan"), float("inf"))] == [1.0, None, None, None, None]
