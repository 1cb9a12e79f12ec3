"""Data of width six, and a compiled model of some layers over it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

X = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")
Y = np.linspace(0, 1, 24).reshape(4, 6).astype("float32")


def sequential(*parts: Any, **options: Any) -> Any:
    model = keras.Sequential([keras.Input((6,)), *parts])
    model.compile(**{"optimizer": "sgd", "loss": "mse", **options})
    return model
