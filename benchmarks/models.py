"""The models that are measured, and the rebuild without values that loading is measured against."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

import tiedio

_SMALL = 1 << 16
"""Bytes below which a variable is not worth pages of its own."""


def dense_stack(layers: int, units: int, *, values: bool = True) -> Any:
    """A functional model of dense layers of `units` x `units`, each kernel with memory and values of its own.

    Its configuration has Keras's default initializers, which a load by Keras runs; here they do not run.
    """
    with values_left_out():
        inputs = tensor = keras.Input((units,))
        for n in range(layers):
            tensor = keras.layers.Dense(units, name=f"dense_{n}")(tensor)
        model = keras.Model(inputs, tensor)
    if values:
        give_values(model)
    return model


def give_values(model: Any) -> None:
    """Gives every matrix of a model numbers around zero; the same ones for one shape, in another order."""
    drawn: dict[tuple[int, ...], Any] = {}
    for n, variable in enumerate(model.weights):
        shape = tuple(variable.shape)
        if len(shape) < 2:
            continue
        if shape not in drawn:
            drawn[shape] = np.random.default_rng(0).random(shape, "float32")
            drawn[shape] -= np.float32(0.5)
            drawn[shape] *= np.float32(2 / np.sqrt(shape[0]))
        variable.assign(np.roll(drawn[shape], n, axis=0))  # a copy: TensorFlow may keep the array that it is given


def example(model: Any, rows: int = 1) -> Any:
    """An input for a dense stack."""
    return np.ones((rows, *model.input_shape[1:]), "float32")


def config_of(model: Any) -> str:
    """The configuration of a model as JSON text; `rebuilt` takes it once it is parsed."""
    return str(model.to_json())


def rebuilt(config: Any) -> Any:
    """What Keras makes of a parsed configuration, which this empties."""
    return keras.Model.from_config(config["config"])


def parsed(config: str) -> Any:
    """A configuration that nobody has used yet."""
    return json.loads(config)


@contextmanager
def values_left_out() -> Iterator[None]:
    """Inside the block variables get pages that nobody has touched instead of what their initializer draws."""
    with mock.patch.object(keras.Variable, "_initialize_with_initializer", _initialize_lazily):
        yield


@contextmanager
def variables_left_out() -> Iterator[None]:
    """Inside the block no `tf.Variable` is made: Keras's own objects alone."""
    with mock.patch.object(keras.Variable, "_initialize_with_initializer", _initialize_nothing):
        yield


def _initialize_lazily(self: Any, _initializer: Any) -> None:
    shape, dtype = tuple(self._shape), np.dtype(self._dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    if size < _SMALL:
        self._initialize(tf.zeros(shape, dtype))
        return
    pages = np.frombuffer(mmap.mmap(-1, size), dtype).reshape(shape)
    self._initialize(tf.experimental.dlpack.from_dlpack(pages.__dlpack__()))


def _initialize_nothing(self: Any, _initializer: Any) -> None:
    self._value = np.broadcast_to(np.zeros((), self._dtype), tuple(self._shape))


def save_stack(path: str, layers: int, units: int) -> None:
    """Makes a dense stack and saves it with tiedio."""
    tiedio.save(dense_stack(layers, units), path)
