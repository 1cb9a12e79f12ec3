"""Frozen records and JSON: what equals its default is left out, and what is not exactly a record is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiedio import records
from tiedio.errors import FormatError


@dataclass(frozen=True, slots=True)
class Inner:
    name: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Outer:
    title: str
    flag: bool
    parts: tuple[Inner, ...]
    note: str | None
    weight: float = 1.0
    on: bool = True
    count: int = 1
    table: dict[str, tuple[int, ...]] = field(default_factory=dict)
    nested: Inner | None = None
    free: Any = None


INNERS = st.builds(Inner, st.text(), st.integers())
OUTERS = st.builds(
    Outer,
    title=st.text(),
    flag=st.booleans(),
    parts=st.lists(INNERS, max_size=3).map(tuple),
    note=st.none() | st.text(),
    weight=st.floats(allow_nan=False),
    on=st.booleans(),
    count=st.integers(),
    table=st.dictionaries(st.text(), st.lists(st.integers(), max_size=3).map(tuple), max_size=3),
    nested=st.none() | INNERS,
    free=st.none()
    | st.booleans()
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(), st.none(), max_size=2),
)
SMALL = {"title": "t", "flag": False, "parts": [{"name": "a"}], "note": None}


@given(OUTERS)
def test_a_record_comes_back(record: Outer) -> None:
    assert records.decode(Outer, records.encode(record), "here") == record


def test_what_equals_its_default_is_left_out_and_what_has_none_is_written() -> None:
    assert records.encode(Outer("", False, (), None)) == {"title": "", "flag": False, "parts": [], "note": None}


def test_what_differs_from_its_default_is_written() -> None:
    record = Outer("t", True, (Inner("a"), Inner("b", 2)), "n", 2.0, False, 0, {"k": (1, 2)}, Inner("c"), [1])
    assert records.encode(record) == {
        "title": "t", "flag": True, "parts": [{"name": "a"}, {"name": "b", "size": 2}], "note": "n", "weight": 2.0,
        "on": False, "count": 0, "table": {"k": [1, 2]}, "nested": {"name": "c"}, "free": [1],
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loose:
    value: Any = 1
    flag: Any = False


def test_true_is_not_taken_for_a_default_of_one() -> None:
    assert records.encode(Loose(value=True, flag=0)) == {"value": True, "flag": 0}


def test_a_default_that_is_written_out_is_read() -> None:
    assert records.decode(Outer, SMALL | {"weight": 1.0, "on": True, "nested": None}, "here") == records.decode(
        Outer, SMALL, "here"
    )


@pytest.mark.parametrize(
    ("change", "what", "path", "found"),
    [
        ({"extra": 1}, "unknown key", "here", "'extra'"),
        ({"b": 1, "a": 1}, "unknown key", "here", "'a', 'b'"),
        ({"parts": [{"name": "a"}, {"name": "b", "sise": 1}]}, "unknown key", "here.parts[1]", "'sise'"),
        ({"nested": {"size": 1}}, "missing key", "here.nested", None),
        ({"title": 1}, "wrong kind of value", "here.title", "1"),
        ({"title": None}, "wrong kind of value", "here.title", "None"),
        ({"flag": 1}, "wrong kind of value", "here.flag", "1"),
        ({"flag": "true"}, "wrong kind of value", "here.flag", "'true'"),
        ({"count": True}, "wrong kind of value", "here.count", "True"),
        ({"count": 1.0}, "wrong kind of value", "here.count", "1.0"),
        ({"count": "1"}, "wrong kind of value", "here.count", "'1'"),
        ({"parts": {}}, "wrong kind of value", "here.parts", "{}"),
        ({"parts": "ab"}, "wrong kind of value", "here.parts", "'ab'"),
        ({"parts": ["ab"]}, "wrong kind of value", "here.parts[0]", "'ab'"),
        ({"parts": [None]}, "wrong kind of value", "here.parts[0]", "None"),
        ({"table": []}, "wrong kind of value", "here.table", "[]"),
        ({"table": {"k": 1}}, "wrong kind of value", "here.table.k", "1"),
        ({"table": {"k": [1, "2"]}}, "wrong kind of value", "here.table.k[1]", "'2'"),
        ({"nested": []}, "wrong kind of value", "here.nested", "[]"),
        ({"note": 1}, "wrong kind of value", "here.note", "1"),
        ({"nested": {"transpose": [1, 0]}}, "unknown key", "here.nested", "'transpose'"),
        ({"nested": {"name": None}}, "wrong kind of value", "here.nested.name", "None"),
        ({"nested": "transpose"}, "wrong kind of value", "here.nested", "'transpose'"),
        ({"nested": False}, "wrong kind of value", "here.nested", "False"),
        ({"title": ["x" * 500]}, "wrong kind of value", "here.title", "['" + "x" * 55 + "…"),
    ],
)
def test_what_is_no_record_is_refused_with_its_place(
    change: dict[str, Any], what: str, path: str, found: str | None
) -> None:
    with pytest.raises(FormatError) as caught:
        records.decode(Outer, SMALL | change, "here")
    assert (caught.value.what, caught.value.path) == (what, path)
    assert found is None or str(caught.value.found) == found


@pytest.mark.parametrize("value", [None, [], "record", 1, True])
def test_a_record_is_an_object(value: Any) -> None:
    with pytest.raises(FormatError, match="wrong kind of value"):
        records.decode(Outer, value, "here")


def test_all_missing_keys_are_named_at_once() -> None:
    with pytest.raises(FormatError) as caught:
        records.decode(Outer, {"flag": True}, "here")
    assert (caught.value.what, caught.value.expected) == ("missing key", "title, parts, note")
