"""The early start of the disk is a hint: without it, or when it fails, a file is written all the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tiedio.container import writeback


def test_the_bytes_are_those_that_were_written(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb", buffering=0) as file:
        file.write(b"a" * 10_000)
        writeback.begin(file.fileno(), 0, 5_000)
        file.write(b"b" * 10)
    assert path.read_bytes() == b"a" * 10_000 + b"b" * 10


def test_a_file_that_cannot_be_synced_is_no_error() -> None:
    reading, writing = os.pipe()
    try:
        writeback.begin(writing, 0, 10)
    finally:
        os.close(reading)
        os.close(writing)
    writeback.begin(-1, 0, 10)


def test_on_linux_there_is_such_a_call() -> None:
    assert (writeback._call() is not None) == sys.platform.startswith("linux")


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    writeback._call.cache_clear()
    try:
        assert writeback._call() is None
        writeback.begin(1, 0, 10)
    finally:
        writeback._call.cache_clear()
