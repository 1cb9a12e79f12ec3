"""Bytes are written, and something else is done while the disk works on them; both are well, or nothing is there."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiedio.container import writeback, writing
from tiedio.container.single import open_reader, write_tensors
from tiedio.container.writing import Tensor
from tiedio.errors import ModelError, TiedioError


def tensor(name: str = "a", size: int = 100, data: Any = None) -> Tensor:
    return Tensor(name, "U8", (size,), data or (lambda: np.arange(size, dtype=np.uint8)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that stands there already."""
    place = tmp_path / "x.safetensors"
    place.write_bytes(b"old")
    return place


def only(path: Path) -> bool:
    return [item.name for item in path.parent.iterdir()] == [path.name]


def test_the_file_is_the_same_whether_something_is_done_meanwhile_or_not(tmp_path: Path) -> None:
    for name, meanwhile in (("a", None), ("b", lambda: None)):
        write_tensors(tmp_path / name, [tensor("x", 10_000_000), tensor("y", 3)], {"k": "v"}, meanwhile=meanwhile)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_done_meanwhile_finds_all_written_and_the_old_file_still_in_place(path: Path) -> None:
    seen: list[tuple[bytes, int]] = []

    def meanwhile() -> None:
        new = [item for item in path.parent.iterdir() if item != path]
        seen.append((path.read_bytes(), open_reader(new[0]).header.file_size))

    write_tensors(path, [tensor("a", 3)], {}, meanwhile=meanwhile)
    assert seen == [(b"old", path.stat().st_size)]


@pytest.mark.parametrize("error", [ModelError("no", path="x", expected="a", found="b", remedy="c"), KeyboardInterrupt])
def test_if_what_is_done_meanwhile_fails_the_old_file_stays_and_nothing_else(path: Path, error: Any) -> None:
    def meanwhile() -> None:
        raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        write_tensors(path, [tensor("a", 50_000_000)], {}, meanwhile=meanwhile)
    assert path.read_bytes() == b"old"
    assert only(path)


def test_if_the_writing_fails_nothing_else_is_done(path: Path) -> None:
    done = []

    def data() -> Any:
        raise OSError(28, "No space left on device")

    with pytest.raises(TiedioError, match="free some space"):
        write_tensors(path, [tensor("a", 3, data)], {}, meanwhile=lambda: done.append(1))
    assert done == []
    assert path.read_bytes() == b"old"
    assert only(path)


def test_the_sync_comes_last_and_before_the_file_is_put_into_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        events.append("sync")
        sync(descriptor)

    def put(self: Path, target: Any) -> Any:
        events.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", put)
    write_tensors(path, [tensor()], {}, meanwhile=lambda: events.append("meanwhile"))
    assert events[:3] == ["meanwhile", "sync", "replace"]


def test_the_disk_is_told_of_every_part_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(writeback, "STEP", 1000)
    monkeypatch.setattr(writing, "_CHUNK", 700)
    monkeypatch.setattr(writeback, "begin", lambda descriptor, start, count: told.append((start, count)))
    write_tensors(path, [tensor("a", 5000), tensor("b", 64)], {})
    assert told[0][0] == 4096
    assert all(start + count == after for (start, count), (after, _) in itertools.pairwise(told))
    assert min(count for _, count in told[:-1]) >= 1000
    assert sum(count for _, count in told) == 5064
