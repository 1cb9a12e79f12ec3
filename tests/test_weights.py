"""`save_weights`: values and ties of a model that no config describes, and nothing of its structure."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from jsonschema import Draft202012Validator

import tiedio
from tiedio.container.header import read_header
from tiedio.errors import FormatError, ModelError, PathError
from tiedio.manifest import FORMAT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


class Odd(keras.layers.Layer):
    """Not registered, no get_config, and what it holds stands in lists and dicts."""

    def __init__(self, function: Any, **options: Any) -> None:
        super().__init__(**options)
        self.function = function
        self.first = self.add_weight((3,), name="first")
        self.table = {"again": self.first, "list": [self.add_weight((3,), name="in_list")]}

    def call(self, x: Any) -> Any:
        return self.function(x) * self.first + self.table["list"][0]


def model(**options: Any) -> Any:
    return keras.Sequential([keras.Input((3,)), Odd(lambda x: x + 1, name="odd", **options)], name="model")


def test_the_file_holds_the_ties_and_no_structure(path: Path) -> None:
    made = model()
    made.compile(keras.optimizers.SGD(momentum=0.5), loss=lambda y, p: keras.ops.mean(p))
    made.layers[0].first.regularizer = lambda x: keras.ops.sum(x)
    made.train_on_batch(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ModelError):
        tiedio.save(made, path)
    assert not path.exists()
    tiedio.save_weights(made, path)
    assert sorted(read_header(path).metadata) == ["tiedio.digests", "tiedio.format", "tiedio.manifest"]
    manifest = tiedio.inspect(path)
    assert [tie.slots for tie in manifest.ties] == [("odd/first", "odd/table/again")]
    assert [spec.name for spec in manifest.tensors] == [
        "odd/first",
        "odd/table/list/0",
        "@optimizer/iterations",
        "@optimizer/learning_rate",
        "@optimizer/momentums/odd/first",
        "@optimizer/momentums/odd/table/list/0",
    ]
    assert all(variable.regularizer is None for variable in manifest.variables)
    schema = json.loads((resources.files("tiedio") / f"schema/manifest-{FORMAT}.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads(read_header(path).metadata["tiedio.manifest"]))


def test_load_says_that_code_has_to_build_the_model(path: Path) -> None:
    tiedio.save_weights(model(), path)
    with pytest.raises(FormatError) as caught:
        tiedio.load(path)
    assert "weights only" in caught.value.what
    assert "tiedio.load_weights(model, path)" in str(caught.value.remedy)


def test_the_same_model_gives_the_same_bytes(path: Path) -> None:
    made = model()
    tiedio.save_weights(made, path)
    first = path.read_bytes()
    tiedio.save_weights(made, path)
    assert path.read_bytes() == first


def test_without_the_optimizer(path: Path) -> None:
    made = model()
    made.compile("adam", "mse")
    made.train_on_batch(np.ones((2, 3)), np.ones((2, 3)))
    tiedio.save_weights(made, path, optimizer=False)
    manifest = tiedio.inspect(path)
    assert not manifest.optimizers
    assert len(manifest.tensors) == 2


def test_an_existing_file_stays_if_it_is_not_to_be_overwritten_or_saving_fails(path: Path) -> None:
    tiedio.save_weights(model(), path)
    content = path.read_bytes()
    with pytest.raises(PathError, match="the file exists"):
        tiedio.save_weights(model(), path, overwrite=False)
    made = model()
    made.layers[0].handle = tf.Variable(1.0)
    with pytest.raises(ModelError, match="not tracked by Keras"):
        tiedio.save_weights(made, path)
    assert path.read_bytes() == content


def test_what_would_be_lost_is_refused_by_name(path: Path) -> None:
    made = model()
    made.layers[0].own_optimizer = keras.optimizers.SGD()
    with pytest.raises(ModelError) as caught:
        tiedio.save_weights(made, path)
    assert caught.value.path == "odd/own_optimizer"
    assert "optimizer=False" in str(caught.value.remedy)
    tiedio.save_weights(made, path, optimizer=False)
    with pytest.raises(ModelError, match="not built"):
        tiedio.save_weights(keras.Sequential([keras.layers.Dense(2)]), path)
    empty = keras.Sequential([keras.layers.Dense(2)])
    empty.built = True  # as `build` leaves a subclassed model whose call it cannot follow
    with pytest.raises(ModelError, match="no weights"):
        tiedio.save_weights(empty, path)
    with pytest.raises(ModelError, match="not a model"):
        tiedio.save_weights(keras.layers.Dense(2), path)


def test_a_variable_of_strings_is_refused(path: Path) -> None:
    made = model()
    text = keras.Variable(lambda *_, **__: tf.constant("a"), shape=(), dtype="string", trainable=False)
    dict.__setitem__(made.layers[0].table, "text", text)
    with pytest.raises(ModelError, match="cannot be stored"):
        tiedio.save_weights(made, path)
    assert not path.exists()
