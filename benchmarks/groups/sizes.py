"""Saving and loading as a model grows in bytes: eight dense layers, 0.1 to 4 GB, against `.keras` and the floors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import keras

import tiedio
from benchmarks.groups.saving import clear, write_synced
from benchmarks.harness import Plan, Samples, clocked, interleave, prefixed, say
from benchmarks.memory import size_of
from benchmarks.models import config_of, dense_stack, parsed, rebuilt, values_left_out

LAYERS = 8
WIDTHS = {"0.1": 1792, "0.5": 4096, "1": 5792, "2": 8192, "4": 11584}
"""Width of the eight layers by the size in GB that they are called; 0.5 is 537 MB, 4 is 4.3 GB."""

_FEWER = {"save": {"1": 3, "2": 3, "4": 3}, "load": {"4": 3}}
"""Samples of what takes long: no target rests on these."""


def measure(plan: Plan) -> Samples:
    """Samples under `save/SIZE/WAY`, `load/SIZE/WAY` and `bytes/SIZE/WAY`."""
    found: Samples = {}
    for size, units in WIDTHS.items():
        # A process for each size: memory that one has used and given back is cheaper than fresh memory.
        found |= plan.child("groups.sizes.one_size", plan=plan, size=size, units=units)
    found |= plan.child("groups.sizes.small_and_large", plan=plan)
    return found


def one_size(plan: Plan, size: str, units: int) -> Samples:
    """One size: first all saves, then, with the model gone, all loads."""
    ours, theirs = plan.path(f"{size}.safetensors"), plan.path(f"{size}.keras")
    say(f"sizes: save {size} GB")
    model = dense_stack(LAYERS, plan.width(units))
    config = config_of(model)
    found = prefixed(f"save/{size}", _saves(model, ours, theirs, _samples(plan, "save", size)))
    del model
    say(f"sizes: load {size} GB")
    tiedio.load(ours)
    _rebuild(parsed(config))
    steps = {
        "tiedio": clocked(lambda _: tiedio.load(ours)),
        "keras": clocked(lambda _: keras.saving.load_model(theirs)),
        "floor": clocked(_rebuild, lambda: parsed(config)),
    }
    found |= prefixed(f"load/{size}", interleave(steps, _samples(plan, "load", size)))
    found |= {f"bytes/{size}/tiedio": [float(size_of(ours))], f"bytes/{size}/keras": [float(size_of(theirs))]}
    theirs.unlink()
    return found


def _samples(plan: Plan, verb: str, size: str) -> int:
    return min(plan.samples, _FEWER[verb].get(size, plan.samples))


def _saves(model: Any, ours: Path, theirs: Path, samples: int) -> Samples:
    tiedio.save(model, ours)  # a round that does not count: what is imported and grown once
    content, raw = ours.read_bytes(), ours.with_suffix(".raw")
    steps = {
        "tiedio": clocked(lambda _: tiedio.save(model, ours), partial(clear, ours)),
        "floor": clocked(lambda _: write_synced(raw, content, reserve=True), partial(clear, raw)),
    }
    found = interleave(steps, samples)
    raw.unlink()
    # Apart, since what is written without a sync makes a disk slow for whoever comes next.
    return found | interleave({"keras": clocked(lambda _: model.save(theirs), partial(clear, theirs))}, samples)


def _rebuild(config: object) -> object:
    with values_left_out():
        return rebuilt(config)


def small_and_large(plan: Plan) -> Samples:
    """Loads of 0.5, 2 and 4 GB and the floor in turn, warm, for the ratios of tiedio's own loads."""
    say("sizes: load 0.5, 2 and 4 GB in turn")
    paths = {size: plan.path(f"{size}.safetensors") for size in ("0.5", "2", "4")}
    config = config_of(dense_stack(LAYERS, plan.width(WIDTHS["0.5"]), values=False))
    steps = {size: clocked(lambda _, path=path: tiedio.load(path)) for size, path in paths.items()}  # type: ignore[misc]
    steps["floor"] = clocked(_rebuild, lambda: parsed(config))
    interleave(steps, 1)
    return prefixed("turn", interleave(steps, 2 if plan.quick else 3 * plan.samples))
