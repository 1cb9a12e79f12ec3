"""One variable in several places: attributes, containers, arguments of operations; by hand and by a class."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from tiedio.testing.zoo_base import Case, case, floats, put, register, replace_tracked, share, trained, untie
from tiedio.testing.zoo_layers import Blocks, Holder, Scaled, TiesInBuild, TiesInConstructor

layers = keras.layers


def stack(*parts: Any, name: str = "model") -> tuple[Any, Any, Any]:
    """A functional chain of layers over four numbers, not compiled yet: (model, inputs, targets)."""
    inputs = x = keras.Input((4,), name="inputs")
    for part in parts:
        x = part(x)
    model = keras.Model(inputs, x, name=name)
    x, y = floats(5, 4), floats(5, model.output_shape[-1], seed=1)
    return model, x, y


def _dense(*names: str, units: int = 4, **settings: Any) -> list[Any]:
    return [layers.Dense(units, activation="tanh", name=name, **settings) for name in names]


def kernels(*names: str) -> Any:
    """A function that gives one group: the kernels of the layers with these names."""
    return lambda m: [[m.get_layer(name).kernel for name in names]]


def biases(*names: str) -> Any:
    """A function that gives one group: the biases of the layers with these names."""
    return lambda m: [[m.get_layer(name).bias for name in names]]


@case
def one_variable_in_attributes_lists_tuples_dicts_and_nests() -> Case:
    model, x, y = stack(Holder(name="holder"), layers.Dense(1, name="head"))
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        h = m.get_layer("holder")
        deep = h.nested["blocks"][1]["deep"]
        one = [h.first, h.second, h.listed[0], h.listed[2], h.paired[1], h.named["left"], h.named["third"]]
        other = [h.plain, h.listed[1], h.paired[0], h.named["right"], deep[0]]
        return [[*one, h.nested["blocks"][0], deep[1][0]], other]

    return Case(model, x, y, same=same, apart=lambda m: [[m.get_layer("holder").first, m.get_layer("holder").plain]])


@case
def two_holders_share_a_variable_that_stands_in_many_places() -> Case:
    one, two = Holder(name="one"), Holder(name="two")
    model, x, y = stack(one, two)
    put(two, "plain", one.first)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m.get_layer("one").first, m.get_layer("one").paired[1], m.get_layer("two").plain]]

    return Case(model, x, y, same=same, apart=lambda m: [[m.get_layer("two").plain, m.get_layer("two").listed[1]]])


@case
def a_list_item_is_set_by_hand_to_another_layers_variable() -> Case:
    one, two = Blocks(name="one"), Blocks(name="two")
    model, x, y = stack(one, two)
    replace_tracked(two._tracker, two.kernels[1], one.kernels[2])
    two.kernels[1] = one.kernels[2]
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m.get_layer("one").kernels[2], m.get_layer("two").kernels[1]]]

    return Case(model, x, y, same=same)


@case
def a_dict_value_is_set_by_hand_to_an_item_of_the_same_layers_list() -> Case:
    blocks = Blocks(name="blocks")
    model, x, y = stack(blocks, layers.Dense(1, name="head"))
    replace_tracked(blocks._tracker, blocks.by_name["gate"], blocks.kernels[0])
    blocks._tracker.unlock()
    blocks.by_name["gate"] = blocks.kernels[0]
    blocks._tracker.lock()
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m.get_layer("blocks").kernels[0], m.get_layer("blocks").by_name["gate"]]]

    return Case(model, x, y, same=same)


@case
def ties_made_by_a_class_in_its_build() -> Case:
    model, x, y = stack(TiesInBuild(name="pair"), layers.Dense(1, name="head"))
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("pair").first.kernel, m.get_layer("pair").second.kernel]])


@case
def ties_made_by_a_class_in_its_constructor() -> Case:
    model, x, y = stack(TiesInConstructor(name="pair"), layers.Dense(1, name="head"))
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("pair").scale, m.get_layer("pair").also_scale]])


@case
def a_tie_that_a_class_makes_was_undone_by_hand() -> Case:
    pair = TiesInBuild(name="pair")
    model, x, y = stack(pair, layers.Dense(1, name="head"))
    untie(pair.second, "_kernel")
    trained(model, x, y)
    return Case(model, x, y, apart=lambda m: [[m.get_layer("pair").first.kernel, m.get_layer("pair").second.kernel]])


@case
def a_tie_that_a_constructor_makes_was_undone_by_hand() -> Case:
    pair = TiesInConstructor(name="pair")
    model, x, y = stack(pair, layers.Dense(1, name="head"))
    pair._tracker.unlock()
    pair.also_scale = keras.Variable(floats(4, seed=3), name="also_scale")
    pair._tracker.lock()
    trained(model, x, y)
    return Case(model, x, y, apart=lambda m: [[m.get_layer("pair").scale, m.get_layer("pair").also_scale]])


@case
def a_tie_that_a_class_does_not_make_was_made_by_hand() -> Case:
    pair = TiesInBuild(tied=False, name="pair")
    model, x, y = stack(pair, layers.Dense(1, name="head"))
    share(pair.second, "_kernel", pair.first)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("pair").first.kernel, m.get_layer("pair").second.kernel]])


@case
def a_tie_that_a_class_makes_was_led_elsewhere_by_hand() -> Case:
    pair, other = TiesInBuild(name="pair"), layers.Dense(4, name="other")
    model, x, y = stack(other, pair)
    share(pair.second, "_kernel", other)
    trained(model, x, y)
    return Case(
        model,
        x,
        y,
        same=lambda m: [[m.get_layer("pair").second.kernel, m.get_layer("other").kernel]],
        apart=lambda m: [[m.get_layer("pair").first.kernel, m.get_layer("pair").second.kernel]],
    )


@case
def four_layers_share_one_kernel() -> Case:
    parts = _dense("one", "two", "three", "four")
    model, x, y = stack(*parts)
    for part in parts[1:]:
        share(part, "_kernel", parts[0])
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two", "three", "four"), apart=biases("one", "two", "three", "four"))


@case
def two_attributes_of_each_of_three_layers_are_one_variable() -> Case:
    parts = [layers.LayerNormalization(name=name) for name in ("one", "two", "three")]
    model, x, y = stack(*parts)
    for part in parts:
        share(part, "beta", parts[0], "gamma")
        share(part, "gamma", parts[0])
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[getattr(m.get_layer(name), attr) for name in ("one", "two", "three") for attr in ("gamma", "beta")]]

    return Case(model, x, y, same=same)


@case
def ties_overlap_in_one_layer() -> Case:
    parts = one, two, three, four = _dense("one", "two", "three", "four")
    model, x, y = stack(*parts)
    share(two, "_kernel", one)
    share(two, "bias", three)
    share(four, "_kernel", three)
    share(four, "bias", one)
    share(three, "bias", two)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        pairs = [
            ("kernel", "one", "two"),
            ("bias", "two", "three"),
            ("kernel", "three", "four"),
            ("bias", "one", "four"),
        ]
        return [[getattr(m.get_layer(name), attr) for name in names] for attr, *names in pairs]

    return Case(model, x, y, same=same, apart=lambda m: [*kernels("one", "three")(m), *biases("one", "two")(m)])


@case
def the_layer_further_down_gave_the_variable() -> Case:
    one, two, three = _dense("one", "two", "three")
    model, x, y = stack(one, two, three)
    share(one, "_kernel", three)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "three"), apart=kernels("one", "two"))


@case
def equal_values_are_not_a_tie() -> Case:
    parts = _dense("one", "two", kernel_initializer="ones")
    model, x, y = stack(*parts)
    trained(model, x, y, steps=0)
    return Case(model, x, y, apart=lambda m: [*kernels("one", "two")(m), *biases("one", "two")(m)])


def _live(apply: Any) -> Case:
    """A live variable of a layer goes into operations of the graph, too."""
    inputs = keras.Input((4,), name="inputs")
    dense = layers.Dense(4, name="dense")
    hidden = apply(keras.ops.tanh(dense(inputs)), dense)
    model = keras.Model(inputs, layers.Dense(1, name="head")(hidden), name="model")
    x, y = floats(5, 4), floats(5, 1)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        wanted = m.get_layer("dense").weights
        groups = [[one, *(v for v in live_arguments(m) if v.shape == one.shape)] for one in wanted]
        return [group for group in groups if len(group) > 1]

    return Case(model, x, y, same=same)


def live_arguments(model: Any) -> list[Any]:
    """The variables that are arguments of a functional model's operations, in the order of the operations."""
    nodes = [node for operation in model.operations for node in operation._inbound_nodes]
    found = [keras.tree.flatten((node.arguments.args, node.arguments.kwargs)) for node in nodes]
    return [argument for flat in found for argument in flat if isinstance(argument, keras.Variable)]


_ops = keras.ops
for _name, _apply in {
    "an_op": lambda x, one: _ops.matmul(x, one.kernel),
    "an_op_as_keywords": lambda x, one: _ops.add(x1=_ops.matmul(x1=x, x2=one.kernel), x2=one.bias),
    "an_op_before_the_tensor": lambda x, one: _ops.add(one.bias, x),
    "two_ops": lambda x, one: _ops.matmul(_ops.relu(_ops.matmul(x, one.kernel)), one.kernel),
    "an_op_of_many_operands": lambda x, one: _ops.einsum("ab,bc,cd->ad", x, one.kernel, one.kernel),
    "a_layer_as_keyword": lambda x, one: Scaled(name="scaled")(x, by=one.bias),
    "a_layer_as_second_argument": lambda x, one: Scaled(name="scaled")(x, one.bias),
}.items():
    register(f"a_live_variable_goes_into_{_name}", partial(_live, _apply))


@case
def a_live_variable_of_no_layer_goes_into_two_ops() -> Case:
    inputs = keras.Input((4,), name="inputs")
    free = keras.Variable(floats(4, 4, seed=5), name="free")
    hidden = keras.ops.matmul(keras.ops.tanh(keras.ops.matmul(inputs, free)), free)
    model = keras.Model(inputs, layers.Dense(1, name="head")(hidden), name="model")
    x, y = floats(5, 4), floats(5, 1)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [live_arguments(m)])


@case
def a_live_variable_of_a_layer_inside_a_sub_model_goes_into_an_op_outside() -> Case:
    inner_inputs = keras.Input((4,), name="inner_inputs")
    inner = keras.Model(inner_inputs, layers.Dense(4, name="dense")(inner_inputs), name="inner")
    inputs = keras.Input((4,), name="inputs")
    outputs = keras.ops.matmul(inner(inputs), inner.get_layer("dense").kernel)
    model = keras.Model(inputs, layers.Dense(1, name="head")(outputs), name="model")
    x, y = floats(5, 4), floats(5, 1)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("inner").get_layer("dense").kernel, *live_arguments(m)]])


@case
def one_frozen_constant_goes_into_two_ops() -> Case:
    inputs = keras.Input((4,), name="inputs")
    constant = keras.ops.convert_to_tensor(floats(4, 4, seed=6))
    dense = layers.Dense(4, name="dense")
    outputs = keras.ops.matmul(dense(keras.ops.matmul(inputs, constant)), constant)
    model = keras.Model(inputs, dense(outputs), name="model")
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)
    return Case(model, x, y, apart=lambda m: [m.weights])


@case
def a_frozen_constant_of_a_layers_value_is_no_tie() -> Case:
    inputs = keras.Input((4,), name="inputs")
    dense = layers.Dense(4, kernel_initializer=keras.initializers.GlorotUniform(seed=3), name="dense")
    hidden = dense(inputs)
    outputs = keras.ops.matmul(hidden, keras.ops.transpose(dense.kernel))
    model = keras.Model(inputs, outputs, name="model")
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)
    return Case(model, x, y, apart=lambda m: [m.weights])
