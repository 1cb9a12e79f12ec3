"""Quantized layers, and LoRA: what is stored is the layers' variables as they are, and never a merged kernel."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
from keras.quantizers import AbsMaxQuantizer, Float8QuantizationConfig, Int4QuantizationConfig, Int8QuantizationConfig

from tiedio.testing.zoo_base import Case, case, floats, integers, register, share, trained
from tiedio.testing.zoo_places import biases, kernels, stack

layers = keras.layers

# float8 trains only in a traced step: its gradient is a function that TensorFlow does not call eagerly.
_TRACED = {"run_eagerly": False, "jit_compile": False}
_MODES = ("int8", "int4", "float8")


def _dense(**settings: Any) -> tuple[Any, Any, Any]:
    """Two dense layers that share their bias."""
    model, x, y = stack(*(layers.Dense(4, name=name, **settings) for name in ("one", "two")))
    share(model.get_layer("two"), "bias", model.get_layer("one"))
    return model, x, y


def _quantized(mode: Any = None, *, whole: bool = False, **settings: Any) -> Case:
    model, x, y = _dense()
    if whole:
        for layer in model.layers[1:]:  # `model.quantize` does the same, and warns of the input
            layer.quantize(mode, **settings)
    else:
        model.get_layer("one").quantize(mode, **settings)
    trained(model, x, y, **(_TRACED if "8Q" in type(settings.get("config")).__name__ or mode == "float8" else {}))
    return Case(model, x, y, same=biases("one", "two"))


for _mode in _MODES:
    register(f"a_dense_layer_quantized_to_{_mode}_shares_its_bias", partial(_quantized, _mode))
    register(f"two_dense_layers_quantized_to_{_mode}_share_their_bias", partial(_quantized, _mode, whole=True))
for _name, _config in {
    "int8_without_activations": lambda: Int8QuantizationConfig(AbsMaxQuantizer(axis=0), activation_quantizer=None),
    "int4_in_blocks": lambda: Int4QuantizationConfig(block_size=2),
    "int4_without_activations": lambda: Int4QuantizationConfig(block_size=-1, activation_quantizer=None),
    "float8_by_a_config": lambda: Float8QuantizationConfig(),
}.items():
    register(f"a_dense_layer_quantized_to_{_name}", partial(lambda make: _quantized(config=make()), _config))


@case
def a_trained_kernel_in_two_layers_that_were_then_quantized() -> Case:
    """Quantizing unties the kernels, as Keras does; the bias stays one."""
    model, x, y = _dense()
    share(model.get_layer("two"), "_kernel", model.get_layer("one"))
    trained(model, x, y)
    for layer in model.layers[1:]:
        layer.quantize("int8")
    trained(model, x, y)
    return Case(model, x, y, same=biases("one", "two"), apart=kernels("one", "two"))


@case
def a_layer_made_with_an_int8_policy() -> Case:
    model, x, y = _dense(dtype="int8_from_mixed_bfloat16")
    trained(model, x, y)
    return Case(model, x, y, same=biases("one", "two"))


def _einsum(mode: str) -> Case:
    inputs = keras.Input((3, 4), name="inputs")
    one, two = (layers.EinsumDense("abc,cd->abd", (3, 4), bias_axes="d", name=name) for name in ("one", "two"))
    model = keras.Model(inputs, two(one(inputs)), name="model")
    share(two, "bias", one)
    one.quantize(mode)
    x, y = floats(2, 3, 4), floats(2, 3, 4, seed=1)
    trained(model, x, y, **(_TRACED if mode == "float8" else {}))
    return Case(model, x, y, same=biases("one", "two"))


for _mode in _MODES:
    register(f"an_einsum_layer_quantized_to_{_mode}_shares_its_bias", partial(_einsum, _mode))


def _embedding(kind: Any, mode: str, rank: int = 0) -> Case:
    """An embedding called twice, quantized or with LoRA or both, before a layer that shares its kernel."""
    ids = keras.Input((3,), dtype="int32", name="ids")
    embedding = kind(7, 4, name="embedding")
    first, second = layers.Dense(4, name="one"), layers.Dense(4, name="two")
    model = keras.Model(ids, second(first(layers.Add(name="both")([embedding(ids), embedding(ids)]))), name="model")
    share(second, "_kernel", first)
    if mode:
        embedding.quantize(mode)
    if rank:
        embedding.enable_lora(rank)
    x, y = integers(7, 4, 3), floats(4, 3, 4)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


for _mode in ("int8", "int4"):
    for _kind in (layers.Embedding, layers.ReversibleEmbedding):
        register(f"a_{_kind.__name__}_quantized_to_{_mode}", partial(_embedding, _kind, _mode))
register("an_embedding_with_lora", partial(_embedding, layers.Embedding, "", 2))
register("an_embedding_quantized_to_int8_with_lora", partial(_embedding, layers.Embedding, "int8", 2))


@case
def attention_whose_projections_are_quantized_to_int4() -> Case:
    inputs = keras.Input((3, 4), name="inputs")
    attention = layers.MultiHeadAttention(2, 2, name="attention")
    one, two = layers.Dense(4, name="one"), layers.Dense(4, name="two")
    model = keras.Model(inputs, two(one(attention(inputs, inputs))), name="model")
    share(two, "_kernel", one)
    for part in (attention.query_dense, attention.key_dense, attention.value_dense, attention.output_dense):
        part.quantize("int4")
    x, y = floats(2, 3, 4), floats(2, 3, 4, seed=1)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))


# --- LoRA ---------------------------------------------------------------------------------------------------


def _tied() -> tuple[Any, Any, Any]:
    model, x, y = stack(*(layers.Dense(4, name=name) for name in ("one", "two", "three")))
    share(model.get_layer("three"), "_kernel", model.get_layer("one"))
    return model, x, y


def _raw(*names: str) -> Any:
    """The kernels behind the adapters."""
    return lambda m: [[m.get_layer(name)._kernel for name in names]]


def _adapted(*ranks: tuple[str, int, int], steps: int = 2, quantize: str = "") -> Case:
    model, x, y = _tied()
    trained(model, x, y)
    for name, rank, alpha in ranks:
        if quantize:
            model.get_layer(name).quantize(quantize)
        model.get_layer(name).enable_lora(rank, lora_alpha=alpha)
    trained(model, x, y, steps=steps)
    return Case(model, x, y, same=_raw("one", "three"))


register("a_tied_kernel_with_lora_and_another_alpha_on_one_side", partial(_adapted, ("one", 2, 5)))
register("a_tied_kernel_with_lora_on_both_sides", partial(_adapted, ("one", 2, 5), ("three", 1, 1)))
register("lora_that_was_enabled_and_not_trained", partial(_adapted, ("one", 2, 2), steps=0))
register("lora_on_a_layer_that_is_quantized_to_int8", partial(_adapted, ("two", 2, 3), quantize="int8"))
register("lora_on_a_layer_that_is_quantized_to_int4", partial(_adapted, ("two", 2, 3), quantize="int4"))


@case
def lora_that_was_merged_by_quantizing() -> Case:
    """Keras's own way to merge an adapter into the kernel."""
    model, x, y = _tied()
    model.get_layer("two").enable_lora(2, lora_alpha=3)
    trained(model, x, y)
    model.get_layer("two").quantize("int8")
    trained(model, x, y)
    return Case(model, x, y, same=_raw("one", "three"))


@case
def convolutions_with_lora_that_share_their_kernel() -> Case:
    inputs = keras.Input((6, 4), name="inputs")
    one = layers.Conv1D(4, 2, padding="same", name="one")
    two = layers.Conv1D(4, 2, padding="same", dilation_rate=2, name="two")
    model = keras.Model(inputs, two(one(inputs)), name="model")
    share(two, "_kernel", one)
    one.enable_lora(2, lora_alpha=3)
    x, y = floats(3, 6, 4), floats(3, 6, 4, seed=1)
    trained(model, x, y)
    return Case(model, x, y, same=_raw("one", "two"))


@case
def attention_with_lora_in_one_projection() -> Case:
    inputs = keras.Input((3, 4), name="inputs")
    attention = layers.MultiHeadAttention(2, 2, name="attention")
    one, two = layers.Dense(4, name="one"), layers.Dense(4, name="two")
    model = keras.Model(inputs, two(one(attention(inputs, inputs))), name="model")
    share(two, "_kernel", one)
    attention.query_dense.enable_lora(2, lora_alpha=3)
    x, y = floats(2, 3, 4), floats(2, 3, 4, seed=1)
    trained(model, x, y)
    return Case(model, x, y, same=kernels("one", "two"))
