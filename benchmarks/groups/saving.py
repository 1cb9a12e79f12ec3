"""Saving against the disk, against `.keras` without a sync, and with the check against without: 0.5 GB."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import tiedio
from benchmarks.harness import Plan, Samples, clocked, interleave, prefixed, say
from benchmarks.models import dense_stack

Buffer: TypeAlias = bytes | memoryview

_CHUNK = 1 << 26
"""Bytes in one write, as tiedio writes."""


def measure(plan: Plan) -> Samples:
    """Samples under `synced/WAY`, `unsynced/WAY` and `check/WAY`."""
    folder = Path(plan.folder)
    ours, theirs, raw = folder / "save.safetensors", folder / "save.keras", folder / "save.raw"
    model = dense_stack(8, plan.width(4096))
    tiedio.save(model, ours)
    content = ours.read_bytes()

    def fresh(path: Path, act: Callable[[], object]) -> Any:
        """A step that writes a new file, with nothing left to write from the step before."""
        return clocked(lambda _: act(), partial(clear, path))

    synced = {
        "tiedio": fresh(ours, lambda: tiedio.save(model, ours)),
        "write": fresh(raw, lambda: write_synced(raw, content)),
        "fallocate": fresh(raw, lambda: write_synced(raw, content, reserve=True)),
    }
    say("saving: against the disk")
    interleave(synced, 1)
    found = prefixed("synced", interleave(synced, 2 if plan.quick else 3 * plan.samples))
    say("saving: with and without the check")
    check = {
        "with": fresh(ours, lambda: tiedio.save(model, ours)),
        "without": fresh(ours, lambda: tiedio.save(model, ours, check=False)),
    }
    found |= prefixed("check", interleave(check, 2 if plan.quick else 2 * plan.samples))
    say("saving: without a sync")
    unsynced = {
        "tiedio": fresh(ours, lambda: _without_sync(lambda: tiedio.save(model, ours))),
        "keras": fresh(theirs, lambda: model.save(theirs)),
        "write": fresh(raw, lambda: _without_sync(lambda: write_synced(raw, content))),
    }
    interleave(unsynced, 1)
    found |= prefixed("unsynced", interleave(unsynced, plan.samples))
    return found


def clear(path: Path) -> None:
    """Makes way for a file, and lets the disk end what it has to write: a sync would wait for all of that too."""
    path.unlink(missing_ok=True)
    os.sync()


def write_synced(path: Path, content: Buffer, *, reserve: bool = False) -> None:
    """Writes bytes into a new file and syncs it: what a save cannot be faster than.

    Args:
        path: the file, which does not exist.
        content: its bytes.
        reserve: whether their space is asked for first.
    """
    view = memoryview(content)
    with path.open("xb", buffering=0) as file:
        if reserve:
            os.posix_fallocate(file.fileno(), 0, len(view))
        for start in range(0, len(view), _CHUNK):
            file.write(view[start : start + _CHUNK])
        os.fsync(file.fileno())


def _without_sync(act: Callable[[], object]) -> None:
    with syncs_left_out():
        act()


@contextmanager
def syncs_left_out() -> Iterator[None]:
    """Inside the block nothing is synced to disk: `.keras` and its like do not sync either."""
    with mock.patch.object(os, "fsync", return_value=None), mock.patch.object(os, "fdatasync", return_value=None):
        yield
