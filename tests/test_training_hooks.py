"""Models that compile in their own way are carried through Keras's hooks, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio.errors import ModelError

X = np.linspace(-1, 1, 6).reshape(2, 3).astype("float32")


def model(**options: Any) -> Any:
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(3, name="one"), keras.layers.Dense(3, name="other")], **options
    )


def filled(optimizer: Any, variables: list[Any]) -> Any:
    """The optimizer, built for these variables, with state of which no two numbers are equal."""
    optimizer.build(variables)
    count = 0
    for variable in optimizer.variables:
        size = int(np.prod(variable.shape))
        values = np.arange(count, count + size).reshape(variable.shape)
        variable.assign(keras.ops.cast(values, variable.dtype))
        count += size
    return optimizer


def state(optimizer: Any) -> dict[str, list[Any]]:
    """Values of the state by attribute, each list in the order of the variables that it was built for."""
    found: dict[str, list[Any]] = {}
    for name, value in vars(optimizer).items():
        items = value if isinstance(value, list) else [value]
        if name not in ("_variables", "_trainable_variables") and any(isinstance(v, keras.Variable) for v in items):
            found[name] = [None if v is None else np.array(v).tolist() for v in items]
    return found


def round_trip(made: Any, folder: Path, **options: Any) -> Any:
    tiedio.save(made, folder / "model.safetensors")
    return tiedio.load(folder / "model.safetensors", **options)


class CompilesItself(keras.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = keras.layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def compile(self, optimizer: Any, strength: float) -> None:
        super().compile(optimizer, "mse")
        self.strength = strength


class KeepsUnderAnotherName(CompilesItself):
    def compile(self, optimizer: Any, strength: float) -> None:
        super().compile(optimizer, strength)
        self.power = self.__dict__.pop("strength")


class TellsHow(CompilesItself):
    """The hooks as Keras's guide to saving and serialization writes them."""

    def compile(self, optimizer: Any, strength: float, distance: Any = None) -> None:
        super().compile(optimizer, strength)
        self.distance = distance or keras.losses.LogCosh(name="far")

    def get_compile_config(self) -> dict[str, Any]:
        return {
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
            "distance": keras.saving.serialize_keras_object(self.distance),
            "strength": self.strength,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        distance = keras.saving.deserialize_keras_object(config["distance"])
        self.compile(optimizer, config["strength"], distance)


class TellsHowShortly(TellsHow):
    """The hook that Keras's own model has."""

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))


def compiled(cls: type, strength: float = 0.75) -> Any:
    made = cls(name="mine")
    made(X)
    made.compile(keras.optimizers.SGD(momentum=0.5), strength)
    filled(made.optimizer, made.trainable_variables)
    return made


def test_a_compile_method_without_hooks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    made = compiled(KeepsUnderAnotherName)
    with pytest.raises(ModelError) as caught:
        tiedio.save(made, path)
    error = caught.value
    assert error.path == "the model"
    assert "compile_from_config" in str(error.expected)
    assert error.found == "KeepsUnderAnotherName.compile takes strength, which the model does not hold"
    assert "optimizer=False" in str(error.remedy)
    assert not path.exists()


def test_a_compile_method_whose_arguments_the_model_keeps_is_carried(tmp_path: Path) -> None:
    made = compiled(CompilesItself)
    loaded = round_trip(made, tmp_path, custom_objects={"CompilesItself": CompilesItself})
    assert loaded.strength == 0.75
    assert loaded.optimizer is not made.optimizer


@pytest.mark.parametrize("cls", [TellsHow, TellsHowShortly])
def test_a_compile_method_with_hooks_is_carried(tmp_path: Path, cls: type) -> None:
    made = compiled(cls)
    loaded = round_trip(made, tmp_path, custom_objects={cls.__name__: cls})
    assert loaded.strength == 0.75
    assert loaded.distance.name == "far"
    assert state(loaded.optimizer) == state(made.optimizer)
    assert loaded.optimizer._trainable_variables[0] is loaded.dense.kernel


def test_a_loss_that_cannot_be_described_is_named(tmp_path: Path) -> None:
    class Odd:
        def __call__(self, y: Any, prediction: Any) -> Any:
            return keras.ops.mean(prediction)

    made = model()
    made.compile("sgd", Odd())
    with pytest.raises(ModelError) as caught:
        round_trip(made, tmp_path)
    assert "@compile" in str(caught.value.path)
    assert "optimizer=False" in str(caught.value.remedy)
