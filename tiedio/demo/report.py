"""What was measured, as tables for a terminal of any width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tiedio.demo.measure import TUNE_EPOCHS, Comparison, RoundTrip
from tiedio.demo.run import Findings
from tiedio.terminal import plain_table, size_text

_BLANK = Text("")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Args:
        text: what it says.
        good: whether that is as it should be; `None` if it is neither good nor bad.
    """

    text: str
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Args:
        label: what was measured.
        cells: the value before saving, then one per format.
        new_part: whether a line is drawn above.
    """

    label: str
    cells: tuple[Cell, ...]
    new_part: bool = False


def rows_of(comparison: Comparison) -> list[Row]:
    """Turn what was measured of one model into rows.

    Args:
        comparison: what was measured.

    Returns:
        the rows of its table.
    """

    def row(label: str, before: str, cell: Callable[[RoundTrip], Cell], new_part: bool = False) -> Row:
        return Row(label, (Cell(before), *(cell(trip) for trip in comparison.trips)), new_part)

    def same(text: str, value: object, expected: object) -> Cell:
        return Cell(text, value == expected)

    trainable, state, tuned = comparison.trainable, comparison.state, comparison.tuned
    return [
        row("tie kept", _yes(comparison.tie_made).text, lambda trip: _yes(trip.tie_kept)),
        row(
            "trainable variables",
            str(trainable),
            lambda trip: same(str(trip.trainable), trip.trainable, trainable),
        ),
        row(
            "optimizer state kept",
            f"{state} arrays",
            lambda trip: same(f"{trip.state_kept} of {state}", trip.state_kept, state),
        ),
        row("warnings on load", "", lambda trip: same(str(len(trip.warnings)), trip.warnings, ())),
        row("same predictions", "", lambda trip: _yes(trip.predictions_equal)),
        row("file size", "", lambda trip: Cell(size_text(trip.file_bytes))),
        row("save", "", lambda trip: Cell(_seconds(trip.save_seconds))),
        row("load", "", lambda trip: Cell(_seconds(trip.load_seconds))),
        row("weights still one", _yes(tuned.still_one).text, lambda trip: _yes(trip.tuned.still_one), True),
        row(
            "largest difference",
            _number(tuned.difference),
            lambda trip: same(_number(trip.tuned.difference), trip.tuned.difference, tuned.difference),
        ),
        row(
            "loss",
            f"{tuned.loss:.6f}",
            lambda trip: same(f"{trip.tuned.loss:.6f}", f"{trip.tuned.loss:.6f}", f"{tuned.loss:.6f}"),
        ),
    ]


def table_of(comparison: Comparison) -> Table:
    """Draw the table of one model.

    Args:
        comparison: what was measured.

    Returns:
        a table no wider than 60 columns.
    """
    table = plain_table("", "as trained", *(trip.format for trip in comparison.trips), min_width=10)
    for row in rows_of(comparison):
        if row.new_part:
            table.add_section()
            table.add_row(Text(f"after {TUNE_EPOCHS} more epochs", style="bold"))
        table.add_row(Text(row.label), *map(_styled, row.cells))
    return table


def ways_table(findings: Findings) -> Table:
    """Draw the table of the other ways to tie.

    Args:
        findings: what was measured.

    Returns:
        a table that folds its first column on a narrow terminal.
    """
    names = list(findings.ways[0].kept)
    table = plain_table("", *names, min_width=10)
    for way in findings.ways:
        cells = [_kept(way.kept[name]) for name in names]
        table.add_row(Text(way.text), *map(_styled, cells))
    return table


def report(findings: Findings) -> RenderableType:
    """Turn what was measured into what the demo prints at its end.

    Args:
        findings: what was measured.

    Returns:
        something for a rich console to print.
    """
    parts: list[RenderableType] = []
    for comparison in findings.comparisons:
        parts += [_heading(comparison.title, comparison.tie), table_of(comparison)]
        parts += [_said(trip.format, trip.warnings[-1]) for trip in comparison.trips if trip.warnings]
    parts += [_heading("The language model's tie made in other ways", "is it kept?"), ways_table(findings)]
    parts += [_BLANK, Text(_method(findings), style="dim")]
    return Group(*parts)


def _heading(title: str, rest: str) -> RenderableType:
    return Group(_BLANK, Text.assemble((title, "bold"), f": {rest}"), _BLANK)


def _said(name: str, text: str) -> RenderableType:
    return Group(_BLANK, Text(f"{name} warned: {text}", style="yellow"))


def _method(findings: Findings) -> str:
    return "\n".join(
        (
            f"One run of {findings.seconds:.0f} s on {findings.setting}",
            "tie kept: both places hold one variable object",
            "optimizer state: arrays that came back byte for byte, step count included",
            "same predictions: bit for bit",
            f"save, load: median of {findings.repeats}, file cache warm",
            f"{TUNE_EPOCHS} more epochs: the same new examples for all; 'as trained' was never saved",
            "other ways: not trained; kept if the scores follow when the matrix is changed",
        )
    )


def _styled(cell: Cell) -> Text:
    styles = {True: "green", False: "bold red", None: ""}
    return Text(cell.text, style=styles[cell.good])


def _yes(value: bool) -> Cell:
    return Cell("yes" if value else "no", value)


def _kept(value: bool | str) -> Cell:
    return Cell(value, False) if isinstance(value, str) else _yes(value)


def _number(value: float) -> str:
    return f"{value:.2g}"


def _seconds(value: float) -> str:
    return f"{value:.3f} s"
