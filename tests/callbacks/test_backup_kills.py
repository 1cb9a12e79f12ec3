"""A training that is killed, and started again until it ends, comes to what one that was never interrupted came to."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def started(folder: Path, *options: str) -> int:
    """Runs the training in a process of its own; gives how that ended."""
    command = [sys.executable, "-m", "tests.callbacks.training", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@functools.cache
def uninterrupted(folder: Path, options: tuple[str, ...]) -> dict[str, Any]:
    assert started(folder, *options) == 0
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return told


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reference")


@pytest.mark.parametrize(
    ("kills", "options"),
    [
        (("epoch:2", "batch:17"), ()),
        (("write:20", "write:71"), ()),
        (("batch:4", "write:80"), ("--save-freq", "3")),
        (("epoch:2",), ("--generator", "--built")),
        (("batch:8",), ("--execution", "2", "--save-freq", "4")),
        (("epoch:3",), ("--no-shuffle", "--no-replay", "--built")),
    ],
    ids=["between epochs and in one", "in a backup", "every third batch", "generator", "two steps a time", "jump"],
)
def test_a_training_that_is_killed_ends_bit_for_bit_as_if_it_had_not_been(
    tmp_path: Path, reference: Path, kills: tuple[str, ...], options: tuple[str, ...]
) -> None:
    told = [part for kill in kills for part in ("--kill", kill)]
    expected = uninterrupted(reference / ("plain" + "".join(options)), options)
    folder = tmp_path / "work"
    codes = [started(folder, *told, *options) for _ in kills]
    codes.append(started(folder, *told, *options))
    assert codes == [-signal.SIGKILL] * len(kills) + [0]  # each kill has struck
    found = json.loads((folder / "told.json").read_text())
    assert found["tied"]
    assert found == expected
