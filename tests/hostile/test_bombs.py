"""A file of n bytes takes at most 64 MiB and 4 n of memory before it is refused, whatever it claims."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.hostile.bombs import LARGE, OTHERS, PLACES, SMALL
from tests.hostile.good import good
from tests.hostile.measure import Measured, can_measure, measure
from tests.hostile.texts import NASTY

SECONDS = 60
"""Far more than any takes, on a machine that does other things too; the time of each is in docs/security.md."""

pytestmark = pytest.mark.skipif(not can_measure(), reason="this system does not tell the peak of a process")

WORST = {
    SMALL: ("empty arrays", "arrays in arrays", "one wide object", "empty strings", "strings of very wide characters"),
    LARGE: ("empty arrays", "objects of one pair", "one long string that ends with an escaped very wide character"),
}
"""Of the texts those that come closest; `python -m tests.hostile.bombs` goes through all."""


def measured(files: dict[str, bytes], folder: Path, call: str) -> list[Measured]:
    paths = []
    for name, raw in files.items():
        path = folder / f"{name[-60:]}.safetensors"
        path.write_bytes(raw)
        paths.append(path)
    warm = folder / "good.safetensors"
    warm.write_bytes(good().raw)
    return measure(paths, call, warm=warm)


def refused_or_read_in_bounds(one: Measured) -> None:
    assert one.error is None or one.ours, (one.path, one.error, one.text)
    assert one.peak <= one.bound, f"{Path(one.path).name}: {one.peak} bytes, {one.bound} allowed"
    assert one.seconds < SECONDS, one.path


def test_no_file_takes_more_than_it_may(tmp_path: Path) -> None:
    files = {
        f"{name} in {place}, {size}": put(text)
        for size, names in WORST.items()
        for name in names
        for text in [NASTY[name](size)]
        for place, put in PLACES.items()
        if place in ("header", "regularizer", "structure") or name == "empty arrays"
    }
    files |= {name: make() for name, make in OTHERS.items()}
    for one in measured(files, tmp_path, "parse"):
        assert one.error is None or one.ours, (one.path, one.error, one.text)
        assert one.peak <= one.bound, f"{Path(one.path).name}: {one.peak} bytes, {one.bound} allowed"
        assert one.seconds < SECONDS, one.path


def test_what_a_call_takes_is_seen(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    one, two = measure([tmp_path / "file"] * 2, "tests.hostile.test_bombs:takes_much_then_dies")
    assert 40 << 20 < one.peak < 80 << 20
    assert (one.error, one.ours, one.text) == ("ValueError", False, "a file")
    assert two.error == "died"


CALLS: list[str] = []


def takes_much_then_dies(path: str) -> None:
    if CALLS:
        os._exit(3)
    CALLS.append(path)
    assert bytearray(50 << 20)
    raise ValueError(Path(path).name.replace("file", "a file"))
