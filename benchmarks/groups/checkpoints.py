"""What training pays for a save by `ModelCheckpoint`, in the background and in the foreground; its memory.

A save costs the time in the callback, and what the next step takes longer than a step that nothing disturbs.
"""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np

from benchmarks.harness import Plan, Samples, median, prefixed, say
from benchmarks.memory import peak_of
from tiedio.callbacks import ModelCheckpoint

SAVES = 10
"""Of each kind."""

EVERY = 6
"""Steps from save to save: the first may be slowed down, the last two say what a step takes alone."""

SHAPES = {"small": (250, 16, 32), "large": (4, 2048, 256)}
"""Layers, their width, and rows in a batch: many small layers, and few large ones."""


def measure(plan: Plan) -> Samples:
    """Seconds under `MODEL/WAY/…`, and parts of the state under `large/memory`."""
    found: Samples = {}
    for name in SHAPES:
        say(f"checkpoints: what training pays, {name} layers")
        found |= prefixed(name, plan.child("groups.checkpoints.pays", name=name, plan=plan))
    say("checkpoints: memory, large layers")
    turns = 2 if plan.quick else 3
    found["large/memory"] = [plan.child("groups.checkpoints.memory", name="large", plan=plan) for _ in range(turns)]
    return found


def pays(name: str, plan: Plan) -> Samples:
    """What each save costs, one in the foreground and one in the background in turn, in one training."""
    model, batch = _model(name, plan)
    saves = 2 if plan.quick else SAVES
    path = plan.path("checkpoint.safetensors")
    ways = {
        "foreground": ModelCheckpoint(path, save_freq=1),
        "background": ModelCheckpoint(path, save_freq=1, background=True),
    }
    clock = _Clock(ways)
    # One of each before: what is imported and proved once is no part of what every save costs.
    steps = EVERY * len(ways) * (saves + 1) + EVERY - 1
    data = np.random.default_rng(0).standard_normal((batch * steps, model.input_shape[-1]), "float32")
    model.fit(data, data, batch_size=batch, shuffle=False, verbose=0, callbacks=[clock])
    alone = median([one for turn in clock.turns[2:] for one in turn.steps[-2:]])
    found: Samples = {"step": [alone]}
    for turn in clock.turns[2:]:
        later = [one - alone for one in turn.steps]
        numbers = {"callback": turn.callback, "paid": turn.callback + later[0]}
        for key, value in {**numbers, "three_steps": turn.callback + sum(later[:3])}.items():
            found.setdefault(f"{turn.way}/{key}", []).append(value)
    return found


def memory(name: str, plan: Plan) -> float:
    """The most memory that saves in the background need beyond that of training, as a part of the state's bytes."""
    model, batch = _model(name, plan)
    data = np.random.default_rng(0).standard_normal((batch * 6, model.input_shape[-1]), "float32")
    saving = ModelCheckpoint(plan.path("memory.safetensors"), save_freq=2, background=True)

    def train(*callbacks: Any) -> None:
        model.fit(data, data, batch_size=batch, shuffle=False, verbose=0, callbacks=list(callbacks))

    train(saving)  # imports and the proof
    train()
    without = min(peak_of(train) for _ in range(3))
    most = max(peak_of(lambda: train(saving)) for _ in range(3))
    state = sum(one.numpy().nbytes for one in (*model.variables, *model.optimizer.variables))
    return float((most - without) / state)


def _model(name: str, plan: Plan) -> tuple[Any, int]:
    layers, units, batch = SHAPES[name]
    inputs = tensor = keras.Input((plan.width(units),))
    for n in range(plan.count(layers)):
        tensor = keras.layers.Dense(plan.width(units), activation="relu", name=f"dense_{n}")(tensor)
    model = keras.Model(inputs, tensor)
    model.compile("adam", "mse")
    return model, batch


class _Turn:
    """A save and the steps after it."""

    def __init__(self, way: str) -> None:
        self.way, self.callback, self.steps = way, 0.0, list[float]()


class _Clock(keras.callbacks.Callback):
    """Calls the callbacks in turn after every `EVERY` batches, and takes the time of all."""

    def __init__(self, ways: dict[str, ModelCheckpoint]) -> None:
        super().__init__()
        self.turns: list[_Turn] = []
        self._ways, self._begun = ways, 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        for one in self._ways.values():
            one.set_model(self.model)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._begun = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.turns:
            self.turns[-1].steps.append(time.perf_counter() - self._begun)
        if batch % EVERY == 3 and self.turns:
            self._ways[self.turns[-1].way].wait()  # the steps that follow are to be alone
        if batch % EVERY == EVERY - 1:
            way = list(self._ways)[len(self.turns) % len(self._ways)]
            self.turns.append(_Turn(way))
            start = time.perf_counter()
            self._ways[way].on_train_batch_end(0, logs)
            self.turns[-1].callback = time.perf_counter() - start

    def on_train_end(self, logs: Any = None) -> None:
        for one in self._ways.values():
            one.wait()
