"""What a file cannot carry is refused by name before anything is written: never lost without a word."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tiedio
from tiedio.errors import ModelError


class Apply(keras.layers.Layer):
    """Applies a function that it is given; `get_config` gives it back."""

    def __init__(self, function: Any, **options: Any) -> None:
        super().__init__(**options)
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "function": keras.saving.serialize_keras_object(self.function)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "function": keras.saving.deserialize_keras_object(config["function"])})


class Holder(keras.layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = keras.layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def holder_model() -> Any:
    return keras.Sequential([keras.Input((3,)), Holder(name="holder")], name="model")


def built(name: str) -> Any:
    layer = keras.layers.Dense(3, name=name)
    layer.build((None, 3))
    return layer


OUTSIDE = built("outside")


def reads_a_global(x: Any) -> Any:
    return keras.ops.matmul(x, OUTSIDE.kernel)


def reads_a_global_inside(x: Any) -> Any:
    return next(keras.ops.matmul(x, OUTSIDE.kernel) for _ in range(1))


def closure(layer: Any) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        return layer(x)

    return function


def closure_over_a_list(layer: Any) -> Callable[[Any], Any]:
    layers = [layer]

    def function(x: Any) -> Any:
        return layers[0](x)

    return function


def closure_over_a_dict(layer: Any) -> Callable[[Any], Any]:
    layers = {"a": layer}

    def function(x: Any) -> Any:
        return layers["a"](x)

    return function


def closure_over_a_function(layer: Any) -> Callable[[Any], Any]:
    inner = closure(layer)

    def function(x: Any) -> Any:
        return inner(x)

    return function


def closure_over_a_variable(layer: Any) -> Callable[[Any], Any]:
    kernel = layer.kernel

    def function(x: Any) -> Any:
        return keras.ops.matmul(x, kernel)

    return function


def default_argument(layer: Any) -> Callable[[Any], Any]:
    def function(x: Any, inner: Any = layer) -> Any:
        return inner(x)

    return function


class Plain:
    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def method(self, x: Any) -> Any:
        return self.layer(x)


def closure_over_a_plain_object(layer: Any) -> Callable[[Any], Any]:
    plain = Plain(layer)

    def function(x: Any) -> Any:
        return plain.layer(x)

    return function


def refused(model: Any, folder: Path) -> ModelError:
    path = folder / "model.safetensors"
    with pytest.raises(ModelError) as caught:
        tiedio.save(model, path)
    assert list(folder.iterdir()) == []
    error = caught.value
    for part in ("path", "expected", "found", "remedy"):
        assert getattr(error, part), f"no {part} in: {error}"
        assert str(getattr(error, part)).rstrip(".") in str(error)
    return error


# --- functions that reach outside -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [closure, closure_over_a_list, closure_over_a_dict, closure_over_a_function, closure_over_a_variable,
     default_argument, closure_over_a_plain_object],
    ids=lambda make: make.__name__,
)  # fmt: skip
def test_a_function_that_captures_a_layer(tmp_path: Path, make: Callable[[Any], Any]) -> None:
    shared = built("shared")
    model = keras.Sequential([keras.Input((3,)), shared, Apply(make(shared), name="apply")])
    error = refused(model, tmp_path)
    assert "apply" in str(error.path)
    assert "function" in str(error.found)


@pytest.mark.parametrize("function", [reads_a_global, reads_a_global_inside])
def test_a_function_that_reads_a_layer_of_its_module(tmp_path: Path, function: Any) -> None:
    error = refused(keras.Sequential([keras.Input((3,)), Apply(function, name="apply")]), tmp_path)
    assert error.path == "apply"
    assert "'OUTSIDE'" in str(error.found)
    assert "constructor argument" in str(error.remedy)


def test_a_lambda_that_captures_a_layer(tmp_path: Path) -> None:
    shared = built("shared")
    model = keras.Sequential([keras.Input((3,)), shared, keras.layers.Lambda(lambda x: shared(x), name="lambda")])
    assert refused(model, tmp_path).path == "lambda"


def test_a_lambda_that_reads_a_name_of_its_module(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: np.pi * x, name="lambda")])
    error = refused(model, tmp_path)
    assert (error.path, error.found) == ("lambda", "np")
    assert "register" in str(error.remedy)


@pytest.mark.parametrize(
    "wrap", [lambda f: [f], lambda f: {"k": f}, lambda f: functools.partial(f)], ids=["list", "dict", "partial"]
)
def test_a_function_in_a_container_that_captures_a_layer(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    model = holder_model()
    holder = model.layers[0]
    holder.functions = wrap(closure(holder.dense))
    assert "function" in str(refused(model, tmp_path).found)


def test_a_partial_that_holds_a_layer(tmp_path: Path) -> None:
    model = holder_model()
    model.layers[0].function = functools.partial(keras.ops.matmul, x2=model.layers[0].dense.kernel)
    error = refused(model, tmp_path)
    assert error.path == "holder/function"
    assert "Variable" in str(error.found)


def test_a_bound_method_of_an_object_that_holds_a_layer(tmp_path: Path) -> None:
    shared = built("shared")
    model = keras.Sequential([keras.Input((3,)), shared, Apply(Plain(shared).method, name="apply")])
    refused(model, tmp_path)


def test_an_activation_that_captures_a_layer(tmp_path: Path) -> None:
    shared = built("shared")
    model = keras.Sequential([keras.Input((3,)), shared, keras.layers.Dense(3, activation=closure(shared), name="d")])
    assert refused(model, tmp_path).path == "d"


def test_a_method_of_the_class_that_reads_a_layer_of_its_module(tmp_path: Path) -> None:
    class Reads(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return OUTSIDE(x)

    error = refused(keras.Sequential([keras.Input((3,)), Reads(name="reads")]), tmp_path)
    assert error.path == "reads"
    assert "'OUTSIDE'" in str(error.found)


def test_a_loss_function_that_captures_a_layer(tmp_path: Path) -> None:
    model = holder_model()
    kernel = model.layers[0].dense.kernel

    def loss(y: Any, prediction: Any) -> Any:
        return keras.ops.mean(prediction) + keras.ops.sum(kernel)

    model.compile("sgd", loss)
    error = refused(model, tmp_path)
    assert "@compile" in str(error.path)
    tiedio.save(model, tmp_path / "model.safetensors", optimizer=False)


@pytest.mark.parametrize("place", ["loss", "metrics"])
def test_a_loss_or_metric_that_holds_a_layer(tmp_path: Path, place: str) -> None:
    class MyLoss(keras.losses.Loss):
        def call(self, y: Any, prediction: Any) -> Any:
            return keras.ops.mean(prediction)

    class MyMetric(keras.metrics.Mean):
        pass

    model = holder_model()
    thing: Any = MyLoss() if place == "loss" else MyMetric()
    thing.layer = model.layers[0].dense
    model.compile("sgd", **{place: thing if place == "loss" else [thing]})
    error = refused(model, tmp_path)
    assert f"{type(thing).__name__}/layer" in str(error.path)
    assert error.found == "Dense"


def test_a_regularizer_that_holds_a_variable(tmp_path: Path) -> None:
    class Near(keras.regularizers.Regularizer):
        def __init__(self, target: Any) -> None:
            self.target = target

        def __call__(self, x: Any) -> Any:
            return keras.ops.sum(keras.ops.square(x - self.target))

        def get_config(self) -> dict[str, Any]:
            return {}

    shared = built("shared")
    model = keras.Sequential(
        [keras.Input((3,)), shared, keras.layers.Dense(3, kernel_regularizer=Near(shared.kernel), name="near")]
    )
    error = refused(model, tmp_path)
    assert "near" in str(error.path)
    assert "target" in str(error.path)


def test_functions_that_reach_nothing_with_state_are_carried(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((3,)), Apply(keras.activations.gelu), keras.layers.Dense(2, activation="relu")]
    )
    tiedio.save(model, tmp_path / "model.safetensors")


# --- state in places that no slot shows -----------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: [o], lambda o: {"k": (o,)}], ids=["itself", "list", "nested"])
def test_an_optimizer_in_an_attribute(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    model = holder_model()
    model.layers[0].optimizer = wrap(keras.optimizers.Adam())
    error = refused(model, tmp_path)
    assert str(error.path).startswith("holder/optimizer")
    assert error.found == "Adam"
    assert "compile" in str(error.remedy)


@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: [o], lambda o: {"k": o}], ids=["itself", "list", "dict"])
def test_a_bare_variable_of_the_backend_in_an_attribute(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    model = holder_model()
    model.layers[0].table = wrap(tf.Variable([1.0]))
    error = refused(model, tmp_path)
    assert str(error.path).startswith("holder/table")
    assert error.expected == "keras.Variable"
    assert "tensorflow" in str(error.found)
    assert "add_weight" in str(error.remedy)


def test_a_bare_variable_of_the_backend_in_a_plain_object(tmp_path: Path) -> None:
    model = holder_model()
    model.layers[0].plain = Plain(tf.Variable([1.0]))
    assert "plain" in str(refused(model, tmp_path).path)


def test_a_bare_variable_of_the_backend_in_the_graph(tmp_path: Path) -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.ops.multiply(inputs, tf.Variable([1.0, 2.0, 3.0])))
    assert refused(model, tmp_path).expected == "keras.Variable"


@pytest.mark.parametrize("what", ["variable", "layer"])
def test_a_variable_or_layer_of_the_class(tmp_path: Path, what: str) -> None:
    class Classy(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    Classy.shared = keras.Variable([1.0]) if what == "variable" else keras.layers.Dense(3)
    error = refused(keras.Sequential([keras.Input((3,)), Classy(name="classy")]), tmp_path)
    assert error.path == "classy/shared"
    assert "'shared' of class Classy" in str(error.found)
    assert "self.shared" in str(error.remedy)


def test_a_list_of_layers_of_the_class(tmp_path: Path) -> None:
    class Classy(keras.layers.Layer):
        shared = (OUTSIDE,)

        def call(self, x: Any) -> Any:
            return self.shared[0](x)

    assert refused(keras.Sequential([keras.Input((3,)), Classy(name="classy")]), tmp_path).path == "classy/shared"


def test_a_variable_of_strings(tmp_path: Path) -> None:
    class Words(keras.layers.Layer):
        def build(self, _shape: Any) -> None:
            self.words = self.add_weight(
                shape=(), dtype="string", initializer=lambda *_, **__: tf.constant("a"), trainable=False
            )

        def call(self, x: Any) -> Any:
            return x

    error = refused(keras.Sequential([keras.Input((3,)), Words(name="words")]), tmp_path)
    assert (error.path, error.found) == ("words/words", "string")


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (keras.layers.Normalization, np.ones((4, 3), "float32")),
        (lambda: keras.layers.StringLookup(name="string_lookup"), np.array(["a", "b"])),
        (lambda: keras.layers.IntegerLookup(name="integer_lookup"), np.array([1, 2])),
        (lambda: keras.layers.Discretization(num_bins=2, name="discretization"), np.arange(9.0)),
    ],
    ids=["Normalization", "StringLookup", "IntegerLookup", "Discretization"],
)
def test_a_preprocessing_layer_that_was_adapted_is_carried(tmp_path: Path, make: Callable[[], Any], data: Any) -> None:
    layer = make()
    layer.adapt(data)
    dtype = "string" if isinstance(layer, keras.layers.StringLookup) else "float32"
    model = keras.Sequential([keras.Input((3,), dtype=dtype), layer])
    tiedio.save(model, tmp_path / "model.safetensors")
    x = tf.constant([["a", "b", "c"]]) if dtype == "string" else np.array([[1, 2, 3]], "float32")
    assert np.array_equal(tiedio.load(tmp_path / "model.safetensors")(x), model(x))


def test_a_preprocessing_layer_whose_state_stands_in_its_config_is_carried(tmp_path: Path) -> None:
    layer = keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])
    model = keras.Sequential([keras.Input((3,)), layer])
    tiedio.save(model, tmp_path / "model.safetensors")
    x = np.ones((2, 3), "float32")
    assert np.array_equal(tiedio.load(tmp_path / "model.safetensors")(x), model(x))


@pytest.mark.parametrize("hook", ["save_own_variables", "load_own_variables", "save_assets", "load_assets"])
def test_a_hook_of_a_layer_runs_when_saving_for_the_check(tmp_path: Path, hook: str) -> None:
    ran: list[int] = []

    class Hooked(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    setattr(Hooked, hook, lambda self, store: ran.append(id(self)))
    layer = Hooked(name="hooked")
    tiedio.save(keras.Sequential([keras.Input((3,)), layer]), tmp_path / "model.safetensors")
    assert [one == id(layer) for one in ran] == [hook.startswith("save")]


def test_a_layer_that_the_config_names_and_no_attribute_holds(tmp_path: Path) -> None:
    class Hides(keras.layers.Layer):
        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "inner": keras.layers.Dense(2)}

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            config.pop("inner")
            return cls(**config)

        def call(self, x: Any) -> Any:
            return x

    assert refused(keras.Sequential([keras.Input((3,)), Hides(name="hides")]), tmp_path).path == "hides"
