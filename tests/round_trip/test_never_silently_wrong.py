"""What no file could bring back is refused by `save`, at its place, and the old file stays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

import tiedio
from tiedio.testing import assert_round_trip
from tiedio.testing.zoo_base import floats, put, trained
from tiedio.testing.zoo_places import stack
from tiedio.testing.zoo_roots import OneArgument

layers = keras.layers
_register = keras.saving.register_keras_serializable(package="odd")


@_register
class Plain(keras.layers.Layer):
    """Scales by a weight and by a number that is in no config."""

    factor = 1.0

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale * self.factor


@_register
class Forgetful(keras.layers.Layer):
    """Its config leaves an argument out."""

    def __init__(self, power: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = power

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale**self.power

    def get_config(self) -> Any:
        return super().get_config()


@_register
class ManyWeights(keras.layers.Layer):
    """Makes one weight more every time a layer of the class is built."""

    built_before = 0

    def build(self, input_shape: Any) -> None:
        type(self).built_before += 1
        self.kept = [self.add_weight(shape=(input_shape[-1],), name="w") for _ in range(type(self).built_before)]

    def call(self, inputs: Any) -> Any:
        return inputs + sum(self.kept)


@_register
class TakesALayer(keras.layers.Layer):
    """Is given a layer, and has no config that says so."""

    def __init__(self, source: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source

    def call(self, inputs: Any) -> Any:
        return self.source(inputs)


@_register
class HidesAVariable(keras.layers.Layer):
    """Holds a variable where neither Keras nor a list of weights looks."""

    def __init__(self, where: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.where = where

    def build(self, input_shape: Any) -> None:
        variable = keras.Variable(floats(4, seed=9), name="hidden")
        self.hidden: Any = {
            "object": SimpleNamespace(scale=variable),
            "deque": deque([variable]),
            "partial": partial(keras.ops.multiply, variable),
            "closure": lambda x: x * variable,
            "method": Scale(variable).apply,
            "array of objects": as_objects(variable),
        }[self.where]

    def found(self) -> Any:
        """The variable."""
        return {
            "object": lambda: self.hidden.scale,
            "deque": lambda: self.hidden[0],
            "partial": lambda: self.hidden.args[0],
            "closure": lambda: self.hidden.__closure__[0].cell_contents,
            "method": lambda: self.hidden.__self__.by,
            "array of objects": lambda: self.hidden.reshape(-1)[0],
        }[self.where]()

    def call(self, inputs: Any) -> Any:
        return inputs * self.found()

    def get_config(self) -> Any:
        return super().get_config() | {"where": self.where}


class Scale:
    """Scales by a variable."""

    def __init__(self, by: Any) -> None:
        self.by = by

    def apply(self, x: Any) -> Any:
        return x * self.by


def as_objects(variable: Any) -> Any:
    """An array of NumPy's that holds Python objects."""
    array = np.empty((1,), dtype=object)
    array[0] = variable
    return array


@_register
class HoldsABackendVariable(keras.layers.Layer):
    """Holds a variable of the backend's own."""

    def build(self, input_shape: Any) -> None:
        import tensorflow as tf

        self.offset = tf.Variable(floats(4, seed=9))

    def call(self, inputs: Any) -> Any:
        return inputs + self.offset


@_register
class PullsTowards(keras.regularizers.Regularizer):
    """A regularizer that holds a variable."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __call__(self, x: Any) -> Any:
        return keras.ops.sum(keras.ops.square(x - self.target))

    def get_config(self) -> Any:
        return {"target": None}


@_register
class Perceptual(keras.losses.Loss):
    """A loss that holds a layer."""

    def __init__(self, eye: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.eye = eye

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.square(self.eye(y_true) - self.eye(y_pred)), axis=-1)

    def get_config(self) -> Any:
        return super().get_config() | {"eye": keras.saving.serialize_keras_object(self.eye)}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls(keras.saving.deserialize_keras_object(config.pop("eye")), **config)


@_register
class CompilesAlone(OneArgument):
    """Has a `compile` of its own, and nothing that says what it was called with: no hook, no attribute of that name."""

    def compile(self, factor: float = 1.0) -> None:
        self.multiplied_by = factor
        super().compile(optimizer="sgd", loss="mse", run_eagerly=True)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(*args, **kwargs) * self.multiplied_by


@_register
class Transposes(keras.Model):
    """Its constructor makes a graph, and in it a constant of what the kernel was at that moment."""

    def __init__(self, width: int, **kwargs: Any) -> None:
        inputs, dense = keras.Input((width,)), layers.Dense(width, name="dense")
        hidden = dense(inputs)
        super().__init__(inputs, keras.ops.matmul(hidden, keras.ops.transpose(dense.kernel)), **kwargs)
        self.width = width

    def get_config(self) -> Any:
        return {"name": self.name, "width": self.width}


class Both(NamedTuple):
    """Two variables."""

    left: Any
    right: Any


def with_tracking_off(owner: Any, name: str, value: Any) -> None:
    """Set an attribute of a built layer past its tracker."""
    object.__setattr__(owner, name, value)


def _dense(*names: str, **settings: Any) -> list[Any]:
    return [layers.Dense(4, name=name, **settings) for name in names]


def _fit(model: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
    return trained(model, x, y), x, y


def a_number_in_no_config_was_changed_by_hand() -> Any:
    plain = Plain(name="plain")
    model, x, y = stack(plain, *_dense("two"))
    plain.factor = 3.0
    return _fit(model, x, y)


def a_config_leaves_an_argument_out() -> Any:
    return _fit(*stack(Forgetful(power=3, name="forgetful")))


def a_class_builds_another_number_of_weights_every_time() -> Any:
    return _fit(*stack(ManyWeights(name="many")))


def a_layer_that_is_given_a_layer_has_no_config() -> Any:
    dense = layers.Dense(4, name="dense")
    return _fit(*stack(dense, TakesALayer(dense, name="takes")))


def a_variable_stands_in_a_named_tuple() -> Any:
    plain, two = Plain(name="plain"), Plain(name="two")
    model, x, y = stack(plain, two)
    for one in (plain, two):
        one._tracker.unlock()
        one.both = Both(plain.scale, two.scale)
        one._tracker.lock()
    return _fit(model, x, y)


def a_dict_of_variables_has_keys_that_are_not_text() -> Any:
    plain, two = Plain(name="plain"), Plain(name="two")
    model, x, y = stack(plain, two)
    plain._tracker.unlock()
    plain.by_key = {0: plain.scale, "0": two.scale, (1, 2): two.scale, None: plain.scale, 1.5: plain.scale}
    plain._tracker.lock()
    return _fit(model, x, y)


def two_layers_refer_to_each_other() -> Any:
    one, two = Plain(name="one"), Plain(name="two")
    model, x, y = stack(one, two)
    with_tracking_off(one, "other", two)
    with_tracking_off(two, "other", one)
    return _fit(model, x, y)


def a_layer_holds_the_optimizers_learning_rate() -> Any:
    plain = Plain(name="plain")
    model, x, y = stack(plain, *_dense("two"))
    trained(model, x, y)
    with_tracking_off(plain, "rate", model.optimizer._learning_rate)
    return model, x, y


def an_op_has_a_live_variable_as_a_setting() -> Any:
    """`clip` takes its bounds when the operation is made, not when it is called."""
    inputs = keras.Input((4,), name="inputs")
    dense = layers.Dense(4, name="dense")
    hidden = keras.ops.clip(dense(inputs), dense.bias, 10.0)
    return _fit(keras.Model(inputs, hidden, name="model"), floats(5, 4), floats(5, 4))


def a_model_is_a_subclass_with_its_own_compile() -> Any:
    model = CompilesAlone(name="root")
    x, y = floats(5, 4), floats(5, 4)
    model(x)
    model.compile(factor=3.0)
    return model, x, y


def a_variable_is_the_backends_own() -> Any:
    return _fit(*stack(HoldsABackendVariable(name="holds"), *_dense("two")))


def two_momentums_are_one() -> Any:
    model, x, y = stack(*_dense("one", "two"))
    trained(model, x, y)
    momentums = model.optimizer._momentums
    momentums[2] = momentums[0]
    return model, x, y


def a_tie_of_other_shape_that_broadcasts() -> Any:
    one, two = _dense("one", "two")
    model, x, y = stack(one, two)
    put(one, "bias", keras.Variable(floats(1), name="bias"))
    put(two, "bias", one.bias)
    return _fit(model, x, y)


def a_regularizer_holds_a_variable() -> Any:
    one, two = _dense("one", "two")
    model, x, y = stack(one, two)
    two.kernel.regularizer = PullsTowards(one.kernel)
    return _fit(model, x, y)


def a_loss_holds_a_layer_of_the_model() -> Any:
    one, two = _dense("one", "two")
    model, x, y = stack(one, two)
    return trained(model, x, y, loss=Perceptual(one)), x, y


def a_loss_is_a_lambda() -> Any:
    model, x, y = stack(*_dense("one"))
    return trained(model, x, y, loss=lambda a, b: keras.ops.mean(keras.ops.square(a - b), axis=-1)), x, y


def a_metric_is_a_closure() -> Any:
    model, x, y = stack(*_dense("one"))

    def scaled(a: Any, b: Any, by: float) -> Any:
        return keras.ops.mean(a - b, axis=-1) * by

    return trained(model, x, y, metrics=[partial(scaled, by=2.0)]), x, y


def a_lambda_layer_reads_another_layers_variable() -> Any:
    one = layers.Dense(4, name="one")
    reads = layers.Lambda(lambda x: keras.ops.matmul(x, one.kernel), output_shape=(4,), name="reads")
    return _fit(*stack(one, reads))


def a_lambda_layer_has_a_default_that_is_a_variable() -> Any:
    one = layers.Dense(4, name="one")
    one.build((None, 4))
    kernel = one.kernel
    reads = layers.Lambda(lambda x, w=kernel: keras.ops.matmul(x, w), output_shape=(4,), name="reads")
    return _fit(*stack(one, reads))


def a_class_makes_a_graph_with_a_constant_of_a_weight() -> Any:
    model, x, y = Transposes(4), floats(3, 4), floats(3, 4, seed=1)
    return trained(model, x, y), x, y


def the_call_of_one_layer_was_replaced() -> Any:
    one, two = _dense("one", "two")
    model, x, y = stack(one, two)
    one.call = lambda inputs, **_: keras.ops.matmul(inputs, one.kernel) * 2.0 + one.bias
    return _fit(model, x, y)


# The place that the refusal has to name.
REFUSED: dict[Callable[[], Any], str] = {
    a_number_in_no_config_was_changed_by_hand: "plain/factor",
    a_config_leaves_an_argument_out: "forgetful/power",
    a_class_builds_another_number_of_weights_every_time: "many/kept/1",
    a_layer_that_is_given_a_layer_has_no_config: "takes",
    a_variable_stands_in_a_named_tuple: "plain/both",
    a_dict_of_variables_has_keys_that_are_not_text: "plain/by_key",
    two_layers_refer_to_each_other: "two",
    a_layer_holds_the_optimizers_learning_rate: "@optimizer",
    an_op_has_a_live_variable_as_a_setting: "clip",
    a_model_is_a_subclass_with_its_own_compile: "the model",
    a_variable_is_the_backends_own: "holds/offset",
    a_tie_of_other_shape_that_broadcasts: "one/bias",
    two_momentums_are_one: "@optimizer",
    a_regularizer_holds_a_variable: "two/kernel",
    a_loss_holds_a_layer_of_the_model: "@compile",
    a_loss_is_a_lambda: "@compile",
    a_metric_is_a_closure: "@compile",
    a_lambda_layer_reads_another_layers_variable: "reads",
    a_lambda_layer_has_a_default_that_is_a_variable: "reads",
    a_class_makes_a_graph_with_a_constant_of_a_weight: "@node/matmul",
    the_call_of_one_layer_was_replaced: "one",
}


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("build", REFUSED, ids=lambda build: build.__name__)
def test_is_refused_and_the_old_file_stays(build: Callable[[], Any], tmp_path: Path) -> None:
    model, _, _ = build()
    old = tmp_path / "model.safetensors"
    old.write_bytes(b"what stood here")
    with pytest.raises(tiedio.ModelError) as caught:
        tiedio.save(model, old)
    assert old.read_bytes() == b"what stood here"
    assert [path.name for path in tmp_path.iterdir()] == [old.name]
    assert caught.value.path is not None
    assert caught.value.path.startswith(REFUSED[build])
    assert caught.value.remedy


@pytest.mark.parametrize("where", ["object", "deque", "partial", "closure", "method", "array of objects"])
def test_a_hidden_variable_is_carried_or_refused(where: str, tmp_path: Path) -> None:
    hides = HidesAVariable(where, name="hides")
    model, x, y = stack(hides, *_dense("two"))
    hides.found().assign(floats(4, seed=10))
    trained(model, x, y)
    refusal = None
    try:
        loaded = assert_round_trip(model, inputs=x, targets=y, folder=tmp_path)
    except tiedio.ModelError as error:
        refusal = error
    if refusal is None:
        assert np.array(loaded.get_layer("hides").found()).tobytes() == floats(4, seed=10).tobytes()
    else:
        assert refusal.path is not None
        assert refusal.path.startswith("hides")
        assert refusal.remedy
        assert not list(tmp_path.iterdir())
