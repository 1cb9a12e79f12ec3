"""Methods of one layer that stand before those of its class: Keras would break a tie without a word.

They are functions in the layer's `__dict__`, where Keras 3.15.1 itself puts a wrapper of `quantize` when the layer is
made, and `bookkeeping_names` keeps them out of every walk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tiedio.errors import TiedLayerError
from tiedio.keras_api.classes import ORDER_NAME, Layer
from tiedio.keras_api.live_views import LiveView, assignments_ignored
from tiedio.keras_api.objects import set_store, stores
from tiedio.keras_api.variables import created_trainable

_BREAKS = ("quantize", "enable_lora")
_STORES_VALUES = ("save_own_variables", "load_own_variables")
_KEEPS_VARIABLES = ("float8",)
_BEFORE = "_tiedio_before"
_VARIABLES = ("trainable_variables", "non_trainable_variables")


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
    held = any(isinstance(value, LiveView) for _, value in _held(layer))
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


def note_order(layer: Any) -> None:
    """Notes where the weights of a layer stand in Keras's lists, before a view takes one from there."""
    if ORDER_NAME not in vars(layer):
        ranks = {id(one): (name, n) for name in _VARIABLES for n, one in enumerate(stores(layer).get(name, ()))}
        vars(layer)[ORDER_NAME] = {place: ranks[id(one)] for place, one in _held(layer) if id(one) in ranks}


def forget_order(layer: Any) -> None:
    """Forgets what `note_order` noted, if no view is left."""
    if not any(isinstance(value, LiveView) for _, value in _held(layer)):
        vars(layer).pop(ORDER_NAME, None)


@contextmanager
def _views_in_stores(layer: Any) -> Iterator[None]:
    before = {name: list(store) for name, store in stores(layer).items()}
    for view in {id(value): value for _, value in _held(layer) if isinstance(value, LiveView)}.values():
        insert(layer, view)
    try:
        yield
    finally:
        for name, listed in before.items():
            set_store(layer, name, listed)


def insert(layer: Any, value: Any) -> None:
    """Puts a variable or view that a layer holds into Keras's list where the weight in its place stood."""
    noted = vars(layer).get(ORDER_NAME, {})
    homes: dict[int, tuple[str, int]] = {}
    for n, (place, one) in enumerate(_held(layer)):
        homes.setdefault(id(one), noted.get(place, ("", n)))
    name, rank = homes.get(id(value), ("", len(homes)))
    if not name:
        trained = created_trainable(getattr(value, "source", value))
        name = "trainable_variables" if trained else "non_trainable_variables"
    listed = list(stores(layer)[name])
    later = (n for n, one in enumerate(listed) if homes.get(id(one), ("", -1))[1] > rank)
    listed.insert(next(later, len(listed)), value)
    set_store(layer, name, listed)


def _held(layer: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Place and value of what stands in a layer's attributes and in lists and dicts there, in the order of setting."""
    stack: list[tuple[tuple[Any, ...], Any]] = [((name,), value) for name, value in reversed(vars(layer).items())]
    while stack:
        place, value = stack.pop()
        if isinstance(value, (list, tuple)):
            stack.extend(((*place, n), item) for n, item in reversed(list(enumerate(value))))
        elif isinstance(value, dict) and place != (ORDER_NAME,):
            stack.extend(((*place, key), item) for key, item in reversed(value.items()))
        elif place[0] not in ("_trainable_variables", "_non_trainable_variables"):
            yield place, value
