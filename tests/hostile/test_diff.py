"""`tiedio.diff` of a hostile file: an error of the library or a difference, within the memory that it may take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tiedio
from tests.hostile.all import HOSTILE
from tests.hostile.bombs import PLACES, SMALL
from tests.hostile.good import good
from tests.hostile.measure import can_measure, measure
from tests.hostile.texts import NASTY
from tiedio.errors import TiedioError


def diff_with_itself(path: str) -> None:
    """What is measured: both sides of the comparison are the hostile file."""
    tiedio.diff(path, path)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_or_compared(name: str, tmp_path: Path) -> None:
    plain, evil = tmp_path / "plain.safetensors", tmp_path / "evil.safetensors"
    plain.write_bytes(good().raw)
    evil.write_bytes(HOSTILE[name].make())
    for a, b in ((plain, evil), (evil, plain)):
        try:
            difference = tiedio.diff(a, b)
        except TiedioError:
            continue
        assert str(difference)


@pytest.mark.skipif(not can_measure(), reason="this system does not tell the peak of a process")
def test_both_files_of_a_comparison_take_no_more_than_each_may(tmp_path: Path) -> None:
    paths = []
    for name in ("empty arrays", "one wide object", "empty strings"):
        for place, put in PLACES.items():
            path = tmp_path / f"{name} {place}"[-60:].replace("/", "_")
            path.write_bytes(put(NASTY[name](SMALL)))
            paths.append(path)
    warm = tmp_path / "good.safetensors"
    warm.write_bytes(good().raw)
    for one in measure(paths, "tests.hostile.test_diff:diff_with_itself", warm=warm):
        assert one.error is None or one.ours, (one.path, one.error, one.text)
        assert one.peak <= 2 * one.bound, f"{one.path}: {one.peak} bytes, {2 * one.bound} allowed"
        assert one.seconds < 60, one.path
        assert os.path.getsize(one.path)
