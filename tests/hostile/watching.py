"""What a call does to the world, as Python's own audit events tell it: files, imports, code, processes, addresses.

An audit hook can never be taken away, so there is one for the process, and it notes only what one thread does while
that thread watches.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

_local = threading.local()

# Events that mean that something runs, is read or is contacted; those of threads, objects and memory mean nothing.
_OF_INTEREST = (
    "open", "import", "exec", "compile", "marshal.", "pickle.", "socket.", "subprocess.", "os.", "shutil.", "urllib.",
    "http.", "ftplib.", "smtplib.", "ctypes.", "code.__new__", "function.__new__", "glob.", "tempfile.", "webbrowser.",
)  # fmt: skip


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    events = getattr(_local, "events", None)
    if events is not None and event.startswith(_OF_INTEREST):
        events.append((event, arguments))


@functools.cache
def _install() -> None:
    sys.addaudithook(_note)


def watched(call: Callable[[], Any]) -> tuple[list[tuple[str, tuple[Any, ...]]], BaseException | None]:
    """The audit events of a call in this thread, and what it raised."""
    _install()
    _local.events = []
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the caller looks at it
        return _local.events, error
    else:
        return _local.events, None
    finally:
        _local.events = None


def suspicious(events: list[tuple[str, tuple[Any, ...]]], path: str) -> list[str]:
    """The events that are more than reading the one file; sources that a traceback shows are no file of the attack."""
    return [
        f"{event} {arguments!r}"[:300]
        for event, arguments in events
        if not (event == "open" and str(arguments[0]) == path)
        and not (event == "open" and str(arguments[0]).endswith((".py", ".pyc")))
        and not (event == "import" and str(arguments[0]).partition(".")[0] in _HARMLESS_IMPORTS)
        and event not in ("compile", "exec")  # namedtuples and dataclasses; code from a file needs marshal
    ]


_HARMLESS_IMPORTS = ("tiedio", "keras", "tensorflow", "numpy", "linecache", "traceback", "inspect", "encodings")
