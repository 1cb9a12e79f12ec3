"""Two models that share alike are told from two that do not, by place, whoever built them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import keras
import pytest

import tiedio
from tiedio.testing import assert_round_trip, assert_same_ties
from tiedio.testing.zoo_base import floats, share, trained, untie

layers = keras.layers


def build() -> Any:
    """Two dense layers that share a kernel, and a third that is a view of it; square, so that every view fits."""
    made = [layers.Dense(4) for _ in range(4)]
    model = keras.Sequential([keras.Input((4,)), *made, made[0]])
    share(made[1], "_kernel", made[0])
    tiedio.tie(made[2], made[0], weights=["kernel"], view=tiedio.transpose())
    return model


def test_a_model_has_its_own_ties() -> None:
    model = build()
    assert_same_ties(model, model)


def test_names_values_and_compilation_do_not_matter() -> None:
    assert_same_ties(trained(build(), floats(5, 4), floats(5, 4)), build())


def test_a_clone_has_the_ties_of_its_original_and_one_of_keras_has_not() -> None:
    model = build()
    assert_same_ties(model, tiedio.clone(model))
    with pytest.raises(AssertionError, match=r"^ties of a and b differ:"):
        assert_same_ties(model, keras.models.clone_model(model))


def _lose_the_tie(m: Any) -> None:
    untie(m.layers[1], "_kernel")


def _tie_the_biases(m: Any) -> None:
    share(m.layers[3], "bias", m.layers[0])


def _lose_the_view(m: Any) -> None:
    tiedio.untie(m.layers[2], models=m)


def _view_another_one(m: Any) -> None:
    tiedio.untie(m.layers[2], models=m)
    tiedio.tie(m.layers[2], m.layers[3], weights=["kernel"], view=tiedio.transpose(), models=m)


def _call_another_layer(m: Any) -> None:
    m._layers[-1] = m.layers[3]  # where a Sequential keeps what `layers` gives


CHANGES: dict[Callable[[Any], None], str] = {
    _lose_the_tie: r"ties .*layers\[0\]._kernel and model.layers\[1\]._kernel are one variable in {a}, but two in {b}",
    _tie_the_biases: r"ties .*layers\[0\].bias and model.layers\[3\].bias are two variables in {a}, but one in {b}",
    _lose_the_view: r"ties .*layers\[2\]._kernel is a view in {a}, but a variable in {b}",
    _view_another_one: r"ties .*model.layers\[0\]._kernel and model.layers\[2\]._kernel.source are one variable in {a}",
    _call_another_layer: r"shared objects .*layers\[0\] and model\.layers\[4\] are one layer in {a}, but two in {b}",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: one.__name__.strip("_"))
def test_a_difference_is_told_with_its_places_from_either_side(change: Callable[[Any], None]) -> None:
    model, changed = build(), build()
    change(changed)
    for one, other, sides in ((model, changed, "ab"), (changed, model, "ba")):
        with pytest.raises(AssertionError) as caught:
            assert_same_ties(one, other)
        if sides == "ab":
            message = str(caught.value).replace("\n", " ")
            assert re.search(CHANGES[change].format(a="a", b="b"), message), message


def test_ties_across_the_models_of_a_dict_are_compared() -> None:
    def pairs(tied: bool) -> dict[str, Any]:
        models = {name: keras.Sequential([keras.Input((4,)), layers.Dense(4)]) for name in ("left", "right")}
        if tied:
            share(models["right"].layers[0], "_kernel", models["left"].layers[0])
        return models

    assert_same_ties(pairs(tied=True), pairs(tied=True))
    places = r"model\['left'\].layers\[0\]._kernel and model\['right'\].layers\[0\]._kernel"
    with pytest.raises(AssertionError, match=f"{places} are one variable in a, but two in b"):
        assert_same_ties(pairs(tied=True), pairs(tied=False))


def test_models_of_another_structure_are_told_so() -> None:
    one = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    two = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(4, use_bias=False)])
    with pytest.raises(AssertionError, match=r"not models of one structure:\n +only b has anything at model.layers\[1"):
        assert_same_ties(one, two)
    with pytest.raises(AssertionError, match=r"only a has anything at model\['x'\]"):
        assert_same_ties({"x": one}, {"y": one})


def test_a_model_that_is_not_built_is_told_so() -> None:
    with pytest.raises(AssertionError, match="b is not built: call it on data, or build it"):
        assert_same_ties(keras.Sequential([keras.Input((4,)), layers.Dense(4)]), keras.Sequential([layers.Dense(4)]))


@pytest.mark.parametrize("wrong", [None, {}, {"x": 1}, []])
def test_what_is_no_model_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="b has to be a model, or a dict of models by name"):
        assert_same_ties(build(), wrong)


def test_a_round_trip_warns_of_nothing_in_a_suite_where_a_warning_is_an_error() -> None:
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dropout(0.1), keras.layers.Dense(4)]
    )
    tiedio.tie(model.layers[2], model.layers[0])
    model.compile("adam", "mse")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # our own settings leave one out
        assert_round_trip(model)
