"""Every private name of Keras that tiedio relies on: these tests fail when Keras changes one of them."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from tensorflow.python.trackable import autotrackable, base

import tiedio
from tiedio import keras_api
from tiedio.testing import pairing

ONES = np.ones((2, 3), "float32")


class Own(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x


class OwnModel(keras.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = keras.layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.dense(x)


class Look(keras.callbacks.Callback):
    """Notes the attributes that a model has only while it is trained or tested."""

    def on_test_batch_end(self, batch: Any, logs: Any = None) -> None:
        DURING.update(vars(self.model))


DURING: set[str] = set()


def used(model: Any) -> Any:
    """The model after everything that leaves attributes behind."""
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(ONES, ONES, verbose=0, validation_data=(ONES, ONES), callbacks=[Look()])
    model.evaluate(ONES, ONES, verbose=0)
    model.predict(ONES, verbose=0)
    model.get_config()
    model.summary(print_fn=lambda *_args, **_options: None)
    return model


def functional() -> Any:
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(3)(inputs))


def sequential() -> Any:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])


def layer_in_use() -> Any:
    layer = Own(activity_regularizer="l2")
    layer(keras.Input((3,)))
    layer(ONES)
    layer.trainable = False
    layer.add_loss(keras.ops.sum(ONES))
    return layer


def metric_in_use() -> Any:
    metric = keras.metrics.Mean()
    metric.update_state([1.0])
    metric.result()
    return metric


def optimizer_in_use() -> Any:
    optimizer = keras.optimizers.Adam()
    variable = keras.Variable([1.0])
    optimizer.exclude_from_weight_decay(var_list=[variable])
    optimizer.apply([keras.ops.ones(1)], [variable])
    return optimizer


def optimizer_of_parts_in_use() -> Any:
    parts = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD()))
    parts.build([keras.Variable([1.0])])
    return parts


def operation_in_use() -> Any:
    return (keras.Input((3,)) + 1.0)._keras_history.operation


class Varied(keras.layers.Layer):
    """Its constructor's arguments cannot be noted."""

    def __init__(self, *values: float) -> None:
        super().__init__()


# What user code could have set itself: the arguments of the class.
OWN: dict[str, set[str]] = {
    "layer": set(),
    "layer of many arguments": set(),
    "subclassed model": {"dense"},
    "functional model": set(),
    "sequential model": set(),
    "metric": {"total", "count"},
    "operation": set(),
    "optimizer": {
        "beta_1", "beta_2", "epsilon", "amsgrad", "_momentums", "_velocities", "iterations", "_iterations", "built",
        "weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum",
        "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps", "_learning_rate",
        "_exclude_from_weight_decay_pattern",
    },
    "optimizer of parts": {
        "_inner_optimizers", "_optimizer_map", "_loss_scale_factor", "iterations", "_iterations", "built",
        "weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum",
        "ema_overwrite_frequency", "gradient_accumulation_steps", "_learning_rate",
    },
}  # fmt: skip
LIVE: dict[str, Callable[[], Any]] = {
    "layer": layer_in_use,
    "layer of many arguments": lambda: Varied(1.0, 2.0),
    "subclassed model": lambda: used(OwnModel()),
    "functional model": lambda: used(functional()),
    "sequential model": lambda: used(sequential()),
    "metric": metric_in_use,
    "operation": operation_in_use,
    "optimizer": optimizer_in_use,
    "optimizer of parts": optimizer_of_parts_in_use,
}


@functools.cache
def live(kind: str) -> Any:
    return LIVE[kind]()


# --- bookkeeping ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LIVE)
def test_what_keras_keeps_for_itself_is_known_by_name(kind: str) -> None:
    thing = live(kind)
    assert set(vars(thing)) - keras_api.bookkeeping_names(thing) - OWN[kind] == set()


def test_every_bookkeeping_name_is_still_one_that_keras_sets() -> None:
    seen: set[str] = set()
    known: set[str] = set()
    for kind in LIVE:
        thing = live(kind)
        seen |= set(vars(thing))
        known |= keras_api.bookkeeping_names(thing)
    # What is not Keras's own is what `guards` and `serializable` set: no more, and all of it.
    ours = {*vars(tied_layer()), *vars(serializable_layer())} - set(vars(plain_layer()))
    assert known - seen - DURING == ours - {"source"}


def plain_layer() -> Any:
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    return layer


def serializable_layer() -> Any:
    @tiedio.serializable(package="tests_keras_api")
    class Noted(keras.layers.Dense):
        def __init__(self, units: int, source: Any = None, **options: Any) -> None:
            super().__init__(units, **options)
            self.source = source

    layer = Noted(2)
    layer.build((None, 3))
    assert keras_api.ARGUMENTS_NAME in vars(layer)
    return layer


def tied_layer() -> Any:
    """A layer that shares a weight, and holds a view, with everything that `guards` sets in it."""
    layer = plain_layer()
    keras_api.guard(layer, "a tie")
    keras_api.note_order(layer)
    keras_api.set_attribute(layer, "bias", keras_api.live_view(keras.Variable(np.ones((1, 2))), tiedio.reshape((2,))))
    keras_api.store_views_too(layer)
    return layer


def test_what_a_tied_layer_keeps_is_bookkeeping_too() -> None:
    added = set(vars(tied_layer())) - set(vars(plain_layer()))
    assert added == {"enable_lora", "save_own_variables", "load_own_variables", keras_api.ORDER_NAME}
    assert {*added, "quantize"} <= keras_api.bookkeeping_names(tied_layer())
    layer = tied_layer()
    keras_api.unguard(layer)
    keras_api.set_attribute(layer, "bias", keras.Variable(np.ones(2)))
    keras_api.store_views_too(layer)
    keras_api.forget_order(layer)
    assert set(vars(layer)) == set(vars(plain_layer()))


def test_what_tensorflow_keeps_on_an_object_is_known_by_name() -> None:
    sources = [inspect.getsource(module) for module in (base, autotrackable)]
    set_there = {name for source in sources for name in re.findall(r"self\.(_self_\w+)(?: *:[^=\n]+)? *=[^=]", source)}
    assert set_there == keras_api.TENSORFLOW_NAMES
    skipped = {name for name in pairing._SKIPPED if name.startswith("_self_")}
    assert skipped == keras_api.TENSORFLOW_NAMES | {keras_api.ARGUMENTS_NAME, keras_api.ORDER_NAME}


def test_a_weight_of_keras_s_layers_is_never_taken_for_bookkeeping() -> None:
    layers = [keras.layers.Dense(1), keras.layers.BatchNormalization(), keras.layers.LSTM(1), keras.layers.Dropout(0.5)]
    for layer in layers:
        layer.build((None, 2, 3) if isinstance(layer, keras.layers.LSTM) else (None, 3))
        hidden = {name: vars(layer)[name] for name in vars(layer).keys() & keras_api.bookkeeping_names(layer)}
        assert not any(isinstance(v, (keras.Variable, keras.layers.Layer)) for v in hidden.values())


# --- trackers ---------------------------------------------------------------------------------------------


def test_the_tracker_keeps_live_lists_under_the_names_that_are_known() -> None:
    layer = keras.layers.BatchNormalization()
    layer.build((None, 3))
    stores = keras_api.stores(layer)
    assert set(stores) == {"trainable_variables", "non_trainable_variables", "layers", "metrics", "seed_generators"}
    assert stores["trainable_variables"] is layer._trainable_variables
    assert stores["non_trainable_variables"] is layer._non_trainable_variables
    assert stores["layers"] is layer._layers
    assert set(keras_api.stores(keras.metrics.Mean())) == {"variables", "metrics"}
    assert keras_api.stores(object()) == {}


def test_setting_a_store_changes_order_in_place_and_what_the_tracker_knows() -> None:
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    kernel, bias = layer.weights
    keras_api.set_store(layer, "trainable_variables", [bias, kernel])
    assert layer.weights[0] is bias
    assert layer._tracker.stored_ids["trainable_variables"] == {id(kernel), id(bias)}
    keras_api.set_store(layer, "trainable_variables", [kernel])
    assert [v is kernel for v in layer.trainable_variables] == [True]
    assert layer._tracker.stored_ids["trainable_variables"] == {id(kernel)}


def test_a_built_layer_takes_new_state_only_while_it_is_unlocked() -> None:
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        layer.extra = keras.Variable([1.0])
    with keras_api.unlocked(layer):
        layer.extra = keras.Variable([1.0])
    assert layer._tracker.locked
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        layer.more = keras.Variable([1.0])


def test_a_layer_is_locked_again_when_the_block_fails() -> None:
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    with pytest.raises(KeyError), keras_api.unlocked(layer):
        raise KeyError
    assert layer._tracker.locked
    unbuilt = Own()
    with keras_api.unlocked(unbuilt):
        pass
    assert not unbuilt._tracker.locked


def test_an_attribute_of_a_built_layer_is_deleted_with_its_place_in_the_tracker() -> None:
    layer = keras.layers.Dense(2)
    layer.build((None, 2))
    keras_api.set_attribute(layer, "extra", keras.Variable(1.0))
    assert len(layer.variables) == 3
    keras_api.delete_attribute(layer, "extra")
    assert len(layer.variables) == 2
    assert layer._tracker.locked


def test_an_attribute_that_is_set_reaches_the_backend_s_registry() -> None:
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    fresh = keras.Variable(np.zeros((3, 2)))
    keras_api.set_attribute(layer, "_kernel", fresh)
    assert layer.kernel is fresh
    assert any(v is fresh for v in layer.trainable_variables)


def test_facts_of_an_object_are_set_without_cascades() -> None:
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    keras_api.set_object_facts(layer, trainable=False, path="a/b")
    assert layer.trainable is False
    assert layer.path == "a/b"
    assert [v.trainable for v in layer._trainable_variables] == [True, True]


# --- graphs -----------------------------------------------------------------------------------------------


def test_the_graph_of_a_model_is_its_nodes_and_operations_in_order() -> None:
    inputs = keras.Input((3,), name="in")
    dense = keras.layers.Dense(3, name="dense")
    model = keras.Model({"in": inputs}, [dense(dense(inputs))])
    graph = keras_api.graph_of(model)
    assert graph is not None
    assert [node.operation.name for node in graph.nodes] == ["in", "dense", "dense"]
    assert [node.is_input for node in graph.nodes] == [True, False, False]
    assert [operation.name for operation in graph.operations] == ["in", "dense"]
    assert graph.nodes == [inputs._keras_history.operation._inbound_nodes[0], *dense._inbound_nodes]
    assert graph.inputs == {"in": inputs}
    assert graph.outputs == [graph.nodes[-1].outputs[0]]
    assert keras_api.graph_of(OwnModel()) is None
    assert keras_api.graph_of(keras.Sequential([keras.layers.Dense(1)])) is None
    assert keras_api.graph_of(dense) is None


def test_arguments_of_a_node_are_what_the_model_runs_with() -> None:
    inputs = keras.Input((3,))
    old, new = keras.Variable(np.eye(3)), keras.Variable(2 * np.eye(3))
    model = keras.Model(inputs, keras.ops.matmul(inputs, old))
    graph = keras_api.graph_of(model)
    assert graph is not None
    node = graph.nodes[-1]
    assert node.arguments.args[1] is old
    keras_api.set_node_arguments(node, (node.arguments.args[0], new), node.arguments.kwargs)
    assert np.array_equal(model(ONES), 2 * ONES)
    assert any(value is new for value in node.arguments._flat_arguments)


def test_a_sequential_keeps_repeats_and_its_input() -> None:
    dense = keras.layers.Dense(3, name="dense")
    model = keras_api.make_sequential(keras.Sequential, "s", [dense, dense], (None, 3))
    assert model.built
    assert [layer.name for layer in keras_api.sequential_layers(model)][-2:] == ["dense", "dense"]
    assert np.allclose(model(ONES), dense(dense(ONES)))
    assert not keras_api.make_sequential(keras.Sequential, "s", [keras.layers.Dense(1)], None).built


def test_the_graph_inside_a_sequential_has_a_name_of_its_own() -> None:
    model = sequential()
    keras_api.rename_inner_graph(model, "inner", "a/inner", "a")
    assert keras_api.inner_graph_names(model) == ["inner", "a/inner", "a"]
    keras_api.rename_inner_graph(keras.Sequential(), "inner", None, None)


def test_an_input_that_is_renamed_renames_its_tensor_and_the_models_outputs_follow() -> None:
    inputs = keras.Input((3,), name="old")
    dense = keras.layers.Dense(1, name="dense")
    model = keras.Model(inputs, dense(inputs))
    keras_api.rename(model.layers[0], "new")
    keras_api.rename(dense, "output")
    keras_api.refresh_names(model)
    assert (model.layers[0].name, inputs.name, model.output_names) == ("new", "new", ["output"])


def test_a_functional_constructor_is_told_from_another() -> None:
    class Other(keras.Model):
        def __init__(self, units: int) -> None:
            super().__init__()

    assert keras_api.has_functional_constructor(keras.Model)
    assert not keras_api.has_functional_constructor(Other)


def test_what_keras_noted_of_a_constructor_is_a_copy() -> None:
    class Noted(keras.layers.Layer):
        def __init__(self, units: int) -> None:
            super().__init__()

    noted = Noted(3)
    assert keras_api.auto_config(noted) == {"units": 3}
    keras_api.auto_config(noted)["units"] = 4  # type: ignore[index]
    assert keras_api.auto_config(noted) == {"units": 3}
    assert keras_api.auto_config(object.__new__(Own)) is None
