"""The header of a safetensors file: read strictly, and written so that data starts on a page."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tiedio.allowance import Allowance
from tiedio.container import strict_json
from tiedio.container.strict_json import MAX_NUMBER, refuse, short, short_list
from tiedio.errors import FormatError, ModelError, NoSuchFileError, PathError
from tiedio.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import FileIO

METADATA = "__metadata__"
PAGE = 4096  # bytes; where data starts in the files that we write
MAX_HEADER = 100_000_000  # bytes; the limit of safetensors itself
LENGTH = 8  # bytes of the header's length, little-endian, at the very start
_FIELDS = frozenset({"dtype", "shape", "data_offsets"})
_MOST_AXES = 64  # NumPy has no more
_KEPT = 500  # bytes of an entry with its name, shape and offsets
_SURROGATE = re.compile("[\ud800-\udfff]")

ITEM_BITS: Mapping[str, int] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "C64": 64,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8,
    "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits of one item for every dtype code of safetensors 0.8.0; those below a whole byte are refused."""

_SIGNATURES = {
    b"PK\x03\x04": "a zip archive, as .keras files are",
    b"\x89HDF": "an HDF5 file, as .h5 files are",
    b"\x80\x02": "a pickle",
    b"\x93NUM": "a NumPy file",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor in the header: `start` and `stop` are byte offsets from where data starts."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says: free-form metadata, and the tensors in the order of their data.

    `allowance` is what the texts of the file may take in memory, of which the header has taken its part.
    """

    metadata: Mapping[str, str]
    entries: Mapping[str, Entry]
    data_start: int
    file_size: int
    allowance: Allowance = field(default_factory=Allowance, compare=False, repr=False)


def span_of(dtype: str, shape: Sequence[int]) -> int | None:
    """Return the bytes that a tensor takes, or `None` where dtype or size are out of bounds.

    Args:
        dtype: a dtype code of safetensors; unknown ones, and those below a byte, are out of bounds.
        shape: the tensor's shape.

    Returns:
        The size in bytes. A shape with a zero takes none, but its other sides have to stay within bounds, and
        there are at most 64.

    Example:
        >>> from tiedio.container.header import span_of
        >>> span_of("F32", (2, 3)), span_of("F4", (2, 3)), span_of("U8", (0, 2**60))
        (24, None, None)
    """
    bits = ITEM_BITS.get(dtype, 1)
    if bits % 8:
        return None
    size = bits // 8
    empty = False
    for axis, side in enumerate(shape):
        size *= side or 1
        empty = empty or side == 0
        if size > MAX_NUMBER or axis >= _MOST_AXES:  # at once: a product of a million sides would take minutes
            return None
    return 0 if empty else size


def read_header(path: str | os.PathLike[str], limits: Limits | None = None) -> Header:
    """Read the header of a safetensors file, and refuse what the format does not allow.

    Args:
        path: the file.
        limits: what the file may ask for; `None` for the defaults.

    Returns:
        The header. Nothing is allocated for the tensors.

    Raises:
        NoSuchFileError: there is nothing at the path.
        PathError: it is a folder, or cannot be read.
        FormatError: it is not a safetensors file, or damaged; a `LimitError` if its texts would take too much memory.

    Example:
        >>> import pathlib, tempfile
        >>> from tiedio.container.header import Entry, build_header, read_header
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "one.safetensors"
        >>> _ = path.write_bytes(build_header([Entry("a", "U8", (3,), 0, 3)], {"note": "hi"}) + b"abc")
        >>> read_header(path).entries["a"]
        Entry(name='a', dtype='U8', shape=(3,), start=0, stop=3)
    """
    shown = os.fsdecode(path)
    with open_file(shown) as file:
        return header_of(file, shown, limits)


def open_file(shown: str) -> FileIO:
    """Open a regular file to read it, unbuffered, or say why that cannot be."""
    try:
        mode = Path(shown).stat().st_mode  # asked first, as opening a pipe would wait for ever
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a special file"
            raise PathError(
                "cannot be read", path=shown, expected="a file", found=kind, remedy="give the path of a file"
            )
        return Path(shown).open("rb", buffering=0)
    except PathError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoSuchFileError(
            "no such file",
            path=shown,
            expected="a file",
            found="nothing",
            remedy="check the path",
        ) from error
    except OSError as error:
        raise unreadable(error, shown) from error
    except ValueError as error:  # a null character
        raise PathError(
            "not a path",
            path=shown.replace("\0", "\\0"),
            remedy="pass another path",
            expected="a path without NUL characters",
            found=repr(shown),
        ) from error


def header_of(file: FileIO, shown: str, limits: Limits | None = None) -> Header:
    """Read and check the header of a file that was just opened."""
    _, raw, size = read_head(file, shown)
    return parse_text(raw, size, shown, limits)


def read_head(file: FileIO, shown: str) -> tuple[bytes, bytes, int]:
    """Read all bytes before the data of a file that was just opened.

    Returns:
        The eight bytes of the length, the text of the header, and the file's size. A header may be long: it is
        in memory once.
    """
    try:
        size = os.fstat(file.fileno()).st_size
        first = _read(file, LENGTH)
        length = _header_length(first, size, shown)
        raw = _read(file, length)
    except FormatError:
        raise
    except OSError as error:
        raise unreadable(error, shown) from error
    if len(raw) < length:
        _refuse_cut(shown, length, len(raw))
    return first, raw, size


def parse_header(prefix: bytes, file_size: int, path: str | None = None, limits: Limits | None = None) -> Header:
    """Parse the first bytes of a safetensors file.

    Args:
        prefix: the first bytes, at least to the end of the header.
        file_size: the size of the whole file, in bytes.
        path: the file's path, for errors.
        limits: what the file may ask for; `None` for the defaults.

    Returns:
        The header; its entries cover all bytes from its end to the end of the file, without hole or overlap.

    Raises:
        FormatError: the bytes are not a header of a safetensors file of that size.
        LimitError: its texts would take too much memory once they are parsed.

    Example:
        >>> from tiedio.container.header import Entry, build_header, parse_header
        >>> head = build_header([Entry("a", "F32", (2,), 0, 8)], {"note": "hi"})
        >>> parse_header(head, len(head) + 8).metadata
        {'note': 'hi'}
    """
    length = _header_length(prefix[:LENGTH], file_size, path)
    raw = prefix[LENGTH : LENGTH + length]
    if len(raw) < length:
        _refuse_cut(path, length, len(raw))
    return parse_text(raw, file_size, path, limits)


def parse_text(raw: bytes, file_size: int, path: str | None = None, limits: Limits | None = None) -> Header:
    """Parse the text of a header, without the length before it; see `parse_header`."""
    allowance = Allowance.of(limits, file_size)
    allowance.take_header(raw, path)
    table = strict_json.loads(raw, path)
    metadata = _metadata(table.pop(METADATA, {}), path)
    entries = sorted((_entry(name, fields, path) for name, fields in table.items()), key=lambda e: (e.start, e.stop))
    del table
    data_start = LENGTH + len(raw)
    _check_cover(entries, file_size - data_start, path)
    # What stays: the texts of the metadata, and the entries.
    allowance.taken = sum(map(sys.getsizeof, metadata.values())) + len(entries) * _KEPT
    return Header(metadata, {entry.name: entry for entry in entries}, data_start, file_size, allowance)


def build_header(entries: Sequence[Entry], metadata: Mapping[str, str], path: str | None = None) -> bytes:
    """Build the bytes that stand before the data: the same input gives the same bytes.

    Args:
        entries: the tensors in the order of their data, without holes.
        metadata: text under text keys; written in the order of the keys.
        path: the file to be written, for errors.

    Returns:
        Eight bytes of length, compact JSON, and spaces up to a multiple of 4096 bytes.

    Raises:
        ModelError: a reader would refuse this header, or read something else from it.

    Example:
        >>> from tiedio.container.header import Entry, build_header
        >>> len(build_header([Entry("a", "F32", (2,), 0, 8)], {}))
        4096
    """
    try:
        table: dict[str, Any] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
        for entry in entries:
            offsets = [entry.start, entry.stop]
            table[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": offsets}
        raw = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise _unwritable(path, "text that is valid Unicode, and plain integers", str(error)) from error
    padded = raw.ljust(-(-(len(raw) + LENGTH) // PAGE) * PAGE - LENGTH)
    if len(padded) > MAX_HEADER:
        raise _unwritable(path, f"at most {MAX_HEADER} bytes", f"{len(padded)} bytes")
    head = len(padded).to_bytes(LENGTH, "little") + padded
    # What our own reader refuses, or reads differently (a name that stands twice, a key that is no text), is
    # never written.
    try:
        parsed = parse_header(head, len(head) + (entries[-1].stop if entries else 0), None, Limits.off())
    except FormatError as error:
        raise _unwritable(path, str(error.expected), f"{error.found}: {error.what}") from error
    if parsed.metadata != dict(metadata) or list(parsed.entries.values()) != list(entries):
        raise _unwritable(path, "names that are text and differ from each other", "others")
    return head


def _unwritable(path: str | None, expected: str, found: str) -> ModelError:
    remedy = "change the names, shapes or metadata that are written"
    what = "a header cannot hold what is to be written"
    return ModelError(what, path=path, expected=expected, found=found, remedy=remedy)


def unreadable(error: OSError, shown: str) -> PathError:
    """Say that the system does not read the file."""
    return PathError(
        "cannot be read",
        path=shown,
        expected="a readable file",
        found=str(error),
        remedy="check its permissions",
    )


def changed(shown: str, expected: object, found: object) -> FormatError:
    """Say that a file has another size than it had when it was opened."""
    return FormatError(
        "changed while it was open",
        path=shown,
        expected=f"{expected} bytes",
        found=f"{found} bytes",
        remedy="wait until its writer is done, and let writers replace the file instead of writing into it",
    )


def _read(file: FileIO, count: int) -> bytes:
    parts = []
    while count > 0 and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _refuse_cut(path: str | None, length: int, found: int) -> NoReturn:
    refuse(path, "truncated inside its header", f"{length} header bytes", found)


def _header_length(first: bytes, file_size: int, path: str | None) -> int:
    if file_size < LENGTH or len(first) < LENGTH:
        refuse(path, "too short to be a safetensors file", "at least 8 bytes", min(file_size, len(first)))
    length = int.from_bytes(first, "little")
    if length > MAX_HEADER or length < 2:
        kind = next((kind for mark, kind in _SIGNATURES.items() if first.startswith(mark)), None)
        found = kind or f"a header of {length} bytes"
        refuse(
            path,
            "not a safetensors file",
            "a header of 2 to 100000000 bytes",
            found,
            "pass a safetensors file" if kind is None else "pass a safetensors file; tiedio convert makes one of it",
        )
    if length > file_size - LENGTH:
        what = "truncated inside its header, or not a safetensors file"
        refuse(path, what, f"at least {length + LENGTH} bytes", file_size)
    return length


def _text(value: object, path: str | None, role: str) -> str:
    if not isinstance(value, str):
        refuse(path, f"{role} is not text", "text", short(value))
    if not value.isascii() and (found := _SURROGATE.search(value)):
        refuse(path, f"{role} holds a lone surrogate", "text", short(found[0]))
    return value


def _metadata(value: object, path: str | None) -> dict[str, str]:
    if not isinstance(value, dict):
        refuse(path, "its metadata is not an object", "an object", short(value))
    return {_text(k, path, "a metadata key"): _text(v, path, f"metadata {short(k)}") for k, v in value.items()}


def _entry(name: str, fields: object, path: str | None) -> Entry:
    name = _text(name, path, "a tensor's name")
    shown = f"tensor {short(name)}"
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        found = short_list(sorted(fields)) if isinstance(fields, dict) else short(fields)
        refuse(path, f"{shown} has not the fields it should have", ", ".join(sorted(_FIELDS)), found or "none")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or ITEM_BITS.get(dtype, 1) % 8:
        remedy = "convert the tensor to another dtype, or update tiedio"
        expected = "a safetensors dtype of whole bytes"
        refuse(path, f"{shown} has a dtype that is not supported", expected, short(dtype), remedy)
    if not _is_integers(shape):
        refuse(path, f"{shown} has a shape that is not one", "a list of integers", short(shape))
    if not _is_integers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        refuse(path, f"{shown} has offsets that are not a range", "[start, stop]", short(offsets))
    start, stop = offsets
    size = span_of(dtype, shape)
    if size != stop - start:
        expected = "a shape within bounds" if size is None else f"{size} bytes for its shape and dtype"
        refuse(path, f"{shown} does not fit its shape", expected, f"{stop - start} bytes")
    return Entry(name, dtype, tuple(shape), start, stop)


def _is_integers(value: object) -> bool:
    return isinstance(value, list) and all(type(side) is int for side in value)  # a bool is no integer here


def _check_cover(entries: Sequence[Entry], size: int, path: str | None) -> None:
    end = 0
    for entry in entries:
        if entry.start != end:
            what = "leaves a hole before" if entry.start > end else "overlaps"
            refuse(path, f"its data {what} tensor {short(entry.name)}", f"offset {end}", entry.start)
        end = entry.stop
    if end > size:
        refuse(path, "truncated inside its data", f"{end} bytes of data", size)
    if end < size:
        refuse(path, "bytes follow after its last tensor", f"{end} bytes of data", size)
