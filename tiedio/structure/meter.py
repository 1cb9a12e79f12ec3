"""Counts what a rebuild makes, and refuses before it makes more than the file can stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any, NoReturn

import numpy as np

from tiedio.errors import LimitError
from tiedio.limits import Limits
from tiedio.manifest import Manifest

# The most that any model of the zoo needs for each object and call that it lists is 1.2 operations (wrappers copy the
# layer that they are given) and 2 tensors.
_OPERATIONS, _OPERATIONS_FOR_EACH = 100, 2
_TENSORS, _TENSORS_FOR_EACH = 10_000, 8


def meter_for(manifest: Manifest, structure: Mapping[str, Any], limits: Limits, path: str) -> Meter | None:
    """A meter for the rebuild of a file; `None` if there are no limits, as for a living model."""
    if limits == Limits.off():
        return None
    shapes = (slot.shape_of(variable.shape) for variable in manifest.variables for slot in variable.slots)
    return Meter(shapes, len(structure["objects"]) + len(structure["nodes"]), limits, path)


class Meter:
    """Told of everything before it is made.

    Args:
        shapes: the shapes of all variables that the file stores, and those that views of them have.
        objects: how many layers, operations and calls the file has.
        limits: what it may ask for.
        path: the file, for errors.
    """

    def __init__(self, shapes: Iterable[tuple[int, ...]], objects: int, limits: Limits, path: str) -> None:
        self.refusal: LimitError | None = None
        self._shapes = frozenset(shapes)
        self._limits, self._path = limits, path
        scale = 1 if limits.objects != float("inf") else float("inf")
        self._operations_left = (_OPERATIONS + _OPERATIONS_FOR_EACH * objects) * scale
        self._tensors_left = (_TENSORS + _TENSORS_FOR_EACH * objects) * scale
        self._unlisted = self._drawn = 0

    def operation(self) -> None:
        """A layer or operation is going to be made."""
        self._operations_left -= 1
        if self._operations_left < 0:
            self._refuse("objects", "a class makes far more layers than the file lists", "no end")

    def tensor(self) -> None:
        """A symbolic tensor is going to be made."""
        self._tensors_left -= 1
        if self._tensors_left < 0:
            self._refuse("objects", "a call has far more outputs than the file has objects", "no end")

    def variable(self, shape: Sequence[int], dtype: str, waits: bool) -> None:
        """A variable is going to be made.

        Args:
            shape: its shape.
            dtype: its dtype.
            waits: whether it takes no memory until its value is there.
        """
        size = prod(map(int, shape)) * _item_size(dtype)
        if tuple(shape) not in self._shapes:
            self._unlisted += size
            if self._limits.unlisted is not None and self._unlisted > self._limits.unlisted:
                found = f"a variable of {dtype} {tuple(shape)}, {self._unlisted:,} bytes with others"
                self._refuse("unlisted", "a class makes variables whose values are not in the file", found)
        elif not waits:
            self._drawn += size
            if self._limits.memory is not None and self._drawn > self._limits.memory:
                self._refuse("memory", "initializers make more values than the file has", f"{self._drawn:,} bytes")

    def _refuse(self, limit: str, what: str, found: str) -> NoReturn:
        value = getattr(self._limits, limit)
        self.refusal = LimitError(
            what,
            path=self._path,
            expected=f"what fits the size of the file ({limit}: {value:,})",
            found=found,
            remedy=f"if you trust the file: limits=tiedio.Limits({limit}=...)",
        )
        raise self.refusal


def _item_size(dtype: str) -> int:
    try:
        return np.dtype(dtype).itemsize
    except TypeError:  # bfloat16, float8 and the like, of which NumPy knows nothing
        return 2
