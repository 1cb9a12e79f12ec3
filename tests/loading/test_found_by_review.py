"""Loadings that a reviewer broke: each does what it reports, or raises and changes nothing."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tiedio
from tiedio.errors import MismatchError, ModelError, RebuildError

X = np.linspace(-1, 1, 12).reshape(4, 3).astype("float32")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


class Words(keras.layers.Layer):
    """Has no variable; a file of its own tells what it has learned."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words: list[str] = []

    def call(self, x: Any) -> Any:
        return x

    def save_assets(self, folder: str) -> None:
        Path(folder, "words.txt").write_text("\n".join(self.words), encoding="utf-8")

    def load_assets(self, folder: str) -> None:
        self.words = Path(folder, "words.txt").read_text(encoding="utf-8").split("\n")


def with_words(name: str, words: list[str]) -> Any:
    model = keras.Sequential([keras.Input((3,)), Words(name=name), keras.layers.Dense(3, name="dense")])
    model.layers[0].words = words
    return model


def test_a_layer_without_variables_whose_hooks_store_something_has_to_be_matched(path: Path) -> None:
    tiedio.save_weights(with_words("old", ["a", "b"]), path)
    model = with_words("new", [])
    with pytest.raises(MismatchError) as caught:
        tiedio.load_weights(model, path)
    assert "missing in the file: new" in str(caught.value.found)
    assert "not in the model: old/@assets/words.txt" in str(caught.value.found)
    report = tiedio.load_weights(model, path, strict=False)
    assert (report.missing, report.unexpected) == (("new",), ("old/@assets/words.txt",))
    report = tiedio.load_weights(model, path, mapping={"old": "new"})
    assert report.complete
    assert report.loaded == ("dense/kernel", "dense/bias", "new/@assets/words.txt")
    assert model.layers[0].words == ["a", "b"]


def test_a_part_of_a_file_is_not_asked_for_what_hooks_of_other_parts_stored(path: Path) -> None:
    tiedio.save_weights({"words": with_words("old", ["a"]), "net": with_words("other", ["b"])}, path)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="dense")])
    assert tiedio.load_weights(dense.layers[0], path, prefix="words/dense").complete


def test_a_vocabulary_in_a_layer_of_another_name_is_not_passed_over(path: Path) -> None:
    def build(name: str, words: list[str]) -> Any:
        lookup = keras.layers.StringLookup(name=name, output_mode="one_hot", max_tokens=4)
        lookup.adapt(np.array(words))
        inputs = keras.Input((1,), dtype="string")
        return keras.Model(inputs, keras.layers.Dense(3, name="dense")(lookup(inputs)))

    tiedio.save_weights(build("old", ["a", "b", "c"]), path)
    with pytest.raises(MismatchError, match="old/@vocabulary/tokens"):
        tiedio.load_weights(build("new", ["x", "y", "z"]), path)


def two(tools: Any, tied: bool, seed: int) -> Any:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3, name=n) for n in ("first", "second"))])
    model.first, model.second = model.layers
    if tied:
        tools.share(model)
    return model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_model_that_is_not_compiled_predicts_with_the_ties_of_the_file(
    path: Path, tools: Any, tied: bool, nested: bool
) -> None:
    def wrapped(model: Any) -> Any:
        return keras.Sequential([keras.Input((3,)), model]) if nested else model

    tiedio.save_weights(wrapped(two(tools, tied, 1)), path)
    model = two(tools, not tied, 2)
    model.predict(X, verbose=0)
    tiedio.load_weights(wrapped(model), path, ties="restore")
    np.testing.assert_allclose(model.predict(X, verbose=0), np.array(model(X)), rtol=1e-5)


def test_a_callback_may_restore_ties_while_fit_is_at_work(path: Path, tools: Any) -> None:
    source = tools.net(tied=True, traced=True, steps=1)
    tiedio.save_weights(source, path)
    model = tools.net(seed=1, tied=False, traced=True)

    class Load(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                tiedio.load_weights(model, path, ties="restore")

    model.fit(tools.x, tools.y, epochs=2, shuffle=False, verbose=0, callbacks=[Load()])
    source.fit(tools.x, tools.y, shuffle=False, verbose=0)
    assert tools.values(model) == tools.values(source)


class Statistics(keras.layers.Layer):
    """What its hook carries stands in an array, in containers in containers, and in a layer that it holds."""

    fault = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.mean = np.zeros(3, "float32")
        self.deep: dict[str, Any] = {"a": [1, [2]]}
        self.box = types.SimpleNamespace(count=0)
        self.inner = keras.layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.inner(x) + self.mean

    def save_own_variables(self, store: Any) -> None:
        store["mean"] = self.mean

    def load_own_variables(self, store: Any) -> None:
        self.mean[:] = store["mean"]
        self.deep["a"][1].append(3)
        self.box.count, self.box.extra = 1, 2
        self.inner.activation = keras.activations.relu
        self.inner.trainable = False
        if self.fault:
            raise OSError("no more room")


def test_a_hook_that_fails_leaves_no_array_container_or_layer_changed(
    path: Path, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, model = (keras.Sequential([keras.Input((3,)), Statistics(name="statistics")]) for _ in range(2))
    source.layers[0].mean[:] = 7
    tiedio.save_weights(source, path)
    before, layer = tools.picture(model), model.layers[0]
    monkeypatch.setattr(Statistics, "fault", True)
    with pytest.raises(RebuildError, match="no more room"):
        tiedio.load_weights(model, path)
    assert layer.mean.tolist() == [0, 0, 0]
    assert dict(layer.deep) == {"a": [1, [2]]}
    assert vars(layer.box) == {"count": 0}
    assert layer.inner.activation is keras.activations.linear
    assert layer.inner.trainable
    assert len(model.trainable_variables) == 2
    assert tools.picture(model) == before
    monkeypatch.setattr(Statistics, "fault", False)
    tiedio.load_weights(model, path)
    assert layer.mean.tolist() == [7, 7, 7]


@pytest.mark.parametrize("where", ["list in a dict", "object", "module"])
def test_a_variable_of_tensorflow_s_is_seen_however_deep(path: Path, where: str) -> None:
    variable = tf.Variable(1.0)
    module = tf.Module()
    module.variable = variable
    layer = keras.layers.Dense(3)
    layer.held = {
        "list in a dict": {"a": [[variable]]},
        "object": types.SimpleNamespace(variable=variable),
        "module": module,
    }[where]
    with pytest.raises(ModelError, match="not tracked by Keras"):
        tiedio.save_weights(keras.Sequential([keras.Input((3,)), layer]), path)


def test_a_model_that_has_predicted_uses_the_statistics_that_were_loaded(path: Path) -> None:
    def build(data: Any) -> Any:
        normalization = keras.layers.Normalization(name="normalization")
        normalization.adapt(data)
        return keras.Sequential([keras.Input((3,)), normalization, keras.layers.Dense(3, name="dense")])

    source, model = build(X), build(X * 3 + 1)
    tiedio.save_weights(source, path)
    model.predict(X, verbose=0)
    tiedio.load_weights(model, path)
    np.testing.assert_allclose(model.predict(X, verbose=0), np.array(source(X)), rtol=1e-5)


def given(words: list[str]) -> Any:
    return keras.layers.StringLookup(vocabulary=words, name="layer")


def binned(boundaries: list[float]) -> Any:
    return keras.layers.Discretization(bin_boundaries=boundaries, name="layer")


@pytest.mark.parametrize(
    ("make", "dtype", "old", "new"), [(given, "string", ["a", "b"], ["b", "a"]), (binned, "float32", [1.0], [2.0])]
)
@pytest.mark.parametrize("save", [tiedio.save, tiedio.save_weights])
def test_what_a_config_tells_of_a_vocabulary_has_to_be_the_same_too(
    path: Path, save: Any, make: Any, dtype: str, old: Any, new: Any
) -> None:
    def build(said: Any) -> Any:
        inputs = keras.Input((1,), dtype=dtype)
        return keras.Model(inputs, keras.layers.Embedding(9, 2, name="embedding")(make(said)(inputs)))

    save(build(old), path)
    assert tiedio.load_weights(build(old), path).complete
    with pytest.raises(MismatchError, match="another vocabulary"):
        tiedio.load_weights(build(new), path)


@pytest.mark.parametrize("wrong", [{"mapping": {1: "dense"}}, {"mapping": {"dense": None}}, {"prefix": 3}])
def test_a_path_that_is_no_string_is_refused(path: Path, wrong: Any) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="dense")])
    tiedio.save_weights(model, path)
    with pytest.raises(tiedio.TiedioError):
        tiedio.load_weights(model, path, **wrong)
