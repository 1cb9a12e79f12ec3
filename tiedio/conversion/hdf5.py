"""HDF5 files: every group, dataset and attribute is judged before a value is read.

An HDF5 file can name other files, claim any shape, and hold links in circles. Keras writes none of that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import ml_dtypes
import numpy as np

from tiedio.conversion.headers import texts_length
from tiedio.errors import DAMAGED, FormatError, LimitError, MismatchError, shown
from tiedio.limits import Limits

_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}
_OBJECTS, _FOR_EACH = 20_000, 128  # groups and datasets, and bytes of the file for each one more
_DEPTH = 100
_LONGEST_ATTRIBUTE = 1 << 16  # items
_LONGEST_NAME = 4096


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is known of a dataset before it is read: its shape, Keras dtype, and what NumPy takes its bytes for."""

    shape: tuple[int, ...]
    dtype: str
    raw: Any


class Tree:
    """The groups and datasets of an HDF5 file, all of them judged.

    Args:
        file: the open file.
        size: its size in bytes.
        path: the file, for errors.
        limits: what it may ask for.

    Raises:
        FormatError: if it holds what Keras does not write: links, other files, odd types.
        LimitError: if it claims more than its size allows.
    """

    def __init__(self, file: Any, size: int, path: str, limits: Limits | None) -> None:
        self.path = path
        self.limits = (limits or Limits()).for_file(size)
        self._size, self._raw = size, file
        self._texts: dict[tuple[str, str], Any] = {}
        self._text_bytes = 0
        try:
            self._file = h5py.File(file, "r", locking=False)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise self._refused("the HDF5 file is damaged", "an HDF5 file", error) from error
        self.groups: dict[str, Any] = {}
        self.datasets: dict[str, Dataset] = {}
        try:
            self._walk()
        except FormatError:
            self._file.close()
            raise
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            self._file.close()
            raise self._refused("the HDF5 file is damaged", "an HDF5 file", error) from error

    def close(self) -> None:
        """Lets the file go."""
        self._file.close()

    def names(self) -> dict[str, tuple[str, ...]]:
        """Names of the datasets in each group."""
        found: dict[str, list[str]] = {}
        for path in self.datasets:
            group, _, name = path.rpartition("/")
            found.setdefault(group, []).append(name)
        return {group: tuple(names) for group, names in found.items()}

    def read(self, path: str) -> np.ndarray[Any, Any]:
        """The value of a dataset.

        Raises:
            KeyError: if there is none.
        """
        spec = self.datasets[path]
        try:
            value = np.asarray(self._file[path][()])  # an open object of h5py takes 15 kB: none is kept
        except (OSError, RuntimeError, ValueError, KeyError, MemoryError) as error:
            raise self._refused(f"{shown(path)} is damaged", "a dataset that can be read", error) from error
        return value if spec.raw is None else value.view(spec.raw)

    def attribute(self, group: str, name: str) -> Any:
        """An attribute: a text, a list of texts, or `None` if there is none."""
        if (group, name) not in self._texts:
            self._texts[group, name] = self._attribute(group, name)
        return self._texts[group, name]

    def _attribute(self, group: str, name: str) -> Any:
        attributes = self.groups[group].attrs if group else self._file.attrs
        try:
            if name not in attributes:
                return None
            kind = attributes.get_id(name)
            count = math.prod(kind.shape)
            if kind.shape and count == 0:
                return []
            if kind.get_type().get_class() != h5py.h5t.STRING:
                raise self._refused(f"attribute {shown(name)} is no text", "text", str(kind.dtype))
            if count > _LONGEST_ATTRIBUTE or kind.get_storage_size() > self._size:
                raise self._refused(f"attribute {shown(name)} is too long", "a text or a list", str(kind.shape)[:60])
            self._require_short(group, name, kind, count)
            value = attributes[name]
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, FormatError):
                raise
            raise self._refused("an attribute is damaged", name, error) from error
        if isinstance(value, np.ndarray):
            return [self._text(item, name) for item in value.ravel()]
        return self._text(value, name)

    def _require_short(self, group: str, name: str, kind: Any, count: int) -> None:
        """Raises `LimitError` if the texts of attributes take more than the file, all together."""
        size = int(kind.get_storage_size())
        if kind.get_type().is_variable_str():
            address = h5py.h5o.get_info(self.groups[group].id if group else self._file.id).addr
            told = texts_length(self._raw, address, name, count)
            assert self.limits.memory is not None
            if told is None:  # each may be as long as the file
                told = 0 if count * self._size <= self.limits.memory else self._size + 1
            size = told
        self._text_bytes += size
        if self._text_bytes > self._size:
            raise LimitError(
                f"attribute {shown(name)} is far larger than the file",
                path=self.path,
                expected=f"at most {self._size:,} bytes of text",
                found=f"more, in {count:,} texts",
                remedy=DAMAGED,
            )

    def _text(self, value: Any, name: str) -> str:
        try:
            return value.decode("utf-8") if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError as error:
            raise self._refused(f"attribute {shown(name)} is no text", "UTF-8", error) from error

    # --- rules --------------------------------------------------------------------------------------

    def _walk(self) -> None:
        most = _OBJECTS + self._size // _FOR_EACH
        seen: set[Any] = {_identity(self._file)}
        stack: list[tuple[str, Any, int]] = [("", self._file, 0)]
        claimed = stored = 0
        while stack:
            path, group, depth = stack.pop()
            self.groups[path] = group
            for name, item in self._members(path, group):
                inner = f"{path}/{name}" if path else name
                if _identity(item) in seen:
                    raise self._refused("an object stands in two places", "a tree", shown(inner))
                seen.add(_identity(item))
                if len(seen) > most or depth > _DEPTH or len(inner) > _LONGEST_NAME:
                    raise LimitError(
                        "the HDF5 file has more objects than its size allows",
                        path=self.path,
                        expected=f"at most {most:,} groups and datasets, {_DEPTH} levels deep",
                        found="more",
                        remedy=DAMAGED,
                    )
                if isinstance(item, h5py.Dataset):
                    self.datasets[inner], size = self._judged(inner, item)
                    claimed, stored = claimed + size, stored + item.id.get_storage_size()
                else:
                    stack.append((inner, item, depth + 1))
        self._require_stored(claimed, stored)

    def _members(self, path: str, group: Any) -> Iterator[tuple[str, Any]]:
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                what = f"a link ({type(link).__name__})"
                raise self._refused("the HDF5 file leads elsewhere", "groups and datasets", f"{what} at {shown(name)}")
            if name in (".", "..") or "/" in name or not name:
                raise self._refused("a group has an odd name", "plain names", shown(f"{path}/{name}"))
            item = group[name]
            if not isinstance(item, (h5py.Group, h5py.Dataset)):
                raise self._refused("the HDF5 file holds more than numbers", "groups and datasets", shown(name))
            yield name, item

    def _judged(self, path: str, item: Any) -> tuple[Dataset, int]:
        properties = item.id.get_create_plist()
        if properties.get_external_count() or item.is_virtual:
            raise self._refused("a dataset reads another file", "data in the file itself", shown(path))
        for n in range(properties.get_nfilters()):
            if properties.get_filter(n)[0] not in _FILTERS:
                raise self._refused("a dataset has an unusual filter", ", ".join(_FILTERS.values()), shown(path))
        if item.shape is None:
            raise self._refused("a dataset holds nothing", "numbers", shown(path))
        dtype, raw = self._dtype(path, item)
        shape = tuple(int(side) for side in item.shape)
        size = math.prod(shape) * int(item.dtype.itemsize)
        held = item.id.get_storage_size()
        if item.chunks is not None and 0 not in shape:  # a chunk is unpacked as a whole, however little of it is used
            size = max(size, math.prod(map(int, item.chunks)) * int(item.dtype.itemsize))
        if item.chunks is None and held < size:
            raise self._refused("a dataset claims more than it has", f"{size:,} bytes", f"{held:,} in {shown(path)}")
        return Dataset(shape, dtype, raw), size

    def _dtype(self, path: str, item: Any) -> tuple[str, Any]:
        dtype = item.dtype
        if h5py.check_dtype(ref=dtype) or h5py.check_dtype(vlen=dtype) or dtype.names or dtype.subdtype:
            raise self._refused("a dataset holds no numbers", "numbers", f"{shown(path)}: {str(dtype)[:60]}")
        if dtype == np.dtype("V2") and self._says_bfloat16(item):
            return "bfloat16", ml_dtypes.bfloat16
        if dtype.kind not in "biufc" or dtype.itemsize > 16:
            raise self._refused("a dataset holds no numbers", "numbers", f"{shown(path)}: {str(dtype)[:60]}")
        return dtype.newbyteorder("=").name, None

    def _says_bfloat16(self, item: Any) -> bool:
        if "dtype" not in item.attrs or item.attrs.get_id("dtype").shape != ():
            return False
        return str(item.attrs["dtype"]) == "bfloat16"

    def _require_stored(self, claimed: int, stored: int) -> None:
        assert self.limits.memory is not None
        if stored > self._size:
            raise self._refused("datasets lie over each other", f"at most {self._size:,} bytes", f"{stored:,}")
        if claimed > max(self.limits.memory, stored):
            raise LimitError(
                "its datasets are far larger than the file",
                path=self.path,
                expected=f"at most {self.limits.memory:.0f} bytes for a file of {self._size:,}",
                found=f"{claimed:,} bytes",
                remedy=f"if you trust the file, pass limits=tiedio.Limits(memory={claimed * 2})",
            )

    def _refused(self, what: str, expected: str, found: Any) -> FormatError:
        text = " ".join(str(found).split())[:200]
        return FormatError(what, path=self.path, expected=expected, found=text, remedy=DAMAGED)


def _identity(item: Any) -> Any:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def require_every(unread: list[str], path: str) -> None:
    """Raises `MismatchError` if values of a file went nowhere."""
    if unread:
        raise MismatchError(
            "the file has values that the model does not take",
            path=path,
            expected="a model that takes all of them",
            found=", ".join(map(shown, unread[:8])) + (f", and {len(unread) - 8} more" if len(unread) > 8 else ""),
            remedy="build the model as it was when the file was saved",
        )
