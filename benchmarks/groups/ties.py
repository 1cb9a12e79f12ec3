"""`find_ties` on many slots, and saving and loading as the number of ties grows."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

import tiedio
from benchmarks.groups.saving import clear, write_synced
from benchmarks.harness import Plan, Samples, clocked, interleave, say
from benchmarks.models import values_left_out

FOUND = (1_000, 5_000, 10_000)
"""Layers in which ties are looked for; each has ten slots, and ten layers share the variable of a slot."""
SLOTS = 10

COUNTS = (1, 10, 100, 1_000, 10_000)
"""Ties of a model that is saved and loaded; each is one variable in two layers."""
_FEWER = {10_000: 2}
"""Samples of what takes long; no target rests on it."""


@keras.saving.register_keras_serializable("benchmarks")
class Bank(keras.layers.Layer):
    """A layer of many small weights: so many ties with few layers."""

    def __init__(self, count: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.count = count

    def build(self, _shape: Any) -> None:
        self.parts = [self.add_weight(shape=(8,), name=f"part_{n}") for n in range(self.count)]

    def call(self, inputs: Any) -> Any:
        return inputs * self.parts[0]

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count}


def measure(plan: Plan) -> Samples:
    """Seconds under `find/LAYERS`, `save/TIES/WAY` and `load/TIES/WAY`."""
    found = plan.child("groups.ties.find", plan=plan)
    for count in COUNTS:
        found |= plan.child("groups.ties.one_count", plan=plan, count=count)
    return dict(found)


def find(plan: Plan) -> Samples:
    """`find_ties` of models of many layers."""
    say("ties: find them among 10,000 to 100,000 slots")
    models = {count: many_slots(plan.count(count)) for count in FOUND}
    steps = {f"find/{count}": clocked(lambda _, m=model: tiedio.find_ties(m)) for count, model in models.items()}  # type: ignore[misc]
    interleave(steps, 1)
    return interleave(steps, plan.samples)


def many_slots(layers: int) -> Any:
    """A model that holds plain layers in a list; ten layers in a row hold the same ten variables."""

    class Holder(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    model = Holder()
    held: list[Any] = []
    variables: list[Any] = []
    for n in range(layers):
        if n % SLOTS == 0:
            variables = [keras.Variable(float(n), name=f"part_{slot}") for slot in range(SLOTS)]
        layer = keras.layers.Layer(name=f"layer_{n}")
        for slot, variable in enumerate(variables):
            setattr(layer, f"part_{slot}", variable)
        layer.built = True
        held.append(layer)
    model.parts = held
    model.built = True
    return model


def one_count(plan: Plan, count: int) -> Samples:
    """Saves and loads of a model with so many ties."""
    say(f"ties: {count}")
    ours, theirs = plan.path(f"ties{count}.safetensors"), plan.path(f"ties{count}.keras")
    model = tied_banks(plan.count(count))
    tiedio.save(model, ours)
    model.save(theirs)
    content, raw = ours.read_bytes(), plan.path("ties.raw")
    steps = {
        f"save/{count}/tiedio": clocked(lambda _: tiedio.save(model, ours), partial(clear, ours)),
        f"save/{count}/keras": clocked(lambda _: model.save(theirs), partial(clear, theirs)),
        f"save/{count}/floor": clocked(lambda _: write_synced(raw, content, reserve=True), partial(clear, raw)),
        f"load/{count}/tiedio": clocked(lambda _: tiedio.load(ours)),
        f"load/{count}/keras": clocked(lambda _: keras.saving.load_model(theirs)),
        f"load/{count}/floor": clocked(_rebuild, partial(dict, model.get_config())),
    }
    if count not in _FEWER:
        interleave(steps, 1)
    return interleave(steps, min(plan.samples, _FEWER.get(count, plan.samples)))


def _rebuild(config: dict[str, Any]) -> Any:
    with values_left_out():
        return keras.Model.from_config(config)


def tied_banks(ties: int) -> Any:
    """Two layers of many weights each, every weight of the second tied to that of the first."""
    with values_left_out():
        inputs = keras.Input((8,))
        first, second = Bank(ties, name="first"), Bank(ties, name="second")
        model = keras.Model(inputs, second(first(inputs)))
    tiedio.tie(second, first, models=model)
    return model
