"""Configs, names of classes, and Keras's global state while it serializes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tiedio.keras_api.classes import Layer, RandomInitializer, SafeModeScope, api_export, global_state, keras

get_global = global_state.get_global_attribute
set_global = global_state.set_global_attribute


def has_drawn_seed(value: Any) -> bool:
    """Whether this is an initializer that was given no seed, and drew one (`_init_seed`, Keras 3.15.1)."""
    return isinstance(value, RandomInitializer) and value._init_seed is None and isinstance(value.seed, int)


class NumpyFloat(float):
    """A NumPy float in a form that Keras's serialization passes through; it makes Python floats of all but float64."""

    number: np.floating[Any]


def _kept(value: Any) -> Any:
    """A config with its NumPy floats in a form that Keras does not change."""
    if isinstance(value, (list, tuple)):
        items = [_kept(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return {key: _kept(item) for key, item in value.items()}
    if isinstance(value, np.floating) and value.dtype != np.float64:
        wrapped = NumpyFloat(value)
        wrapped.number = value
        return wrapped
    return value


class _StampAll(dict[int, Any]):
    """Makes Keras stamp `shared_object_id` on every object it serializes, at the first sighting too."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: int) -> dict[str, Any]:
        return {}


@contextmanager
def global_attribute(name: str, value: Any) -> Iterator[None]:
    """Sets one of Keras's thread-local global attributes for the length of the block."""
    before = global_state.get_global_attribute(name)
    global_state.set_global_attribute(name, value)
    try:
        yield
    finally:
        global_state.set_global_attribute(name, before)


def stamped(get: Callable[[], Any]) -> Any:
    """What `get` returns, serialized by Keras, each object in it stamped with its identity."""
    with global_attribute("shared_objects/id_to_config_map", _StampAll()):
        return keras.saving.serialize_keras_object(_kept(get()))


def is_stamping() -> bool:
    """Whether the config that Keras is asking for is one that `stamped` returns."""
    return isinstance(global_state.get_global_attribute("shared_objects/id_to_config_map"), _StampAll)


def base_config(layer: Any) -> dict[str, Any]:
    """What the config of every layer says: its name, flag, dtype policy and activity regularizer, as they are now."""
    config: dict[str, Any] = Layer.get_config(layer)
    return config


def plain_policy(policy: Any) -> Any:
    """A dtype policy as `from_config` of Keras hands it to a constructor: by its name, if that says all."""
    if isinstance(policy, dict):
        policy = keras.dtype_policies.deserialize(policy)
    if not isinstance(policy, keras.dtype_policies.DTypePolicy) or isinstance(
        policy, keras.dtype_policies.DTypePolicyMap
    ):
        return policy
    return policy.name if policy.quantization_mode is None else policy


@contextmanager
def known_objects(objects: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block Keras answers a config stamped with a key of `objects` with that very object.

    What an outer block knows is known inside as well.
    """
    outer = global_state.get_global_attribute("shared_objects/id_to_obj_map") or {}
    with (
        global_attribute("shared_objects/id_to_obj_map", {**outer, **objects}),
        global_attribute("shared_objects/id_to_config_map", None),
    ):
        yield


@contextmanager
def knowing(custom_objects: Mapping[str, Any]) -> Iterator[None]:
    """A scope that knows these custom objects, and those of scopes around it: Keras's own hides them."""
    outer = global_state.get_global_attribute("custom_objects_scope_dict") or {}
    with keras.saving.custom_object_scope({**outer, **custom_objects}):
        yield


def deserialize(config: Any, custom_objects: dict[str, Any], safe_mode: bool) -> Any:
    """`keras.saving.deserialize_keras_object` under the caller's custom objects and safe mode."""
    with knowing(custom_objects), SafeModeScope(safe_mode):
        made = keras.saving.deserialize_keras_object(
            _outside(config), custom_objects=custom_objects, safe_mode=safe_mode
        )
    return _given_back(made)


def _outside(config: Any) -> Any:
    """A config with the NumPy floats that stand in no object's own config in a form that Keras revives."""
    if isinstance(config, dict):
        inside = "class_name" in config
        return config if inside else {key: _outside(item) for key, item in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_outside(item) for item in config) if type(config) in (list, tuple) else config
    return _kept(config)


def _given_back(value: Any) -> Any:
    if isinstance(value, NumpyFloat):
        return value.number
    if type(value) in (list, tuple):
        return type(value)(_given_back(item) for item in value)
    return {key: _given_back(item) for key, item in value.items()} if type(value) is dict else value


def class_reference(symbol: Any) -> dict[str, Any]:
    """How Keras names a class or function in a config: module, class name, registered name."""
    public = api_export.get_name_from_symbol(symbol)
    if public is not None:
        module, _, name = public.rpartition(".")
        return {"module": module, "class_name": name, "registered_name": None}
    module = symbol.__module__
    return {
        "module": None if module == "__main__" else module,
        "class_name": symbol.__name__,
        "registered_name": keras.saving.get_registered_name(symbol),
    }


def names_a_layer(config: Any) -> bool:
    """Whether a serialized object is a layer or model: something with weights of its own."""
    found = keras.saving.get_registered_object(config.get("registered_name") or "")
    if found is None:
        found = api_export.get_symbol_from_name(f"{config.get('module')}.{config['class_name']}")
    return config.get("build_config") is not None or (isinstance(found, type) and issubclass(found, Layer))


def public_symbol(name: str) -> Any:
    """The object that Keras exports as `name` (such as `keras.layers.Dense`), or `None`."""
    return api_export.get_symbol_from_name(name)
