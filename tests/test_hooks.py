"""What saving hooks store comes back; what they cannot bring back is refused before anything is written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import tiedio
from tiedio import hooks
from tiedio.container.digests import KEY, blank
from tiedio.errors import FormatError, MismatchError, ModelError, RebuildError
from tiedio.naming import is_file_path
from tiedio.testing.zoo_base import floats, trained
from tiedio.testing.zoo_hooks import CountingSGD, Remembering

layers = keras.layers


def model_of(layer: Any) -> Any:
    inputs = keras.Input((3,))
    return keras.Model(inputs, layer(layer(inputs)))


def stored_in(path: Path) -> dict[str, str]:
    return {f"{one.object}:{one.hook}:{one.key}": one.tensor for one in tiedio.inspect(path).stored}


def edit_manifest(path: Path, change: Any) -> None:
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    manifest = json.loads(metadata["tiedio.manifest"])
    change(manifest, tensors)
    save_file(tensors, path, metadata | {"tiedio.manifest": json.dumps(manifest), KEY: blank(len(tensors))})


# --- what comes back -------------------------------------------------------------------------------


def test_what_a_hook_stores_comes_back_beside_the_variables(tmp_path: Path) -> None:
    layer = Remembering(name="layer")
    model, path = model_of(layer), tmp_path / "m.safetensors"
    layer.offset, layer.text = np.array([1.5, -2.5]), "words\n\x00 é"
    tiedio.save(model, path)
    loaded = tiedio.load(path).get_layer("layer")
    assert loaded.offset.tobytes() == layer.offset.tobytes()
    assert loaded.text == layer.text
    assert loaded.scale is not layer.scale


def test_a_variable_that_a_hook_stores_stands_once_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = model_of(Remembering(name="layer"))
    x = floats(4, 3)
    trained(model, x, x, optimizer=CountingSGD(0.1, momentum=0.9))
    tiedio.save(model, path)
    stored = stored_in(path)
    assert stored["layer:variables:0"] == "layer/scale"
    assert stored["layer:variables:offset"] == "layer/@own_variables/offset"
    assert stored["layer:assets:deep/text.txt"] == "layer/@assets/deep/text.txt"
    # The optimizer's hook stores copies of its variables.
    assert stored["@optimizer:variables:2"] == "@optimizer/momentums/layer/scale"
    assert stored["@optimizer:variables:notes"] == "@optimizer/@own_variables/notes"
    with safe_open(path, "numpy") as file:
        names = set(file.keys())
    assert not any("@own_variables/%3" in name for name in names)


def test_the_hooks_of_an_optimizer_do_not_run_without_compiling(tmp_path: Path) -> None:
    model, x, path = model_of(layers.Dense(3)), floats(4, 3), tmp_path / "m.safetensors"
    trained(model, x, x, optimizer=CountingSGD(0.1))
    model.optimizer.notes = np.array([3.0, 4.0])
    tiedio.save(model, path)
    assert not tiedio.load(path, compile=False).compiled
    assert tiedio.load(path).optimizer.notes.tolist() == [3.0, 4.0]
    tiedio.save(model, path, optimizer=False)
    assert stored_in(path) == {}


def test_a_vocabulary_that_was_read_from_a_file_is_loaded_where_that_file_is_not(tmp_path: Path) -> None:
    words, path = tmp_path / "words.txt", tmp_path / "m.safetensors"
    words.write_text("cat\ndog\n", encoding="utf-8")
    lookup = layers.StringLookup(vocabulary=str(words))
    inputs = keras.Input((1,), dtype="string")
    tiedio.save(keras.Model(inputs, lookup(inputs)), path)
    words.unlink()
    loaded = tiedio.load(path).layers[1]
    assert loaded.get_vocabulary() == lookup.get_vocabulary() == ["[UNK]", "cat", "dog"]


def test_a_feature_space_loads_with_all_that_it_adapted(tmp_path: Path) -> None:
    import tensorflow as tf

    space = keras.utils.FeatureSpace(
        {"a": keras.utils.FeatureSpace.float_normalized(), "s": keras.utils.FeatureSpace.string_categorical()},
        output_mode="concat",
    )
    rows = {"a": [1.0, 2.0, 4.0], "s": ["x", "y", "x"]}
    space.adapt(tf.data.Dataset.from_tensor_slices(rows))
    model = keras.Model(dict(space.get_inputs()), layers.Dense(2)(space.get_encoded_features()))
    x = {"a": tf.constant([[1.0], [3.0]]), "s": tf.constant([["y"], ["z"]])}
    path = tmp_path / "m.safetensors"
    tiedio.save(model, path)
    assert np.asarray(tiedio.load(path)(x)).tobytes() == np.asarray(model(x)).tobytes()


# --- what is refused when saving -------------------------------------------------------------------


@keras.saving.register_keras_serializable("tests_hooks")
class Doubling(Remembering):
    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        self.scale.assign(2 * self.scale)


@keras.saving.register_keras_serializable("tests_hooks")
class Forgetting(Remembering):
    def load_own_variables(self, store: Any) -> None:
        self.scale.assign(store["0"])


@keras.saving.register_keras_serializable("tests_hooks")
class Failing(Remembering):
    fails = "save_own_variables"

    def save_own_variables(self, store: Any) -> None:
        self._fail("save_own_variables")
        super().save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        self._fail("load_own_variables")
        super().load_own_variables(store)

    def save_assets(self, dir_path: str) -> None:
        self._fail("save_assets")
        super().save_assets(dir_path)

    def load_assets(self, dir_path: str) -> None:
        self._fail("load_assets")
        super().load_assets(dir_path)

    def _fail(self, hook: str) -> None:
        if hook == type(self).fails:
            raise OSError("out of luck")


@keras.saving.register_keras_serializable("tests_hooks")
class Odd(Remembering):
    """Stores what its attribute `act` says."""

    act: Any = staticmethod(lambda store, folder: None)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        type(self).act(store, None)

    def save_assets(self, dir_path: str) -> None:
        super().save_assets(dir_path)
        type(self).act(None, Path(dir_path))


def _make_a_pipe(_store: Any, folder: Path | None) -> None:
    if folder is not None:
        os.mkfifo(folder / "pipe")


def test_a_loading_hook_that_changes_a_variable_is_refused_when_saving(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="left another value") as caught:
        tiedio.save(model_of(Doubling(name="layer")), tmp_path / "m.safetensors")
    assert caught.value.path == "layer/scale"
    assert "load_own_variables" in str(caught.value.remedy)
    assert list(tmp_path.iterdir()) == []


@keras.saving.register_keras_serializable("tests_hooks")
class Meddling(Remembering):
    """Refers to another layer, and changes that one's kernel while it loads."""

    def __init__(self, other: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.other = other

    def get_config(self) -> Any:
        return super().get_config() | {"other": keras.saving.serialize_keras_object(self.other)}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls(keras.saving.deserialize_keras_object(config.pop("other")), **config)

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        self.other.kernel.assign(2 * self.other.kernel)


def test_a_loading_hook_that_changes_a_variable_of_another_layer_is_refused_when_saving(tmp_path: Path) -> None:
    inputs, dense = keras.Input((3,)), layers.Dense(3, name="dense")
    model = keras.Model(inputs, Meddling(dense, name="meddling")(dense(inputs)))
    with pytest.raises(ModelError, match="left another value") as caught:
        tiedio.save(model, tmp_path / "m.safetensors")
    assert caught.value.path == "dense/kernel"


@keras.saving.register_keras_serializable("tests_hooks")
class Replacing(Remembering):
    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        self._tracker.unlock()
        self.scale = keras.Variable(store["0"], name="scale")
        self._tracker.lock()


@keras.saving.register_keras_serializable("tests_hooks")
class Freezing(Remembering):
    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        self.scale.trainable = False


@pytest.mark.parametrize(("cls", "what"), [(Replacing, "another variable"), (Freezing, "would not come back the same")])
def test_a_loading_hook_that_changes_the_model_is_refused_when_saving(cls: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=what) as caught:
        tiedio.save(model_of(cls(name="layer")), tmp_path / "m.safetensors")
    assert str(caught.value.path).startswith("layer/scale")
    assert list(tmp_path.iterdir()) == []


def test_a_loading_hook_that_forgets_something_is_refused_when_saving(tmp_path: Path) -> None:
    layer = Forgetting(name="layer")
    model = model_of(layer)
    layer.offset = np.ones(2)
    with pytest.raises(ModelError, match="would not come back") as caught:
        tiedio.save(model, tmp_path / "m.safetensors")
    assert caught.value.path == "layer/offset"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("hook", ["save_own_variables", "load_own_variables", "save_assets", "load_assets"])
def test_a_hook_that_fails_is_named_and_nothing_is_written(
    hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "fails", hook)
    with pytest.raises(ModelError, match=f"{hook} of Failing fails") as caught:
        tiedio.save(model_of(Failing(name="layer")), tmp_path / "m.safetensors")
    assert caught.value.path == "layer"
    assert "OSError: out of luck" in str(caught.value.found)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("act", "found"),
    [
        (lambda store, folder: store is not None and store.update({1: np.ones(2)}), "1"),
        (lambda store, folder: store is not None and store.update(text="words"), "<U5"),
        (lambda store, folder: store is not None and store.update(thing=object()), "object"),
        (lambda store, folder: folder and (folder / "hollow").mkdir(), "an empty folder"),
        (lambda store, folder: folder and (folder / "link").symlink_to("/etc/hostname"), "'link'"),
        (lambda store, folder: folder and (folder / "a\\b").touch(), repr("a/b".replace("/", "\\"))),
        (_make_a_pipe, "'pipe'"),
    ],
    ids=["a key", "text", "an object", "an empty folder", "a link", "a backslash", "a pipe"],
)
def test_what_a_hook_must_not_store(act: Any, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odd, "act", staticmethod(act))
    with pytest.raises(ModelError) as caught:
        tiedio.save(model_of(Odd(name="layer")), tmp_path / "m.safetensors")
    assert str(caught.value.path).startswith("layer")
    assert found == str(caught.value.found)
    assert caught.value.expected
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


# --- what is refused when loading ------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    tiedio.save(model_of(Remembering(name="layer")), path)
    return path


def test_a_class_that_has_lost_its_hooks_does_not_take_the_file(saved: Path) -> None:
    class Plain(keras.layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.scale = self.add_weight(shape=(input_shape[-1],), name="scale")

        def call(self, inputs: Any) -> Any:
            return inputs * self.scale

    Plain.__name__ = "Remembering"
    with pytest.raises(MismatchError, match="saving hook that the class does not have") as caught:
        tiedio.load(saved, custom_objects={"tiedio_zoo>Remembering": Plain})
    assert (caught.value.path, caught.value.found) == ("layer", "assets, variables")


def test_a_loading_hook_that_fails_is_named(saved: Path) -> None:
    class Broken(Remembering):
        def load_assets(self, dir_path: str) -> None:
            raise KeyError("text.txt")

    Broken.__name__ = "Remembering"
    with pytest.raises(RebuildError, match="load_assets of Remembering fails") as caught:
        tiedio.load(saved, custom_objects={"tiedio_zoo>Remembering": Broken})
    assert caught.value.path == "layer"


@pytest.mark.parametrize("key", ["../out", "/tmp/out", "deep/../../out", "deep//text", "", "C:out"])
def test_an_asset_cannot_leave_its_folder(saved: Path, key: str) -> None:
    edit_manifest(saved, lambda manifest, tensors: manifest["stored"][-1].update(key=key))
    with pytest.raises(FormatError, match="unsafe name"):
        tiedio.load(saved)


def test_two_assets_whose_paths_exclude_each_other_are_refused(saved: Path) -> None:
    def change(manifest: Any, tensors: Any) -> None:
        assets = [one for one in manifest["stored"] if one["hook"] == "assets"]
        assets[0]["key"], assets[1]["key"] = "deep", "deep/text.txt"

    edit_manifest(saved, change)
    with pytest.raises(FormatError, match="contradicts itself"):
        tiedio.load(saved)


def test_a_tensor_of_a_hook_that_is_missing_or_left_over_is_refused(saved: Path) -> None:
    edit_manifest(saved, lambda manifest, tensors: manifest["stored"].pop())
    with pytest.raises(FormatError, match="left over"):
        tiedio.load(saved)
    edit_manifest(saved, lambda manifest, tensors: tensors.pop("layer/@own_variables/offset"))
    with pytest.raises(FormatError, match="missing"):
        tiedio.load(saved)


@pytest.mark.parametrize("tokens", [b"[1, 2", b"\xff", b'{"a": 1}', b"[]", b'["a", "a"]'])
def test_a_vocabulary_that_is_none_is_refused(tokens: bytes, tmp_path: Path) -> None:
    path, lookup = tmp_path / "m.safetensors", layers.StringLookup(name="lookup")
    lookup.set_vocabulary(["cat", "dog"])
    inputs = keras.Input((1,), dtype="string")
    tiedio.save(keras.Model(inputs, lookup(inputs)), path)

    def change(manifest: Any, tensors: Any) -> None:
        tensors["lookup/@vocabulary/tokens"] = np.frombuffer(tokens, np.uint8)
        manifest["stored"][0]["shape"] = [len(tokens)]

    edit_manifest(path, change)
    with pytest.raises(MismatchError, match="does not fit") as caught:
        tiedio.load(path)
    assert caught.value.path == "lookup"


def test_a_vocabulary_for_a_layer_without_one_is_refused(saved: Path) -> None:
    def change(manifest: Any, tensors: Any) -> None:
        tensors["layer/@vocabulary/tokens"] = np.frombuffer(b"[1]", np.uint8)
        record = {"object": "layer", "hook": "vocabulary", "key": "tokens", "tensor": "layer/@vocabulary/tokens"}
        manifest["stored"].append(record | {"dtype": "uint8", "shape": [3]})

    edit_manifest(saved, change)
    with pytest.raises(MismatchError, match="does not fit"):
        tiedio.load(saved)


@pytest.mark.parametrize("name", ["a", "a/b.txt", ".hidden", "a b", "é", "...x", "a" * 100])
def test_plain_file_paths_are_taken(name: str) -> None:
    assert is_file_path(name)


@pytest.mark.parametrize(
    "name", ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a\\b", "c:a", "a\0", "a\n", ". ."]
)
def test_paths_that_could_lead_out_are_not(name: str) -> None:
    assert not is_file_path(name)


def test_which_classes_have_hooks() -> None:
    without = [
        layers.Dense(1),
        layers.StringLookup(),
        layers.TextVectorization(),
        keras.optimizers.Adam(),
        keras.Model(),
    ]
    assert [value for value in without if hooks.has_hooks(value)] == []
    assert all(hooks.has_hooks(value) for value in (Remembering(), CountingSGD(), layers.Normalization()))
