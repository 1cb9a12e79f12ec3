"""Keras's global state: what a rebuild needs of it, and how it is left as it was."""

from __future__ import annotations

import gc
import random
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import keras
import numpy as np

from tiedio import keras_api

_pause_lock = threading.Lock()
_pausing: set[object] = set()
_was_on = False


@contextmanager
def without_collections() -> Iterator[None]:
    """Pauses Python's cyclic garbage collector: a rebuild makes many objects that stay, among TensorFlow's many more.

    Looking through all of them again and again took a third of the time of loading 250 small layers. Blocks of several
    threads may overlap; the last one to end puts the collector back as it was.
    """
    global _was_on
    # An interrupt may come between any two lines; to leave without having entered changes nothing.
    mine = object()
    try:
        with _pause_lock:
            if not _pausing:
                _was_on = gc.isenabled()
            _pausing.add(mine)
            gc.disable()
        yield
    finally:
        with _pause_lock:
            _pausing.discard(mine)
            if not _pausing and _was_on:
                gc.enable()


def versions() -> dict[str, str]:
    """Versions and settings that a file notes."""
    with _settings.block(None):
        floatx, image_data_format = _current_settings()
    return {
        "keras": str(keras.__version__),
        "backend": str(keras.backend.backend()),
        "floatx": floatx,
        "image_data_format": image_data_format,
    }


class _Settings:
    """Lets blocks of several threads be inside at a time, but only one that changes what all would see."""

    def __init__(self) -> None:
        self._left = threading.Condition()
        self._inside: dict[object, tuple[int, tuple[str, str] | None]] = {}  # its thread, and what it puts back

    def _is_free(self, wanted: tuple[str, str] | None) -> bool:
        # A block inside another one of its thread never waits: the outer one would wait for it.
        if not self._inside or any(thread == threading.get_ident() for thread, _ in self._inside.values()):
            return True
        return wanted in (None, _current_settings()) and all(before is None for _, before in self._inside.values())

    @contextmanager
    def block(self, wanted: tuple[str, str] | None) -> Iterator[None]:
        """Waits until the settings are `wanted` (or, for `None`, the user's) or can be made so, and keeps them."""
        mine = object()  # as in `without_collections`: to leave without having entered changes nothing
        try:
            with self._left:
                self._left.wait_for(lambda: self._is_free(wanted))
                before = _current_settings()
                changes = wanted is not None and wanted != before
                self._inside[mine] = (threading.get_ident(), before if changes else None)
                if wanted is not None and changes:
                    _set_settings(*wanted)
            yield
        finally:
            with self._left:
                _, back = self._inside.pop(mine, (0, None))
                if back is not None:
                    _set_settings(*back)
                self._left.notify_all()


_settings = _Settings()


def _current_settings() -> tuple[str, str]:
    return str(keras.config.floatx()), str(keras.config.image_data_format())


def _set_settings(floatx: str, image_data_format: str) -> None:
    keras.config.set_floatx(floatx)
    keras.config.set_image_data_format(image_data_format)


@contextmanager
def settings(floatx: str, image_data_format: str) -> Iterator[None]:
    """Makes Keras's global settings these for the length of the block: constructors may read them.

    They are the whole process's: blocks of other threads that need others wait.
    """
    with _settings.block((floatx, image_data_format)):
        yield


@contextmanager
def default_policy(policy: Any) -> Iterator[None]:
    """Makes `policy` (or `None`: as it is) the global dtype policy for the length of the block."""
    if policy is None:
        yield
        return
    with keras_api.global_attribute("dtype_policy", keras.dtype_policies.get(policy)):
        yield


_NOT_OF_KERAS = re.compile(r'"registered_name": ?(?!null)|"custom": ?\[(?!\])|"__lambda__"')


def runs_foreign_code(texts: Iterable[str]) -> bool:
    """Whether a rebuild from these texts of a file's metadata may run code of other classes than Keras's own."""
    return any(_NOT_OF_KERAS.search(text) for text in texts)


@contextmanager
def untouched_randomness(foreign: bool = True) -> Iterator[None]:
    """Leaves Python's, NumPy's and Keras's random state as it was before the block.

    What Keras draws for itself is drawn elsewhere. What other code draws in the block is put back, but only where no
    other thread has run meanwhile: it may have drawn it, and would draw the same numbers again.

    Args:
        foreign: whether code outside Keras may run in the block.
    """
    python, numpy_state = random.getstate(), np.random.get_state()
    generator = keras_api.get_global(keras_api.GLOBAL_SEED_GENERATOR)
    state = None if generator is None else _state_of(generator)
    others = keras_api.standing() if foreign else {}
    try:
        with keras_api.seeds_drawn_from(python):
            yield
    finally:
        if foreign and keras_api.have_stood(others):
            random.setstate(python)
            np.random.set_state(numpy_state)
        keras_api.set_global(keras_api.GLOBAL_SEED_GENERATOR, generator)  # of this thread alone
        if state is not None and not np.array_equal(_state_of(generator), state):
            generator.state.assign(state)


def _state_of(generator: Any) -> np.ndarray[Any, Any]:
    return np.array(keras.ops.convert_to_numpy(generator.state))


@contextmanager
def untouched_names() -> Iterator[None]:
    """Puts Keras's counters of automatic names back as they were."""
    counters = keras_api.get_global("object_name_uids")
    before = None if counters is None else counters.copy()
    try:
        yield
    finally:
        keras_api.set_global("object_name_uids", before)


@contextmanager
def outside_name_scopes() -> Iterator[None]:
    """Hides the name scopes that are open around a call of `load` or `save`."""
    with keras_api.global_attribute("name_scope_stack", []):
        yield


class _OnlyHere:
    """Stands for the pattern of a warning's text in a filter, and matches only in the thread that made it."""

    def __init__(self, pattern: str) -> None:
        self._thread, self._pattern = threading.get_ident(), re.compile(pattern)

    def match(self, text: str) -> Any:
        """What Python's warnings call."""
        return threading.get_ident() == self._thread and self._pattern.match(text)


_filters_lock = threading.Lock()


def _filters() -> Any:
    return warnings.filters


@contextmanager
def without_warnings(message: str = "", category: type[Warning] = Warning, module: str | None = None) -> Iterator[None]:
    """Keeps back warnings of this thread; `warnings.catch_warnings` would swap the filters under all others.

    Args:
        message: pattern of the beginning of the text.
        category: class of the warnings.
        module: pattern of the name of the module that warns; default: any.
    """
    mine = ("ignore", _OnlyHere(message), category, None if module is None else re.compile(module), 0)
    filters = _filters()
    try:
        with _filters_lock:
            filters.insert(0, mine)
        yield
    finally:
        with _filters_lock:
            # A block of `catch_warnings` elsewhere may have put a copy in place, or put an older list back.
            for present in (filters, _filters()):
                with suppress(ValueError):
                    present.remove(mine)


@contextmanager
def without_old_warnings() -> Iterator[None]:
    """Keeps back what Keras warned of when the model was made: a rebuild would only say it again."""
    with without_warnings(category=UserWarning, module=r"keras(\.|$)"):
        yield
