"""A foreign file, opened once: what is judged is what is read, whatever happens to its path meanwhile."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tiedio.container.header import changed, open_file
from tiedio.container.observing import Counter, Observer
from tiedio.errors import FormatError, PathError

KINDS = {".keras": "keras", ".h5": "hdf5", ".hdf5": "hdf5", ".safetensors": "safetensors"}
_STARTS = {b"PK\x03\x04": "keras", b"\x89HDF\r\n\x1a\n": "hdf5"}
_TOLD = {"keras": "a zip archive, as .keras files are", "hdf5": "an HDF5 file", "safetensors": "neither zip nor HDF5"}


class Window(io.RawIOBase):
    """A part of an open file, as a file of its own; it never moves the position of the other."""

    def __init__(self, descriptor: int, start: int, length: int, tell: Callable[[int], None]) -> None:
        super().__init__()
        self._descriptor, self._start, self._length, self._position = descriptor, start, length, 0
        self._tell = tell

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It has positions."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer as far as there are bytes."""
        view = memoryview(buffer).cast("B")
        wanted = max(min(len(view), self._length - self._position), 0)
        done = 0
        while done < wanted:
            count = os.preadv(self._descriptor, [view[done:wanted]], self._start + self._position + done)
            if count == 0:
                break
            done += count
        self._position += done
        self._tell(done)
        return done


class Source:
    """An open file of another format; use it in a `with` block.

    Args:
        path: the file; its name says the format, and its first bytes have to agree.
        progress: called with the bytes that were read, and all. It must not raise: HDF5 would make another error of it.

    Raises:
        PathError: if the name has another ending; nothing was opened then.
        NoSuchFileError: if there is no file.
        FormatError: if its first bytes are of another format than its name says.
    """

    def __init__(self, path: str | os.PathLike[str], progress: Observer | None = None) -> None:
        self.path = os.fsdecode(path)
        self.kind = kind_of(self.path)
        self._file = open_file(self.path)
        try:
            status = os.fstat(self._file.fileno())
            self.size, self._stamp = status.st_size, (status.st_size, status.st_mtime_ns)
            self._counter = None if progress is None else Counter(progress, self.size)
            start = os.pread(self._file.fileno(), 8, 0)
            found = next((kind for begin, kind in _STARTS.items() if start.startswith(begin)), "safetensors")
            if found != self.kind:
                raise FormatError(
                    "the file is not what its name says",
                    path=self.path,
                    expected=_TOLD[self.kind],
                    found=_TOLD[found],
                    remedy="give it the name of its format, or get it again from where it came",
                )
        except BaseException:
            self._file.close()
            raise

    def window(self, start: int = 0, length: int | None = None) -> Window:
        """A part of the file, by default all of it; what is outside of it is empty."""
        if not 0 <= start <= self.size:
            start, length = self.size, 0
        return Window(self._file.fileno(), start, self.size - start if length is None else length, self._tell)

    def _tell(self, count: int) -> None:
        if self._counter is not None:
            self._counter.add(count)

    def tell_no_more(self) -> None:
        """What is read from here on is told to nobody."""
        self._counter = None

    def require_unchanged(self) -> None:
        """Raises `FormatError` if somebody wrote to the file since it was opened."""
        status = os.fstat(self._file.fileno())
        if (status.st_size, status.st_mtime_ns) != self._stamp:
            raise changed(self.path, self._stamp[0], status.st_size)

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def kind_of(path: str) -> str:
    """The format that a file's name says.

    Raises:
        PathError: if it says none that is known.

    Example:
        >>> from tiedio.conversion.opening import kind_of
        >>> kind_of("model.weights.h5"), kind_of("model.keras")
        ('hdf5', 'keras')
    """
    suffix = os.path.splitext(path)[1]
    if suffix not in KINDS:
        raise PathError(
            "the file name has a suffix of no format that can be read",
            path=path,
            expected=f"a name that ends in {', '.join(KINDS)}",
            found=suffix or "no suffix",
            remedy="rename the file if it is one of these",
        )
    return KINDS[suffix]
