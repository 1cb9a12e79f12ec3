"""Counts what a rebuild makes, and refuses before it makes more than the file can stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, prod
from typing import Any

import numpy as np

from tiedio.errors import LimitError
from tiedio.limits import Limits
from tiedio.manifest import Manifest

# The most that any model of the zoo needs for each object and call that it lists is 1.2 operations (wrappers copy the
# layer that they are given) and 2 tensors.
_OPERATIONS, _OPERATIONS_FOR_EACH = 100, 2
_TENSORS, _TENSORS_FOR_EACH = 10_000, 8
_USES, _USES_FOR_EACH = 2_000, 8


def meter_for(manifest: Manifest, structure: Mapping[str, Any], limits: Limits, path: str) -> Meter:
    """A meter for the rebuild of a file."""
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
        self._most = {
            "operations": _OPERATIONS + _OPERATIONS_FOR_EACH * objects,
            "tensors": _TENSORS + _TENSORS_FOR_EACH * objects,
            "uses": _USES + _USES_FOR_EACH * objects,
        }
        self._operations = self._tensors = self._uses = self._unlisted = self._drawn = 0

    def operation(self) -> None:
        """A layer or operation is going to be made."""
        self._operations += 1
        if self._operations > self._most["operations"]:
            self._refuse()

    def tensor(self) -> None:
        """A symbolic tensor is going to be made."""
        self._tensors += 1
        if self._tensors > self._most["tensors"]:
            self._refuse()

    def use(self) -> None:
        """A layer or operation is going to be called, or to be asked for its config."""
        self._uses += 1
        if self._uses > self._most["uses"]:
            self._refuse()

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
            self._refuse()
        elif not waits:
            self._drawn += size
            self._refuse()

    def beyond(self, limits: Limits) -> LimitError | None:
        """The error if what was made so far is more than these limits allow."""
        objects = inf if limits.objects == inf else 1
        for limit, most, made, what in (
            ("objects", self._most["operations"] * objects, self._operations, "layers than the file lists are made"),
            ("objects", self._most["tensors"] * objects, self._tensors, "outputs than the file has objects are made"),
            ("objects", self._most["uses"] * objects, self._uses, "calls than the file has objects are made"),
            ("unlisted", limits.unlisted, self._unlisted, "bytes of variables than are in the file are made"),
            ("memory", limits.memory, self._drawn, "bytes than the file has are drawn by initializers"),
        ):
            if most is not None and made > most:
                raised = "math.inf" if limit == "objects" else "..."  # a number of objects does not count for these
                return LimitError(
                    f"far more {what}",
                    path=self._path,
                    expected=f"what fits the size of the file: at most {most:,}",
                    found=f"{made:,}",
                    remedy=f"if you trust the file: limits=tiedio.Limits({limit}={raised})",
                )
        return None

    def _refuse(self) -> None:
        refusal = self.beyond(self._limits)
        if refusal is not None:
            self.refusal = self.refusal or refusal
            raise refusal


def _item_size(dtype: str) -> int:
    try:
        return np.dtype(dtype).itemsize
    except TypeError:  # bfloat16, float8 and the like, of which NumPy knows nothing
        return 2
