"""One variable in two layers, for every kind of layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import keras

from tiedio.testing.zoo_base import Case, case, floats, integers, register, share, trained

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[str], Any]

layers = keras.layers


def _two_layers(make: Make, shape: tuple[int, ...], attrs: tuple[str, ...], owner: str = "") -> Case:
    """Two layers beside each other; the second (or its part `owner`) takes `attrs` from the first."""
    inputs = keras.Input(shape, name="inputs")
    pair = make("one"), make("two")
    attends = isinstance(pair[0], (layers.MultiHeadAttention, layers.AdditiveAttention))
    outputs = [
        one([inputs, inputs])
        if isinstance(one, layers.AdditiveAttention)
        else one(inputs, inputs)
        if attends
        else one(inputs)
        for one in pair
    ]
    both = [layers.Flatten(name=f"flat_{index}")(x) for index, x in enumerate(outputs)]
    model = keras.Model(inputs, layers.Dense(1, name="head")(layers.Concatenate(name="both")(both)), name="model")
    owners = [getattr(one, owner) if owner else one for one in pair]
    for attr in attrs:
        share(owners[1], attr, owners[0])
    x, y = floats(4, *shape), floats(4, 1)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        found = [m.get_layer(name) for name in ("one", "two")]
        return [[getattr(getattr(one, owner) if owner else one, attr) for one in found] for attr in attrs]

    return Case(model, x, y, same=same)


def _kind(name: str, make: Make, shape: tuple[int, ...], *attrs: str, owner: str = "") -> None:
    register(f"one_variable_in_two_{name}", partial(_two_layers, make, shape, attrs, owner))


_kind("dense_kernels", lambda name: layers.Dense(3, name=name), (4,), "_kernel")
_kind("dense_biases", lambda name: layers.Dense(3, name=name), (4,), "bias")
_kind("einsum_dense_kernels", lambda name: layers.EinsumDense("ab,bc->ac", 3, name=name), (4,), "_kernel")
_kind("conv_1d_kernels", lambda name: layers.Conv1D(2, 3, name=name), (6, 2), "_kernel")
_kind("conv_3d_biases", lambda name: layers.Conv3D(2, 2, name=name), (3, 3, 3, 1), "bias")
_kind("conv_transpose_kernels", lambda name: layers.Conv2DTranspose(2, 2, name=name), (3, 3, 2), "kernel")
_kind("depthwise_conv_kernels", lambda name: layers.DepthwiseConv2D(2, name=name), (4, 4, 2), "kernel")
_kind(
    "separable_conv_kernels",
    lambda name: layers.SeparableConv2D(2, 2, name=name),
    (4, 4, 2),
    "pointwise_kernel",
    "depthwise_kernel",
)
_kind("simple_rnn_cells", lambda name: layers.SimpleRNN(3, name=name), (4, 2), "recurrent_kernel", owner="cell")
_kind("lstm_cells", lambda name: layers.LSTM(3, name=name), (4, 2), "kernel", "bias", owner="cell")
_kind("gru_cells", lambda name: layers.GRU(3, name=name), (4, 2), "recurrent_kernel", "kernel", owner="cell")
_kind("conv_lstm_cells", lambda name: layers.ConvLSTM1D(2, 2, name=name), (3, 4, 1), "kernel", owner="cell")
_kind("batch_norm_gammas", lambda name: layers.BatchNormalization(name=name), (4,), "gamma")
_kind("batch_norm_moving_means", lambda name: layers.BatchNormalization(name=name), (4,), "moving_mean")
_kind(
    "batch_norm_gammas_and_moving_means",
    lambda name: layers.BatchNormalization(name=name, momentum=0.5),
    (4,),
    "gamma",
    "moving_mean",
)
_kind("layer_norm_betas", lambda name: layers.LayerNormalization(name=name), (4,), "beta")
_kind("group_norm_gammas", lambda name: layers.GroupNormalization(2, name=name), (4,), "gamma")
_kind("rms_norm_scales", lambda name: layers.RMSNormalization(name=name), (4,), "scale")
_kind("prelu_alphas", lambda name: layers.PReLU(name=name), (4,), "alpha")
_kind(
    "attention_query_kernels",
    lambda name: layers.MultiHeadAttention(2, 2, name=name),
    (3, 4),
    "_kernel",
    "bias",
    owner="_query_dense",
)
_kind("additive_attention_scales", lambda name: layers.AdditiveAttention(name=name), (3, 4), "scale")


@case
def one_variable_in_two_embeddings() -> Case:
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    one, two = layers.Embedding(9, 3, name="one"), layers.Embedding(9, 3, name="two", mask_zero=True)
    pooled = layers.GlobalAveragePooling1D(name="pooled")(layers.Add(name="sum")([one(tokens), two(tokens)]))
    model = keras.Model(tokens, layers.Dense(1, name="head")(pooled), name="model")
    share(two, "_embeddings", one)
    x, y = integers(9, 4, 5), floats(4, 1)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer(name).embeddings for name in ("one", "two")]])


@case
def one_variable_as_embedding_and_as_dense_kernel_and_as_einsum_kernel() -> Case:
    tokens, numbers = keras.Input((5,), dtype="int32", name="tokens"), keras.Input((9,), name="numbers")
    embedding = layers.Embedding(9, 3, name="embedding")
    dense, einsum = layers.Dense(3, name="dense"), layers.EinsumDense("ab,bc->ac", 3, name="einsum")
    seen = layers.GlobalAveragePooling1D(name="seen")(embedding(tokens))
    outputs = layers.Add(name="sum")([seen, dense(numbers), einsum(numbers)])
    model = keras.Model([tokens, numbers], outputs, name="model")
    # The embedding comes last in this direction: the variable that is kept was made by a layer further down.
    share(embedding, "_embeddings", dense, "_kernel")
    share(einsum, "_kernel", dense)
    x, y = [integers(9, 4, 5), floats(4, 9)], floats(4, 3)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [[m.get_layer("embedding").embeddings, m.get_layer("dense").kernel, m.get_layer("einsum").kernel]]

    return Case(model, x, y, same=same)


@case
def query_and_key_kernels_of_one_attention_layer_are_one() -> Case:
    inputs = keras.Input((3, 4), name="inputs")
    attention = layers.MultiHeadAttention(2, 2, name="attention")
    pooled = layers.GlobalAveragePooling1D(name="pooled")(attention(inputs, inputs, use_causal_mask=True))
    model = keras.Model(inputs, layers.Dense(1, name="head")(pooled), name="model")
    share(attention._key_dense, "_kernel", attention._query_dense)
    x, y = floats(4, 3, 4), floats(4, 1)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        found = m.get_layer("attention")
        return [[found._query_dense.kernel, found._key_dense.kernel]]

    return Case(model, x, y, same=same)


@case
def forward_and_backward_cells_of_one_bidirectional_share_a_kernel() -> Case:
    inputs = keras.Input((4, 2), name="inputs")
    both = layers.Bidirectional(layers.GRU(3, name="gru"), name="both_ways")
    model = keras.Model(inputs, layers.Dense(1, name="head")(both(inputs)), name="model")
    share(both.backward_layer.cell, "recurrent_kernel", both.forward_layer.cell)
    x, y = floats(4, 4, 2), floats(4, 1)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        found = m.get_layer("both_ways")
        return [[found.forward_layer.cell.recurrent_kernel, found.backward_layer.cell.recurrent_kernel]]

    return Case(model, x, y, same=same)
