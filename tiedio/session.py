"""Keras's global state: what a rebuild needs of it, and how it is left as it was."""

from __future__ import annotations

import gc
import random
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
    return {
        "keras": str(keras.__version__),
        "backend": str(keras.backend.backend()),
        "floatx": str(keras.config.floatx()),
        "image_data_format": str(keras.config.image_data_format()),
    }


@contextmanager
def settings(floatx: str, image_data_format: str) -> Iterator[None]:
    """Makes Keras's global settings these for the length of the block: constructors may read them."""
    before = (keras.config.floatx(), keras.config.image_data_format())
    if before == (floatx, image_data_format):
        yield
        return
    keras.config.set_floatx(floatx)
    keras.config.set_image_data_format(image_data_format)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_image_data_format(before[1])


@contextmanager
def default_policy(policy: Any) -> Iterator[None]:
    """Makes `policy` (or `None`: as it is) the global dtype policy for the length of the block."""
    if policy is None:
        yield
        return
    with keras_api.global_attribute("dtype_policy", keras.dtype_policies.get(policy)):
        yield


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Puts Python's, NumPy's and Keras's random state back as it was after the block."""
    python, numpy_state = random.getstate(), np.random.get_state()
    generator = keras_api.get_global(keras_api.GLOBAL_SEED_GENERATOR)
    state = None if generator is None else np.array(keras.ops.convert_to_numpy(generator.state))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        keras_api.set_global(keras_api.GLOBAL_SEED_GENERATOR, generator)
        if generator is not None:
            generator.state.assign(state)


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


@contextmanager
def without_old_warnings() -> Iterator[None]:
    """Keeps back what Keras warned of when the model was made: a rebuild would only say it again."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"keras(\.|$)")
        yield
