"""Slots of live layers: where a variable is held, and how to put another one there by hand.

This is written apart from the library's own code for the same task, which is what the random models test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True, slots=True)
class LiveSlot:
    """A place that holds a variable.

    Args:
        layer: the layer that tracks the variable; `None` for the state of a seed generator.
        holder: what holds it: the layer, the seed generator, or a list or dict in the layer.
        key: the attribute, index or key.
    """

    layer: Any
    holder: Any
    key: str | int

    def get(self) -> Any:
        """The variable that the slot holds.

        Returns:
            A `keras.Variable`.
        """
        return _step(self.holder, self.key)


def _step(holder: Any, key: str | int) -> Any:
    if isinstance(holder, list | tuple):
        return holder[int(key)]
    if isinstance(holder, dict):
        return holder[key]
    return getattr(holder, str(key))


def lookup(owner: Any, path: str) -> Any:
    """What a path in a layer leads to.

    Args:
        owner: the layer.
        path: attributes, indexes and keys, joined by dots.

    Returns:
        The object.
    """
    for key in path.split("."):
        owner = _step(owner, key)
    return owner


def find(owner: Any, path: str) -> LiveSlot:
    """The slot that a path in a layer leads to.

    Args:
        owner: the layer.
        path: attributes, indexes and keys, joined by dots.

    Returns:
        The slot; its key is the attribute that holds the variable, where the path names a property.
    """
    *way, last = path.split(".")
    layer, holder = owner, owner
    for key in way:
        holder = _step(holder, key)
        layer = holder if isinstance(holder, keras.layers.Layer) else layer
    variable = _step(holder, last)
    if isinstance(holder, keras.random.SeedGenerator):
        return LiveSlot(None, holder, last)
    if isinstance(holder, list):
        return LiveSlot(layer, holder, int(last))
    if isinstance(holder, dict) or vars(holder).get(last) is variable:
        return LiveSlot(layer, holder, last)
    return LiveSlot(layer, holder, next(name for name, value in vars(holder).items() if value is variable))


def give(slot: LiveSlot, variable: Any, *, in_place: bool) -> None:
    """Puts a variable into a slot of a built layer.

    Args:
        slot: the slot.
        variable: the variable that it shall hold.
        in_place: keep the place of the old variable among the layer's weights; else the new one comes last.
    """
    old, layer = slot.get(), slot.layer
    if old is variable:
        return
    if layer is None:
        setattr(slot.holder, str(slot.key), variable)
        return
    before = {name: list(store) for name, store in _stores(layer).items()}
    locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        if isinstance(slot.holder, list):
            slot.holder[int(slot.key)] = variable
        elif isinstance(slot.holder, dict):
            slot.holder[slot.key] = variable
        else:
            setattr(slot.holder, str(slot.key), variable)
        if not any(held is variable for store in _stores(layer).values() for held in store):
            layer._tracker.track(variable)
        if in_place:
            _restore(layer, before, old, variable)
        elif not _holds(layer, old):
            layer._untrack_variable(old)
    finally:
        if locked:
            layer._tracker.lock()


def _stores(layer: Any) -> dict[str, list[Any]]:
    return {
        "trainable_variables": layer._trainable_variables,
        "non_trainable_variables": layer._non_trainable_variables,
    }


def _restore(layer: Any, before: dict[str, list[Any]], old: Any, variable: Any) -> None:
    """Lets the new variable stand where the old one stood, once, even if only one of them is trained."""
    kept = _holds(layer, old)
    elsewhere = any(held is variable for store in before.values() for held in store)
    for name, store in _stores(layer).items():
        wanted = []
        for held in before[name]:
            if held is not old:
                wanted.append(held)
                continue
            if kept:
                wanted.append(old)
            if not elsewhere:
                wanted.append(variable)
        store[:] = wanted
        layer._tracker.stored_ids[name] = {id(held) for held in wanted}


def _holds(layer: Any, variable: Any) -> bool:
    """Whether an attribute of the layer, or a list, tuple or dict in one, holds the variable."""
    # The trackers' lists, and what TensorFlow keeps for its own checkpoints, are not slots.
    apart = ("_trainable_variables", "_non_trainable_variables", "_self_", "_obj_reference_counts")
    waiting = [value for name, value in vars(layer).items() if not name.startswith(apart)]
    while waiting:
        value = waiting.pop()
        if value is variable:
            return True
        if isinstance(value, list | tuple):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
    return False
