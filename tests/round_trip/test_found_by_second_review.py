"""Models that came back wrong without a word, found by a second reviewer: carried whole, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tiedio
from tests.six_wide import X, Y, sequential
from tiedio.errors import ModelError
from tiedio.testing import assert_round_trip

register = keras.saving.register_keras_serializable(package="second_review")


def refused(model: Any, folder: Path, match: str) -> ModelError:
    with pytest.raises(ModelError, match=match) as caught:
        tiedio.save(model, folder / "model.safetensors")
    assert caught.value.path
    assert caught.value.remedy
    assert not list(folder.iterdir())
    return caught.value


# --- names that begin with _self_ ---------------------------------------------------------------------------


@register
class Block(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._self_attention = layers.Dense(6)

    def build(self, shape: Any) -> None:
        if not self._self_attention.built:
            self._self_attention.build(shape)

    def call(self, x: Any) -> Any:
        return self._self_attention(x)


@register
class Net(keras.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.one, self.two = Block(), Block()

    def call(self, x: Any) -> Any:
        return self.two(self.one(x))


def trained(model: Any) -> Any:
    model(X)
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    return model


def test_a_shared_self_attention_comes_back_as_one_layer(tmp_path: Path) -> None:
    model = Net()
    model.two._self_attention = model.one._self_attention
    loaded = assert_round_trip(trained(model), X, Y, folder=tmp_path)
    assert loaded.two._self_attention is loaded.one._self_attention


def test_two_self_attentions_come_back_as_two_under_mixed_precision_and_with_lora() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = trained(Net())
    finally:
        keras.config.set_dtype_policy("float32")
    assert_round_trip(model, X, Y)
    model = trained(Net())
    model.one._self_attention.enable_lora(2)
    model.compile("sgd", "mse")
    loaded = assert_round_trip(model, X)
    assert loaded.one._self_attention is not loaded.two._self_attention


@register
class Weights(layers.Layer):
    def build(self, shape: Any) -> None:
        self._self_w = self.add_weight(shape=(6, 6))
        self.v = self.add_weight(shape=(6, 6))
        self._self_list = [self._self_w, self.v]

    def call(self, x: Any) -> Any:
        return x @ self._self_w @ self.v @ self._self_list[0]


def test_variables_under_such_names_are_tied_again() -> None:
    layer = Weights()
    model = sequential(layer)
    layer._tracker.unlock()
    layer._self_w = layer.v
    layer._self_list[0] = layer.v
    layer._tracker.lock()
    model.compile("sgd", "mse")
    back = assert_round_trip(model, X, training=False).layers[0]
    assert back._self_w is back.v
    assert back._self_list[0] is back.v


class Bag:
    def __init__(self) -> None:
        self._self_layer = layers.Dense(6)


@register
class HoldsBag(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._self_bag = Bag()

    def call(self, x: Any) -> Any:
        return self._self_bag._self_layer(x)


def test_a_plain_object_under_such_a_name_brings_its_layer_back() -> None:
    assert_round_trip(sequential(HoldsBag()), X, training=False)


@register
class Gain(layers.Layer):
    """Keeps a number under the name that its class attribute `place` gives."""

    __slots__ = ("slotted",)

    place = "_self_gain"

    def __init__(self, gain: Any = 1.0, **options: Any) -> None:
        super().__init__(**options)
        setattr(self, self.place, gain)

    def call(self, x: Any) -> Any:
        return x * getattr(self, self.place)

    def get_config(self) -> Any:
        return super().get_config()


NAMES = ["_self_gain", "input_vocabulary", "input_idf_weights", "generate_function", "_dropout_mask", "slotted"]


@pytest.mark.parametrize("name", NAMES)
def test_a_number_under_a_name_that_keras_uses_elsewhere_is_refused_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gain, "place", name)
    assert_round_trip(sequential(layers.Dense(6), Gain(1.0)), X, Y)
    refused(sequential(layers.Dense(6), Gain(3.0)), tmp_path, name)


@register
class History(keras.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(6)
        self.history: Any = 1.0

    def call(self, x: Any) -> Any:
        return self.dense(x) * (self.history if isinstance(self.history, float) else 1.0)


def test_a_number_in_place_of_the_history_is_refused_and_a_history_is_not(tmp_path: Path) -> None:
    assert_round_trip(trained(History()), X, Y)
    model = trained(History())
    model.history = 3.0
    refused(model, tmp_path, "history")


def test_shared_self_attention_of_two_encoders_of_keras_hub() -> None:
    hub = pytest.importorskip("keras_hub")
    one, two = (hub.layers.TransformerEncoder(8, 2, name=name) for name in ("one", "two"))
    inputs = keras.Input((3, 6))
    model = keras.Model(inputs, two(one(inputs)))
    two._tracker.unlock()
    two._layers.remove(two._self_attention_layer)
    two._self_attention_layer = one._self_attention_layer
    two._tracker.lock()
    model.compile("sgd", "mse")
    x = np.linspace(-1, 1, 36).reshape(2, 3, 6).astype("float32")
    loaded = assert_round_trip(model, x, x)
    assert loaded.get_layer("one")._self_attention_layer is loaded.get_layer("two")._self_attention_layer


# --- functions and numbers -----------------------------------------------------------------------------------


def test_an_operation_that_is_not_the_activation_of_its_name_is_refused(tmp_path: Path) -> None:
    error = refused(sequential(layers.Dense(6, activation=ops.gelu)), tmp_path, "activation")
    assert "keras.activations.gelu" in str(error)
    assert_round_trip(sequential(layers.Dense(6, activation=ops.silu)), X, Y)


def test_an_operation_as_a_loss_is_refused(tmp_path: Path) -> None:
    model = sequential(layers.Dense(6, activation="sigmoid"), loss=ops.binary_crossentropy)
    refused(model, tmp_path, "another function")
    assert_round_trip(sequential(layers.Dense(6), loss=keras.losses.mean_absolute_error), X, Y)


@register
class Scale(layers.Layer):
    def __init__(self, scale: Any, **options: Any) -> None:
        super().__init__(**options)
        self.scale = scale

    def call(self, x: Any) -> Any:
        return ops.multiply(x, self.scale)

    def get_config(self) -> Any:
        return {**super().get_config(), "scale": self.scale}


@pytest.mark.parametrize("scale", [np.float16(0.1), np.float32(0.1), np.float64(0.1)])
def test_a_numpy_float_keeps_its_dtype(scale: Any) -> None:
    model = sequential(layers.Dense(6), Scale(scale))
    loaded = assert_round_trip(model, X, Y)
    assert type(loaded.layers[1].scale) is type(scale)
    assert loaded.layers[1].scale == scale


def test_numpy_numbers_in_an_optimizer_are_kept() -> None:
    for options in ({"epsilon": np.float64(1e-3)}, {"use_ema": True, "ema_momentum": np.float64(0.9)}):
        loaded = assert_round_trip(sequential(layers.Dense(6), optimizer=keras.optimizers.Adam(**options)), X, Y)
        assert all(type(vars(loaded.optimizer)[name]) is type(value) for name, value in options.items())
    decay = keras.optimizers.schedules.CosineDecay(np.float64(0.1), np.int64(9), alpha=np.float64(0.1))
    parts = [layers.Dropout(0.0, seed=np.int64(3)), layers.Dense(6)]
    assert_round_trip(sequential(*parts, optimizer=keras.optimizers.Adam(decay)), X, Y)


def test_a_numpy_float_that_keras_turns_into_a_python_float_is_refused(tmp_path: Path) -> None:
    error = refused(
        sequential(layers.Dense(6), optimizer=keras.optimizers.Adam(clipnorm=np.float32(0.1))), tmp_path, "clipnorm"
    )
    assert "float(clipnorm)" in str(error.remedy)


def test_numpy_numbers_in_a_graph_give_the_same_bytes_when_saved_again(tmp_path: Path) -> None:
    inputs = keras.Input((6,))
    model = keras.Model(inputs, ops.nan_to_num(inputs, nan=np.float32(1)))
    tiedio.save(model, tmp_path / "one.safetensors")
    tiedio.save(tiedio.load(tmp_path / "one.safetensors"), tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


# --- initializers, iterators, sets, modules -------------------------------------------------------------------


@register
class Fill(keras.initializers.Initializer):
    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.ones(shape, dtype) * self.value


@register
class Adds(layers.Layer):
    def __init__(self, fill: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.fill = keras.initializers.get(fill)

    def call(self, x: Any) -> Any:
        return x + self.fill((6,), x.dtype)

    def get_config(self) -> Any:
        return {**super().get_config(), "fill": keras.initializers.serialize(self.fill)}


def test_an_initializer_whose_config_does_not_tell_its_value_is_refused(tmp_path: Path) -> None:
    assert_round_trip(sequential(Adds(Fill())), X, training=False)
    refused(sequential(Adds(Fill(3.0))), tmp_path, "fill")


@register
class Stream(keras.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(6)
        self.stream = (float(i) for i in range(9))

    def call(self, x: Any) -> Any:
        return self.dense(x)


def test_a_generator_that_has_begun_is_refused(tmp_path: Path) -> None:
    model = trained(Stream())
    assert_round_trip(model, X, Y)
    next(model.stream)
    refused(model, tmp_path, "stream")


@register
class Mixed(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.parts = {layers.Dense(6, name="inner"), 2.0}

    def call(self, x: Any) -> Any:
        (number,) = (part for part in self.parts if isinstance(part, float))
        (layer,) = (part for part in self.parts if not isinstance(part, float))
        return layer(x) * number


def test_a_number_beside_a_layer_in_a_set_is_compared(tmp_path: Path) -> None:
    layer = Mixed()
    (inner,) = (part for part in layer.parts if not isinstance(part, float))
    layer.parts = {inner, 5.0}
    refused(sequential(layer), tmp_path, "parts")
    assert_round_trip(sequential(Mixed()), X, Y, folder=tmp_path)


class Module(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable(tf.ones((6, 6)))


@register
class HoldsModule(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.module = Module()

    def call(self, x: Any) -> Any:
        return x @ self.module.w


def test_a_variable_in_a_module_of_tensorflow_is_refused_by_name(tmp_path: Path) -> None:
    refused(sequential(HoldsModule(name="holds")), tmp_path, "holds/module/w")


@register
class RandomFeatures(layers.Layer):
    """Projects by numbers that an initializer of Keras draws at every call: the same ones, by its own seed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.features = keras.initializers.RandomNormal(stddev=0.5)

    def call(self, x: Any) -> Any:
        return keras.ops.matmul(x, self.features((x.shape[-1], 4), x.dtype))


def test_numbers_that_an_initializer_draws_when_a_layer_is_called_come_back(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6,)), RandomFeatures(), layers.Dense(2)])
    model.compile("adam", "mse")
    assert_round_trip(model, np.ones((2, 6), "float32"), np.ones((2, 2), "float32"), folder=tmp_path)
