"""A model that asks for more than a file of its size may is saved with a warning, and loads when it is trusted."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import keras
import pytest

import tiedio


@keras.saving.register_keras_serializable("limits")
class Scaled(keras.layers.Layer):
    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return x * self.factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


def beyond_integer() -> Any:
    return keras.Sequential([keras.Input((2,)), Scaled(10**9)])


def beyond_unlisted() -> Any:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse", metrics=[keras.metrics.MeanIoU(num_classes=3_000)])
    return model


def beyond_objects() -> Any:
    inputs = keras.Input((1,))
    return keras.Model(inputs, keras.layers.Concatenate()([keras.layers.Identity()(inputs) for _ in range(1_100)]))


CASES = {"integer": beyond_integer, "unlisted": beyond_unlisted, "objects": beyond_objects}


@pytest.mark.parametrize("limit", CASES)
def test_save_says_which_limit_load_will_ask_for(limit: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.warns(UserWarning, match=rf"load will ask for raised limits.*tiedio\.Limits\({limit}=") as caught:
        tiedio.save(CASES[limit](), path)
    assert caught[0].filename == __file__
    with pytest.raises(tiedio.LimitError, match=rf"tiedio\.Limits\({limit}="):
        tiedio.load(path)
    assert tiedio.load(path, limits=tiedio.Limits(**{limit: 10**10})).built
    assert tiedio.load(path, limits=tiedio.Limits.off()).built


def test_ordinary_models_are_saved_without_a_word(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, kernel_initializer="identity")])
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=10**8, decay_rate=0.9)
    model.compile(keras.optimizers.SGD(schedule), "mse", metrics=[keras.metrics.AUC(num_thresholds=10_000)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiedio.save(model, tmp_path / "model.safetensors")
    tiedio.load(tmp_path / "model.safetensors")


def test_limits_grow_with_the_file_and_can_be_turned_off() -> None:
    small, large = (tiedio.Limits().for_file(size) for size in (0, 1 << 30))
    for name in ("memory", "objects", "unlisted"):
        assert getattr(small, name) < getattr(large, name) < math.inf
    assert set(vars_of(tiedio.Limits.off())) == {math.inf}
    given = tiedio.Limits(objects=7).for_file(1 << 30)
    assert (given.objects, given.depth, given.integer) == (7, large.depth, large.integer)


def vars_of(limits: tiedio.Limits) -> list[float | None]:
    return [getattr(limits, name) for name in ("memory", "objects", "depth", "integer", "unlisted")]
