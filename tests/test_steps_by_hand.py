"""A training step through a tied model is the step that one computes by hand, eagerly, as a graph and jit compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tiedio
from tests import by_hand
from tests.by_hand import Adam, Sgd, Use, added_up, chain, part_of, reshaped, same, taped, transposed
from tests.steps import (
    CROSS_ENTROPY,
    MODES,
    System,
    assert_equal,
    at,
    compiled,
    compute_in,
    numbers,
    reference_of,
    running_as,
    train_both,
)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    with running_as(request.param) as found:
        yield found


# --- the systems ------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("steps_by_hand")
class Pair(keras.Model):
    """A subclassed model: two dense layers, which are tied after the first call."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.first = layers.Dense(3, activation="tanh", name="first")
        self.second = layers.Dense(3, name="second")

    def build(self, shape: Any) -> None:
        self.first.build(shape)
        self.second.build(shape)

    def call(self, x: Any) -> Any:
        return self.second(self.first(x))


def convolutions() -> tuple[Any, Any, Any]:
    inputs = keras.Input((6, 6, 2))
    near = layers.Conv2D(3, 3, padding="same", activation="tanh", name="near")(inputs)
    far = layers.Conv2D(3, 3, padding="valid", activation="tanh", name="far")(inputs)
    pooled = [layers.GlobalAveragePooling2D()(one) for one in (near, far)]
    return keras.Model(inputs, layers.Concatenate()(pooled)), numbers(8, 6, 6, 2), numbers(8, 6, seed=1)


def loss_of_convolutions(variables: Mapping[str, Any], x: Any, y: Any) -> Any:
    kernel, bias = variables["near/kernel"], variables["near/bias"]  # one of each, used twice
    x, y = (tf.cast(one, kernel.dtype) for one in (x, y))
    padded = [tf.tanh(tf.nn.conv2d(x, kernel, 1, padding) + bias) for padding in ("SAME", "VALID")]
    output = tf.concat([tf.reduce_mean(one, axis=(1, 2)) for one in padded], axis=1)
    return tf.reduce_mean((output - y) ** 2)


def autoencoder() -> tuple[Any, Any, Any]:
    inputs = keras.Input((5,))
    code = layers.Dense(3, activation="tanh", name="encoder")(inputs)
    x = numbers(8, 5)
    return keras.Model(inputs, layers.Dense(5, name="decoder")(code)), x, x


def tie_decoder(model: Any) -> None:
    tiedio.tie(at(model, "decoder"), at(model, "encoder"), weights=["kernel"], view=tiedio.transpose())


def words() -> tuple[Any, Any, Any]:
    inputs = keras.Input((3,), dtype="int32")
    meaning = layers.GlobalAveragePooling1D()(layers.Embedding(7, 4, name="embedding")(inputs))
    model = keras.Model(inputs, layers.Dense(7, name="next")(meaning))
    drawn = np.random.default_rng(2).integers(0, 7, (8, 4)).astype("int32")
    drawn[0, :2] = drawn[0, 2]  # a word that occurs more than once
    return model, drawn[:, :3], drawn[:, 3]


def tie_words(model: Any) -> None:
    pairs = {"kernel": "embeddings"}
    tiedio.tie(at(model, "next"), at(model, "embedding"), weights=pairs, view=tiedio.transpose())


def stack(*units: int, outputs: str = "tanh") -> Callable[[], tuple[Any, Any, Any]]:
    """A functional chain of dense layers `d0`, `d1`, …, all but the last with tanh."""

    def build() -> tuple[Any, Any, Any]:
        inputs = value = keras.Input((units[0],))
        for n, width in enumerate(units[1:]):
            last = n == len(units) - 2
            value = layers.Dense(width, activation=None if last else "tanh", name=f"d{n}")(value)
        return keras.Model(inputs, value), numbers(8, units[0]), numbers(8, units[-1], seed=1)

    return build


def tie_reshaped(model: Any) -> None:
    tiedio.tie(at(model, "d1"), at(model, "d0"), weights=["kernel"], view=tiedio.reshape((6, 4)))


def tie_slice(model: Any) -> None:
    view = tiedio.slice((1, 0), (3, -1))
    tiedio.tie(at(model, "d1"), at(model, "d0"), weights=["kernel"], view=view)


def tie_three(model: Any) -> None:
    tiedio.tie(at(model, "d1"), at(model, "d0"), weights=["kernel"])
    tiedio.tie(at(model, "d2"), at(model, "d1"), weights=["kernel"])


def recurrent() -> tuple[Any, Any, Any]:
    inputs = keras.Input((3, 4))
    model = keras.Model(inputs, layers.SimpleRNN(4, name="rnn")(inputs))
    return model, numbers(8, 3, 4), numbers(8, 4, seed=1)


def tie_recurrent(model: Any) -> None:
    rnn = at(model, "rnn")
    tiedio.tie(rnn, rnn, weights={"recurrent_kernel": "kernel"})


def loss_of_recurrent(variables: Mapping[str, Any], x: Any, y: Any) -> Any:
    kernel, bias = variables["rnn/cell/kernel"], variables["rnn/cell/bias"]
    x, y = (tf.cast(one, kernel.dtype) for one in (x, y))
    state = tf.zeros_like(x[:, 0])
    for time in range(x.shape[1]):
        state = tf.tanh(x[:, time] @ kernel + bias + state @ kernel)
    return tf.reduce_mean((state - y) ** 2)


def two_encoders() -> tuple[Any, Any, Any]:
    inputs = [keras.Input((4,)), keras.Input((4,))]
    outputs = []
    for name, one in zip(("left", "right"), inputs, strict=True):
        within = keras.Input((4,))
        hidden = layers.Dense(3, activation="tanh", name="hidden")(within)
        encoder = keras.Model(within, layers.Dense(2, name="code")(hidden), name=name)
        outputs.append(encoder(one))
    model = keras.Model(inputs, layers.Concatenate()(outputs))
    return model, (numbers(8, 4), numbers(8, 4, seed=3)), numbers(8, 4, seed=1)


def tie_encoders(model: Any) -> None:
    tiedio.tie(at(model, "right"), at(model, "left"))


def sequential() -> tuple[Any, Any, Any]:
    inside = [layers.Dense(4, activation="tanh", name="first"), layers.Dense(4, name="second")]
    return keras.Sequential([keras.Input((4,)), *inside]), numbers(8, 4), numbers(8, 4, seed=1)


def subclassed() -> tuple[Any, Any, Any]:
    model = Pair()
    x = numbers(8, 3)
    model(x)
    return model, x, numbers(8, 3, seed=1)


def tie_second(model: Any) -> None:
    tiedio.tie(at(model, "second"), at(model, "first"))


BOTH = {"second/kernel": same("first/kernel"), "second/bias": same("first/bias")}
ENCODERS = {
    f"right/{name}": same(f"left/{name}") for name in ("hidden/kernel", "hidden/bias", "code/kernel", "code/bias")
}
SYSTEMS = {
    "two convolutions, same and valid": System(
        convolutions,
        lambda model: tiedio.tie(at(model, "far"), at(model, "near")),
        taped(loss_of_convolutions),
        {"far/kernel": same("near/kernel"), "far/bias": same("near/bias")},
        is_taped=True,
    ),
    "autoencoder with a transposed kernel": System(
        autoencoder, tie_decoder, chain("encoder", "decoder"), {"decoder/kernel": transposed("encoder/kernel")}
    ),
    "embedding matrix as output kernel": System(
        words,
        tie_words,
        by_hand.language_model,
        {"next/kernel": transposed("embedding/embeddings")},
        loss=CROSS_ENTROPY,
    ),
    "a reshaped kernel": System(
        stack(4, 6, 4), tie_reshaped, chain("d0", "d1"), {"d1/kernel": reshaped("d0/kernel", (6, 4))}
    ),
    "a part of a larger kernel": System(
        stack(5, 3, 3), tie_slice, chain("d0", "d1"), {"d1/kernel": part_of("d0/kernel", slice(1, 4), slice(None))}
    ),
    "three layers with one kernel": System(
        stack(3, 3, 3, 3),
        tie_three,
        chain("d0", "d1", "d2"),
        {"d1/kernel": same("d0/kernel"), "d2/kernel": same("d0/kernel")},
    ),
    "weights of other names in one cell": System(
        recurrent,
        tie_recurrent,
        taped(loss_of_recurrent),
        {"rnn/cell/recurrent_kernel": same("rnn/cell/kernel")},
        is_taped=True,
    ),
    "a model tied to a model": System(
        two_encoders,
        tie_encoders,
        by_hand.side_by_side(chain("left/hidden", "left/code"), chain("right/hidden", "right/code"), halves=2),
        ENCODERS,
    ),
    "Sequential": System(sequential, tie_second, chain("first", "second"), BOTH),
    "subclassed": System(subclassed, tie_second, chain("first", "second"), BOTH),
}


# --- tests ------------------------------------------------------------------------------------------------


def follow(system: System, optimizer: Sgd | Adam, mode: Mapping[str, Any], dtype: str, folder: Path) -> None:
    """Trains a tied model and its reference, then the loaded model and the same reference."""
    compute_in(dtype)
    model, x, y = system.build()
    system.tie(model)
    compiled(model, system, optimizer, mode)
    reference = reference_of(model, system, optimizer)
    train_both(model, reference, x, y)
    assert_equal(model, reference, system.uses, dtype)
    tiedio.save(model, folder / "model.safetensors")
    loaded = tiedio.load(folder / "model.safetensors")
    for one in (model, loaded):
        assert {name: getattr(one, name) for name in mode} == mode
    train_both(loaded, reference, x, y)
    assert_equal(loaded, reference, system.uses, dtype)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_step_equals_the_one_by_hand_and_so_does_the_loaded_models(
    name: str, mode: dict[str, Any], tmp_path: Path
) -> None:
    follow(SYSTEMS[name], Adam(), mode, "float32", tmp_path)


@pytest.mark.parametrize("name", SYSTEMS)
def test_in_float64_the_steps_agree_to_the_last_digits(name: str, tmp_path: Path) -> None:
    with running_as("eager") as mode:
        follow(SYSTEMS[name], Adam(), mode, "float64", tmp_path)


def test_so_they_do_where_views_are_traced_and_compiled(mode: dict[str, Any], tmp_path: Path) -> None:
    follow(SYSTEMS["embedding matrix as output kernel"], Adam(), mode, "float64", tmp_path)


def test_convolutions_trained_by_gradient_descent_equal_the_step_by_hand(mode: dict[str, Any], tmp_path: Path) -> None:
    follow(SYSTEMS["two convolutions, same and valid"], Sgd(), mode, "float32", tmp_path)


@pytest.mark.parametrize("name", [name for name, system in SYSTEMS.items() if not system.is_taped])
def test_a_step_by_hand_that_leaves_one_side_of_a_tie_out_is_told_apart(name: str) -> None:
    system = SYSTEMS[name]
    model, x, y = system.build()
    system.tie(model)
    compiled(model, system, Sgd(), MODES["eager"])
    reference = reference_of(model, system, Sgd())
    half = {path: Use(use.parameter, use.take, lambda gradient, like: 0 * like) for path, use in system.uses.items()}
    reference.gradients = added_up(system.network, half)
    model.fit(x, y, batch_size=len(y), shuffle=False, verbose=0)
    reference.fit(x, y, len(y))
    with pytest.raises(AssertionError, match=r"kernel|embeddings"):
        assert_equal(model, reference, system.uses, "float32")
