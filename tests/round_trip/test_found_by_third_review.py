"""What a third reviewer broke: models that came back wrong, or were refused though nothing is wrong with them."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tiedio
from tests.six_wide import X, Y, sequential
from tiedio.errors import LimitError, ModelError, RebuildError, UnregisteredError, UnsafeError
from tiedio.testing import assert_round_trip

register = keras.saving.register_keras_serializable(package="third_review")

# --- functions that have the name of one of Keras's ---------------------------------------------------------


def dice(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.abs(y_true - y_pred))


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.square(y_true - y_pred))


@pytest.mark.parametrize(
    "options", [{"loss": dice}, {"metrics": [mean_absolute_error]}, {"loss": [dice]}, {"weighted_metrics": [dice]}]
)
def test_a_function_of_ones_own_is_never_taken_for_keras_s_of_the_same_name(
    options: dict[str, Any], tmp_path: Path
) -> None:
    model = sequential(layers.Dense(6), **options)
    model.fit(X, Y, verbose=0)
    tiedio.save(model, tmp_path / "model.safetensors")
    with pytest.raises(UnregisteredError, match=r"dice|mean_absolute_error"):
        tiedio.load(tmp_path / "model.safetensors")
    own = {"dice": dice, "mean_absolute_error": mean_absolute_error}
    loaded = tiedio.load(tmp_path / "model.safetensors", custom_objects=own)
    assert loaded.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)


class Unregistered(layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


def test_what_a_scope_of_keras_knows_is_what_comes_back(tmp_path: Path) -> None:
    model = sequential(Unregistered(), layers.Dense(6), loss=dice)
    model.fit(X, Y, verbose=0)
    tiedio.save(model, tmp_path / "model.safetensors")
    with keras.saving.custom_object_scope({"dice": dice, "Unregistered": Unregistered}):
        loaded = tiedio.load(tmp_path / "model.safetensors")
    assert type(loaded.layers[0]) is Unregistered
    assert loaded.loss is dice
    assert loaded.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)


@tiedio.serializable(package="third_review")
class Applies(layers.Layer):
    def __init__(self, function: Any, **options: Any) -> None:
        super().__init__(**options)
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x, 0.0 * x)


def test_a_function_that_a_serializable_class_takes_is_the_one_that_was_passed(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6,)), Applies(mean_absolute_error)])
    tiedio.save(model, tmp_path / "model.safetensors")
    with pytest.raises(UnregisteredError, match="mean_absolute_error"):
        tiedio.load(tmp_path / "model.safetensors")
    own = {"mean_absolute_error": mean_absolute_error}
    loaded = tiedio.load(tmp_path / "model.safetensors", custom_objects=own)
    assert loaded.layers[0].function is mean_absolute_error


@register
class Hooked(keras.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(6)

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def get_compile_config(self) -> Any:
        return super().get_compile_config()

    def compile_from_config(self, config: Any) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))


def test_a_hook_of_a_class_s_own_finds_the_function_that_was_passed(tmp_path: Path) -> None:
    model = Hooked()
    model(X)
    model.compile("sgd", dice, metrics=[dice])
    model.fit(X, Y, verbose=0)
    tiedio.save(model, tmp_path / "model.safetensors")
    loaded = tiedio.load(tmp_path / "model.safetensors", custom_objects={"dice": dice})
    assert loaded.loss is dice
    assert loaded.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)


def test_keras_s_own_functions_come_back_by_name() -> None:
    assert_round_trip(sequential(layers.Dense(6), loss=keras.losses.dice, metrics=[keras.losses.huber]), X, Y)


# --- what a class's own code makes --------------------------------------------------------------------------


def twice(x: Any) -> Any:
    return 2 * x


@register
class Block(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(6, activation=twice)

    def build(self, shape: Any) -> None:
        self.dense.build(shape)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def test_a_function_that_only_the_code_of_a_class_names_needs_no_registration() -> None:
    assert_round_trip(sequential(Block(), layers.Dense(6)), X, Y)


# --- configurations of classes of one's own -----------------------------------------------------------------


@register
class Planned(layers.Layer):
    """Makes a layer from a plan, which is all that its own configuration holds."""

    def __init__(self, plan: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.plan, self.inner = plan, keras.saving.deserialize_keras_object(plan)

    def build(self, shape: Any) -> None:
        if not self.inner.built:
            self.inner.build(shape)

    def call(self, x: Any) -> Any:
        return self.inner(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "plan": self.plan}


def built() -> Any:
    dense = layers.Dense(6, activation="relu")
    dense.build((None, 6))
    return dense


@pytest.mark.parametrize("make", [lambda: layers.Dense(6), built], ids=["new", "built"])
def test_the_plan_of_a_layer_may_stand_in_a_configuration(make: Callable[[], Any]) -> None:
    assert_round_trip(sequential(Planned(layers.serialize(make())), layers.Dense(6)), X, Y)


@register
class Noted(layers.Layer):
    def __init__(self, notes: Any, **options: Any) -> None:
        super().__init__(**options)
        self.notes = notes

    def call(self, x: Any) -> Any:
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "notes": self.notes}


def test_the_plan_of_a_layer_with_code_in_it_is_refused_in_safe_mode(tmp_path: Path) -> None:
    code = {"module": "builtins", "class_name": "__lambda__", "config": {"code": None}}
    plan = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": code}}
    model = sequential(Noted(plan), layers.Dense(6))
    tiedio.save(model, tmp_path / "model.safetensors")
    with pytest.raises(UnsafeError, match="lambda"):
        tiedio.load(tmp_path / "model.safetensors")


def test_the_plan_of_a_model_is_refused_and_no_file_is_blamed(tmp_path: Path) -> None:
    plan = keras.saving.serialize_keras_object(keras.Sequential([keras.Input((6,)), layers.Dense(6)]))
    with pytest.raises(ModelError, match="a layer is written inside a configuration") as caught:
        tiedio.save(sequential(Planned(plan)), tmp_path / "model.safetensors")
    assert "damaged" not in str(caught.value)


# --- places of another kind ---------------------------------------------------------------------------------


class Pair:
    def __init__(self, first: Any) -> None:
        self.first = first


@register
class Held(keras.Model):
    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(**options)
        self.kind, self.first = kind, layers.Dense(6)
        self.held: Any = Pair(self.first) if kind == "pair" else collections.deque([self.first])

    def build(self, shape: Any) -> None:
        self.first.build(shape)

    def call(self, x: Any) -> Any:
        return self.first(x)

    def get_config(self) -> dict[str, Any]:
        return {"kind": self.kind}


def held(kind: str) -> Any:
    model = Held(kind)
    model.build((None, 6))
    model._tracker.unlock()
    model(X)
    return model


@pytest.mark.parametrize("kind", ["pair", "deque"])
def test_a_container_of_another_kind_than_the_class_makes_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    model = held(kind)
    model.held = [model.first] if kind == "pair" else {"k": model.first}
    with pytest.raises(ModelError, match="held") as caught:
        tiedio.save(model, tmp_path / "model.safetensors")
    assert "damaged" not in str(caught.value)


def test_a_deque_that_grew_by_hand_comes_back(tmp_path: Path) -> None:
    model = held("deque")
    model.held.append(model.first)
    tiedio.save(model, tmp_path / "model.safetensors")
    loaded = tiedio.load(tmp_path / "model.safetensors")
    assert len(loaded.held) == 2
    assert loaded.held[1] is loaded.held[0] is loaded.first


# --- values that wait ---------------------------------------------------------------------------------------


@register
class Reuses(layers.Layer):
    """Fills one buffer again and again, and reads what a weight got of it when it was made."""

    def build(self, shape: Any) -> None:
        buffer = np.ones(6)
        self.scale = self.add_weight(shape=(6,), initializer=keras.initializers.Constant(buffer), name="scale")
        buffer[:] = 7.0
        self.total = float(np.sum(self.scale.numpy()))

    def call(self, x: Any) -> Any:
        return x * self.scale * self.total


def test_an_array_in_an_initializer_may_be_used_again() -> None:
    assert_round_trip(sequential(Reuses(), layers.Dense(6)), X, Y)


# --- limits and texts ---------------------------------------------------------------------------------------


def test_identifiers_in_a_vocabulary_name_no_size(tmp_path: Path) -> None:
    lookup = layers.IntegerLookup(vocabulary=[10**12, 7], mask_token=-(2**40))
    tiedio.save(keras.Sequential([keras.Input((1,), dtype="int64"), lookup]), tmp_path / "model.safetensors")
    loaded = tiedio.load(tmp_path / "model.safetensors")
    assert loaded.layers[0].get_vocabulary() == lookup.get_vocabulary()


def test_save_warns_of_a_configuration_that_load_will_not_read_without_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiedio.limits._MIB", 1 << 14)  # so that a small configuration is too much
    path = tmp_path / "model.safetensors"
    with pytest.warns(UserWarning, match=r"load will ask for raised limits.*Limits\(memory="):
        tiedio.save(sequential(Noted([[] for _ in range(10_000)])), path)
    with pytest.raises(LimitError, match=r"Limits\(memory="):
        tiedio.load(path)


def test_names_and_tokens_may_look_like_addresses(tmp_path: Path) -> None:
    lookup = layers.StringLookup(vocabulary=["a"], oov_token="oov://")
    model = keras.Sequential([keras.Input((1,), dtype="string"), lookup])
    model.compile(metrics=[keras.metrics.MeanSquaredError(name="mse://all")])
    tiedio.save(model, tmp_path / "model.safetensors")
    assert tiedio.load(tmp_path / "model.safetensors").layers[0].oov_token == "oov://"


@register
class Wasteful(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for _ in range(300):
            layers.Identity()

    def call(self, x: Any) -> Any:
        return x


def test_the_remedy_for_a_class_that_makes_many_layers_helps(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.warns(UserWarning, match=r"tiedio\.Limits\(objects=math\.inf\)"):
        tiedio.save(sequential(Wasteful(), layers.Dense(6)), path)
    with pytest.raises(LimitError, match=r"tiedio\.Limits\(objects=math\.inf\)"):
        tiedio.load(path)
    assert tiedio.load(path, limits=tiedio.Limits(objects=float("inf"))).built


def test_inside_a_function_that_is_traced_load_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tiedio.save(sequential(layers.BatchNormalization(), layers.Dense(6)), path)
    with pytest.raises(RebuildError, match=r"tf\.function"):
        tf.function(lambda: tiedio.load(path), autograph=False)()
