"""What no table can describe is refused with its place before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio.errors import ModelError


def built(name: str) -> Any:
    layer = keras.layers.Dense(3, name=name)
    layer.build((None, 3))
    return layer


def refused(model: Any, folder: Path) -> ModelError:
    path = folder / "model.safetensors"
    with pytest.raises(ModelError) as caught:
        tiedio.save(model, path)
    assert list(folder.iterdir()) == []
    error = caught.value
    for part in ("path", "expected", "found", "remedy"):
        assert getattr(error, part), f"no {part} in: {error}"
        assert str(getattr(error, part)).rstrip(".") in str(error)
    return error


class NeedsAnObject(keras.layers.Layer):
    """Its argument is no plain value, and there is no `get_config` to say how to bring it back."""

    def __init__(self, inner: Any, **options: Any) -> None:
        super().__init__(**options)
        self.inner = inner

    def call(self, x: Any) -> Any:
        return self.inner(x)


def test_a_missing_get_config_is_named_with_its_class(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), NeedsAnObject(built("inner"), name="needs")])
    error = refused(model, tmp_path)
    assert error.path == "needs"
    assert "NeedsAnObject" in str(error)
    assert "get_config" in str(error.remedy)


@pytest.mark.parametrize(
    "value", [object(), np.dtype("float32"), {1, 2}, b"\xff", range(3)], ids=lambda v: type(v).__name__
)
def test_a_config_with_a_value_that_cannot_be_stored(tmp_path: Path, value: Any) -> None:
    class Odd(keras.layers.Layer):
        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "odd": value}

        def call(self, x: Any) -> Any:
            return x

    error = refused(keras.Sequential([keras.Input((3,)), Odd(name="odd")]), tmp_path)
    assert error.path == "odd"


@pytest.mark.parametrize("error", [ValueError("mine"), KeyError("mine"), AttributeError("mine"), RuntimeError("mine")])
def test_a_get_config_that_fails_is_told_with_its_place(tmp_path: Path, error: Exception) -> None:
    class Fails(keras.layers.Layer):
        def get_config(self) -> dict[str, Any]:
            raise error

        def call(self, x: Any) -> Any:
            return x

    told = refused(keras.Sequential([keras.Input((3,)), Fails(name="fails")]), tmp_path)
    assert told.path == "fails"
    assert "mine" in str(told)


def test_two_classes_with_one_registered_name(tmp_path: Path) -> None:
    def make() -> Any:
        class Twin(keras.layers.Layer):
            def call(self, x: Any) -> Any:
                return x

        return Twin()

    error = refused(keras.Sequential([keras.Input((3,)), make(), make()]), tmp_path)
    assert "Twin" in str(error.path)
    assert str(error.found).count("Twin") == 2
    assert "register" in str(error.remedy)
