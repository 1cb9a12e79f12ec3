"""Writes the golden files of the format that this tiedio writes: `python tests/golden_make.py`.

A golden file that is there stays as it is, since it stands for what a released version wrote; `--overwrite` writes all
of them anew, which is right only while their format is in no release. The classes in here are what the files
name: changing one breaks the files, so add another instead. See "Raising the version" in docs/format.md.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np

import tiedio
from tiedio.manifest import FORMAT
from tiedio.testing.zoo_base import floats, integers, put, share, trained

FOLDER = Path(__file__).with_name("golden")
SEED = 20240501

layers = keras.layers
_register = keras.saving.register_keras_serializable("golden")


# --- classes that the files name -------------------------------------------------------------------


@_register
class TransposedDense(keras.layers.Layer):
    """A dense layer whose matrix is the transpose of another layer's."""

    def __init__(self, source: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source

    def build(self, input_shape: Any) -> None:
        self.bias = self.add_weight(shape=(self.source.kernel.shape[0],), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        return keras.ops.matmul(inputs, keras.ops.transpose(self.source.kernel)) + self.bias

    def get_config(self) -> Any:
        return super().get_config() | {"source": keras.saving.serialize_keras_object(self.source)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(keras.saving.deserialize_keras_object(config.pop("source")), **config)


@_register
class Remembering(keras.layers.Layer):
    """Keeps numbers and words outside of its variables, and stores them by hooks of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.numbers, self.words = np.zeros(2), ""

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(shape=(input_shape[-1],), name="scale", initializer="ones")

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale + float(self.numbers.sum()) + len(self.words)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        store["numbers"] = self.numbers

    def load_own_variables(self, store: Any) -> None:
        self.scale.assign(store["0"])
        self.numbers = np.array(store["numbers"])

    def save_assets(self, dir_path: str) -> None:
        Path(dir_path, "é.txt").write_text(self.words, encoding="utf-8")

    def load_assets(self, dir_path: str) -> None:
        self.words = Path(dir_path, "é.txt").read_text(encoding="utf-8")


@_register
class Scaled(keras.Model):
    """Compiles in a way of its own, with an argument that Keras does not know."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(3, name="dense")
        self.again = self.dense

    def compile(self, factor: float = 1.0, **kwargs: Any) -> None:
        super().compile(**kwargs)
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        return self.again(self.dense(inputs))


@_register
class Holder(keras.layers.Layer):
    """Holds square matrices in an attribute, a list, a tuple and a dict whose keys are odd."""

    def __init__(self, table: dict[Any, Any], limit: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table, self.limit = table, limit

    def build(self, input_shape: Any) -> None:
        side = input_shape[-1]
        self.matrix, first, second, third, fourth = (
            self.add_weight(shape=(side, side), name=f"matrix_{i}", initializer="orthogonal") for i in range(5)
        )
        self.listed = [first, self.matrix]
        self.pair = (second, first)
        self.named = {"a/b": third, "": fourth, "%41": third, 7: self.matrix, "7": second}

    def call(self, inputs: Any) -> Any:
        held = [self.matrix, *self.listed, *self.pair, *self.named.values()]
        outputs = inputs
        for matrix in held:
            outputs = keras.ops.tanh(keras.ops.matmul(outputs, matrix))
        return keras.ops.clip(outputs, -self.limit, self.limit)

    def get_config(self) -> Any:
        return super().get_config() | {"table": self.table, "limit": self.limit}


@dataclass(frozen=True)
class Scale:
    """What Keras cannot write into a config."""

    factor: float


@_register
class Unlisted(keras.layers.Layer):
    """A layer that no config describes, so that only the code of its owner can make it."""

    def __init__(self, side: int, scale: Scale) -> None:
        super().__init__(name="unlisted")
        self.gain = self.add_weight(shape=(side,), initializer="ones", name="gain")
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        return inputs * self.gain * self.scale.factor


@_register
class Tower(keras.Model):
    """A subclassed model whose own code ties the first block to the last one, and makes a layer that has no config."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.blocks = [layers.Dense(units, activation="tanh", name=f"block_{i}") for i in range(3)]
        self.heads = {"left": layers.Dense(1, name="left"), "right": layers.Dense(1, name="right")}
        self.unlisted = Unlisted(units, Scale(0.5))
        self.shift = self.add_weight(shape=(units,), initializer="zeros", name="shift")

    def build(self, input_shape: Any) -> None:
        for block in self.blocks:
            block.build((None, self.units))
        for head in self.heads.values():
            head.build((None, self.units))
        share(self.blocks[2], "_kernel", self.blocks[0])
        self.built = True

    def call(self, inputs: Any) -> Any:
        outputs = inputs + self.shift
        for block in self.blocks:
            outputs = self.unlisted(block(outputs))
        return self.heads["left"](outputs) - self.heads["right"](outputs)

    def get_config(self) -> Any:
        return {"name": self.name, "units": self.units}


# --- models ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Golden:
    """A model to write: its inputs, by root if there are several, and groups of things that are one object."""

    model: Any
    inputs: Any
    same: Callable[[Any], list[list[Any]]]


def two_convs() -> Golden:
    images = keras.Input((8, 8, 1), name="images")
    a, b = layers.Conv2D(2, 3, padding="same", name="conv_a"), layers.Conv2D(2, 3, padding="valid", name="conv_b")
    pooled = [layers.GlobalAveragePooling2D(name=f"pool_{one.name}")(one(images)) for one in (a, b)]
    model = keras.Model(images, layers.Dense(1, name="head")(layers.Concatenate(name="both")(pooled)), name="convs")
    share(b, "_kernel", a)
    share(b, "bias", a)
    x = floats(4, 8, 8, 1)
    loss = keras.losses.Huber(0.75)
    trained(model, x, floats(4, 1, seed=1), steps=3, loss=loss, metrics=["mae", keras.metrics.RootMeanSquaredError()])

    def same(m: Any) -> list[list[Any]]:
        one, two = m.get_layer("conv_a"), m.get_layer("conv_b")
        return [[one.kernel, two.kernel], [one.bias, two.bias]]

    return Golden(model, x, same)


def siamese_lstm() -> Golden:
    left, right = keras.Input((5, 3), name="left"), keras.Input((5, 3), name="right")
    lstm = layers.LSTM(4, name="lstm", dropout=0.1)
    merged = layers.Concatenate(name="merged")([lstm(left), lstm(right)])
    model = keras.Model([left, right], layers.Dense(1, activation="sigmoid", name="head")(merged), name="siamese")
    x = [floats(4, 5, 3), floats(4, 5, 3, seed=1)]
    trained(model, x, integers(2, 4, 1), loss="binary_crossentropy")

    def same(m: Any) -> list[list[Any]]:
        sides = [x._keras_history.operation for x in m.get_layer("merged").input]
        return [[m.get_layer("lstm"), *sides]]

    return Golden(model, x, same)


def tied_autoencoder() -> Golden:
    inputs = keras.Input((6,), name="inputs")
    encoder = layers.Dense(3, activation="tanh", name="encoder")
    outputs = TransposedDense(encoder, name="decoder")(encoder(inputs))
    model = keras.Model(inputs, outputs, name="autoencoder")
    x = floats(4, 6)
    trained(model, x, x)
    return Golden(model, x, lambda m: [[m.get_layer("encoder"), m.get_layer("decoder").source]])


def subclassed() -> Golden:
    model = Tower(4, name="tower")
    model.build((None, 4))
    x = floats(4, 4)
    trained(model, x, floats(4, 1, seed=1), optimizer=keras.optimizers.SGD(0.05))
    return Golden(model, x, lambda m: [[m.blocks[0].kernel, m.blocks[2].kernel]])


def several_roots() -> Golden:
    inputs = keras.Input((6,), name="inputs")
    hidden = layers.Dense(4, activation="relu", name="hidden")(inputs)
    code = layers.Dense(2, name="code")(hidden)
    encoder = keras.Model(inputs, code, name="encoder")
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(6, name="out")], name="decoder")
    auto = keras.Model(inputs, decoder(code), name="auto")
    x = floats(4, 6)
    trained(auto, x, x)
    inputs_of = {"encoder": x, "1/auto encoder": x}

    def same(roots: Any) -> list[list[Any]]:
        one, two = roots["encoder"], roots["1/auto encoder"]
        return [[m.get_layer(name) for m in (one, two)] for name in ("inputs", "hidden", "code")]

    return Golden({"encoder": encoder, "1/auto encoder": auto}, inputs_of, same)


def node_argument() -> Golden:
    inputs = keras.Input((4,), name="inputs")
    dense = layers.Dense(4, name="dense")
    hidden = keras.ops.tanh(keras.ops.matmul(dense(inputs), dense.kernel))
    shifted = keras.ops.add(hidden, floats(4, seed=2)) * np.float32(0.5)
    sliced = keras.ops.multiply(shifted, keras.ops.convert_to_tensor(floats(4, seed=3)))[:, 1:]
    model = keras.Model(inputs, layers.Dense(1, name="head")(sliced), name="live")
    x = floats(4, 4)
    trained(model, x, floats(4, 1, seed=1))

    def same(m: Any) -> list[list[Any]]:
        matmul = next(one for one in m.operations if one.name == "matmul")
        return [[m.get_layer("dense").kernel, matmul._inbound_nodes[0].arguments.args[1]]]

    return Golden(model, x, same)


def repeated_layer() -> Golden:
    dense = layers.Dense(4, activation="tanh", name="dense")
    norm = layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((4,)), dense, norm, dense, norm, layers.Dense(1, name="head")], name="again")
    x = floats(4, 4)
    trained(model, x, floats(4, 1, seed=1))

    def same(m: Any) -> list[list[Any]]:
        return [[m.layers[0], m.layers[2]], [m.layers[1], m.layers[3]]]

    return Golden(model, x, same)


def frozen_side() -> Golden:
    inputs = keras.Input((4,), name="inputs")
    first = layers.Dense(
        4, name="first", kernel_regularizer=keras.regularizers.L1L2(0.01, 0.02), kernel_constraint="max_norm"
    )
    second = layers.Dense(4, name="second", trainable=False)
    hidden = second(layers.Activation("tanh", name="tanh")(first(inputs)))
    model = keras.Model(inputs, layers.Dense(1, name="head")(hidden), name="frozen")
    share(second, "_kernel", first)
    x = floats(4, 4)
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_list=[model.get_layer("head").kernel], var_names=["bias"])
    trained(model, x, floats(4, 1, seed=1), optimizer=optimizer)
    return Golden(model, x, lambda m: [[m.get_layer("first").kernel, m.get_layer("second").kernel]])


def sgd_momentum() -> Golden:
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    embedding = layers.Embedding(5, 5, name="embedding")
    logits = layers.Dense(5, use_bias=False, name="logits")
    model = keras.Model(tokens, logits(layers.Dense(5, activation="relu", name="hidden")(embedding(tokens))), name="lm")
    put(logits, "_kernel", embedding.embeddings)
    x, y = integers(5, 4, 6), integers(5, 4, 6, seed=1)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=2, decay_rate=0.9)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained(model, x, y, loss=loss, optimizer=keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True))
    return Golden(model, x, lambda m: [[m.get_layer("embedding").embeddings, m.get_layer("logits").kernel]])


def odd_places() -> Golden:
    inputs = keras.Input((3,), name="inputs")
    first = layers.Dense(3, name="100% a@b")
    second = layers.Dense(3, name=".hidden é\n")
    holder = Holder({3: (1, 2), "$object": [float("-inf"), None]}, float("inf"), name="")
    outputs = layers.Dropout(0.5, name="@drop")(holder(second(first(inputs))))
    model = keras.Model(inputs, layers.Dense(1, name="0", dtype="mixed_bfloat16")(outputs), name="odd")
    share(second, "_kernel", first)
    x = floats(4, 3)

    def same(m: Any) -> list[list[Any]]:
        kernels = [m.get_layer(name).kernel for name in ("100% a@b", ".hidden é\n")]
        held = m.get_layer("")
        return [
            kernels,
            [held.matrix, held.listed[1], held.named[7]],
            [held.listed[0], held.pair[1]],
            [held.pair[0], held.named["7"]],
            [held.named["a/b"], held.named["%41"]],
        ]

    return Golden(model, x, same)


def own_hooks() -> Golden:
    inputs, ids = keras.Input((3,), name="inputs"), keras.Input((2,), dtype="int64", name="ids")
    remembering, normalization = Remembering(name="remembering"), layers.Normalization(name="normalization")
    normalization.adapt(floats(8, 3))
    lookup = layers.IntegerLookup(output_mode="multi_hot", name="lookup")
    lookup.adapt(np.array([[7], [9], [7]]))
    both = layers.Concatenate(name="both")([remembering(remembering(normalization(inputs))), lookup(ids)])
    model = keras.Model([inputs, ids], both, name="hooked")
    remembering.numbers, remembering.words = np.array([0.5, 0.25]), "two words"
    x = [floats(4, 3, seed=2), integers(10, 4, 2).astype("int64")]
    return Golden(model, x, lambda m: [[m.get_layer("remembering").scale, m.layers[2].scale]])


def loss_scale() -> Golden:
    """In half precision `compile` puts a loss scale around the optimizer; one metric stands in two places."""
    keras.config.set_dtype_policy("mixed_float16")
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="one"), layers.Dense(2, name="two")], name="m")
    share(model.get_layer("two"), "_kernel", model.get_layer("one"))
    keras.config.set_dtype_policy("float32")
    metric, x = keras.metrics.MeanAbsoluteError(name="both"), floats(2, 2)
    trained(model, x, x, optimizer=keras.optimizers.SGD(0.125), metrics=[metric], weighted_metrics=[metric])
    return Golden(model, x, lambda m: [[layer.kernel for layer in m.layers]])


def own_compile() -> Golden:
    model, x = Scaled(name="scaled"), floats(4, 3)
    model(x)
    model.compile(factor=0.5, optimizer=keras.optimizers.SGD(0.1), loss="mse", run_eagerly=True)
    model.train_on_batch(x, x)
    return Golden(model, x, lambda m: [[m.dense, m.again]])


GOLDEN: dict[str, Callable[[], Golden]] = {
    build.__name__: build
    for build in (
        two_convs, siamese_lstm, tied_autoencoder, subclassed, several_roots, node_argument, repeated_layer,
        frozen_side, sgd_momentum, odd_places, own_hooks, loss_scale,
        own_compile,
    )
}  # fmt: skip


# --- what stands beside a file ---------------------------------------------------------------------

# Files of this folder, which is no package.
sys.path.insert(0, str(Path(__file__).parent))
_facts, _views = importlib.import_module("golden_facts"), importlib.import_module("golden_views")
facts_of, outputs_of, array_of, map_inputs = _facts.facts_of, _facts.outputs_of, _facts.array_of, _facts.map_inputs
views_of = _facts.views_of


def _golden(build: Callable[[], Any]) -> Callable[[], Golden]:
    return lambda: Golden(*build())


GOLDEN |= {name: _golden(build) for name, build in _views.VIEWS.items()}


def describe(golden: Golden, path: Path) -> dict[str, Any]:
    """The facts that a file is checked against."""
    manifest = tiedio.inspect(path)
    return {
        "format": manifest.format,
        "ties": [list(tie.slots) for tie in manifest.ties],
        "views": views_of(variable.slots for variable in manifest.variables),
        "shared_objects": [list(record.paths) for record in manifest.shared_objects],
        "tensors": facts_of(path),
        "inputs": map_inputs(golden.inputs, _facts.encoded),
        "outputs": [_facts.encoded(array) for array in outputs_of(golden.model, golden.inputs)],
    }


def make(folder: Path, overwrite: bool) -> Iterator[Path]:
    """Writes the files and their facts into a folder; yields each file that was written."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in GOLDEN.items():
        path = folder / f"{name}.safetensors"
        if path.exists() and not overwrite:
            continue
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(SEED)
        golden = build()
        tiedio.save(golden.model, path)
        text = json.dumps(describe(golden, path), indent=1, ensure_ascii=False)
        path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
        yield path


def main() -> None:
    written = list(make(FOLDER / str(FORMAT), overwrite=sys.argv[1:] == ["--overwrite"]))
    print(*(f"{path} {path.stat().st_size} bytes" for path in written), sep="\n")


if __name__ == "__main__":
    # Under its own name: classes of `__main__` would be saved without a module.
    importlib.import_module("golden_make").main()
