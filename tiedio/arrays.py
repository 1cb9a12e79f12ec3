"""Arrays, tensors and the backend's own wrappers: what a value that is not Keras's is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def array_kind(value: Any) -> str | None:
    """`"numpy"`, `"scalar"` (of NumPy) or `"tensor"` (of the backend); `None` for anything else."""
    if isinstance(value, np.ndarray):
        return "numpy"
    if isinstance(value, np.generic):
        return "scalar"
    return "tensor" if keras.ops.is_tensor(value) else None


def as_array_kind(kind: str, array: Any) -> Any:
    """The inverse of `array_kind`: `array`, a NumPy array, as what it was."""
    if kind == "tensor":
        return keras.ops.convert_to_tensor(array)
    return array[()] if kind == "scalar" else array


def _is_wrapper(kind: type[Any]) -> bool:
    return kind.__name__ in ("_TupleWrapper", "_DictWrapper") and kind.__module__.startswith("tensorflow.")


is_wrapper: Callable[[Any], bool] = functools.cache(_is_wrapper)
"""Whether this is the type of TensorFlow's tracking proxy for a tuple or dict."""


def unwrapped(value: Any) -> Any:
    """The tuple or dict behind TensorFlow's tracking proxy, which says it is one and whose type is none."""
    return value.__wrapped__ if is_wrapper(type(value)) else value


def refill(container: Any, content: Any) -> None:
    """Makes a list, dict or set hold exactly `content`, past whatever tracks it; the same members stay untouched."""
    if isinstance(container, list):
        inner = getattr(container, "_storage", container)
        if [id(item) for item in inner] == [id(item) for item in content]:
            return
        list.__setitem__(inner, slice(None), content)
    elif isinstance(unwrapped(container), dict):
        dict.clear(unwrapped(container))
        dict.update(unwrapped(container), content)
    else:
        set.clear(container)
        set.update(container, content)
    if hasattr(container, "_update_snapshot"):
        container._update_snapshot()  # TensorFlow's proxies look for changes that they were not told of


def is_backend_variable(value: Any) -> bool:
    """Whether `value` is a bare variable of the backend (such as `tf.Variable`), which Keras does not track."""
    own = type(value)
    return own.__name__.endswith("Variable") and own.__module__.startswith("tensorflow.")


def is_backend_module(value: Any) -> bool:
    """Whether `value` is a `tf.Module`, which Keras does not track, of TensorFlow's own class."""
    own = type(value)
    return own.__name__ == "Module" and own.__module__.startswith("tensorflow.")


def is_table(value: Any) -> bool:
    """Whether `value` is a lookup table of TensorFlow's, which keeps its content outside of Python."""
    own = type(value)
    return own.__module__ == "tensorflow.python.ops.lookup_ops" and hasattr(own, "export")


def table_content(table: Any) -> dict[str, str] | None:
    """Keys and values of a lookup table; `None` if it has none yet."""
    try:
        keys, items = (np.asarray(side) for side in table.export())
    except Exception:  # noqa: BLE001 - a table that was never filled raises errors of TensorFlow's
        return None
    return {repr(key): repr(item) for key, item in zip(keys.tolist(), items.tolist(), strict=True)}


def is_symbolic(value: Any) -> bool:
    """Whether `value` is a tensor of a graph that is being, or was, traced: it has no value."""
    own = type(value)
    return own.__name__ == "SymbolicTensor" and own.__module__.startswith("tensorflow.")


def as_number(value: Any) -> Any:
    """A NumPy integer, truth or string as the Python one that it is; anything else as it stands.

    A NumPy float is no Python float: it decides on the dtype of what it is multiplied with.
    """
    return value.item() if isinstance(value, np.generic) and not isinstance(value, np.inexact) else value
