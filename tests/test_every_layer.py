"""Every layer class of Keras comes back, or stands in a table of what does not, with the reason."""

from __future__ import annotations

import inspect
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

import tiedio
from tiedio.errors import ModelError
from tiedio.testing import assert_round_trip
from tiedio.testing.zoo_base import floats, integers, share

Call = Callable[[Any, list[Any]], Any]


def _call(layer: Any, tensors: list[Any]) -> Any:
    return layer(tensors[0] if len(tensors) == 1 else tensors)


@dataclass(frozen=True)
class Spec:
    """How a class is tried: `args` make the layer, `other` makes one with other arguments.

    What is a function is called for every layer anew: it makes a layer inside the layer.
    """

    inputs: Sequence[Any]
    args: dict[str, Any] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)
    call: Call = _call


VECTOR, SEQUENCE, IMAGE = [floats(2, 4)], [floats(2, 6, 3)], [floats(2, 8, 8, 3)]
VOLUME, IDS = [floats(2, 4, 4, 4, 2)], [integers(4, 2, 5)]
PIXELS = [np.abs(floats(2, 8, 8, 3)) * 80]
WORDS = [np.array([["a", "b"], ["c", "a"]], dtype=object)]
TWO, PAIR, QUERY = [floats(2, 4), floats(2, 4, seed=1)], [floats(2, 4, 3)] * 2, [floats(2, 3, 4), floats(2, 5, 4)]
CELL = [floats(2, 3), floats(2, 2), floats(2, 2)]
WAVE = [floats(2, 128)]

_INNER = {"layer": lambda: kl.Dense(3)}
_CONV = {"filters": 2, "kernel_size": 2}
_STRIDED = {"strides": 2, "use_bias": False, "padding": "same", "activation": "relu"}
_NORM = {"gamma_regularizer": "l2", "beta_constraint": "non_neg", "epsilon": 0.01}
_RNN = {"return_sequences": True, "go_backwards": True, "dropout": 0.2, "seed": 3, "activation": "relu"}
_CELL = {"dropout": 0.2, "seed": 3, "kernel_regularizer": "l2", "bias_constraint": "non_neg"}
_POOL = {"pool_size": 2, "strides": 1, "padding": "same"}
_HEADS = {"use_bias": False, "dropout": 0.1, "seed": 2, "kernel_constraint": "unit_norm"}
_WARP = {"interpolation": "nearest", "fill_mode": "constant", "fill_value": 0.5, "seed": 3}
_labels: Call = lambda m, t: m({"images": t[0], "labels": t[1]})  # noqa: E731
_SEED, _RANGE = {"seed": 3}, {"value_range": (0.0, 1.0)}


def _saved_model_layer() -> Any:
    inner = keras.Sequential([keras.Input((4,)), kl.Dense(2)])
    with tempfile.TemporaryDirectory() as folder:
        inner.export(folder, verbose=False)
        return kl.TFSMLayer(folder)


def _adapted(layer: Any, data: Any) -> Any:
    layer.adapt(np.array(data))
    return layer


def _for_each(names: str, *spec: Any, **more: Any) -> dict[str, Spec]:
    return {name: Spec(*spec, **more) for name in names.split()}


KEPT: dict[str, Spec] = {
    # what has weights
    "Dense": Spec(VECTOR, {"units": 3}, {"kernel_regularizer": keras.regularizers.L1L2(0.1, 0.2), "lora_rank": 2}),
    "EinsumDense": Spec(SEQUENCE, {"equation": "abc,cd->abd", "output_shape": (None, 2)}, {"bias_axes": "d"}),
    "Embedding": Spec(IDS, {"input_dim": 6, "output_dim": 3}, {"mask_zero": True, "embeddings_constraint": "non_neg"}),
    "ReversibleEmbedding": Spec(
        IDS,
        {"input_dim": 6, "output_dim": 3},
        {"tie_weights": False, "logit_soft_cap": 2.0},
        lambda m, t: m(m(t[0]), reverse=True),
    ),
    **_for_each("Conv1D", SEQUENCE, _CONV, {"padding": "causal", "dilation_rate": 2, "kernel_initializer": "ones"}),
    **_for_each("Conv1DTranspose SeparableConv1D", SEQUENCE, _CONV, _STRIDED),
    **_for_each("Conv2D Conv2DTranspose SeparableConv2D", IMAGE, _CONV, _STRIDED),
    **_for_each("Conv3D Conv3DTranspose", VOLUME, _CONV, _STRIDED),
    "DepthwiseConv1D": Spec(SEQUENCE, {"kernel_size": 2}, {**_STRIDED, "depth_multiplier": 2}),
    "DepthwiseConv2D": Spec(IMAGE, {"kernel_size": 2}, {**_STRIDED, "depth_multiplier": 2}),
    "ConvLSTM1D": Spec([floats(2, 2, 4, 2)], _CONV, {**_RNN, "unit_forget_bias": False}),
    "ConvLSTM2D": Spec([floats(2, 2, 3, 3, 2)], _CONV, {"recurrent_dropout": 0.1}),
    "ConvLSTM3D": Spec([floats(2, 2, 3, 3, 3, 1)], _CONV, {"padding": "same"}),
    **_for_each("LSTM GRU SimpleRNN", SEQUENCE, {"units": 2}, _RNN),
    "LSTMCell": Spec(CELL, {"units": 2}, {**_CELL, "unit_forget_bias": False}, lambda m, t: m(t[0], t[1:])),
    "GRUCell": Spec(CELL[:2], {"units": 2}, {**_CELL, "reset_after": False}, lambda m, t: m(t[0], t[1:])),
    "SimpleRNNCell": Spec(CELL[:2], {"units": 2}, _CELL, lambda m, t: m(t[0], t[1:])),
    "StackedRNNCells": Spec(
        CELL,
        {"cells": lambda: [kl.GRUCell(2), kl.SimpleRNNCell(2)]},
        {"cells": lambda: (kl.SimpleRNNCell(2), kl.GRUCell(2))},
        lambda m, t: m(t[0], t[1:]),
    ),
    "RNN": Spec(
        SEQUENCE, {"cell": lambda: kl.LSTMCell(2)}, {"cell": lambda: [kl.GRUCell(2), kl.LSTMCell(3)], "unroll": True}
    ),
    "Bidirectional": Spec(
        SEQUENCE,
        {"layer": lambda: kl.LSTM(2)},
        {"backward_layer": lambda: kl.GRU(2, go_backwards=True), "merge_mode": "sum"},
    ),
    "TimeDistributed": Spec(SEQUENCE, _INNER, {"layer": lambda: keras.Sequential([kl.Dense(2), kl.Dropout(0.2)])}),
    "SpectralNormalization": Spec(IMAGE, _INNER, {"layer": lambda: kl.Conv2D(2, 2), "power_iterations": 2}),
    "MultiHeadAttention": Spec(
        QUERY, {"num_heads": 2, "key_dim": 2}, {**_HEADS, "output_shape": 5}, lambda m, t: m(*t)
    ),
    "GroupQueryAttention": Spec(
        QUERY, {"num_query_heads": 4, "num_key_value_heads": 2, "head_dim": 2}, _HEADS, lambda m, t: m(*t)
    ),
    "Attention": Spec(QUERY, {"use_scale": True}, {"score_mode": "concat", "dropout": 0.2, "seed": 3}),
    "AdditiveAttention": Spec(QUERY, {}, {"use_scale": False, "dropout": 0.2}),
    "BatchNormalization": Spec(SEQUENCE, {}, {**_NORM, "axis": 1, "momentum": 0.5, "synchronized": True}),
    "LayerNormalization": Spec(SEQUENCE, {}, {**_NORM, "axis": [1, 2]}),
    "GroupNormalization": Spec([floats(2, 3, 4)], {"groups": 2}, {**_NORM, "groups": -1}),
    "RMSNormalization": Spec(SEQUENCE, {}, {"axis": (1, 2), "epsilon": 0.1}),
    "PReLU": Spec(SEQUENCE, {}, {"shared_axes": [1], "alpha_initializer": "ones", "alpha_regularizer": "l1"}),
    # what reshapes, merges and pools
    **_for_each("Add Average Concatenate Maximum Minimum Multiply Subtract", TWO, {}, {"dtype": "bfloat16"}),
    "Dot": Spec(PAIR, {"axes": 1}, {"axes": (2, 2), "normalize": True}),
    **_for_each("MaxPool1D AveragePooling1D", SEQUENCE, _POOL, {"pool_size": 3, "name": "odd.name-1"}),
    **_for_each("MaxPool2D AveragePooling2D", IMAGE, _POOL, {"pool_size": (1, 2)}),
    **_for_each("MaxPool3D AveragePooling3D", VOLUME, _POOL, {"pool_size": (1, 2, 1)}),
    **_for_each("GlobalMaxPool1D GlobalAveragePooling1D", SEQUENCE, {}, {"keepdims": True}),
    **_for_each("GlobalMaxPool2D GlobalAveragePooling2D", IMAGE, {}, {"data_format": "channels_first"}),
    **_for_each("GlobalMaxPool3D GlobalAveragePooling3D", VOLUME, {}, {"keepdims": True}),
    **_for_each("AdaptiveMaxPooling1D AdaptiveAveragePooling1D", SEQUENCE, {"output_size": 2}, {"output_size": 3}),
    **_for_each("AdaptiveMaxPooling2D AdaptiveAveragePooling2D", IMAGE, {"output_size": 2}, {"output_size": (2, 3)}),
    **_for_each("AdaptiveMaxPooling3D AdaptiveAveragePooling3D", VOLUME, {"output_size": 2}),
    **_for_each("Cropping1D ZeroPadding1D", SEQUENCE, {}, {"trainable": False}),
    **_for_each("Cropping2D ZeroPadding2D", IMAGE, {}, {"data_format": "channels_first"}),
    **_for_each("Cropping3D ZeroPadding3D", VOLUME, {}, {"data_format": "channels_last"}),
    "UpSampling1D": Spec(SEQUENCE, {}, {"size": 3}),
    "UpSampling2D": Spec(IMAGE, {}, {"size": (1, 3), "interpolation": "bilinear"}),
    "UpSampling3D": Spec(VOLUME, {}, {"size": (1, 2, 1)}),
    "Flatten": Spec(SEQUENCE, {}, {"data_format": "channels_first"}),
    "Permute": Spec(SEQUENCE, {"dims": (2, 1)}, {"dims": [1, 2]}),
    "RepeatVector": Spec(VECTOR, {"n": 3}, {"n": 1}),
    "Reshape": Spec(VECTOR, {"target_shape": (2, 2)}, {"target_shape": [-1, 1]}),
    "Identity": Spec(VECTOR, {}, {"trainable": False}),
    "InputLayer": Spec(VECTOR, {"shape": (4,)}, {"batch_size": 2, "name": "given"}, lambda layer, _: layer.output),
    # what activates, drops and regularizes
    "Activation": Spec(VECTOR, {"activation": "relu"}, {"activation": keras.activations.log_softmax}),
    "ActivityRegularization": Spec(VECTOR, {}, {"l1": 0.1, "l2": 0.2}),
    "ELU": Spec(VECTOR, {}, {"alpha": 0.5}),
    "LeakyReLU": Spec(VECTOR, {}, {"negative_slope": 0.5}),
    "ReLU": Spec(VECTOR, {}, {"max_value": 1.0, "threshold": 0.1, "negative_slope": 0.2}),
    "Softmax": Spec(SEQUENCE, {}, {"axis": [1, 2]}),
    "Lambda": Spec(VECTOR, {"function": lambda: lambda x: x * 2}, {"arguments": {}, "output_shape": (4,)}),
    "Masking": Spec(SEQUENCE, {}, {"mask_value": 1.0}),
    "UnitNormalization": Spec(SEQUENCE, {}, {"axis": (1, 2)}),
    **_for_each("AlphaDropout Dropout", SEQUENCE, {"rate": 0.4}, {**_SEED, "noise_shape": (None, 1, 3)}),
    "GaussianDropout": Spec(SEQUENCE, {"rate": 0.4}, _SEED),
    "GaussianNoise": Spec(SEQUENCE, {"stddev": 0.4}, _SEED),
    "SpatialDropout1D": Spec(SEQUENCE, {"rate": 0.4}, _SEED),
    "SpatialDropout2D": Spec(IMAGE, {"rate": 0.4}, _SEED),
    "SpatialDropout3D": Spec(VOLUME, {"rate": 0.4}, _SEED),
    # what prepares numbers, words and waves
    "CategoryEncoding": Spec(IDS, {"num_tokens": 6}, {"output_mode": "count"}),
    "Hashing": Spec(IDS, {"num_bins": 4}, {"salt": [3, 4], "mask_value": 2}),
    "HashedCrossing": Spec([integers(4, 2, 1)] * 2, {"num_bins": 4}, {"output_mode": "one_hot"}),
    "IntegerLookup": Spec(IDS, {"vocabulary": [1, 2, 3]}, {"num_oov_indices": 2, "mask_token": 0}),
    "StringLookup": Spec(WORDS, {"vocabulary": ["a", "b"]}, {"output_mode": "count", "max_tokens": 9}),
    "Normalization": Spec(SEQUENCE, {"mean": 0.5, "variance": 2.0}, {"mean": [1.0, 2.0, 3.0], "invert": True}),
    "Rescaling": Spec(VECTOR, {"scale": 0.5}, {"scale": [1.0, 2.0, 3.0, 4.0], "offset": -1.0}),
    "MelSpectrogram": Spec(WAVE, {"fft_length": 32, "sequence_stride": 16, "num_mel_bins": 4}, {"power_to_db": False}),
    "STFTSpectrogram": Spec([floats(2, 64, 1)], {"frame_length": 16}, {"mode": "magnitude", "window": "hamming"}),
    # what prepares images
    **_for_each("CenterCrop RandomCrop Resizing", PIXELS, {"height": 4, "width": 5}, {"height": 6}),
    **_for_each("AutoContrast Equalization RandomGrayscale RandomInvert Solarization", PIXELS, {}, {"name": "other"}),
    "ContrastLimitedAdaptiveHistogramEqualization": Spec(PIXELS, {"tile_grid_size": (2, 2)}, {"clip_limit": 2.0}),
    **_for_each("AugMix RandAugment", PIXELS, {}, {**_SEED, "factor": (0.1, 0.4)}),
    "Pipeline": Spec(
        PIXELS,
        {"layers": lambda: [kl.Rescaling(0.5), kl.RandomFlip(seed=2)]},
        {"layers": lambda: [kl.RandomContrast(0.3, seed=3), kl.CenterCrop(3, 3)]},
    ),
    **_for_each(
        "RandomBrightness RandomColorDegeneration RandomContrast RandomHue RandomSaturation RandomSharpness",
        PIXELS,
        {"factor": 0.3},
        {**_SEED, **_RANGE, "factor": (0.1, 0.2)},
    ),
    "RandomPosterization": Spec(PIXELS, {"factor": 3}, {**_SEED, "factor": 5}),
    "RandomColorJitter": Spec(PIXELS, {"hue_factor": 0.2}, {**_SEED, "brightness_factor": (0.1, 0.2)}),
    "RandomElasticTransform": Spec(PIXELS, {}, {**_WARP, "factor": 0.5, "scale": (0.5, 1.0)}),
    "RandomErasing": Spec(PIXELS, {}, {**_SEED, "fill_value": 3.0, "scale": (0.1, 0.2)}),
    "RandomFlip": Spec(PIXELS, {}, {**_SEED, "mode": "vertical"}),
    "RandomGaussianBlur": Spec(PIXELS, {}, {**_SEED, "kernel_size": 5, "sigma": (0.5, 2.0)}),
    "RandomPerspective": Spec(PIXELS, {}, {**_SEED, "scale": 0.5, "interpolation": "nearest"}),
    "RandomRotation": Spec(PIXELS, {"factor": 0.3}, {**_WARP, "factor": (-0.1, 0.2)}),
    "RandomShear": Spec(PIXELS, {"x_factor": (0.1, 0.3)}, {**_WARP, "y_factor": (0.0, 0.2)}),
    "RandomTranslation": Spec(PIXELS, {"height_factor": 0.3, "width_factor": 0.2}, _WARP),
    "RandomZoom": Spec(PIXELS, {"height_factor": 0.3}, {**_WARP, "width_factor": (-0.1, 0.2)}),
    "CutMix": Spec([*PIXELS, floats(2, 3)], {}, {**_SEED, "factor": 0.5}, _labels),
    "MixUp": Spec([*PIXELS, floats(2, 3)], {}, {**_SEED, "alpha": 0.5}, _labels),
    "MaxNumBoundingBoxes": Spec(
        [*PIXELS, np.abs(floats(2, 5, 4)), floats(2, 5)],
        {"max_number": 3},
        {"fill_value": -2},
        lambda m, t: m({"images": t[0], "bounding_boxes": {"boxes": t[1], "labels": t[2]}}),
    ),
}


# What format 1 refuses: the shape and dtype of an input, the layer, and what the error says.
REFUSED: dict[str, tuple[Any, str, Callable[[], Any], str]] = {
    "Discretization": ((3,), "float32", lambda: kl.Discretization(bin_boundaries=[0.0, 1.0]), "hooks"),
    "TextVectorization": ((), "string", lambda: kl.TextVectorization(vocabulary=["a", "b"]), "hooks"),
    "TFSMLayer": ((4,), "float32", _saved_model_layer, "TFSMLayer"),
}
# Classes of `KEPT` in a state that format 1 refuses.
REFUSED_STATES: dict[str, tuple[Any, str, Callable[[], Any], str]] = {
    "adapted IntegerLookup": ((2,), "int32", lambda: _adapted(kl.IntegerLookup(), [3, 4, 4]), "hooks"),
    "adapted Normalization": ((4,), "float32", lambda: _adapted(kl.Normalization(), floats(8, 4)), "hooks"),
    "adapted StringLookup": ((2,), "string", lambda: _adapted(kl.StringLookup(), ["a", "b"]), "hooks"),
    "CategoryEncoding(sparse=True)": ((5,), "int32", lambda: kl.CategoryEncoding(6, sparse=True), "sparse"),
    "RandomShear(0.3)": ((8, 8, 3), "float32", lambda: kl.RandomShear(0.3), "RandomShear cannot be made again"),
}

BASES = {
    "InputSpec": "describes an input and is no layer",
    "Layer": "is what layers derive from",
    "Wrapper": "is what wrappers derive from",
}
ELSEWHERE = {
    "FlaxLayer": "needs Flax and the code of its module",
    "JaxLayer": "needs JAX and the code of its functions",
    "TorchModuleWrapper": "needs PyTorch",
}


def _classes() -> dict[str, Any]:
    """The classes of `keras.layers`, each once, though some have several names."""
    named = {name: value for name, value in vars(kl).items() if inspect.isclass(value)}
    known = [name for name in sorted(named) if name in KEPT]
    return {named[name]: name for name in [*sorted(named), *known]}


def test_the_tables_know_every_layer_of_keras() -> None:
    assert sorted(_classes().values()) == sorted([*KEPT, *BASES, *ELSEWHERE, *REFUSED])


def _make(name: str, arguments: dict[str, Any]) -> Any:
    fresh = {
        key: value() if inspect.isfunction(value) and not value.__module__.startswith("keras") else value
        for key, value in arguments.items()
    }
    return getattr(kl, name)(**fresh)


def _model(name: str) -> tuple[Any, Any, list[Any]]:
    """Three layers of one class beside each other, the first two with one weight, if they have any."""
    spec = KEPT[name]
    tensors = [keras.Input(x.shape[1:], dtype="string" if x.dtype == object else x.dtype) for x in spec.inputs]
    layers = [_make(name, arguments) for arguments in (spec.args, spec.args, spec.args | spec.other)]
    outputs = keras.tree.flatten([spec.call(layer, tensors) for layer in layers])
    if name == "InputLayer":
        tensors, layers = [layer.output for layer in layers], []
    elif _weight(layers[0]) is not None:
        source, target = (layer._flatten_layers() for layer in layers[:2])
        number, attribute = _weight(layers[0])
        share(list(target)[number], attribute, list(source)[number])
    inputs = [tf.constant(x) if x.dtype == object else x for x in spec.inputs]
    return keras.Model(tensors, outputs), layers, inputs if layers else inputs * 3


def _weight(layer: Any) -> Any:
    """The first variable that an attribute holds: number of the layer inside this one, and the attribute."""
    places = [(n, inner, name) for n, inner in enumerate(layer._flatten_layers()) for name in vars(inner)]
    return next(((n, name) for n, inner, name in places if isinstance(vars(inner)[name], keras.Variable)), None)


def _same(left: Any, right: Any) -> bool:
    pairs = zip(keras.tree.flatten(left), keras.tree.flatten(right), strict=True)
    values = [(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)) for one, other in pairs]
    return all(one.dtype == other.dtype and one.tobytes() == other.tobytes() for one, other in values)


@pytest.mark.parametrize("name", sorted(KEPT))
def test_layers_of_every_class_come_back_with_the_weight_that_they_share(name: str, tmp_path: Path) -> None:
    model, layers, inputs = _model(name)
    tiedio.save(model, tmp_path / "m.safetensors")
    loaded = tiedio.load(tmp_path / "m.safetensors", safe_mode=name != "Lambda")
    assert _same(model.get_weights(), loaded.get_weights())
    for training in (False, True):
        random.seed(1)  # AugMix draws from it
        expected = model(inputs, training=training)
        random.seed(1)
        assert _same(expected, loaded(inputs, training=training))
    assert tiedio.find_ties(loaded) == tiedio.find_ties(model)
    for layer in layers:
        twin = loaded.get_layer(layer.name)
        assert type(twin) is type(layer)
        assert twin.get_config() == layer.get_config() or name in ("Rescaling", "RNN")
    if layers and (place := _weight(layers[0])) is not None:
        number, attribute = place
        one, other = (list(loaded.get_layer(layer.name)._flatten_layers())[number] for layer in layers[:2])
        assert getattr(one, attribute) is getattr(other, attribute)


@pytest.mark.parametrize("name", ["Dense", "Conv2D", "LSTM", "Bidirectional", "BatchNormalization"])
def test_the_next_training_step_is_the_same(name: str, tmp_path: Path) -> None:
    model, _, inputs = _model(name)
    targets = [np.zeros(output.shape, "float32") for output in model(inputs)]
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), ["mse"] * len(targets), run_eagerly=True)
    model.train_on_batch(inputs, targets)
    assert_round_trip(model, inputs=inputs if len(inputs) > 1 else inputs[0], targets=targets, folder=tmp_path)


@pytest.mark.parametrize("name", sorted(REFUSED | REFUSED_STATES))
def test_what_is_not_carried_is_refused_at_its_place(name: str, tmp_path: Path) -> None:
    shape, dtype, make, words = (REFUSED | REFUSED_STATES)[name]
    inputs = keras.Input(shape, dtype=dtype)
    model = keras.Model(inputs, make()(inputs))
    with pytest.raises(ModelError, match=words):
        tiedio.save(model, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())
