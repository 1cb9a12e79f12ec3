"""Loading and the first use after it, 0.5 GB: warm and cold in one process, and in fresh processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

import tiedio
from benchmarks.harness import Plan, Samples, clocked, interleave, prefixed, say
from benchmarks.memory import drop
from benchmarks.models import dense_stack, example

LOADS: dict[str, Callable[[Any], Any]] = {"tiedio": tiedio.load, "keras": keras.saving.load_model}
USES: dict[str, Callable[[Any, Any], Any]] = {
    "call": lambda model, given: model(given),
    "predict": lambda model, given: model.predict(given, verbose=0),
}


def measure(plan: Plan) -> Samples:
    """Samples under `warm/USE/WAY` and `cold/USE/WAY`, and under `fresh/USE/WAY/load` and `.../used`.

    `warm/USE/alone` is the first use of a model that is in memory: what no way of loading can make shorter.
    """
    paths = {"tiedio": plan.path("use.safetensors"), "keras": plan.path("use.keras")}
    model = dense_stack(8, plan.width(4096))
    given = example(model)
    tiedio.save(model, paths["tiedio"])
    model.save(paths["keras"])
    del model
    warm, cold = {}, {}
    for use in USES:
        for way, path in paths.items():
            act = _use(way, use, path, given)
            warm[f"{use}/{way}"] = clocked(act)
            cold[f"{use}/{way}"] = clocked(act, lambda path=path: drop(path))  # type: ignore[misc]
        warm[f"{use}/alone"] = clocked(
            lambda model, use=use: USES[use](model, given),  # type: ignore[misc]
            lambda: _in_memory(paths["tiedio"], given),
        )
    say("first use: warm")
    interleave(warm, 1)
    found = prefixed("warm", interleave(warm, plan.samples))
    say("first use: cold")
    found |= prefixed("cold", interleave(cold, plan.samples))
    say("first use: fresh processes")
    fresh = {
        f"{use}/{way}": lambda use=use, way=way, path=path: plan.child(
            "groups.first_use.once", way=way, use=use, path=str(path), units=given.shape[-1]
        )
        for use in USES
        for way, path in paths.items()
    }
    return found | prefixed("fresh", interleave(fresh, plan.samples))


def _use(way: str, use: str, path: Path, given: Any) -> Callable[[Any], Any]:
    def act(_: Any) -> Any:
        model = LOADS[way](path)
        return model, USES[use](model, given)

    return act


def _in_memory(path: Path, given: Any) -> Any:
    """A model of which every weight has been read."""
    model = tiedio.load(path, mmap=False)
    model(given)
    return model


def once(way: str, use: str, path: str, units: int) -> dict[str, float]:
    """Seconds of the first load of a process, and of that and the first use; all is imported before."""
    given = keras.ops.convert_to_numpy(keras.ops.ones((1, units)))  # TensorFlow has started, too
    start = time.perf_counter()
    model = LOADS[way](path)
    loaded = time.perf_counter()
    USES[use](model, given)
    return {"load": loaded - start, "used": time.perf_counter() - start}
