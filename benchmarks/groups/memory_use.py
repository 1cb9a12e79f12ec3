"""Memory beyond the model's own in saving and loading 4 GB; the size of the file of a transformer that shares."""

from __future__ import annotations

import gc
import json
import struct
from pathlib import Path
from typing import Any

import keras

import tiedio
from benchmarks.groups.sizes import LAYERS, WIDTHS
from benchmarks.harness import Plan, Samples, interleave, say
from benchmarks.memory import anonymous, peak_of, size_of
from benchmarks.models import dense_stack, give_values, values_left_out

BLOCKS, WIDTH, HEADS, INNER, LENGTH = 12, 768, 12, 3072, 128
"""The transformer: ALBERT's base sizes, without embeddings."""


def measure(plan: Plan) -> Samples:
    """Bytes under `save/extra`, `load/private`, and under `transformer/…`."""
    path, units = str(plan.path("memory.safetensors")), plan.width(WIDTHS["4"])
    say("memory: save 4 GB")
    found: Samples = {"save/extra": plan.child("groups.memory_use.saves", path=path, units=units, plan=plan)}
    say("memory: load 4 GB")
    found |= interleave({"load/private": lambda: float(plan.child("groups.memory_use.load", path=path))}, plan.samples)
    say("memory: a transformer whose layers share their weights")
    found |= plan.child("groups.memory_use.transformer", plan=plan)
    return found


def _warm_up(path: str) -> None:
    """Saves and loads something small: what is imported and started only once is no memory of a save."""
    small = f"{path}.small.safetensors"
    tiedio.save(dense_stack(1, 8), small)
    tiedio.load(small)
    gc.collect()


def saves(path: str, units: int, plan: Plan) -> list[float]:
    """The most memory beyond the model's own during each save."""
    _warm_up(path)
    model = dense_stack(LAYERS, units)
    return [float(peak_of(lambda: tiedio.save(model, path))) for _ in range(plan.samples)]


def load(path: str) -> int:
    """Private memory that a load adds, before anything is computed."""
    _warm_up(path)
    before = anonymous()
    model = tiedio.load(path)
    added = anonymous() - before
    del model
    return added


def transformer(plan: Plan) -> Samples:
    """Bytes of the files, of the weights stored once, and of what the header says of the configuration."""
    model = shared_transformer(plan)
    ours, theirs = plan.path("transformer.safetensors"), plan.path("transformer.keras")
    tiedio.save(model, ours)
    model.save(theirs)
    unique = sum(variable.value.dtype.size * variable.value.shape.num_elements() for variable in model.variables)
    numbers = {
        "tiedio": size_of(ours),
        "keras": size_of(theirs),
        "unique": unique,
        "config": config_bytes(ours),
    }
    return {f"transformer/{name}": [float(value)] for name, value in numbers.items()}


def config_bytes(path: Path) -> int:
    """Bytes of the metadata in a header of safetensors: manifest, structure, compile configuration, and digests."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        metadata = json.loads(file.read(length))["__metadata__"]
    return len(json.dumps(metadata, separators=(",", ":"), ensure_ascii=False).encode())


def shared_transformer(plan: Plan) -> Any:
    """Twelve blocks, each with layers of its own, all tied to those of the first."""
    width, inner, heads = plan.width(WIDTH), plan.width(INNER), 2 if plan.quick else HEADS
    with values_left_out():
        inputs = tensor = keras.Input((LENGTH, width))
        for n in range(BLOCKS):
            attention = keras.layers.MultiHeadAttention(heads, width // heads, name=f"attention_{n}")
            tensor = keras.layers.Add()([tensor, attention(tensor, tensor)])
            normed = tensor = keras.layers.LayerNormalization(name=f"first_norm_{n}")(tensor)
            hidden = keras.layers.Dense(inner, activation="gelu", name=f"inner_{n}")(normed)
            tensor = keras.layers.Add()([tensor, keras.layers.Dense(width, name=f"outer_{n}")(hidden)])
            tensor = keras.layers.LayerNormalization(name=f"second_norm_{n}")(tensor)
        model = keras.Model(inputs, tensor)
    for n in range(1, BLOCKS):
        for kind in ("attention", "first_norm", "inner", "outer", "second_norm"):
            tiedio.tie(model.get_layer(f"{kind}_{n}"), model.get_layer(f"{kind}_0"), models=model)
    give_values(model)
    return model
