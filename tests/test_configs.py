"""Configs come back as they were: tuples, odd keys, infinities and references that plain JSON would lose."""

from __future__ import annotations

import json
import math
from importlib import resources
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tiedio import configs, keras_api, strict_json
from tiedio.errors import FormatError, ModelError

SCHEMA = json.loads((resources.files("tiedio") / "schema/structure-1.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator({"$ref": "#/$defs/config", "$defs": SCHEMA["$defs"]})

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
MARKED = st.sampled_from(["$", "$$", "$tuple", "$dict", "$float", "$bytes", "$object", "$tensor", "$x", "a$"])
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | TEXT | MARKED | st.binary(max_size=6)
KEYS = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=2).map(tuple), max_leaves=3)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.dictionaries(TEXT | MARKED, inner, max_size=3)
    ),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """A value that is equal only to one of the same kinds: 1, 1.0 and True are three values, 0.0 and -0.0 two."""
    if isinstance(value, dict):
        return ["dict", [[exact(key), exact(item)] for key, item in value.items()]]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [exact(item) for item in value]]
    return [type(value).__name__, repr(value)]


def there_and_back(value: Any) -> Any:
    text = strict_json.dumps(configs.encode(value, {}, "here"))
    return configs.decode(strict_json.loads(text, "here"), {})


@given(VALUES)
def test_a_config_comes_back_through_json_with_its_kinds_and_its_order(value: Any) -> None:
    assert exact(there_and_back(value)) == exact(value)


@given(VALUES)
def test_what_is_written_is_valid_and_has_one_meaning(value: Any) -> None:
    encoded = configs.encode(value, {}, "here")
    assert list(VALIDATOR.iter_errors(encoded)) == []
    assert configs.encode(there_and_back(value), {}, "here") == encoded or "nan" in repr(value)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ((), {"$tuple": []}),
        ((1, [2, (3,)]), {"$tuple": [1, [2, {"$tuple": [3]}]]}),
        ({}, {}),
        ({"b": 1, "a": 2}, {"b": 1, "a": 2}),
        ({1: "one", "two": 2}, {"$dict": [[1, "one"], ["two", 2]]}),
        ({"$tuple": [1]}, {"$dict": [["$tuple", [1]]]}),
        ({"a": 1, "$b": 2}, {"$dict": [["a", 1], ["$b", 2]]}),
        ({(1, 2): {None: True}}, {"$dict": [[{"$tuple": [1, 2]}, {"$dict": [[None, True]]}]]}),
        (math.inf, {"$float": "inf"}),
        (np.float64(0.1), {"$numpy": ["float64", "0.1"]}),
        (np.float32(0.1), {"$numpy": ["float32", "0.10000000149011612"]}),
        (np.float16(np.inf), {"$numpy": ["float16", "inf"]}),
        (-math.inf, {"$float": "-inf"}),
        (math.nan, {"$float": "nan"}),
        (b"\x00\x01", {"$bytes": "AAE="}),
        (1.0, 1.0),
        ("$tuple", "$tuple"),
    ],
)
def test_what_json_cannot_say_stands_under_one_key_with_a_dollar(value: Any, encoded: Any) -> None:
    assert exact(configs.encode(value, {}, "here")) == exact(encoded)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (object(), "builtins.object"),
        ({"a": [1, {2}]}, "builtins.set"),
        ((1j,), "builtins.complex"),
        (np.complex64(1), "numpy.complex64"),
        (2**63 + 1, str(2**63 + 1)),
        ({"a": -(2**64)}, str(-(2**64))),
        (["a\ud800"], r"'a\ud800'"),
    ],
)
def test_what_no_config_can_hold_is_refused_with_the_place(value: Any, found: str) -> None:
    with pytest.raises(ModelError, match="cannot be stored") as caught:
        configs.encode(value, {}, "block/dense")
    assert caught.value.path == "block/dense"
    assert caught.value.found == found
    assert "get_config" in str(caught.value.remedy)


def test_a_place_without_a_path_is_called_the_model() -> None:
    with pytest.raises(ModelError) as caught:
        configs.encode(object(), {}, "")
    assert caught.value.path == "the model"


# --- references ------------------------------------------------------------------------------------


class Pair(keras.layers.Layer):
    def __init__(self, left: Any, right: Any) -> None:
        super().__init__()
        self.left, self.right = left, right

    def get_config(self) -> Any:
        write = keras.saving.serialize_keras_object
        return {"left": write(self.left), "both": [write(self.left), write(self.right)]}


def test_layers_of_the_table_become_references_at_every_sighting() -> None:
    left, right = keras.layers.Dense(1), keras.layers.Dense(2)
    config = keras_api.stamped(Pair(left, right).get_config)
    encoded = configs.encode(config, {id(left): 3, id(right): 5}, "pair")
    assert encoded == {"left": {"$object": 3}, "both": [{"$object": 3}, {"$object": 5}]}
    assert configs.references(encoded) == [3, 3, 5]
    decoded = configs.decode(encoded, {"$object": {3: left, 5: right}.__getitem__})
    assert decoded["left"] is left
    assert decoded["both"][0] is left
    assert decoded["both"][1] is right


def test_a_layer_that_is_not_in_the_table_is_refused() -> None:
    left, right = keras.layers.Dense(1), keras.layers.Dense(2, name="right")
    with pytest.raises(ModelError, match="in no attribute") as caught:
        configs.encode(keras_api.stamped(Pair(left, right).get_config), {id(left): 3}, "pair")
    assert (caught.value.path, caught.value.found) == ("pair", "Dense 'right'")


def test_a_reference_to_a_live_object_or_variable_is_looked_up_or_refused_by_name() -> None:
    dense, variable = keras.layers.Dense(1, name="dense"), keras.Variable([1.0], name="shared")
    config = {"layer": configs.reference_to(dense), "more": [configs.reference_to(variable)]}
    known = {id(dense): 3, id(variable): {"$variable": "dense/kernel"}}
    encoded = configs.encode(config, known, "here")
    assert encoded == {"layer": {"$object": 3}, "more": [{"$variable": "dense/kernel"}]}
    assert configs.decode(encoded, {"$object": lambda n: n, "$variable": lambda path: path})["more"] == ["dense/kernel"]
    for stray, title in ((dense, "Dense 'dense'"), (variable, "Variable 'shared'")):
        left = {key: item for key, item in known.items() if key != id(stray)}
        with pytest.raises(ModelError, match="in no attribute") as caught:
            configs.encode(config, left, "here")
        assert (caught.value.path, caught.value.found) == ("here", title)
    inside = configs.Inside({id(dense): 0})
    assert configs.without_identity(configs.encode(config, inside, "here")) == configs.without_identity(encoded)


def test_identities_of_this_process_are_not_written() -> None:
    config = keras_api.stamped(keras.layers.Dense(1, kernel_regularizer="l2").get_config)
    encoded = configs.encode(config, {}, "dense")
    assert "shared_object_id" in json.dumps(config)
    assert "shared_object_id" not in json.dumps(encoded)
    assert encoded["kernel_regularizer"]["class_name"] == "L2"


def test_references_of_one_kind_are_found_in_order_and_not_inside_others() -> None:
    encoded = {"b": {"$tensor": [1, 0]}, "a": [{"$object": 2}, {"$tuple": [{"$tensor": [0, 1]}, {"$object": 0}]}]}
    assert configs.references(encoded) == [2, 0]
    assert configs.references(encoded, "$tensor") == [[1, 0], [0, 1]]
    assert configs.references(None) == []


@pytest.mark.parametrize(
    "value",
    [
        {"$nope": 1},
        {"a": [{"$nope": 1}]},
        {"$object": 0},
        {"$variable": "dense/kernel"},
        {"$tensor": [0, 0]},
        {"$tuple": 1},
        {"$tuple": {"0": 1}},
        {"$dict": {}},
        {"$dict": [1]},
        {"$dict": [[1]]},
        {"$dict": [[1, 2, 3]]},
        {"$dict": [[[1], 2]]},
        {"$dict": [[{"a": 1}, 2]]},
        {"$float": "1.0"},
        {"$float": 1},
        {"$float": []},
        {"$bytes": 1},
        {"$bytes": "*"},
        {"$bytes": "AAE"},
        {"$tuple": [], "a": 1},
        {"a": 1, "$tuple": []},
        {"$": 1},
    ],
)
def test_an_unknown_or_damaged_value_is_refused(value: Any) -> None:
    # Whatever is raised, `load` tells it as a FormatError with the file's path; see test_structure_shape.py.
    with pytest.raises((FormatError, TypeError, ValueError)):
        configs.decode(value, {})
    assert not VALIDATOR.is_valid(value) or [*value] in (["$object"], ["$variable"])


# --- what differs between two equal makings --------------------------------------------------------


def test_two_makings_of_one_layer_are_alike_without_names_flags_and_references() -> None:
    first = {"name": "a", "trainable": True, "units": 3, "source": {"$object": 1}, "inner": {"name": "kept"}}
    second = {"name": "b", "trainable": False, "units": 3, "source": {"$object": 7}, "inner": {"name": "kept"}}
    assert configs.without_identity(first) == configs.without_identity(second)
    other = {**second, "inner": {"name": "other"}}
    assert configs.without_identity(first) != configs.without_identity(other)
    assert configs.without_identity(first) != configs.without_identity({**second, "units": 4})
    assert configs.without_identity([{"$object": 1}]) == configs.without_identity([{"$object": 2}])
    assert configs.without_identity([{"$variable": "a"}]) == configs.without_identity([{"$variable": "b"}])


def test_a_lambda_is_written_by_its_code_alone() -> None:
    def config_of(model: Any) -> Any:
        return configs.encode(keras_api.stamped(model.get_config), {}, "lambda")

    layer = keras.layers.Lambda(lambda x: x * 2 + 1)
    first = config_of(layer)
    held = [layer.function.__code__.co_consts for _ in range(50)]  # raises the reference counts that marshal notes
    assert config_of(layer) == first
    assert len(held) == 50
