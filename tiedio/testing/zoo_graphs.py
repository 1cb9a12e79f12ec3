"""Graphs of odd shapes: grown from the middle of a model, with states, with unused or repeated ends."""

from __future__ import annotations

from typing import Any

import keras

from tiedio.testing.zoo_base import Case, callers, case, floats, integers, share, trained
from tiedio.testing.zoo_layers import AsksNothing, MadeInBuild, NoBuild, Scaled
from tiedio.testing.zoo_places import kernels, live_arguments, stack
from tiedio.testing.zoo_roots import OneArgument

layers = keras.layers
ops = keras.ops


def _dense(*names: str) -> list[Any]:
    return [layers.Dense(4, activation="tanh", name=name) for name in names]


@case
def a_head_grown_on_the_middle_of_a_model() -> Case:
    base = stack(*_dense("one", "two", "three"), name="base")[0]
    middle = base.get_layer("two").output
    model = keras.Model(base.input, layers.Dense(1, name="head")(base.get_layer("one")(middle)), name="model")
    x, y = floats(5, 4), floats(5, 1)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m[root].get_layer(name) for root in ("base", "model")] for name in ("one", "two")]

    return Case({"base": base, "model": model}, {"base": x, "model": x}, {"model": y}, same=same)


@case
def a_head_grown_on_the_middle_of_a_model_saved_alone() -> Case:
    base = stack(*_dense("one", "two", "three"), name="base")[0]
    one = base.get_layer("one")
    model = keras.Model(base.input, one(one(base.get_layer("two").output)), name="model")
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        nodes = [node for depth in m._nodes_by_depth.values() for node in depth]
        return [[node.operation for node in nodes if node.operation.name == "one"]]

    return Case(model, x, y, same=same)


@case
def layers_are_called_elsewhere_before_and_after_the_model_is_made() -> Case:
    one, two = _dense("one", "two")
    for _ in range(2):
        two(one(keras.Input((4,))))
    inputs = keras.Input((4,), name="inputs")
    model = keras.Model(inputs, one(two(one(inputs))), name="model")
    one(two(keras.Input((4,))))
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        nodes = [node for depth in m._nodes_by_depth.values() for node in depth]
        return [[node.operation for node in nodes if node.operation.name == "one"]]

    return Case(model, x, y, same=same)


@case
def training_and_inference_models_of_one_encoder_and_decoder() -> Case:
    source, target = keras.Input((5, 3), name="source"), keras.Input((4, 3), name="target")
    encoder = layers.LSTM(4, return_state=True, name="encoder")
    decoder = layers.LSTM(4, return_sequences=True, return_state=True, name="decoder")
    head = layers.Dense(3, name="head")
    _, *state = encoder(source)
    decoded, *_ = decoder(target, initial_state=state)
    training = keras.Model([source, target], head(decoded), name="training")
    encode = keras.Model(source, state, name="encode")
    given = [keras.Input((4,), name=name) for name in ("h", "c")]
    decoded, *state = decoder(target, initial_state=given)
    decode = keras.Model([target, *given], [head(decoded), *state], name="decode")
    x, y = [floats(2, 5, 3), floats(2, 4, 3, seed=1)], floats(2, 4, 3, seed=2)
    trained(training, x, y)
    roots = {"training": training, "encode": encode, "decode": decode}
    inputs = {"training": x, "encode": x[0], "decode": [x[1], floats(2, 4), floats(2, 4, seed=3)]}

    def same(m: Any) -> list[list[Any]]:
        inference = [m["encode"].get_layer("encoder"), m["decode"].get_layer("decoder")]
        return [[m["training"].get_layer(one.name), one] for one in [*inference, m["decode"].get_layer("head")]]

    return Case(roots, inputs, {"training": y}, same=same)


@case
def one_output_twice_and_an_input_as_output_and_an_input_unused() -> Case:
    inputs, unused = keras.Input((4,), name="inputs"), keras.Input((2,), name="unused")
    one, two = _dense("one", "two")
    hidden = one(inputs)
    outputs = {"twice": [hidden, hidden], "nested": (two(hidden), {"inputs": inputs})}
    model = keras.Model([inputs, unused], outputs, name="model")
    share(two, "_kernel", one)
    return Case(model, [floats(5, 4), floats(5, 2)], training=False, same=kernels("one", "two"))


@case
def a_live_variable_in_a_list_of_tensors() -> Case:
    inputs = keras.Input((4,), name="inputs")
    dense = layers.Dense(4, name="dense")
    hidden = dense(inputs)
    outputs = layers.Dense(1, name="head")(ops.concatenate([dense.kernel, hidden, dense.kernel], axis=0))
    model = keras.Model(inputs, ops.sum(outputs, axis=0, keepdims=True), name="model")
    x, y = floats(1, 4), floats(1, 1)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("dense").kernel, *live_arguments(m)]])


@case
def a_live_variable_of_another_root_goes_into_an_op() -> Case:
    one, x, y = stack(*_dense("dense"), name="one")
    inputs = keras.Input((4,), name="inputs")
    two = keras.Model(inputs, ops.matmul(inputs, one.get_layer("dense").kernel), name="two")
    trained(one, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m["one"].get_layer("dense").kernel, *live_arguments(m["two"])]]

    return Case({"two": two, "one": one}, {"one": x, "two": x}, {"one": y}, same=same)


@case
def a_state_that_is_learned_goes_into_an_rnn() -> Case:
    inputs = keras.Input(batch_shape=(2, 3, 4), name="inputs")
    start = layers.Embedding(2, 4, name="start")
    start.build((2,))
    rnn = layers.GRU(4, name="rnn")
    first = rnn(inputs, initial_state=start.embeddings)
    model = keras.Model(inputs, rnn(inputs, initial_state=ops.add(first, start.embeddings)), name="model")
    x, y = floats(2, 3, 4), floats(2, 4)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        live = [v for v in live_arguments(m) if v.shape == (2, 4)]
        return [live]

    return Case(model, x, y, same=same)


@case
def losses_that_layers_add() -> Case:
    one, two = _dense("one", "two")
    model, x, _ = stack(one, layers.ActivityRegularization(l2=0.3, name="penalty"), two)
    one.activity_regularizer = keras.regularizers.L1(0.1)
    share(two, "_kernel", one)
    trained(model, x, floats(5, 4))
    return Case(model, x, floats(5, 4), same=kernels("one", "two"))


@case
def a_layer_that_makes_its_children_in_build() -> Case:
    one, two = MadeInBuild(name="one"), MadeInBuild(name="two")
    model, x, y = stack(one, two)
    share(two.children[1], "_kernel", one.children[0])
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m.get_layer("one").children[0].kernel, m.get_layer("two").children[1].kernel]]

    return Case(model, x, y, same=same)


@case
def a_layer_without_build_whose_children_are_built_by_its_call() -> Case:
    one, two = NoBuild(name="one"), NoBuild(name="two")
    model, x, y = stack(one, two)
    share(two.inner, "_kernel", one.outer)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m.get_layer("one").outer.kernel, m.get_layer("two").inner.kernel]]

    return Case(model, x, y, same=same)


@case
def layers_without_build_in_a_deferred_sequential_model() -> Case:
    part = NoBuild(name="part")
    model = keras.Sequential([part, layers.Dense(4, name="dense"), part], name="model")
    x, y = floats(5, 4), floats(5, 4)
    model(x)
    share(model.layers[1], "bias", part.inner)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m.layers[0], m.layers[2]], [m.layers[0].inner.bias, m.layers[1].bias]]

    return Case(model, x, y, same=same)


@case
def a_custom_class_that_is_not_registered() -> Case:
    one, two = AsksNothing(name="one"), AsksNothing(name="two")
    model, x, y = stack(one, two)
    share(two, "scale", one)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m.get_layer(name).scale for name in ("one", "two")]]

    return Case(model, x, y, custom_objects={"AsksNothing": AsksNothing}, same=same)


@case
def a_subclassed_model_in_a_functional_one_and_as_a_root() -> Case:
    inner = OneArgument(name="inner")
    model, x, y = stack(inner, *_dense("dense"), inner, name="outer")
    share(model.get_layer("dense"), "_kernel", inner.first)
    trained(model, x, y)
    roots = {"outer": model, "inner": inner}

    def same(m: Any) -> list[list[Any]]:
        return [[m["inner"], m["outer"].get_layer("inner")], [m["inner"].first.kernel, m["outer"].layers[2].kernel]]

    return Case(roots, {"outer": x, "inner": x}, {"outer": y}, same=same)


@case
def masks_and_booleans_in_the_calls_of_one_layer() -> Case:
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    embedding = layers.Embedding(5, 4, mask_zero=True, name="embedding")
    attention = layers.MultiHeadAttention(1, 2, name="attention")
    rnn = layers.LSTM(4, return_sequences=True, name="rnn")
    hidden = rnn(embedding(tokens), mask=ops.not_equal(tokens, 1), training=False)
    hidden = attention(hidden, embedding(tokens), use_causal_mask=True)
    pooled = layers.GlobalAveragePooling1D(name="pooled")(rnn(attention(query=hidden, value=hidden)))
    model = keras.Model(tokens, pooled, name="model")
    x, y = integers(5, 3, 4), floats(3, 4)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        nodes = [node for depth in m._nodes_by_depth.values() for node in depth]
        return [[n.operation for n in nodes if n.operation.name == name] for name in ("attention", "rnn")]

    return Case(model, x, y, same=same)


@case
def a_layer_called_with_a_tensor_and_with_a_variable() -> Case:
    inputs = keras.Input((4,), name="inputs")
    dense, scaled = layers.Dense(4, name="dense"), Scaled(name="scaled")
    hidden = dense(inputs)
    outputs = layers.Add(name="sum")([scaled(hidden, by=inputs), scaled(hidden, by=dense.bias)])
    model = keras.Model(inputs, outputs, name="model")
    x, y = floats(5, 4), floats(5, 4)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [callers(m, "sum"), [m.get_layer("dense").bias, *live_arguments(m)]]

    return Case(model, x, y, same=same)
