"""Compile configuration and optimizer come back; its state belongs to variables, not to places or names."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio import keras_api, slots, training
from tiedio.errors import MismatchError, ModelError, RebuildError

X = np.linspace(-1, 1, 6).reshape(2, 3).astype("float32")
Y = np.linspace(0, 1, 6).reshape(2, 3).astype("float32")


def model(**options: Any) -> Any:
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(3, name="one"), keras.layers.Dense(3, name="other")], **options
    )


def share(made: Any) -> Any:
    one, other = made.layers
    stale = other.kernel
    other._tracker.unlock()
    other._kernel = one.kernel
    other._trainable_variables[:] = [v for v in other._trainable_variables if v is not stale]
    other._tracker.lock()
    return made


def filled(optimizer: Any, variables: list[Any]) -> Any:
    """The optimizer, built for these variables, with state of which no two numbers are equal."""
    optimizer.build(variables)
    count = 0
    for variable in optimizer.variables:
        size = int(np.prod(variable.shape))
        values = np.arange(count, count + size).reshape(variable.shape)
        variable.assign(keras.ops.cast(values, variable.dtype))
        count += size
    return optimizer


def state(optimizer: Any) -> dict[str, list[Any]]:
    """Values of the state by attribute, each list in the order of the variables that it was built for."""
    found: dict[str, list[Any]] = {}
    for name, value in vars(optimizer).items():
        items = value if isinstance(value, list) else [value]
        if name not in ("_variables", "_trainable_variables") and any(isinstance(v, keras.Variable) for v in items):
            found[name] = [None if v is None else np.array(v).tolist() for v in items]
    return found


def round_trip(made: Any, folder: Path, **options: Any) -> Any:
    tiedio.save(made, folder / "model.safetensors")
    return tiedio.load(folder / "model.safetensors", **options)


def described(made: Any) -> training.Training:
    return training.describe_training(slots.walk({None: made}))


# --- state by variable ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        lambda: keras.optimizers.SGD(),
        lambda: keras.optimizers.Adam(amsgrad=True),
        lambda: keras.optimizers.AdamW(use_ema=True),
        lambda: keras.optimizers.RMSprop(momentum=0.1, centered=True),
        keras.optimizers.Adagrad, keras.optimizers.Adadelta, keras.optimizers.Adamax, keras.optimizers.Nadam,
        keras.optimizers.Ftrl, keras.optimizers.Lion, keras.optimizers.Lamb, keras.optimizers.Adafactor,
        keras.optimizers.Muon,
        lambda: keras.optimizers.Adam(gradient_accumulation_steps=2),
        lambda: keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)),
    ],
    ids=["SGD momentum", "SGD", "Adam amsgrad", "AdamW ema", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam",
         "Ftrl", "Lion", "Lamb", "Adafactor", "Muon", "accumulation", "schedule"],
)  # fmt: skip
def test_state_comes_back_bit_for_bit_with_its_variable(tmp_path: Path, make: Callable[[], Any]) -> None:
    made = share(model())
    order = [made.layers[1].bias, made.layers[0].kernel, made.layers[0].bias]
    made.compile(filled(make(), order), "mse")
    loaded = round_trip(made, tmp_path)
    trained = loaded.optimizer._trainable_variables
    assert trained[0] is loaded.layers[1].bias
    assert trained[1] is loaded.layers[0].kernel is loaded.layers[1].kernel
    assert trained[2] is loaded.layers[0].bias
    assert len(trained) == 3
    assert state(loaded.optimizer) == state(made.optimizer)
    assert [v.path for v in loaded.optimizer.variables] == [v.path for v in made.optimizer.variables]
    assert loaded.optimizer.get_config() == made.optimizer.get_config()


def test_state_of_a_layer_that_was_frozen_afterwards_is_kept(tmp_path: Path) -> None:
    made = model()
    made.compile(filled(keras.optimizers.Adam(), made.trainable_variables), "mse")
    made.layers[0].trainable = False
    loaded = round_trip(made, tmp_path)
    assert len(loaded.trainable_variables) == 2
    assert [v is w for v, w in zip(loaded.optimizer._trainable_variables, loaded.weights, strict=True)] == [True] * 4
    assert state(loaded.optimizer) == state(made.optimizer)


def test_a_tie_has_one_momentum_and_readable_names(tmp_path: Path) -> None:
    made = share(model())
    made.compile(filled(keras.optimizers.SGD(momentum=0.5), made.trainable_variables), "mse")
    round_trip(made, tmp_path)
    (optimizer,) = tiedio.inspect(tmp_path / "model.safetensors").optimizers
    assert optimizer.variables == ("one/kernel", "one/bias", "other/bias")
    names = {tensor.name for tensor in tiedio.inspect(tmp_path / "model.safetensors").tensors}
    assert {name for name in names if name.startswith("@")} == {
        "@optimizer/iterations", "@optimizer/learning_rate", "@optimizer/momentums/one/kernel",
        "@optimizer/momentums/one/bias", "@optimizer/momentums/other/bias",
    }  # fmt: skip


def test_a_learning_rate_that_was_changed_is_kept(tmp_path: Path) -> None:
    made = model()
    made.compile(keras.optimizers.SGD(0.1), "mse")
    made.optimizer.learning_rate = 0.025
    assert float(round_trip(made, tmp_path).optimizer.learning_rate) == float(np.float32(0.025))


def test_an_optimizer_that_was_not_built_is_not(tmp_path: Path) -> None:
    made = model()
    made.compile("adam", "mse")
    loaded = round_trip(made, tmp_path)
    assert not loaded.optimizer.built
    assert loaded.optimizer._trainable_variables == []
    loaded.train_on_batch(X, Y)
    assert len(loaded.optimizer._trainable_variables) == 4


def test_variables_without_decay_are_still_without(tmp_path: Path) -> None:
    made = model()
    optimizer = keras.optimizers.AdamW(weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[made.layers[1].kernel], var_names=["bias"])
    made.compile(filled(optimizer, made.trainable_variables), "mse")
    loaded = round_trip(made, tmp_path)
    excluded = [not loaded.optimizer._use_weight_decay(v) for v in loaded.trainable_variables]
    assert excluded == [False, True, True, True]


def test_the_next_step_is_the_same(tmp_path: Path) -> None:
    made = share(model())
    made.compile(keras.optimizers.Adam(0.1), keras.losses.Huber(0.2), run_eagerly=True)
    made.train_on_batch(X, Y)
    loaded = round_trip(made, tmp_path)
    made.reset_metrics()  # the loss that is returned is a running mean
    assert loaded.train_on_batch(X, Y) == made.train_on_batch(X, Y)
    assert [w.tobytes() for w in loaded.get_weights()] == [w.tobytes() for w in made.get_weights()]
    assert state(loaded.optimizer) == state(made.optimizer)
    assert loaded.layers[0].kernel is loaded.layers[1].kernel


# --- who shares an optimizer ------------------------------------------------------------------------------


def test_two_models_that_share_an_optimizer_share_it_again(tmp_path: Path) -> None:
    one, other = model(name="a"), model(name="b")
    optimizer = filled(keras.optimizers.Adam(), one.trainable_variables + other.trainable_variables)
    one.compile(optimizer, "mse")
    other.compile(optimizer, "mae")
    loaded = round_trip({"a": one, "b": other}, tmp_path)
    assert loaded["a"].optimizer is loaded["b"].optimizer
    assert len(tiedio.inspect(tmp_path / "model.safetensors").optimizers) == 1
    assert (loaded["a"].loss, loaded["b"].loss) == ("mse", "mae")
    assert state(loaded["a"].optimizer) == state(optimizer)


def test_a_compiled_model_inside_a_compiled_model(tmp_path: Path) -> None:
    inner = model(name="inner")
    inner.compile(filled(keras.optimizers.SGD(momentum=0.5), inner.trainable_variables), "mae")
    outer = keras.Sequential([keras.Input((3,)), inner], name="outer")
    outer.compile(filled(keras.optimizers.Adam(), outer.trainable_variables), "mse")
    loaded = round_trip(outer, tmp_path)
    assert loaded.optimizer is not loaded.layers[0].optimizer
    assert loaded.optimizer._trainable_variables[0] is loaded.layers[0].optimizer._trainable_variables[0]
    assert state(loaded.layers[0].optimizer) == state(inner.optimizer)
    assert [o.path for o in tiedio.inspect(tmp_path / "model.safetensors").optimizers] == [
        "@optimizer", "inner/@optimizer",
    ]  # fmt: skip


# --- the arguments of compile -----------------------------------------------------------------------------


@keras.saving.register_keras_serializable("test_training")
def distance(y: Any, prediction: Any) -> Any:
    return keras.ops.mean(keras.ops.abs(y - prediction), axis=-1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"loss": "mse"},
        {"loss": keras.losses.mean_absolute_error},
        {"loss": distance, "metrics": [distance, "mae"]},
        {"loss": keras.losses.Huber(0.3, name="h"), "metrics": [keras.metrics.MeanSquaredError(name="m")]},
        {"loss": ["mse"], "loss_weights": [0.5], "weighted_metrics": ["mae"]},
        {"loss": "mse", "run_eagerly": True, "steps_per_execution": 3},
        {"loss": "mse", "jit_compile": False, "auto_scale_loss": False},
        {"loss": None},
    ],
    ids=lambda arguments: ", ".join(arguments),
)
def test_arguments_come_back(tmp_path: Path, arguments: dict[str, Any]) -> None:
    made = model()
    made.compile("sgd", **arguments)
    loaded = round_trip(made, tmp_path)
    before, after = (json.dumps(m.get_compile_config(), default=repr, sort_keys=True) for m in (made, loaded))
    assert after == before
    for name in ("run_eagerly", "steps_per_execution", "jit_compile"):
        assert getattr(loaded, name) == getattr(made, name)


def test_what_a_loss_of_keras_leaves_out_of_its_config_comes_back(tmp_path: Path) -> None:
    made = model()
    made.compile("sgd", keras.losses.Huber(0.3))
    loaded = round_trip(made, tmp_path)
    assert float(loaded.loss(Y, 5 * Y)) == float(made.loss(Y, 5 * Y)) != float(keras.losses.Huber()(Y, 5 * Y))


# --- state that cannot be carried -------------------------------------------------------------------------


class Hides(keras.optimizers.SGD):
    """Keeps state in the list of variables only."""

    def build(self, variables: Any) -> None:
        super().build(variables)
        self.add_variable((2,), name="hidden")


class Nests(keras.optimizers.SGD):
    """Keeps state in a dict of lists."""

    def build(self, variables: Any) -> None:
        super().build(variables)
        self.extra = {"a": [self.add_variable((2,), name="x")], 1: self.add_variable((1,), name="y")}


def test_state_in_no_place_is_refused() -> None:
    made = model()
    made.compile(filled(Hides(), made.trainable_variables), "mse")
    with pytest.raises(ModelError, match="no place that tiedio can see") as caught:
        described(made)
    error = caught.value
    assert error.path == "@optimizer"
    assert "hidden" in str(error.found)
    assert error.expected
    assert error.remedy


def test_state_in_a_dict_is_carried(tmp_path: Path) -> None:
    made = model()
    made.compile(filled(Nests(), made.trainable_variables), "mse")
    loaded = round_trip(made, tmp_path, custom_objects={"Nests": Nests})
    assert loaded.optimizer.extra["a"][0].numpy().tolist() == made.optimizer.extra["a"][0].numpy().tolist()
    assert loaded.optimizer.extra[1].numpy().tolist() == made.optimizer.extra[1].numpy().tolist()


def test_an_optimizer_of_another_model_is_refused(tmp_path: Path) -> None:
    made, stranger = model(), model(name="stranger")
    made.compile(filled(keras.optimizers.Adam(), stranger.trainable_variables), "mse")
    with pytest.raises(ModelError, match="no longer in the model"):
        tiedio.save(made, tmp_path / "model.safetensors")


# --- compiling again --------------------------------------------------------------------------------------


def again(made: Any, change: Callable[[dict[str, Any]], None], decode: Any = None) -> None:
    found = described(made)
    record = json.loads(json.dumps(found.record))
    change(record)
    walk = slots.walk({None: made})
    variables = {slot.path: slot.variable for slot in walk.slots}
    revive = decode or (lambda config: keras_api.deserialize(config, {}, True))
    training.compile_again([o.value for o in walk.objects], record, found.optimizers, variables, revive)


def test_an_optimizer_that_is_none_is_told() -> None:
    made = model()
    made.compile("sgd", "mse")
    dense = keras.saving.serialize_keras_object(keras.layers.Dense(1))
    with pytest.raises(RebuildError, match="cannot be made again") as caught:
        again(made, lambda record: record.update(optimizers=[dense]))
    error = caught.value
    assert (error.path, error.found) == ("@optimizer", "Dense")
    assert "compile=False" in str(error.remedy)


def test_an_argument_that_compile_does_not_take_is_told() -> None:
    made = model(name="mine")
    made.compile("sgd", "mse")
    with pytest.raises(RebuildError, match="cannot be compiled again") as caught:
        again(made, lambda record: record["models"][0]["config"].update(wings=2))
    assert caught.value.path == "mine"
    assert "wings" in str(caught.value.found)


@pytest.mark.parametrize("change", ["more", "less"])
def test_other_state_than_the_file_s_is_told(change: str) -> None:
    made = model()
    made.compile(filled(keras.optimizers.SGD(momentum=0.5), made.trainable_variables), "mse")
    walk = slots.walk({None: made})
    specs = list(described(made).variables())
    if change == "less":
        specs.pop()
    else:
        place = dataclasses.replace(specs[0].slots[0], path="@optimizer/velocities/one/kernel")
        specs.append(dataclasses.replace(specs[0], slots=(place,)))
    with pytest.raises(MismatchError, match="other state") as caught:
        training.restore_facts(walk, specs, lambda config: config)
    assert "@optimizer" in str(caught.value.path)
    assert ("velocities" in str(caught.value.expected)) is (change == "more")
    assert "compile=False" in str(caught.value.remedy)


def test_a_model_that_is_not_compiled_has_no_training() -> None:
    found = described(model())
    assert found.record == training.NOTHING.record
    assert found.optimizers == ()
    assert found.variables() == ()
