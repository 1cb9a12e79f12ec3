"""Classes that `tiedio.serializable` makes savable: their constructors take layers, models and variables."""

from __future__ import annotations

from typing import Any

import keras

from tiedio.serialization import serializable
from tiedio.testing.zoo_base import Case, case, floats, integers, share, trained

layers = keras.layers
_serializable = serializable(package="tiedio_zoo")


@_serializable
class TransposedOf(keras.layers.Layer):
    """A dense layer whose matrix is always the transpose of another dense layer's; it says nothing of configs."""

    def __init__(self, source: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source

    def call(self, inputs: Any) -> Any:
        return keras.ops.matmul(inputs, keras.ops.transpose(self.source.kernel))


@_serializable
class EmbeddingLogits(keras.layers.Layer):
    """A dense output layer over the matrix of an embedding."""

    def __init__(self, embedding: Any, use_bias: bool = True, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding = embedding
        self.use_bias = use_bias
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Any) -> None:
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.embedding.input_dim,), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        logits = keras.ops.matmul(inputs, keras.ops.transpose(self.embedding.embeddings))
        return self.activation(logits + self.bias if self.use_bias else logits)


@_serializable
class Chained(keras.layers.Layer):
    """Calls layers that it is given in a list, a tuple or a dict, which it takes to pieces."""

    def __init__(self, parts: Any, *more: Any, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = list(parts) if isinstance(parts, tuple) else parts
        self.more = list(more)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        for part in (*keras.tree.flatten(self.parts), *self.more):
            inputs = part(inputs)
        return inputs * self.scale


@_serializable
class KernelOf(keras.layers.Layer):
    """Multiplies with a variable, and adds variables of a list."""

    def __init__(self, kernel: Any, biases: Any = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.matrix = kernel
        self.biases = biases

    def call(self, inputs: Any) -> Any:
        outputs = keras.ops.matmul(inputs, self.matrix)
        for bias in self.biases:
            outputs = outputs + bias
        return outputs


class KernelOfTwice(KernelOf):
    """A subclass that is not decorated: another constructor, whose argument counts."""

    def __init__(self, source: Any, **kwargs: Any) -> None:
        super().__init__(source.kernel, [source.bias], **kwargs)

    def call(self, inputs: Any) -> Any:
        return super().call(super().call(inputs))


@_serializable
class Autoencoder(keras.Model):
    """A subclassed model that is given its parts."""

    def __init__(self, encoder: Any, decoder: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder = decoder

    def call(self, inputs: Any) -> Any:
        return self.decoder(self.encoder(inputs))


@_serializable
class Headed(keras.Model):
    """A functional model that its constructor makes around a model that it is given."""

    def __init__(self, base: Any, units: int = 2, **kwargs: Any) -> None:
        inputs = keras.Input(base.input.shape[1:], name="images")
        super().__init__(inputs, layers.Dense(units, name="head")(base(inputs)), **kwargs)
        self.base = base
        self.units = units


def _encoder(units: int = 3) -> Any:
    return layers.Dense(units, activation="tanh", name="encoder")


@case
def tied_autoencoder_by_a_layer_with_one_decorator_line() -> Case:
    inputs = keras.Input((6,), name="inputs")
    encoder = _encoder()
    model = keras.Model(inputs, TransposedOf(encoder, name="decoder")(encoder(inputs)), name="autoencoder")
    x = floats(4, 6)
    trained(model, x, x)
    return Case(model, x, x, same=lambda m: [[m.get_layer("encoder"), m.get_layer("decoder").source]])


@case
def masked_language_model_with_a_serializable_output_layer() -> Case:
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    embedding = layers.Embedding(11, 4, name="embedding")
    hidden = layers.LSTM(4, return_sequences=True, name="lstm")(embedding(tokens))
    outputs = EmbeddingLogits(embedding, activation=keras.activations.softmax, name="logits")(hidden)
    model = keras.Model(tokens, outputs, name="language_model")
    x, y = integers(11, 3, 6), integers(11, 3, 6, seed=1)
    trained(model, x, y, loss="sparse_categorical_crossentropy")
    return Case(model, x, y, same=lambda m: [[m.get_layer("embedding"), m.get_layer("logits").embedding]])


def _chained(parts: Any, *more: Any, **options: Any) -> Case:
    """A layer that takes its parts in any container; the first part stands beside it, too."""
    inputs = keras.Input((4,), name="inputs")
    first = keras.tree.flatten(parts)[0]
    model = keras.Model(inputs, Chained(parts, *more, name="chained", **options)(first(inputs)), name="model")
    x, y = floats(4, 4), floats(4, 4, seed=1)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        chained = m.get_layer("chained")
        return [[m.get_layer("first"), *keras.tree.flatten(chained.parts)[:1], *chained.more[:1]]]

    return Case(model, x, y, same=same)


def _dense(name: str) -> Any:
    return layers.Dense(4, activation="tanh", name=name)


@case
def a_serializable_layer_that_takes_a_list_of_layers() -> Case:
    return _chained([_dense("first"), _dense("second")], scale=0.5)


@case
def a_serializable_layer_that_takes_a_dict_of_layers() -> Case:
    return _chained({"a": _dense("first"), "b": [_dense("second"), (_dense("third"),)]})


@case
def a_serializable_layer_that_takes_layers_as_positional_arguments() -> Case:
    first = _dense("first")
    return _chained((first, _dense("second")), first, _dense("third"))


def _given_variables(make: Any, same: Any) -> Case:
    inputs = keras.Input((4,), name="inputs")
    source = _dense("source")
    hidden = source(inputs)
    model = keras.Model(inputs, make(source)(hidden), name="model")
    x, y = floats(4, 4), floats(4, 4, seed=1)
    trained(model, x, y)
    return Case(model, x, y, same=same)


@case
def a_serializable_layer_that_takes_a_variable() -> Case:
    return _given_variables(
        lambda source: KernelOf(source.kernel, name="given"),
        lambda m: [[m.get_layer("source").kernel, m.get_layer("given").matrix]],
    )


@case
def a_serializable_layer_that_takes_a_list_of_variables_twice() -> Case:
    def same(m: Any) -> list[list[Any]]:
        source, given = m.get_layer("source"), m.get_layer("given")
        return [[source.kernel, given.matrix], [source.bias, *given.biases]]

    return _given_variables(lambda source: KernelOf(source.kernel, [source.bias] * 2, name="given"), same)


@case
def a_serializable_layer_whose_variable_was_tied_to_another_one_later() -> Case:
    inputs = keras.Input((4,), name="inputs")
    source, other = _dense("source"), _dense("other")
    hidden = other(source(inputs))
    model = keras.Model(inputs, KernelOf(source.kernel, name="given")(hidden), name="model")
    share(source, "_kernel", other)
    x, y = floats(4, 4), floats(4, 4, seed=1)
    trained(model, x, y)

    def kernels(m: Any) -> list[list[Any]]:
        return [[m.get_layer("source").kernel, m.get_layer("other").kernel]]

    return Case(
        model, x, y, same=kernels, apart=lambda m: [[m.get_layer("source").kernel, m.get_layer("given").matrix]]
    )


@case
def a_subclass_of_a_serializable_layer_that_is_not_decorated() -> Case:
    built = _given_variables(
        lambda source: KernelOfTwice(source, name="given"),
        lambda m: [[m.get_layer("source").kernel, m.get_layer("given").matrix]],
    )
    return Case(
        built.model, built.inputs, built.targets, custom_objects={"KernelOfTwice": KernelOfTwice}, same=built.same
    )


@case
def a_serializable_layer_that_takes_a_model() -> Case:
    inputs = keras.Input((4,), name="inputs")
    inner_inputs = keras.Input((4,), name="inner_inputs")
    inner = keras.Model(inner_inputs, _dense("inside")(inner_inputs), name="inner")
    model = keras.Model(inputs, Chained([inner], inner, name="chained")(inner(inputs)), name="model")
    x, y = floats(4, 4), floats(4, 4, seed=1)
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        chained = m.get_layer("chained")
        return [[m.get_layer("inner"), chained.parts[0], chained.more[0]]]

    return Case(model, x, y, same=same)


@case
def serializable_layers_inside_each_other() -> Case:
    inputs = keras.Input((6,), name="inputs")
    encoder = _encoder()
    decoder = TransposedOf(encoder, name="decoder")
    nested = Chained([encoder, decoder], Chained({"again": encoder}, decoder, name="inner"), name="outer")
    model = keras.Model(inputs, nested(decoder(encoder(inputs))), name="model")
    x = floats(4, 6)
    trained(model, x, x)

    def same(m: Any) -> list[list[Any]]:
        outer, decoder = m.get_layer("outer"), m.get_layer("decoder")
        inner = outer.more[0]
        return [
            [m.get_layer("encoder"), decoder.source, outer.parts[0], inner.parts["again"]],
            [decoder, outer.parts[1], inner.more[0]],
        ]

    return Case(model, x, x, same=same)


@case
def a_serializable_model_that_takes_layers() -> Case:
    encoder = _encoder()
    model = Autoencoder(encoder, TransposedOf(encoder, name="decoder"), name="autoencoder")
    x = floats(4, 6)
    model(x)
    trained(model, x, x)
    return Case(model, x, x, same=lambda m: [[m.encoder, m.decoder.source]])


@case
def a_serializable_model_that_takes_models_saved_beside_one_of_them() -> Case:
    inputs, codes = keras.Input((6,), name="inputs"), keras.Input((3,), name="codes")
    encoder = _encoder()
    front = keras.Model(inputs, encoder(inputs), name="front")
    back = keras.Model(codes, TransposedOf(encoder, name="decoder")(codes), name="back")
    model = Autoencoder(front, back, name="autoencoder")
    x = floats(4, 6)
    model(x)
    trained(model, x, x)
    roots = {"whole": model, "front": front}

    def same(m: Any) -> list[list[Any]]:
        decoder = m["whole"].decoder.get_layer("decoder")
        return [[m["front"], m["whole"].encoder], [m["front"].get_layer("encoder"), decoder.source]]

    return Case(roots, dict.fromkeys(roots, x), {"whole": x}, same=same)


@case
def a_serializable_functional_model_around_a_model_that_it_takes() -> Case:
    inputs = keras.Input((4,), name="inputs")
    base = keras.Model(inputs, _dense("inside")(inputs), name="base")
    model = Headed(base, name="headed")
    x, y = floats(4, 4), floats(4, 2)
    trained(model, x, y)
    roots = {"headed": model, "base": base}
    return Case(
        roots,
        dict.fromkeys(roots, x),
        {"headed": y},
        same=lambda m: [[m["base"], m["headed"].base, m["headed"].get_layer("base")]],
    )
