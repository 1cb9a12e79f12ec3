"""State beside variables: vocabularies, adapted statistics, and classes with saving hooks of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from tiedio.testing.zoo_base import Case, case, floats, integers, register, share, trained

layers = keras.layers
WORDS = [["the cat sat"], ["a dog, the\tdog"], ["Ωmega the end"], ["new\nline"]]


def _strings(rows: Any) -> Any:
    return keras.ops.convert_to_tensor(np.array(rows, dtype="str")) if _on_tensorflow() else np.array(rows)


def _on_tensorflow() -> bool:
    return bool(keras.backend.backend() == "tensorflow")


@keras.saving.register_keras_serializable("tiedio_zoo")
class Remembering(keras.layers.Layer):
    """Keeps an array and a text that are neither config nor variable."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.offset, self.text = np.zeros(2), ""

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(shape=(input_shape[-1],), name="scale", initializer="ones")

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale + float(self.offset.sum()) + len(self.text)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        store["offset"] = self.offset

    def load_own_variables(self, store: Any) -> None:
        self.scale.assign(store["0"])
        self.offset = np.array(store["offset"])

    def save_assets(self, dir_path: str) -> None:
        folder = Path(dir_path) / "deep"
        folder.mkdir()
        (folder / "text.txt").write_text(self.text, encoding="utf-8")
        (folder / "empty").touch()

    def load_assets(self, dir_path: str) -> None:
        self.text = (Path(dir_path) / "deep" / "text.txt").read_text(encoding="utf-8")


@keras.saving.register_keras_serializable("tiedio_zoo")
class CountingSGD(keras.optimizers.SGD):
    """An optimizer that keeps an array outside of its variables."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes = np.zeros(2)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        store["notes"] = self.notes

    def load_own_variables(self, store: Any) -> None:
        self.notes = np.array(store["notes"])
        for i, variable in enumerate(self.variables):
            variable.assign(store[str(i)])


@keras.saving.register_keras_serializable("tiedio_zoo")
class OneArray(keras.Model):
    """A model that stores all of its weights as one array."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = layers.Dense(3)
        self.second = self.first

    def call(self, inputs: Any) -> Any:
        return self.second(self.first(inputs))

    def save_own_variables(self, store: Any) -> None:
        store["all"] = np.concatenate([np.ravel(np.asarray(v.value)) for v in self.weights])

    def load_own_variables(self, store: Any) -> None:
        flat = np.array(store["all"])
        for v in self.weights:
            size = int(np.prod(v.shape))
            v.assign(flat[:size].reshape(v.shape))
            flat = flat[size:]


@case
def a_layer_with_saving_hooks_of_its_own_called_twice() -> Case:
    inputs = keras.Input((3,))
    remembering, first, second = Remembering(name="remembering"), layers.Dense(3), layers.Dense(3)
    model = keras.Model(inputs, second(first(remembering(remembering(inputs)))))
    share(second, "_kernel", first)
    x, y = floats(4, 3), floats(4, 3, seed=1)
    trained(model, x, y)
    remembering.offset, remembering.text = np.array([0.5, -0.25]), "two\nlines \x00 é"
    return Case(model, x, y, same=lambda m: [[m.layers[2].kernel, m.layers[3].kernel]])


@case
def an_optimizer_with_saving_hooks_of_its_own() -> Case:
    inputs, first, second = keras.Input((3,)), layers.Dense(3), layers.Dense(3)
    model = keras.Model(inputs, second(first(inputs)))
    share(second, "_kernel", first)
    x, y = floats(4, 3), floats(4, 3, seed=1)
    trained(model, x, y, optimizer=CountingSGD(0.1, momentum=0.9))
    model.optimizer.notes = np.array([1.0, 2.0])
    return Case(model, x, y, same=lambda m: [[m.layers[1].kernel, m.layers[2].kernel]])


@case
def a_subclassed_model_that_stores_its_weights_as_one_array() -> Case:
    model, x, y = OneArray(), floats(4, 3), floats(4, 3, seed=1)
    model(x)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.first, m.second]])


@case
def an_adapted_normalization_before_tied_layers() -> Case:
    inputs, first, second = keras.Input((3,)), layers.Dense(3), layers.Dense(3)
    normalization = layers.Normalization()
    normalization.adapt(floats(16, 3, seed=5))
    model = keras.Model(inputs, second(first(normalization(inputs))))
    share(second, "_kernel", first)
    x, y = floats(4, 3), floats(4, 3, seed=1)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.layers[2].kernel, m.layers[3].kernel]])


@case
def one_adapted_normalization_in_two_branches_of_a_sequential_model() -> Case:
    normalization = layers.Normalization(axis=None, invert=True)
    normalization.adapt(floats(16, 3, seed=5))
    model = keras.Sequential([keras.Input((3,)), normalization, layers.Dense(3), normalization])
    x, y = floats(4, 3), floats(4, 3, seed=1)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: [[m.layers[0], m.layers[2]]])


@case
def an_adapted_text_vectorization_before_tied_layers() -> Case:
    vectorize = layers.TextVectorization(output_sequence_length=4, name="vectorize")
    vectorize.adapt(_strings(WORDS))
    inputs = keras.Input((1,), dtype="string")
    embedding, logits = layers.Embedding(16, 16), layers.Dense(16, use_bias=False)
    model = keras.Model(inputs, logits(embedding(vectorize(inputs))))
    share(logits, "_kernel", embedding, "_embeddings")
    return Case(
        model,
        _strings(WORDS),
        training=False,
        same=lambda m: [[m.layers[2].embeddings, m.layers[3].kernel]],
    )


def _inside_and_outside(layer: Any, inputs: Any, x: Any) -> Case:
    """A layer that is called in a sub-model and also outside of it."""
    part = keras.Model(inputs, layer(inputs), name="part")
    again = keras.Input(inputs.shape[1:], dtype=inputs.dtype)
    model = keras.Model(again, [part(again), layer(again)])
    return Case(
        model,
        x,
        training=False,
        same=lambda m: [[m.get_layer("part").get_layer(layer.name), m.get_layer(layer.name)]],
    )


def _lookup(kind: Any, words: Any, mode: str, via: str) -> Any:
    weights = {"idf_weights": [0.25, 0.75]} if mode == "tf_idf" else {}
    tokens = words[:2]
    if via == "given":
        return kind(output_mode=mode, vocabulary=tokens, **weights)
    lookup = kind(output_mode=mode)
    if via == "set":
        lookup.set_vocabulary(tokens, **weights)
    else:
        lookup.adapt(keras.ops.convert_to_tensor(np.array(words)[:, None]))
    return lookup


def _looked_up(kind: Any, mode: str, via: str) -> Case:
    words = ["the", "cat\nsat", "Ω", "the"] if kind is layers.StringLookup else [7, 9, 3, 7]
    lookup = _lookup(kind, words, mode, via)
    inputs = keras.Input((1,), dtype="string" if kind is layers.StringLookup else "int64")
    x = np.array(words)[:, None]
    return _inside_and_outside(lookup, inputs, _strings(x) if kind is layers.StringLookup else x)


for _kind in (layers.StringLookup, layers.IntegerLookup):
    for _mode in ("int", "multi_hot", "tf_idf"):
        for _via in ("adapted", "set", "given"):
            register(
                f"{_kind.__name__}_of_mode_{_mode}_whose_vocabulary_is_{_via}",
                lambda kind=_kind, mode=_mode, via=_via: _looked_up(kind, mode, via),  # type: ignore[misc]
            )


@case
def an_adapted_discretization_called_twice() -> Case:
    discretization = layers.Discretization(num_bins=3)
    discretization.adapt(floats(20, 1, seed=3))
    return _inside_and_outside(discretization, keras.Input((1,)), floats(5, 1))


@case
def a_vocabulary_that_was_given_and_then_replaced() -> Case:
    lookup = layers.IntegerLookup(vocabulary=[1, 2, 3])
    lookup.set_vocabulary([3, 9])
    return _inside_and_outside(lookup, keras.Input((1,), dtype="int64"), integers(10, 5, 1).astype("int64"))
