"""Keras's private names for variables, building and compiling: these tests fail when Keras changes one."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src import backend
from keras.src.initializers.random_initializers import RandomInitializer

import tiedio
from tiedio import keras_api


class Own(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x


class OwnModel(keras.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = keras.layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def functional() -> Any:
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(3)(inputs))


# --- variables --------------------------------------------------------------------------------------------


def test_facts_of_a_variable_are_what_its_properties_tell() -> None:
    variable = keras.Variable([1.0], name="old")
    keras_api.set_variable_facts(
        variable, name="n", path="p/n", trainable=False, autocast=False, aggregation="sum", synchronization="on_read",
        overwrite_with_gradient=True,
    )  # fmt: skip
    assert (variable.name, variable.path, variable.trainable) == ("n", "p/n", False)
    assert (variable.aggregation, variable.synchronization) == ("sum", "on_read")
    assert variable.overwrite_with_gradient is True
    assert variable._autocast is False
    with keras.src.backend.AutocastScope("float16"):
        assert variable.dtype == "float32"


def test_the_flag_that_a_variable_was_made_with_outlives_a_change() -> None:
    variable = keras.Variable([1.0], trainable=False)
    variable.trainable = True
    assert keras_api.created_trainable(variable) is False
    other = keras.Variable([1.0])
    other.trainable = False
    assert keras_api.created_trainable(other) is True


def test_the_stored_dtype_does_not_follow_autocast() -> None:
    variable = keras.Variable([1.0], dtype="float32")
    with keras.src.backend.AutocastScope("float16"):
        assert variable.dtype == "float16"
        assert keras_api.storage_dtype(variable) == "float32"
        assert keras_api.raw_value(variable).dtype.name == "float32"


# --- initialization ---------------------------------------------------------------------------------------


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the random initializers that were asked for numbers."""
    asked: list[str] = []
    public = {c for c in vars(keras.initializers).values() if isinstance(c, type)}
    for cls in (c for c in public if issubclass(c, RandomInitializer) and "__call__" in vars(c)):

        def call(self: Any, *args: Any, original: Any = cls.__call__, **kwargs: Any) -> Any:
            asked.append(type(self).__name__)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(cls, "__call__", call)
    return asked


def test_every_random_initializer_of_keras_is_one() -> None:
    names = {"RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "GlorotUniform", "HeNormal",
             "LecunUniform", "Orthogonal"}  # fmt: skip
    not_random = {n for n in names if not issubclass(getattr(keras.initializers, n), RandomInitializer)}
    assert not_random == set()


@pytest.mark.parametrize("name", ["glorot_uniform", "orthogonal", "random_normal", "he_normal", "zeros"])
def test_inside_the_block_no_random_or_zero_initializer_runs(name: str, draws: list[str]) -> None:
    asked = []

    def fill(shape: Any, dtype: str) -> Any:
        asked.append((tuple(shape), dtype))
        return keras.ops.full(shape, 7, dtype)

    with keras_api.without_values(fill):
        variable = keras.Variable(keras.initializers.get(name), shape=(2, 3), dtype="float16")
    assert asked == []
    assert np.array_equal(variable.numpy(), np.full((2, 3), 7))
    assert asked == [((2, 3), "float16")]
    assert draws == []


def test_inside_the_block_other_initializers_run() -> None:
    with keras_api.without_values(lambda shape, dtype: keras.ops.full(shape, 7, dtype)):
        assert keras.Variable(keras.initializers.Constant(3), shape=(1,)).numpy().item() == 3
        assert keras.Variable(keras.initializers.Ones(), shape=(1,)).numpy().item() == 1
        assert keras.Variable([5.0]).numpy().item() == 5
        assert keras.Variable(lambda shape, dtype: keras.ops.full(shape, 4, dtype), shape=(1,)).numpy().item() == 4


def test_after_the_block_keras_is_as_it_was(draws: list[str]) -> None:
    original = backend.Variable._initialize_with_initializer
    with pytest.raises(KeyError), keras_api.without_values(lambda *_: None), keras_api.without_values(lambda *_: None):
        raise KeyError
    assert backend.Variable._initialize_with_initializer is original
    keras.Variable(keras.initializers.RandomNormal(), shape=(1,))
    assert draws == ["RandomNormal"]


def test_the_inner_of_two_blocks_rules_and_the_outer_returns() -> None:
    def give(number: float) -> Callable[[Any, str], Any]:
        return lambda shape, dtype: keras.ops.full(shape, number, dtype)

    def value() -> float:
        return float(keras.Variable(keras.initializers.Zeros(), shape=()).numpy())

    with keras_api.without_values(give(1)):
        with keras_api.without_values(give(2)):
            assert value() == 2
        assert value() == 1
    assert value() == 0


def test_another_thread_initializes_as_keras_does(draws: list[str]) -> None:
    inside, done = threading.Event(), threading.Event()
    found: list[Any] = []

    def work() -> None:
        assert inside.wait(10)
        found.append(keras.Variable(keras.initializers.RandomNormal(seed=1), shape=(8,)).numpy())
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    with keras_api.without_values(lambda shape, dtype: keras.ops.full(shape, 7, dtype)):
        inside.set()
        assert done.wait(10)
        mine = keras.Variable(keras.initializers.RandomNormal(seed=1), shape=(8,)).numpy()
    thread.join()
    assert draws == ["RandomNormal"]
    assert (mine == 7).all()
    assert (found[0] != 7).all()


def test_two_threads_at_once_leave_keras_as_it_was() -> None:
    original = backend.Variable._initialize_with_initializer
    barrier = threading.Barrier(2)
    found: dict[int, float] = {}

    def work(number: int) -> None:
        with keras_api.without_values(lambda shape, dtype: keras.ops.full(shape, number, dtype)):
            barrier.wait(10)
            found[number] = float(keras.Variable(keras.initializers.Zeros(), shape=()).numpy())
            barrier.wait(10)

    threads = [threading.Thread(target=work, args=(n,)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {1: 1.0, 2: 2.0}
    assert backend.Variable._initialize_with_initializer is original


# --- building and compiling -------------------------------------------------------------------------------


def test_a_layer_that_is_marked_as_built_is_built_and_locked() -> None:
    layer = Own()
    keras_api.mark_built(layer, {"x_shape": (None, 3), "y_shape": (1,)})
    assert layer.built
    assert layer._tracker.locked
    assert layer.get_build_config() == {"shapes_dict": {"x_shape": (None, 3), "y_shape": (1,)}}


def test_a_class_without_its_own_build_is_told_from_one_that_has_it() -> None:
    assert keras_api.built_by_default(Own())
    assert keras_api.built_by_default(OwnModel())
    assert keras_api.built_by_default(functional())
    assert not keras_api.built_by_default(keras.layers.Dense(1))


def test_the_arguments_of_compile_are_noted_as_they_were_given() -> None:
    model = functional()
    loss = keras.losses.MeanSquaredError()
    model.compile(keras.optimizers.SGD(), loss, loss_weights=2.0, jit_compile=False)
    noted = keras_api.compile_arguments(model)
    assert noted["loss"] is loss
    assert noted["optimizer"] is model.optimizer
    assert (noted["loss_weights"], noted["jit_compile"]) == (2.0, False)
    noted.clear()
    assert keras_api.compile_arguments(model)["loss"] is loss


def test_an_optimizer_knows_its_variables_in_order_and_those_without_decay() -> None:
    one, other, third = (keras.Variable([1.0], name=name) for name in ("one", "other", "third"))
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_list=[third], var_names=["bias", "beta"])
    optimizer.build([other, one, third])
    assert [v.name for v in keras_api.optimizer_variables(optimizer)] == ["other", "one", "third"]
    excluded, pattern = keras_api.excluded_from_weight_decay(optimizer, [one, third, other])
    assert [v.name for v in excluded] == ["third"]
    assert pattern in ("bias|beta", "beta|bias")  # Keras joins a set
    assert keras_api.excluded_from_weight_decay(keras.optimizers.SGD(), [one]) == ([], None)


def test_what_is_left_out_of_decay_goes_over_to_another_variable() -> None:
    one, two, new, kept = (keras.Variable([1.0], name=name) for name in ("one", "two", "new", "kept"))
    optimizer = keras.optimizers.AdamW()
    keras_api.move_exclusions(optimizer, [(one, [new])])
    assert keras_api.excluded_from_weight_decay(optimizer, [one, two, new, kept]) == ([], None)
    optimizer.exclude_from_weight_decay(var_list=[one, kept], var_names=["bias"])
    keras_api.move_exclusions(optimizer, [(one, [new]), (two, [one]), (kept, [kept, two])])
    optimizer.build([one, two, new, kept])
    excluded, pattern = keras_api.excluded_from_weight_decay(optimizer, [one, two, new, kept])
    assert ([v.name for v in excluded], pattern) == (["two", "new", "kept"], "bias")
    assert not optimizer._use_weight_decay(new.value)
    assert optimizer._use_weight_decay(one.value)


def test_an_optimizer_of_parts_notes_which_part_has_which_by_keys_that_no_rebuild_gives() -> None:
    parts = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD()))
    variable = keras.Variable([1.0])
    parts.build([variable])
    assert list(parts._var_to_optimizer_idx) == [parts._var_key(variable)]
    assert "_var_to_optimizer_idx" in keras_api.bookkeeping_names(parts)


def test_what_an_outer_block_knows_is_known_in_an_inner_one() -> None:
    regularizer = keras.regularizers.L2(0.5)
    config = {**keras.saving.serialize_keras_object(keras.regularizers.L2()), "shared_object_id": "outer"}
    with keras_api.known_objects({"outer": regularizer}), keras_api.known_objects({"inner": None}):
        assert keras_api.deserialize(config, {}, True) is regularizer


# --- lambdas ----------------------------------------------------------------------------------------------

FACTOR = 3.0


def revived(function: Any) -> Any:
    layer = keras.layers.Lambda(function)
    return keras.layers.Lambda.from_config(layer.get_config(), safe_mode=False).function


def test_a_lambda_revives_as_the_living_one_that_knows_its_module() -> None:
    function: Any = lambda x: FACTOR * x  # noqa: E731
    other: Any = lambda x: x  # noqa: E731
    assert revived(function) is not function
    with keras_api.living([other, function]):
        assert revived(function) is function
        with pytest.warns(UserWarning, match="lambda"):
            config = keras.saving.serialize_keras_object(function)
        assert keras.saving.deserialize_keras_object(config, safe_mode=False) is function
    with pytest.raises(NameError, match="FACTOR"):
        revived(function)(2.0)


def test_of_two_lambdas_of_one_code_the_one_with_the_same_captured_value_revives() -> None:
    def times(factor: float) -> Any:
        return lambda x: factor * x

    double, triple = times(2.0), times(3.0)
    with keras_api.living([double, triple]):
        assert revived(triple) is triple
        assert revived(double) is double


def test_lambdas_of_another_thread_are_made_from_their_code() -> None:
    function: Any = lambda x: FACTOR * x  # noqa: E731
    found: list[Any] = []
    with keras_api.living([function]):
        thread = threading.Thread(target=lambda: found.append(revived(function)))
        thread.start()
        thread.join()
    assert found[0] is not function


# --- views ------------------------------------------------------------------------------------------------


def test_a_variable_reads_its_value_through_the_names_that_a_view_overrides() -> None:
    base: Any = keras.Variable
    assert set(vars(keras.Variable([1.0]))) - {"_trainable", "_name", "_path", "_autocast", "_aggregation"} == {
        "_constraint", "_dtype", "_initializer", "_layout", "_ndim", "_overwrite_with_gradient", "_regularizer",
        "_shape", "_synchronization", "_value",
    }  # fmt: skip
    for name in ("value", "trainable", "name", "path", "aggregation", "synchronization", "regularizer", "constraint"):
        assert isinstance(inspect.getattr_static(base, name), property), name
    assert {"assign", "assign_add", "assign_sub", "_direct_assign"} <= set(dir(base))
    view = keras_api.live_view(keras.Variable([[1.0, 2.0]]), tiedio.transpose((1, 0)))
    # What the constructor would set is an attribute or a property here too, but for what only properties read.
    missing = {name for name in vars(keras.Variable([1.0])) if not hasattr(view, name)}
    assert missing == {"_aggregation", "_synchronization"}


def test_tensorflow_takes_a_variable_for_one_by_the_flag_that_a_view_inherits() -> None:
    assert keras.Variable._should_act_as_resource_variable is True
    view = keras_api.live_view(keras.Variable([[1.0, 2.0]]), tiedio.transpose((1, 0)))
    assert view._should_act_as_resource_variable is True
    assert isinstance(view, tf.__internal__.types.Tensor)


def test_tensorflow_forgets_an_attribute_that_becomes_a_view() -> None:
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert callable(layer._delete_tracking)
    source = keras.Variable(np.ones((2, 3)))

    def tracked() -> set[str]:
        return set(layer._trackable_children())

    assert "_kernel" in tracked()
    keras_api.set_attribute(layer, "_kernel", keras_api.live_view(source, tiedio.transpose((1, 0))))
    assert "_kernel" not in tracked()
    assert layer._kernel.source is source
