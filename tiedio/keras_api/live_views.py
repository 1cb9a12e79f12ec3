"""A weight that is computed from another variable at every use: gradients reach that one, and nothing is stored.

The backend's `Variable` subclass reads its value through `value` and `_value` (Keras 3.15.1); Keras's tracker and
TensorFlow's registry never learn of it, so that it is no weight of its own.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tiedio.errors import TieError
from tiedio.keras_api.classes import Variable, keras
from tiedio.views import View

_BASE: Any = Variable


class _Muted(threading.local):
    on: bool = False


_muted = _Muted()


@contextmanager
def assignments_ignored() -> Iterator[None]:
    """Inside the block assigning to a view of this thread does nothing, instead of raising."""
    before, _muted.on = _muted.on, True
    try:
        yield
    finally:
        _muted.on = before


class LiveView(_BASE):  # type: ignore[misc]
    """A variable without storage: its value is a view of another variable's.

    Args:
        source: the variable, none of these itself.
        view: how the value is computed, resolved for the source's shape.
    """

    def __init__(self, source: Any, view: View) -> None:
        # Keras's constructor would make storage; what it sets besides stands here or is a property below.
        self.source, self.view = source, view
        self._shape = view.result_shape(tuple(int(size) for size in source.shape))
        self._ndim = len(self._shape)
        self._dtype = source._dtype
        self._initializer = self._regularizer = self._constraint = self._layout = None
        self._overwrite_with_gradient = False

    # --- the value ------------------------------------------------------------------------------

    def _computed(self, value: Any) -> Any:
        if self.view.name == "transpose":
            return keras.ops.transpose(value, self.view.axes)
        if self.view.name == "reshape":
            return keras.ops.reshape(value, self.view.shape)
        return keras.ops.slice(value, self.view.start, self.view.shape)

    @property
    def value(self) -> Any:
        """The value now, cast as the source's is."""
        return self._computed(self.source.value)

    @property
    def _value(self) -> Any:
        return self._computed(self.source._value)

    # --- what belongs to the source -------------------------------------------------------------

    @property
    def trainable(self) -> bool:
        """Whether the source is trainable."""
        return bool(self.source.trainable)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if bool(value) != self.trainable:
            self._refuse("frozen")

    @property
    def name(self) -> str:
        """The source's name."""
        return str(self.source.name)

    @property
    def path(self) -> str:
        """The source's path."""
        return str(self.source.path)

    @property
    def _name(self) -> str:
        return self.name

    @property
    def _path(self) -> str:
        return self.path

    @property
    def _trainable(self) -> bool:
        return self.trainable

    @property
    def _autocast(self) -> bool:
        return bool(self.source._autocast)

    @property
    def aggregation(self) -> str:
        """The source's aggregation."""
        return str(self.source.aggregation)

    @property
    def synchronization(self) -> str:
        """The source's synchronization."""
        return str(self.source.synchronization)

    @property
    def regularizer(self) -> None:
        """Nothing: the source's regularizer counts once, at the source."""
        return None

    @regularizer.setter
    def regularizer(self, value: Any) -> None:
        if value is not None:
            self._refuse("regularized")

    @property
    def constraint(self) -> None:
        """Nothing: the source's constraint holds at the source."""
        return None

    @constraint.setter
    def constraint(self, value: Any) -> None:
        if value is not None:
            self._refuse("constrained")

    def assign(self, value: Any) -> Any:
        """Refused: the value is the source's."""
        if not _muted.on:
            self._refuse("assigned to")
        return value

    def _direct_assign(self, value: Any) -> None:
        self.assign(value)

    def _refuse(self, what: str) -> None:
        raise TieError(
            f"a view cannot be {what}: its value is computed from another weight",
            path=self.path,
            expected="the weight that it is computed from",
            found=f"its {self.view}",
            remedy="change the source, or untie the layer first: tiedio.untie(layer)",
        )

    def __repr__(self) -> str:
        return f"<LiveView {self.view} of {self.source.path}, shape={tuple(self.shape)}, dtype={self.dtype}>"

    def __reduce__(self) -> Any:
        return live_view, (self.source, self.view)


_views: weakref.WeakValueDictionary[tuple[int, View], LiveView] = weakref.WeakValueDictionary()


def live_view(source: Any, view: View) -> LiveView:
    """The view of a variable as a weight: one object for each variable and view, for as long as it is in use."""
    found = _views.get((id(source), view))  # it keeps the source alive, so that no other variable has this identity
    if found is None:
        found = _views[id(source), view] = LiveView(source, view)
    return found


def viewed(value: Any) -> tuple[Any, View | None]:
    """The variable that stores a value, and the view of it that `value` is, if it is one."""
    return (value.source, value.view) if isinstance(value, LiveView) else (value, None)
