"""Custom classes and functions of live models: the check rebuilds with them, and a file lists their names."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

from tiedio import keras_api, serialization, slots
from tiedio.errors import ModelError


def custom_objects_of(walk: slots.Walk) -> dict[str, Any]:
    """Classes and functions outside Keras that the live models use, by registered name."""
    custom: dict[str, Any] = {}
    for symbol in _symbols(walk):
        _note(custom, symbol)
    return custom


def lambdas_of(walk: slots.Walk) -> list[types.FunctionType]:
    """The lambdas that the live models use."""
    return [one for one in _symbols(walk) if isinstance(one, types.FunctionType) and one.__name__ == "<lambda>"]


def _symbols(walk: slots.Walk) -> Iterator[Any]:
    """Classes and functions that the live models use."""
    pending: list[Any] = [found.value for found in walk.objects]
    for found in walk.objects:
        if isinstance(found.value, keras_api.Model) and found.value.compiled:
            pending.append(keras_api.compile_arguments(found.value))
            pending.append(found.value.optimizer)
    for slot in walk.slots:
        pending.extend((slot.variable.regularizer, slot.variable.constraint))
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        if id(value) in seen or isinstance(value, (str, int, float, bytes, type(None))) or slots.is_variable(value):
            continue
        seen.add(id(value))
        if isinstance(value, (list, tuple, set, frozenset)):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, types.FunctionType):
            yield value
        elif hasattr(value, "get_config") and not isinstance(value, type):
            yield type(value)
            pending.extend(slots.own_attributes(value).values())
            pending.extend(serialization.arguments_of(value).values())


def _note(custom: dict[str, Any], symbol: Any) -> None:
    if (symbol.__module__ or "").partition(".")[0] in ("keras", "keras_hub") or symbol.__name__ == "<lambda>":
        return
    name = keras_api.class_reference(symbol)["registered_name"]
    if custom.setdefault(name, symbol) is not symbol:
        raise ModelError(
            "two classes or functions have one name, so a file cannot tell them apart",
            path=name,
            found=" and ".join(f"{one.__module__}.{one.__qualname__}" for one in (custom[name], symbol)),
            remedy="register them under different names with keras.saving.register_keras_serializable",
            expected="one class or function for each name",
        )
