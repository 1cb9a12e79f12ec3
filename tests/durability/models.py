"""Two versions of one model, with ties and an optimizer's state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

import tiedio


def build(version: int, width: int = 320) -> Any:
    """A trained model: two convolutions share kernel and bias, two wide layers share a kernel."""
    keras.utils.set_random_seed(version)
    inputs = keras.Input((8, 8, 1))
    near = keras.layers.Conv2D(4, 3, padding="same", name="near")
    far = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=2, name="far")
    first, second = keras.layers.Dense(width, name="first"), keras.layers.Dense(width, name="second")
    x = keras.layers.Add(name="sum")([near(inputs), far(inputs)])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = first(keras.layers.Dense(width, name="wide")(x))
    model = keras.Model(inputs, second(x), name="model")
    tiedio.tie(far, near)
    tiedio.tie(second, first, weights=["kernel"])
    model.compile(keras.optimizers.Adam(0.01 * version), "mse", run_eagerly=True)
    model.train_on_batch(np.ones((2, 8, 8, 1), "float32"), np.ones((2, width), "float32"))
    return model


def values(model: Any) -> dict[str, bytes]:
    """Every value, of the weights and of the optimizer."""
    return {v.path: np.array(v).tobytes() for v in (*model.variables, *model.optimizer.variables)}


def assert_tied(model: Any) -> None:
    """Fails unless the ties are there."""
    near, far, first, second = (model.get_layer(name) for name in ("near", "far", "first", "second"))
    assert far.kernel is near.kernel
    assert far.bias is near.bias
    assert second.kernel is first.kernel
    assert second.bias is not first.bias


def save_versions(folder: Path, width: int = 320) -> tuple[Path, Path]:
    """Saves both versions as files of their own."""
    paths = folder / "old.safetensors", folder / "new.safetensors"
    for version, path in enumerate(paths, 1):
        tiedio.save(build(version, width), path)
    return paths
