"""The optimizer's state goes to the model's variables, whatever their positions and names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio.errors import MismatchError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def tied(optimizer: Any, seed: int = 0) -> Any:
    """A tied autoencoder, small and quick."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((3,), name="x")
    layer = keras.layers.Dense(2, name="code")
    outputs = keras.ops.matmul(layer(inputs), keras.ops.ones((2, 3)))
    model = keras.Model(inputs, keras.layers.Dense(3, name="out")(outputs))
    model.compile(optimizer, "mse", run_eagerly=True)
    return model


CASES: dict[str, Any] = {
    "SGD": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "plain SGD": lambda: keras.optimizers.SGD(0.1),
    "Adam, EMA": lambda: keras.optimizers.Adam(use_ema=True, ema_overwrite_frequency=2),
    "AMSGrad": lambda: keras.optimizers.Adam(amsgrad=True),
    "accumulation": lambda: keras.optimizers.Adam(gradient_accumulation_steps=2),
    "loss scaling": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()),
    "loss scaling, decay": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(weight_decay=0.1)),
    "schedule": lambda: keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)),
    **{
        name: getattr(keras.optimizers, name)
        for name in ("RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam", "Ftrl", "Adafactor", "Lion", "Lamb")
    },
}


@pytest.mark.parametrize("name", CASES)
def test_the_next_step_is_the_original_s(path: Path, tools: Any, name: str) -> None:
    model = tied(CASES[name]())
    tools.step(model)
    tiedio.save_weights(model, path)
    fresh, trained = tied(CASES[name](), seed=1), tied(CASES[name](), seed=2)
    tools.step(trained)
    tools.step(trained)
    for other in (fresh, trained):
        report = tiedio.load_weights(other, path)
        assert report.complete
        assert not report.skipped
    then = tools.step(model)
    assert tools.step(fresh) == then
    assert tools.step(trained) == then


def test_state_is_matched_by_variable_when_the_order_differs(path: Path, tools: Any) -> None:
    model = tied("adam")
    model.optimizer.build(model.trainable_variables[::-1])
    tools.step(model)
    tiedio.save_weights(model, path)
    other = tied("adam", seed=1)
    tools.step(other)
    assert tiedio.load_weights(other, path).complete
    left = {id(v): i for i, v in enumerate(model.optimizer._trainable_variables)}
    right = {id(v): i for i, v in enumerate(other.optimizer._trainable_variables)}
    for one, two in zip(model.trainable_variables, other.trainable_variables, strict=True):
        momentums = model.optimizer._momentums[left[id(one)]], other.optimizer._momentums[right[id(two)]]
        assert np.array(momentums[0]).tobytes() == np.array(momentums[1]).tobytes()
    assert tools.step(other)[:2] == tools.step(model)[:2]


def test_a_layer_that_was_frozen_after_the_optimizer_was_built(path: Path, tools: Any) -> None:
    def frozen(seed: int) -> Any:
        model = tied("adam", seed=seed)
        model.get_layer("code").trainable = False
        return model

    model = tied("adam")
    tools.step(model)
    model.get_layer("code").trainable = False
    tiedio.save_weights(model, path)
    fresh = frozen(seed=1)
    assert tiedio.load_weights(fresh, path).complete
    assert len(fresh.optimizer._trainable_variables) == 4
    assert tools.step(fresh) == tools.step(model)


def test_another_class_is_refused_or_reported(path: Path, tools: Any) -> None:
    model = tied("adam")
    tools.step(model)
    tiedio.save_weights(model, path)
    other = tied("sgd", seed=1)
    before = tools.picture(other)
    with pytest.raises(MismatchError) as caught:
        tiedio.load_weights(other, path)
    assert (caught.value.path, caught.value.expected, caught.value.found) == ("@optimizer", "Adam", "SGD")
    assert tools.picture(other) == before
    state = before[id(other.optimizer)]
    for strict in (False, True):
        report = tiedio.load_weights(other, path, strict=strict, optimizer=not strict)
        assert tools.values(other) == tools.values(model)
        assert tools.picture(other)[id(other.optimizer)] == state
        assert bool(report.skipped) != strict
        assert not any(place.startswith("@optimizer") for place in report.loaded)


def test_other_state_is_told_by_its_place(path: Path, tools: Any) -> None:
    model = tied(keras.optimizers.SGD(0.1, momentum=0.9))
    tools.step(model)
    tiedio.save_weights(model, path)
    other = tied(keras.optimizers.SGD(0.1), seed=1)
    before = tools.picture(other)
    with pytest.raises(MismatchError, match="@optimizer/momentums/code/kernel"):
        tiedio.load_weights(other, path)
    assert tools.picture(other) == before
    assert not other.optimizer.built
    report = tiedio.load_weights(other, path, strict=False)
    assert "@optimizer/momentums/code/kernel" in report.unexpected
    assert other.optimizer.built


def test_a_file_without_state_leaves_the_optimizer_as_it_is(path: Path, tools: Any) -> None:
    model = tied("adam")
    tools.step(model)
    tiedio.save_weights(model, path, optimizer=False)
    other = tied("adam", seed=1)
    tools.step(other)
    state = tools.picture(other)[id(other.optimizer)]
    report = tiedio.load_weights(other, path)
    assert report.complete
    assert report.skipped == (("@optimizer", "the file has no state for it"),)
    assert tools.picture(other)[id(other.optimizer)] == state
    assert tools.values(other) == tools.values(model)


def test_two_models_with_optimizers_of_their_own(path: Path, tools: Any) -> None:
    def build(seed: int) -> dict[str, Any]:
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((3,), name="x")
        first = keras.Model(inputs, keras.layers.Dense(3, name="shared")(inputs))
        second = keras.Model(inputs, keras.layers.Dense(3, name="more")(first.output))
        first.compile("adam", "mse", run_eagerly=True)
        second.compile(keras.optimizers.SGD(momentum=0.5), "mse", run_eagerly=True)
        return {"first": first, "second": second}

    models, fresh = build(0), build(1)
    for model in models.values():
        tools.step(model)
    tiedio.save_weights(models, path)
    assert tiedio.load_weights(fresh, path).complete
    for name in ("first", "second", "first"):
        assert tools.step(fresh[name]) == tools.step(models[name])
