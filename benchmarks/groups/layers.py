"""Saving and loading as a model grows in layers: small dense layers, 10 to 500, against `.keras` and a rebuild."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import keras

import tiedio
from benchmarks.groups.saving import clear, write_synced
from benchmarks.harness import Plan, Samples, clocked, interleave, prefixed, say
from benchmarks.models import config_of, dense_stack, parsed, rebuilt, values_left_out, variables_left_out

COUNTS = (10, 50, 100, 250, 500)
UNITS = 16
_FEWER = {500: 3}
"""Samples of what takes long; no target rests on it."""
FRESH = 250
"""The layers of the model that is loaded in fresh processes."""


def measure(plan: Plan) -> Samples:
    """Samples under `save/LAYERS/WAY`, `load/LAYERS/WAY` and, of fresh processes, `fresh/WAY`."""
    found: Samples = {}
    for count in COUNTS:
        found |= plan.child("groups.layers.one_count", plan=plan, count=count)
    path, config = plan.path("layers.safetensors"), plan.path("layers.json")
    model = dense_stack(plan.count(FRESH), UNITS)
    tiedio.save(model, path)
    config.write_text(config_of(model), "utf-8")
    say(f"layers: {FRESH} in fresh processes")
    ways = ("tiedio", "from_config", "no_values", "no_variables")
    steps: dict[str, Any] = {
        way: lambda way=way: plan.child("groups.layers.once", way=way, path=str(path), config=str(config))
        for way in ways
    }
    return found | prefixed("fresh", interleave(steps, plan.samples))


def one_count(plan: Plan, count: int) -> Samples:
    """One number of layers, in one process."""
    say(f"layers: {count}")
    ours, theirs = plan.path(f"{count}.safetensors"), plan.path(f"{count}.keras")
    model = dense_stack(plan.count(count), UNITS)
    config = config_of(model)

    def rebuild(given: Any) -> Any:
        with values_left_out():
            return rebuilt(given)

    tiedio.save(model, ours)
    model.save(theirs)
    content, raw = ours.read_bytes(), plan.path("layers.raw")
    saves = {
        "tiedio": clocked(lambda _: tiedio.save(model, ours), partial(clear, ours)),
        "unchecked": clocked(lambda _: tiedio.save(model, ours, check=False), partial(clear, ours)),
        "keras": clocked(lambda _: model.save(theirs), partial(clear, theirs)),
        "floor": clocked(lambda _: write_synced(raw, content, reserve=True), partial(clear, raw)),
    }
    loads = {
        "tiedio": clocked(lambda _: tiedio.load(ours)),
        "keras": clocked(lambda _: keras.saving.load_model(theirs)),
        "floor": clocked(rebuild, lambda: parsed(config)),
    }
    steps = prefixed(f"save/{count}", saves) | prefixed(f"load/{count}", loads)
    interleave(steps, 1)
    return interleave(steps, min(plan.samples, _FEWER.get(count, plan.samples)))


def once(way: str, path: str, config: str) -> float:
    """Seconds of the first load or rebuild of a process; all is imported, and the configuration read, before."""
    given = parsed(Path(config).read_text("utf-8"))
    load = tiedio.load  # imports what it needs
    keras.ops.ones(())  # TensorFlow has started
    start = time.perf_counter()
    if way == "tiedio":
        load(path)
    elif way == "from_config":
        rebuilt(given)
    else:
        with values_left_out() if way == "no_values" else variables_left_out():
            rebuilt(given)
    return time.perf_counter() - start
