"""Variables: raw values, facts, and rebuilding without values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

from tiedio.keras_api.classes import RandomInitializer, backend, keras

# TensorFlow's optimizer asks its own variable for the name (weight decay), which is the path that it was made in;
# `BaseResourceVariable.name` reads this attribute (TensorFlow 2.21).
_HANDLE_NAME = "_handle_name"


def set_variable_facts(variable: Any, **facts: Any) -> None:
    """Sets what a variable's constructor would take (`name`, `path`, `trainable`, …) on a living variable."""
    for name, value in facts.items():
        setattr(variable, f"_{name}", value)
    raw = raw_value(variable)
    if "path" in facts and hasattr(raw, _HANDLE_NAME):
        setattr(raw, _HANDLE_NAME, names_in_optimizers(variable)[1])


def names_in_optimizers(variable: Any) -> tuple[str, str]:
    """What `exclude_from_weight_decay(var_names=...)` is matched with, now and when the variable has been loaded."""
    raw = raw_value(variable)
    if not hasattr(raw, _HANDLE_NAME):
        return variable.name, variable.name
    return raw.name, f"{variable.path}:0"


def raw_value(variable: Any) -> Any:
    """The backend's own variable or array, without autocast."""
    return variable._value


def created_trainable(variable: Any) -> bool:
    """The flag that the backend's variable was made with; it cannot be changed afterwards."""
    own = getattr(raw_value(variable), "trainable", True)
    return own if isinstance(own, bool) else True


def device_of(variable: Any) -> str:
    """The device on which a variable's value is stored; of a view, that of its source."""
    raw = raw_value(getattr(variable, "source", variable))
    return str(getattr(raw, "device", ""))


def layout_of(variable: Any) -> Any:
    """The distribution layout that a variable was made with, or `None`; of a view, that of its source."""
    return getattr(variable, "source", variable)._layout


def storage_dtype(variable: Any) -> str:
    """The dtype that the variable is stored in, whatever autocast scope is active."""
    return str(keras.backend.standardize_dtype(variable._dtype))


class _Active(threading.local):
    zeros: Callable[[Any, str], Any] | None = None


_active = _Active()
_patch_lock = threading.Lock()
_patch_count = 0
_original: Any = None


def _initialize_lazily(self: Any, initializer: Any) -> None:
    # Values come from the file: drawing random numbers or writing zeros would be thrown away. Any other
    # initializer runs, since layers may read what it gives (masks, scales) while they build.
    if _active.zeros is not None and isinstance(initializer, (RandomInitializer, keras.initializers.Zeros)):
        self._initialize(_active.zeros(tuple(self._shape), self._dtype))
    else:
        MethodType(_original, self)(initializer)


@contextmanager
def without_values(zeros: Callable[[Any, str], Any]) -> Iterator[None]:
    """Inside the block random and zero initializers of this thread give `zeros(shape, dtype)` instead.

    The hook is `Variable._initialize_with_initializer`; other threads keep Keras's own behavior.
    """
    global _patch_count, _original
    with _patch_lock:
        if _patch_count == 0:
            _original = backend.Variable._initialize_with_initializer
            backend.Variable._initialize_with_initializer = _initialize_lazily
        _patch_count += 1
    before, _active.zeros = _active.zeros, zeros
    try:
        yield
    finally:
        _active.zeros = before
        with _patch_lock:
            _patch_count -= 1
            if _patch_count == 0:
                backend.Variable._initialize_with_initializer = _original
