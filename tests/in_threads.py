"""Running things in several threads, deterministically: what waits, waits for an event."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

PATIENCE = 60.0
"""Seconds after which a test says that it hangs."""


class Task(threading.Thread):
    """A thread whose result or error `join_it` gives."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work, self._result = work, None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 - raised again where the test joins
            self._error = error

    def join_it(self) -> Any:
        """The result; raises what the work raised."""
        self.join(PATIENCE)
        assert not self.is_alive(), "the thread hangs"
        if self._error is not None:
            raise self._error
        return self._result

    def stands_in(self, name: str) -> bool:
        """Whether the thread is inside a function of this name."""
        frame = sys._current_frames().get(self.ident or 0)
        while frame is not None and frame.f_code.co_name != name:
            frame = frame.f_back
        return frame is not None

    def wait_until_it_stands_in(self, name: str) -> None:
        """Returns when the thread is inside a function of this name, or has ended."""
        while self.is_alive() and not self.stands_in(name):
            self.join(0.001)


def at_once(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of works that begin together, each in a thread of its own."""
    barrier = threading.Barrier(len(works))

    def begin(work: Callable[[], Any]) -> Any:
        barrier.wait(PATIENCE)
        return work()

    tasks = [Task(functools.partial(begin, work)) for work in works]
    return [task.join_it() for task in tasks]


class Gate:
    """A place where a thread tells that it has come, and waits until it may go on."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def pass_through(self) -> None:
        """Called by the thread that is to wait."""
        self.reached.set()
        assert self.open.wait(PATIENCE)

    def wait(self) -> None:
        """Waits until the thread is there."""
        assert self.reached.wait(PATIENCE)

    @contextmanager
    def held(self, work: Callable[[], Any]) -> Iterator[Task]:
        """Inside the block, `work` stands at the gate in a thread; after it, it has gone on to its end."""
        task = Task(work)
        try:
            self.wait()
            yield task
        finally:
            self.open.set()
            task.join_it()


@contextmanager
def company() -> Iterator[None]:
    """Inside the block there is another thread, which does nothing."""
    gate = Gate()
    with gate.held(gate.pass_through):
        yield
