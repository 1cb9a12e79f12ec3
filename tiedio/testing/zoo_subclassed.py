"""Zoo: subclassed models by how they are called and built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        training=False,
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
        training=False,
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
    return Case(model, given, training=False, same=lambda m: [[m.out.kernel, m.dense.kernel]])


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
    return Case(model, Arguments((X, Y)), training=False, same=lambda m: [[m.first.kernel, m.second.kernel]])


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
    return Case(model, Arguments((X, Y)), training=False, same=lambda m: [[m.first.kernel, m.second.kernel]])


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
    return Case(model, Arguments((X, Y)), training=False, same=lambda m: [[m.late.kernel, m.dense.kernel]])


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
    return Case(model, Arguments((X, Y)), training=False, same=lambda m: [[m.left.kernel, m.right.kernel]])


@case
def subclassed_model_whose_build_is_called_with_two_shapes() -> Case:
    model = SeveralShapes()
    model.build((None, 4), (None, 4))
    share(model.right, "_kernel", model.left)
    return Case(model, Arguments((X, Y)), training=False, same=lambda m: [[m.left.kernel, m.right.kernel]])


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
