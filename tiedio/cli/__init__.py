"""The command line: `tiedio --help` lists its commands. Each of them is a module here, imported when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tiedio.errors import TiedioError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after the program's name; those of this process by default.

    Returns:
        1 after an error of tiedio, whose text goes to standard error without a traceback.

    Raises:
        SystemExit: with the exit code, in every other case.

    Example:
        >>> main(["inspect", "no-such-file.safetensors"])
        1
    """
    try:
        import rich  # noqa: F401

        from tiedio.cli.app import app
    except ImportError as error:
        _say_error(f"the command line is not installed ({error}). Remedy: pip install 'tiedio[cli]'.")
        return 1
    try:
        app(args=arguments, prog_name="tiedio")
    except TiedioError as error:
        from tiedio.terminal import printable

        # An error quotes what a file says.
        _say_error("\n".join(map(printable, str(error).splitlines())))
        return 1
    return 0


def _say_error(text: str) -> None:
    print(f"tiedio: {text}", file=sys.stderr)
