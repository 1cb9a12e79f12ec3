"""Good files of many kinds of layers, and each number of their configurations changed for a large one."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
from keras import layers

import tiedio
from tests.hostile.editing import Document, edited
from tests.hostile.good import TEXTS, Parts

LARGE = (1 << 20, 10**8)
"""What the audit lets pass by itself, and what it does not."""

# Numbers of objects and calls, which are checked by themselves.
_NOT_SIZES = {"held", "found_at", "layers", "operations", "nodes", "seeds", "position", "call", "operation", "model"}
_REFERENCES = ("$tensor", "$object", "$optimizer", "$constant", "$shared")


def _recurrent() -> Any:
    inputs = keras.Input((4, 3))
    cells = layers.RNN([layers.LSTMCell(2), layers.GRUCell(2)], return_sequences=True)(inputs)
    both = layers.Bidirectional(layers.SimpleRNN(2, unroll=True, return_sequences=True))(cells)
    attention = layers.MultiHeadAttention(2, 2)(both, both)
    return keras.Model(
        inputs, layers.TimeDistributed(layers.Dense(2))(layers.RepeatVector(2)(layers.Flatten()(attention)))
    )


def _convolutions() -> Any:
    inputs = keras.Input((8, 8, 3))
    x = layers.ZeroPadding2D(1)(layers.SeparableConv2D(2, 2)(inputs))
    x = layers.Conv2DTranspose(2, 2, strides=2)(layers.MaxPooling2D(2)(x))
    x = layers.GroupNormalization(2)(layers.UpSampling2D(2)(x))
    x = layers.RandomCrop(4, 4)(layers.Resizing(8, 8)(x))
    x = layers.RandomGaussianBlur(kernel_size=3)(layers.AdaptiveAveragePooling2D(2)(x))
    return keras.Model(inputs, layers.Reshape((2, -1))(x))


def _words() -> Any:
    inputs = keras.Input((1,), dtype="string")
    x = layers.TextVectorization(vocabulary=["a", "b"], ngrams=2, output_sequence_length=3)(inputs)
    x = layers.CategoryEncoding(4, "multi_hot")(x)
    y = layers.Hashing(4, output_mode="one_hot")(inputs)
    z = layers.StringLookup(vocabulary=["a"], num_oov_indices=2, output_mode="count", max_tokens=9)(inputs)
    return keras.Model(inputs, layers.Concatenate()([x, layers.Flatten()(y), z]))


def _operations() -> Any:
    inputs = keras.Input((6, 4), batch_size=2)
    ops = keras.ops
    outputs = [
        ops.repeat(inputs, 2, axis=1), ops.tile(inputs, [1, 2, 1]), *ops.split(inputs, 2, axis=1),
        ops.one_hot(ops.cast(inputs, "int32"), 5), ops.linspace(inputs, inputs, 3), ops.pad(inputs, 1),
        ops.image.resize(inputs[..., None], (3, 3)), ops.extract_sequences(inputs[:, :, 0], 3, 2),
        ops.stft(inputs[:, :, 0], 4, 2, 4)[0], ops.broadcast_to(ops.sum(inputs, 1, keepdims=True), (2, 6, 4)),
        ops.diff(inputs, 2, axis=1), ops.bincount(ops.cast(inputs[:, :, 0], "int32"), minlength=4),
    ]  # fmt: skip
    return keras.Model(inputs, outputs)


def _compiled() -> Any:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3, kernel_initializer="identity")])
    metrics = [
        keras.metrics.AUC(num_thresholds=20), keras.metrics.MeanIoU(3), keras.metrics.TopKCategoricalAccuracy(2),
        keras.metrics.SensitivityAtSpecificity(0.5, num_thresholds=20), keras.metrics.R2Score(),
    ]  # fmt: skip
    model.compile(keras.optimizers.SGD(gradient_accumulation_steps=2), "mse", metrics=metrics)
    return model


def _signals() -> Any:
    inputs = keras.Input((128,))
    mel = layers.MelSpectrogram(32, 16, num_mel_bins=4)(inputs)
    stft = layers.STFTSpectrogram(frame_length=16)(layers.Reshape((128, 1))(inputs))
    return keras.Model(inputs, [mel, stft, layers.Discretization(bin_boundaries=[0.0, 1.0])(inputs)])


MODELS: dict[str, Callable[[], Any]] = {
    "recurrent": _recurrent,
    "convolutions": _convolutions,
    "words": _words,
    "operations": _operations,
    "compiled": _compiled,
    "signals": _signals,
}


def files() -> Iterator[tuple[str, bytes]]:
    """Hostile files, with a name for each: one number of each place in a configuration is a large one."""
    for name, build in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "good.safetensors"
            tiedio.save(build(), path)
            raw = path.read_bytes()
        parts = Parts.of(raw)
        document = {text: parts.document(text) for text in TEXTS}
        for where in places(document):
            for large in LARGE:
                yield f"{name} {'.'.join(map(str, where))} {large}", edited(raw, lambda d: _put(d, where, large))  # noqa: B023 - used at once


def places(document: Document) -> Iterator[tuple[Any, ...]]:
    """The places of all numbers in configurations and calls."""
    stack: list[tuple[tuple[Any, ...], Any]] = [((name,), document[name]) for name in ("structure", "training")]
    while stack:
        where, value = stack.pop()
        if isinstance(value, dict) and not any(key in value for key in _REFERENCES):
            stack.extend(((*where, key), item) for key, item in value.items() if key not in _NOT_SIZES)
        elif isinstance(value, list) and where[-1] != "steps":
            stack.extend(((*where, n), item) for n, item in enumerate(value))
        elif type(value) is int and len(where) > 3:
            yield where


def _put(document: Document, where: tuple[Any, ...], value: Any) -> None:
    *above, last = where
    for key in above:
        document = document[key]
    document[last] = copy.copy(value)
