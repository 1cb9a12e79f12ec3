"""Two versions of one model, saved once, and processes that are ended with their test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from tests.durability.models import save_versions

    return save_versions(tmp_path_factory.mktemp("versions"))


@pytest.fixture
def start(tmp_path: Path, versions: tuple[Path, Path]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process of `victims`; it and all that it forked are ended when the test is over."""
    started: list[subprocess.Popen[str]] = []

    def make(what: str, *options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.durability.victims", what, tmp_path / "work", *versions, *options],
            cwd=ROOT,
            # Threads of its own would not be there in what it forks.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield make
    for process in started:
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def outcomes(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., list[dict[str, Any]]]:
    """Runs a process of `victims` to its end, and gives what it found."""

    def run(what: str, *options: str) -> list[dict[str, Any]]:
        process = start(what, *options)
        told, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        return [json.loads(line) for line in told.splitlines()]

    return run
