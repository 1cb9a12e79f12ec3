"""Small models that the tests of ties share."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

X = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")


def paths(variables: Any) -> list[str]:
    """Layer and name of each variable: Keras puts the name of a `Sequential` before it."""
    return ["/".join(variable.path.split("/")[-2:]) for variable in variables]


def raw(*variables: Any) -> list[bytes]:
    return [np.array(variable).tobytes() for variable in variables]


def chain(*inside: Any, width: int = 6, compiled: bool = True) -> keras.Sequential:
    model = keras.Sequential([keras.Input((width,)), *inside])
    if compiled:
        model.compile("adam", "mse")
    return model


def twins(**options: Any) -> tuple[keras.Sequential, layers.Dense, layers.Dense]:
    a, b = layers.Dense(6, name="a"), layers.Dense(6, name="b", **options)
    return chain(a, b), a, b


def autoencoder() -> tuple[keras.Sequential, layers.Dense, layers.Dense]:
    encoder, decoder = layers.Dense(3, name="encoder"), layers.Dense(6, name="decoder")
    return chain(encoder, decoder), encoder, decoder
