"""Paths and names of assets: what a writer makes is taken, and what leads elsewhere or collides is not."""

from __future__ import annotations

import json
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tiedio import naming, slots
from tiedio.manifest import FORMAT

SCHEMA = json.loads((resources.files("tiedio") / f"schema/manifest-{FORMAT}.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA["$defs"]["path"])
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.text("./a\\\n", max_size=6)


@given(st.lists(st.text(max_size=6), max_size=4))
def test_what_is_escaped_is_a_path(names: list[str]) -> None:
    assert naming.is_path("/".join(map(slots.escape, names)))


@pytest.mark.parametrize(
    "path",
    ["/a", "a/", "a//b", "..", "../a", "a/..", "./a", "a/.", "a\\b", "a\n", "\0", "\x1b[2J", "a\u200b", "\ud800"],
)
def test_what_no_writer_makes_is_no_path(path: str) -> None:
    assert not naming.is_path(path)


@given(TEXTS)
def test_the_schema_takes_what_the_reader_takes(path: str) -> None:
    assert VALIDATOR.is_valid(path) == naming.is_path(path)


@pytest.mark.parametrize("name", ["words.txt", "a/b/c", "größe.txt", "a b", ".hidden", "console.txt", "a/" * 31 + "b"])
def test_plain_names_are_file_paths(name: str) -> None:
    assert naming.is_file_path(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "..", "a/../b", "/a", "a/", "a//b", "C:a", "a\\b", "a\0", "a\x7f", "NUL", "nul.txt", "a/com1", "LPT9.x.y",
        "...", " ", "a" * 256, "ä" * 128, "a/" * 600, "a/" * 32 + "b", "\udc80", "x" * 10_000_000,
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_none(name: str) -> None:
    assert not naming.is_file_path(name)


def test_names_that_are_one_on_some_system_collide() -> None:
    assert list(naming.collisions(["a", "b", "a.txt", "c/d", "c/e"])) == []
    for names in (["a", "A"], ["straße", "STRASSE"], ["é", "e\u0301"], ["ﬁ", "fi"], ["a", "a"]):
        assert len(list(naming.collisions(names))) == 1, names
    for names in (["a", "a/b"], ["A", "a/b/c"], ["x/é", "x/e\u0301/y"]):
        assert any("file and folder" in problem for problem in naming.collisions(names)), names
