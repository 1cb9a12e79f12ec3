"""State behind functions, bound methods, views and the like, which a reviewer found lost: carried, or refused."""

from __future__ import annotations

import contextvars
import functools
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tiedio
from tiedio.errors import ModelError
from tiedio.testing import assert_round_trip

register = keras.saving.register_keras_serializable(package="callables")
X = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")
Y = np.linspace(0, 1, 16).reshape(4, 4).astype("float32")
SAVERS = [tiedio.save, tiedio.save_weights]


class Pipe:
    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def run(self, x: Any) -> Any:
        return self.layer(x)


class Model(keras.Model):
    """Holds what `make` gives, and calls what `use` finds in it."""

    make: Callable[[Any], Any]
    use: Callable[[Any, Any], Any]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.head = layers.Dense(4)
        self.inner = layers.Dense(6)
        self.held = type(self).make(self)

    def call(self, x: Any) -> Any:
        return self.head(self.inner(x) + type(self).use(self, x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config()}


def model_of(make: Callable[[Any], Any], use: Callable[[Any, Any], Any], fit: bool = True) -> Any:
    cls = type("Made", (Model,), {"make": make, "use": use})
    register(cls)
    model = cls()
    model.inner.build((None, 6))  # or Keras traces a `tf.function` with the first values as constants
    model(X)
    model.compile("adam", "mse", run_eagerly=True)
    if fit:
        model.train_on_batch(X, Y)
    return model


def traced(layer: Any) -> Any:
    @tf.function
    def apply(x: Any) -> Any:
        return layer(x)

    return apply


def in_thread(layer: Any) -> Any:
    local = threading.local()
    local.layer = layer
    return types.SimpleNamespace(local=local)


def variable(layer: Any) -> Any:
    return types.SimpleNamespace(one=contextvars.ContextVar("one", default=layer))


def calls(self: Any, x: Any) -> Any:
    return self.held(x)


HIDING: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "bound method": (lambda layer: layer.__call__, calls),
    "bound method in a list": (lambda layer: [layer.__call__], lambda self, x: self.held[0](x)),
    "bound method in a namespace": (
        lambda layer: types.SimpleNamespace(f=layer.__call__),
        lambda self, x: self.held.f(x),
    ),
    "partial": (lambda layer: functools.partial(layer), calls),
    "partial of a bound method": (lambda layer: functools.partial(layer.__call__), calls),
    "partial of a method of a plain object": (lambda layer: functools.partial(Pipe(layer).run), calls),
    "tf.function": (traced, calls),
    "cached function": (lambda layer: functools.lru_cache(layer.__call__), lambda self, x: self.held.__wrapped__(x)),
    "values of a dict": (lambda layer: {"a": layer}.values(), lambda self, x: next(iter(self.held))(x)),
    "items of a dict": (lambda layer: {"a": layer}.items(), lambda self, x: next(iter(self.held))[1](x)),
    "state of a thread": (in_thread, lambda self, x: self.held.local.layer(x)),
    "context variable": (variable, lambda self, x: self.held.one.get()(x)),
}


@pytest.mark.parametrize("name", HIDING)
@pytest.mark.parametrize("save", SAVERS)
def test_a_layer_that_only_this_holds_is_refused(tmp_path: Path, save: Any, name: str) -> None:
    hide, use = HIDING[name]
    model = model_of(lambda self: hide(layers.Dense(6, name="lost")), use, fit=False)
    with pytest.raises(ModelError) as caught:
        save(model, tmp_path / "model.safetensors")
    assert str(caught.value.path).startswith("held")
    assert "Dense" in str(caught.value.found)
    assert "attribute" in str(caught.value.remedy)
    assert not list(tmp_path.iterdir())


# These are refused even then: what they stand for cannot be compared.
REFUSED = ("partial of a method of a plain object", "items of a dict", "state of a thread", "context variable")
HELD_TOO = [name for name in HIDING if name not in REFUSED]


@pytest.mark.parametrize("name", HELD_TOO)
def test_a_layer_that_an_attribute_holds_too_comes_back_as_one(tmp_path: Path, name: str) -> None:
    hide, use = HIDING[name]
    model = model_of(lambda self: hide(self.inner), use)
    tiedio.save(model, tmp_path / "model.safetensors")
    loaded = tiedio.load(tmp_path / "model.safetensors")
    for one in (model, loaded):
        one.inner.kernel.assign(one.inner.kernel * 2)
    np.testing.assert_array_equal(loaded(X), model(X))
    for one in (model, loaded):
        one.train_on_batch(X, Y)
    np.testing.assert_array_equal(loaded(X), model(X))


def test_a_bound_method_of_a_layer_that_took_another_s_place_is_refused(tmp_path: Path) -> None:
    model = model_of(lambda self: [self.inner.__call__], lambda self, x: self.held[0](x), fit=False)
    other = type(model)()
    other(X)
    # The constructor binds to the layer that it makes, and the tie comes afterwards.
    other._tracker.unlock()
    other.inner, other.held = model.inner, [model.inner.__call__]
    other._tracker.lock()
    both = {"one": model, "two": other}
    with pytest.raises(ModelError, match="two/held"):
        tiedio.save(both, tmp_path / "model.safetensors")
    tiedio.save_weights(both, tmp_path / "model.safetensors")


def test_a_bound_method_of_a_variable_that_was_tied_by_hand_is_refused(tmp_path: Path) -> None:
    @register
    class Counter(layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)
            self.set = self.count.assign

        def call(self, x: Any) -> Any:
            return x + self.count

    one, two = Counter(name="one"), Counter(name="two")
    assert_round_trip(keras.Sequential([keras.Input((6,)), one]), inputs=X, training=False, folder=tmp_path)
    two.count, two.set = one.count, one.count.assign
    model = keras.Sequential([keras.Input((6,)), one, two])
    with pytest.raises(ModelError, match="two/set"):
        tiedio.save(model, tmp_path / "tied.safetensors")


@pytest.mark.parametrize("save", SAVERS)
def test_a_function_that_captures_a_layer_is_refused(tmp_path: Path, save: Any) -> None:
    def make(self: Any) -> Any:
        layer = layers.Dense(6)
        return lambda x: layer(x)

    with pytest.raises(ModelError, match="function") as caught:
        save(model_of(make, calls, fit=False), tmp_path / "model.safetensors")
    assert caught.value.remedy
    assert not list(tmp_path.iterdir())


OUTSIDE = layers.Dense(6)


@tf.function
def traced_outside(x: Any) -> Any:
    return OUTSIDE(x)


def plain_outside(x: Any) -> Any:
    return OUTSIDE(x)


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("function", [traced_outside, plain_outside], ids=["tf.function", "function"])
def test_a_layer_of_the_module_that_call_reaches_is_refused(tmp_path: Path, save: Any, function: Any) -> None:
    class Reads(layers.Layer):
        def call(self, x: Any) -> Any:
            return function(x)

    model = keras.Sequential([keras.Input((6,)), Reads(name="reads"), layers.Dense(4)])
    with pytest.raises(ModelError) as caught:
        save(model, tmp_path / "model.safetensors")
    assert str(caught.value.path).startswith("reads")
    assert "Dense" in str(caught.value.found)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("save", SAVERS)
def test_a_method_in_tf_function_that_reads_a_layer_of_its_module_is_refused(tmp_path: Path, save: Any) -> None:
    class Reads(layers.Layer):
        @tf.function
        def call(self, x: Any) -> Any:
            return OUTSIDE(x)

    model = keras.Sequential([keras.Input((6,)), Reads(name="reads"), layers.Dense(4)])
    with pytest.raises(ModelError, match="reads"):
        save(model, tmp_path / "model.safetensors")


@register
class Bound(keras.regularizers.Regularizer):
    """Without `get_config` arguments: it makes the layer that it uses."""

    def __init__(self) -> None:
        self.function = layers.Dense(1).__call__

    def __call__(self, weights: Any) -> Any:
        return ops.sum(self.function(weights) ** 2)

    def get_config(self) -> dict[str, Any]:
        return {}


@register
class Weighted(layers.Layer):
    """Its regularizer stands at the weight only."""

    def build(self, shape: Any) -> None:
        self.weight = self.add_weight(shape=(shape[-1], 4), regularizer=Bound(), name="weight")

    def call(self, x: Any) -> Any:
        return ops.matmul(x, self.weight)


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize(
    "make", [lambda: layers.Dense(4, kernel_regularizer=Bound(), name="one"), lambda: Weighted(name="one")]
)
def test_a_regularizer_with_a_bound_method_of_a_layer_is_refused(tmp_path: Path, save: Any, make: Any) -> None:
    model = keras.Sequential([keras.Input((6,)), make()])
    model.compile("sgd", "mse", run_eagerly=True)
    model.train_on_batch(X, Y)
    with pytest.raises(ModelError, match="Dense") as caught:
        save(model, tmp_path / "model.safetensors")
    assert str(caught.value.path).startswith("one/")
    assert str(caught.value.path).endswith("/function")


@register
class BoundLoss(keras.losses.Loss):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.function = layers.Dense(3).__call__

    def call(self, y: Any, prediction: Any) -> Any:
        return ops.mean((self.function(y) - self.function(prediction)) ** 2, -1)


def test_a_loss_with_a_bound_method_of_a_layer_is_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
    model.compile("sgd", BoundLoss(), run_eagerly=True)
    model.train_on_batch(X, Y)
    with pytest.raises(ModelError, match="Dense") as caught:
        tiedio.save(model, tmp_path / "model.safetensors")
    assert caught.value.path == "@compile/BoundLoss/function"
    tiedio.save(model, tmp_path / "model.safetensors", optimizer=False)


def test_a_bound_method_of_a_layer_without_state_comes_back(tmp_path: Path) -> None:
    model = model_of(lambda self: layers.LeakyReLU(0.3).__call__, calls)
    for save in SAVERS:
        save(model, tmp_path / f"{save.__name__}.safetensors")
    loaded = tiedio.load(tmp_path / "save.safetensors")
    np.testing.assert_array_equal(loaded(X), model(X))
    model.held.__self__.negative_slope = 0.5
    with pytest.raises(ModelError, match="held/negative_slope"):
        tiedio.save(model, tmp_path / "model.safetensors")


def test_what_is_set_by_hand_on_a_functional_model_and_read_by_no_code_is_passed_over(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
    model.infer = tf.function(lambda x: model(x))
    model.other = layers.Dense(2).__call__
    for save in SAVERS:
        save(model, tmp_path / "model.safetensors")


def test_a_metric_of_the_module_that_a_train_step_counts_with_is_no_weight(tmp_path: Path) -> None:
    tracker = keras.metrics.Mean()

    class Tracked(keras.Sequential):
        def train_step(self, data: Any) -> Any:
            tracker.update_state(1.0)
            return super().train_step(data)

    model = Tracked([keras.Input((6,)), layers.Dense(4)])
    model.compile("sgd", "mse", run_eagerly=True)
    model.train_on_batch(X, Y)
    tiedio.save_weights(model, tmp_path / "model.safetensors")


# --- the weights of losses ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: keras.Variable(0.3), lambda: tf.Variable(0.3), lambda: tf.constant(0.3)])
@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"out": v}], ids=["list", "dict"])
def test_a_loss_weight_that_is_no_number_is_refused(tmp_path: Path, make: Any, wrap: Any) -> None:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="out")])
    loss = wrap("mse")
    model.compile("sgd", loss, loss_weights=wrap(make()))
    with pytest.raises(ModelError, match="number") as caught:
        tiedio.save(model, tmp_path / "model.safetensors")
    assert str(caught.value.path).startswith("@compile/loss_weights/")
    assert "compute_loss" in str(caught.value.remedy)
    assert not list(tmp_path.iterdir())
    tiedio.save(model, tmp_path / "model.safetensors", optimizer=False)


def test_loss_weights_that_are_numbers_come_back(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
    model.compile("sgd", ["mse"], loss_weights=[np.float32(0.3)])
    assert_round_trip(model, inputs=X, targets=Y, folder=tmp_path)


# --- a compile method of the class's own ------------------------------------------------------------------


@register
class NamesItselfOtherwise(keras.Model):
    """Its `compile` takes one argument more, and does not call its receiver `self`."""

    def __init__(this, **options: Any) -> None:  # noqa: N805
        super().__init__(**options)
        this.head = layers.Dense(4)
        this.gain = 1.0

    def compile(this, gain: float = 0.5, **options: Any) -> None:  # noqa: N805
        super().compile(**options)
        this.gain = gain

    def call(this, x: Any) -> Any:  # noqa: N805
        return this.head(x) * this.gain

    def get_config(this) -> dict[str, Any]:  # noqa: N805
        return {**super().get_config()}


def test_a_compile_method_that_names_its_receiver_otherwise(tmp_path: Path) -> None:
    model = NamesItselfOtherwise()
    model(X)
    model.compile(gain=0.25, optimizer="sgd", loss="mse", run_eagerly=True)
    assert assert_round_trip(model, inputs=X, targets=Y, folder=tmp_path).gain == 0.25
