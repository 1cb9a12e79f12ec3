"""`tie` and `untie`: one weight in several built layers, or a weight that is a view of another, in place."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tiedio.errors import TieError
from tiedio.exchange import Change, Scene, checked_models, exchange, own_copy, viewed_again
from tiedio.pairs import Pair, named_weights, pair_weights
from tiedio.slots import FoundSlot
from tiedio.views import View


def tie(
    target: Any,
    source: Any,
    *,
    weights: Sequence[str] | Mapping[str, str] | None = None,
    view: View | None = None,
    models: Any = None,
) -> None:
    """Makes weights of a built layer those of another one: one variable, or a view of it, from now on.

    The source's variable survives, with its value, regularizer, constraint and `trainable` flag; the target's is
    let go. What else held the target's variable follows, so that no tie is lost. `get_weights` keeps its order.
    Freezing either layer (`layer.trainable = False`) freezes a shared variable for both; freezing a layer whose
    weight is a view does not freeze the source. Models that hold the layers trace their functions anew, and an
    optimizer that is built already goes on with the state of the variables that are left.

    A view is computed from the source's variable at every use, so that gradients reach it. It is no weight of the
    target: absent from `weights`, `count_params` and `get_weights`.

    A layer that shares a weight refuses `quantize` (but to float8) and `enable_lora`, which would take the weight
    from one side; `model.quantize` leaves such layers out, with a warning.

    Args:
        target: a built layer or model, whose weights are replaced.
        source: a built layer or model, whose weights stay; of a whole model, one of the same structure.
        weights: which: names of the target's weights, such as `["kernel"]`, or a dict of the target's name → the
            source's name; `None` for all that have the same name and shape.
        view: how the target's weights are computed from the source's, such as `tiedio.transpose()`; needs `weights`.
        models: a model, or a list of them, that hold the layers; `None` to find all that are alive.

    Raises:
        TieError: if the weights cannot be tied: another shape or dtype, no such weight, a layer that is not built, a
            weight tied to itself. Nothing was changed then.
        ViewError: if the view does not fit.

    Example:
        >>> import keras, tiedio
        >>> a, b = keras.layers.Conv2D(4, 3, padding="same"), keras.layers.Conv2D(4, 3, padding="valid")
        >>> inputs = keras.Input((8, 8, 1))
        >>> model = keras.Model(inputs, [a(inputs), b(inputs)])
        >>> tiedio.tie(b, a)
        >>> b.kernel is a.kernel, b.bias is a.bias, len(model.weights)
        (True, True, 2)
    """
    pairs = pair_weights(target, source, weights, view)

    def attempt() -> None:
        held = [one for pair in pairs for one in (pair.target.held, pair.target.variable)]
        scene = Scene.around((target, source), models, held)
        exchange(scene, [change for pair in pairs for change in _changes(scene, pair)])

    if models is not None:
        checked_models(models)
    if pairs:
        _attempt(attempt, models)


def _attempt(act: Callable[[], None], models: Any) -> None:
    """Once more without models that nobody holds any more, if one that was found could not be changed."""
    try:
        act()
    except TieError:
        if models is not None or not gc.collect():
            raise
        act()


def _changes(scene: Scene, pair: Pair) -> list[Change]:
    """What a pair changes: the target's slot, what else holds the same, and views of it."""
    old, new = pair.target, pair.wanted
    found = []
    for slot in scene.walk.slots:
        if slot.held is old.held:
            found.append(Change(slot, new))
        elif slot.variable is old.held and slot.view is not None:  # a view of what goes: of the new one from now on
            found.append(Change(slot, viewed_again(slot.view, new)))
    return found


def untie(layer: Any, weights: Sequence[str] | None = None, *, models: Any = None) -> None:
    """Gives weights of a layer variables of their own, with the values that they have now.

    Regularizer, constraint and `trainable` flag are copied too; a frozen layer's own weight is frozen. What the layer
    shares within itself stays shared, unless it is named. An optimizer that is built already goes on: the new variable
    gets a copy of the state of the one that it shared, or new state if it was a view.

    Args:
        layer: a built layer or model.
        weights: names of its weights; `None` for all that it shares with others.
        models: a model, or a list of them, that hold the layer; `None` to find all that are alive.

    Raises:
        TieError: if nothing that is named is shared. Nothing was changed then.

    Example:
        >>> import keras, tiedio
        >>> a, b = keras.layers.Dense(3), keras.layers.Dense(3)
        >>> model = keras.Sequential([keras.Input((3,)), a, b])
        >>> tiedio.tie(b, a)
        >>> tiedio.untie(b, ["kernel"])
        >>> b.kernel is a.kernel, b.bias is a.bias
        (False, True)
    """
    mine = named_weights(layer, weights)
    _attempt(lambda: _untie(layer, mine, weights, models), models)


def _untie(layer: Any, mine: Sequence[FoundSlot], weights: Sequence[str] | None, models: Any) -> None:
    scene = Scene.around((layer,), models, [one for slot in mine for one in (slot.held, slot.variable)])
    inside = scene.slots_of(layer, mine)
    own = scene.own_objects(layer) if weights is None else None
    found = [slot for slot in inside if _is_shared(scene, slot, own)]
    if not found or (weights is not None and len(found) < len(inside)):
        alone = [slot.path for slot in inside if not any(slot is one for one in found)]
        raise TieError(
            "the weight is not tied",
            path=", ".join(alone) or layer.name,
            expected="a weight that a slot outside of the layer holds too",
            found="none in the models that are known",
            remedy="pass a layer that tiedio.find_ties(model) lists; name the weight (weights=) if only places inside"
            " of what was passed hold it; pass models= if the model that ties it was not found",
        )
    owners = scene.owners()
    copies: dict[Any, Any] = {}
    changes = []
    for slot in found:
        key = id(slot.held) if weights is None else slot.path  # what a layer shares inside stays shared
        if key not in copies:
            copies[key] = own_copy(slot, owners[slot.owner])
        changes.append(Change(slot, copies[key], parted=True))
    _require_sources(scene, found)
    exchange(scene, changes)


def _is_shared(scene: Scene, slot: FoundSlot, own: set[str] | None) -> bool:
    """Whether another slot holds the weight too: any one for a weight that was named, else one outside of the layer.

    A layer around it, such as a wrapper that keeps the kernel of what it wraps, is not outside: its code made the tie.

    Args:
        scene: the layer and the models around it.
        slot: the slot of the weight.
        own: paths of the objects that are not outside; `None` for a weight that was named.
    """
    others = [one for one in scene.walk.slots if one.variable is slot.variable and one.path != slot.path]
    if own is None:
        return bool(others) or slot.view is not None
    return any(one.owner not in own for one in others) or (slot.view is not None and not others)


def _require_sources(scene: Scene, parted: Sequence[FoundSlot]) -> None:
    """Raises `TieError` if the last slot of a variable goes of which other weights are views."""
    gone = {slot.path for slot in parted}
    for slot in parted:
        left = [one for one in scene.walk.slots if one.variable is slot.variable and one.path not in gone]
        if left and all(one.view is not None for one in left):
            raise TieError(
                "other weights are views of this one, which has no other place",
                path=slot.path,
                expected="a slot that keeps the variable",
                found=", ".join(f"{one.path}: {one.view}" for one in left),
                remedy="untie the layers whose weights are views instead",
            )
