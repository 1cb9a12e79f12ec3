"""Values of two files beside each other, in bounded memory: neither file is ever whole in memory, nor mapped.

A mapped file that is cut short ends the process, and every page that was looked at counts as memory; so the bytes are
read in parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiedio.comparing.difference import ValueChange
from tiedio.container.observing import Counter, Observer
from tiedio.container.single import Reader
from tiedio.dtypes import numpy_dtype
from tiedio.manifest import TensorSpec

_PART = 1 << 20  # bytes that are read of each file at once; a multiple of every item's size
_BITS = {1: "u1", 2: "u2", 4: "u4", 8: "u8"}

Pair = tuple[TensorSpec, str]
"""A tensor of the first file, and the name of one of the second that has its dtype and shape."""


def compare_values(
    a: Reader, b: Reader, pairs: Iterable[Pair], atol: float = 0.0, progress: Observer | None = None
) -> tuple[ValueChange, ...]:
    """Compares tensors, every byte of them.

    Args:
        a: the first file.
        b: the second file.
        pairs: what to compare.
        atol: elements that differ by no more than this are taken to be the same; with 0, all bits count.
        progress: told of the bytes of both files.

    Returns:
        The tensors that differ, in the order of `pairs`.
    """
    listed = list(pairs)
    rooms = (np.empty(_PART, np.uint8), np.empty(_PART, np.uint8))
    sizes = [_size_of(a, spec.name) for spec, _ in listed]
    counter = None if progress is None else Counter(progress, 2 * sum(sizes))
    found = []
    for (spec, other), size in zip(listed, sizes, strict=True):
        item = numpy_dtype(spec.dtype)
        sum_ = _Sum(item, atol)
        for start in range(0, size, _PART):
            mine, theirs = (room[: min(_PART, size - start)] for room in rooms)
            a.read_into(spec.name, start, mine)
            b.read_into(other, start, theirs)
            if not np.array_equal(mine, theirs):
                sum_.add(mine, theirs, start // item.itemsize)
            if counter is not None:
                counter.add(2 * mine.size)
        if sum_.differing:
            first = tuple(int(index) for index in np.unravel_index(sum_.first, spec.shape)) if spec.shape else ()
            found.append(
                ValueChange(spec.name, spec.dtype, spec.shape, sum_.differing, sum_.largest, sum_.not_numbers, first)
            )
    return tuple(found)


def _size_of(reader: Reader, name: str) -> int:
    entry = reader.header.entries[name]
    return entry.stop - entry.start


class _Sum:
    """What differs between the parts of two tensors that were looked at so far."""

    __slots__ = ("_atol", "_item", "differing", "first", "largest", "not_numbers")

    def __init__(self, item: np.dtype[Any], atol: float) -> None:
        self._item = item
        self._atol = atol
        self.differing = 0
        self.first = 0
        self.largest: float | int | None = None
        self.not_numbers = 0

    def add(self, mine: NDArray[np.uint8], theirs: NDArray[np.uint8], start: int) -> None:
        """Looks at a part of both that is not the same; `start` is the number of its first element."""
        bits = _BITS[self._item.itemsize]
        at = np.flatnonzero(mine.view(bits) != theirs.view(bits))
        one, other = (_numbers(side, self._item)[at] for side in (mine, theirs))
        distance, one_sided = _distances(one, other)
        if self._atol > 0:
            apart = one_sided | (distance > self._atol)
            at, distance, one_sided = at[apart], distance[apart], one_sided[apart]
        if not at.size:
            return
        if not self.differing:
            self.first = start + int(at[0])
        self.differing += int(at.size)
        self.not_numbers += int(np.count_nonzero(one_sided))
        known = distance[~np.isnan(distance)] if distance.dtype.kind == "f" else distance
        if known.size:
            largest = known.max().item()
            self.largest = largest if self.largest is None else max(self.largest, largest)


def _numbers(raw: NDArray[np.uint8], item: np.dtype[Any]) -> NDArray[Any]:
    # A truth value's byte may be any: as a number it can be subtracted.
    return raw.view(np.uint8 if item.kind == "b" else item)


def _distances(one: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The absolute difference of each pair, NaN where there is none; and which have a NaN on one side only."""
    kind = one.dtype.kind
    if kind in "iu":  # the difference of two signed integers may be larger than any of them: it wraps around, and fits
        wide = np.dtype("u8")
        larger, smaller = np.maximum(one, other), np.minimum(one, other)
        if kind == "i":
            larger, smaller = larger.astype("i8"), smaller.astype("i8")
        return larger.astype(wide) - smaller.astype(wide), np.zeros(one.shape, np.bool_)
    exact = np.dtype("c16") if kind == "c" else np.dtype("f8")
    with np.errstate(all="ignore"):
        left, right = one.astype(exact), other.astype(exact)
        distance = np.abs(left - right)
    return distance, np.isnan(left) != np.isnan(right)
