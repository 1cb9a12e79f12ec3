"""Telling somebody how far the bytes are: what a bar of progress is made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Observer: TypeAlias = Callable[[int, int], None]
"""Called with how many bytes are done, and how many there are, in the thread that moves them."""


class Counter:
    """Counts bytes, and tells an observer after each part of them.

    Args:
        observer: who is told; what it raises ends the work, as an interrupt does.
        total: how many bytes there will be.
        done: how many are done already.

    Example:
        >>> from tiedio.container.observing import Counter
        >>> counter = Counter(print, 10)
        >>> counter.add(4), counter.add(9)
        4 10
        10 10
        (None, None)
    """

    __slots__ = ("_done", "_observer", "_total")

    def __init__(self, observer: Observer, total: int, done: int = 0) -> None:
        self._observer = observer
        self._total = total
        self._done = done

    def add(self, count: int) -> None:
        """Tell of so many bytes more; there are never more than all, though some may be asked for twice."""
        self._done = min(self._done + count, self._total)
        self._observer(self._done, self._total)
