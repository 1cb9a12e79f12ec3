"""Bytes are written in one thread while something else is done in the caller's; both or neither."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiedio.container import writeback, writing
from tiedio.container.single import open_reader, write_tensors
from tiedio.container.writing import StoppedError, Tensor, beside
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


def test_what_is_done_meanwhile_is_done_in_the_callers_thread_and_the_writing_in_another(path: Path) -> None:
    threads: dict[str, threading.Thread] = {}

    def data() -> Any:
        threads["write"] = threading.current_thread()
        return b"abc"

    def meanwhile() -> None:
        threads["meanwhile"] = threading.current_thread()

    write_tensors(path, [tensor("a", 3, data)], {}, meanwhile=meanwhile)
    assert threads["meanwhile"] is threading.current_thread()
    assert threads["write"] is not threading.current_thread()
    assert open_reader(path).bytes_of("a").tobytes() == b"abc"


@pytest.mark.parametrize("error", [ModelError("no", path="x", expected="a", found="b", remedy="c"), KeyboardInterrupt])
def test_if_what_is_done_meanwhile_fails_the_old_file_stays_and_nothing_else(path: Path, error: Any) -> None:
    def meanwhile() -> None:
        raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        write_tensors(path, [tensor("a", 50_000_000)], {}, meanwhile=meanwhile)
    assert path.read_bytes() == b"old"
    assert only(path)


def test_a_failure_meanwhile_stops_the_writing_between_two_chunks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_CHUNK", 1000)
    begun, asked = threading.Event(), []

    def data(name: str) -> Any:
        asked.append(name)
        begun.set()
        if name == "b":
            time.sleep(0.2)  # long enough for the failure to be heard
        return bytes(5000)

    def meanwhile() -> None:
        assert begun.wait(10)
        raise ModelError("no", path="x", expected="a", found="b", remedy="c")

    tensors = [tensor(name, 5000, lambda name=name: data(name)) for name in "abcdefgh"]
    with pytest.raises(ModelError, match="no"):
        write_tensors(path, tensors, {}, meanwhile=meanwhile)
    assert asked in (["a"], ["a", "b"])


def test_if_the_writing_fails_its_error_is_told_after_what_is_done_meanwhile(path: Path) -> None:
    done = []

    def data() -> Any:
        raise OSError(28, "No space left on device")

    with pytest.raises(TiedioError, match="free some space"):
        write_tensors(path, [tensor("a", 3, data)], {}, meanwhile=lambda: done.append(1))
    assert done == [1]
    assert path.read_bytes() == b"old"
    assert only(path)


def test_the_failure_meanwhile_is_the_one_that_is_told_if_both_fail(path: Path) -> None:
    def data() -> Any:
        raise OSError(28, "No space left on device")

    def meanwhile() -> None:
        time.sleep(0.05)
        raise ModelError("no", path="x", expected="a", found="b", remedy="c")

    with pytest.raises(ModelError, match="no"):
        write_tensors(path, [tensor("a", 3, data)], {}, meanwhile=meanwhile)


def test_an_interrupt_while_the_writing_is_waited_for_stops_it() -> None:
    stopped = []

    def work(stop: threading.Event) -> None:
        stopped.append(stop.wait(10))
        raise StoppedError

    def meanwhile() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        beside(work, meanwhile)
    assert stopped == [True]


def test_the_bytes_are_synced_before_the_file_is_put_into_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    write_tensors(path, [tensor()], {}, meanwhile=lambda: None)
    assert events.index("replace") > events.index("sync")


def test_the_disk_is_told_of_every_part_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(writeback, "STEP", 1000)
    monkeypatch.setattr(writing, "_CHUNK", 700)
    monkeypatch.setattr(writeback, "begin", lambda descriptor, start, count: told.append((start, count)))
    write_tensors(path, [tensor("a", 5000), tensor("b", 64)], {})
    assert told[0][0] == 4096
    assert all(start + count == after for (start, count), (after, _) in itertools.pairwise(told))
    assert min(count for _, count in told) >= 1000
    assert sum(count for _, count in told) > 4000
