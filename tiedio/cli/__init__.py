"""The command line: `tiedio --help` lists its commands. Each of them is a module here, imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from tiedio.errors import TiedioError

INTERRUPTED = 130  # as shells tell of Ctrl-C
PIPE_CLOSED = 141  # as they tell of a reader that has read enough


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
        import click
        import rich  # noqa: F401

        from tiedio.cli.app import app
    except ImportError as error:
        _say(f"the command line is not installed ({error}). Remedy: pip install 'tiedio[cli]'.")
        return 1
    try:
        code = app.main(args=arguments, prog_name="tiedio", standalone_mode=False)
        sys.stdout.flush()
    except TiedioError as error:
        from tiedio.terminal import printable

        # An error quotes what a file says.
        _say("\n".join(map(printable, str(error).splitlines())))
        return 1
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        _leave_closed_pipe()
    except SystemExit as left:
        # Without its standalone mode click leaves for this reason only, but for what a shell asks; so does rich.
        if left.code == 1 and "_TIEDIO_COMPLETE" not in os.environ:
            _leave_closed_pipe()
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _say(text: str) -> None:
    print(f"tiedio: {text}", file=sys.stderr)


def _leave_closed_pipe() -> None:
    """Leaves without a word: nobody reads any more, and Python would complain when it flushes at its end."""
    with suppress(OSError, ValueError):  # what stands for standard output may be no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(PIPE_CLOSED)
