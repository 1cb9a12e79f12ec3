"""Models that a reviewer broke: each comes back whole, or is refused by name."""

from __future__ import annotations

import collections
import types
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tiedio
from tiedio.errors import ModelError
from tiedio.testing import assert_round_trip

register = keras.saving.register_keras_serializable(package="review")
X = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")


@register
class Holder(layers.Layer):
    """Makes a layer, and calls it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner = layers.Dense(6)

    def build(self, shape: Any) -> None:
        if not self.inner.built:
            self.inner.build(shape)

    def call(self, x: Any) -> Any:
        return self.inner(x)


@register
class Namespace(layers.Layer):
    """Holds its layers in a plain object of the standard library."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.parts = types.SimpleNamespace(one=layers.Dense(4), two=layers.Dense(6))

    def call(self, x: Any) -> Any:
        return self.parts.two(self.parts.one(x))


@register
class FromRegistry(layers.Layer):
    """Takes its layer from a cache that outlives the model."""

    cache: dict[str, Any] = {}  # noqa: RUF012 - the mistake that is to be refused

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner = self.cache.setdefault("inner", layers.Dense(6))

    def call(self, x: Any) -> Any:
        return self.inner(x)


def functional(*parts: Any) -> Any:
    inputs = tensor = keras.Input((6,))
    for part in parts:
        tensor = part(tensor)
    return keras.Model(inputs, tensor)


@pytest.mark.parametrize("deferred", [False, True])
def test_a_sequential_that_computes_a_mask(deferred: bool, tmp_path: Path) -> None:
    words = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    parts = [layers.Embedding(9, 3, mask_zero=True), layers.LSTM(4)]
    model = keras.Sequential(parts if deferred else [keras.Input((4,), dtype="int32"), *parts])
    model(words)
    assert_round_trip(model, inputs=words, training=False, folder=tmp_path)


def test_a_metric_that_makes_its_state_at_the_first_batch(tmp_path: Path) -> None:
    model = functional(layers.Dense(2))
    model.compile("sgd", "mse", metrics=[keras.metrics.F1Score()])
    y = np.eye(2, dtype="float32")[[0, 1, 0, 1]]
    model.train_on_batch(X, y)
    assert_round_trip(model, inputs=X, targets=y, folder=tmp_path)


def test_inputs_in_an_ordered_dict_are_not_swapped(tmp_path: Path) -> None:
    one, two = keras.Input((6,), name="z"), keras.Input((6,), name="b")
    model = keras.Model(collections.OrderedDict(z=one, b=two), layers.Dense(2)(one - two))
    tiedio.save(model, tmp_path / "model.safetensors")
    values = collections.OrderedDict(z=X, b=2 * X)
    assert np.array_equal(tiedio.load(tmp_path / "model.safetensors")(values), model(values))


def test_a_child_replaced_by_hand_before_the_first_call_is_shared(tmp_path: Path) -> None:
    one, two = Holder(name="one"), Holder(name="two")
    two.inner = one.inner
    loaded = assert_round_trip(functional(one, two), inputs=X, training=False, folder=tmp_path)
    assert loaded.get_layer("one").inner is loaded.get_layer("two").inner


def test_layers_in_a_namespace_come_back(tmp_path: Path) -> None:
    model = functional(Namespace(name="names"))
    tiedio.save(model, tmp_path / "model.safetensors")
    loaded = tiedio.load(tmp_path / "model.safetensors")
    assert np.array_equal(loaded(X), model(X))
    assert loaded.get_layer("names").parts.one is not model.get_layer("names").parts.one


def test_a_layer_out_of_a_registry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(tiedio.ModelError) as caught:
        tiedio.save(functional(FromRegistry()), tmp_path / "model.safetensors")
    assert caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_that_was_set_later_comes_back() -> None:
    lookup = layers.StringLookup(vocabulary=["a", "b"])
    lookup.set_vocabulary(["c", "d"])
    inputs = keras.Input((2,), dtype="string")
    loaded = assert_round_trip(keras.Model(inputs, lookup(inputs)), tf.constant([["c", "a"]]))
    assert loaded.layers[1].get_vocabulary() == lookup.get_vocabulary()


def test_a_method_set_by_hand_is_refused(tmp_path: Path) -> None:
    model = functional(layers.Dense(2))
    model.compute_loss = lambda **_: 0.0
    with pytest.raises(tiedio.ModelError, match="compute_loss"):
        tiedio.save(model, tmp_path / "model.safetensors")


def test_a_class_that_only_its_owner_makes_need_not_be_registered(tmp_path: Path) -> None:
    class Unknown(layers.Layer):
        def build(self, shape: Any) -> None:
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x: Any) -> Any:
            return x * self.scale

    class Owner(layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.inner = Unknown()

        def call(self, x: Any) -> Any:
            return self.inner(x)

    model = functional(Owner())
    tiedio.save(model, tmp_path / "model.safetensors")
    loaded = tiedio.load(tmp_path / "model.safetensors", custom_objects={"Owner": Owner})
    assert type(loaded.layers[1].inner) is Unknown


@register
class Table(layers.Layer):
    """Keeps what it has learned in a table of TensorFlow's."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, default_value=0.0)

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    def call(self, x: Any) -> Any:
        return x + self.table.lookup(tf.constant(1, tf.int64))


def test_a_table_that_was_filled_is_refused_and_an_empty_one_is_not(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6,)), Table(name="table")])
    assert_round_trip(model, X)
    model.layers[0].table.insert(tf.constant([1], tf.int64), tf.constant([5.0]))
    with pytest.raises(ModelError, match="table/table"):
        tiedio.save(model, tmp_path / "model.safetensors")


def test_a_vocabulary_that_is_half_adapted_is_refused(tmp_path: Path) -> None:
    lookup = layers.StringLookup(name="lookup")
    inputs = keras.Input((1,), dtype="string")
    model = keras.Model(inputs, lookup(inputs))
    lookup.update_state(tf.constant(["a", "b"]))
    with pytest.raises(ModelError, match="token_counts"):
        tiedio.save(model, tmp_path / "model.safetensors")
    lookup.finalize_state()
    assert_round_trip(model, tf.constant([["a"], ["c"]]))


def test_a_lookup_layer_with_a_mask_token_comes_back() -> None:
    lookup = layers.StringLookup(vocabulary=["a", "b"], mask_token="[MASK]")
    inputs = keras.Input((1,), dtype="string")
    assert_round_trip(keras.Model(inputs, lookup(inputs)), tf.constant([["a"], ["[MASK]"], ["c"]]))


def test_a_vocabulary_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    lookup = layers.StringLookup(name="lookup")
    lookup.adapt(tf.constant([b"\xff", b"a"]))
    inputs = keras.Input((1,), dtype="string")
    with pytest.raises(ModelError, match="no text"):
        tiedio.save(keras.Model(inputs, lookup(inputs)), tmp_path / "model.safetensors")


@register
class Stores(layers.Layer):
    """Its hook stores what the test says."""

    item: Any = None
    got: Any = None

    def call(self, x: Any) -> Any:
        return x

    def save_own_variables(self, store: Any) -> None:
        store["item"] = Stores.item

    def load_own_variables(self, store: Any) -> None:
        Stores.got = store["item"]


@pytest.mark.parametrize("item", [[[1], [1, 2]], keras.KerasTensor((1,)), tf.sparse.from_dense([[0.0, 1.0]])])
def test_what_is_no_array_cannot_be_stored_by_a_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, item: Any
) -> None:
    monkeypatch.setattr(Stores, "item", item)
    with pytest.raises(ModelError, match="no array of numbers"):
        tiedio.save(keras.Sequential([keras.Input((6,)), Stores()]), tmp_path / "model.safetensors")


def test_numbers_of_the_other_byte_order_are_stored_by_a_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stores, "item", np.arange(3, dtype=">f4"))
    tiedio.save(keras.Sequential([keras.Input((6,)), Stores()]), tmp_path / "model.safetensors")
    tiedio.load(tmp_path / "model.safetensors")
    assert Stores.got.tolist() == [0, 1, 2]


@register
class Noted(layers.Normalization):
    """Adapts as Keras's class does, and carries one number more."""

    note = 0

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        store["note"] = self.note

    def load_own_variables(self, store: Any) -> None:
        self.note = int(store["note"])
        super().load_own_variables({key: value for key, value in store.items() if key != "note"})


def test_a_subclass_of_normalization_that_was_adapted_comes_back() -> None:
    layer = Noted()
    layer.adapt(X)
    layer.note = 3
    inputs = keras.Input((6,))
    loaded = assert_round_trip(keras.Model(inputs, layer(inputs)), X)
    assert loaded.layers[1].note == 3
