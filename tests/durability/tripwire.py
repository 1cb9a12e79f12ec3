"""An error at any line of tiedio's that a loading runs, one line after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import tiedio

PACKAGE = str(Path(tiedio.__file__).parent)


@dataclass(slots=True)
class Tripwire:
    """Counts the lines of tiedio that run, and raises before one of them.

    Args:
        at: the number of the line to raise before, or `None` to only count.
        error: what to raise.
        lines: the file and line of each.
        late: whether it begins only where the model is touched first: to count lines takes most of the time.
        touched: the number of the line at which the model is touched first.
        committed: whether the loading had let go of what it needs to put the model back.
    """

    at: int | None = None
    error: BaseException = field(default_factory=KeyboardInterrupt)
    lines: list[tuple[str, int]] = field(default_factory=list)
    late: bool = False
    touched: int | None = None
    committed: bool = False

    def run(self, act: Callable[[], Any]) -> Any:
        """Runs something under the tripwire; Python takes it away when it has raised, so what puts back runs free."""
        before, pop_all, callback = sys.gettrace(), ExitStack.pop_all, ExitStack.callback
        wire = self

        def commit(stack: ExitStack) -> ExitStack:
            wire.committed = True
            return pop_all(stack)

        def note(stack: ExitStack, undo: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
            if wire.touched is None:
                wire.touched = len(wire.lines)
                if wire.late:
                    wire._begin(sys._getframe(1))
            return callback(stack, undo, *args, **options)

        changes = {"pop_all": commit, "callback": note}
        for name, new in changes.items():
            setattr(ExitStack, name, new)
        if not self.late:
            sys.settrace(self._called)
        try:
            return act()
        finally:
            sys.settrace(before)
            ExitStack.pop_all = pop_all  # type: ignore[method-assign]
            ExitStack.callback = callback  # type: ignore[method-assign]

    def _begin(self, frame: FrameType | None) -> None:
        while frame is not None:  # those that run already are not called again
            if frame.f_code.co_filename.startswith(PACKAGE):
                frame.f_trace = self._ran
            frame = frame.f_back
        sys.settrace(self._called)

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._ran if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _ran(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self.lines.append((frame.f_code.co_filename[len(PACKAGE) + 1 :], frame.f_lineno))
            if len(self.lines) - 1 == self.at:
                raise self.error
        return self._ran

    def moments(self) -> Iterator[int]:
        """Of each distinct line: the first and the last time that it ran."""
        ends: dict[tuple[str, int], list[int]] = {}
        for number, line in enumerate(self.lines):
            ends.setdefault(line, [number])[1:] = [number]
        yield from sorted({number for pair in ends.values() for number in pair})
