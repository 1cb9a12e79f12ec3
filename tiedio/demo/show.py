"""The demo in a terminal: quiet imports, lines of progress, then the tables."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tiedio.errors import BackendError, PathError

if TYPE_CHECKING:
    from rich.console import Console


def show(console: Console, keep: Path | None = None) -> None:
    """Run the demo and print what it measures.

    Args:
        console: where to print.
        keep: an existing folder to leave the files in, or `None` to remove them.

    Raises:
        TiedioError: if something that the demo needs is missing, or if tiedio lost something in this run.
    """
    if keep is not None and not keep.is_dir():
        raise PathError("no such folder", path=str(keep), expected="a folder", found="none", remedy="make it first")
    console.print("Loading Keras and its backend")
    # Small models are as quick on the processor, and the figures do not depend on the card then.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with held_stderr():
        try:
            from tiedio.demo.report import report
            from tiedio.demo.run import check, run
        except ImportError as error:
            raise BackendError(
                "the demo needs Keras with a backend",
                found=str(error),
                remedy="pip install 'tiedio[demo]'",
            ) from error
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tiedio-demo-")))
        stack.enter_context(console.status("measuring"))  # a sign of life; shown on a terminal only
        findings = run(folder, say=console.print)
    console.print(report(findings))
    check(findings)


@contextmanager
def held_stderr() -> Iterator[None]:
    """Hold back what native code writes to standard error, and give it out if the block fails.

    TensorFlow says at import, whatever its log level, that it found no graphics card.

    Example:
        >>> with held_stderr():
        ...     _ = os.write(2, b"hidden")
    """
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(shown, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
