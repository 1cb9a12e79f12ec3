"""One safetensors file: write tensors so that every slice is aligned, and map them back without a copy."""

from __future__ import annotations

import mmap
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tiedio.container.atomic import replace_file
from tiedio.container.digests import KEY, blank, sealed, verified_header
from tiedio.container.header import (
    METADATA,
    Entry,
    Header,
    build_header,
    changed,
    header_of,
    open_file,
    span_of,
)
from tiedio.container.observing import Counter
from tiedio.container.strict_json import short
from tiedio.container.writing import Tensor, reserve, write_data
from tiedio.errors import FormatError, ModelError, PathError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from io import FileIO
    from types import TracebackType

    from tiedio.container.observing import Observer
    from tiedio.limits import Limits

ALIGNMENT = 64  # bytes; what TensorFlow and JAX ask of a buffer that they share
_TOLD_AT_ONCE = 1 << 24  # bytes that are read before somebody who asked is told of them
# Without it, Linux refuses to map a file larger than memory: every page might be written to. Older Pythons do
# not name the flag; a machine on which the number means nothing ignores it.
_NO_RESERVE: int = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


def layout(tensors: Sequence[Tensor]) -> tuple[Entry, ...]:
    """Give every tensor its place: the format allows no holes, so order alone has to align the slices.

    Tensors stand by the largest power of two, up to 64, that divides their size, then by name. So every slice
    starts at a multiple of that power: those whose size allows it at 64 bytes, and all as their dtype needs.

    Args:
        tensors: the tensors, in any order; their data is not asked for.

    Returns:
        The entries in the order of their data.

    Raises:
        ModelError: two tensors have one name, or a name, dtype or shape is not one that the format can hold.

    Example:
        >>> from tiedio.container.single import layout
        >>> from tiedio.container.writing import Tensor
        >>> tensors = [Tensor("a", "U8", (3,), bytes), Tensor("b", "F32", (16,), bytes)]
        >>> [(entry.name, entry.start, entry.stop) for entry in layout(tensors)]
        [('b', 0, 64), ('a', 64, 67)]
    """
    sizes: dict[str, int] = {}
    for tensor in tensors:
        if tensor.name in sizes or tensor.name == METADATA:
            what = "stands for two tensors" if tensor.name in sizes else "is a reserved name"
            raise ModelError(
                what,
                path=tensor.name,
                expected="one name for each tensor",
                found=short(tensor.name),
                remedy="rename the tensor",
            )
        if not all(type(side) is int and side >= 0 for side in tensor.shape):
            raise _cannot_hold(tensor, "a shape of plain integers, none negative", tensor.shape)
        size = span_of(tensor.dtype, tensor.shape)
        if size is None:
            raise _cannot_hold(tensor, "a dtype of whole bytes and a size below 2**53", (tensor.dtype, tensor.shape))
        sizes[tensor.name] = size
    entries = []
    start = 0
    for tensor in sorted(tensors, key=lambda t: (-_largest_power(sizes[t.name]), t.name)):
        stop = start + sizes[tensor.name]
        entries.append(Entry(tensor.name, tensor.dtype, tensor.shape, start, stop))
        start = stop
    return tuple(entries)


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Sequence[Tensor],
    metadata: Mapping[str, str],
    *,
    overwrite: bool = True,
    meanwhile: Callable[[], None] | None = None,
    progress: Observer | None = None,
) -> None:
    """Write a safetensors file in one step, with a digest of every byte: the same input gives the same bytes.

    Args:
        path: the file; see `tiedio.container.atomic.replace_file`.
        tensors: the tensors, in any order. One after the other is asked for its data, and none is copied: the data
            must not change until the next is asked.
        metadata: text under text keys; the digests are added to it.
        overwrite: whether a file that is there may be replaced.
        meanwhile: something to do while the disk works, between writing and syncing, such as a check of what is
            written. If it raises, nothing is put into place.
        progress: told of the bytes of tensors that are written. If it raises, nothing is put into place.

    Raises:
        ModelError: a header cannot hold the tensors or the metadata, or a tensor gives other bytes than its
            dtype and shape need.
        PathError: the path cannot be written to.
        TiedioError: the disk is full or fails.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from tiedio.container.single import as_bytes, open_reader, write_tensors
        >>> from tiedio.container.writing import Tensor
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "one.safetensors"
        >>> kernel = np.ones((2, 3), "float32")
        >>> write_tensors(path, [Tensor("kernel", "F32", (2, 3), lambda: as_bytes(kernel))], {"note": "hi"})
        >>> open_reader(path).bytes_of("kernel").view("float32").sum()
        np.float32(6.0)
    """
    shown = os.fsdecode(path)
    entries = layout(tensors)
    if KEY in metadata:
        raise ModelError(
            "is a reserved key of the metadata",
            path=shown,
            expected="metadata without digests, which are added here",
            found=short(KEY),
            remedy="leave the key out",
        )
    head = build_header(entries, {**metadata, KEY: blank(len(entries))}, shown)
    by_name = {tensor.name: tensor for tensor in tensors}

    def write(file: BinaryIO) -> None:
        reserve(file, len(head) + (entries[-1].stop if entries else 0))
        file.seek(len(head))  # it goes into its place when the digests are known
        counter = None if progress is None else Counter(progress, entries[-1].stop if entries else 0)
        digests = write_data(file, ((by_name[entry.name], entry.stop - entry.start) for entry in entries), counter)
        file.seek(0)
        file.write(sealed(head, digests))
        if meanwhile is not None:
            file.flush()
            meanwhile()

    replace_file(path, write, overwrite=overwrite)


class Reader:
    """The tensors of one safetensors file, as bytes; made by `open_reader`.

    Arrays that it gave out stay valid when it is closed or gone.
    """

    __slots__ = ("__weakref__", "_counter", "_file", "_lock", "_mapped", "_path", "_stamp", "header")

    def __init__(
        self,
        file: FileIO,
        header: Header,
        mapped: NDArray[np.uint8] | None,
        path: str,
        stamp: tuple[int, int],
        counter: Counter | None = None,
    ) -> None:
        self.header = header
        self._counter = counter
        self._path = path
        self._stamp = stamp
        self._file = file
        self._mapped = mapped
        self._lock = threading.Lock()
        weakref.finalize(self, file.close)  # a reader that is dropped leaves no open file to be warned about

    def bytes_of(self, name: str) -> NDArray[np.uint8]:
        """Return the bytes of one tensor.

        Args:
            name: the tensor's name.

        Returns:
            A writable array of `uint8`, one-dimensional. Mapped: a view of the file's pages, private to this
            process once written to, and aligned only as the file is. Else: a copy that starts at 64 bytes.

        Raises:
            FormatError: there is no such tensor, or the file was changed since it was opened.
            PathError: the file cannot be read, or the reader was closed.
        """
        entry = self._entry(name)
        start, stop = self.header.data_start + entry.start, self.header.data_start + entry.stop
        if self._mapped is not None:
            self.require_unchanged()
            if self._counter is not None:
                self._counter.add(stop - start)
            return self._mapped[start:stop]
        return self._copy(start, stop - start)

    def read_into(self, name: str, offset: int, into: NDArray[np.uint8]) -> None:
        """Read a part of one tensor into memory of the caller's, mapped or not.

        Args:
            name: the tensor's name.
            offset: the part's first byte, in the tensor.
            into: where to; its size says how many bytes.

        Raises:
            FormatError, PathError: as `bytes_of` does.
        """
        entry = self._entry(name)
        if not 0 <= offset <= offset + into.size <= entry.stop - entry.start:
            raise ValueError(f"tensor {short(name)} has no bytes {offset} to {offset + into.size}")
        self._read(self.header.data_start + entry.start + offset, into)

    def close(self) -> None:
        """Let go of the file; arrays that were given out stay valid."""
        self._file.close()
        self._mapped = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> None:
        self.close()

    def require_unchanged(self) -> None:
        """Raise if someone has written to the file since it was opened: what is read now may not go with its header."""
        now = _stamp_of(self._file)
        if now != self._stamp:
            found = now[0] if now[0] != self._stamp[0] else "other"
            raise changed(self._path, self._stamp[0], found)

    def _entry(self, name: str) -> Entry:
        entry = self.header.entries.get(name)
        if entry is None:
            raise FormatError(
                f"holds no tensor {short(name)}",
                path=self._path,
                expected="the name of a tensor in the file",
                found=short(name),
                remedy="see the header for the names",
            )
        return entry

    def _copy(self, start: int, count: int) -> NDArray[np.uint8]:
        space = np.empty(count + ALIGNMENT, np.uint8)
        shift = -space.ctypes.data % ALIGNMENT
        result = space[shift : shift + count]
        self._read(start, result)
        return result

    def _read(self, start: int, into: NDArray[np.uint8]) -> None:
        count = into.size
        done, most = 0, count if self._counter is None else _TOLD_AT_ONCE
        try:
            with self._lock:
                self.require_unchanged()
                self._file.seek(start)
                while done < count and (step := self._file.readinto(into[done : done + most].data)):
                    done += step
                    if self._counter is not None:
                        self._counter.add(step)
                if done == count:
                    self.require_unchanged()
        except FormatError:
            raise
        except (OSError, ValueError) as error:
            remedy = "open it again; if that fails, check the disk"
            raise PathError(
                "cannot be read", path=self._path, found=str(error), remedy=remedy, expected="all bytes of the tensor"
            ) from error
        if done < count:
            raise changed(self._path, count, done)


def open_reader(
    path: str | os.PathLike[str],
    *,
    mmap: bool = True,
    verify: bool = False,
    limits: Limits | None = None,
    progress: Observer | None = None,
) -> Reader:
    """Open a safetensors file to read its tensors.

    Args:
        path: the file.
        mmap: whether to map the file, privately and copy on write, so that a page is read when it is touched;
            or else to read each tensor into memory of its own when it is asked for. A mapped file must not be
            changed in place while it is in use; replacing it is safe. A change is found out where a tensor is asked
            for, not later.
        verify: whether to read all of the file first, and to compare every byte with the digests in it. The same
            open file is then mapped or read, whatever the path leads to by then.
        limits: what the file may ask for; `None` for the defaults.
        progress: told of the bytes of tensors that are compared, if they are, and of those that were asked for.

    Returns:
        A reader. It need not be closed.

    Raises:
        NoSuchFileError: there is nothing at the path.
        PathError: it is a folder, or cannot be read.
        DamagedError: bytes are not those that were written.
        FormatError: it is not a safetensors file, or damaged, or it changes while it is opened, or it is to be
            verified and holds no digests.

    Example:
        >>> import pathlib, tempfile
        >>> from tiedio.container.single import open_reader, write_tensors
        >>> from tiedio.container.writing import Tensor
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "one.safetensors"
        >>> write_tensors(path, [Tensor("bias", "U8", (3,), lambda: b"abc")], {})
        >>> open_reader(path).bytes_of("bias").tolist()
        [97, 98, 99]
    """
    shown = os.fsdecode(path)
    file = open_file(shown)
    try:
        stamp = _stamp_of(file)
        twice = None if progress is None else lambda done, total: progress(done, 2 * total)  # and then once more
        header = verified_header(file, shown, limits, twice) if verify else header_of(file, shown, limits)
        mapped = _map(file, header, shown) if mmap else None
        size = header.file_size - header.data_start
        counter = None if progress is None else Counter(progress, (1 + verify) * size, verify * size)
        reader = Reader(file, header, mapped, shown, stamp, counter)
        reader.require_unchanged()
    except BaseException:
        file.close()
        raise
    return reader


def as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the bytes of an array as a file holds them: in C order and little-endian.

    Args:
        array: an array of any shape, strides, byte order and dtype of a fixed size.

    Returns:
        The bytes, one-dimensional: a view where the array lies in memory like that already, else a copy.

    Raises:
        ModelError: the array holds Python objects or records.

    Example:
        >>> import numpy as np
        >>> from tiedio.container.single import as_bytes
        >>> as_bytes(np.array([[1, 2], [3, 4]], "uint8").T).tolist()
        [1, 3, 2, 4]
    """
    array = np.asarray(array)
    if array.dtype.hasobject or array.dtype.names is not None:
        raise ModelError(
            "cannot be written as bytes",
            expected="an array of numbers",
            found=f"dtype {array.dtype}",
            remedy="convert the array to a numeric dtype",
            path="array",
        )
    order = array.dtype.byteorder
    if order == ">" or (order == "=" and sys.byteorder == "big"):
        array = array.byteswap()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _largest_power(size: int) -> int:
    return min(size & -size, ALIGNMENT) or ALIGNMENT  # zero bytes fit anywhere


def _cannot_hold(tensor: Tensor, expected: str, found: object) -> ModelError:
    remedy = "save the tensor under another dtype or shape"
    return ModelError("cannot be stored", path=tensor.name, expected=expected, found=found, remedy=remedy)


def _map(file: FileIO, header: Header, shown: str) -> NDArray[np.uint8]:
    try:
        if os.name == "nt":
            pages = mmap.mmap(file.fileno(), header.file_size, access=mmap.ACCESS_COPY)
        else:
            flags = mmap.MAP_PRIVATE | _NO_RESERVE
            pages = mmap.mmap(file.fileno(), header.file_size, flags, mmap.PROT_READ | mmap.PROT_WRITE)
        return np.frombuffer(pages, np.uint8)
    except ValueError as error:  # longer than the file is by now
        raise changed(shown, header.file_size, "fewer") from error
    except OSError as error:
        remedy = "read it without mapping: mmap=False"
        raise PathError(
            "cannot be mapped", path=shown, found=str(error), remedy=remedy, expected="a file that the system maps"
        ) from error


def _stamp_of(file: FileIO) -> tuple[int, int]:
    """Size and time of the last change: all that a cheap look at a file tells of writers in place."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
