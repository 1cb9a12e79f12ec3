"""A variable without storage is one like any other, whoever asks for what it holds, and when."""

from __future__ import annotations

import copy
import gc
import threading
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tiedio
from tiedio import keras_api, session, values
from tiedio.keras_api import deferred


def made(**arguments: Any) -> Any:
    """A variable of zeros, without storage if that can be."""
    with keras_api.without_values(values.zeros):
        return keras.Variable(**{"initializer": "zeros", "shape": (2, 3), "name": "kernel", **arguments})


def waits(variable: Any) -> bool:
    return keras_api.deferral_of(variable) is not None


@pytest.mark.parametrize(
    "ask",
    [
        lambda v: v.numpy(),
        lambda v: v.value,
        lambda v: v.handle,
        lambda v: v + 1,
        lambda v: keras.ops.sum(v),
        lambda v: tf.convert_to_tensor(v),
        lambda v: np.asarray(v),
        lambda v: repr(v),
        lambda v: v[0],
        lambda v: tf.function(lambda: v * 2)(),
        lambda v: keras_api.raw_value(v),
    ],
)
def test_whoever_asks_for_the_value_gets_zeros_and_the_storage_stays(ask: Any) -> None:
    variable = made()
    assert waits(variable)
    ask(variable)
    assert not waits(variable)
    assert isinstance(variable._value, tf.Variable)
    assert variable._value is variable._value
    assert np.array_equal(variable.numpy(), np.zeros((2, 3)))


def test_assigning_makes_the_storage_first() -> None:
    variable = made()
    variable.assign(np.ones((2, 3)))
    assert np.array_equal(variable.numpy(), np.ones((2, 3)))
    other = made()
    other.assign_add(np.ones((2, 3)))
    assert np.array_equal(other.numpy(), np.ones((2, 3)))


def test_what_is_known_without_a_value_makes_no_storage() -> None:
    variable = made(trainable=False)
    assert (variable.shape, variable.dtype, variable.name, variable.path) == ((2, 3), "float32", "kernel", "kernel")
    assert keras_api.created_trainable(variable) is False
    assert keras_api.storage_dtype(variable) == "float32"
    keras_api.set_variable_facts(variable, path="layer/kernel", trainable=True)
    assert waits(variable)
    assert variable._value.name == "layer/kernel:0"
    assert not variable._value.trainable


def test_a_first_value_is_given_without_zeros_before_it() -> None:
    variable = made()
    assert keras_api.give_storage(variable, tf.ones((2, 3)))
    assert not keras_api.give_storage(variable, tf.zeros((2, 3)))
    assert np.array_equal(variable.numpy(), np.ones((2, 3)))


def test_it_stands_where_it_would_have_stood() -> None:
    with tf.device("CPU:0"):
        placed, free = made(), keras.Variable("zeros", shape=(1,))
    assert deferred.deferral_of(placed).device.endswith("CPU:0")  # type: ignore[union-attr]
    assert keras_api.device_of(placed) == keras_api.device_of(free)
    assert deferred.deferral_of(made()).device == ""  # type: ignore[union-attr]


def test_aggregation_and_synchronization_reach_the_storage() -> None:
    variable = made(aggregation="mean", synchronization="on_read")
    like = keras.Variable("zeros", shape=(1,), aggregation="mean", synchronization="on_read")
    assert variable._value.aggregation == like._value.aggregation
    assert variable._value.synchronization == like._value.synchronization


def test_a_layer_that_says_its_shape_asks_for_no_storage() -> None:
    with keras_api.without_values(values.zeros):
        layer = keras.layers.Dense(4)
        layer(keras.Input((3,)))
    assert waits(layer.kernel)


def test_a_function_that_is_traced_while_a_shape_is_inferred_has_the_variable_and_no_zeros() -> None:
    class Product(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(shape=(shape[-1], 4))

        @tf.function
        def call(self, inputs: Any) -> Any:
            return keras.ops.matmul(inputs, self.kernel)

    with keras_api.without_values(values.zeros):
        layer = Product()
        assert layer(keras.Input((3,))).shape == (None, 4)
    layer.kernel.assign(np.ones((3, 4)))
    assert np.array_equal(layer(np.ones((1, 3))), np.full((1, 4), 3))


def test_a_variable_that_is_made_while_a_shape_is_inferred_has_zeros_too() -> None:
    class Late(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.child = keras.layers.EinsumDense("ab,bc->ac", 4)

        def call(self, inputs: Any) -> Any:
            return self.child(inputs)

    with keras_api.without_values(values.zeros):
        layer = Late()
        layer(keras.Input((3,)))
        assert layer(keras.Input((3,))).shape == (None, 4)
    assert np.array_equal(layer.child.kernel.numpy(), np.zeros((3, 4)))


def test_a_layer_that_reads_or_assigns_in_build_gets_what_it_did() -> None:
    class Reading(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.one = self.add_weight(shape=(2,), initializer="zeros")
            self.seen = float(keras.ops.sum(self.one))
            self.two = self.add_weight(shape=(2,), initializer="zeros")
            self.two.assign([1.0, 2.0])

    with keras_api.without_values(values.zeros):
        layer = Reading()
        layer.build((None, 2))
    assert layer.seen == 0
    assert layer.two.numpy().tolist() == [1, 2]


@pytest.mark.parametrize("first", ["copy", "original"])
def test_copies_of_a_variable_share_its_storage_whoever_asks_first(first: str) -> None:
    variable = made()
    other = copy.copy(variable)
    third = keras.Variable.__new__(type(variable))
    third.__dict__.update(variable.__dict__)
    assert keras_api.give_storage(other if first == "copy" else variable, tf.ones((2, 3)))
    assert variable._value is other._value is third._value
    assert not any(deferred._MARK in vars(one) for one in (variable, other, third))
    assert not keras_api.give_storage(third, tf.zeros((2, 3)))
    assert np.array_equal(third.numpy(), np.ones((2, 3)))


def test_storage_that_code_has_set_stays() -> None:
    variable, other = made(), made()
    variable._value = other._value
    assert not waits(variable)
    assert not keras_api.give_storage(variable, tf.ones((2, 3)))
    assert variable._value is other._value


def test_an_interrupt_while_a_block_is_entered_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: Any) -> None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deferred._patch, "_lock", Interrupting())
        with pytest.raises(KeyboardInterrupt), keras_api.without_values(values.zeros):
            pass
    assert keras.Variable._initialize_with_initializer is deferred._original
    made()
    assert keras.Variable("ones", shape=(2,)).numpy().tolist() == [1, 1]


def test_two_threads_that_ask_at_once_get_one_storage() -> None:
    variable, barrier = made(shape=(300, 300)), threading.Barrier(4)
    found: list[Any] = []

    def ask() -> None:
        barrier.wait(10)
        found.append(variable._value)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(one) for one in found} == {id(variable._value)}


def test_under_a_strategy_variables_are_the_strategys() -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        variable = made()
    assert not waits(variable)
    assert type(variable._value).__name__ == "MirroredVariable"


def test_a_class_with_storage_of_its_own_makes_it_at_once() -> None:
    class Own(type(keras.Variable("zeros", shape=()))):  # type: ignore[misc]
        def _initialize(self, value: Any) -> None:
            super()._initialize(value)
            self.seen = True

    with keras_api.without_values(values.zeros):
        variable = Own("zeros", shape=(2,))
    assert variable.seen
    assert not waits(variable)


def test_a_loaded_model_has_no_variable_without_storage(tmp_path: Any) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((2, 3)), np.ones((2, 2)), verbose=0)
    tiedio.save(model, tmp_path / "m.safetensors")
    loaded = tiedio.load(tmp_path / "m.safetensors")
    everything = [*loaded.variables, *loaded.optimizer.variables, *loaded.metrics_variables]
    assert [one.path for one in everything if waits(one)] == []
    names = [keras_api.raw_value(one).name for one in loaded.variables]
    assert names == [f"{one.path}:0" for one in loaded.variables]


def test_a_proof_makes_no_storage_for_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(2)])
    stored: list[str] = []
    give = deferred.give_storage

    def count(variable: Any, value: Any = None) -> bool:
        stored.append(variable.path)
        return give(variable, value)

    monkeypatch.setattr(deferred, "give_storage", count)
    monkeypatch.setattr(keras_api, "give_storage", count)
    tiedio.save(model, tmp_path / "m.safetensors")
    assert stored == []
    tiedio.load(tmp_path / "m.safetensors")
    assert len(set(stored)) == 4


# --- the collector ------------------------------------------------------------------------------------------


def test_the_collector_pauses_and_is_as_it_was_afterwards() -> None:
    assert gc.isenabled()
    with session.without_collections():
        assert not gc.isenabled()
        with session.without_collections():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with session.without_collections():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_error_brings_the_collector_back() -> None:
    with pytest.raises(KeyError), session.without_collections():
        raise KeyError
    assert gc.isenabled()


# --- TensorFlow's own class, made without its scopes ----------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "bool", "float8_e4m3fn"])
@pytest.mark.parametrize("trainable", [True, False])
def test_the_storage_is_what_tf_variable_makes(dtype: str, trainable: bool) -> None:
    variable = made(dtype=dtype, trainable=trainable, aggregation="mean")
    mine = variable._value
    zeros = values.zeros((2, 3), dtype)
    theirs = tf.Variable(zeros, trainable=trainable, name="kernel", aggregation=tf.VariableAggregation.MEAN)
    assert type(mine) is type(theirs)
    assert list(vars(mine)) == list(vars(theirs))
    own = {"_handle", "_unique_id"}
    assert {k: v for k, v in vars(mine).items() if k not in own} == {
        k: v for k, v in vars(theirs).items() if k not in own
    }
    assert mine.name == theirs.name == "kernel:0"
    assert mine._shared_name == theirs._shared_name
    assert mine.handle._name == theirs.handle._name
    assert mine.handle._handle_data == theirs.handle._handle_data
    assert mine.handle._unique_id == mine._unique_id != theirs._unique_id
    assert mine.handle._parent_trackable() is mine
    assert mine.device == theirs.device
    assert {k: type(v) for k, v in vars(mine.handle).items()} == {k: type(v) for k, v in vars(theirs.handle).items()}


def test_two_storages_of_one_name_are_two() -> None:
    first, second = made(), made()
    assert first._value._unique_id != second._value._unique_id
    first.assign(np.ones((2, 3)))
    assert np.array_equal(second.numpy(), np.zeros((2, 3)))


def test_a_gradient_tape_sees_storage_that_trains_and_no_other() -> None:
    for trainable in (True, False):
        variable = made(trainable=trainable)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(variable.value * 2)
        assert (tape.gradient(loss, variable.value) is not None) is trainable


def test_what_a_user_put_in_the_way_of_making_variables_is_asked() -> None:
    asked = []

    def creator(next_creator: Any, **kwargs: Any) -> Any:
        asked.append(kwargs["name"])
        return next_creator(**kwargs)

    with tf.variable_creator_scope(creator):
        variable = made()
        assert variable.numpy().shape == (2, 3)
    assert asked == ["kernel"]
    assert variable._value.name == "kernel:0"


def test_storage_that_is_asked_for_inside_a_function_is_made_outside() -> None:
    variable = made()

    @tf.function
    def add() -> Any:
        variable.value.assign_add(tf.ones((2, 3)))

    add()
    add()
    assert np.array_equal(variable.numpy(), np.full((2, 3), 2))
