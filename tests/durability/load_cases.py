"""Loadings of weights of every kind, to be struck: a file, a model that is not the file's, and how it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tiedio
from tests.durability.tripwire import Tripwire
from tests.loading.conftest import Tools


@dataclass(frozen=True, slots=True)
class Case:
    """One loading.

    Args:
        name: in words.
        saved: makes the model whose weights are in the file.
        made: makes the model that they are loaded into.
        options: arguments of `load_weights`.
    """

    name: str
    saved: Callable[[], Any]
    made: Callable[[], Any]
    options: dict[str, Any] = field(default_factory=dict)


class Remembering(keras.layers.Layer):
    """Stores a number and a list of words by hooks of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.count, self.words = 0, ["none"]

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight((shape[-1],), name="scale")

    def call(self, x: Any) -> Any:
        return x * self.scale

    def save_own_variables(self, store: Any) -> None:
        store["scale"] = self.scale
        store["count"] = np.array(self.count)

    def load_own_variables(self, store: Any) -> None:
        self.count = int(store["count"])
        self.words.append("loaded")

    def save_assets(self, inner_path: str) -> None:
        (Path(inner_path) / "words.txt").write_text(" ".join(self.words))

    def load_assets(self, inner_path: str) -> None:
        self.words[:] = (Path(inner_path) / "words.txt").read_text().split()


def remembering(count: int, words: list[str]) -> Any:
    keras.utils.set_random_seed(count)
    layer = Remembering(name="remembering")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="dense"), layer], name="model")
    layer.count, layer.words = count, words
    return _trained(model)


def mirrored(seed: int, view: bool) -> Any:
    """Two layers; the second has the transpose of the first one's kernel, or one of its own."""
    keras.utils.set_random_seed(seed)
    first, second = keras.layers.Dense(3, name="first"), keras.layers.Dense(3, name="second")
    model = keras.Sequential([keras.Input((3,)), first, second], name="model")
    if view:
        tiedio.tie(second, first, weights=["kernel"], view=tiedio.transpose())
    return _trained(model)


def alike(seed: int) -> Any:
    """A model whose two layers have equal kernels, and no tie."""
    model = Tools.net(seed=seed, tied=False, steps=0)
    model.second.kernel.assign(model.first.kernel)
    return model


def wide(seed: int, units: int) -> Any:
    keras.utils.set_random_seed(seed)
    layers = [
        keras.layers.Dense(3, name="body"),
        keras.layers.Dense(units, name="head"),
        keras.layers.Dense(3, name="end"),
    ]
    return _trained(keras.Sequential([keras.Input((3,)), *layers], name="model"))


def pair(seed: int) -> dict[str, Any]:
    """Two models with a layer in common."""
    keras.utils.set_random_seed(seed)
    shared = keras.layers.Dense(3, name="shared")
    return {
        name: _trained(keras.Sequential([keras.Input((3,)), shared, keras.layers.Dense(3, name=name)], name=name))
        for name in ("left", "right")
    }


def _trained(model: Any) -> Any:
    model.compile("adam", "mse", run_eagerly=True)
    model.train_on_batch(Tools.x, Tools.y)
    return model


def _net(seed: int, **options: Any) -> Callable[[], Any]:
    return lambda: Tools.net(seed=seed, **options)


def _scaled(seed: int, steps: int) -> Callable[[], Any]:
    def make() -> Any:
        inner = keras.optimizers.AdamW(0.01)
        return Tools.net(seed=seed, optimizer=keras.optimizers.LossScaleOptimizer(inner), steps=steps)

    return make


CASES = (
    Case("same ties", _net(0, steps=1), _net(1, steps=1)),
    Case("into memory of its own", _net(0, steps=1), _net(1, steps=1), {"mmap": False, "verify": True}),
    Case("an optimizer that is built for it", _net(0, steps=1), _net(1)),
    Case("an optimizer that is unbuilt for it", _net(0), _net(1, steps=1)),
    Case("an optimizer in another", _scaled(0, 1), _scaled(1, 1)),
    Case("what fits", lambda: wide(0, 5), lambda: wide(1, 7), {"strict": False}),
    Case("a part", lambda: wide(0, 5), lambda: wide(1, 5).layers[0], {"prefix": "body"}),
    Case("hooks", lambda: remembering(7, ["a", "b"]), lambda: remembering(0, ["c"])),
    Case("two models", lambda: pair(0), lambda: pair(1)),
    Case("restore a tie", _net(0, steps=1), _net(1, steps=1, tied=False), {"ties": "restore"}),
    Case("restore a tie, not strict", _net(0, steps=1), _net(1, tied=False), {"ties": "restore", "strict": False}),
    Case("restore the lack of one", _net(0, steps=1, tied=False), _net(1, steps=1), {"ties": "restore"}),
    Case("restore a view", lambda: mirrored(0, True), lambda: mirrored(1, False), {"ties": "restore"}),
    Case("restore the lack of a view", lambda: mirrored(0, False), lambda: mirrored(1, True), {"ties": "restore"}),
    Case("keep a tie", lambda: alike(0), _net(1, steps=0), {"ties": "model"}),
    Case("keep a tie, not strict", lambda: alike(0), _net(1, steps=1), {"ties": "model", "strict": False}),
    Case(
        "keep the lack of a view",
        lambda: mirrored(0, True),
        lambda: mirrored(1, False),
        {"ties": "model", "optimizer": False},
    ),
)


def models_of(made: Any) -> list[Any]:
    return list(made.values()) if isinstance(made, dict) else [made]


MADE = ("save_own_variables", "load_own_variables")
"""Functions that tiedio gives a layer that holds a view."""


def look(made: Any) -> Any:
    """All that a loading could change, trackers included."""
    layers = [layer for model in models_of(made) for layer in model._flatten_layers()]
    owners = [*layers, *(one.optimizer for one in layers if getattr(one, "optimizer", None) is not None)]
    tracked = [{name: sorted(ids) for name, ids in one._tracker.stored_ids.items()} for one in owners]
    contents = [one.words.copy() for one in layers if isinstance(one, Remembering)]
    picture = Tools.picture(*models_of(made))
    for layer in layers:
        for name in MADE:
            if name in vars(layer):  # made for a layer that holds a view: one does what another does
                picture[id(layer)][3][name] = "there"
    notes = [
        {name: repr(value) for name, value in vars(one).items() if name.startswith("_self_tiedio")} for one in layers
    ]
    # Their order tells in which order the weights of a layer were made.
    names = [[name for name in vars(one) if name not in MADE and not name.startswith("_self_")] for one in owners]
    return picture, tracked, contents, notes, names


def all_values(made: Any) -> list[bytes]:
    """The values of models and of their optimizers."""
    optimizers = [one.optimizer for one in models_of(made) if getattr(one, "optimizer", None) is not None]
    return [np.array(v).tobytes() for one in (*models_of(made), *optimizers) for v in one.variables]


@dataclass(frozen=True, slots=True)
class Struck:
    """What came of striking one loading, again and again.

    Args:
        times: how often it was struck.
        lines: at how many different lines.
        whole: how often the error came when all was loaded, on the way out.
        wrong: what was neither as before nor wholly loaded.
    """

    times: int
    lines: int
    whole: int
    wrong: tuple[str, ...]


def strike(
    case: Case,
    folder: Path,
    choose: Callable[[Tripwire], list[int]],
    late: bool = True,
) -> Struck:
    """Strikes one loading at the chosen lines, with `KeyboardInterrupt` and `MemoryError` in turn.

    Args:
        case: the loading.
        folder: where the file is made.
        choose: picks the numbers of lines, once they were counted.
        late: whether lines are counted only from where the model is touched.
    """
    errors = (KeyboardInterrupt, MemoryError)
    path = folder / "weights.safetensors"
    tiedio.save_weights(case.saved(), path)
    tiedio.load_weights(case.made(), path, **case.options)  # what is done only once in a process is done
    counted, loaded = Tripwire(late=late), case.made()
    look(loaded)  # as at those that are struck
    counted.run(lambda: tiedio.load_weights(loaded, path, **case.options))
    expected = all_values(loaded)
    chosen = choose(counted)[::-1]  # from the end, so that one and the same model is struck from some turn on
    made = case.made()
    before = look(made)
    whole, struck, wrong = 0, set(), []
    for turn, at in enumerate(chosen):
        wire = Tripwire(at, errors[turn % len(errors)](), late=late)
        came = ""
        try:
            wire.run(partial(tiedio.load_weights, made, path, **case.options))
        except (KeyboardInterrupt, MemoryError, tiedio.TiedioError) as error:
            came = type(error).__name__
        if len(wire.lines) <= at:
            wrong.append(f"line {at} was not reached")
        struck.add(wire.lines[-1])
        if wire.committed:
            whole += 1
            good = all_values(made) == expected
        else:
            good = look(made) == before and bool(came)
        if not good:
            wrong.append(f"{came or 'no error'} at {wire.lines[-1]}")
        if wire.committed or not good:
            made = case.made()
            before = look(made)
    # What was struck so often trains, and takes the file, as if nothing had been.
    twin = case.made()
    for one, other in zip(models_of(made), models_of(twin), strict=True):
        if getattr(one, "optimizer", None) is not None and step(one) != step(other):
            wrong.append("another training step")
    tiedio.load_weights(made, path, **case.options)
    tiedio.load_weights(twin, path, **case.options)
    if all_values(made) != all_values(twin):
        wrong.append("another loading")
    return Struck(len(chosen), len(struck), whole, tuple(wrong))


def step(model: Any) -> Any:
    """The loss of a training step, and all values after it."""
    model.reset_metrics()
    return model.train_on_batch(Tools.x, Tools.y), all_values(model)
