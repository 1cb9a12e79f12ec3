"""The configs of serializable classes: which arguments they tell, how, and which they refuse."""

from __future__ import annotations

import copy
import enum
import inspect
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tests.serialization_models import Keeps, Transposed, came_back, chain, given
from tiedio import serialization
from tiedio.errors import ModelError


@tiedio.serializable(package="tests.configs")
class ByPosition(keras.layers.Layer):
    def __init__(self, first: Any, /, second: int = 2, *parts: Any, third: Any = (1, 2), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first, self.second, self.parts, self.third = first, second, list(parts), third

    def call(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x)
        return x * self.first


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def test_the_class_is_registered_under_package_and_name() -> None:
    class Some(keras.layers.Layer):
        pass

    name = keras.saving.get_registered_name
    assert name(tiedio.serializable(Some)) == "Custom>Some"
    assert name(tiedio.serializable()(Some)) == "Custom>Some"
    assert name(tiedio.serializable("mine")(Some)) == "mine>Some"
    assert name(tiedio.serializable(package="mine", name="Other")(Some)) == "mine>Other"
    assert name(tiedio.serializable(name="Alone")(Some)) == "Custom>Alone"


def test_the_class_stays_the_class_that_it_was() -> None:
    class Plain(keras.layers.Layer):
        def __init__(self, source: Any, width: int = 3, **kwargs: Any) -> None:
            super().__init__(**kwargs)

    before = inspect.signature(Plain.__init__), inspect.getfullargspec(Plain.__init__)
    assert tiedio.serializable(Plain) is Plain
    assert (inspect.signature(Plain.__init__), inspect.getfullargspec(Plain.__init__)) == before
    with pytest.raises(TypeError, match="source"):
        Plain()  # type: ignore[call-arg]


def test_defaults_are_not_written_whether_given_or_not() -> None:
    assert given(ByPosition(3)) == {"first": 3}
    assert given(ByPosition(3, 2, third=(1, 2))) == {"first": 3}
    assert given(ByPosition(3, 4, third=[1, 2])) == {"first": 3, "second": 4, "third": [1, 2]}
    assert given(Keeps(None, scale=1)) == {"value": None, "scale": 1}  # 1 is not 1.0


def test_arguments_by_position_and_any_number_of_them_come_back(path: Path) -> None:
    dense = keras.layers.Dense(6, name="dense")
    model = chain(dense, ByPosition(3.0, 2, dense, dense, third={"a": None}, name="layer"))
    layer = came_back(model, path).get_layer("layer")
    assert (layer.first, layer.second, dict(layer.third)) == (3.0, 2, {"a": None})
    assert layer.parts[0] is layer.parts[1]


def test_name_flag_policy_and_regularizer_are_told_as_they_are_now() -> None:
    layer = Keeps(1, name="old", activity_regularizer="l2")
    layer.trainable = False
    layer.name = "new"
    layer.activity_regularizer = None
    layer.dtype_policy = "mixed_float16"
    config = layer.get_config()
    assert (config["name"], config["trainable"]) == ("new", False)
    assert config["dtype"]["config"]["name"] == "mixed_float16"
    assert "activity_regularizer" not in config
    again = Keeps.from_config(config)
    assert (again.name, again.trainable, again.dtype_policy.name) == ("new", False, "mixed_float16")


def test_a_constructor_that_takes_no_name_is_given_none(path: Path) -> None:
    @tiedio.serializable(package="tests.configs", name="Nameless")
    class Nameless(keras.layers.Layer):
        def __init__(self, source: Any) -> None:
            super().__init__(name="fixed")
            self.source = source

        def call(self, x: Any) -> Any:
            return self.source(x)

    dense = keras.layers.Dense(6, name="dense")
    layer = Nameless(dense)
    layer.trainable = False
    assert list(layer.get_config()) == ["source"]
    loaded = came_back(chain(dense, layer), path).get_layer("fixed")
    assert not loaded.trainable


def test_a_list_that_the_constructor_changes_is_noted_as_it_was_given() -> None:
    class Pops(keras.layers.Layer):
        def __init__(self, sizes: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            sizes["all"].append(sizes["all"].pop(0) + 1)
            self.sizes = sizes

    layer = tiedio.serializable(Pops)({"all": [1, 2]})
    layer.sizes["all"].append(5)
    assert given(layer) == {"sizes": {"all": [1, 2]}}


def test_the_constructor_of_the_class_that_is_made_counts() -> None:
    class Undecorated(Transposed):
        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(keras.layers.Dense(units), **kwargs)

    @tiedio.serializable(package="tests.configs")
    class Decorated(Undecorated):
        def __init__(self, width: int, *, extra: str = "none", **kwargs: Any) -> None:
            super().__init__(width * 2, **kwargs)

    class Configured(Transposed):
        def __init__(self, source: Any, more: int, **kwargs: Any) -> None:
            super().__init__(source, **kwargs)

        def get_config(self) -> Any:
            return {**super().get_config(), "own": True}

    assert given(Undecorated(3)) == {"units": 3}
    assert given(Decorated(3, extra="some")) == {"width": 3, "extra": "some"}
    assert Decorated.from_config(Decorated(3).get_config()).source.units == 6
    assert given(Configured(None, 2)) == {"source": None, "more": 2, "own": True}


def test_a_class_with_a_config_of_its_own_keeps_it() -> None:
    class Own(keras.layers.Layer):
        def __init__(self, value: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)

        def get_config(self) -> Any:
            return {"own": 1}

        @classmethod
        def from_config(cls, config: Any) -> Any:
            return cls(config["own"])

    before = Own.get_config
    assert tiedio.serializable(Own).get_config is before
    assert Own(2).get_config() == {"own": 1}
    assert serialization.arguments_of(Own(2)) == {}


VALUES: dict[str, Any] = {
    "initializer": keras.initializers.RandomUniform(-0.5, 0.5, seed=3),
    "regularizer": keras.regularizers.L2(0.25),
    "loss": keras.losses.Huber(delta=1.0),
    "activation": keras.activations.gelu,
    "policy": keras.dtype_policies.DTypePolicy("mixed_bfloat16"),
    "array": np.arange(6, dtype="float32").reshape(2, 3),
    "number of numpy": np.float64(0.5),
    "tuple": ((1, 2), [3.0, (None, "x")]),
    "dict of numbers": {1: "one", "two": 2.0},
    "ordered": OrderedDict(b=1, a=(2,)),
    "infinity": float("inf"),
    "bytes": b"abc",
    "slice": slice(1, None, 2),
    "nothing": None,
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_that_keras_serializes_comes_back(path: Path, kind: str) -> None:
    loaded = came_back(chain(Keeps(VALUES[kind], name="keeps")), path).get_layer("keeps")
    held = serialization.arguments_of(loaded)["value"]
    if kind == "array":
        assert held.dtype == VALUES[kind].dtype
        assert np.array_equal(held, VALUES[kind])
    elif hasattr(held, "get_config"):
        assert type(held) is type(VALUES[kind])
        assert held.get_config() == VALUES[kind].get_config()
    else:
        assert held == VALUES[kind]


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


Pair = namedtuple("Pair", ["left", "right"])
REFUSED: dict[str, Any] = {
    "enum": Color.RED,
    "integer enum": Level.LOW,
    "object": object(),
    "set": {1, 2},
    "named tuple": Pair(1, 2),
    "class": keras.layers.Dense,
    "config": {"class_name": "Dense", "config": {"units": 1}},
    "bytes that are no text": b"\xff",
    "tensor of a graph": keras.Input((3,)),
}


@pytest.mark.parametrize("kind", [kind for kind in REFUSED if kind != "tensor of a graph"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_value_that_cannot_be_stored_is_refused_with_place_and_remedy(path: Path, kind: str, nested: bool) -> None:
    value = [{"deep": (REFUSED[kind],)}] if nested else REFUSED[kind]
    layer = Keeps(1, name="keeps")
    serialization.arguments_of(layer)["value"] = value  # Keras itself refuses to hold some of them
    with pytest.raises(ModelError, match="argument 'value' of Keeps cannot be stored") as caught:
        tiedio.save(chain(layer), path)
    assert caught.value.path == "keeps"
    assert caught.value.found
    assert caught.value.remedy
    with pytest.raises(ModelError, match="argument 'value' of Keeps cannot be stored"):
        layer.get_config()


def test_what_only_its_owner_makes_needs_no_config(path: Path) -> None:
    @tiedio.serializable(package="tests.configs", name="Owner")
    class Owner(keras.layers.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.inner = Keeps(Color.RED, scale=2.0)

        def call(self, x: Any) -> Any:
            return self.inner(x)

    loaded = came_back(chain(Owner(name="owner")), path)
    assert loaded.get_layer("owner").inner.held is Color.RED


def test_an_error_of_a_layer_inside_is_told_as_it_is() -> None:
    inner = Keeps(Color.RED, name="inner")
    with pytest.raises(ModelError, match="argument 'value' of Keeps") as caught:
        Keeps([inner], name="outer").get_config()
    assert caught.value.path == "inner"


@pytest.mark.parametrize("thing", [lambda: None, dict, keras.losses.Loss], ids=["function", "dict", "loss"])
def test_only_classes_of_layers_and_models_are_taken(thing: Any) -> None:
    with pytest.raises(ModelError, match="only classes of layers and models") as caught:
        tiedio.serializable(thing)
    assert "register_keras_serializable" in str(caught.value.remedy)


def test_a_keyword_named_as_a_positional_argument_is_refused() -> None:
    class Twice(keras.layers.Layer):
        def __init__(self, first: Any, /, **kwargs: Any) -> None:
            super().__init__()

    with pytest.raises(ModelError, match="two values"):
        tiedio.serializable(Twice)(1, first=2)


def test_from_config_leaves_the_config_as_it_is_and_runs_no_code_in_safe_mode() -> None:
    config = {"name": "keeps", "value": [{"class_name": "__slice__", "config": {"start": 1, "stop": 2, "step": None}}]}
    before = copy.deepcopy(config)
    assert given(Keeps.from_config(config))["value"] == before["value"]
    assert config == before
    layer = Keeps(keras.layers.Lambda(lambda x: x))
    with pytest.raises(ValueError, match="safe"):
        Keeps.from_config(layer.get_config())


def test_custom_objects_reach_what_is_nested() -> None:
    class Stranger(keras.layers.Layer):
        pass

    config = Keeps(Stranger(name="s")).get_config()
    assert isinstance(Keeps.from_config(config, custom_objects={"Stranger": Stranger}).held, Stranger)


def test_an_object_made_past_its_constructor_has_nothing_to_tell() -> None:
    assert serialization.arguments_of(Transposed.__new__(Transposed)) == {}
    assert serialization.arguments_of(object()) == {}
