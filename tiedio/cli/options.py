"""What several commands have in common: arguments, options, exit codes."""

from __future__ import annotations

from pathlib import Path

import click

import tiedio

EXIT_CODES = "Exit codes: 0 done; 1 something failed, and the error says what; 2 wrong usage."

FILE = click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
NO_LIMITS = click.option("--no-limits", is_flag=True, help="Allow it any memory: for a file that you trust.")


def limits(no_limits: bool) -> tiedio.Limits | None:
    """What the library is given for `--no-limits`."""
    return tiedio.Limits.off() if no_limits else None
