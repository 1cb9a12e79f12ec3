"""Views, `untie`, and what layers that share a weight refuse."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import tiedio
from tests.tying_models import X, autoencoder, chain, paths, raw, twins
from tiedio.errors import TiedLayerError, TieError, ViewError
from tiedio.testing import assert_round_trip

# --- views ------------------------------------------------------------------------------------------------------


def test_a_view_is_no_weight_and_follows_its_source() -> None:
    model, encoder, decoder = autoencoder()
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    assert paths(model.weights) == ["encoder/kernel", "encoder/bias", "decoder/bias"]
    assert model.count_params() == 18 + 3 + 6
    assert [value.shape for value in decoder.get_weights()] == [(6,)]
    model.fit(X, X, epochs=2, verbose=0)
    assert np.array_equal(np.array(decoder.kernel), np.array(encoder.kernel).T)
    assert_round_trip(model, X, X)


def test_an_output_layer_over_an_embedding_is_a_view() -> None:
    tokens, output = layers.Embedding(7, 4, name="tokens"), layers.Dense(7, name="output")
    model = keras.Sequential([keras.Input((3,), dtype="int32"), tokens, output])
    tiedio.tie(output, tokens, weights={"kernel": "embeddings"}, view=tiedio.transpose())
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ids = np.arange(6).reshape(2, 3)
    model.fit(ids, ids, verbose=0)
    assert np.array_equal(np.array(output.kernel), np.array(tokens.embeddings).T)
    assert_round_trip(model, ids, ids)


@pytest.mark.parametrize(
    ("view", "units"), [(tiedio.reshape((9, 4)), 4), (tiedio.slice((1, 2), (-1, 4)), 4)], ids=["reshape", "slice"]
)
def test_reshape_and_slice_come_back_from_disk(view: tiedio.View, units: int) -> None:
    a = layers.Dense(6, name="a")
    rows = view.result_shape((6, 6))[0]
    inputs, others = keras.Input((6,)), keras.Input((rows,))
    b = layers.Dense(units, name="b")
    model = keras.Model([inputs, others], [a(inputs), b(others)])
    tiedio.tie(b, a, weights=["kernel"], view=view)
    other = np.linspace(-1, 1, 4 * rows).reshape(4, rows).astype("float32")
    model.compile("sgd", ["mse", "mse"])
    model.fit([X, other], [X, other[:, :units]], verbose=0)
    assert np.array_equal(np.array(b.kernel), view.apply(np.array(a.kernel)))
    assert_round_trip(model, [X, other], [X, other[:, :units]])


def test_views_of_views_become_one_view_of_the_first_or_none() -> None:
    a, b, c = (layers.Dense(6, name=name) for name in "abc")
    model = chain(a, b, c)
    tiedio.tie(b, a, weights=["kernel"], view=tiedio.transpose())
    tiedio.tie(c, b, weights=["kernel"], view=tiedio.transpose())
    assert c.kernel is a.kernel
    tiedio.untie(c)
    tiedio.tie(c, b, weights=["kernel"])
    assert c.kernel is b.kernel
    assert c.kernel.source is a.kernel
    assert_round_trip(model, X, X)


def test_a_view_of_a_weight_that_becomes_a_view_is_one_view() -> None:
    a, b, c = (layers.Dense(6, name=name) for name in "abc")
    model = chain(a, b, c)
    tiedio.tie(c, b, weights=["kernel"], view=tiedio.transpose())
    tiedio.tie(b, a, weights=["kernel"], view=tiedio.transpose())
    assert c.kernel is a.kernel
    assert b.kernel.source is a.kernel
    assert len(model.weights) == 4


def test_views_of_two_kinds_are_refused_and_nothing_changes() -> None:
    a, b, c = layers.Dense(6, name="a"), layers.Dense(6, name="b"), layers.Dense(4, name="c")
    chain(a, b)
    c.build((None, 9))
    tiedio.tie(b, a, weights=["kernel"], view=tiedio.transpose())
    kernel = c.kernel
    with pytest.raises(ViewError, match="tie to the weight that the other view is computed from"):
        tiedio.tie(c, b, weights=["kernel"], view=tiedio.reshape((9, 4)))
    assert c.kernel is kernel


def test_a_view_of_a_model_that_is_not_saved_is_refused_with_both_names(tmp_path: Path) -> None:
    encoder, decoder = layers.Dense(3, name="encoder"), layers.Dense(6, name="decoder")
    first, second = chain(encoder, width=6), chain(decoder, width=3)
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    with pytest.raises(tiedio.ModelError, match=r"decoder/kernel.*encoder/kernel"):
        tiedio.save(second, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())
    tiedio.save({"first": first, "second": second}, tmp_path / "model.safetensors")
    both = tiedio.load(tmp_path / "model.safetensors")
    assert both["second"].layers[0].kernel.source is both["first"].layers[0].kernel


# --- untie --------------------------------------------------------------------------------------------------------


def test_untie_gives_a_layer_weights_of_its_own_with_the_same_values() -> None:
    model, a, b = twins()
    tiedio.tie(b, a)
    value = raw(a.kernel, a.bias)
    tiedio.untie(b)
    assert b.kernel is not a.kernel
    assert b.bias is not a.bias
    assert raw(b.kernel, b.bias) == value
    assert paths(b.weights) == ["b/kernel", "b/bias"]
    assert tiedio.find_ties(model) == []
    model.train_on_batch(X, X)
    assert raw(b.kernel) != raw(a.kernel)
    assert_round_trip(model, X, X)


def test_an_optimizer_goes_on_for_both_after_untie() -> None:
    model, a, b = twins()
    tiedio.tie(b, a)
    model.train_on_batch(X, X)
    optimizer = model.optimizer
    tiedio.untie(b, ["kernel"])
    state = dict(zip(paths(optimizer._trainable_variables), raw(*optimizer._momentums), strict=True))
    assert sorted(state) == ["a/bias", "a/kernel", "b/kernel"]
    assert state["b/kernel"] == state["a/kernel"]
    model.fit(X, X, verbose=0)
    assert_round_trip(model, X, X)


def test_untie_makes_a_view_a_weight_in_its_place_again() -> None:
    model, encoder, decoder = autoencoder()
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    model.train_on_batch(X, X)
    tiedio.untie(decoder)
    assert paths(decoder.weights) == ["decoder/kernel", "decoder/bias"]
    assert np.array_equal(np.array(decoder.kernel), np.array(encoder.kernel).T)
    model.fit(X, X, verbose=0)
    assert_round_trip(model, X, X)


def test_untie_of_what_is_not_tied_is_refused() -> None:
    _, a, b = twins()
    with pytest.raises(TieError, match="the weight is not tied"):
        tiedio.untie(b)
    tiedio.tie(b, a, weights=["kernel"])
    with pytest.raises(TieError, match=r"b/bias.*not tied"):
        tiedio.untie(b, ["bias"])


def test_untie_of_the_last_place_of_a_views_source_is_refused() -> None:
    _, encoder, decoder = autoencoder()
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    with pytest.raises(TieError, match="decoder/kernel"):
        tiedio.untie(encoder)


def test_a_weight_that_a_layer_shares_with_itself_is_untied_by_name() -> None:
    class Both(layers.Layer):
        def build(self, shape: Any) -> None:
            self.first = self.second = self.add_weight(shape=(6,), name="first")

        def call(self, inputs: Any) -> Any:
            return inputs * self.first + self.second

    both = Both(name="both")
    model = chain(both)
    with pytest.raises(TieError, match="not tied"):
        tiedio.untie(both)
    tiedio.untie(both, ["second"])
    assert both.first is not both.second
    assert len(model.weights) == 2


# --- quantizing and LoRA ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act", [lambda one: one.quantize("int8"), lambda one: one.enable_lora(2)], ids=["int8", "lora"]
)
def test_what_would_break_the_tie_is_refused_by_either_layer(act: Callable[[Any], None]) -> None:
    _, a, b = twins()
    tiedio.tie(b, a)
    for layer in (a, b):
        with pytest.raises(TiedLayerError, match="untie it first"):
            act(layer)
    assert b.kernel is a.kernel
    tiedio.untie(b)
    act(b)


def test_a_loaded_tie_is_guarded_too(tmp_path: Path) -> None:
    model, a, b = twins()
    tiedio.tie(b, a)
    tiedio.save(model, tmp_path / "model.safetensors")
    loaded = tiedio.load(tmp_path / "model.safetensors")
    with pytest.raises(TiedLayerError, match="one weight in a/kernel and b/kernel"):
        loaded.get_layer("b").quantize("int8")


def test_quantizing_a_model_leaves_tied_layers_out_with_a_warning() -> None:
    a, b, free = (layers.Dense(6, name=name) for name in ("a", "b", "free"))
    model = chain(a, b, free)
    tiedio.tie(b, a)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.quantize("int8")
    told = [str(one.message) for one in caught if "shared weight" in str(one.message)]
    assert len(told) == 2
    assert (a.quantization_mode, b.quantization_mode, free.quantization_mode) == (None, None, "int8")
    assert b.kernel is a.kernel


def test_float8_keeps_the_tie() -> None:
    model, a, b = twins()
    tiedio.tie(b, a)
    b.quantize("float8")
    assert b.kernel is a.kernel
    assert np.isfinite(model(X)).all()


def test_a_layer_that_has_lora_is_not_tied() -> None:
    _, a, b = twins()
    b.enable_lora(2)
    with pytest.raises(TieError, match="LoRA of rank 2"):
        tiedio.tie(b, a)
