"""`load_weights` where a weight is a view of another on one side, or on both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import tiedio
from tiedio.errors import MismatchError

X = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")
FILE = "weights.safetensors"


def autoencoder(tied: bool, seed: int, compiled: bool = False) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6,))
    encoder, decoder = layers.Dense(3, name="encoder"), layers.Dense(6, name="decoder")
    model = keras.Model(inputs, decoder(encoder(inputs)))
    if tied:
        tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    if compiled:
        model.compile("adam", "mse")
        model.train_on_batch(X, X)
    return model


def kernels(model: keras.Model) -> tuple[Any, Any]:
    return model.get_layer("encoder")._kernel, model.get_layer("decoder")._kernel


def state(model: keras.Model) -> list[bytes]:
    return [
        np.array(value).tobytes()
        for value in (*model.variables, *getattr(getattr(model, "optimizer", None), "variables", ()))
    ]


@pytest.mark.parametrize("ties", ["match", "restore", "model"])
def test_a_view_on_both_sides_is_loaded_through_its_source(ties: str, tmp_path: Path) -> None:
    saved, model = autoencoder(True, 1, compiled=True), autoencoder(True, 2, compiled=True)
    tiedio.save_weights(saved, tmp_path / FILE)
    report = tiedio.load_weights(model, tmp_path / FILE, ties=ties)
    assert report.complete
    assert state(model) == state(saved)
    assert kernels(model)[1].source is kernels(model)[0]
    assert model.train_on_batch(X, X) == saved.train_on_batch(X, X)
    assert state(model) == state(saved)


@pytest.mark.parametrize("tied", [True, False])
def test_another_view_than_the_files_is_refused_and_nothing_is_loaded(tied: bool, tmp_path: Path) -> None:
    tiedio.save_weights(autoencoder(tied, 1), tmp_path / FILE)
    model = autoencoder(not tied, 2)
    before = state(model)
    with pytest.raises(MismatchError, match=r"decoder/kernel.*ties='restore'"):
        tiedio.load_weights(model, tmp_path / FILE)
    assert state(model) == before


def test_the_files_view_is_restored_and_the_optimizer_goes_on(tmp_path: Path) -> None:
    saved, model = autoencoder(True, 1, compiled=True), autoencoder(False, 2, compiled=True)
    tiedio.save_weights(saved, tmp_path / FILE)
    report = tiedio.load_weights(model, tmp_path / FILE, ties="restore")
    assert report.tied == ("decoder/kernel",)
    encoder, decoder = kernels(model)
    assert decoder.source is encoder
    assert [v.path for v in model.weights] == ["encoder/kernel", "encoder/bias", "decoder/bias"]
    assert state(model) == state(saved)
    assert model.train_on_batch(X, X) == saved.train_on_batch(X, X)
    assert state(model) == state(saved)
    assert np.array_equal(np.array(decoder), np.array(encoder).T)


def test_a_variable_of_its_own_is_restored_where_the_model_has_a_view(tmp_path: Path) -> None:
    saved, model = autoencoder(False, 1, compiled=True), autoencoder(True, 2, compiled=True)
    tiedio.save_weights(saved, tmp_path / FILE)
    tiedio.load_weights(model, tmp_path / FILE, ties="restore")
    assert type(kernels(model)[1]) is type(kernels(model)[0])
    assert [v.path for v in model.get_layer("decoder").weights] == ["decoder/kernel", "decoder/bias"]
    assert state(model) == state(saved)
    assert model.train_on_batch(X, X) == saved.train_on_batch(X, X)
    assert state(model) == state(saved)


def test_the_models_own_variable_gets_the_value_of_the_files_view(tmp_path: Path) -> None:
    saved, model = autoencoder(True, 1), autoencoder(False, 2)
    tiedio.save_weights(saved, tmp_path / FILE)
    tiedio.load_weights(model, tmp_path / FILE, ties="model")
    encoder, decoder = kernels(model)
    assert any(one is decoder for one in model.weights)
    assert np.array_equal(np.array(decoder), np.array(encoder).T)
    assert np.array_equal(np.array(model(X)), np.array(saved(X)))


def test_the_models_view_is_kept_where_the_files_values_agree(tmp_path: Path) -> None:
    saved, model = autoencoder(False, 1), autoencoder(True, 2)
    encoder, decoder = kernels(saved)
    decoder.assign(np.array(encoder).T)
    tiedio.save_weights(saved, tmp_path / FILE)
    assert tiedio.load_weights(model, tmp_path / FILE, ties="model").complete
    assert kernels(model)[1].source is kernels(model)[0]
    assert np.array_equal(np.array(model(X)), np.array(saved(X)))


def test_the_models_view_is_not_kept_against_other_values(tmp_path: Path) -> None:
    tiedio.save_weights(autoencoder(False, 1), tmp_path / FILE)
    model = autoencoder(True, 2)
    before = state(model)
    with pytest.raises(MismatchError, match=r"decoder/kernel.*another value"):
        tiedio.load_weights(model, tmp_path / FILE, ties="model")
    assert state(model) == before
    report = tiedio.load_weights(model, tmp_path / FILE, ties="model", strict=False)
    assert [one.path for one in report.mismatched] == ["decoder/kernel"]
    assert kernels(model)[1].source is kernels(model)[0]


def test_a_view_whose_source_is_not_loaded_is_not_restored(tmp_path: Path) -> None:
    saved, model = autoencoder(True, 1), autoencoder(False, 2)
    tiedio.save_weights(saved, tmp_path / FILE)
    before = state(model)
    with pytest.raises(MismatchError, match="encoder/kernel"):
        tiedio.load_weights(model.get_layer("decoder"), tmp_path / FILE, prefix="decoder", ties="restore")
    assert state(model) == before
    tiedio.load_weights(model.get_layer("decoder"), tmp_path / FILE, prefix="decoder", ties="model")
    assert np.array_equal(np.array(kernels(model)[1]), np.array(kernels(saved)[0]).T)


def test_a_failure_after_ties_were_restored_undoes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiedio.save_weights(autoencoder(True, 1, compiled=True), tmp_path / FILE)
    model = autoencoder(False, 2, compiled=True)
    before, weights = state(model), list(model.weights)

    def fails(*_given: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr("tiedio.loading.assigning.assign", fails)
    with pytest.raises(OSError, match="the disk is gone"):
        tiedio.load_weights(model, tmp_path / FILE, ties="restore")
    assert state(model) == before
    assert all(one is other for one, other in zip(model.weights, weights, strict=True))
    assert len({id(v) for v in kernels(model)}) == 2
    assert np.isfinite(model.train_on_batch(X, X))
