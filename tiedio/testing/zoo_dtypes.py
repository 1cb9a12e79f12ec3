"""Dtype policies, of the whole model and of single layers, and variables of every dtype, scalar and empty ones too."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from tiedio.testing.zoo_base import Case, case, register, share, trained
from tiedio.testing.zoo_places import kernels, stack

layers = keras.layers

DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "bfloat16", "float32",
    "float64", "float8_e4m3fn", "float8_e5m2", "complex64",
)  # fmt: skip
"""The dtypes of variables that Keras and safetensors both have."""


@keras.saving.register_keras_serializable(package="tiedio_zoo")
class EveryDtype(keras.layers.Layer):
    """A layer with variables of every dtype: some numbers, a scalar, and an empty one."""

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(input_shape[-1], input_shape[-1]), name="kernel")
        self.numbers = {dtype: self._counting(dtype, (5,)) for dtype in DTYPES}
        self.scalars = {dtype: self._counting(dtype, ()) for dtype in DTYPES}
        self.empty = [self._counting(dtype, (0, 2)) for dtype in DTYPES]

    def _counting(self, dtype: str, shape: tuple[int, ...]) -> Any:
        def count(shape: Any, dtype: Any) -> Any:
            size = 5 if shape == (5,) else 0
            values = keras.ops.arange(1, size + 1, dtype="float32") if size else keras.ops.full(shape, 3, "float32")
            return keras.ops.cast(values, dtype)

        return self.add_weight(shape=shape, dtype=dtype, initializer=count, trainable=False, name=f"counts_{dtype}")

    def call(self, inputs: Any) -> Any:
        scale = keras.ops.cast(self.scalars["int8"], inputs.dtype)
        return keras.ops.matmul(inputs, keras.ops.cast(self.kernel, inputs.dtype)) * scale


@case
def variables_of_every_dtype_in_two_layers() -> Case:
    model, x, y = stack(EveryDtype(name="one"), EveryDtype(name="two"))
    one, two = model.layers[1:]
    share(two, "kernel", one)
    for places in ("numbers", "scalars"):
        for dtype in DTYPES[::2]:
            mine, theirs = getattr(one, places), getattr(two, places)
            dict.__setitem__(theirs, dtype, mine[dtype])
    for variable in (*one.numbers.values(), one.scalars["complex64"]):
        variable.assign(keras.ops.cast(keras.ops.full(variable.shape, 2, "float32"), variable.dtype))
    trained(model, x, y)

    def same(m: Any) -> list[list[Any]]:
        one, two = m.layers[1:]
        pairs = [[one.kernel, two.kernel]]
        return pairs + [[getattr(a, p)[d] for a in (one, two)] for p in ("numbers", "scalars") for d in DTYPES[::2]]

    def apart(m: Any) -> list[list[Any]]:
        return [[layer.numbers[dtype] for layer in m.layers[1:]] for dtype in DTYPES[1::2]]

    return Case(model, x, y, same=same, apart=apart)


def _three(policy: Any = None, *, of_the_last: Any = None) -> tuple[Any, Any, Any]:
    policies = (policy, policy, policy if of_the_last is None else of_the_last)
    names = ("one", "two", "three")
    made = [layers.Dense(4, activation="tanh", name=name, dtype=p) for name, p in zip(names, policies, strict=True)]
    model, x, y = stack(*made)
    share(model.get_layer("three"), "_kernel", model.get_layer("one"))
    return model, x, y


def _of_each_layer(policy: str) -> Case:
    model, x, y = _three(policy)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "three"))


def _of_the_time(policy: str) -> Case:
    """Built while a global policy was set, and saved when it is not any more."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model, x, y = _three()
        trained(model, x, y, optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
    finally:
        keras.config.set_dtype_policy(before)
    return Case(model, x, y, same=kernels("one", "three"))


for _policy in ("mixed_float16", "mixed_bfloat16", "float64", "float16", "bfloat16"):
    register(f"layers_whose_policy_is_{_policy}", partial(_of_each_layer, _policy))
    register(f"built_while_the_global_policy_was_{_policy}", partial(_of_the_time, _policy))


@case
def one_variable_in_layers_of_two_policies() -> Case:
    model, x, y = _three("float32", of_the_last="mixed_bfloat16")
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "three"))


@case
def policies_of_each_attribute_by_path() -> Case:
    """A policy map, which Keras looks up by the path of a layer."""
    policies = keras.dtype_policies.DTypePolicyMap("float32", {"one": keras.DTypePolicy("mixed_bfloat16")})
    model, x, y = _three(policies)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "three"))


@case
def a_loss_scale_that_compile_does_not_put_around() -> Case:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, x, y = _three()
        trained(model, x, y, auto_scale_loss=False)
    finally:
        keras.config.set_dtype_policy(before)
    return Case(model, x, y, same=kernels("one", "three"))
