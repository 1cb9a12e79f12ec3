"""What the zoo's cases are made with: the case, its registry, and ties made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

Groups = list[list[Any]]


def _nothing(_model: Any) -> Groups:
    return []


@dataclass(frozen=True)
class Case:
    """A model with sharing in it, and what is needed to try it.

    Args:
        model: a built `keras.Model`, or a dict of them by name.
        inputs: what the model is called with, as for `tiedio.testing.assert_round_trip`.
        targets: what it is trained on.
        custom_objects: as for `tiedio.load`.
        safe_mode: as for `tiedio.load`.
        training: whether a training step can be made.
        same: gives, for this model or one that was loaded, groups of what must be one object.
        apart: gives groups of which no two may be one object.
        name: the case's name, a sentence with underscores.

    Example:
        >>> from tiedio.testing import zoo
        >>> case = zoo.build_case("one_layer_called_three_times")
        >>> case.model.count_params()
        46
    """

    model: Any
    inputs: Any
    targets: Any = None
    custom_objects: dict[str, Any] = field(default_factory=dict)
    safe_mode: bool = True
    training: bool = True
    same: Callable[[Any], Groups] = _nothing
    apart: Callable[[Any], Groups] = _nothing
    name: str = ""


BUILDERS: dict[str, Callable[[], Case]] = {}


def case(build: Callable[[], Case]) -> Callable[[], Case]:
    """Register a function that builds a case, under the function's name.

    Args:
        build: makes a fresh case at every call.

    Returns:
        The function, which now gives its name to what it builds.

    Raises:
        ValueError: the name is taken.
    """
    return register(build.__name__, build)


def register(name: str, build: Callable[[], Case]) -> Callable[[], Case]:
    """Register a case under a name of its own: one of a family, say.

    Args:
        name: the case's name.
        build: makes a fresh case at every call.

    Returns:
        The function, which now gives the name to what it builds.

    Raises:
        ValueError: the name is taken.
    """

    def named() -> Case:
        return replace(build(), name=name)

    if name in BUILDERS:
        raise ValueError(f"two zoo cases are called {name}")
    BUILDERS[name] = named
    return named


def callers(model: Any, name: str) -> list[Any]:
    """The operations whose outputs a layer takes.

    Args:
        model: a functional model.
        name: the layer's name.

    Returns:
        The operations, in the order of the layer's inputs.
    """
    return [x._keras_history.operation for x in keras.tree.flatten(model.get_layer(name).input)]


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Normal random numbers.

    Args:
        *shape: the shape.
        seed: the seed.

    Returns:
        A float32 array.
    """
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def integers(below: int, *shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Random token ids.

    Args:
        below: one more than the largest.
        *shape: the shape.
        seed: the seed.

    Returns:
        An int32 array.
    """
    return np.random.default_rng(seed).integers(0, below, shape).astype("int32")


def trained(model: Any, inputs: Any, targets: Any, *, steps: int = 2, **compile_args: Any) -> Any:
    """Compile a model and train it a little, so that its optimizer has a state worth keeping.

    Args:
        model: the model.
        inputs: one batch.
        targets: its targets.
        steps: how many steps to make.
        **compile_args: as for `compile`; by default Adam, mean squared error, and eager steps.

    Returns:
        The model.
    """
    settings: dict[str, Any] = {"loss": "mse", "run_eagerly": True} | compile_args
    model.compile(**{"optimizer": keras.optimizers.Adam(0.01)} | settings)
    for _ in range(steps):
        model.train_on_batch(inputs, targets)
    return model


def share(target: Any, attr: str, source: Any, source_attr: str = "", *, keep_order: bool = True) -> None:
    """Make `target.attr` the variable `source.source_attr`, as one does by hand on layers that are built.

    Args:
        target: the layer that takes the variable over.
        attr: the attribute that holds the target's own variable, `_kernel` for the kernel of a dense layer.
        source: the layer (or seed generator) that gives.
        source_attr: the attribute there; `attr` by default.
        keep_order: put the variable where the old one was among the target's weights; else it comes last.
    """
    put(target, attr, getattr(source, source_attr or attr), keep_order=keep_order)


def put(target: Any, attr: str, new: Any, *, keep_order: bool = True) -> None:
    """Make `target.attr` the variable `new`; see `share`.

    Args:
        target: a built layer.
        attr: the attribute that holds the target's own variable.
        new: the variable.
        keep_order: as for `share`.
    """
    old, tracker = getattr(target, attr), target._tracker
    tracker.unlock()
    if keep_order:
        replace_tracked(tracker, old, new)
    else:
        tracker.untrack(old)
    setattr(target, attr, new)
    tracker.lock()


def replace_tracked(tracker: Any, old: Any, new: Any) -> None:
    """Replace a variable where it stands in a layer's lists of weights.

    Args:
        tracker: the layer's tracker.
        old: the variable that goes.
        new: the variable that comes.
    """
    for store in ("trainable_variables", "non_trainable_variables"):
        tracked, ids = tracker.config[store][1], tracker.stored_ids[store]
        for index, variable in enumerate(tracked):
            if variable is old:
                tracked[index : index + 1] = [] if id(new) in ids else [new]
                ids.discard(id(old))
                ids.add(id(new))


def untie(target: Any, attr: str) -> None:
    """Give `target.attr` a variable of its own again, with the values it has.

    Args:
        target: a built layer.
        attr: the attribute.
    """
    old = getattr(target, attr)
    put(target, attr, keras.Variable(np.array(old), trainable=old.trainable, name=old.name))
