"""Zoo: subclassed models by what they hold: variables, lists that grow, models, data classes, a step of their own."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from typing import Any, NamedTuple

import keras
import numpy as np

from tiedio.testing.zoo_base import Case, case, floats, share, trained
from tiedio.testing.zoo_subclassed import PACKAGE, TwoArguments, X, Y

layers, ops = keras.layers, keras.ops
register = keras.saving.register_keras_serializable(PACKAGE)


@register
class OwnVariables(keras.Model):
    """Variables made with `keras.Variable` in the constructor: alone, in lists, in dicts, one of them twice."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = keras.Variable(np.full(4, 2, "float32"), name="scale")
        self.again = self.scale
        self.steps = keras.Variable(0, dtype="int64", trainable=False, name="steps")
        self.more = [keras.Variable(floats(4, seed=i)) for i in range(2)]
        self.named = {"shift": keras.Variable(floats(4, seed=5)), "same": self.more[0]}
        self.dense = layers.Dense(4)

    def call(self, inputs: Any) -> Any:
        hidden = self.dense(inputs) * self.scale + self.again
        return hidden * self.more[0] + self.more[1] * self.named["shift"] + self.named["same"]


@case
def subclassed_model_with_variables_made_in_its_constructor() -> Case:
    model = OwnVariables()
    model(X)
    model.steps.assign(7)
    return Case(
        trained(model, X, Y),
        X,
        Y,
        same=lambda m: [[m.scale, m.again], [m.more[0], m.named["same"]]],
        apart=lambda m: [[m.more[0], m.more[1], m.named["shift"], m.scale]],
    )


@register
class Grows(keras.Model):
    """A list of layers, a dict of layers and a list of variables that grow after construction."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks: Any = []
        self.named: Any = {}
        self.extra: Any = []

    def grow(self, name: str) -> None:
        block = layers.Dense(4, activation="tanh", name=name)
        self.blocks.append(block)
        self.named[name] = block
        self.extra.append(keras.Variable(floats(4, seed=len(self.extra)), name=name))

    def call(self, inputs: Any) -> Any:
        for block, extra in zip(self.blocks, self.extra, strict=True):
            inputs = block(inputs) + extra
        return inputs


@case
def subclassed_model_whose_lists_and_dicts_grow() -> Case:
    model = Grows()
    for name in ("one", "two", "three"):
        model.grow(name)
    model(X)
    share(model.blocks[2], "_kernel", model.blocks[0])
    return Case(
        trained(model, X, Y),
        X,
        Y,
        same=lambda m: [[m.blocks[0].kernel, m.blocks[2].kernel], [m.blocks[1], m.named["two"]]],
        apart=lambda m: [[m.blocks[0].kernel, m.blocks[1].kernel], list(m.extra)],
    )


@register
class Encoder(keras.Model):
    """A subclassed model inside another one."""

    def __init__(self, units: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.dense = layers.Dense(units, activation="tanh")

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.dense(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@register
class Outer(keras.Model):
    """A model that makes two models itself, holds one of them twice, and each in turn holds layers."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.decoder = Encoder(), Encoder()
        self.again = [self.encoder]
        self.head = keras.Sequential([layers.Dense(4), self.encoder])

    def call(self, inputs: Any) -> Any:
        return self.head(self.decoder(self.again[0](self.encoder(inputs))))


@case
def subclassed_models_inside_each_other() -> Case:
    model = Outer()
    model(X)
    share(model.decoder.dense, "_kernel", model.encoder.dense)
    return Case(
        trained(model, X, Y),
        X,
        Y,
        same=lambda m: [
            [m.encoder, m.again[0], m.head.layers[-1]],
            [m.encoder.dense.kernel, m.decoder.dense.kernel],
        ],
        apart=lambda m: [[m.encoder, m.decoder]],
    )


@register
class OuterOfTwo(keras.Model):
    """A model that makes models of two arguments."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.one, self.two = TwoArguments(), TwoArguments()

    def call(self, inputs: Any) -> Any:
        return self.two(self.one(inputs, inputs + 1.0), right=inputs)


@case
def subclassed_models_of_two_arguments_inside_another() -> Case:
    model = OuterOfTwo()
    model(X)
    share(model.two.both, "_kernel", model.one.both)
    return Case(
        trained(model, X, Y),
        X,
        Y,
        same=lambda m: [[m.one.both.kernel, m.two.both.kernel]],
        apart=lambda m: [[m.one.left.kernel, m.two.left.kernel]],
    )


@register
class OwnStep(keras.Model):
    """A `train_step` of its own, a metric in an attribute, a loss added in `call`, and a count of steps."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.one, self.two = layers.Dense(4), layers.Dense(4)
        self.mean = keras.metrics.Mean(name="mean")
        self.steps = self.add_weight(shape=(), initializer="zeros", trainable=False, dtype="int32", name="steps")

    def call(self, inputs: Any) -> Any:
        hidden = self.one(inputs)
        self.add_loss(0.1 * ops.mean(ops.square(hidden)))
        return self.two(hidden)

    @property
    def metrics(self) -> list[Any]:
        return [self.mean]

    def train_step(self, data: Any) -> Any:
        import tensorflow as tf

        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = ops.mean(ops.square(self(x, training=True) - y)) + sum(self.losses)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        self.steps.assign_add(1)
        self.mean.update_state(loss)
        return {"mean": self.mean.result()}


@case
def subclassed_model_with_its_own_train_step() -> Case:
    model = OwnStep()
    model(X)
    share(model.two, "_kernel", model.one)
    return Case(trained(model, X, Y), X, Y, same=lambda m: [[m.one.kernel, m.two.kernel]])


@dataclasses.dataclass
class Pair:
    """Two layers, in a data class."""

    first: Any
    second: Any


class Named(NamedTuple):
    """Two layers, in a tuple with names."""

    first: Any
    second: Any


Loose = namedtuple("Loose", "one other")


@register
class Structured(keras.Model):
    """Layers in a data class and in named tuples, one layer in all of them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        shared = layers.Dense(4, activation="tanh")
        self.pair = Pair(shared, layers.Dense(4))
        self.named = Named(shared, layers.Dense(4))
        self.loose = Loose(self.pair.second, [layers.Dense(4)])

    def call(self, inputs: Any) -> Any:
        hidden = self.pair.second(self.pair.first(inputs))
        return self.loose.other[0](self.named.second(self.named.first(hidden))) + self.loose.one(inputs)


@case
def subclassed_model_with_layers_in_data_classes_and_named_tuples() -> Case:
    model = Structured()
    model(X)
    share(model.named.second, "_kernel", model.pair.second)
    return Case(
        trained(model, X, Y),
        X,
        Y,
        same=lambda m: [
            [m.pair.first, m.named.first],
            [m.pair.second, m.loose.one],
            [m.named.second.kernel, m.pair.second.kernel],
        ],
    )


def _hung(container: str) -> Case:
    inputs = keras.Input((4,))
    dense, other = layers.Dense(4), layers.Dense(4)
    model = keras.Model(inputs, other(dense(inputs)))
    if container == "list":
        model.extra = [dense.kernel, keras.Variable(floats(3), trainable=False, name="own")]
        return Case(trained(model, X, Y), X, Y, same=lambda m: [[m.layers[1].kernel, m.extra[0]]])
    model.extra = {"kernel": dense.kernel, "more": {"own": keras.Variable(floats(3), trainable=False, name="own")}}
    return Case(trained(model, X, Y), X, Y, same=lambda m: [[m.layers[1].kernel, m.extra["kernel"]]])


@case
def functional_model_with_a_list_of_variables_hung_on_it() -> Case:
    return _hung("list")


@case
def functional_model_with_a_dict_of_variables_hung_on_it() -> Case:
    return _hung("dict")


@case
def bidirectional_wrapper_whose_copy_was_tied_by_hand() -> Case:
    model = keras.Sequential(
        [
            keras.Input((3, 4)),
            layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True), merge_mode="sum", name="both"),
            layers.Dense(4),
        ]
    )
    both = model.get_layer("both")
    share(both.backward_layer.cell, "kernel", both.forward_layer.cell)
    share(model.layers[1], "_kernel", both.forward_layer.cell, "recurrent_kernel")
    inputs, targets = floats(5, 3, 4), floats(5, 3, 4, seed=1)
    return Case(
        trained(model, inputs, targets),
        inputs,
        targets,
        same=lambda m: [
            [m.get_layer("both").forward_layer.cell.kernel, m.get_layer("both").backward_layer.cell.kernel],
            [m.get_layer("both").forward_layer.cell.recurrent_kernel, m.layers[1].kernel],
        ],
    )
