"""What the walk does not enter: functions, bound methods, partials, views and iterators, and the state behind them.

A layer that only such a thing holds stands in no slot: it would be made anew, with other weights, without a word.
"""

from __future__ import annotations

import contextvars
import dis
import functools
import gc
import threading
import types
from collections.abc import Iterator, Mapping
from typing import Any

from tiedio import arrays, keras_api, plain, slots
from tiedio.errors import ModelError

# Python's own things that carry others along, beside those that do not or that lead to everything there is.
_CARRIERS = frozenset(
    {"builtins", "collections", "contextvars", "functools", "itertools", "operator",
     "_collections", "_contextvars", "_functools", "_operator"}
)  # fmt: skip
_INERT = (
    str, bytes, bytearray, memoryview, int, float, complex, type(None), type, slice, range, BaseException,
    types.ModuleType, types.CodeType, types.FrameType, types.TracebackType,
)  # fmt: skip


def leaves(
    value: Any, behind: str = "", functions: list[types.FunctionType] | None = None
) -> Iterator[tuple[str, str, Any]]:
    """Variables and objects inside a value that the walk passes by.

    Args:
        value: the value.
        behind: what the value itself is behind, if it is out of the walk's sight.
        functions: takes the functions that are found, which are looked into if there is no such list.

    Yields:
        For each its place in the value, the class of the thing that it is behind, and the variable or object.
    """
    stack = [("", value, behind)]
    seen: dict[tuple[int, bool], Any] = {}
    while stack:
        where, item, after = stack.pop()
        item = arrays.unwrapped(item)
        if (id(item), bool(after)) in seen:
            continue
        seen[id(item), bool(after)] = item
        kind = slots.classify(type(item))
        if functions is not None and isinstance(item, types.FunctionType):
            functions.append(item)
            continue
        if kind in ("variable", "object"):
            if after:
                yield where, after, item
            continue
        if kind == "sequence":
            inside = [(f"{where}/{n}", part, after) for n, part in enumerate(item)]
        elif kind == "mapping":
            inside = [(f"{where}/{slots.escape(str(key))}", part, after) for key, part in item.items()]
        elif kind == "set":  # the walk sees the objects in it, and nothing else
            members = sorted(item, key=lambda part: (type(part).__name__, str(getattr(part, "name", ""))))
            inside = [(where, m, after or ("" if slots.classify(type(m)) == "object" else "set")) for m in members]
        elif kind == "plain":
            attributes = sorted(slots.attributes_of(item).items())
            inside = [(f"{where}/{slots.escape(name)}", part, after) for name, part in attributes]
        else:
            inside = [(where, part, type(item).__name__) for part in carried(item)]
        stack.extend(reversed(inside))


def carried(value: Any) -> list[Any]:
    """What a function, bound method, partial, view, iterator or the like carries along."""
    if isinstance(value, _INERT):
        return []
    if isinstance(value, types.FunctionType):
        return list(reached(value).values())
    function = python_function(value)
    if function is not value:
        return [function]
    if isinstance(value, threading.local):
        return list(vars(value).values())
    if isinstance(value, contextvars.ContextVar):
        return [value.get(None), *gc.get_referents(value)]
    return gc.get_referents(value) if type(value).__module__ in _CARRIERS else []


def python_function(value: Any) -> Any:
    """The function that `tf.function` wraps; anything else as it stands."""
    of_backend = type(value).__module__.startswith("tensorflow.")
    return getattr(value, "python_function", value) if of_backend else value


def reached(function: types.FunctionType) -> dict[str, Any]:
    """What a function reads beside its arguments: globals, captured variables, defaults; of Keras's own: nothing."""
    if (function.__module__ or "").partition(".")[0] in ("keras", "tensorflow"):
        return {}
    found = {name: function.__globals__.get(name) for name in global_names(function.__code__)}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue
    found |= {f"default {i}": value for i, value in enumerate(function.__defaults__ or ())}
    return found | dict(function.__kwdefaults__ or {})


@functools.lru_cache(maxsize=4096)
def global_names(code: types.CodeType) -> tuple[str, ...]:
    """Names that the code reads from its module; attribute names do not count."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(global_names(constant))
    return tuple(sorted(names))


def class_functions(cls: type) -> Iterator[types.FunctionType]:
    """The methods that a class of a user's defines; those in `tf.function` too."""
    if cls.__module__.partition(".")[0] in ("keras", "tensorflow", "builtins"):
        return
    for value in vars(cls).values():
        inner = python_function(getattr(value, "__func__", value))
        if isinstance(inner, types.FunctionType):
            yield inner


def known(walk: slots.Walk) -> Mapping[int, Any]:
    """What has a place of its own in the models, by identity."""
    objects = {id(found.value): found.value for found in walk.objects}
    return objects | {id(slot.variable): slot.variable for slot in walk.slots}


def refuse(path: str, value: Any, known: Mapping[int, Any], behind: str = "", metrics: bool = True) -> None:
    """Raises `ModelError` if a value hides a variable, or a layer with state, that has no place in the models.

    Args:
        path: the place of the value.
        value: the value.
        known: what has a place, by identity.
        behind: what the value itself is behind, if it is out of the walk's sight.
        metrics: whether what a metric has counted is state.
    """
    for where, after, leaf in leaves(value, behind):
        if id(leaf) not in known and _has_state(leaf, known, metrics):
            raise ModelError(
                "a layer or variable is where no slot shows it, so its weights would be lost",
                path=f"{path}{where}" or "the model",
                expected="a layer that holds what it uses in an attribute, a list or a dict",
                found=f"{type(leaf).__name__} {getattr(leaf, 'name', '')!r} behind a {after}",
                remedy="hold the layer or variable itself in an attribute, and call it from there",
            )


def _has_state(leaf: Any, known: Mapping[int, Any], metrics: bool) -> bool:
    if slots.is_variable(leaf):
        return True
    if isinstance(leaf, keras_api.Metric) and not metrics:
        return False
    if isinstance(leaf, keras_api.Layer) and not leaf.built:
        return True  # not yet
    inner = slots.walk({None: leaf})
    counted = {one.path for one in inner.objects if isinstance(one.value, keras_api.Metric) and not metrics}
    return any(id(slot.variable) not in known and slot.owner not in counted for slot in inner.slots)


def attributes(found: slots.FoundObject) -> Iterator[tuple[str, Any]]:
    """The attributes of an object that code may read; on a graph of Keras's own class only what replaces a method."""
    bare = type(found.value) in (keras_api.Functional, keras_api.Sequential)
    for name, value in slots.own_attributes(found.value).items():
        if not bare or hasattr(type(found.value), name):
            yield name, value


def refuse_lost_weights(walk: slots.Walk) -> None:
    """Raises `ModelError` if weights that the models use stand in no slot: for a file of weights alone."""
    mine = known(walk)
    checked: set[type] = set()
    for found in walk.objects:
        values = list(attributes(found))
        for cls in type(found.value).__mro__ if type(found.value) not in checked else ():
            values += [(function.__name__, function) for function in class_functions(cls)]
        checked.add(type(found.value))
        for name, value in values:
            refuse(slots.join(found.path, name), value, mine, metrics=False)
    for slot in walk.slots:
        for part in (slot.variable.regularizer, slot.variable.constraint):
            refuse(f"{slot.path}/{type(part).__name__}", part, mine, type(part).__name__, metrics=False)


def compare(live: slots.Walk, rebuilt: slots.Walk) -> None:
    """Raises `ModelError` unless what is behind functions and the like is the same place of the model and its rebuild.

    Restored ties change what slots hold, and not what a bound method of a constructor's making is bound to.
    """
    sides = [walk.object_paths() | walk.canonical_slots() for walk in (live, rebuilt)]
    for mine, theirs in zip(live.objects, rebuilt.objects, strict=True):
        other = slots.own_attributes(theirs.value)
        for name, value in attributes(mine):
            if other.get(name) is None:
                continue  # told elsewhere, if it matters
            path = slots.join(mine.path, name)
            held = [[leaf for _, _, leaf in leaves(one)] for one in (value, other[name])]
            found, again = ([names.get(id(leaf), "") for leaf in one] for one, names in zip(held, sides, strict=True))
            if found != again:
                raise ModelError(
                    "a bound method, function or view would come back with another layer or variable than it has",
                    path=path,
                    expected=", ".join(found)[:200],
                    found=", ".join(place or "one that is not in the model" for place in again)[:200],
                    remedy="hold the layer or variable itself in an attribute, and call it from there",
                )
            for place, old, new in zip(found, *held, strict=True):
                if not place:  # a layer without state, which the class's own code makes
                    plain.compare_objects(path, old, new)
