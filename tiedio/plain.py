"""The proof's last part: what is neither config nor variable must come back too, or the outputs may differ."""

from __future__ import annotations

import enum
import functools
import types
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tiedio import arrays, keras_api, slots
from tiedio.errors import ModelError

# Set by Keras itself in the course of building and calling; they change no output.
_TRANSIENT = frozenset({"_already_warned", "_dropout_mask", "_recurrent_dropout_mask"})
# Bookkeeping of Keras's base class that user code may set and that no config returns.
_FLAGS = ("autocast", "_supports_masking", "_convert_input_args", "_allow_non_tensor_positional_args")
_MAX_ITEMS = 100_000
_MAX_DEPTH = 12


@dataclass(frozen=True, slots=True)
class Identities:
    """Canonical path of each walked object on either side: two references are alike if their paths are."""

    live: Mapping[int, str] = field(default_factory=dict)
    rebuilt: Mapping[int, str] = field(default_factory=dict)


def compare(live: slots.Walk, rebuilt: slots.Walk) -> None:
    """Raises `ModelError` at the first plain attribute that differs between a model and its rebuild.

    Numbers, strings, arrays, functions, configured objects such as regularizers, and containers of them are
    compared; so is the class of every object. A value that is set by hand, or drawn at random in a
    constructor, and that `get_config` does not return would otherwise be lost without a word.
    """
    identities = Identities(live.object_paths(), rebuilt.object_paths())
    for mine, theirs in zip(live.objects, rebuilt.objects, strict=True):
        compare_objects(mine.path, mine.value, theirs.value, identities)
    for old, new in zip(live.by_variable(), rebuilt.by_variable(), strict=True):
        for name in ("regularizer", "constraint"):
            before, after = getattr(old[0].variable, name), getattr(new[0].variable, name)
            compare_objects(slots.join(old[0].path, f"@{name}"), before, after, identities)


def compare_objects(path: str, mine: Any, theirs: Any, identities: Identities | None = None) -> None:
    """Raises `ModelError` if two objects differ in class or in a plain attribute."""
    if type(mine) is not type(theirs):
        raise ModelError(
            "the rebuilt object is of another class",
            path=path or "the model",
            expected=f"{type(mine).__module__}.{type(mine).__qualname__}",
            found=f"{type(theirs).__module__}.{type(theirs).__qualname__}",
            remedy="register the class under a name of its own",
        )
    if not hasattr(mine, "__dict__"):
        return
    before, after = plain_attributes(mine), plain_attributes(theirs)
    for name in sorted(before.keys() | after.keys()):
        # An attribute that is not there and one that is `None` read alike: caches begin so.
        old, new = before.get(name), after.get(name)
        if not equal(old, new, identities or Identities()):
            raise ModelError(
                "an attribute would not come back",
                path=slots.join(path, name),
                expected=_short(old),
                found=f"{_short(new)} after a rebuild from the config",
                remedy=f"return {name.lstrip('_')!r} from get_config of {type(mine).__name__}, or make it a weight",
            )


def plain_attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object that can be compared: all but variables, layers and what holds them.

    A functional or sequential model of Keras's own class has no code that reads them: what is set on it by
    hand is a note of the user's, and changes no output.
    """
    if type(value) in (keras_api.Functional, keras_api.Sequential):
        return {}
    attributes = slots.own_attributes(value)
    if isinstance(value, keras_api.Layer):
        attributes |= {name: vars(value)[name] for name in _FLAGS if name in vars(value)}
    return {name: item for name, item in attributes.items() if name not in _TRANSIENT and _is_plain(item, 0)}


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, (str, bytes, int, float, complex, type(None), enum.Enum, type)):
        return True
    if slots.classify(type(value)) in ("variable", "object") or isinstance(value, keras_api.BaseOptimizer):
        return False
    if isinstance(value, (types.FunctionType, types.MethodType, functools.partial, weakref.ref)):
        return True
    if arrays.array_kind(value) is not None or _has_config(value):
        return True
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, (list, tuple, set, frozenset)):
        return len(value) <= _MAX_ITEMS and all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, Mapping):
        return len(value) <= _MAX_ITEMS and all(_is_plain(item, depth + 1) for item in value.values())
    if slots.classify(type(value)) == "plain":
        return all(_is_plain(item, depth + 1) for item in slots.attributes_of(value).values())
    return False


def _has_config(value: Any) -> bool:
    return hasattr(value, "get_config") and not isinstance(value, type)


def equal(old: Any, new: Any, identities: Identities) -> bool:
    """Whether two plain values are the same, bit for bit for arrays."""
    if old is new:
        return True
    old, new = _as_number(old), _as_number(new)
    if arrays.array_kind(old) is not None or arrays.array_kind(new) is not None:
        return _equal_arrays(old, new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(equal(old[key], new[key], identities) for key in old)
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        same_kind = isinstance(old, tuple) == isinstance(new, tuple)
        pairs = zip(old, new, strict=False)
        return same_kind and len(old) == len(new) and all(equal(one, other, identities) for one, other in pairs)
    if type(old) is not type(new):
        return False
    if isinstance(old, weakref.ref):
        return _alike(old(), new(), identities)
    if isinstance(old, types.MethodType):
        return old.__func__ is new.__func__ and _alike(old.__self__, new.__self__, identities)
    if isinstance(old, functools.partial):
        return all(equal(getattr(old, part), getattr(new, part), identities) for part in ("func", "args", "keywords"))
    if isinstance(old, types.FunctionType):
        return _equal_functions(old, new, identities)
    if _has_config(old):
        return _config_text(old) == _config_text(new)
    if slots.classify(type(old)) == "plain":
        return equal(slots.attributes_of(old), slots.attributes_of(new), identities)
    return bool(old == new) or (old != old and new != new)


def _as_number(value: Any) -> Any:
    # Keras writes a NumPy number into a config as the Python number that it is.
    return value.item() if arrays.array_kind(value) == "scalar" else value


def _config_text(value: Any) -> str:
    try:
        return repr(keras_api.keras.saving.serialize_keras_object(value))
    except (NotImplementedError, TypeError, ValueError):
        return repr(type(value))


def _alike(old: Any, new: Any, identities: Identities) -> bool:
    """Whether two referents are the same object of the model, or neither belongs to it and they are equal."""
    place = identities.live.get(id(old))
    if place is not None or id(new) in identities.rebuilt:
        return place == identities.rebuilt.get(id(new))
    return _is_plain(old, 0) and equal(old, new, identities)


def _equal_functions(old: Any, new: Any, identities: Identities) -> bool:
    """Two makings of one function: the same code, defaults and plain captured values."""
    captured = [[_contents(cell) for cell in function.__closure__ or ()] for function in (old, new)]
    return (
        old.__code__.co_code == new.__code__.co_code
        and old.__code__.co_names == new.__code__.co_names
        and _constants(old.__code__) == _constants(new.__code__)
        and equal(old.__defaults__, new.__defaults__, identities)
        and len(captured[0]) == len(captured[1])
        and all(
            one is other or _alike(one, other, identities) for one, other in zip(captured[0], captured[1], strict=True)
        )
    )


def _constants(code: types.CodeType) -> list[Any]:
    return [item.co_code if isinstance(item, types.CodeType) else repr(item) for item in code.co_consts]


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that is not filled yet
        return slots.MISSING


def _equal_arrays(old: Any, new: Any) -> bool:
    if arrays.array_kind(old) is None or arrays.array_kind(new) is None:
        return False
    mine, theirs = np.asarray(old), np.asarray(new)
    return mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
