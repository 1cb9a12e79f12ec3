"""Several processes save to one path and others load it: every load sees one whole version."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiedio
from tests.durability.models import assert_tied, values
from tests.durability.scenes import NAME


def test_every_load_during_two_hundred_saves_of_two_processes_sees_one_whole_version(
    start: Callable[..., subprocess.Popen[str]], versions: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = [values(tiedio.load(path)) for path in versions]
    assert whole[0] != whole[1]
    process = start("race", "--saves", "200")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == "ready"
    path = tmp_path / "work" / NAME
    for number in range(40):
        model: Any = tiedio.load(path, mmap=number % 2 == 0, verify=number % 3 == 0)
        assert_tied(model)
        assert values(model) in whole
        tiedio.verify(path)
    told, errors = process.communicate(timeout=300)  # to close its input is to say that it is enough
    assert process.returncode == 0, errors
    found = json.loads(told)
    assert found["saves"] >= 200
    assert found["old"] + found["new"] > 0
    assert (found["neither"], found["failed"], found["litter"]) == (0, 0, 0)
