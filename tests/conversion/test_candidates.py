"""Which equal weights are offered as lost ties, how sure that is, and which say nothing."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import tiedio


def pair(units: int = 5, inputs: int = 5, **options: Any) -> tuple[Any, Any, Any]:
    a, b = (keras.layers.Dense(units, name=name, **options) for name in "ab")
    x = keras.Input((inputs,))
    return keras.Model(x, [a(x), b(x)]), a, b


def offered(model: Any, **options: Any) -> list[tuple[str, str]]:
    return [(one.pair, one.strength) for one in tiedio.find_lost_ties(model, **options)]


def test_zeros_and_ones_say_nothing() -> None:
    model, a, b = pair()
    assert offered(model) == []
    for layer in (a, b):
        layer.kernel.assign(np.ones((5, 5)))
        layer.bias.assign(np.full(5, 0.5))
    assert offered(model) == []


def test_equal_kernels_are_strong_and_their_small_biases_go_with_them() -> None:
    model, a, b = pair()
    a.bias.assign(np.arange(5) / 7)
    b.set_weights(a.get_weights())
    assert offered(model) == [("a/kernel = b/kernel", "strong"), ("a/bias = b/bias", "companion")]


def test_zero_biases_beside_equal_kernels_are_shown_and_weak() -> None:
    model, a, b = pair()
    b.kernel.assign(a.kernel)
    assert offered(model) == [("a/kernel = b/kernel", "strong"), ("a/bias = b/bias", "weak")]


def test_small_equal_biases_alone_are_weak() -> None:
    model, a, b = pair()
    for layer in (a, b):
        layer.bias.assign(np.arange(5) / 7)
    assert offered(model) == [("a/bias = b/bias", "weak")]
    assert offered(model, min_size=2) == [("a/bias = b/bias", "weak")]  # few different values


def test_a_pattern_that_two_initializers_give_is_weak() -> None:
    model, _, _ = pair(20, 20, kernel_initializer="identity")
    assert offered(model) == [("a/kernel = b/kernel", "weak")]


def test_one_seed_for_two_initializers_is_weak() -> None:
    model, _, _ = pair(kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    assert offered(model) == [("a/kernel = b/kernel", "weak")]


@pytest.mark.parametrize(("dtype", "top"), [("int8", 4), ("int32", 3), ("uint8", 60)])
def test_small_random_integers_that_agree_are_weak(dtype: str, top: int) -> None:
    class Table(keras.layers.Layer):
        def build(self, _: Any) -> None:
            self.table = self.add_weight(shape=(8, 8), dtype=dtype, trainable=False, initializer="zeros", name="table")

        def call(self, inputs: Any) -> Any:
            return inputs

    inputs = keras.Input((2,))
    model = keras.Model(inputs, Table(name="b")(Table(name="a")(inputs)))
    for layer in model.layers[1:]:
        layer.table.assign(np.random.default_rng(0).integers(0, top, (8, 8)))
    assert offered(model) == [("a/table = b/table", "weak")]


def test_one_bit_makes_a_difference_and_the_sign_of_zero_too() -> None:
    model, a, b = pair()
    kernel = np.array(a.kernel)
    kernel[2, 3] = 0.0
    a.kernel.assign(kernel)
    kernel[2, 3] = -0.0
    b.kernel.assign(kernel)
    assert offered(model) == []


def test_a_square_matrix_that_is_equal_as_it_is_is_no_transpose() -> None:
    model, a, b = pair()
    symmetric = np.asarray(a.kernel) + np.asarray(a.kernel).T
    for layer in (a, b):
        layer.kernel.assign(symmetric)
    lost = tiedio.find_lost_ties(model)[0]
    assert lost.views == (None, None)


def test_a_transpose_is_found_whatever_its_shape() -> None:
    for width in (5, 7):
        a, b = keras.layers.Dense(width, name="a"), keras.layers.Dense(5, name="b")
        model = keras.Sequential([keras.Input((5,)), a, b])
        b.kernel.assign(np.asarray(a.kernel).T)
        assert offered(model)[0] == ("a/kernel = b/kernel (transposed)", "strong")


def test_three_equal_weights_are_one_candidate() -> None:
    layers = [keras.layers.Dense(5, name=name) for name in "abc"]
    model = keras.Sequential([keras.Input((5,)), *layers])
    for layer in layers[1:]:
        layer.kernel.assign(layers[0].kernel)
    assert [one.paths for one in tiedio.find_lost_ties(model) if one.strength == "strong"] == [
        ("a/kernel", "b/kernel", "c/kernel")
    ]


def test_what_is_tied_already_is_no_candidate() -> None:
    model, a, b = pair()
    tiedio.tie(b, a)
    assert offered(model) == []


def test_states_of_seeds_and_of_optimizers_are_none() -> None:
    inputs = keras.Input((5,))
    dropped = [keras.layers.Dropout(0.5, seed=1, name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Add()(dropped)))
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    assert offered(model) == []


def test_what_one_variable_cannot_have_been_is_weak_and_the_rest_stays_strong() -> None:
    layers = [keras.layers.Dense(5, name=name, use_bias=False) for name in "abc"]
    model = keras.Sequential([keras.Input((5,)), *layers])
    for layer in layers[1:]:
        layer.kernel.assign(layers[0].kernel)
    layers[2].trainable = False
    assert offered(model) == [("a/kernel = b/kernel", "strong"), ("a/kernel = c/kernel", "weak")]
    assert "trainable" in tiedio.find_lost_ties(model)[1].reason


@pytest.mark.parametrize("name", ["regularizer", "constraint"])
def test_weights_of_another_regularizer_or_constraint_are_weak(name: str) -> None:
    value: Any = keras.regularizers.L2(0.1) if name == "regularizer" else keras.constraints.NonNeg()
    model, a, b = pair(use_bias=False)
    b.kernel.assign(a.kernel)
    setattr(a.kernel, name, value)
    assert offered(model) == [("a/kernel = b/kernel", "weak")]
    setattr(b.kernel, name, type(value).from_config(value.get_config()))
    assert offered(model) == [("a/kernel = b/kernel", "strong")]


def test_a_symmetric_matrix_is_weak() -> None:
    model, a, b = pair(use_bias=False)
    for layer in (a, b):
        layer.kernel.assign(np.arange(25).reshape(5, 5) + np.arange(25).reshape(5, 5).T)
    assert offered(model) == [("a/kernel = b/kernel", "weak")]
