"""What a rebuild makes is told to a meter before it is made, so that a small file cannot ask for endless work.

Read in Keras 3.15.1: every layer and operation passes `Operation.__init__`, every symbolic tensor
`KerasTensor.__init__`, every call of one `Operation.__call__`, and every config of a layer `Layer.get_config`;
variables are told by `tiedio.keras_api.deferred`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from tiedio.keras_api.classes import KerasTensor, Layer, Operation
from tiedio.keras_api.patching import Patch


class Meter(Protocol):
    """What is told; it raises to stop the rebuild."""

    def operation(self) -> None:
        """A layer or operation is going to be made."""

    def tensor(self) -> None:
        """A symbolic tensor is going to be made."""

    def use(self) -> None:
        """A layer or operation is going to be called, or to be asked for its config."""

    def variable(self, shape: Sequence[int], dtype: str, waits: bool) -> None:
        """A variable is going to be made; `waits` tells that it takes no memory until its value is there."""


class _Active(threading.local):
    meter: Meter | None = None


_active = _Active()
_originals: dict[str, Callable[..., Any]] = {
    "operation": Operation.__init__,
    "tensor": KerasTensor.__init__,
    "call": Operation.__call__,
    "config": Layer.get_config,
}


def active_meter() -> Meter | None:
    """The meter of the innermost block in this thread."""
    return _active.meter


@functools.wraps(_originals["operation"])
def _operation(self: Any, name: Any = None) -> None:
    # The very parameters: `Operation.__new__` asks for them by `getfullargspec`, which sees through no wrapper.
    if _active.meter is not None:
        _active.meter.operation()
    _originals["operation"](self, name=name)


@functools.wraps(_originals["tensor"])
def _tensor(self: Any, *args: Any, **kwargs: Any) -> None:
    if _active.meter is not None:
        _active.meter.tensor()
    _originals["tensor"](self, *args, **kwargs)


@functools.wraps(_originals["call"])
def _call(self: Any, *args: Any, **kwargs: Any) -> Any:
    if _active.meter is not None:
        _active.meter.use()
    return _originals["call"](self, *args, **kwargs)


@functools.wraps(_originals["config"])
def _config(self: Any) -> Any:
    if _active.meter is not None:
        _active.meter.use()
    return _originals["config"](self)


_patch = Patch(
    (Operation, "__init__", _operation),
    (KerasTensor, "__init__", _tensor),
    (Operation, "__call__", _call),
    (Layer, "get_config", _config),
)


@contextmanager
def metered(meter: Meter | None) -> Iterator[None]:
    """Inside the block `meter` is told of what this thread makes; `None` counts nothing."""
    if meter is None:
        yield
        return
    before = _active.meter
    with _patch.block():
        try:
            _active.meter = meter
            yield
        finally:
            _active.meter = before
