"""One thread that writes, one file at a time, and tells the training loop what went wrong."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress

_NICE = 10
"""How far training goes before writing. At 0, a step that uses every core waits for all that the thread computes."""


class Background:
    """Runs one action at a time in a thread of its own.

    The thread is no daemon: Python waits for it before it ends, whatever has ended training, so a write that has begun
    is never cut off by the end of the interpreter. An error is kept until somebody asks; if nobody does, it is printed
    when this object goes or when Python ends.

    Example:
        >>> from tiedio.callbacks.background import Background
        >>> background, done = Background(), []
        >>> background.start(lambda: done.append("written"))
        >>> background.wait()
        >>> done
        ['written']
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._errors: list[BaseException] = []
        weakref.finalize(self, _tell_unheard, self._errors)

    def start(self, act: Callable[[], object]) -> None:
        """Begins an action when the one before is done.

        Args:
            act: what the thread does.

        Raises:
            BaseException: what the action before has raised; this one does not begin.
        """
        self.wait()
        # It holds this object until it ends, so that no error comes too late to be told.
        arguments = (act, self._errors, self)
        self._thread = threading.Thread(target=_run, args=arguments, name="tiedio-checkpoint", daemon=False)
        del act, arguments
        self._thread.start()

    def is_done(self) -> bool:
        """Whether no action is going on."""
        return self._thread is None or not self._thread.is_alive()

    def check(self) -> None:
        """Raises what the last action has raised, once."""
        if self._errors:
            raise self._errors.pop()

    def wait(self) -> None:
        """Waits until the action is done, and raises what it has raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()


def _run(act: Callable[[], object], errors: list[BaseException], owner: Background) -> None:
    try:
        _stand_back()
        act()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the training loop
        errors.append(error)
        del owner  # which the error would hold through this frame


def _stand_back() -> None:
    """Lets other threads have the processor first; on Linux, where threads have priorities of their own."""
    if sys.platform != "linux":
        return
    me = threading.get_native_id()
    with suppress(OSError):  # a hint, and no reason not to write
        os.setpriority(os.PRIO_PROCESS, me, min(19, os.getpriority(os.PRIO_PROCESS, me) + _NICE))


def _tell_unheard(errors: list[BaseException]) -> None:
    for error in errors:
        print("tiedio: a save in the background failed after training had ended:", file=sys.stderr)
        traceback.print_exception(error)
