"""Every layer class of Keras comes back, or stands in a table of what does not, with the reason."""

from __future__ import annotations

import inspect
import random
import tempfile
from collections.abc import Callable
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

# Classes | inputs | arguments of two layers | arguments of a third layer
TABLE = """
Dense | vector | 3 | 3, lora_rank=2, kernel_regularizer=keras.regularizers.L1L2(0.1, 0.2)
EinsumDense | sequence | "abc,cd->abd", (None, 2) | "abc,cd->abd", (None, 2), bias_axes="d", kernel_constraint="non_neg"
Embedding | ids | 6, 3 | 6, 3, mask_zero=True, embeddings_constraint="non_neg"
ReversibleEmbedding | ids | 6, 3 | 6, 3, tie_weights=False, logit_soft_cap=2.0
Conv1D | sequence | 2, 2 | 2, 2, padding="causal", dilation_rate=2, kernel_initializer="ones"
Conv1DTranspose SeparableConv1D | sequence | 2, 2 | 2, 2, strides=2, padding="same", use_bias=False
Conv2D Conv2DTranspose SeparableConv2D | image | 2, 2 | 2, 2, strides=(2, 2), activation="relu"
Conv3D Conv3DTranspose | volume | 2, 2 | 2, 2, strides=2, padding="same", trainable=False
DepthwiseConv1D | sequence | 2 | 2, depth_multiplier=2, depthwise_regularizer="l2"
DepthwiseConv2D | image | 2 | 2, depth_multiplier=2, depthwise_initializer="he_normal"
ConvLSTM1D | frames_1 | 1, 2 | 1, 2, return_sequences=True, go_backwards=True, unit_forget_bias=False
ConvLSTM2D | frames_2 | 1, 2 | 1, 2, dropout=0.2, recurrent_dropout=0.1, seed=3
ConvLSTM3D | frames_3 | 1, 2 | 1, 2, padding="same", activation="relu"
LSTM GRU SimpleRNN | sequence | 2 | 2, return_sequences=True, go_backwards=True, dropout=0.2, seed=3, unroll=True
LSTMCell | cell_2 | 2 | 2, kernel_regularizer="l2", unit_forget_bias=False
GRUCell | cell_1 | 2 | 2, bias_constraint="non_neg", reset_after=False
SimpleRNNCell | cell_1 | 2 | 2, activation="relu", kernel_regularizer="l2"
StackedRNNCells | cell_2 | [kl.GRUCell(2), kl.SimpleRNNCell(2)] | [kl.SimpleRNNCell(2), kl.GRUCell(2)]
RNN | sequence | kl.LSTMCell(2) | [kl.GRUCell(2), kl.LSTMCell(3, dropout=0.2, seed=3)], unroll=True
Bidirectional | sequence | kl.SimpleRNN(2) | kl.LSTM(2), "sum", backward_layer=kl.GRU(2, go_backwards=True)
TimeDistributed | sequence | kl.Dense(3) | keras.Sequential([kl.Dense(2), kl.Dropout(0.2)])
SpectralNormalization | image | kl.Dense(3) | kl.Conv2D(2, 2), power_iterations=2
MultiHeadAttention | both | 2, 2 | 2, 2, use_bias=False, dropout=0.1, seed=2, output_shape=5
GroupQueryAttention | both | 2, 4, 2 | 2, 4, 2, kernel_constraint="unit_norm", dropout=0.1
Attention | query | use_scale=True | score_mode="concat", dropout=0.2, seed=3
AdditiveAttention | query | | use_scale=False, dropout=0.2
BatchNormalization | sequence | | axis=1, momentum=0.5, gamma_regularizer="l2", synchronized=True
LayerNormalization | sequence | | axis=[1, 2], beta_constraint="non_neg"
GroupNormalization | even | 2 | -1, epsilon=0.01
PReLU | sequence | | shared_axes=[1], alpha_initializer="ones", alpha_regularizer="l1"
RMSNormalization Softmax UnitNormalization | sequence | | axis=(1, 2)
Add Average Concatenate Maximum Minimum Multiply Subtract | two | | dtype="bfloat16"
Dot | pair | 1 | (2, 2), normalize=True
MaxPool1D AveragePooling1D | sequence | 2, strides=1, padding="same" | 3, name="odd.name-1"
MaxPool2D AveragePooling2D | image | 2 | (1, 2), strides=[2, 1]
MaxPool3D AveragePooling3D | volume | 2 | (1, 2, 1)
GlobalMaxPool1D GlobalAveragePooling1D | sequence | | keepdims=True
GlobalMaxPool2D GlobalAveragePooling2D | image | | data_format="channels_first"
GlobalMaxPool3D GlobalAveragePooling3D | volume | | keepdims=True
AdaptiveMaxPooling1D AdaptiveAveragePooling1D | sequence | 2 | 3
AdaptiveMaxPooling2D AdaptiveAveragePooling2D | image | 2 | (2, 3)
AdaptiveMaxPooling3D AdaptiveAveragePooling3D | volume | 2 | (2, 1, 2)
Cropping1D ZeroPadding1D | sequence | 2 | (0, 1)
Cropping2D ZeroPadding2D | image | 1 | ((1, 0), (0, 2))
Cropping3D ZeroPadding3D UpSampling3D | volume | 1 | (1, 1, 1)
UpSampling1D | sequence | 2 | 3
RepeatVector | vector | 2 | 3
UpSampling2D | image | 2 | (1, 3), interpolation="bilinear"
Flatten Identity | sequence | | trainable=False
Permute | sequence | (2, 1) | [1, 2]
Reshape | vector | (2, 2) | [-1, 1]
InputLayer | vector | (4,) | (4,), batch_size=2, name="given"
Activation | vector | "relu" | keras.activations.log_softmax
ActivityRegularization | vector | | l1=0.1, l2=0.2
ELU LeakyReLU Masking ReLU | sequence | 0.3 | 0.5, trainable=False
Lambda | vector | keras.activations.silu | lambda x: x * 2
AlphaDropout Dropout | sequence | 0.4 | 0.4, noise_shape=(None, 1, 3), seed=3
GaussianDropout GaussianNoise SpatialDropout1D | sequence | 0.4 | 0.4, seed=3
SpatialDropout2D | image | 0.4 | 0.4, seed=3, data_format="channels_first"
SpatialDropout3D | volume | 0.4 | 0.4, seed=3
CategoryEncoding | ids | 6 | 6, "count"
Discretization | sequence | [-0.5, 0.0, 0.5] | [0.0, 1.0], output_mode="one_hot"
Hashing | ids | 4 | 4, salt=[3, 4], mask_value=2
HashedCrossing | crossed | 4 | 4, output_mode="one_hot"
IntegerLookup | ids | vocabulary=[1, 2, 3] | vocabulary=[1, 2], num_oov_indices=2, mask_token=0
StringLookup | words | vocabulary=["a", "b"] | vocabulary=["a"], output_mode="count", max_tokens=9
TextVectorization | words | vocabulary=["a", "b"] | vocabulary=["a"], ngrams=2, output_sequence_length=3
Normalization | sequence | mean=0.5, variance=2.0 | mean=[1.0, 2.0, 3.0], variance=[1.0, 1.0, 2.0], invert=True
Rescaling | vector | 0.5 | [1.0, 2.0, 3.0, 4.0], -1.0
MelSpectrogram | wave | 32, 16, num_mel_bins=4 | 32, 16, num_mel_bins=4, power_to_db=False
STFTSpectrogram | channel | frame_length=16 | "magnitude", 16, window="hamming"
CenterCrop RandomCrop Resizing | pixels | 4, 5 | 6, 5
AutoContrast Equalization RandomGrayscale RandomInvert Solarization | pixels | | name="other"
ContrastLimitedAdaptiveHistogramEqualization | pixels | tile_grid_size=(2, 2) | clip_limit=2.0, tile_grid_size=(2, 2)
AugMix RandAugment | pixels | | factor=(0.1, 0.4), seed=3
Pipeline | pixels | [kl.Rescaling(0.5), kl.RandomFlip(seed=2)] | [kl.CenterCrop(3, 3)]
RandomBrightness RandomColorDegeneration RandomContrast RandomHue | pixels | 0.3 | (0.1, 0.2)
RandomRotation RandomSaturation RandomSharpness RandomShear | pixels | (0.1, 0.3) | (0.1, 0.2), seed=3
RandomPosterization | pixels | 3 | 5, seed=3
RandomColorJitter | pixels | hue_factor=0.2 | brightness_factor=(0.1, 0.2), seed=3
RandomElasticTransform | pixels | | 0.5, (0.5, 1.0), fill_mode="constant", seed=3
RandomErasing | pixels | | fill_value=3.0, scale=(0.1, 0.2), seed=3
RandomFlip | pixels | | "vertical", seed=3
RandomGaussianBlur | pixels | | kernel_size=5, sigma=(0.5, 2.0), seed=3
RandomPerspective | pixels | | scale=0.5, interpolation="nearest", seed=3
RandomTranslation RandomZoom | pixels | 0.3, 0.2 | 0.3, (-0.1, 0.2), seed=3
CutMix MixUp | labelled | 0.5 | 0.3, seed=3
MaxNumBoundingBoxes | boxes | 3, bounding_box_format="xyxy" | 2, bounding_box_format="xyxy"
"""
NOT_KEPT = {
    "InputSpec": "describes an input and is no layer",
    "Layer": "is what layers derive from",
    "Wrapper": "is what wrappers derive from",
    "FlaxLayer": "refused: needs Flax and the code of its module",
    "JaxLayer": "refused: needs JAX and the code of its functions",
    "TFSMLayer": "refused: its code and weights are in a folder outside of the file",
    "TorchModuleWrapper": "refused: needs PyTorch and the code of its module",
}
SHAPES = """
vector 2,4 | sequence 2,6,3 | even 2,3,4 | image 2,6,6,2 | volume 2,4,4,4,2 | wave 2,128 | channel 2,64,1 | ids 2,5
frames_1 2,2,4,1 | frames_2 2,2,3,3,1 | frames_3 2,2,3,3,3,1 | crossed 2,1 2,1 | words 2,1 | pixels 2,8,8,3
two 2,4 2,4 | pair 2,4,3 2,4,3 | query 2,3,4 2,5,4 | both 2,3,4 2,5,4 | cell_1 2,3 2,2 | cell_2 2,3 2,2 2,2
labelled 2,8,8,3 2,3 | boxes 2,8,8,3 2,5,4 2,5
"""
CALLS: dict[str, Callable[[Any, list[Any]], Any]] = {
    "InputLayer": lambda layer, _: layer.output,
    "ReversibleEmbedding": lambda layer, x: layer(layer(x[0]), reverse=True),
    "both": lambda layer, x: layer(*x),
    # Keras gives its symbolic input back as its output, which no functional graph can hold.
    "Equalization": lambda layer, x: kl.Pipeline([layer, kl.Identity()])(x[0]),
    "labelled": lambda layer, x: layer({"images": x[0], "labels": x[1]}),
    "boxes": lambda layer, x: layer({"images": x[0], "bounding_boxes": {"boxes": x[1], "labels": x[2]}}),
    "cell_1": lambda layer, x: layer(x[0], x[1:]),
    "cell_2": lambda layer, x: layer(x[0], x[1:]),
}
ROWS = [[part.strip() for part in line.split("|")] for line in TABLE.strip().splitlines()]
KEPT = {name: (kind, args, other) for names, kind, args, other in ROWS for name in names.split()}


def _arrays(kind: str) -> list[Any]:
    fields = [field.split() for field in SHAPES.replace("\n", "|").split("|")]
    shapes = next([[*map(int, shape.split(","))] for shape in field[1:]] for field in fields if field[:1] == [kind])
    if kind == "words":
        return [np.array([["a"], ["c"]], dtype=object)]
    if kind in ("ids", "crossed"):
        return [integers(4, *shape) for shape in shapes]
    return [abs(floats(*shape)) * 80 if shape[1:] == [8, 8, 3] else floats(*shape) for shape in shapes]


def _build(name: str) -> tuple[Any, list[Any], Any]:
    """Three layers of one class beside each other; the first two have one weight in common, if they have any."""
    kind, args, other = KEPT[name]
    arrays = _arrays(kind)
    tensors = [keras.Input(x.shape[1:], dtype="string" if x.dtype == object else str(x.dtype)) for x in arrays]
    layers = [eval(f"kl.{name}({arguments})") for arguments in (args, args, other)]
    call = CALLS.get(name) or CALLS.get(kind) or (lambda layer, x: layer(x if len(x) > 1 else x[0]))
    outputs = [call(layer, tensors) for layer in layers]
    if name == "InputLayer":
        tensors = outputs
    elif (place := _first_weight(layers[0])) is not None:
        source, target = (layer._flatten_layers() for layer in layers[:2])
        share(list(target)[place[0]], place[1], list(source)[place[0]])
    inputs = [tf.constant(x) if x.dtype == object else x for x in arrays] * (len(tensors) // len(arrays))
    model = keras.Model(tensors if len(tensors) > 1 else tensors[0], keras.tree.flatten(outputs))
    return model, layers, inputs if len(inputs) > 1 else inputs[0]


def _first_weight(layer: Any) -> tuple[int, str] | None:
    """The first attribute that holds a variable: the number of its layer inside this one, and its name."""
    places = [(n, inner, name) for n, inner in enumerate(layer._flatten_layers()) for name in vars(inner)]
    return next(((n, name) for n, inner, name in places if isinstance(vars(inner)[name], keras.Variable)), None)


def _bytes(values: Any) -> list[Any]:
    return [(x.dtype, x.shape, x.tobytes()) for x in map(keras.ops.convert_to_numpy, keras.tree.flatten(values))]


def test_the_tables_know_every_layer_of_keras() -> None:
    classes = {name: value for name, value in vars(kl).items() if inspect.isclass(value)}
    known = {classes.get(name) for name in [*KEPT, *NOT_KEPT]}
    assert [name for name, value in classes.items() if value not in known] == []
    assert None not in known


@pytest.mark.parametrize("name", sorted(KEPT))
def test_layers_of_every_class_come_back_and_share_what_they_shared(name: str, tmp_path: Path) -> None:
    model, layers, inputs = _build(name)
    tiedio.save(model, tmp_path / "model.safetensors")
    loaded = tiedio.load(tmp_path / "model.safetensors", safe_mode=name != "Lambda")
    assert _bytes(loaded.variables) == _bytes(model.variables)
    for training in (False, True):
        results = []
        for one in (model, loaded):
            random.seed(1)  # AugMix draws from Python's own generator
            results.append(_bytes(one(inputs, training=training)))
        assert results[0] == results[1]
    assert tiedio.find_ties(loaded) == tiedio.find_ties(model)
    twins = [next(one for one in loaded._flatten_layers() if one.name == layer.name) for layer in layers]
    assert [type(twin) for twin in twins] == [type(layer) for layer in layers]
    if (place := _first_weight(layers[0])) is not None:
        one, other = (list(twin._flatten_layers())[place[0]] for twin in twins[:2])
        assert getattr(one, place[1]) is getattr(other, place[1])


@pytest.mark.parametrize("name", ["BatchNormalization", "Bidirectional", "Conv2D", "MultiHeadAttention"])
def test_the_next_training_step_is_the_same(name: str, tmp_path: Path) -> None:
    model, _, inputs = _build(name)
    targets = [np.zeros(output.shape, "float32") for output in model(inputs)]
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), ["mse"] * len(targets), run_eagerly=True)
    model.train_on_batch(inputs, targets)
    assert_round_trip(model, inputs=inputs, targets=targets, folder=tmp_path)


def _saved_model() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        keras.Sequential([keras.Input((2,)), kl.Dense(2)]).export(folder, verbose=False)
        return kl.TFSMLayer(folder)


def _adapted(layer: Any, *data: Any) -> Any:
    layer.adapt(np.array(data))
    return layer


ADAPTED: dict[str, Callable[[], Any]] = {
    "IntegerLookup": lambda: _adapted(kl.IntegerLookup(), 3, 4, 4),
    "Normalization": lambda: _adapted(kl.Normalization(), [1.0, 2.0], [2.0, 4.0]),
    "Discretization": lambda: _adapted(kl.Discretization(num_bins=2), 1.0, 2.0, 3.0),
    "StringLookup": lambda: _adapted(kl.StringLookup(), "a", "b"),
    "TextVectorization": lambda: _adapted(kl.TextVectorization(), "a", "b"),
}


@pytest.mark.parametrize("name", ADAPTED)
def test_a_layer_that_was_adapted_comes_back_adapted(name: str, tmp_path: Path) -> None:
    layer = ADAPTED[name]()
    words = name in ("StringLookup", "TextVectorization")
    inputs = keras.Input((1,) if words else (2,), dtype="string" if words else "float32")
    model = keras.Model(inputs, layer(inputs))
    x = keras.ops.convert_to_tensor([["b"], ["c"]]) if words else np.array([[1, 2], [3, 4]], "float32")
    assert_round_trip(model, inputs=x, training=False, folder=tmp_path)


@pytest.mark.parametrize(
    ("make", "attribute", "value"),
    [
        (lambda i: kl.GRU(2, use_cudnn=False, name="layer")(i["float"]), "use_cudnn", False),
        (lambda i: kl.LSTM(2, use_cudnn=False, name="layer")(i["float"]), "use_cudnn", False),
        (lambda i: kl.CategoryEncoding(4, sparse=True, name="layer")(i["int"]), "sparse", True),
        (
            lambda i: kl.MaxNumBoundingBoxes(2, fill_value=-3, bounding_box_format="xyxy", name="layer")(i["boxes"]),
            "fill_value",
            -3,
        ),
    ],
    ids=["GRU", "LSTM", "CategoryEncoding", "MaxNumBoundingBoxes"],
)
def test_an_argument_that_keras_leaves_out_of_its_config_comes_back(
    make: Callable[[Any], Any], attribute: str, value: Any, tmp_path: Path
) -> None:
    inputs: dict[str, Any] = {"float": keras.Input((3, 2)), "int": keras.Input((3,), dtype="int32")}
    inputs["boxes"] = {"images": keras.Input((4, 4, 3)), "bounding_boxes": {}}
    inputs["boxes"]["bounding_boxes"] = {"boxes": keras.Input((None, 4)), "labels": keras.Input((None,))}
    outputs = make(inputs)
    model = keras.Model(keras.tree.flatten(inputs), outputs)
    tiedio.save(model, tmp_path / "model.safetensors")
    assert getattr(tiedio.load(tmp_path / "model.safetensors").get_layer("layer"), attribute) == value


def test_what_the_file_would_not_carry_is_refused_by_name(tmp_path: Path) -> None:
    layer = _saved_model()
    inputs = keras.Input((2,))
    with pytest.raises(ModelError, match="TFSMLayer") as caught:
        tiedio.save(keras.Model(inputs, layer(inputs)), tmp_path / "model.safetensors")
    assert str(caught.value.path).partition("/")[0] == layer.name
    assert not list(tmp_path.iterdir())
