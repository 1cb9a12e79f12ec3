"""Loadings into optimizers that a second reviewer broke: each trains on as the file says, or raises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers

import tiedio
from tiedio.errors import MismatchError

X = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")
Y = np.linspace(0, 1, 16).reshape(4, 4).astype("float32")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def step(model: Any) -> list[Any]:
    """Takes a training step, and gives its loss and all values after it."""
    model.reset_metrics()
    loss = model.train_on_batch(X, Y)
    return [loss, *(np.array(v).tobytes() for v in (*model.variables, *model.optimizer.variables))]


# --- optimizers inside optimizers -------------------------------------------------------------------------


def with_optimizer(optimizer: Any, seed: int = 0, trained: bool = True) -> Any:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="one")])
    model.compile(optimizer, "mse", run_eagerly=True)
    if trained:
        step(model)
    return model


def scaled(inner: Any) -> Any:
    return optimizers.LossScaleOptimizer(inner)


@pytest.mark.parametrize("trained", [True, False])
def test_an_inner_optimizer_of_another_class_is_refused_or_reported(path: Path, tools: Any, trained: bool) -> None:
    # Lion's momentums have the name and the shape of SGD's.
    model = with_optimizer(scaled(optimizers.SGD(0.1, momentum=0.9)))
    tiedio.save_weights(model, path)
    other = with_optimizer(scaled(optimizers.Lion()), seed=1, trained=trained)
    before = tools.picture(other)
    with pytest.raises(MismatchError) as caught:
        tiedio.load_weights(other, path)
    error = caught.value
    assert (error.path, error.expected, error.found) == ("@optimizer/inner_optimizer", "SGD", "Lion")
    assert "optimizer=False" in str(error.remedy)
    assert tools.picture(other) == before
    report = tiedio.load_weights(other, path, strict=False)
    assert tools.values(other) == tools.values(model)
    assert not any(place.startswith("@optimizer") for place in report.loaded)
    assert [place for place, _ in report.skipped] == ["@optimizer"]
    assert "Lion" in report.skipped[0][1]
    assert "SGD" in report.skipped[0][1]
    step(other)


def test_an_inner_optimizer_of_the_same_class_is_loaded(path: Path) -> None:
    model = with_optimizer(scaled(optimizers.SGD(0.1, momentum=0.9)))
    tiedio.save_weights(model, path)
    other = with_optimizer(scaled(optimizers.SGD(0.1, momentum=0.9)), seed=1, trained=False)
    assert tiedio.load_weights(other, path).complete
    assert step(other) == step(model)


# --- weight decay, and ties that are restored -----------------------------------------------------------


def pair(tied: bool, trained: bool, wrap: Callable[[Any], Any] = lambda one: one, seed: int = 0) -> Any:
    """Two layers, tied by hand if asked; the second's kernel is left out of weight decay."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6,))
    one, two, head = layers.Dense(6, name="one"), layers.Dense(6, name="two"), layers.Dense(4, name="head")
    hidden = one(inputs)
    if tied:
        two._kernel = one._kernel
        two.bias = two.add_weight(shape=(6,), initializer="zeros", name="bias")
        two.built = True
    model = keras.Model(inputs, head(two(hidden)))
    optimizer = optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[two.kernel])
    model.compile(wrap(optimizer), "mse", run_eagerly=True)
    if trained:
        step(model)
    return model


def decays(model: Any) -> list[bool]:
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return [optimizer._use_weight_decay(variable.value) for variable in model.trainable_variables]


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("state", [True, False])
@pytest.mark.parametrize("wrap", [lambda one: one, scaled], ids=["alone", "inner"])
def test_what_is_left_out_of_weight_decay_follows_a_restored_tie(
    path: Path, trained: bool, state: bool, wrap: Any
) -> None:
    model = pair(tied=True, trained=True, wrap=wrap)
    tiedio.save_weights(model, path, optimizer=state)
    other = pair(tied=False, trained=trained and state, wrap=wrap, seed=1)
    tiedio.load_weights(other, path, ties="restore")
    assert other.get_layer("two").kernel is other.get_layer("one").kernel
    assert [v.path for v in other.trainable_variables] == [v.path for v in model.trainable_variables]
    assert decays(other) == decays(model) == [False, True, True, True, True]
    if state:
        assert step(other) == step(model)


@pytest.mark.parametrize("trained", [True, False])
def test_where_a_tie_is_undone_the_file_says_what_is_left_out_of_weight_decay(path: Path, trained: bool) -> None:
    model = pair(tied=False, trained=True)
    tiedio.save_weights(model, path)
    other = pair(tied=True, trained=trained, seed=1)
    tiedio.load_weights(other, path, ties="restore")
    assert decays(other) == decays(model) == [True, True, False, True, True, True]
    assert step(other) == step(model)


def test_both_are_left_out_of_weight_decay_when_a_tie_is_undone_and_the_file_does_not_say(path: Path) -> None:
    tiedio.save_weights(pair(tied=False, trained=True), path, optimizer=False)
    other = pair(tied=True, trained=False, seed=1)
    tiedio.load_weights(other, path, ties="restore")
    assert other.get_layer("two").kernel is not other.get_layer("one").kernel
    kernels = [other.get_layer(name).kernel for name in ("one", "two")]
    assert not any(other.optimizer._use_weight_decay(kernel.value) for kernel in kernels)
    step(other)


def test_a_loading_that_fails_leaves_what_is_left_out_of_weight_decay(path: Path, tools: Any) -> None:
    model = pair(tied=True, trained=True)
    tiedio.save_weights(model, path)
    other = pair(tied=False, trained=False, wrap=scaled, seed=1)
    before, noted = tools.picture(other), set(other.optimizer.inner_optimizer._exclude_from_weight_decay)
    with pytest.raises(MismatchError, match="another class"):
        tiedio.load_weights(other, path, ties="restore")
    assert tools.picture(other) == before
    assert other.optimizer.inner_optimizer._exclude_from_weight_decay == noted
    assert decays(other)[:3] == [True, True, False]


# --- frozen layers ------------------------------------------------------------------------------------------

BEFORE, AFTER, NEVER = "frozen before compile", "frozen after a step", "trainable"


def freezing(when: str, trained: bool = True, seed: int = 0, head: str = "two") -> Any:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, name="one"), layers.Dense(4, name=head)])
    model.get_layer("one").trainable = when != BEFORE
    model.compile(optimizers.AdamW(0.1, weight_decay=0.3), "mse", run_eagerly=True)
    if trained:
        step(model)
    if when == AFTER:
        model.get_layer("one").trainable = False
    return model


def test_an_optimizer_that_was_not_built_for_all_that_the_model_trains_is_refused(path: Path, tools: Any) -> None:
    tiedio.save_weights(freezing(BEFORE), path)
    other = freezing(NEVER, trained=False, seed=1)
    before = tools.picture(other)
    with pytest.raises(MismatchError) as caught:
        tiedio.load_weights(other, path)
    assert caught.value.path == "one/kernel"
    assert "one/bias" in str(caught.value.found)
    assert "freeze" in str(caught.value.remedy)
    assert "optimizer=False" in str(caught.value.remedy)
    assert tools.picture(other) == before
    assert not other.optimizer.built
    # What the error advises:
    other.get_layer("one").trainable = False
    assert tiedio.load_weights(other, path).complete
    step(other)
    other = freezing(NEVER, trained=False, seed=1)
    tiedio.load_weights(other, path, optimizer=False)
    step(other)


def test_what_fits_of_the_optimizer_is_loaded_when_the_loading_is_not_strict(path: Path, tools: Any) -> None:
    model = freezing(BEFORE)
    tiedio.save_weights(model, path)
    other = freezing(NEVER, trained=False, seed=1)
    report = tiedio.load_weights(other, path, strict=False)
    assert tools.values(other) == tools.values(model)
    assert report.trainable == ("one/kernel", "one/bias")
    assert "@optimizer/momentums/two/kernel" in report.loaded
    assert "@optimizer/momentums/one/kernel" in report.missing
    kernel = other.get_layer("two").kernel
    momentum = other.optimizer._momentums[other.optimizer._get_variable_index(kernel)]
    stored = model.optimizer._momentums[model.optimizer._get_variable_index(model.get_layer("two").kernel)]
    assert np.array(momentum).tobytes() == np.array(stored).tobytes()
    frozen = np.array(other.get_layer("one").kernel)
    step(other)
    assert not np.array_equal(np.array(other.get_layer("one").kernel), frozen)


def test_a_head_that_the_file_does_not_have_is_trained(path: Path) -> None:
    tiedio.save_weights(freezing(NEVER), path)
    other = freezing(NEVER, trained=False, seed=1, head="other")
    report = tiedio.load_weights(other, path, strict=False)
    assert "other/kernel" in report.missing
    head = np.array(other.get_layer("other").kernel)
    step(other)
    assert not np.array_equal(np.array(other.get_layer("other").kernel), head)


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize(("saved", "living"), [(BEFORE, BEFORE), (AFTER, AFTER), (AFTER, NEVER), (NEVER, NEVER)])
def test_a_model_that_is_frozen_as_the_file_or_later_loads(path: Path, saved: str, living: str, trained: bool) -> None:
    model = freezing(saved)
    tiedio.save_weights(model, path)
    other = freezing(living, trained=trained, seed=1)
    assert tiedio.load_weights(other, path).complete
    loss = step(other)
    if saved == living:
        assert loss == step(model)


class Half(keras.Sequential):
    """Trains its last layer only, by code of its own, and freezes nothing."""

    def train_step(self, data: Any) -> Any:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        variables = self.layers[-1].trainable_variables
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x))
        self.optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return {"loss": loss}


def test_a_model_whose_own_code_trains_a_part_loads(path: Path) -> None:
    def build(seed: int) -> Any:
        keras.utils.set_random_seed(seed)
        model = Half([keras.Input((6,)), layers.Dense(5, name="one"), layers.Dense(4, name="two")])
        model.compile("adam", "mse", run_eagerly=True)
        return model

    model, other = build(0), build(1)
    model.train_on_batch(X, Y)
    tiedio.save_weights(model, path)
    assert tiedio.load_weights(other, path).complete
    model.train_on_batch(X, Y)
    other.train_on_batch(X, Y)
    np.testing.assert_array_equal(other(X), model(X))
