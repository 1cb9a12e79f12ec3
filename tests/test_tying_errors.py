"""What cannot be tied: each error says what, where and the remedy, and nothing was changed."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import tiedio
from tests.tying_models import X, autoencoder, chain, raw, twins
from tiedio.errors import TieError, ViewError

# --- errors -----------------------------------------------------------------------------------------------------------


def test_shapes_that_differ_are_told_with_the_view_that_would_do() -> None:
    _, encoder, decoder = autoencoder()
    with pytest.raises(TieError) as error:
        tiedio.tie(decoder, encoder, weights=["kernel"])
    assert "decoder/kernel: cannot tie to 'encoder/kernel'" in str(error.value)
    assert (error.value.expected, error.value.found) == ((3, 6), (6, 3))
    assert error.value.remedy == "pass view=tiedio.transpose()"


def test_dtypes_that_differ_are_refused() -> None:
    a, b = layers.Dense(6, name="a"), layers.Dense(6, name="b", dtype="float64")
    for layer in (a, b):
        layer.build((None, 6))
    with pytest.raises(TieError, match=r"dtypes differ.*float64.*float32"):
        tiedio.tie(b, a)


def test_a_layer_without_weights_yet_is_refused() -> None:
    a = layers.Dense(6, name="a")
    with pytest.raises(TieError, match="a: the layer is not built"):
        tiedio.tie(a, layers.Dense(6))


def test_a_layer_is_not_tied_to_itself() -> None:
    _, a, b = twins()
    with pytest.raises(TieError, match="cannot be tied to itself"):
        tiedio.tie(a, a)
    tiedio.tie(b, a, weights=["kernel"], view=tiedio.transpose())
    with pytest.raises(TieError, match="cannot be a view of itself"):
        tiedio.tie(a, b, weights=["kernel"])


def test_a_weight_that_is_not_there_is_told_with_those_that_are() -> None:
    _, a, b = twins()
    with pytest.raises(TieError, match="b/weight: there is no weight of this name; expected one of kernel, bias"):
        tiedio.tie(b, a, weights=["weight"])
    with pytest.raises(TieError, match=r"pass \['kernel'\]"):
        tiedio.tie(b, a, weights="kernel")


def test_layers_with_nothing_alike_are_refused() -> None:
    a, norm = layers.Dense(6, name="a"), layers.BatchNormalization(name="norm")
    chain(a, norm)
    with pytest.raises(TieError, match="no weight of the same name and shape"):
        tiedio.tie(norm, a)


def test_a_view_needs_names_and_has_to_be_one() -> None:
    _, encoder, decoder = autoencoder()
    with pytest.raises(TieError, match="a view needs the names"):
        tiedio.tie(decoder, encoder, view=tiedio.transpose())
    with pytest.raises(TieError, match="this is no view"):
        tiedio.tie(decoder, encoder, weights=["kernel"], view=np.transpose)  # type: ignore[arg-type]
    with pytest.raises(ViewError, match="each axis of the source once"):
        tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose((0, 0)))


def test_what_is_no_layer_is_refused() -> None:
    _, a, _ = twins()
    with pytest.raises(TieError, match="target: this is no layer"):
        tiedio.tie(a.kernel, a)


def test_layouts_that_differ_are_refused() -> None:
    _, a, b = twins()
    b.kernel._layout = "rows"
    with pytest.raises(TieError, match="distribution layouts differ"):
        tiedio.tie(b, a)


def test_devices_that_differ_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _, a, b = twins()
    places = {id(a.kernel): "/device:GPU:0", id(a.bias): "/device:GPU:0"}
    monkeypatch.setattr("tiedio.keras_api.device_of", lambda variable: places.get(id(variable), "/device:CPU:0"))
    with pytest.raises(TieError, match=r"b/kernel: cannot tie to 'a/kernel': the devices differ.*CPU:0.*GPU:0"):
        tiedio.tie(b, a)


def test_an_optimizer_that_cannot_go_on_leaves_everything_as_it_was() -> None:
    class Odd(keras.optimizers.SGD):
        def get_config(self) -> dict[str, Any]:
            return {"nothing": True}

    a, b = layers.Dense(6, name="a"), layers.Dense(6, name="b")
    model = chain(a, b, compiled=False)
    model.compile(Odd(), "mse")
    model.train_on_batch(X, X)
    before, weights = raw(*model.variables), list(model.weights)
    built_for = list(model.optimizer._trainable_variables)
    with pytest.raises(TieError, match="the optimizer cannot be built again"):
        tiedio.tie(b, a)
    assert raw(*model.variables) == before
    assert all(one is other for one, other in zip(model.weights, weights, strict=True))
    assert all(one is other for one, other in zip(model.optimizer._trainable_variables, built_for, strict=True))
    model.train_on_batch(X, X)


def test_a_model_that_nobody_holds_any_more_is_not_in_the_way() -> None:
    model, a, b = twins()
    dead = chain(a, b)
    dead.train_on_batch(X, X)
    del dead
    gc.collect()
    tiedio.tie(b, a)
    model.train_on_batch(X, X)
    assert b.kernel is a.kernel


def test_a_view_that_was_set_by_hand_is_refused_by_save(tmp_path: Path) -> None:
    model, encoder, decoder = autoencoder()
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    other = layers.Dense(6, name="other")
    third = keras.Sequential([keras.Input((3,)), other])
    other._tracker.unlock()
    other._kernel = decoder._kernel
    with pytest.raises(tiedio.ModelError, match="set by hand"):
        tiedio.save({"model": model, "third": third}, tmp_path / "model.safetensors")
    tiedio.untie(other)
    tiedio.tie(other, encoder, weights=["kernel"], view=tiedio.transpose())
    tiedio.save({"model": model, "third": third}, tmp_path / "model.safetensors")
