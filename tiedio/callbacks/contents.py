"""Fingerprints of what is not plain: whether an object that is held all along has another content by now."""

from __future__ import annotations

import pickle
import types
from collections.abc import Collection
from typing import Any

import keras
from xxhash import xxh3_128

from tiedio import arrays, slots, values

_OF_KERAS = (keras.layers.Layer, keras.optimizers.Optimizer, keras.metrics.Metric, keras.losses.Loss)
_OF_BACKENDS = ("keras", "tensorflow", "jax", "jaxlib", "torch")


def content_of(value: Any, owned: Collection[int] = ()) -> str:
    """A digest of an object and of all that it holds; of parts that cannot be looked into, their identity.

    Args:
        value: what is not plain: an object, a `deque`, a function with what it closes over.
        owned: identities of variables that are kept elsewhere.

    Returns:
        The same text for the same object with the same content; in another process it means nothing.
    """
    sink = _Sink()
    try:
        _Digest(sink, owned).dump(value)
    except Exception:  # noqa: BLE001 - a class may do anything when it is asked to tell what it holds
        return ""
    return sink.hashed.hexdigest()


class _Sink:
    """A file that only hashes."""

    def __init__(self) -> None:
        self.hashed = xxh3_128()

    def write(self, data: Any) -> int:
        self.hashed.update(data)
        return len(data)


class _Digest(pickle.Pickler):
    def __init__(self, sink: Any, owned: Collection[int]) -> None:
        super().__init__(sink, protocol=4)
        self._owned = owned

    def persistent_id(self, value: Any) -> str | None:
        """Called by pickle for each part: what is told here is not looked into."""
        kind = type(value)
        if slots.is_variable(value) or arrays.is_backend_variable(value):
            told = "" if id(value) in self._owned else _value_of(value)
            return f"{id(value)} {told}"
        home = kind.__module__.partition(".")[0]
        if isinstance(value, (*_OF_KERAS, type, types.ModuleType)):
            return str(id(value))
        if home in _OF_BACKENDS and not isinstance(value, keras.callbacks.Callback):
            return str(id(value))
        return None

    def reducer_override(self, value: Any) -> Any:
        """Called by pickle for what it has no way of its own for."""
        if isinstance(value, types.FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
            return tuple, ((id(value), cells, value.__defaults__, value.__kwdefaults__),)
        try:
            parts = value.__reduce_ex__(4)
        except Exception:  # noqa: BLE001 - a lock, a file, a generator
            parts = ""
        return (tuple, ((id(value),),)) if isinstance(parts, str) else parts


def _value_of(variable: Any) -> str:
    if slots.is_variable(variable):
        return xxh3_128(values.array_of(variable).tobytes()).hexdigest()
    return xxh3_128(variable.numpy().tobytes()).hexdigest() if hasattr(variable, "numpy") else ""
