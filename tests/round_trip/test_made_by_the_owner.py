"""Parts that an owner's constructor makes come back although their own configs tell nothing, or only once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio import keras_api
from tiedio.errors import ModelError
from tiedio.testing import assert_round_trip

ONES = np.ones((2, 3), "float32")


class Scale(keras.layers.Layer):
    """Has no `get_config`: Keras notes its arguments, as long as they are plain."""

    def __init__(self, by: float, **options: Any) -> None:
        super().__init__(**options)
        self.by = by

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(input_shape[-1],))

    def call(self, x: Any) -> Any:
        return x * self.kernel * self.by


class Silent(Scale):
    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "by": self.no_such_attribute}


@keras.saving.register_keras_serializable("made")
class Owner(keras.Model):
    """Hands its dtype on: nothing when the user makes it, a policy when its config does."""

    def __init__(self, part: str = "scale", dtype: Any = None, **options: Any) -> None:
        inputs = keras.Input((3,))
        self.part_name = part
        layer = {"scale": Scale, "silent": Silent}[part](2.0, dtype=dtype, name="part")
        outputs = layer(inputs)
        super().__init__(inputs, outputs, **options)
        self.part_layer = layer
        self.ids = {id(layer), *(id(one) for one in self.layers)}

    def get_config(self) -> dict[str, Any]:
        policy = keras.dtype_policies.serialize(self.part_layer.dtype_policy)
        return {"name": self.name, "part": self.part_name, "dtype": policy}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "dtype": keras.dtype_policies.get(config["dtype"])})


@pytest.mark.parametrize("part", ["scale", "silent"])
def test_a_part_without_a_config_of_its_own_loads_as_one_object(part: str, tmp_path: Path) -> None:
    model = Owner(part)
    model.compile("adam", "mse", run_eagerly=True)
    loaded = assert_round_trip(model, inputs=ONES, targets=ONES, folder=tmp_path)
    assert loaded.part_layer is loaded.get_layer("part")
    assert loaded.part_layer.kernel is loaded.trainable_variables[0]
    assert loaded.part_layer.kernel is not model.part_layer.kernel


def test_a_set_of_ids_of_layers_is_compared_by_the_layers_it_stands_for(tmp_path: Path) -> None:
    model = Owner()
    tiedio.save(model, tmp_path / "ids.safetensors")
    model.ids.discard(id(model.part_layer))
    with pytest.raises(ModelError, match="ids"):
        tiedio.save(model, tmp_path / "ids.safetensors")


def test_a_config_that_fails_is_told_where_the_object_has_to_be_made_from_it(tmp_path: Path) -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Silent(2.0, name="part")(inputs))
    with pytest.raises(ModelError, match=r"part: get_config fails.*no_such_attribute.*mend get_config of Silent"):
        tiedio.save(model, tmp_path / "silent.safetensors")


def test_what_keras_noted_of_the_arguments_is_set_without_the_name() -> None:
    layer = Scale(2.0, dtype=keras.DTypePolicy("float32"))
    assert keras_api.auto_config(layer) is None
    keras_api.set_auto_config(layer, {"name": "scale", "by": 2.0, "dtype": None})
    assert keras_api.auto_config(layer) == {"by": 2.0, "dtype": None} == keras_api.auto_config(Scale(2.0, dtype=None))
    assert layer.get_config()["by"] == 2.0
