"""Ties that a reviewer broke: orders of weights and averages, ties of classes, other optimizers, frozen layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tiedio
from tests.tying_models import X, chain, paths, raw, twins
from tiedio.errors import TieError
from tiedio.testing import assert_round_trip

register = keras.saving.register_keras_serializable(package="tying_review")


def averages(optimizer: Any) -> dict[str, bytes]:
    names = paths(optimizer._trainable_variables)
    return dict(zip(names, raw(*optimizer._model_variables_moving_average), strict=True))


@pytest.mark.parametrize("view", [None, tiedio.transpose()], ids=["shared", "view"])
def test_averages_go_to_the_weight_that_they_are_of(view: tiedio.View | None) -> None:
    a, b, c = (layers.Dense(6, use_bias=False, name=name) for name in "abc")
    model = chain(a, b, c, compiled=False)
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")
    model.fit(X, X, verbose=0)
    tiedio.tie(b, a, weights=["kernel"], view=view)
    model.fit(X, X, verbose=0)
    tiedio.untie(b)
    model.fit(X, X, verbose=0)
    order = paths(model.trainable_variables)
    assert paths(model.optimizer._trainable_variables) == order == ["a/kernel", "b/kernel", "c/kernel"]
    assert averages(model.optimizer) == dict(zip(order, raw(*model.trainable_variables), strict=True))


def test_an_optimizer_of_a_model_that_does_not_hold_the_source_lets_it_go() -> None:
    inputs = keras.Input((6,))
    encoder, decoder = layers.Dense(3, name="encoder"), layers.Dense(6, name="decoder")
    code = encoder(inputs)
    small, _ = keras.Model(inputs, code), keras.Model(inputs, decoder(code))
    small.compile(keras.optimizers.SGD(0.1, use_ema=True), "mse")
    small.fit(X, X[:, :3], verbose=0)
    tiedio.tie(encoder, decoder, weights=["kernel"], view=tiedio.transpose())
    small.fit(X, X[:, :3], verbose=0)
    assert paths(small.optimizer._trainable_variables) == ["encoder/bias"]


@register
class Gate(layers.Layer):
    """Names its weights in another order than it makes them in."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.gate: Any = None
        self.w: Any = None
        self.heads: list[Any] = []

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(shape=(6, 6), name="w")
        self.gate = self.add_weight(shape=(6, 6), name="gate")
        self.heads.append(self.add_weight(shape=(6, 6), name="head"))

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        return ops.matmul(inputs, self.w) * ops.sigmoid(ops.matmul(inputs, self.gate)) + ops.matmul(
            inputs, self.heads[0]
        )


def gated() -> tuple[keras.Sequential, layers.Dense, Gate]:
    dense, gate = layers.Dense(6, name="dense"), Gate(name="gate")
    return chain(dense, gate), dense, gate


@pytest.mark.parametrize("weight", ["w", "gate", "heads/0"])
def test_a_weight_that_was_a_view_stands_where_it_stood(weight: str, tmp_path: Path) -> None:
    model, dense, gate = gated()
    tiedio.tie(gate, dense, weights={weight: "kernel"}, view=tiedio.transpose())
    assert_round_trip(model, X, X)
    tiedio.save(model, tmp_path / "model.safetensors")
    loaded = tiedio.load(tmp_path / "model.safetensors")
    for tied in (model, loaded):
        tiedio.untie(tied.layers[1])
        order = [tied.layers[1].w, tied.layers[1].gate, tied.layers[1].heads[0]]
        assert all(one is two for one, two in zip(tied.layers[1].weights, order, strict=True))


@pytest.mark.parametrize("weight", ["w", "gate", "heads/0"])
def test_keras_s_file_of_a_view_fits_the_untied_model(weight: str, tmp_path: Path) -> None:
    tied, untied = (chain(layers.Dense(6, name="dense"), Gate(name="gate"), compiled=False) for _ in range(2))
    tiedio.tie(tied.layers[1], tied.layers[0], weights={weight: "kernel"}, view=tiedio.transpose())
    tied.save_weights(tmp_path / "tied.weights.h5")
    untied.load_weights(tmp_path / "tied.weights.h5")
    assert np.array_equal(np.array(untied(X)), np.array(tied(X)))


def normalized() -> tuple[keras.Sequential, Any, layers.Dense]:
    wrapped = layers.SpectralNormalization(layers.Dense(6, name="inside"), name="wrapped")
    other = layers.Dense(6, name="other")
    return chain(wrapped, other), wrapped, other


def test_untie_leaves_a_tie_alone_that_a_wrapper_s_code_has_made() -> None:
    model, wrapped, other = normalized()
    tiedio.tie(wrapped.layer, other, weights=["bias"])
    tiedio.untie(wrapped)
    assert wrapped.kernel is wrapped.layer.kernel
    assert wrapped.layer.bias is not other.bias
    for layer in (model, wrapped, wrapped.layer):
        with pytest.raises(TieError, match="not tied"):
            tiedio.untie(layer)
    assert wrapped.kernel is wrapped.layer.kernel


def test_two_layers_of_a_model_keep_the_view_that_they_share_when_the_model_is_untied() -> None:
    a, b, d = (layers.Dense(6, name=name) for name in "abd")
    model, _other = chain(a, b), chain(d)
    tiedio.tie(a, d, weights=["kernel"], view=tiedio.transpose())
    tiedio.tie(b, a, weights=["kernel"])
    tiedio.untie(model)
    assert a.kernel is b.kernel
    assert len(model.weights) == 3


def test_an_optimizer_in_an_attribute_that_is_built_is_refused_and_nothing_changes() -> None:
    class Two(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = layers.Dense(6, name="a"), layers.Dense(6, name="b")
            self.first: Any = keras.optimizers.SGD(0.1, momentum=0.9)

        def call(self, inputs: Any) -> Any:
            return self.b(self.a(inputs))

    model = Two()
    model(X)
    model.first.build(model.a.trainable_variables)
    kernel = model.a.kernel
    with pytest.raises(TieError, match="an optimizer in an attribute"):
        tiedio.tie(model.a, model.b, weights=["kernel"])
    assert model.a.kernel is kernel
    tiedio.tie(model.b, model.a, weights=["bias"])


@pytest.mark.parametrize("view", [None, tiedio.transpose()], ids=["shared", "view"])
def test_a_frozen_layer_is_frozen_after_untie(view: tiedio.View | None) -> None:
    model, a, b = twins()
    if view is None:
        b.trainable = False
    tiedio.tie(b, a, weights=["kernel"], view=view)
    b.trainable = False
    a.kernel.trainable = True
    model.compile("adam", "mse")
    model.train_on_batch(X, X)
    tiedio.untie(b)
    before = raw(b.kernel)
    model.train_on_batch(X, X)
    assert raw(b.kernel) == before
    assert paths(model.trainable_variables) == ["a/kernel", "a/bias"]


def test_the_same_view_of_another_weight_is_restored(tmp_path: Path) -> None:
    def made(source: str) -> keras.Sequential:
        a, b, c = (layers.Dense(6, name=name) for name in "abc")
        model = chain(a, b, c)
        tiedio.tie(a, {"b": b, "c": c}[source], weights=["kernel"], view=tiedio.transpose())
        return model

    saved, model = made("b"), made("c")
    tiedio.save_weights(saved, tmp_path / "weights.safetensors")
    with pytest.raises(tiedio.MismatchError, match=r"a/kernel.*of other weights"):
        tiedio.load_weights(model, tmp_path / "weights.safetensors")
    tiedio.load_weights(model, tmp_path / "weights.safetensors", ties="restore")
    assert model.layers[0].kernel.source is model.layers[1].kernel
    assert raw(*model.weights) == raw(*saved.weights)


@pytest.mark.parametrize("weights", [5, []])
def test_no_names_are_refused(weights: Any) -> None:
    _, a, b = twins()
    with pytest.raises(TieError, match="weights are named by a list or a dict"):
        tiedio.tie(b, a, weights=weights)
    with pytest.raises(TieError, match="weights are named by a list or a dict"):
        tiedio.untie(b, weights)


def test_no_models_are_refused() -> None:
    _, a, b = twins()
    with pytest.raises(TieError, match="models: this is not a model"):
        tiedio.tie(b, a, models=[])


def test_a_step_by_hand_uses_the_source_of_a_view() -> None:
    model, a, b = twins()
    tiedio.tie(b, a, weights=["kernel"], view=tiedio.transpose())
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(X))
    (gradient,) = tape.gradient(loss, [b.kernel.source.value])
    assert gradient.shape == (6, 6)
