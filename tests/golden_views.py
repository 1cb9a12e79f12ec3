"""Golden models of what format 3 brought: each with its inputs, and groups of things that are one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import tiedio
from tiedio.testing.zoo_base import floats, integers, trained

layers = keras.layers
Made = tuple[Any, Any, Callable[[Any], list[list[Any]]]]


def view_autoencoder() -> Made:
    inputs = keras.Input((6,), name="inputs")
    encoder, decoder = layers.Dense(3, activation="tanh", name="encoder"), layers.Dense(6, name="decoder")
    model = keras.Model(inputs, decoder(encoder(inputs)), name="autoencoder")
    tiedio.tie(decoder, encoder, weights=["kernel"], view=tiedio.transpose())
    x = floats(4, 6)
    trained(model, x, x)
    return model, x, lambda m: [[m.get_layer("encoder").kernel, m.get_layer("decoder").kernel.source]]


def views_of_one_matrix() -> Made:
    """An embedding matrix in another shape, a part of it and its transpose, which is in a layer and in the graph."""
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    embedding, conv = layers.Embedding(6, 4, name="embedding"), layers.Conv1D(3, 2, name="conv")
    part, logits = layers.Dense(4, activation="tanh", name="part"), layers.Dense(6, name="logits")
    hidden = part(conv(embedding(tokens)))
    logits.build(hidden.shape)
    tiedio.tie(conv, embedding, weights={"kernel": "embeddings"}, view=tiedio.reshape((2, 4, -1)))
    tiedio.tie(part, embedding, weights={"kernel": "embeddings"}, view=tiedio.slice((2, 0), (3, -1)))
    tiedio.tie(logits, embedding, weights={"kernel": "embeddings"}, view=tiedio.transpose())
    outputs = keras.ops.add(logits(hidden), keras.ops.matmul(hidden, logits.kernel))
    model = keras.Model(tokens, outputs, name="words")
    x = integers(6, 4, 5)
    trained(model, x, floats(4, 4, 6, seed=1), optimizer=keras.optimizers.SGD(0.1, momentum=0.9))

    def same(m: Any) -> list[list[Any]]:
        matmul = next(one for one in m.operations if one.name == "matmul")
        kernel = m.get_layer("logits").kernel
        viewing = [m.get_layer(name).kernel.source for name in ("conv", "part", "logits")]
        return [[m.get_layer("embedding").embeddings, *viewing], [kernel, matmul._inbound_nodes[0].arguments.args[1]]]

    return model, x, same


def three_slots() -> Made:
    inputs = keras.Input((4,), name="inputs")
    one, two, turned, turned_too = (
        layers.Dense(4, activation="tanh", name=name) for name in ("one", "two", "turned", "turned_too")
    )
    model = keras.Sequential([inputs, one, two, turned, turned_too, layers.Dense(1, name="head")], name="three")
    tiedio.tie(two, one)
    tiedio.tie(turned, one, weights=["kernel"], view=tiedio.transpose())
    tiedio.tie(turned, one, weights=["bias"])
    tiedio.tie(turned_too, turned, weights=["kernel"])
    x = floats(4, 4)
    trained(model, x, floats(4, 1, seed=1))

    def same(m: Any) -> list[list[Any]]:
        one, two, turned, turned_too, _head = m.layers
        return [[one.kernel, two.kernel, turned.kernel.source], [one.bias, two.bias, turned.bias],
                [turned.kernel, turned_too.kernel]]  # fmt: skip

    return model, x, same


@tiedio.serializable(package="golden")
class Features(keras.layers.Layer):
    """Is given a variable and a narrow number, and draws its own numbers whenever it is called."""

    def __init__(self, matrix: Any, scale: Any, **options: Any) -> None:
        super().__init__(**options)
        self.matrix, self.scale = matrix, scale
        self.features = keras.initializers.RandomNormal(stddev=0.5)

    def call(self, inputs: Any) -> Any:
        drawn = self.features((4, 4), "float32")
        return keras.ops.matmul(inputs, self.matrix + drawn) * float(self.scale)


def constructor_arguments() -> Made:
    inputs = keras.Input((4,), name="inputs")
    dense = layers.Dense(4, activation="tanh", name="dense")
    hidden = dense(inputs)
    features = Features(dense.kernel, np.float32(0.5), name="features")
    model = keras.Model(inputs, layers.Dense(1, name="head")(features(hidden)), name="given")
    x = floats(4, 4)
    trained(model, x, floats(4, 1, seed=1))
    return model, x, lambda m: [[m.get_layer("dense").kernel, m.get_layer("features").matrix]]


VIEWS: dict[str, Callable[[], Made]] = {
    build.__name__: build for build in (view_autoencoder, views_of_one_matrix, three_slots, constructor_arguments)
}
