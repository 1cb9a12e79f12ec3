"""Memory and the file cache, as Linux tells them."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

MIB = 2**20
_MAY_STAY = 0.01
"""Part of a file's pages that may still be in memory when the file counts as cold."""


def anonymous() -> int:
    """Bytes of this process that no file backs, or that were copied when they were written to."""
    return _kilobytes("/proc/self/smaps_rollup", "Anonymous") * 1024


def peak_of(act: Callable[[], object]) -> int:
    """The most bytes that a process holds during an action, beyond what it holds before it; pages of files count.

    The kernel keeps the mark, so nothing is missed between two looks.
    """
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # sets the mark to what is held now
    before = _kilobytes("/proc/self/status", "VmRSS")
    act()
    return (_kilobytes("/proc/self/status", "VmHWM") - before) * 1024


def _kilobytes(file: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(file).read_text("ascii"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{file} has no {name}: these measures need Linux")
    return int(found[1])


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def drop(path: Path) -> None:
    """Makes a file, or all files of a folder, cold: written back, dropped from the cache, and looked at.

    Raises:
        RuntimeError: if its pages are still in memory: some process maps it, or the file system lives in memory.
    """
    for file in _files(path):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if (stays := resident(file)) > _MAY_STAY:
            raise RuntimeError(f"{file} cannot be dropped from the cache: {stays:.0%} of its pages stay in memory")


def resident(file: Path) -> float:
    """The part of a file's pages that are in memory, by `mincore`."""
    size = file.stat().st_size
    if not size:
        return 0.0
    libc = ctypes.CDLL(None, use_errno=True)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        view = np.frombuffer(pages, np.uint8)
        flags = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
        failed = libc.mincore(
            ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(size), ctypes.c_void_p(flags.ctypes.data)
        )
        del view  # the mapping cannot be closed before
    if failed:
        raise OSError(ctypes.get_errno(), f"mincore of {file}")
    return float((flags & 1).mean())


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
