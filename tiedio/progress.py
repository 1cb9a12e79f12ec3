"""What `progress=` gives a caller: a bar in the terminal, or calls of a function of the caller's own."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from tiedio.container.observing import Observer
from tiedio.errors import TiedioError, shown

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

Progress: TypeAlias = bool | Callable[[int, int], None]
"""`True` for a bar, or a function that is called with the bytes that are done and all that there are."""

DELAY = 1.0  # seconds that something has to take before a bar is worth it
_EVERY = 0.1  # seconds between two looks of the bar


class _Stopped(BaseException):
    """Carries what a caller's function raised past everything that explains errors of the disk or of a file."""

    def __init__(self, raised: Exception) -> None:
        self.raised = raised


@contextmanager
def observed(progress: Progress, what: str) -> Iterator[Observer | None]:
    """Turns `progress=` into what the rooms of bytes call.

    What the caller's own function raises ends the work like an interrupt, and comes out as it is. After work that
    succeeded the last call says that all is done, even if not all bytes were needed.

    Args:
        progress: as the caller gave it.
        what: the words beside a bar.

    Raises:
        TiedioError: a bar needs rich, and it is not installed; or `progress` is neither a truth value nor a function.

    Example:
        >>> from tiedio.progress import observed
        >>> with observed(lambda done, total: print(done, total), "saving") as observer:
        ...     observer(3, 10)
        3 10
        10 10
    """
    if progress is False:
        yield None
        return
    if progress is not True:
        with _told(_checked(progress)) as tell:
            yield tell
        return
    if find_spec("rich") is None:
        raise TiedioError(
            "a bar of progress needs rich",
            path="progress",
            expected="rich, which comes with the extra 'cli'",
            found="no such package",
            remedy="pip install 'tiedio[cli]', or pass a function: progress=lambda done, total: ...",
        )
    if not _has_terminal():
        yield None
        return
    bar = _Bar(what)
    try:
        yield bar
    finally:
        bar.close()


def _checked(progress: Callable[[int, int], None]) -> Observer:
    if not callable(progress):
        raise TiedioError(
            "progress is neither a truth value nor a function",
            path="progress",
            expected="True, False, or a function of the bytes that are done and of all",
            found=shown(progress),
            remedy="pass progress=True for a bar in the terminal",
        )
    return progress


@contextmanager
def _told(function: Observer) -> Iterator[Observer]:
    last = None

    def tell(done: int, total: int) -> None:
        nonlocal last
        last = done, total
        try:
            function(done, total)
        except Exception as error:
            raise _Stopped(error) from error

    try:
        yield tell
        if last is not None and last[0] < last[1]:
            tell(last[1], last[1])
    except _Stopped as stopped:
        raise stopped.raised from None


def _has_terminal() -> bool:
    """Whether standard error is a terminal on which a line can be drawn again and again."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class _Bar:
    """A line on standard error with bytes and rate, once it has taken a while; removed at the end.

    No thread redraws it: what looks at a model's values asks whether other threads run.
    """

    def __init__(self, what: str) -> None:
        self._what = what if what.isprintable() else ascii(what)[1:-1]
        self._start = self._looked = time.monotonic()
        self._drawn: tuple[RichProgress, TaskID] | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._start < DELAY or (self._drawn is not None and now - self._looked < _EVERY and done < total):
            return
        self._looked = now
        try:
            if self._drawn is None:
                self._drawn = _draw(self._what, self._start)
            bar, task = self._drawn
            bar.update(task, completed=done, total=total, refresh=True)
        except OSError:
            self._start = math.inf  # the terminal is gone: the work goes on without

    def close(self) -> None:
        """Remove the line."""
        if self._drawn is not None:
            self._drawn[0].stop()


def _draw(what: str, start: float) -> tuple[RichProgress, TaskID]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Rate(ProgressColumn):
        """Bytes in a second, from the beginning on: a disk writes in bursts."""

        def render(self, task: Task) -> Text:
            from rich.filesize import decimal

            taken = time.monotonic() - start
            return Text(f"{decimal(int(task.completed / taken))}/s", style="progress.data.speed")

    bar = Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        BarColumn(bar_width=16),
        DownloadColumn(table_column=Column(no_wrap=True)),
        Rate(table_column=Column(no_wrap=True)),
        console=Console(stderr=True, markup=False, highlight=False, emoji=False),
        auto_refresh=False,
        transient=True,
        expand=True,
    )
    task = bar.add_task(what, total=None)
    bar.start()
    return bar, task
