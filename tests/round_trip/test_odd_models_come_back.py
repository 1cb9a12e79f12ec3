"""Models that are odd but well defined come back whole, like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from tiedio.testing import assert_round_trip
from tiedio.testing.zoo_base import floats, share, trained
from tiedio.testing.zoo_places import stack
from tiedio.testing.zoo_roots import OneArgument

layers = keras.layers
_register = keras.saving.register_keras_serializable(package="odd_but_whole")


@_register
class Plain(keras.layers.Layer):
    """Scales by a weight and by a number that is in no config."""

    factor = 1.0

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale * self.factor


@_register
class HasASet(keras.Model):
    """Holds its layers in a set too."""

    def __init__(self, *given: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.listed = list(given)
        self.kept = set(given)

    def call(self, inputs: Any) -> Any:
        for layer in self.listed:
            inputs = layer(inputs)
        return inputs

    def get_config(self) -> Any:
        return {"name": self.name, "given": [keras.saving.serialize_keras_object(one) for one in self.listed]}

    @classmethod
    def from_config(cls, config: Any, custom_objects: Any = None) -> Any:
        return cls(*map(keras.saving.deserialize_keras_object, config.pop("given")), **config)


@_register
class OnRows:
    """A function that calls a layer."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, row: Any) -> Any:
        return self.layer(row[None])[0]

    def get_config(self) -> Any:
        return {"layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls(keras.saving.deserialize_keras_object(config["layer"]))


def with_tracking_off(owner: Any, name: str, value: Any) -> None:
    """Set an attribute of a built layer past its tracker."""
    object.__setattr__(owner, name, value)


def _dense(*names: str, **settings: Any) -> list[Any]:
    return [layers.Dense(4, name=name, **settings) for name in names]


def _fit(model: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
    return trained(model, x, y), x, y


def a_layer_of_the_graph_is_kept_in_an_attribute_of_the_model() -> Any:
    model, x, y = stack(*_dense("one", "two"))
    model.kept = model.get_layer("one")
    return _fit(model, x, y)


def a_layer_that_is_not_in_the_graph_hangs_on_the_model() -> Any:
    model, x, y = stack(*_dense("one", "two"))
    model.extra = layers.Dense(4, use_bias=False, name="extra")
    model.extra.build((None, 4))
    share(model.extra, "_kernel", model.get_layer("one"))
    return _fit(model, x, y)


def a_variable_is_kept_in_an_attribute_of_the_model() -> Any:
    model, x, y = stack(*_dense("one", "two"))
    model.kernel = model.get_layer("one").kernel
    return _fit(model, x, y)


def a_built_layer_got_one_more_attribute() -> Any:
    one, two = _dense("one", "two")
    model, x, y = stack(one, two)
    two._tracker.unlock()
    two.other_kernel = one.kernel
    two._tracker.lock()
    return _fit(model, x, y)


def a_built_layer_lost_its_bias() -> Any:
    one, two = _dense("one", "two")
    model, x, y = stack(one, two)
    two._tracker.unlock()
    two._tracker.untrack(two.bias)
    two.bias, two.use_bias = None, False
    return _fit(model, x, y)


def a_root_holds_one_layer_twice_by_hand() -> Any:
    model = OneArgument(name="root")
    model._tracker.untrack(model.second)
    model.second = model.first
    return _fit(model, floats(5, 4), floats(5, 4))


def a_root_got_another_layer_in_the_place_of_one() -> Any:
    model = OneArgument(name="root")
    model._tracker.untrack(model.second)
    model.second = layers.Dense(4, activation="relu", name="new")
    return _fit(model, floats(5, 4), floats(5, 4))


def a_number_in_a_config_was_changed_by_hand() -> Any:
    drop, dense = layers.Dropout(0.5, name="drop"), layers.Dense(4, name="dense")
    model, x, y = stack(drop, dense)
    drop.rate, dense.activation = 0.1, keras.activations.relu
    return _fit(model, x, y)


def an_epsilon_was_changed_by_hand() -> Any:
    norm = layers.LayerNormalization(name="norm")
    model, x, y = stack(norm, *_dense("two"))
    norm.epsilon = 0.5
    return _fit(model, x, y)


def layers_stand_in_a_set() -> Any:
    one, two = _dense("one", "two")
    model = HasASet(one, two, name="root")
    return _fit(model, floats(5, 4), floats(5, 4))


def a_layer_refers_to_the_model_that_it_is_in() -> Any:
    plain = Plain(name="plain")
    model, x, y = stack(plain, *_dense("two"))
    with_tracking_off(plain, "owner", model)
    return _fit(model, x, y)


def an_attribute_has_a_slash_in_its_name() -> Any:
    model, name = OneArgument(name="root"), "first/bias"
    setattr(model, name, layers.Dense(4, trainable=False, name="odd"))
    getattr(model, name).build((None, 4))
    model(floats(5, 4))
    share(getattr(model, name), "bias", model.first)
    return _fit(model, floats(5, 4), floats(5, 4))


def two_children_have_one_name() -> Any:
    model = OneArgument(name="root")
    model.second.name = "first"
    return _fit(model, floats(5, 4), floats(5, 4))


def a_layer_is_an_argument_of_an_op() -> Any:
    inputs = keras.Input(batch_shape=(5, 4), name="inputs")
    dense = layers.Dense(4, name="dense")
    dense.build((None, 4))
    outputs = keras.ops.vectorized_map(OnRows(dense), inputs)
    model = keras.Model(inputs, dense(outputs), name="model")
    return _fit(model, floats(5, 4), floats(5, 4))


def a_compiled_model_inside_a_compiled_model_with_one_optimizer() -> Any:
    inner, x, y = stack(*_dense("one"), name="inner")
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    inner.compile(optimizer=optimizer, loss="mse", run_eagerly=True)
    model = stack(inner, *_dense("two"))[0]
    model.compile(optimizer=optimizer, loss="mae", run_eagerly=True)
    model.train_on_batch(x, y)
    return model, x, y


def a_tie_of_other_dtype() -> Any:
    one, two = _dense("one"), layers.Dense(4, dtype="float64", name="two")
    model, x, y = stack(*one, two)
    share(two, "bias", one[0])
    return _fit(model, x, y)


def one_layer_as_the_activation_of_two() -> Any:
    prelu = layers.PReLU(name="prelu")
    return _fit(*stack(*_dense("one", "two", activation=prelu)))


def one_optimizer_for_two_models() -> Any:
    one, x, y = stack(*_dense("dense"), name="one")
    two = stack(*_dense("dense"), name="two")[0]
    optimizer = keras.optimizers.Adam(0.01)
    for model in (one, two):
        model.compile(optimizer=optimizer, loss="mse", run_eagerly=True)
    optimizer.build([*one.trainable_variables, *two.trainable_variables])
    return {"one": one, "two": two}, {"one": x, "two": x}, {"one": y, "two": y}


def a_learning_rate_is_a_function() -> Any:
    model, x, y = stack(*_dense("one"))
    return trained(model, x, y, optimizer=keras.optimizers.Adam(lambda: 0.02)), x, y


def a_layer_was_renamed() -> Any:
    model, x, y = stack(*_dense("one", "two"))
    model.get_layer("one").name = "renamed"
    return _fit(model, x, y)


def a_frozen_model_with_one_layer_thawed() -> Any:
    model, x, y = stack(*_dense("one", "two", "three"))
    model.trainable = False
    model.trainable = True
    model.get_layer("two").trainable = False
    model.get_layer("three")._trainable = False
    return _fit(model, x, y)


def a_weight_was_made_in_the_constructor_by_a_variable() -> Any:
    model, x, y = stack(*_dense("one"))
    model.temperature = keras.Variable(2.0, trainable=False, name="temperature")
    return _fit(model, x, y)


WHOLE: tuple[Callable[[], Any], ...] = (
    a_layer_of_the_graph_is_kept_in_an_attribute_of_the_model,
    a_layer_that_is_not_in_the_graph_hangs_on_the_model,
    a_variable_is_kept_in_an_attribute_of_the_model,
    a_built_layer_got_one_more_attribute,
    a_built_layer_lost_its_bias,
    a_root_holds_one_layer_twice_by_hand,
    a_root_got_another_layer_in_the_place_of_one,
    a_number_in_a_config_was_changed_by_hand,
    an_epsilon_was_changed_by_hand,
    layers_stand_in_a_set,
    a_layer_refers_to_the_model_that_it_is_in,
    an_attribute_has_a_slash_in_its_name,
    two_children_have_one_name,
    a_layer_is_an_argument_of_an_op,
    a_compiled_model_inside_a_compiled_model_with_one_optimizer,
    a_tie_of_other_dtype,
    one_layer_as_the_activation_of_two,
    one_optimizer_for_two_models,
    a_learning_rate_is_a_function,
    a_layer_was_renamed,
    a_frozen_model_with_one_layer_thawed,
    a_weight_was_made_in_the_constructor_by_a_variable,
)


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("build", WHOLE, ids=lambda build: build.__name__)
def test_comes_back_whole(build: Callable[[], Any], tmp_path: Path) -> None:
    model, inputs, targets = build()
    assert_round_trip(model, inputs=inputs, targets=targets, folder=tmp_path, safe_mode=False)
