"""The demo's two models, with their ties made by hand on built layers, as Keras users do it today."""

from __future__ import annotations

from typing import Any, Literal

import keras

Output = Literal["by hand", "reference", "operation"]
Pairs = tuple[tuple[Any, Any], ...]


def put_variable(layer: Any, attribute: str, variable: Any) -> None:
    """Replace a variable of a built layer by another layer's, in the way that Keras users pass around.

    Args:
        layer: a built Keras layer.
        attribute: where the layer holds its variable.
        variable: the `keras.Variable` to hold from now on.

    Example:
        >>> one, two = keras.layers.Dense(2), keras.layers.Dense(2)
        >>> one.build((None, 3)), two.build((None, 3))
        (None, None)
        >>> put_variable(two, "_kernel", one.kernel)
        >>> two.kernel is one.kernel
        True
    """
    layer._untrack_variable(getattr(layer, attribute))
    layer._tracker.unlock()  # a built layer takes no new variable otherwise
    setattr(layer, attribute, variable)
    layer._tracker.lock()


@keras.saving.register_keras_serializable(package="tiedio_demo")
class ReferringOutput(keras.layers.Layer):
    """Scores every token by the embedding matrix of a layer that it refers to, and serializes that reference.

    Args:
        embedding: the `keras.layers.Embedding` whose matrix scores the tokens.
        **kwargs: as for `keras.layers.Layer`.

    Example:
        >>> import numpy as np
        >>> embedding = keras.layers.Embedding(10, 4)
        >>> embedding.build()
        >>> tuple(ReferringOutput(embedding)(np.zeros((2, 3, 4))).shape)
        (2, 3, 10)
    """

    def __init__(self, embedding: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding = embedding

    def build(self, _: Any) -> None:
        """Make the bias; the matrix is the embedding's."""
        self.bias = self.add_weight(shape=(self.embedding.input_dim,), initializer="zeros", name="bias")

    def call(self, states: Any) -> Any:
        """Return scores, shape (windows, length, vocabulary), for states, shape (windows, length, width)."""
        return keras.ops.einsum("btd,vd->btv", states, self.embedding.embeddings) + self.bias

    def get_config(self) -> dict[str, Any]:
        """Return the configuration, the reference included."""
        return {**super().get_config(), "embedding": keras.saving.serialize_keras_object(self.embedding)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ReferringOutput:
        """Make the layer from its configuration."""
        return cls(keras.saving.deserialize_keras_object(config.pop("embedding")), **config)


def language_model(vocabulary: int, width: int, length: int, output: Output = "by hand") -> Any:
    """Build a masked language model whose output scores are taken with the embedding matrix.

    Args:
        vocabulary: number of tokens.
        width: size of a token's vector; even.
        length: tokens in a window.
        output: how the output comes by the matrix: put into a built layer by hand, through a custom layer
            that serializes its reference, or as a live variable passed to an operation.

    Returns:
        a compiled `keras.Model` from token numbers, shape (windows, length), to scores, shape
        (windows, length, vocabulary).

    Example:
        >>> model = language_model(vocabulary=20, width=4, length=8)
        >>> (one, other), = language_pairs(model)
        >>> one is other
        True
    """
    layers = keras.layers
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    embedding = layers.Embedding(vocabulary, width, name="embedding")
    states = embedding(tokens)
    nearby = layers.Conv1D(width, 5, padding="same", activation="gelu", name="nearby")(states)
    states = layers.LayerNormalization(name="norm_nearby")(states + nearby)
    attended = layers.MultiHeadAttention(2, width // 2, name="attention")(states, states)
    states = layers.LayerNormalization(name="norm_attention")(states + attended)
    if output == "reference":
        scores = ReferringOutput(embedding, name="output")(states)
    elif output == "operation":
        scores = keras.ops.einsum("btd,vd->btv", states, embedding.embeddings)
    else:
        # Its kernel has the embedding's own shape; the equation uses it transposed.
        scoring = layers.EinsumDense("btd,vd->btv", (length, vocabulary), bias_axes="v", name="output")
        scores = scoring(states)
        put_variable(scoring, "_kernel", embedding.embeddings)
    model = keras.Model(tokens, scores, name="language_model")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    # Compiling by XLA costs more here than it saves.
    model.compile(keras.optimizers.Adam(0.003), loss, weighted_metrics=["accuracy"], jit_compile=False)
    return model


def language_pairs(model: Any) -> Pairs:
    """Return the two variables that are one where the language model's tie is kept.

    Args:
        model: a model from `language_model`, made by hand, or loaded.

    Returns:
        one pair: the embedding's matrix and the output layer's kernel.

    Example:
        >>> len(language_pairs(language_model(20, 4, 8)))
        1
    """
    return ((model.get_layer("embedding").embeddings, model.get_layer("output").kernel),)


def two_convolutions(filters: int) -> Any:
    """Build an image classifier of two convolutions, near and wide, with one kernel and one bias.

    Args:
        filters: number of filters.

    Returns:
        a compiled `keras.Model` from images, shape (images, 8, 8, 1), to scores, shape (images, 10).

    Example:
        >>> [one is other for one, other in convolution_pairs(two_convolutions(2))]
        [True, True]
    """
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    near = layers.Conv2D(filters, 3, padding="same", activation="relu", name="near")
    wide = layers.Conv2D(filters, 3, padding="valid", dilation_rate=2, activation="relu", name="wide")
    seen_near = layers.Flatten(name="flat_near")(layers.MaxPooling2D(name="pool")(near(image)))
    seen_wide = layers.Flatten(name="flat_wide")(wide(image))
    scores = layers.Dense(10, name="scores")(layers.Concatenate(name="both")([seen_near, seen_wide]))
    put_variable(wide, "_kernel", near.kernel)
    put_variable(wide, "bias", near.bias)
    model = keras.Model(image, scores, name="two_convolutions")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.003), loss, weighted_metrics=["accuracy"], jit_compile=False)
    return model


def convolution_pairs(model: Any) -> Pairs:
    """Return the variables that are one, pair by pair, where the convolutions' ties are kept.

    Args:
        model: a model from `two_convolutions`, made or loaded.

    Returns:
        two pairs: the kernels and the biases.

    Example:
        >>> len(convolution_pairs(two_convolutions(2)))
        2
    """
    near, wide = model.get_layer("near"), model.get_layer("wide")
    return ((near.kernel, wide.kernel), (near.bias, wide.bias))
