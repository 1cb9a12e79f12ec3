"""A report says what was done, in lines that fit a narrow terminal."""

from __future__ import annotations

import dataclasses

import pytest

from tiedio.report import Mismatch, Report

FULL = Report(
    "model.safetensors",
    loaded=("a/kernel", "a/bias"),
    missing=tuple(f"new/{i}/kernel" for i in range(20)),
    unexpected=("old/kernel",),
    mismatched=(Mismatch("head/kernel", "float32 (8, 10)", "float16 (8, 3)"),),
    skipped=(("@optimizer", "the file has a SGD, the model a Adam"),),
    trainable=("a/bias",),
    renamed=(("dense", "dense_2"),),
    tied=("b/kernel",),
)


def test_a_report_tells_everything_that_is_not_as_it_should_be() -> None:
    text = str(FULL)
    counts = "model.safetensors: 2 loaded, 20 missing, 1 unexpected, 1 mismatched, 1 skipped"
    assert " ".join(text.split()).startswith(counts)
    for part in ("new/0/kernel", "… and 8 more", "old/kernel", "float16 (8, 3)", "the model a Adam", "dense → dense_2"):
        assert part in " ".join(text.split())
    assert "new/19/kernel" not in text
    assert FULL.missing[-1] == "new/19/kernel"


def test_every_line_fits_60_columns() -> None:
    assert max(map(len, str(FULL).splitlines())) <= 60


def test_a_long_path_is_not_broken() -> None:
    path = "/".join(["block"] * 20)
    assert path in str(Report("f.safetensors", missing=(path,)))


def test_a_report_of_nothing_says_so() -> None:
    assert str(Report("f.safetensors")) == "f.safetensors: nothing was loaded"
    assert str(Report("f.safetensors", missing=("a",))).startswith("f.safetensors: nothing was loaded, 1 missing\n")
    assert Report("f.safetensors").complete


def test_complete_is_what_strict_asks_for() -> None:
    assert Report("f", loaded=("a",), skipped=(("@optimizer", "no"),), trainable=("a",)).complete
    for part in ("missing", "unexpected", "mismatched"):
        assert not dataclasses.replace(Report("f"), **{part: getattr(FULL, part)}).complete


def test_a_report_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.loaded = ()  # type: ignore[misc]
