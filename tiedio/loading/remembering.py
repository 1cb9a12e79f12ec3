"""What loading hooks may change beside the values of variables, and how it is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tiedio import arrays, keras_api, slots


def remember(objects: Sequence[Any], variables: Iterable[Any]) -> Callable[[], None]:
    """A function that makes objects what they are now: hooks are code of a user's, which may change anything.

    Args:
        objects: an object with hooks, and those that it holds.
        variables: their variables; of these the flags are remembered, and not the values.
    """
    own = [(one, slots.own_attributes(one)) for one in objects]
    facts = [(one, dict(vars(one))) for one in (*objects, *variables)]
    stores = [(one, {name: list(store) for name, store in keras_api.stores(one).items()}) for one in objects]
    contents = _contents([value for _, attributes in own for value in attributes.values()])

    def put_back() -> None:
        for one, attributes in own:
            for name in set(slots.own_attributes(one)) - set(attributes):
                keras_api.delete_attribute(one, name)
            for name, value in attributes.items():
                if vars(one).get(name, slots.MISSING) is not value:
                    keras_api.set_attribute(one, name, value)
        for one, content in contents:
            _refill(one, content)
        for one, before in facts:  # bookkeeping, such as the `trainable` flag
            _set_attributes(one, before, vars(one))
        for one, listed in stores:
            for name, store in listed.items():
                keras_api.set_store(one, name, store)

    return put_back


def _contents(values: list[Any]) -> list[tuple[Any, Any]]:
    """Every container, array and plain object that these values reach, with what it holds."""
    found: dict[int, tuple[Any, Any]] = {}
    stack = values
    while stack:
        value = stack.pop()
        kind = slots.classify(type(value))
        if id(value) in found or kind in ("variable", "object"):
            continue
        inside: Iterable[Any] = ()
        if isinstance(value, np.ndarray):
            found[id(value)] = (value, value.copy())
        elif isinstance(value, (list, set)):
            found[id(value)] = (value, [*value])
            inside = value
        elif isinstance(arrays.unwrapped(value), dict):
            found[id(value)] = (value, dict(value))
            inside = value.values()
        elif isinstance(value, tuple):
            found[id(value)] = (value, None)
            inside = value
        elif kind == "plain":
            attributes = slots.attributes_of(value)
            found[id(value)] = (value, attributes)
            inside = attributes.values()
        stack.extend(inside)
    return list(found.values())


def _refill(value: Any, content: Any) -> None:
    if isinstance(value, np.ndarray):
        if value.flags.writeable:
            np.copyto(value, content)
    elif isinstance(value, (list, set)) or isinstance(arrays.unwrapped(value), dict):
        arrays.refill(value, content)
    elif content is not None:
        _set_attributes(value, content, slots.attributes_of(value))


def _set_attributes(value: Any, content: dict[str, Any], now: dict[str, Any]) -> None:
    """Sets attributes past whatever tracks them, and deletes those that were not there."""
    for name in set(now) - set(content):
        object.__delattr__(value, name)
    for name, item in content.items():
        if now.get(name, slots.MISSING) is not item:
            object.__setattr__(value, name, item)
