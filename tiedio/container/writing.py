"""The bytes of tensors, hashed and written one after the other."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128

from tiedio.container import writeback
from tiedio.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tiedio.container.observing import Counter

Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]

_CHUNK = 1 << 22  # bytes that are hashed and then written: they stay in the cache, and an interrupt is heard in between
_NO_FALLOCATE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODEV})


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to write; `data` is called once, when its bytes are due, and gives all of them in C order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Callable[[], Buffer]


def reserve(file: BinaryIO, size: int) -> None:
    """Find a full disk before anything is written, and let the file system lay the file out in one piece."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in _NO_FALLOCATE:
            raise


def write_data(file: BinaryIO, tensors: Iterable[tuple[Tensor, int]], counter: Counter | None = None) -> list[str]:
    """Write the bytes of tensors from where the file stands, and let the disk begin with them.

    Args:
        file: the file.
        tensors: each tensor and its size in bytes.
        counter: told of the bytes, part by part.

    Returns:
        The digest of each tensor.

    Raises:
        ModelError: a tensor gives other data than announced.
        OSError: the file cannot be written.
    """
    told = file.tell()
    digests = []
    for tensor, size in tensors:
        digest, told = _write_one(file, tensor, size, told, counter)
        digests.append(digest)
    file.flush()
    writeback.begin(file.fileno(), told, file.tell() - told)
    return digests


def _write_one(file: BinaryIO, tensor: Tensor, size: int, told: int, counter: Counter | None) -> tuple[str, int]:
    """Write one tensor; `told` is how far the disk was told of. Return the digest, and how far it is told now."""
    # A function of its own, so that one tensor's data is let go before the next is asked for.
    hashed = xxh3_128()
    raw = _checked(tensor, size)
    for start in range(0, size, _CHUNK):
        chunk = raw[start : start + _CHUNK]
        hashed.update(chunk)  # first, as the system's copy of it is then made from the cache
        file.write(chunk)
        if file.tell() - told >= writeback.STEP:
            writeback.begin(file.fileno(), told, file.tell() - told)
            told = file.tell()
        if counter is not None:
            counter.add(len(chunk))
    return hashed.hexdigest(), told


def _checked(tensor: Tensor, size: int) -> memoryview:
    data: Any = tensor.data()  # until 3.12, Python has no type for what has a buffer
    try:
        view = memoryview(data)
        found = f"{view.nbytes} bytes" if view.c_contiguous else "a buffer that is not C-contiguous"
        fits = view.c_contiguous and view.nbytes == size
    except (TypeError, ValueError, BufferError) as error:
        fits, found = False, f"{type(data).__name__}: {error}"
    if not fits:
        raise ModelError(
            "gave other data than announced",
            path=tensor.name,
            expected=f"{size} C-contiguous bytes for dtype {tensor.dtype} and shape {tensor.shape}",
            found=found,
            remedy="give the bytes through as_bytes, in the announced dtype and shape",
        )
    return np.frombuffer(data, np.uint8).data if size else memoryview(b"")
