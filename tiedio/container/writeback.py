"""Lets the disk begin with the first bytes of a file while the rest is still being written."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

STEP = 1 << 24  # bytes after which the disk is told; it works on one part while the next is copied and hashed
_WRITE = 2  # SYNC_FILE_RANGE_WRITE of Linux


@functools.cache
def _call() -> Callable[[int, int, int], object] | None:
    if not sys.platform.startswith("linux"):
        return None
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is None:
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return lambda descriptor, start, count: call(descriptor, start, count, _WRITE)


def begin(descriptor: int, start: int, count: int) -> None:
    """Ask the system to begin writing a range of a file to its disk, and return at once.

    A hint: it makes the sync at the end shorter and promises nothing, so whatever it answers is for that sync to tell.
    Where the system has no such call, nothing happens. Python's `os` does not offer it.

    Args:
        descriptor: the file, open for writing.
        start: first byte.
        count: number of bytes.

    Example:
        >>> import tempfile
        >>> from tiedio.container.writeback import begin
        >>> with tempfile.TemporaryFile(buffering=0) as file:
        ...     _ = file.write(b"abc")
        ...     begin(file.fileno(), 0, 3)
    """
    call = _call()
    if call is not None:
        call(descriptor, start, count)
