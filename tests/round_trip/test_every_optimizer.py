"""Every optimizer class of Keras comes back: the zoo has a case for each, and this list follows Keras's."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio.testing import zoo, zoo_optimizers

BASES = {"Optimizer"}


def exported() -> set[str]:
    """The optimizer classes that Keras exports."""
    optimizers = keras.optimizers
    return {n for n, c in vars(optimizers).items() if inspect.isclass(c) and issubclass(c, optimizers.Optimizer)}


def test_the_zoo_has_every_optimizer_of_keras() -> None:
    assert exported() - BASES == set(zoo_optimizers.CLASSES)
    for name, make in zoo_optimizers.CLASSES.items():
        assert type(make()).__name__ == name
        assert f"tied_model_trained_with_every_optimizer_{name}" in zoo.case_names()


def loaded(model: Any, folder: Path) -> Any:
    tiedio.save(model, folder / "model.safetensors")
    return tiedio.load(folder / "model.safetensors")


def test_one_optimizer_for_two_parts_is_one_again(tmp_path: Path) -> None:
    model = zoo.build_case("tied_model_trained_with_one_optimizer_for_two_of_three_parts").model
    again = loaded(model, tmp_path).optimizer
    parts = again._optimizer_map
    assert parts["one/kernel"] is parts["two/kernel"]
    assert parts["two/bias"] is parts.default_optimizer
    assert len(again.optimizers) == 2
    assert [v.path for v in parts["one/kernel"]._trainable_variables] == ["one/kernel", "one/bias", "two/kernel"]


def test_the_optimizers_of_parts_stand_in_the_manifest(tmp_path: Path) -> None:
    model = zoo.build_case("tied_model_trained_with_every_optimizer_MultiOptimizer").model
    loaded(model, tmp_path)
    whole, adam, rest = tiedio.inspect(tmp_path / "model.safetensors").optimizers
    assert [one.path for one in (whole, adam, rest)] == [
        "@optimizer", "@optimizer/inner_optimizers/0", "@optimizer/inner_optimizers/1",
    ]  # fmt: skip
    assert [one.class_name for one in (whole, adam, rest)] == ["MultiOptimizer", "Adam", "SGD"]
    assert adam.variables == ("one/kernel", "one/bias")
    assert rest.variables == ("two/kernel", "two/bias", "three/bias")
    assert (whole.models, adam.models, rest.models) == (("",), (), ())


def test_muon_treats_the_same_variables_as_before(tmp_path: Path) -> None:
    model = zoo.build_case("muon_looks_at_paths_of_embeddings_and_of_layers_that_it_leaves_out").model
    again = loaded(model, tmp_path)
    assert [v.path for v in again.variables] == [v.path for v in model.variables]
    for before, after in zip(model.trainable_variables, again.trainable_variables, strict=True):
        assert again.optimizer._should_use_adamw(after) is model.optimizer._should_use_adamw(before)
    without = [
        v.path
        for v, one in zip(again.optimizer._trainable_variables, again.optimizer.adam_velocities, strict=True)
        if one is None
    ]
    assert without == ["one/kernel", "head/kernel"]  # matrices of no embedding and no layer that is left out


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_is_excluded_from_weight_decay_stays_excluded_before_anything_is_built(
    tmp_path: Path, wrapped: bool
) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), keras.layers.Dense(2)])
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[model.layers[1].kernel], var_names=["bias"])
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer) if wrapped else optimizer, "mse", run_eagerly=True)
    again = loaded(model, tmp_path)
    inner = again.optimizer.inner_optimizer if wrapped else again.optimizer
    assert [inner._use_weight_decay(v) for v in again.trainable_variables] == [True, False, False, False]
    ones = np.ones((1, 2), "float32")
    again.train_on_batch(ones, ones)
    model.train_on_batch(ones, ones)
    assert [w.tobytes() for w in again.get_weights()] == [w.tobytes() for w in model.get_weights()]


def test_a_loss_scale_that_compile_put_around_is_not_given_to_compile(tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    again = loaded(model, tmp_path)
    assert isinstance(again.optimizer, keras.optimizers.LossScaleOptimizer)
    assert again.get_compile_config() == model.get_compile_config()
    assert again.get_compile_config()["optimizer"]["class_name"] == "SGD"
