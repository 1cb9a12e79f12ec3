"""Attributes of Keras that stand for something else while any thread is inside a block."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Patch:
    """Puts other values into attributes for the length of blocks; what is put there asks which thread it runs in.

    Blocks of several threads may overlap, and one may be inside another; the last one to end puts back what stood
    there before the first.

    Args:
        places: the owner of each attribute, its name, and its value inside a block.
    """

    def __init__(self, *places: tuple[Any, str, Any]) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._inside: set[object] = set()
        self._before: list[Any] = []

    @contextmanager
    def block(self) -> Iterator[None]:
        """Inside it the attributes have the other values."""
        mine = object()
        try:  # an interrupt may come between any two lines: to leave without having entered changes nothing
            with self._lock:
                if not self._inside:
                    self._before = [getattr(owner, name) for owner, name, _ in self._places]
                self._inside.add(mine)
                for owner, name, value in self._places:
                    setattr(owner, name, value)
            yield
        finally:
            with self._lock:
                self._inside.discard(mine)
                if not self._inside:
                    for (owner, name, _), before in zip(self._places, self._before, strict=False):
                        setattr(owner, name, before)
