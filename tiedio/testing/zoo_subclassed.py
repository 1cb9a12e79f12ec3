"""Zoo: subclassed models, however they make, hold, build and call what is in them."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from tiedio.testing.data import Arguments
from tiedio.testing.zoo_base import Case, case, floats, integers, share, trained

layers, ops = keras.layers, keras.ops
PACKAGE = "tiedio.zoo.subclassed"
register = keras.saving.register_keras_serializable(PACKAGE)

X, Y = floats(5, 4), floats(5, 4, seed=1)


@register
class TwoArguments(keras.Model):
    """`call(left, right)`, and one layer for both sides, tied by hand to another one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.both = layers.Dense(4, activation="tanh")
        self.left, self.right = layers.Dense(4), layers.Dense(4)

    def call(self, left: Any, right: Any) -> Any:
        return self.left(self.both(left)) - self.right(self.both(right))


@case
def subclassed_model_with_two_call_arguments_tied_by_hand() -> Case:
    model = TwoArguments()
    model(X, Y)
    share(model.right, "_kernel", model.left)
    return Case(
        model,
        Arguments((X, Y)),
        train=False,
        same=lambda m: [[m.left.kernel, m.right.kernel]],
        apart=lambda m: [[m.left.bias, m.right.bias], [m.both.kernel, m.left.kernel]],
    )


@register
class ThreeArguments(keras.Model):
    """Three positional arguments, `training` and `mask` beside them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.queries, self.values = layers.Dense(4), layers.Dense(4)
        self.attention = layers.MultiHeadAttention(2, 2)
        self.drop = layers.Dropout(0.5, seed=3)
        self.supports_masking = True

    def call(self, query: Any, value: Any, scale: Any, training: bool = False, mask: Any = None) -> Any:
        found = self.attention(self.queries(query), self.values(value), attention_mask=mask)
        return self.drop(found, training=training) * scale


@case
def subclassed_model_with_three_call_arguments_training_and_mask() -> Case:
    model = ThreeArguments()
    query, value, scale = floats(2, 3, 4), floats(2, 5, 4, seed=1), floats(2, 1, 1, seed=2)
    mask = np.ones((2, 3, 5), bool)
    model(query, value, scale, mask=mask)
    share(model.values, "_kernel", model.queries)
    return Case(
        model,
        Arguments((query, value, scale), {"mask": mask}),
        train=False,
        same=lambda m: [[m.queries.kernel, m.values.kernel]],
    )


@register
class NestedArguments(keras.Model):
    """A dict, a list and a tuple of tensors, by keyword."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embed = layers.Embedding(7, 4)
        self.dense = layers.Dense(4)
        self.out = layers.Dense(4)

    def call(self, inputs: Any, *, extra: Any = None, pair: Any = None) -> Any:
        total = self.dense(inputs["x"]) + ops.mean(self.embed(inputs["ids"]), axis=1)
        for one in extra or ():
            total = total + self.dense(one)
        left, right = pair
        return self.out(total) + left * right


@case
def subclassed_model_with_dict_list_and_tuple_arguments() -> Case:
    model = NestedArguments()
    given = Arguments(
        ({"x": X, "ids": integers(7, 5, 3)},), {"extra": [X, Y], "pair": (floats(5, 4, seed=3), floats(5, 4, seed=4))}
    )
    model(*given.args, **given.kwargs)
    share(model.out, "_kernel", model.dense)
    return Case(model, given, train=False, same=lambda m: [[m.out.kernel, m.dense.kernel]])


@register
class DictInput(keras.Model):
    """One argument, a dict of tensors, and a dict of outputs: what `fit` takes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embed, self.dense, self.out = layers.Embedding(7, 4), layers.Dense(4), layers.Dense(4)

    def call(self, inputs: Mapping[str, Any]) -> Any:
        return {"a": self.out(self.dense(inputs["x"])), "b": ops.mean(self.embed(inputs["ids"]), axis=1)}


@case
def subclassed_model_on_a_dict_of_data() -> Case:
    model = DictInput()
    inputs, targets = {"x": X, "ids": integers(7, 5, 3)}, {"a": Y, "b": X}
    model(inputs)
    share(model.out, "_kernel", model.dense)
    return Case(
        trained(model, inputs, targets, loss={"a": "mse", "b": "mae"}),
        inputs,
        targets,
        same=lambda m: [[m.out.kernel, m.dense.kernel]],
    )


@register
class ListInput(keras.Model):
    """A list of several inputs, built by calling it on data."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.one, self.two = layers.Dense(4), layers.Dense(4)

    def call(self, inputs: Any) -> Any:
        first, second, third = inputs
        return self.one(first) * self.two(second) + self.one(third)


@case
def subclassed_model_on_a_list_of_data() -> Case:
    model = ListInput()
    inputs = [X, floats(5, 4, seed=2), floats(5, 4, seed=3)]
    model(inputs)
    share(model.two, "bias", model.one)
    return Case(trained(model, inputs, Y), inputs, Y, same=lambda m: [[m.one.bias, m.two.bias]])


@register
class ByHand(keras.Model):
    """Layers built by hand in the constructor, one of them nested, one never called."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first, self.second = layers.Dense(4), layers.Dense(4)
        self.unused = layers.Dense(3)
        self.inner = keras.Sequential([layers.Dense(4), layers.LayerNormalization()])
        self.first.build((None, 4))
        self.second.build((None, 4))
        self.unused.build((None, 2))
        self.inner.build((None, 4))

    def call(self, left: Any, right: Any) -> Any:
        return self.inner(self.first(left)) + self.second(right)


@case
def subclassed_model_of_two_arguments_with_layers_built_by_hand() -> Case:
    model = ByHand()
    model(X, Y)
    share(model.second, "_kernel", model.first)
    return Case(model, Arguments((X, Y)), train=False, same=lambda m: [[m.first.kernel, m.second.kernel]])


@register
class LaterByHand(keras.Model):
    """Layers that stand in no constructor's build and that the user builds from outside, for other shapes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first, self.second = layers.Dense(4), layers.Dense(4)
        self.table = layers.Embedding(7, 4)

    def call(self, left: Any, right: Any) -> Any:
        return self.first(left) + self.second(right)


@case
def subclassed_model_whose_layers_are_built_by_hand_from_outside() -> Case:
    model = LaterByHand()
    model.first.build((None, 4))
    model.second.build((5, 4))
    model.table.build(None)
    model(X, Y)
    share(model.second, "_kernel", model.first)
    return Case(model, Arguments((X, Y)), train=False, same=lambda m: [[m.first.kernel, m.second.kernel]])


@register
class MadeInBuild(keras.Model):
    """Layers and weights that `build` makes, as many as the shape says."""

    def build(self, input_shape: Any) -> None:
        self.steps = [layers.Dense(input_shape[-1], name=f"step_{i}") for i in range(2)]
        self.named = {"norm": layers.LayerNormalization()}
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")
        for step in self.steps:
            step.build(input_shape)
        self.named["norm"].build(input_shape)

    def call(self, inputs: Any) -> Any:
        for step in self.steps:
            inputs = step(inputs)
        return self.named["norm"](inputs) * self.scale


@case
def subclassed_model_with_layers_made_in_build() -> Case:
    model = MadeInBuild()
    model(X)
    share(model.steps[1], "_kernel", model.steps[0])
    return Case(trained(model, X, Y), X, Y, same=lambda m: [[m.steps[0].kernel, m.steps[1].kernel]])


@register
class MadeInFirstCall(keras.Model):
    """A layer that the first call makes, and never again."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = layers.Dense(4)
        self.late: Any = None

    def call(self, inputs: Any) -> Any:
        if self.late is None:
            self.late = layers.Dense(inputs.shape[-1])
        return self.late(self.dense(inputs))


@case
def subclassed_model_with_a_layer_made_in_the_first_call() -> Case:
    model = MadeInFirstCall()
    model(X)
    share(model.late, "_kernel", model.dense)
    return Case(trained(model, X, Y), X, Y, same=lambda m: [[m.late.kernel, m.dense.kernel]])


@register
class TwoMadeInFirstCall(keras.Model):
    """Two arguments, and a layer that the first call makes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = layers.Dense(4)
        self.late: Any = None

    def call(self, left: Any, right: Any) -> Any:
        if self.late is None:
            self.late = layers.Dense(left.shape[-1])
        return self.late(self.dense(left)) + right


@case
def subclassed_model_of_two_arguments_with_a_layer_made_in_the_first_call() -> Case:
    model = TwoMadeInFirstCall()
    model(X, Y)
    share(model.late, "_kernel", model.dense)
    return Case(model, Arguments((X, Y)), train=False, same=lambda m: [[m.late.kernel, m.dense.kernel]])


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
class SeveralShapes(keras.Model):
    """`build` with several shapes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.left, self.right = layers.Dense(4), layers.Dense(4)

    def build(self, left_shape: Any, right_shape: Any) -> None:
        self.left.build(left_shape)
        self.right.build(right_shape)
        self.bias = self.add_weight(shape=(right_shape[-1],), name="bias")

    def call(self, left: Any, right: Any) -> Any:
        return self.left(left) + self.right(right) * self.bias


@case
def subclassed_model_whose_build_takes_two_shapes() -> Case:
    model = SeveralShapes()
    model(X, Y)
    share(model.right, "_kernel", model.left)
    return Case(model, Arguments((X, Y)), train=False, same=lambda m: [[m.left.kernel, m.right.kernel]])


@case
def subclassed_model_whose_build_is_called_with_two_shapes() -> Case:
    model = SeveralShapes()
    model.build((None, 4), (None, 4))
    share(model.right, "_kernel", model.left)
    return Case(model, Arguments((X, Y)), train=False, same=lambda m: [[m.left.kernel, m.right.kernel]])


@register
class DictShapes(keras.Model):
    """`build(input_shape)` with a dict of shapes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.left, self.right = layers.Dense(4), layers.Dense(4)

    def build(self, input_shape: Any) -> None:
        self.left.build(input_shape["left"])
        self.right.build(input_shape["right"])

    def call(self, inputs: Any) -> Any:
        return self.left(inputs["left"]) + self.right(inputs["right"])


@case
def subclassed_model_built_for_a_dict_of_shapes() -> Case:
    model = DictShapes()
    model.build({"left": (None, 4), "right": (None, 4)})
    share(model.right, "_kernel", model.left)
    inputs = {"left": X, "right": Y}
    return Case(trained(model, inputs, Y), inputs, Y, same=lambda m: [[m.left.kernel, m.right.kernel]])


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


@case
def bidirectional_wrapper_whose_layer_was_replaced_by_hand() -> Case:
    inputs = keras.Input((3, 4))
    rnn = layers.SimpleRNN(4, return_sequences=True, name="rnn")
    both = layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True, name="rnn"), merge_mode="sum", name="both")
    both.forward_layer = rnn  # one layer again, as it was meant to be before the wrapper copied it
    model = keras.Model(inputs, [rnn(inputs), both(inputs)])
    x = floats(5, 3, 4)
    targets = [floats(5, 3, 4, seed=1), floats(5, 3, 4, seed=2)]
    return Case(
        trained(model, x, targets, loss=["mse", "mse"]),
        x,
        targets,
        same=lambda m: [[m.get_layer("rnn"), m.get_layer("both").forward_layer]],
    )
