"""Methods of one layer that stand before those of its class: Keras would break a tie without a word.

They are functions in the layer's `__dict__`, where Keras 3.15.1 itself puts a wrapper of `quantize` when the layer is
made, and `bookkeeping_names` keeps them out of every walk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tiedio.errors import TiedLayerError
from tiedio.keras_api.classes import Layer
from tiedio.keras_api.live_views import LiveView, assignments_ignored
from tiedio.keras_api.objects import set_store, stores
from tiedio.keras_api.variables import created_trainable

_BREAKS = ("quantize", "enable_lora")
_STORES_VALUES = ("save_own_variables", "load_own_variables")
_KEEPS_VARIABLES = ("float8",)
_BEFORE = "_tiedio_before"


def guard(layer: Any, told: str) -> None:
    """Lets a layer refuse what would replace a weight that it shares.

    Args:
        layer: one of the layers of a tie.
        told: which tie, for the error.
    """
    for name in _BREAKS:
        own = getattr(type(layer), name, None)
        if own is not None and own is not getattr(Layer, name, None):
            unguard(layer, name)
            before = vars(layer).get(name)
            vars(layer)[name] = _refusing(layer, name, told, getattr(layer, name))
            setattr(vars(layer)[name], _BEFORE, before)


def _refusing(layer: Any, name: str, told: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        mode = args[0] if args else kwargs.get("mode")
        if name == "quantize" and mode in _KEEPS_VARIABLES:
            return method(*args, **kwargs)
        raise TiedLayerError(
            f"{name} would take a shared weight from one side of its tie",
            path=layer.path or layer.name,
            expected="a layer that shares no weight",
            found=told,
            remedy="untie it first: tiedio.untie(layer); or leave the layer as it is",
        )

    return refuse


def unguard(layer: Any, *names: str) -> None:
    """Takes away what `guard` put there: all of it, or the methods of these names."""
    for name in names or _BREAKS:
        if hasattr(vars(layer).get(name), _BEFORE):
            before = getattr(vars(layer).pop(name), _BEFORE)
            vars(layer).update({} if before is None else {name: before})


def store_views_too(layer: Any) -> None:
    """Lets Keras's own files have the views of a layer where they have its weights, and not miss them on loading."""
    held = any(isinstance(value, LiveView) for value in _held(layer))
    for name in _STORES_VALUES:
        if held:
            vars(layer)[name] = _with_views(layer, name)
        else:
            vars(layer).pop(name, None)


def _with_views(layer: Any, name: str) -> Callable[[Any], Any]:
    def store(values: Any) -> Any:
        with _views_in_stores(layer), assignments_ignored():
            return getattr(type(layer), name)(layer, values)

    return store


@contextmanager
def _views_in_stores(layer: Any) -> Iterator[None]:
    before = {name: list(store) for name, store in stores(layer).items()}
    for value in _held(layer):
        if isinstance(value, LiveView):
            name = "trainable_variables" if created_trainable(value.source) else "non_trainable_variables"
            listed = list(stores(layer)[name])
            listed.insert(place_of(layer, value, listed), value)
            set_store(layer, name, listed)
    try:
        yield
    finally:
        for name, listed in before.items():
            set_store(layer, name, listed)


def place_of(layer: Any, value: Any, listed: list[Any]) -> int:
    """Where a variable belongs in a list of the layer's: as its class makes them, which is the order of attributes."""
    rank = {id(one): n for n, one in enumerate(_held(layer))}
    mine = rank.get(id(value), len(rank))
    return next((n for n, one in enumerate(listed) if rank.get(id(one), -1) > mine), len(listed))


def _held(layer: Any) -> Iterator[Any]:
    """What stands in the attributes of a layer and in lists and dicts there, in the order in which it was set."""
    stack = list(reversed(vars(layer).values()))
    while stack:
        value = stack.pop()
        if isinstance(value, (list, tuple)):
            stack.extend(reversed(value))
        elif isinstance(value, dict):
            stack.extend(reversed(value.values()))
        else:
            yield value
