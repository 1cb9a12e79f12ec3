"""Every way to store a model, 0.5 GB: save, load, load and first call, warm and cold; bytes; what is left of a tie."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tiedio
from benchmarks.groups.saving import syncs_left_out, write_synced
from benchmarks.harness import Plan, Samples, Step, clocked, interleave, prefixed, say
from benchmarks.memory import drop, size_of
from benchmarks.models import dense_stack, example
from benchmarks.ways import WAYS, Way, emptied, what_is_left

RAW, COPY = "raw bytes", "one copy in memory"
"""The floors: a file of the same bytes written and read; the same bytes copied."""


def measure(plan: Plan) -> Samples:
    """Samples under `save/WAY`, `warm/WAY/…` and `cold/WAY/…` (`load`, and `used` with the first call), and facts.

    The facts are `bytes/WAY`; `kept/WAY`, what is left of a tie; `makes/WAY` and `syncs/WAY`, 1 if it does.
    """
    found: Samples = {}
    for name, way in WAYS.items():
        facts = {"kept": what_is_left(way, plan.path("tie")), "makes": float(way.makes), "syncs": float(way.synced)}
        found |= {f"{fact}/{name}": [value] for fact, value in facts.items()}
    model = dense_stack(8, plan.width(4096))
    given = example(model)
    folders = {name: plan.path(f"way{n}") for n, name in enumerate([*WAYS, RAW])}
    found |= prefixed("save", _saves(plan, model, folders))
    found |= {f"bytes/{name}": [float(size_of(folder))] for name, folder in folders.items()}
    loads: dict[str, Step] = {
        name: partial(_load_and_call, way, folders[name], model, given) for name, way in WAYS.items()
    }
    loads[RAW] = partial(_read, folders[RAW], np.ones(size_of(folders[RAW]), np.uint8))
    say("peers: load, warm")
    interleave(loads, 1)
    found |= prefixed("warm", interleave(loads, plan.samples))
    say("peers: load, cold")
    cold = {name: partial(_cold, step, folders[name]) for name, step in loads.items()}
    return found | prefixed("cold", interleave(cold, plan.samples))


def _saves(plan: Plan, model: Any, folders: Mapping[str, Path]) -> Samples:
    content = _bytes_of(model, plan)
    room = np.zeros_like(content)
    steps: dict[str, Step] = {
        name: clocked(partial(way.save, model), partial(_cleared, folders[name])) for name, way in WAYS.items()
    }
    steps[RAW] = clocked(lambda folder: _write(folder, content), partial(_cleared, folders[RAW]))
    steps[COPY] = clocked(lambda _: np.copyto(room, content))
    say("peers: save")
    interleave(steps, 1)
    return interleave(steps, plan.samples)


def _bytes_of(model: Any, plan: Plan) -> Any:
    path = plan.path("content.safetensors")
    tiedio.save(model, path)
    content = np.fromfile(path, np.uint8)
    path.unlink()
    return content


def _cleared(folder: Path) -> Path:
    """An empty folder, and nothing left to write from the step before."""
    emptied(folder)
    os.sync()
    return folder


def _write(folder: Path, content: Any) -> None:
    with syncs_left_out():
        write_synced(folder / "raw", content.data)


def _read(folder: Path, room: Any) -> dict[str, float]:
    """Into memory that is there already: fresh memory would cost more than the reading."""
    with (folder / "raw").open("rb", buffering=0) as file:
        start = time.perf_counter()
        file.readinto(room.data)
        return {"load": time.perf_counter() - start}


def _load_and_call(way: Way, folder: Path, built: Any, given: Any) -> dict[str, float]:
    gc.collect()
    start = time.perf_counter()
    model = way.load(folder, built)
    loaded = time.perf_counter()
    model(given)
    return {"load": loaded - start, "used": time.perf_counter() - start}


def _cold(load: Step, folder: Path) -> Any:
    gc.collect()  # a model that is gone lets go of its file only now
    drop(folder)
    return load()
