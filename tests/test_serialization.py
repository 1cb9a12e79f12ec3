"""`tiedio.serializable`: one decorator line, and a class that takes layers, models and variables comes back."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tests.serialization_models import Keeps, Transposed, X, came_back, chain, given
from tiedio import keras_api, pipeline, serialization
from tiedio.errors import FormatError, ModelError
from tiedio.limits import Limits
from tiedio.structure.audit import Rules


@tiedio.serializable(package="tests")
class Hides(keras.layers.Layer):
    """Is given something, and holds it in no attribute."""

    def __init__(self, source: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.known = type(source).__name__

    def call(self, x: Any) -> Any:
        return x


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def autoencoder() -> Any:
    encoder = keras.layers.Dense(3, activation="tanh", name="encoder")
    return chain(encoder, Transposed(encoder, name="decoder"))


def built(name: str) -> Any:
    layer = keras.layers.Dense(6, name=name)
    layer.build((None, 6))
    return layer


# --- references -----------------------------------------------------------------------------------------


def test_a_layer_that_refers_to_another_one_loads_with_that_very_layer_and_trains_on(path: Path) -> None:
    model = autoencoder()
    model.compile("adam", "mse", run_eagerly=True)
    model.train_on_batch(X, X)
    loaded = came_back(model, path)
    assert loaded.get_layer("decoder").source is loaded.get_layer("encoder")
    assert np.array_equal(loaded(X), model(X))
    for one in (model, loaded):
        one.train_on_batch(X, X)
    assert [v.numpy().tobytes() for v in loaded.variables] == [v.numpy().tobytes() for v in model.variables]
    assert len(loaded.trainable_variables) == 2


def test_a_variable_that_a_constructor_takes_is_the_one_variable_after_loading(path: Path) -> None:
    dense = built("dense")
    model = chain(dense, Keeps([dense.kernel, {"bias": (dense.bias,)}], name="keeps"))
    loaded = came_back(model, path)
    keeps = loaded.get_layer("keeps")
    assert keeps.held[0] is loaded.get_layer("dense").kernel
    assert keeps.held[1]["bias"][0] is loaded.get_layer("dense").bias
    noted = serialization.arguments_of(keeps)["value"]
    assert noted[0] is loaded.get_layer("dense").kernel
    assert [tie.slots for tie in tiedio.find_ties(loaded)] == [tie.slots for tie in tiedio.find_ties(model)]


def test_a_variable_of_no_layer_is_one_variable_of_two_layers_after_loading(path: Path) -> None:
    free = keras.Variable(np.arange(3.0), name="free")
    loaded = came_back(chain(Keeps(free, name="a"), Keeps(free, name="b")), path)
    a, b = loaded.layers
    assert a.held is b.held
    assert np.array_equal(a.held, np.arange(3.0))


def test_an_argument_that_was_tied_to_another_variable_later_is_followed(path: Path) -> None:
    @tiedio.serializable(package="tests", name="Follows")
    class Follows(keras.layers.Layer):
        def __init__(self, shared: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.shared = shared

        def call(self, x: Any) -> Any:
            return x * self.shared

    one, other = (keras.Variable(np.full(6, value, "float32")) for value in (1.0, 2.0))
    model = chain(Follows(one, name="a"), Follows(other, name="b"))
    keras_api.set_attribute(model.layers[0], "shared", other)
    loaded = came_back(model, path)
    assert loaded.layers[0].shared is loaded.layers[1].shared
    assert np.array_equal(loaded(X), model(X))


KINDS: dict[str, Callable[[], Any]] = {
    "sequential": lambda: chain(keras.layers.Dense(6, name="inside")),
    "functional": lambda: keras.Model(i := keras.Input((6,)), keras.layers.Dense(6, name="inside")(i)),
    "layers in a nest": lambda: {"a": [built("f")], "b": (built("g"), 1)},
    "metric": lambda: keras.metrics.Mean(name="mean"),
    "seed generator": lambda: keras.random.SeedGenerator(3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_object_in_two_arguments_is_one_object_after_loading(path: Path, kind: str) -> None:
    value = KINDS[kind]()
    loaded = came_back(chain(Keeps(value, name="a"), Keeps([value, value], name="b")), path)
    a, b = (layer.held for layer in loaded.layers)
    pairs = [(a, b[0]), (a, b[1])]
    if kind == "layers in a nest":
        pairs = [(a["a"][0], b[0]["a"][0]), (a["b"][0], b[1]["b"][0])]
        assert tuple(a["b"])[1] == 1
    for one, other in pairs:
        assert one is other


@pytest.mark.parametrize("kind", ["layer", "variable"])
def test_a_reference_to_what_no_model_holds_is_refused_with_both_names(path: Path, kind: str) -> None:
    stray = keras.layers.Dense(2, name="stray")
    stray.build((None, 6))
    model = chain(Hides(stray if kind == "layer" else stray.kernel, name="refers"))
    with pytest.raises(ModelError, match="in no attribute") as caught:
        tiedio.save(model, path)
    assert caught.value.path == "refers"
    assert caught.value.found == ("Dense 'stray'" if kind == "layer" else "Variable 'stray/kernel'")
    assert "hold it in an attribute" in str(caught.value.remedy)
    assert not path.exists()


def test_what_one_layer_hides_and_another_one_holds_is_carried(path: Path) -> None:
    dense = keras.layers.Dense(6, name="dense")
    loaded = came_back(chain(dense, Hides(dense, name="refers")), path)
    assert serialization.arguments_of(loaded.get_layer("refers"))["source"] is loaded.get_layer("dense")


def test_a_model_whose_own_code_makes_layers_that_refer_to_each_other(path: Path) -> None:
    @tiedio.serializable(package="tests", name="Own")
    class Own(keras.Model):
        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.encoder = keras.layers.Dense(units)
            self.decoder = Transposed(self.encoder)
            self.hidden = Hides(self.encoder)

        def call(self, x: Any) -> Any:
            return self.hidden(self.decoder(self.encoder(x)))

    model = Own(3)
    model(X)
    loaded = came_back(model, path)
    assert loaded.decoder.source is loaded.encoder
    assert serialization.arguments_of(loaded.hidden)["source"] is loaded.encoder
    assert np.array_equal(loaded(X), model(X))


# --- subclasses of Keras's own classes --------------------------------------------------------------------


@tiedio.serializable(package="tests")
class LikeAnother(keras.layers.Dense):
    """A dense layer as wide as another one, to which it refers."""

    def __init__(self, other: Any, **kwargs: Any) -> None:
        super().__init__(other.units, **kwargs)
        self.other = other


def test_a_subclass_of_a_layer_of_keras_takes_its_own_arguments(path: Path) -> None:
    dense = keras.layers.Dense(6, name="dense")
    model = chain(dense, LikeAnother(dense, use_bias=False, name="like"))
    assert set(given(model.layers[1])) == {"other", "use_bias"}
    loaded = came_back(model, path)
    assert loaded.layers[1].other is loaded.layers[0]
    assert np.array_equal(loaded(X), model(X))


def test_a_class_with_the_constructor_of_keras_is_configured_by_keras(path: Path) -> None:
    @tiedio.serializable(package="tests", name="PlainDense")
    class PlainDense(keras.layers.Dense):
        pass

    @tiedio.serializable(package="tests", name="PlainModel")
    class PlainModel(keras.Model):
        pass

    @tiedio.serializable(package="tests", name="LikeModel")
    class LikeModel(keras.Model):
        def __init__(self, inputs: Any, outputs: Any, name: Any = None, **kwargs: Any) -> None:
            super().__init__(inputs, outputs, name=name, **kwargs)

    @tiedio.serializable(package="tests", name="AnyModel")
    class AnyModel(keras.Model):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    for cls in (PlainModel, LikeModel, AnyModel):
        inputs = keras.Input((6,))
        dense = PlainDense(6, name="dense")
        model = cls(inputs, Transposed(dense, name="decoder")(dense(inputs)), name="model")
        loaded = came_back(model, path)
        assert type(loaded) is cls
        assert loaded.get_layer("decoder").source is loaded.get_layer("dense")
        assert np.array_equal(loaded(X), model(X))
        model.save(path.with_name("model.keras"))
        kept = keras.saving.load_model(path.with_name("model.keras"))
        assert np.array_equal(kept(X), model(X))


def test_a_sequential_model_whose_constructor_takes_a_layer(path: Path) -> None:
    @tiedio.serializable(package="tests", name="Stack")
    class Stack(keras.Sequential):
        def __init__(self, part: Any, times: int = 2, **kwargs: Any) -> None:
            super().__init__([keras.Input((6,)), part, keras.layers.Activation("tanh", name="last")], **kwargs)
            self.part = part
            self.times = times

    dense = keras.layers.Dense(6, name="dense")
    model = Stack(dense, times=3, name="stack")
    loaded = came_back(model, path)
    assert loaded.part is loaded.layers[0]
    assert loaded.times == 3
    assert np.array_equal(loaded(X), model(X))


# --- Keras's own ways -------------------------------------------------------------------------------------


def test_keras_saves_and_loads_the_layer_too(tmp_path: Path) -> None:
    model = autoencoder()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(loaded(X), model(X))
    assert loaded.get_layer("decoder").source is loaded.get_layer("encoder")
    rebuilt = keras.models.model_from_json(model.to_json())
    assert [layer.name for layer in rebuilt.layers] == ["encoder", "decoder"]


@pytest.mark.parametrize("way", ["save", "clone", "get_config"])
def test_keras_cannot_store_a_variable_and_the_error_names_the_way_that_can(tmp_path: Path, way: str) -> None:
    dense = built("dense")
    model = chain(dense, Keeps(dense.kernel, name="keeps"))
    acts: dict[str, Callable[[], Any]] = {
        "save": lambda: model.save(tmp_path / "model.keras"),
        "clone": lambda: keras.models.clone_model(model),
        "get_config": model.layers[1].get_config,
    }
    with pytest.raises(ModelError, match="argument 'value' of Keeps") as caught:
        acts[way]()
    assert "dense/kernel" in str(caught.value.found)
    assert "tiedio.save" in str(caught.value.remedy)


def test_a_clone_by_keras_has_a_source_of_its_own_and_leaves_the_original_alone() -> None:
    model = autoencoder()
    before = [v.numpy().tobytes() for v in model.variables]
    clone = keras.models.clone_model(model)
    source = clone.get_layer("decoder").source
    assert source is not model.get_layer("encoder")
    assert source is not clone.get_layer("encoder")  # lost, as every layer is that Keras finds inside a layer
    assert not np.array_equal(source.kernel, model.get_layer("encoder").kernel)
    assert len(clone.weights) == len(model.weights) + 2
    assert [v.numpy().tobytes() for v in model.variables] == before


def test_class_and_model_can_be_pickled_and_copied() -> None:
    assert pickle.loads(pickle.dumps(Transposed)) is Transposed
    assert copy.deepcopy(Transposed) is Transposed
    model = autoencoder()
    for made in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert np.array_equal(made(X), model(X))
        assert made.get_layer("decoder").source is made.get_layer("encoder")
    assert copy.deepcopy(Keeps([1, 2], name="keeps")).held == [1, 2]


# --- files ------------------------------------------------------------------------------------------------


def test_a_file_whose_config_names_a_variable_that_is_not_there_is_refused(path: Path) -> None:
    free = keras.Variable([1.0], name="free")
    snapshot = pipeline.take_snapshot({None: chain(Keeps(free, name="keeps"))}, optimizer=False)
    entry = snapshot.structure["objects"][-1]
    assert entry["config"]["value"] == {"$variable": "keeps/held"}
    entry["config"]["value"] = {"$variable": "nowhere"}
    parsed = pipeline.Parsed(snapshot.manifest, snapshot.structure, snapshot.training, str(path))
    with pytest.raises(FormatError, match="names a variable"):
        pipeline.restore(parsed, rules=Rules({}, True, Limits.off()), constant=lambda _: np.zeros(0), compile=False)
