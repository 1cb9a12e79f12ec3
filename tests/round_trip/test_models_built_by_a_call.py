"""`Sequential` models that know no input shape are built by their first call, wherever that stood: in its order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import Sequential, layers

import tiedio
from tiedio.testing import assert_round_trip

register = keras.saving.register_keras_serializable(package="built_by_a_call")
X = np.linspace(-1, 1, 12).reshape(4, 3).astype("float32")
WIDTH = X.shape[1]


@register
class Given(layers.Layer):
    """Is given a layer and calls it, first of all in a model of its own."""

    def __init__(self, inner: Any, **options: Any) -> None:
        super().__init__(**options)
        self.inner = inner
        self.chain = Sequential([layers.Dense(WIDTH, name="own"), inner], name="chain")

    def call(self, x: Any) -> Any:
        return self.chain(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Given:
        return cls(keras.saving.deserialize_keras_object(config.pop("inner")), **config)


@register
class Maker(layers.Layer):
    """Makes all itself: a layer, a model of it, and a model of both."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(WIDTH, name="own")
        self.twice = Sequential([self.dense, self.dense], name="twice")
        self.chain = Sequential([self.dense, self.twice], name="chain")

    def call(self, x: Any) -> Any:
        return self.chain(x)


def dense(name: str) -> layers.Dense:
    return layers.Dense(WIDTH, name=name)


def chain(name: str, *inside: Any) -> Sequential:
    return Sequential([*inside], name=name)


def ready(model: Sequential) -> Sequential:
    if not model.built:
        model.build((None, WIDTH))
    model.compile("adam", "mse")
    model.train_on_batch(X, X)
    return model


def three_levels() -> tuple[Sequential, Sequential]:
    d = dense("d")
    inner = chain("inner", d, d)
    return ready(chain("outer", d, chain("middle", d, inner), inner)), inner


def three_levels_of_one() -> Any:
    return three_levels()[0]


def the_innermost_is_a_root_too() -> Any:
    outer, inner = three_levels()
    return {"inner": inner, "outer": outer}


def one_after_the_other() -> Any:
    """`late` is no part of `early`, and is built after it within the same model."""
    d, e = dense("d"), dense("e")
    early, late = chain("early", e, d), chain("late", e, e)
    return ready(chain("outer", d, early, late, d))


def built_by_hand_in_another_order() -> Any:
    d = dense("d")
    first, second = chain("first", d), chain("second", d, d)
    second.build((None, WIDTH))
    return ready(chain("outer", first, second))


def a_layer_that_is_given_a_layer_calls_it_first() -> Any:
    d = dense("d")
    inside = chain("inside", d, d)
    return ready(chain("outer", Given(d, name="given"), chain("middle", inside, inside)))


def given_to_a_layer_that_calls_it_within_its_own_model() -> Any:
    d = dense("d")
    inside = chain("inside", d, d)
    return ready(chain("outer", d, Given(inside, name="given"), inside))


def a_layer_that_makes_all_of_them() -> Any:
    return ready(chain("outer", Maker(name="maker")))


def in_a_wrapper() -> Any:
    d = dense("d")
    inside = chain("inside", d, d)
    outer = chain("outer", d, layers.TimeDistributed(inside, name="each"))
    outer.build((None, 2, WIDTH))
    return outer


def calls(model: Any) -> dict[str, list[str]]:
    """For each layer by name: the models whose graphs call it, in the order of its calls."""
    roots = list(model.values()) if isinstance(model, Mapping) else [model]
    found = [one for root in roots for one in (root, *root._flatten_layers())]
    graphs = {id(node): one.name for one in found if isinstance(one, Sequential) for node in nodes_of(one)}
    return {one.name: [graphs.get(id(node), "") for node in one._inbound_nodes] for one in found}


def nodes_of(model: Sequential) -> list[Any]:
    return [node for nodes in model._functional._nodes_by_depth.values() for node in nodes]


MODELS: list[Callable[[], Any]] = [
    three_levels_of_one,
    the_innermost_is_a_root_too,
    one_after_the_other,
    built_by_hand_in_another_order,
    a_layer_that_is_given_a_layer_calls_it_first,
    given_to_a_layer_that_calls_it_within_its_own_model,
    a_layer_that_makes_all_of_them,
    in_a_wrapper,
]


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_comes_back(make: Callable[[], Any], tmp_path: Path) -> None:
    assert_round_trip(make(), folder=tmp_path)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_is_called_in_the_same_order(make: Callable[[], Any], tmp_path: Path) -> None:
    model = make()
    before = calls(model)
    assert any(len({*models}) > 1 for models in before.values())
    tiedio.save(model, tmp_path / "model.safetensors")
    assert calls(tiedio.load(tmp_path / "model.safetensors")) == before
