"""What a reviewer found in the faster load and save; each was a wrong model, or a model that was refused."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tiedio
from tiedio import proof
from tiedio.errors import ModelError, RebuildError
from tiedio.testing import assert_round_trip

_register = keras.saving.register_keras_serializable(package="speed_review")


class Product(keras.layers.Layer):
    """A layer that infers its shape by being called."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]), name="kernel")

    def call(self, inputs: Any) -> Any:
        return tf.matmul(inputs, self.kernel.value)


@_register
class Traced(Product):
    """Its call is a function that TensorFlow traces once."""

    call = tf.function(Product.call)


@_register
class TracedOnce(Product):
    """The same, with a signature."""

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
    def call(self, inputs: Any) -> Any:
        return tf.matmul(inputs, self.kernel)


@_register
class TracedInside(keras.layers.Layer):
    """A traced method calls a child."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.child = keras.layers.Dense(4)

    def build(self, shape: Any) -> None:
        self.child.build(shape)

    @tf.function(reduce_retracing=True)
    def inner(self, inputs: Any) -> Any:
        return self.child(inputs)

    def call(self, inputs: Any) -> Any:
        return self.inner(inputs)


@_register
class Counting(Product):
    """Its call assigns to the backend's own variable."""

    def build(self, shape: Any) -> None:
        super().build(shape)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

    def call(self, inputs: Any) -> Any:
        self.count.value.assign_add(1.0)
        return super().call(inputs)


@_register
class Copying(Product):
    """Its build makes a second variable that shares the storage of the first."""

    def build(self, shape: Any) -> None:
        super().build(shape)
        self.second = copy.copy(self.kernel)

    def call(self, inputs: Any) -> Any:
        return super().call(inputs) + tf.matmul(inputs, self.second.value)


@pytest.mark.parametrize("kind", [Traced, TracedOnce, TracedInside, Copying])
def test_a_layer_that_asks_for_its_variables_early_comes_back(kind: type) -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(kind(name="odd")(inputs)))
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    assert_round_trip(model, np.ones((3, 4), "float32"))


def test_a_layer_that_assigns_to_the_backends_variable_comes_back(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(Counting(name="odd")(inputs)))
    model.compile("adam", "mse")
    data = np.ones((4, 4)), np.ones((4, 2))
    model.fit(*data, verbose=0)
    tiedio.save(model, tmp_path / "m.safetensors")
    loaded = tiedio.load(tmp_path / "m.safetensors")
    for one in (model, loaded):
        one.train_on_batch(*data)
    for mine, theirs in zip(model.variables, loaded.variables, strict=True):
        assert np.array_equal(mine.numpy(), theirs.numpy()), mine.path


def test_two_variables_that_share_storage_by_hand_are_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="one"), keras.layers.Dense(4, name="two")])
    one, two = model.layers
    two._kernel._value = one._kernel._value
    with pytest.raises(ModelError, match=r"share the storage of one") as caught:
        tiedio.save(model, tmp_path / "m.safetensors")
    assert "one/kernel, two/kernel" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_file_has_the_values_that_the_model_has_after_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(400), keras.layers.Dropout(0.5)])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 400)), verbose=0)
    dense, dropout = model.layers
    moved = [dense.kernel, dropout.seed_generator.state, model.optimizer.variables[-1]]
    prove = vars(proof)["prove"]

    def meddle(*args: Any) -> Any:
        """As code of a class may do that the proof runs: through a registry, or by drawing from a generator."""
        proved = prove(*args)
        for variable in moved:
            variable.assign(np.full(variable.shape, 7))
        return proved

    with monkeypatch.context() as patch:
        patch.setattr(proof, "prove", meddle)
        tiedio.save(model, tmp_path / "m.safetensors")
    tiedio.verify(tmp_path / "m.safetensors")
    loaded = tiedio.load(tmp_path / "m.safetensors")
    for mine, theirs in zip(
        [*model.variables, *model.optimizer.variables], [*loaded.variables, *loaded.optimizer.variables], strict=True
    ):
        assert np.array_equal(mine.numpy(), theirs.numpy()), mine.path
    assert [item.name for item in tmp_path.iterdir()] == ["m.safetensors"]


_LATE = """
import atexit, sys, threading, time
import keras, tiedio

model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
tiedio.find_ties(model)

def late():
    threading.main_thread().join()
    tiedio.save(model, sys.argv[1] + "/thread.safetensors")

threading.Thread(target=late).start()
atexit.register(lambda: tiedio.save(model, sys.argv[1] + "/atexit.safetensors"))
"""


def test_a_model_can_be_saved_after_the_main_thread_has_ended(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _LATE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["atexit.safetensors", "thread.safetensors"], done.stderr


@pytest.mark.parametrize("act", [tiedio.load, lambda path: tiedio.save(tiedio.load(path), path)])
def test_inside_a_stateless_scope_it_says_so(tmp_path: Path, act: Any) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    path = tmp_path / "m.safetensors"
    tiedio.save(model, path)
    with keras.StatelessScope(), pytest.raises(RebuildError, match=r"inside a keras\.StatelessScope"):
        act(path)
