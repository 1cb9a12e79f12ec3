"""How the command line writes to a terminal: consoles, tables and sizes. Needs rich, and no Keras."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

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


def size_text(count: int) -> str:
    """Write a size in bytes so that it can be read at a glance.

    Args:
        count: bytes.

    Returns:
        up to three digits and a unit.

    Example:
        >>> size_text(999), size_text(52345), size_text(999600), size_text(123456789)
        ('999 B', '52.3 kB', '1 MB', '123 MB')
    """
    if count < 1000:
        return f"{count} B"
    size = count / 1000
    for unit in ("kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB" if size < 999.5 else f"{size:.0f} TB"


def printable(text: str) -> str:
    r"""Write a text from a file so that it cannot steer the terminal.

    Args:
        text: a name or path.

    Returns:
        the text with everything that is not printable escaped, and quotes for an empty one.

    Example:
        >>> print(printable("a" + chr(27) + "[2J"), printable(""))
        a\x1b[2J ''
    """
    if not text:
        return "''"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


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
