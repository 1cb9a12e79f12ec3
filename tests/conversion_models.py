"""Models whose ties Keras's formats lose, and files of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tiedio

X = np.random.default_rng(0).normal(size=(16, 6, 6, 1)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


def two_convolutions(optimizer: Any = "adam", steps: int = 2) -> Any:
    """Two `Conv2D` of different padding that share kernel and bias, trained for some steps."""
    near, wide = (keras.layers.Conv2D(3, 3, padding=p, name=n) for p, n in (("same", "near"), ("valid", "wide")))
    inputs = keras.Input((6, 6, 1))
    pooled = [keras.layers.GlobalAveragePooling2D()(one(inputs)) for one in (near, wide)]
    outputs = keras.layers.Dense(2, name="head")(keras.layers.Concatenate()(pooled))
    model = keras.Model(inputs, outputs, name="pair")
    tiedio.tie(wide, near)
    if optimizer is not None:
        model.compile(optimizer, "mse", jit_compile=False)
        for _ in range(steps):
            model.train_on_batch(X, Y)
    return model


def autoencoder(optimizer: Any = "adam") -> Any:
    """A decoder whose kernel is the encoder's, transposed, as a view: Keras saves it untied or not at all."""
    encoder, decoder = keras.layers.Dense(5, name="encoder"), keras.layers.Dense(8, name="decoder")
    model = keras.Sequential([keras.Input((8,)), encoder, decoder], name="auto")
    decoder.kernel.assign(np.asarray(encoder.kernel).T)
    if optimizer is not None:
        model.compile(optimizer, "mse", jit_compile=False)
    return model


def saved(model: Any, path: Path) -> Path:
    """The file that Keras writes of a model; it warns of its older format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.name.endswith(".weights.h5"):
            model.save_weights(path)
        else:
            model.save(path)
    return path


def state(model: Any) -> dict[str, bytes]:
    """Every value of a model and its optimizer, bit by bit."""
    found = {f"{n} {v.path}": np.asarray(v).tobytes() for n, v in enumerate(model.weights)}
    optimizer = getattr(model, "optimizer", None)
    for n, variable in enumerate(optimizer.variables if optimizer is not None else ()):
        found[f"optimizer {n}"] = np.asarray(variable).tobytes()
    return found


def step(model: Any) -> dict[str, bytes]:
    """What a model is after one more step."""
    keras.utils.set_random_seed(7)
    model.train_on_batch(X, Y)
    return state(model)
