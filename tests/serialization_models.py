"""Classes and steps that the tests of `tiedio.serializable` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

import tiedio

X = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")


@tiedio.serializable(package="tests")
class Transposed(keras.layers.Layer):
    def __init__(self, source: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source

    def call(self, x: Any) -> Any:
        return keras.ops.matmul(x, keras.ops.transpose(self.source.kernel))


@tiedio.serializable(package="tests")
class Keeps(keras.layers.Layer):
    """Keeps whatever it is given in an attribute of another name."""

    def __init__(self, value: Any, *, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.held = value
        self.scale = scale

    def call(self, x: Any) -> Any:
        return x * self.scale


def chain(*parts: Any, width: int = 6) -> Any:
    return keras.Sequential([keras.Input((width,)), *parts], name="chain")


def came_back(model: Any, path: Path, **options: Any) -> Any:
    tiedio.save(model, path)
    loaded = tiedio.load(path, **options)
    again = path.with_name("again.safetensors")
    tiedio.save(loaded, again)
    assert again.read_bytes() == path.read_bytes()
    return loaded


def given(layer: Any) -> dict[str, Any]:
    """What a config says beside the four that every layer's says."""
    base = ("name", "trainable", "dtype", "activity_regularizer")
    return {name: item for name, item in layer.get_config().items() if name not in base}
