"""How the command line writes to a terminal: consoles, tables and sizes. Needs rich, and no Keras."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tiedio.texts import printable as printable
from tiedio.texts import size_text as size_text

PIPED_WIDTH = 80
UNFOLDED_WIDTH = 1000


def plain_console(*, fold_when_piped: bool = True, **options: Any) -> Console:
    """Make a console that takes every text as it stands, brackets included.

    Args:
        fold_when_piped: whether a pipe or a file gets folded lines too; if not, one line stays one line,
            as `grep` likes it.
        **options: as for `rich.console.Console`.

    Returns:
        the console; `COLUMNS` in the environment sets its width.

    Example:
        >>> plain_console(width=60).width
        60
    """
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        options = {"width": PIPED_WIDTH if fold_when_piped else UNFOLDED_WIDTH, **options}
    return Console(markup=False, highlight=False, emoji=False, **options)


def plain_table(first: str, *others: str, min_width: int = 0) -> Table:
    """Make a table without a frame, whose first column gives way on a narrow terminal.

    Args:
        first: the heading of the first column.
        *others: the headings of the other columns, which are set to the right.
        min_width: columns that each of the others takes at least.

    Returns:
        the table, still without rows.

    Example:
        >>> len(plain_table("tensor", "size").columns)
        2
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for other in others:
        table.add_column(other, justify="right", no_wrap=True, min_width=min_width)
    return table


def fold_path(path: str, width: int) -> str:
    """Break a path that is too wide after its slashes, so that its names stay whole where they can.

    Args:
        path: a path of names with slashes between them.
        width: columns that there are.

    Returns:
        the path, on lines of at most this width if the names allow it, all but the first indented.

    Example:
        >>> print(fold_path("@optimizer/momentums/conv2d/kernel", 24))
        @optimizer/momentums/
          conv2d/kernel
    """
    lines = [""]
    for piece in re.findall(r"[^/]*/|[^/]+", path):
        if lines[-1].strip() and len(lines[-1]) + len(piece) > width:
            lines.append("  ")
        lines[-1] += piece
    return "\n".join(lines)
