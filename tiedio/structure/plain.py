"""The proof's last part: what is neither config nor variable must come back too, or the outputs may differ."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import numpy as np

from tiedio import keras_api, slots
from tiedio.errors import ModelError

# Set by Keras itself in the course of building and calling; they change no output.
_TRANSIENT = frozenset({"_already_warned", "_called", "_is_quantized_build", "build_config"})
_MAX_ITEMS = 100_000


def compare(live: slots.Walk, rebuilt: slots.Walk) -> None:
    """Raises `ModelError` at the first plain attribute that differs between a model and its rebuild.

    Numbers, strings, arrays and containers of them are compared; so is the class of every object. A value
    that is set by hand, or drawn at random in a constructor, and that `get_config` does not return would
    otherwise be lost without a word.
    """
    for mine, theirs in zip(live.objects, rebuilt.objects, strict=True):
        if type(mine.value) is not type(theirs.value):
            raise ModelError(
                "the rebuilt object is of another class",
                path=mine.path or "the model",
                expected=f"{type(mine.value).__module__}.{type(mine.value).__qualname__}",
                found=f"{type(theirs.value).__module__}.{type(theirs.value).__qualname__}",
                remedy="register the class under a name of its own",
            )
        before, after = _plain_attributes(mine.value), _plain_attributes(theirs.value)
        for name in sorted(before.keys() | after.keys()):
            old, new = before.get(name, slots.MISSING), after.get(name, slots.MISSING)
            if not _equal(old, new):
                raise ModelError(
                    "an attribute would not come back",
                    path=slots.join(mine.path, name),
                    expected=_short(old),
                    found=f"{_short(new)} after a rebuild from the config",
                    remedy=f"return {name.lstrip('_')!r} from get_config of {type(mine.value).__name__}, or make it a"
                    " weight",
                )


def _plain_attributes(value: Any) -> dict[str, Any]:
    return {
        name: item
        for name, item in slots.own_attributes(value).items()
        if name not in _TRANSIENT and _is_plain(item, 0)
    }


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, (str, bytes, int, float, complex, type(None), enum.Enum)):
        return True
    if slots.is_variable(value):
        return False
    if keras_api.array_kind(value) is not None:
        return True
    if depth > 8:
        return False
    if isinstance(value, (list, tuple, set, frozenset)):
        return len(value) <= _MAX_ITEMS and all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, Mapping):
        return len(value) <= _MAX_ITEMS and all(_is_plain(item, depth + 1) for item in value.values())
    return False


def _equal(old: Any, new: Any) -> bool:
    if old is new:
        return True
    if keras_api.array_kind(old) is not None or keras_api.array_kind(new) is not None:
        return _equal_arrays(old, new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_equal(old[key], new[key]) for key in old)
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        same_kind = isinstance(old, tuple) == isinstance(new, tuple)
        return same_kind and len(old) == len(new) and all(map(_equal, old, new))
    if type(old) is not type(new):
        return False
    return bool(old == new) or (old != old and new != new)


def _equal_arrays(old: Any, new: Any) -> bool:
    if keras_api.array_kind(old) is None or keras_api.array_kind(new) is None:
        return False
    mine, theirs = np.asarray(old), np.asarray(new)
    return mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
