"""Keras's private names for configs and classes: these tests fail when Keras changes one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tiedio import keras_api

ONES = np.ones((2, 3), "float32")


class Own(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x


def functional() -> Any:
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(3)(inputs))


# --- configs ----------------------------------------------------------------------------------------------


def test_every_object_in_a_config_is_stamped_at_first_sight() -> None:
    inner = keras.layers.Dense(1)
    outer = keras.layers.TimeDistributed(inner)
    config = keras_api.stamped(lambda: {"a": outer, "b": [inner]})
    assert config["a"]["shared_object_id"] == id(outer)
    assert config["a"]["config"]["layer"]["shared_object_id"] == id(inner)
    assert config["b"][0]["shared_object_id"] == id(inner)
    assert keras_api.get_global("shared_objects/id_to_config_map") is None


def test_a_stamped_config_is_answered_with_the_object_that_is_known() -> None:
    inner = keras.layers.Dense(1)
    config: dict[str, Any] = {"class_name": "Dense", "module": "keras.layers", "registered_name": None, "config": {}}
    with keras_api.known_objects({"s": inner}):
        assert keras_api.deserialize({**config, "shared_object_id": "s"}, {}, True) is inner
    assert keras_api.get_global("shared_objects/id_to_obj_map") is None


def test_known_objects_are_forgotten_when_the_block_fails() -> None:
    with pytest.raises(KeyError), keras_api.known_objects({"s": 2}):
        raise KeyError
    assert keras_api.get_global("shared_objects/id_to_obj_map") is None


@pytest.mark.parametrize("safe_mode", [True, False])
def test_safe_mode_reaches_what_is_nested(safe_mode: bool) -> None:
    config = keras_api.stamped(lambda: keras.layers.Lambda(lambda x: 2 * x))
    if safe_mode:
        with pytest.raises(ValueError, match="ambda"):
            keras_api.deserialize(config, {}, True)
    else:
        assert np.array_equal(keras_api.deserialize(config, {}, False)(ONES), 2 * ONES)


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        (keras.layers.Dense, ("keras.layers", "Dense", None)),
        (keras.activations.relu, ("keras.activations", "relu", None)),
        (Own, (Own.__module__, "Own", "Own")),
    ],
)
def test_a_class_is_named_as_keras_names_it(symbol: Any, expected: tuple[str, str, str | None]) -> None:
    reference = keras_api.class_reference(symbol)
    assert (reference["module"], reference["class_name"], reference["registered_name"]) == expected
    if symbol is not keras.activations.relu:
        made = keras_api.stamped(lambda: symbol(3) if symbol is keras.layers.Dense else symbol())
        assert {key: made[key] for key in reference} == reference


def test_only_what_keras_exports_is_public() -> None:
    assert keras_api.public_symbol("keras.layers.Dense") is keras.layers.Dense
    assert keras_api.public_symbol("keras.layers.os") is None
    assert keras_api.public_symbol("os.system") is None


def test_an_overridden_method_is_told_from_an_inherited_one() -> None:
    class Configured(Own):
        def get_config(self) -> dict[str, Any]:
            return {}

        @classmethod
        def from_config(cls, config: Any) -> Any:
            return cls()

    assert keras_api.overrides(Configured(), "get_config")
    assert keras_api.overrides(Configured(), "from_config")
    assert not keras_api.overrides(Own(), "get_config")
    assert not keras_api.overrides(Own(), "from_config")
    assert keras_api.overrides(keras.layers.BatchNormalization(), "build", keras.layers.Layer)


def test_it_is_known_whether_a_config_is_being_stamped() -> None:
    seen: list[bool] = []

    class Looks(keras.layers.Layer):
        def get_config(self) -> Any:
            seen.append(keras_api.is_stamping())
            return super().get_config()

    keras_api.stamped(lambda: [keras.layers.TimeDistributed(Looks())])
    keras.saving.serialize_keras_object(Looks())
    assert seen == [True, False]


def test_the_base_config_is_that_of_a_plain_layer() -> None:
    dense = keras.layers.Dense(1, name="a", activity_regularizer="l2", dtype="mixed_float16")
    assert set(keras_api.base_config(dense)) == {"name", "trainable", "dtype", "activity_regularizer"}
    assert set(keras_api.base_config(functional())) == {"name", "trainable", "dtype"}


def test_a_policy_that_its_name_tells_is_that_name() -> None:
    policies = keras.dtype_policies
    plain = policies.DTypePolicy("mixed_float16")
    assert keras_api.plain_policy(policies.serialize(plain)) == keras_api.plain_policy(plain) == "mixed_float16"
    quantized = policies.get("int8_from_float32")
    assert keras_api.plain_policy(policies.serialize(quantized)) == quantized
    assert isinstance(keras_api.plain_policy(policies.DTypePolicyMap()), policies.DTypePolicyMap)
    assert keras_api.plain_policy("float32") == "float32"
    assert keras_api.plain_policy(None) is None
