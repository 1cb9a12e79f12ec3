"""Zoo: ties made by `tiedio.tie` on built layers: one variable, or a view of it; and taken away by `tiedio.untie`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras

import tiedio
from tiedio.testing.zoo_base import Case, Groups, case, floats, integers, register, trained
from tiedio.testing.zoo_layers import Blocks
from tiedio.testing.zoo_places import biases, kernels, stack

layers, ops = keras.layers, keras.ops

KERNEL = ["kernel"]


def of_source(source: str, *views: str) -> Callable[[Any], Groups]:
    """A function that gives one group: the kernel of a layer, and what the kernels of others are computed from."""
    return lambda m: [[m.get_layer(source).kernel, *(m.get_layer(name).kernel.source for name in views)]]


def transposed(target: Any, source: Any) -> None:
    """Makes a kernel the transpose of another one from now on."""
    tiedio.tie(target, source, weights=KERNEL, view=tiedio.transpose())


def autoencoder(**settings: Any) -> tuple[Any, Any, Any]:
    """Two dense layers, the kernel of the second the transpose of the first's: (model, inputs, targets)."""
    encoder = layers.Dense(3, activation="tanh", name="encoder", **settings)
    decoder = layers.Dense(4, name="decoder")
    model, x, y = stack(encoder, decoder)
    transposed(decoder, encoder)
    return model, x, y


# --- one variable -----------------------------------------------------------------------------------------


@case
def two_convolutions_tied_by_a_call() -> Case:
    inputs = keras.Input((6, 6, 2), name="inputs")
    near = layers.Conv2D(3, 3, padding="same", name="near")
    far = layers.Conv2D(3, 3, padding="same", dilation_rate=2, name="far")
    model = keras.Model(inputs, layers.Subtract()([near(inputs), far(inputs)]))
    tiedio.tie(far, near)
    x, y = floats(2, 6, 6, 2), floats(2, 6, 6, 3, seed=1)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: kernels("near", "far")(m) + biases("near", "far")(m))


@case
def three_layers_tied_to_one_weight() -> Case:
    one, two, three = (layers.Dense(4, activation="tanh", name=name) for name in ("one", "two", "three"))
    model, x, y = stack(one, two, three)
    tiedio.tie(two, three, weights=KERNEL)
    tiedio.tie(three, one, weights=KERNEL)  # what two holds follows
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two", "three"), apart=lambda m: biases("one", "two", "three")(m))


def _tower(name: str) -> Any:
    inputs = keras.Input((4,), name=f"{name}_inputs")
    x = layers.BatchNormalization(name="norm")(layers.Dense(4, name="dense")(inputs))
    return keras.Model(inputs, layers.Dropout(0.5, seed=3, name="drop")(x), name=name)


@case
def a_whole_sub_model_tied_to_another_one() -> Case:
    left, right = _tower("left"), _tower("right")
    inputs = keras.Input((4,), name="inputs")
    model = keras.Model(inputs, layers.Subtract()([left(inputs), right(inputs)]))
    tiedio.tie(right, left)
    x, y = floats(5, 4), floats(5, 4, seed=1)
    trained(model, x, y)

    def same(m: Any) -> Groups:
        sides = [m.get_layer(name) for name in ("left", "right")]
        return [list(pair) for pair in zip(*(side.weights for side in sides), strict=True)]

    def apart(m: Any) -> Groups:
        sides = [m.get_layer(name) for name in ("left", "right")]
        seeds = [side.get_layer("drop").seed_generator.state for side in sides]  # no weights: each keeps its own
        return [seeds, [side.get_layer("dense") for side in sides]]

    return Case(model, x, y, same=same, apart=apart)


@case
def layers_tied_after_training_with_adam() -> Case:
    model, x, y = stack(*(layers.Dense(4, activation="tanh", name=name) for name in ("one", "two", "three")))
    trained(model, x, y)
    tiedio.tie(model.get_layer("three"), model.get_layer("one"), weights=KERNEL)
    model.train_on_batch(x, y)
    return Case(model, x, y, same=kernels("one", "three"))


@case
def layers_untied_after_training_with_adam() -> Case:
    model, x, y = stack(*(layers.Dense(4, activation="tanh", name=name) for name in ("one", "two", "three")))
    for name in ("two", "three"):
        tiedio.tie(model.get_layer(name), model.get_layer("one"), weights=KERNEL)
    trained(model, x, y)
    tiedio.untie(model.get_layer("two"), KERNEL)
    model.train_on_batch(x, y)
    return Case(model, x, y, same=kernels("one", "three"), apart=kernels("one", "two"))


# --- views ------------------------------------------------------------------------------------------------


@case
def tied_autoencoder_by_a_view_in_a_functional_model() -> Case:
    model, x, y = autoencoder()
    trained(model, x, y)
    return Case(model, x, y, same=of_source("encoder", "decoder"), apart=biases("encoder", "decoder"))


@case
def tied_autoencoder_by_a_view_in_a_sequential_model() -> Case:
    encoder, decoder = layers.Dense(3, activation="tanh", name="encoder"), layers.Dense(4, name="decoder")
    model = keras.Sequential([keras.Input((4,)), encoder, decoder])
    transposed(decoder, encoder)
    x, y = floats(5, 4), floats(5, 4, seed=1)
    trained(model, x, y)
    return Case(model, x, y, same=of_source("encoder", "decoder"))


@case
def embedding_matrix_as_output_kernel_by_a_view() -> Case:
    tokens, output = layers.Embedding(7, 4, name="tokens"), layers.Dense(7, name="output")
    inputs = keras.Input((3,), dtype="int32", name="inputs")
    model = keras.Model(inputs, output(tokens(inputs)))
    tiedio.tie(output, tokens, weights={"kernel": "embeddings"}, view=tiedio.transpose())
    x = integers(7, 2, 3)
    trained(model, x, x, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return Case(model, x, x, same=lambda m: [[m.get_layer("output").kernel.source, m.get_layer("tokens").embeddings]])


@case
def a_kernel_that_is_a_slice_of_a_larger_one() -> Case:
    wide, narrow = layers.Dense(8, activation="tanh", name="wide"), layers.Dense(5, name="narrow")
    inputs, others = keras.Input((4,), name="inputs"), keras.Input((3,), name="others")
    model = keras.Model([inputs, others], layers.Concatenate()([wide(inputs), narrow(others)]))
    tiedio.tie(narrow, wide, weights=KERNEL, view=tiedio.slice((1, 2), (-1, 5)))
    x, y = [floats(5, 4), floats(5, 3, seed=2)], floats(5, 13, seed=1)
    trained(model, x, y)
    return Case(model, x, y, same=of_source("wide", "narrow"))


@case
def a_kernel_that_is_another_one_reshaped() -> Case:
    conv = layers.Conv1D(5, 2, name="conv")
    dense = layers.Dense(5, name="dense")  # on two steps of four numbers at once
    inputs = keras.Input((2, 4), name="inputs")
    model = keras.Model(inputs, layers.Subtract()([layers.Flatten()(conv(inputs)), dense(layers.Flatten()(inputs))]))
    tiedio.tie(dense, conv, weights=KERNEL, view=tiedio.reshape((8, -1)))
    x, y = floats(5, 2, 4), floats(5, 5, seed=1)
    trained(model, x, y)
    return Case(model, x, y, same=of_source("conv", "dense"))


@case
def a_convolution_with_the_channels_of_another_one_swapped() -> Case:
    there, back = (layers.Conv2D(n, 3, padding="same", name=name) for n, name in ((3, "there"), (2, "back")))
    inputs = keras.Input((6, 6, 2), name="inputs")
    model = keras.Model(inputs, back(there(inputs)))
    tiedio.tie(back, there, weights=KERNEL, view=tiedio.transpose((0, 1, 3, 2)))
    x, y = floats(2, 6, 6, 2), floats(2, 6, 6, 2, seed=1)
    trained(model, x, y)
    return Case(model, x, y, same=of_source("there", "back"))


@case
def a_view_and_an_alias_of_one_source() -> Case:
    model, x, y = stack(*(layers.Dense(4, activation="tanh", name=name) for name in ("one", "alias", "view")))
    tiedio.tie(model.get_layer("alias"), model.get_layer("one"), weights=KERNEL)
    transposed(model.get_layer("view"), model.get_layer("alias"))
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: kernels("one", "alias")(m) + of_source("one", "view")(m))


@case
def views_of_several_kinds_of_one_source() -> Case:
    source, turned, cut = (layers.Dense(n, name=name) for n, name in ((4, "source"), (4, "turned"), (2, "cut")))
    model, x, y = stack(source, turned, cut)
    transposed(turned, source)
    tiedio.tie(cut, source, weights=KERNEL, view=tiedio.slice((0, 1), (4, 2)))
    tiedio.tie(turned, source, weights=["bias"])
    trained(model, x, y)
    return Case(
        model,
        x,
        y,
        same=lambda m: of_source("source", "turned", "cut")(m) + biases("source", "turned")(m),
        apart=kernels("turned", "cut"),
    )


@case
def one_view_in_two_layers() -> Case:
    one, two, three = (layers.Dense(4, activation="tanh", name=name) for name in ("one", "two", "three"))
    model, x, y = stack(one, two, three)
    for target in (two, three):
        transposed(target, one)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: kernels("two", "three")(m) + of_source("one", "two")(m))


@case
def a_kernel_of_a_recurrent_cell_that_is_a_view_of_another_one() -> Case:
    lstm, rnn = layers.LSTM(3, return_sequences=True, name="lstm"), layers.SimpleRNN(3, name="rnn")
    inputs = keras.Input((5, 3), name="inputs")
    model = keras.Model(inputs, rnn(lstm(inputs)))
    forget_gate = tiedio.slice((0, 3), (3, 3))
    tiedio.tie(rnn, lstm, weights={"cell/recurrent_kernel": "cell/recurrent_kernel"}, view=forget_gate)
    x, y = floats(2, 5, 3), floats(2, 3, seed=1)
    trained(model, x, y)

    def same(m: Any) -> Groups:
        lstm, rnn = m.get_layer("lstm").cell, m.get_layer("rnn").cell
        return [[lstm.recurrent_kernel, rnn.recurrent_kernel.source]]

    return Case(model, x, y, same=same)


@case
def a_view_in_a_list_of_kernels() -> Case:
    blocks, dense = Blocks(name="blocks"), layers.Dense(4, name="dense")
    model, x, y = stack(blocks, dense)
    tiedio.tie(blocks, dense, weights={"kernels/1": "kernel"}, view=tiedio.transpose())
    tiedio.tie(blocks, blocks, weights={"by_name/gate": "kernels/2"})
    trained(model, x, y)

    def same(m: Any) -> Groups:
        held = m.get_layer("blocks")
        return [[held.kernels[1].source, m.get_layer("dense").kernel], [held.kernels[2], held.by_name["gate"]]]

    return Case(model, x, y, same=same)


def _matmul(*, tied_before: bool) -> Case:
    """A view as an argument of an operation in a functional graph."""
    encoder, decoder = layers.Dense(3, name="encoder"), layers.Dense(4, name="decoder")
    for layer, width in ((encoder, 4), (decoder, 3)):
        layer.build((None, width))
    if tied_before:
        transposed(decoder, encoder)
    inputs = keras.Input((4,), name="inputs")
    hidden = encoder(inputs)
    model = keras.Model(inputs, layers.Add()([decoder(hidden), ops.matmul(hidden, decoder.kernel)]))
    if not tied_before:
        transposed(decoder, encoder)
    x, y = floats(5, 4), floats(5, 4, seed=1)
    trained(model, x, y)

    def same(m: Any) -> Groups:
        (call,) = (node for nodes in m._nodes_by_depth.values() for node in nodes if node.operation.name == "matmul")
        given = call.arguments.args[1]
        return [*of_source("encoder", "decoder")(m), [m.get_layer("decoder").kernel, given]]

    return Case(model, x, y, same=same)


register("a_view_as_an_argument_of_an_operation", partial(_matmul, tied_before=True))
register("an_argument_of_an_operation_that_became_a_view", partial(_matmul, tied_before=False))


@case
def the_source_in_one_root_and_its_view_in_another() -> Case:
    encoder, decoder = layers.Dense(3, name="encoder"), layers.Dense(4, name="decoder")
    pixels, codes = keras.Input((4,), name="pixels"), keras.Input((3,), name="codes")
    models = {"a decoder": keras.Model(codes, decoder(codes)), "an encoder": keras.Model(pixels, encoder(pixels))}
    transposed(decoder, encoder)
    x = {"a decoder": floats(5, 3), "an encoder": floats(5, 4)}
    y = {"a decoder": floats(5, 4, seed=1), "an encoder": floats(5, 3, seed=1)}
    for name, model in models.items():
        trained(model, x[name], y[name])

    def same(m: Any) -> Groups:
        return [[m["a decoder"].get_layer("decoder").kernel.source, m["an encoder"].get_layer("encoder").kernel]]

    return Case(models, x, y, same=same)


# --- what belongs to the source ---------------------------------------------------------------------------


@case
def a_view_made_after_training_with_adam() -> Case:
    encoder, decoder = layers.Dense(3, activation="tanh", name="encoder"), layers.Dense(4, name="decoder")
    model, x, y = stack(encoder, decoder)
    trained(model, x, y)
    transposed(decoder, encoder)
    model.train_on_batch(x, y)
    return Case(model, x, y, same=of_source("encoder", "decoder"))


@case
def a_view_untied_after_training_with_adam() -> Case:
    model, x, y = autoencoder()
    third = layers.Dense(3, name="third")
    longer = keras.Model(model.inputs[0], third(model.outputs[0]), name="longer")
    tiedio.tie(third, model.get_layer("encoder"), weights=KERNEL)
    y = floats(5, 3, seed=1)
    trained(longer, x, y)
    tiedio.untie(model.get_layer("decoder"))
    longer.train_on_batch(x, y)
    return Case(longer, x, y, same=kernels("encoder", "third"), apart=kernels("encoder", "decoder"))


@case
def a_view_of_a_frozen_source() -> Case:
    model, x, y = autoencoder()
    model.get_layer("encoder").trainable = False
    trained(model, x, y)
    return Case(model, x, y, same=of_source("encoder", "decoder"))


@case
def a_frozen_layer_with_a_view_of_a_source_that_learns() -> Case:
    model, x, y = autoencoder()
    model.get_layer("decoder").trainable = False
    trained(model, x, y)
    return Case(model, x, y, same=of_source("encoder", "decoder"))


@case
def a_view_of_a_source_with_regularizer_and_constraint() -> Case:
    model, x, y = autoencoder(kernel_regularizer=keras.regularizers.L1L2(0.1, 0.2), kernel_constraint="max_norm")
    trained(model, x, y)
    return Case(model, x, y, same=of_source("encoder", "decoder"))


def _of_policy(policy: str) -> Case:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model, x, y = autoencoder()
        trained(model, x, y)
    finally:
        keras.config.set_dtype_policy(before)
    return Case(model, x, y, same=of_source("encoder", "decoder"))


for _policy in ("mixed_float16", "mixed_bfloat16", "bfloat16", "float64"):
    register(f"a_view_while_the_global_policy_was_{_policy}", partial(_of_policy, _policy))
