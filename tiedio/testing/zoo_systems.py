"""The five systems that the library has to carry: C, S, T, R and H."""

from __future__ import annotations

from typing import Any

import keras

from tiedio.testing.zoo_base import Case, callers, case, floats, integers, share, trained
from tiedio.testing.zoo_layers import HyperConv, TiedLogits, TransposedDense

layers = keras.layers


def _two_convs(*, eager: bool = True, **second: Any) -> Case:
    """C. One kernel and one bias in two convolutions that look at the image differently."""
    images = keras.Input((8, 8, 1), name="images")
    a, b = layers.Conv2D(2, 3, padding="same", name="conv_a"), layers.Conv2D(2, 3, name="conv_b", **second)
    pooled = [layers.GlobalAveragePooling2D(name=f"pool_{one.name}")(one(images)) for one in (a, b)]
    model = keras.Model(images, layers.Dense(1, name="head")(layers.Concatenate(name="both")(pooled)), name="convs")
    for attr in ("_kernel", "bias"):
        share(b, attr, a)
    x, y = floats(4, 8, 8, 1), floats(4, 1, seed=1)
    trained(model, x, y, run_eagerly=eager, metrics=["mae"])

    def same(m: Any) -> list[list[Any]]:
        one, two = m.get_layer("conv_a"), m.get_layer("conv_b")
        return [[one.kernel, two.kernel], [one.bias, two.bias]]

    return Case(model, x, y, same=same)


@case
def two_convs_with_different_padding_share_kernel_and_bias() -> Case:
    # Not eager: this one stands for models whose steps are compiled.
    return _two_convs(padding="valid", eager=False)


@case
def two_convs_with_different_dilation_share_kernel_and_bias() -> Case:
    return _two_convs(padding="same", dilation_rate=2)


@case
def two_convs_with_different_strides_share_kernel_and_bias() -> Case:
    return _two_convs(padding="same", strides=2)


@case
def siamese_network_calls_one_lstm_on_two_inputs() -> Case:
    left, right = keras.Input((5, 3), name="left"), keras.Input((5, 3), name="right")
    lstm = layers.LSTM(4, name="lstm")
    merged = layers.Concatenate(name="merged")([lstm(left), lstm(right)])
    model = keras.Model([left, right], layers.Dense(1, activation="sigmoid", name="head")(merged), name="siamese")
    x, y = [floats(4, 5, 3), floats(4, 5, 3, seed=1)], integers(2, 4, 1)
    trained(model, x, y, loss="binary_crossentropy", optimizer="adam")

    def same(m: Any) -> list[list[Any]]:
        return [[m.get_layer("lstm"), *callers(m, "merged")]]

    return Case(model, x, y, same=same)


@case
def siamese_network_calls_one_xception_on_two_images() -> Case:
    left, right = keras.Input((71, 71, 3), name="left"), keras.Input((71, 71, 3), name="right")
    base = keras.applications.Xception(weights=None, include_top=False, pooling="avg", input_shape=(71, 71, 3))
    difference = layers.Subtract(name="difference")([base(left), base(right)])
    model = keras.Model([left, right], layers.Dense(1, name="head")(difference), name="images")
    x, y = [floats(1, 71, 71, 3), floats(1, 71, 71, 3, seed=1)], floats(1, 1)
    model.compile(optimizer=keras.optimizers.SGD(0.001), loss="mse", run_eagerly=True)

    def same(m: Any) -> list[list[Any]]:
        return [[m.get_layer("xception"), *callers(m, "difference")]]

    return Case(model, x, y, same=same)


@case
def tied_autoencoder_by_a_layer_that_refers_to_the_first() -> Case:
    inputs = keras.Input((6,), name="inputs")
    encoder = layers.Dense(3, activation="tanh", name="encoder")
    outputs = TransposedDense(encoder, name="decoder")(encoder(inputs))
    model = keras.Model(inputs, outputs, name="autoencoder")
    x = floats(4, 6)
    trained(model, x, x, run_eagerly=False, jit_compile=False)
    return Case(model, x, x, same=lambda m: [[m.get_layer("encoder"), m.get_layer("decoder").source]])


@case
def tied_autoencoder_in_a_sequential_model() -> Case:
    encoder = layers.Dense(3, name="encoder")
    model = keras.Sequential([keras.Input((6,)), encoder, TransposedDense(encoder, name="decoder")], name="auto")
    x = floats(4, 6)
    trained(model, x, x, optimizer=keras.optimizers.SGD(0.01, momentum=0.9))
    return Case(model, x, x, same=lambda m: [[m.layers[0], m.layers[1].source]])


@case
def a_layer_that_refers_to_the_first_comes_before_it() -> Case:
    inputs = keras.Input((3,), name="inputs")
    encoder = layers.Dense(3, name="encoder")
    encoder.build((None, 3))
    decoder = TransposedDense(encoder, name="decoder")
    model = keras.Model(inputs, encoder(decoder(inputs)), name="backwards")
    x = floats(4, 3)
    trained(model, x, x)
    return Case(model, x, x, same=lambda m: [[m.get_layer("encoder"), m.get_layer("decoder").source]])


@case
def one_layer_called_three_times() -> Case:
    inputs = keras.Input((5,), name="inputs")
    dense = layers.Dense(5, activation="tanh", name="dense")
    outputs = layers.Concatenate(name="calls")([once := dense(inputs), twice := dense(once), dense(twice)])
    model = keras.Model(inputs, layers.Dense(1, name="head")(outputs), name="thrice")
    x, y = floats(4, 5), floats(4, 1)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("dense"), *callers(m, "calls")]])


@case
def a_model_used_as_a_layer_twice() -> Case:
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    inner_inputs = keras.Input((3,), name="inner_inputs")
    hidden = layers.Dense(4, activation="relu", name="hidden")(inner_inputs)
    inner = keras.Model(inner_inputs, layers.Dense(2, name="out")(hidden), name="inner")
    model = keras.Model([a, b], layers.Add(name="sum")([inner(a), inner(b)]), name="outer")
    x, y = [floats(4, 3), floats(4, 3, seed=1)], floats(4, 2)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.get_layer("inner"), *callers(m, "sum")]])


@case
def masked_language_model_with_a_layer_that_refers_to_the_embedding() -> Case:
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    embedding = layers.Embedding(11, 4, mask_zero=True, name="embedding")
    hidden = layers.LayerNormalization(name="norm")(
        layers.LSTM(4, return_sequences=True, name="lstm")(embedding(tokens))
    )
    model = keras.Model(tokens, TiedLogits(embedding, name="logits")(hidden), name="language_model")
    x, y = integers(11, 3, 6), integers(11, 3, 6, seed=1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained(model, x, y, loss=loss)
    return Case(model, x, y, same=lambda m: [[m.get_layer("embedding"), m.get_layer("logits").source]])


@case
def masked_language_model_with_the_embedding_matrix_in_a_dense_kernel() -> Case:
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    embedding = layers.Embedding(4, 4, name="embedding")
    logits = layers.Dense(4, use_bias=False, name="logits")
    model = keras.Model(tokens, logits(layers.Dense(4, name="hidden")(embedding(tokens))), name="language_model")
    share(logits, "_kernel", embedding, "_embeddings")
    x, y = integers(4, 3, 6), integers(4, 3, 6, seed=1)
    trained(model, x, y, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def same(m: Any) -> list[list[Any]]:
        return [[m.get_layer("embedding").embeddings, m.get_layer("logits").kernel]]

    return Case(model, x, y, same=same)


@case
def masked_language_model_with_a_reversible_embedding() -> Case:
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    embedding = layers.ReversibleEmbedding(11, 4, name="embedding")
    hidden = layers.Dense(4, name="hidden")(embedding(tokens))
    logits = embedding(hidden, reverse=True)
    model = keras.Model(tokens, layers.Activation("linear", name="logits")(logits), name="language_model")
    x, y = integers(11, 3, 6), integers(11, 3, 6, seed=1)
    trained(model, x, y, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return Case(model, x, y, same=lambda m: [[m.get_layer("embedding"), *callers(m, "logits")]])


def _chain() -> tuple[Any, Any]:
    inputs = keras.Input((5,), name="inputs")
    x = inputs
    for index in range(4):
        x = layers.Dense(5, activation="tanh", name=f"dense_{index}")(x)
    return inputs, x


@case
def sub_models_from_the_middle_of_a_built_model() -> Case:
    whole = keras.Model(*_chain(), name="whole")
    start = keras.Model(whole.input, whole.get_layer("dense_1").output, name="start")
    middle = keras.Model(whole.get_layer("dense_1").input, whole.get_layer("dense_2").output, name="middle")
    x, y = floats(4, 5), floats(4, 5, seed=1)
    trained(whole, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [
            [
                m["whole"].get_layer("dense_1"),
                m["start"].get_layer("dense_1"),
                m["middle"].get_layer("dense_1"),
            ],
            [m["whole"].get_layer("dense_0"), m["start"].get_layer("dense_0")],
            [m["whole"].get_layer("dense_2"), m["middle"].get_layer("dense_2")],
        ]

    roots = {"whole": whole, "start": start, "middle": middle}
    return Case(roots, dict.fromkeys(roots, x), {"whole": y}, same=same)


@case
def one_sub_model_from_the_middle_saved_alone() -> Case:
    whole = keras.Model(*_chain(), name="whole")
    middle = keras.Model(whole.get_layer("dense_1").input, whole.get_layer("dense_2").output, name="middle")
    x, y = floats(4, 5), floats(4, 5, seed=1)
    trained(middle, x, y)
    return Case(middle, x, y, apart=lambda m: [[m.get_layer(name).kernel for name in ("dense_1", "dense_2")]])


@case
def a_model_split_in_the_middle_and_rejoined() -> Case:
    whole = keras.Model(*_chain(), name="whole")
    front = keras.Model(whole.input, whole.get_layer("dense_1").output, name="front")
    back = keras.Model(whole.get_layer("dense_2").input, whole.output, name="back")
    inputs = keras.Input((5,), name="again")
    joined = keras.Model(inputs, back(front(inputs)), name="joined")
    x, y = floats(4, 5), floats(4, 5, seed=1)
    trained(joined, x, y)

    def same(m: Any) -> list[list[Any]]:
        return [
            [m["whole"].get_layer("dense_0"), m["joined"].get_layer("front").get_layer("dense_0")],
            [m["whole"].get_layer("dense_3"), m["joined"].get_layer("back").get_layer("dense_3")],
        ]

    roots = {"whole": whole, "joined": joined}
    return Case(roots, dict.fromkeys(roots, x), {"joined": y}, same=same)


@case
def a_model_and_its_clone_share_nothing() -> Case:
    model = keras.Model(*_chain(), name="model")
    share(model.get_layer("dense_2"), "_kernel", model.get_layer("dense_1"))
    clone = keras.models.clone_model(model)
    x, y = floats(4, 5), floats(4, 5, seed=1)
    trained(model, x, y)

    def kernels(m: Any, index: int) -> list[Any]:
        return [m[name].get_layer(f"dense_{index}").kernel for name in ("model", "clone")]

    roots = {"model": model, "clone": clone}
    return Case(
        roots,
        dict.fromkeys(roots, x),
        {"model": y},
        same=lambda m: [[kernels(m, 1)[0], kernels(m, 2)[0]]],
        apart=lambda m: [kernels(m, 0), kernels(m, 1), [kernels(m, 1)[1], kernels(m, 2)[1]]],
    )


def _hyper(apply: Any) -> Case:
    """H. A convolution whose kernel and bias are the outputs of dense layers: activations, and no tie."""
    images = keras.Input((6, 6, 1), name="images")
    seen = layers.GlobalAveragePooling2D(name="seen")(images)
    kernel, bias = (layers.Dense(size, name=name)(seen) for name, size in (("kernel", 18), ("bias", 2)))
    kernel = keras.ops.reshape(keras.ops.mean(kernel, axis=0), (3, 3, 1, 2))
    outputs = apply(images, kernel, keras.ops.mean(bias, axis=0))
    model = keras.Model(images, layers.GlobalMaxPooling2D(name="out")(outputs), name="hyper")
    x, y = floats(2, 6, 6, 1), floats(2, 2)
    trained(model, x, y)

    def apart(m: Any) -> list[list[Any]]:
        return [[m.get_layer(name).kernel for name in ("kernel", "bias")]]

    return Case(model, x, y, apart=apart)


@case
def convolution_op_whose_kernel_and_bias_are_outputs_of_layers() -> Case:
    return _hyper(lambda x, kernel, bias: keras.ops.add(keras.ops.conv(x, kernel, padding="same"), bias))


@case
def convolution_layer_whose_kernel_and_bias_are_outputs_of_layers() -> Case:
    return _hyper(lambda x, kernel, bias: HyperConv(name="hyper_conv")(x, kernel=kernel, bias=bias))
