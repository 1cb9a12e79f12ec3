"""Keras's own walk over what saves itself: what it asks stores for, and that it asks these."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
from keras.src.saving import saving_lib

import tiedio
from tiedio import keras_api


def test_keras_has_the_functions_that_are_called_with_the_arguments_that_are_passed() -> None:
    given = ["saveable", "weights_store", "assets_store", "inner_path", "visited_saveables"]
    assert list(inspect.signature(saving_lib._save_state).parameters) == given
    loading = list(inspect.signature(saving_lib._load_state).parameters)
    assert loading == [*given[:4], "skip_mismatch", "visited_saveables", "failed_saveables", "error_msgs"]


def test_the_stores_of_keras_have_no_method_that_these_do_not_know() -> None:
    known = {"get", "make", "has_path", "close", "keys"}
    for store in (saving_lib.H5IOStore, saving_lib.DiskIOStore):
        assert {name for name in vars(store) if not name.startswith("_")} <= known


def test_what_is_given_comes_back() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    stored: dict[str, Any] = {}
    keras_api.save_state(model, lambda path, value: stored.update({path: np.array(value)}))
    assert list(stored) == [
        "layers/dense/vars/0", "layers/dense/vars/1",
        *(f"layers/batch_normalization/vars/{n}" for n in range(4)),
    ]  # fmt: skip
    names = {"layers/dense/vars": ("0", "1"), "layers/batch_normalization/vars": ("0", "1", "2", "3")}
    new = {path: value + 1 for path, value in stored.items()}
    assert keras_api.load_state(model, names, frozenset(), new.__getitem__) == []
    assert [w.tobytes() for w in model.get_weights()] == [value.tobytes() for value in new.values()]


def test_what_a_layer_does_not_take_is_told() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    nothing: dict[str, Any] = {}
    failed = keras_api.load_state(model, {}, frozenset(), nothing.__getitem__)
    assert [owner.name for owner, _ in failed] == ["dense"]


def test_a_model_that_keras_has_loaded_can_be_saved(tmp_path: Any) -> None:
    inputs = keras.Input((4, 3))
    outputs = keras.layers.EinsumDense("abc,cd->abd", output_shape=(None, 2))(keras.layers.Dense(3)(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    tiedio.save(loaded, tmp_path / "m.safetensors")
    assert tiedio.load(tmp_path / "m.safetensors").count_params() == loaded.count_params()
