"""A tie is one variable in two or more slots: found by identity, told by path, shape and dtype."""

from __future__ import annotations

from typing import Any

import keras
import pytest

import tiedio
from tiedio import slots, ties
from tiedio.errors import ModelError


def built(*names: str) -> list[Any]:
    layers = [keras.layers.Dense(2, name=name) for name in names]
    for layer in layers:
        layer.build((None, 2))
    return layers


def sequential(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((2,)), *layers])


def tie(target: Any, source: Any, name: str = "kernel") -> None:
    old = getattr(target, name)
    target._tracker.unlock()
    setattr(target, f"_{name}" if f"_{name}" in vars(target) else name, getattr(source, name))
    target._trainable_variables[:] = [v for v in target._trainable_variables if v is not old]
    target._tracker.lock()


def test_equal_values_are_not_a_tie() -> None:
    one, other = built("one", "other")
    other.kernel.assign(one.kernel)
    assert tiedio.find_ties(sequential(one, other)) == []


def test_one_variable_in_two_layers_is_a_tie() -> None:
    one, other = built("one", "other")
    tie(other, one)
    assert tiedio.find_ties(sequential(one, other)) == [
        tiedio.Tie("one/kernel", ("one/kernel", "other/kernel"), (2, 2), "float32")
    ]


def test_every_slot_of_a_variable_is_in_its_tie_and_no_other() -> None:
    one, two, three = built("one", "two", "three")
    tie(two, one)
    tie(three, one)
    tie(three, one, "bias")
    found = tiedio.find_ties(sequential(one, two, three))
    assert [found_tie.slots for found_tie in found] == [
        ("one/kernel", "two/kernel", "three/kernel"),
        ("one/bias", "three/bias"),
    ]


def test_a_layer_that_is_called_twice_is_no_tie_of_variables() -> None:
    (layer,) = built("one")
    inputs = keras.Input((2,))
    assert tiedio.find_ties(keras.Model(inputs, layer(layer(inputs)))) == []


def test_a_layer_in_two_roots_is_no_tie_but_a_variable_in_two_roots_is() -> None:
    shared, one, other = built("shared", "one", "other")
    tie(other, one)
    found = tiedio.find_ties({"a": sequential(shared, one), "b": sequential(shared, other)})
    assert [found_tie.slots for found_tie in found] == [("a/one/kernel", "b/other/kernel")]


def test_the_slot_of_a_layer_names_a_tie_before_the_argument_of_a_call() -> None:
    (layer,) = built("one")
    inputs = keras.Input((2,))
    outer = keras.Model(inputs, keras.ops.matmul(keras.Sequential([layer])(inputs), layer.kernel))
    (found,) = tiedio.find_ties(outer)
    assert found.path == "sequential/one/kernel"
    assert found.slots == ("sequential/one/kernel", "@node/matmul/0/args/1")


def test_a_tie_tells_the_stored_dtype_and_not_the_computed_one() -> None:
    one = keras.layers.Dense(2, name="one", dtype="mixed_bfloat16")
    other = keras.layers.Dense(2, name="other", dtype="mixed_bfloat16")
    one.build((None, 2))
    other.build((None, 2))
    tie(other, one)
    with keras.src.backend.AutocastScope("bfloat16"):
        (found,) = ties.ties_of(slots.walk({None: sequential(one, other)}))
    assert (found.dtype, found.shape) == ("float32", (2, 2))


def test_finding_ties_twice_gives_the_same_and_changes_nothing() -> None:
    one, other = built("one", "other")
    tie(other, one)
    model = sequential(one, other)
    kernel, weights = one.kernel, model.get_weights()
    assert tiedio.find_ties(model) == tiedio.find_ties(model)
    assert one.kernel is kernel
    assert other.kernel is kernel
    assert all((a == b).all() for a, b in zip(model.get_weights(), weights, strict=True))


def test_ties_of_a_model_without_weights_are_none() -> None:
    assert tiedio.find_ties(keras.Sequential([keras.layers.Dense(1)])) == []


@pytest.mark.parametrize("thing", [3, None, "model", keras.layers.Dense, [1]])
def test_what_is_no_model_has_no_ties(thing: Any) -> None:
    with pytest.raises(ModelError, match="not a model") as caught:
        tiedio.find_ties(thing)
    assert caught.value.found == type(thing).__name__
