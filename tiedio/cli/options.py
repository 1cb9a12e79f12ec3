"""What several commands have in common: arguments, options, exit codes."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem

import tiedio

FAILED = "1 something failed, and the error says what; 2 wrong usage; 130 interrupted"
EXIT_CODES = f"Exit codes: 0 done; {FAILED}."

SUFFIXES = (".safetensors", ".keras", ".h5")
"""Of the files that a shell completes."""


class ModelFile(click.Path):
    """A path that a shell completes to files of models, and to folders that may hold some."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The files and folders that begin so; a folder with its slash."""
        folder, _, start = incomplete.rpartition("/")
        shown = incomplete[: len(incomplete) - len(start)]
        try:
            with os.scandir(os.path.expanduser(folder or ("/" if shown else "."))) as items:
                found = [(item.name, item.is_dir()) for item in items]
        except OSError:
            return []
        return [
            CompletionItem(f"{shown}{name}{'/' if is_folder else ''}")
            for name, is_folder in sorted(found)
            if name.startswith(start)
            and name.isprintable()
            and (start or not name.startswith("."))
            and (is_folder or name.endswith(SUFFIXES))
        ]


MODEL_FILE = ModelFile()

FILE = click.argument("file", type=MODEL_FILE, metavar="FILE")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
NO_LIMITS = click.option("--no-limits", is_flag=True, help="Allow it any memory: for a file that you trust.")


def limits(no_limits: bool) -> tiedio.Limits | None:
    """What the library is given for `--no-limits`."""
    return tiedio.Limits.off() if no_limits else None
