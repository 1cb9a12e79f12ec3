"""Real architectures with random weights: Xception and EfficientNetV2L, GPT-2 and Gemma of KerasHub."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import keras

import tiedio
from benchmarks.groups.saving import clear
from benchmarks.harness import Plan, Samples, clocked, interleave, say
from benchmarks.memory import size_of


def _xception(plan: Plan) -> Any:
    return keras.applications.Xception(weights=None, classes=10 if plan.quick else 1000)


def _efficient_net(plan: Plan) -> Any:
    if plan.quick:
        return keras.applications.EfficientNetV2B0(weights=None)
    return keras.applications.EfficientNetV2L(weights=None)


def _gpt2(plan: Plan) -> Any:
    import keras_hub

    return keras_hub.models.GPT2Backbone(
        vocabulary_size=plan.width(50_257),
        num_layers=plan.count(12),
        num_heads=2 if plan.quick else 12,
        hidden_dim=plan.width(768),
        intermediate_dim=plan.width(3072),
        max_sequence_length=plan.width(1024),
    )


def _gemma(plan: Plan) -> Any:
    import keras_hub

    return keras_hub.models.GemmaBackbone(
        vocabulary_size=plan.width(64_000),
        num_layers=plan.count(12),
        num_query_heads=8,
        num_key_value_heads=1,
        head_dim=plan.width(128),
        hidden_dim=plan.width(1024),
        intermediate_dim=plan.width(8192),
    )


BUILDERS: dict[str, Callable[[Plan], Any]] = {
    "Xception": _xception,
    "EfficientNetV2L": _efficient_net,
    "GPT-2": _gpt2,
    "Gemma": _gemma,
}


def measure(plan: Plan) -> Samples:
    """Samples under `NAME/save/WAY` and `NAME/load/WAY`, and facts of the model and its files."""
    found: Samples = {}
    for name in BUILDERS:
        found |= plan.child("groups.architectures.one", plan=plan, name=name)
    return found


def one(plan: Plan, name: str) -> Samples:
    """One architecture: both ways to save and to load it in turn."""
    say(f"architectures: {name}")
    ours, theirs = plan.path(f"{name}.safetensors"), plan.path(f"{name}.keras")
    start = time.perf_counter()
    model = BUILDERS[name](plan)
    built = time.perf_counter() - start
    tiedio.save(model, ours)
    model.save(theirs)
    steps = {
        f"{name}/save/tiedio": clocked(lambda _: tiedio.save(model, ours), partial(clear, ours)),
        f"{name}/save/keras": clocked(lambda _: model.save(theirs), partial(clear, theirs)),
        f"{name}/load/tiedio": clocked(lambda _: tiedio.load(ours)),
        f"{name}/load/keras": clocked(lambda _: keras.saving.load_model(theirs)),
    }
    found = interleave(steps, plan.samples)
    facts = {
        "build": built,
        "layers": len(list(model._flatten_layers(include_self=False))),
        "variables": len(model.variables),
        "bytes/tiedio": size_of(ours),
        "bytes/keras": size_of(theirs),
    }
    return found | {f"{name}/{fact}": [float(value)] for fact, value in facts.items()}
