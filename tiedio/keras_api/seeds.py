"""What Keras draws from Python's generator: inside a block of this thread, from another one."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tiedio.keras_api.classes import aug_mix, seed_generator
from tiedio.keras_api.patching import Patch

# Where Keras 3.15.1 itself draws from Python's generator while a model is made: seeds, and a layer that is traced.
_PLACES = ((seed_generator, "python_random"), (aug_mix, "py_random"))


class _Active(threading.local):
    state: Any = None
    generator: random.Random | None = None


_active = _Active()


class _Seeds:
    """Stands for the module `random` in modules of Keras."""

    def __getattr__(self, name: str) -> Any:
        if _active.state is None:
            return getattr(random, name)
        if _active.generator is None:
            _active.generator = random.Random()
            _active.generator.setstate(_active.state)
        return getattr(_active.generator, name)


_patch = Patch(*((module, name, _Seeds()) for module, name in _PLACES))


@contextmanager
def seeds_drawn_from(state: Any) -> Iterator[None]:
    """Inside the block what Keras draws in this thread moves Python's own generator no more.

    Args:
        state: what `random.getstate()` gave: they are the numbers that Python's generator would give from there.
    """
    before = (_active.state, _active.generator)
    with _patch.block():
        try:
            _active.state, _active.generator = state, None
            yield
        finally:
            _active.state, _active.generator = before
