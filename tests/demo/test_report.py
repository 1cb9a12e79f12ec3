"""The tables say what was measured, at every width."""

from __future__ import annotations

import dataclasses
import io

import pytest

from tiedio.demo.report import report, rows_of
from tiedio.demo.run import Findings
from tiedio.terminal import plain_console


def printed(findings: Findings, width: int) -> str:
    out = io.StringIO()
    plain_console(file=out, width=width).print(report(findings))
    return out.getvalue()


def test_each_row_says_what_was_and_what_came_back(findings: Findings) -> None:
    rows = {row.label: [cell.text for cell in row.cells] for row in rows_of(findings.comparisons[0])}
    assert rows == {
        "tie kept": ["yes", "no", "yes"],
        "trainable variables": ["4", "6", "4"],
        "optimizer state kept": ["9 arrays", "0 of 9", "9 of 9"],
        "warnings on load": ["", "1", "0"],
        "same predictions": ["", "yes", "yes"],
        "file size": ["", "123 kB", "52.3 kB"],
        "save": ["", "0.100 s", "0.010 s"],
        "load": ["", "0.200 s", "0.020 s"],
        "weights still one": ["yes", "no", "yes"],
        "largest difference": ["0", "0.062", "0"],
        "loss": ["0.500000", "0.400000", "0.500000"],
    }


def test_what_was_lost_is_marked_and_sizes_are_not_judged(findings: Findings) -> None:
    rows = rows_of(findings.comparisons[0])
    bad = [row.label for row in rows if row.cells[1].good is False]
    assert bad == [
        "tie kept",
        "trainable variables",
        "optimizer state kept",
        "warnings on load",
        "weights still one",
        "largest difference",
        "loss",
    ]
    assert not [row.label for row in rows if row.cells[2].good is False]
    assert [row.label for row in rows if row.cells[2].good is None] == ["file size", "save", "load"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_row_is_folded_at_60_columns_and_more(findings: Findings, width: int) -> None:
    lines = printed(findings, width).splitlines()
    assert max(map(len, lines)) <= width
    (row,) = [line for line in lines if line.startswith("optimizer state kept")]
    assert row.split() == ["optimizer", "state", "kept", "9", "arrays", "0", "of", "9", "9", "of", "9"]
    assert "after 2 more epochs" in [line.strip() for line in lines]


def test_the_warning_is_quoted_as_it_stands(findings: Findings) -> None:
    assert ".keras warned: Skipping [it]" in printed(findings, 80)


def test_no_warning_is_quoted_where_there_was_none(findings: Findings) -> None:
    comparison = findings.comparisons[0]
    quiet = dataclasses.replace(comparison, trips=(comparison.trips[1],))
    assert "warned" not in printed(dataclasses.replace(findings, comparisons=(quiet,)), 80)


def test_the_method_names_the_run_and_the_versions(findings: Findings) -> None:
    text = printed(findings, 200)
    assert "One run of 32 s on Linux, 2 cores, Python 3.11.9, Keras 3.15.1" in text
    assert "median of 3" in text


def test_an_error_of_a_format_stands_in_the_last_table(findings: Findings) -> None:
    (line,) = [line for line in printed(findings, 100).splitlines() if line.startswith("the matrix passed")]
    assert line.split()[-2:] == ["ValueError", "yes"]
