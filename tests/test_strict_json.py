"""JSON texts of a file have one meaning: what could be read in two ways, or not at all, is refused with its place."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiedio import strict_json
from tiedio.errors import FormatError

TEXT = st.text(st.characters(codec="utf-8"))
NUMBERS = st.integers(-strict_json.MAX_INTEGER, strict_json.MAX_INTEGER) | st.floats(
    allow_nan=False, allow_infinity=False
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """A value that is equal only to one of the same kinds, signs of zero and order of keys."""
    if isinstance(value, dict):
        return ["object", [[key, exact(item)] for key, item in value.items()]]
    if isinstance(value, list):
        return ["array", [exact(item) for item in value]]
    sign = math.copysign(1, value) if isinstance(value, float) else 0
    return [type(value).__name__, value, sign]


@given(VALUES)
def test_a_value_comes_back_with_its_kinds_and_its_order(value: Any) -> None:
    text = strict_json.dumps(value)
    assert exact(strict_json.loads(text, "here")) == exact(value)
    assert strict_json.dumps(strict_json.loads(text, "here")) == text


@given(VALUES)
def test_other_json_readers_see_the_same(value: Any) -> None:
    assert exact(json.loads(strict_json.dumps(value))) == exact(value)


def test_a_text_is_compact_keeps_the_order_of_keys_and_is_not_escaped_to_ascii() -> None:
    assert strict_json.dumps({"b": [1, 2.0, None], "a": "größe 層"}) == '{"b":[1,2.0,null],"a":"größe 層"}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_say_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        strict_json.dumps({"x": value})


@pytest.mark.parametrize(
    ("text", "what", "found"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "a key stands twice", "'a'"),
        ('[{"x": {"": 1, "": 1}}]', "a key stands twice", "''"),
        ("[NaN]", "not finite", "NaN"),
        ("Infinity", "not finite", "Infinity"),
        ('{"x": -Infinity}', "not finite", "-Infinity"),
        ("1e999", "too large", "1e999"),
        ("[-1e999]", "too large", "-1e999"),
        (str(2**63 + 1), "too large", str(2**63 + 1)),
        (str(-(2**63) - 1), "too large", str(-(2**63) - 1)),
        ("9" * 5000, "too large", "9" * 30),
        ("", "not JSON", "line 1 column 1"),
        ("{'a': 1}", "not JSON", "line 1 column 2"),
        ("[1, 2", "not JSON", "line 1"),
        ("[1,]", "not JSON", "line 1"),
        ("{} {}", "not JSON", "Extra data"),
        ("01", "not JSON", "Extra data"),
        ('"\n"', "not JSON", "control character"),
    ],
)
def test_a_text_with_no_or_two_meanings_is_refused(text: str, what: str, found: str) -> None:
    with pytest.raises(FormatError) as caught:
        strict_json.loads(text, "model.safetensors: manifest")
    assert what in caught.value.what
    assert found in str(caught.value.found)
    assert caught.value.path == "model.safetensors: manifest"


@pytest.mark.parametrize("text", ['"\ud800"', r'"\ud800"', r'{"\udc00": 1}', r'["ok", ["\udfff\ud800"]]'])
def test_half_of_a_surrogate_pair_is_refused_raw_and_escaped(text: str) -> None:
    with pytest.raises(FormatError, match="surrogate"):
        strict_json.loads(text, "here")


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert strict_json.loads(r'"\ud83d\ude00"', "here") == "\U0001f600"


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000])
def test_a_text_that_nests_too_deep_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="too deep"):
        strict_json.loads(text, "here")


@pytest.mark.parametrize("number", [2**63, -(2**63), 2**53 + 1, 0, -1])
def test_an_integer_up_to_64_bits_is_kept_exactly(number: int) -> None:
    assert strict_json.loads(str(number), "here") == number


def test_a_number_with_a_fraction_or_an_exponent_is_a_float() -> None:
    assert [type(item) for item in strict_json.loads("[1, 1.0, 1e0, -0.0, true]", "here")] == [
        int, float, float, float, bool,
    ]  # fmt: skip
