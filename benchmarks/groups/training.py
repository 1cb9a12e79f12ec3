"""Loading with Adam's state and one step of fine-tuning: against Keras, and what the first step copies."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import tiedio
from benchmarks.groups.first_use import LOADS
from benchmarks.harness import Plan, Samples, interleave, say
from benchmarks.memory import size_of
from benchmarks.models import dense_stack, example

ROWS = 4


def measure(plan: Plan) -> Samples:
    """Samples under `WAY/load`, `WAY/step` and `WAY/both`; bytes under `copied/…`. `unmapped` is `mmap=False`."""
    units = plan.width(4096)
    paths = {"tiedio": plan.path("adam.safetensors"), "keras": plan.path("adam.keras")}
    ways = {**paths, "unmapped": paths["tiedio"]}
    one = {"tiedio": plan.path("one.safetensors"), "keras": plan.path("one.keras")}
    say("training: a model with Adam's state")
    plan.child("groups.training.prepare", units=units, frozen=0, paths={way: str(path) for way, path in paths.items()})
    plan.child("groups.training.prepare", units=units, frozen=7, paths={way: str(path) for way, path in one.items()})
    say("training: load and one step, in turn")
    # In fresh processes: TensorFlow keeps the memory of a model that was trained.
    steps: dict[str, Any] = {
        way: lambda way=way, path=path: plan.child("groups.training.load_and_step", way=way, path=str(path))
        for way, path in ways.items()
    }
    found = interleave(steps, plan.samples)
    say("training: what the first step copies")
    path = str(one["tiedio"])
    copying = {"copied": lambda: plan.child("groups.training.copied", path=path)}
    return found | interleave(copying, plan.samples)


def prepare(units: int, frozen: int, paths: dict[str, str]) -> None:
    """Saves a trained model in both ways, of which the first layers may be frozen."""
    model = _trained(units, frozen)
    tiedio.save(model, paths["tiedio"])
    model.save(paths["keras"])


def _trained(units: int, frozen: int = 0) -> Any:
    model = dense_stack(8, units)
    for layer in model.layers[1 : 1 + frozen]:
        layer.trainable = False
    model.compile("adam", "mse")
    _step(model)
    return model


def _step(model: Any) -> None:
    given = example(model, ROWS)
    model.train_on_batch(given, np.zeros_like(given))


def load_and_step(way: str, path: str) -> dict[str, float]:
    """Seconds of a load, of the first training step after it, and of both; TensorFlow has trained before."""
    _trained(8)
    start = time.perf_counter()
    model = tiedio.load(path, mmap=False) if way == "unmapped" else LOADS[way](path)
    loaded = time.perf_counter()
    _step(model)
    stepped = time.perf_counter()
    return {"load": loaded - start, "step": stepped - loaded, "both": stepped - start}


def copied(path: str) -> dict[str, float]:
    """Bytes of the variables that the first step gives other memory, and of those that it updates; and of the file."""
    model = tiedio.load(path)
    variables = [*model.variables, *model.optimizer.variables]
    before = [_address(variable) for variable in variables]
    values = [np.array(variable) for variable in variables]
    _step(model)
    moved = [v.nbytes for v, old, new in zip(values, before, map(_address, variables), strict=True) if new != old]
    updated = [
        v.nbytes for v, now in zip(values, map(np.asarray, variables), strict=True) if not np.array_equal(v, now)
    ]
    return {"moved": float(sum(moved)), "updated": float(sum(updated)), "file": float(size_of(Path(path)))}


def _address(variable: Any) -> int:
    """Where a variable's value lies."""
    return int(np.asarray(memoryview(variable.value.read_value())).ctypes.data)
