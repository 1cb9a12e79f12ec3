"""What Keras or safetensors cannot bring back is refused by name, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.quantizers import AWQConfig, GPTQConfig

import tiedio
from tiedio.errors import ModelError
from tiedio.manifest import SAFETENSORS_CODES
from tiedio.testing import zoo_dtypes

X = np.ones((2, 4), "float32")


def model(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((4,)), *layers], name="model")


def refused(made: Any, folder: Path) -> ModelError:
    path = folder / "model.safetensors"
    with pytest.raises(ModelError) as caught:
        tiedio.save(made, path)
    assert list(folder.iterdir()) == []
    assert caught.value.remedy
    return caught.value


@keras.saving.register_keras_serializable("test_refused")
class Holds(keras.layers.Layer):
    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.kind = kind

    def build(self, input_shape: Any) -> None:
        self.held = self.add_weight(shape=(2,), dtype=self.kind, trainable=False, name="held", initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind}


def test_the_zoo_has_a_variable_of_every_dtype_that_can_be_stored() -> None:
    assert sorted(zoo_dtypes.DTYPES) == sorted(SAFETENSORS_CODES)


def test_a_variable_of_a_dtype_that_safetensors_lacks(tmp_path: Path) -> None:
    error = refused(model(Holds("complex128", name="wide")), tmp_path)
    assert (error.path, error.found) == ("wide/held", "complex128")


class Tokens:
    def tokenize(self, _text: str) -> list[int]:
        return [1, 2]


@pytest.mark.parametrize(("mode", "config"), [("gptq", GPTQConfig), ("awq", AWQConfig)])
def test_a_quantization_that_waits_for_data(tmp_path: Path, mode: str, config: Any) -> None:
    made = model(keras.layers.Dense(4, name="one"))
    settings = {"dataset": None, "tokenizer": None, "weight_bits": 4, "num_samples": 1, "sequence_length": 4}
    made.layers[0].quantize(mode, config=config(**settings, group_size=2))
    # Keras makes no kernel for such a layer when it makes it from its config.
    assert refused(made, tmp_path).path == "one/kernel"


@pytest.mark.parametrize(("mode", "config"), [("gptq", GPTQConfig), ("awq", AWQConfig)])
def test_a_quantization_whose_config_holds_the_layer_itself(tmp_path: Path, mode: str, config: Any) -> None:
    made = model(keras.layers.Dense(4, name="one"))
    structure = {"pre_block_layers": [], "sequential_blocks": [made.layers[0]]}
    settings = {"dataset": [X[:1]], "tokenizer": Tokens(), "weight_bits": 4, "num_samples": 1, "sequence_length": 4}
    config = config(**settings, group_size=2, quantization_layer_structure=structure)
    made.quantize(mode, config=config, filters="one")
    error = refused(made, tmp_path)
    assert error.path == "one"
    assert "get_config fails" in error.what


def test_a_metric_whose_own_config_keras_cannot_read(tmp_path: Path) -> None:
    made = model(keras.layers.Dense(3))
    metric = keras.metrics.AUC(multi_label=True, num_labels=3, label_weights=[0.1, 0.2, 0.3])
    made.compile("sgd", "mse", metrics=[metric])
    error = refused(made, tmp_path)
    assert "AUC" in str(error.found)
    assert "optimizer=False" in str(error.remedy)
