"""Plain Python values and arrays ↔ JSON and a list of arrays, exactly; no value is ever made by running code."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from xxhash import xxh3_128

from tiedio import strict_json, values
from tiedio.container.single import as_bytes
from tiedio.dtypes import numpy_dtype
from tiedio.errors import DAMAGED, FormatError, TiedioError, shown

KIND = "$"
"""The key of what JSON has no words for: `{"$": kind, "is": content}`."""


class NotPlain(Exception):  # noqa: N818 - it is caught and never shown
    """A value, or something in it, is neither plain nor an array."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A value as JSON, and the arrays that the JSON names by their number."""

    json: Any
    arrays: tuple[np.ndarray[Any, Any], ...]

    def fingerprint(self) -> str:
        """A digest that is the same exactly for the same value."""
        hashed = xxh3_128(strict_json.dumps(self.json).encode())
        for array in self.arrays:
            hashed.update(repr((str(array.dtype), array.shape)).encode())
            hashed.update(as_bytes(array).data)
        return hashed.hexdigest()


def describe(value: Any) -> Plain:
    """Describes a value made of plain ones (of exactly these types: a subclass may hold more) and arrays.

    Raises:
        NotPlain: if it is anything else.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    try:
        return Plain(_encoded(value, arrays), tuple(arrays))
    except RecursionError:
        raise NotPlain from None


def _encoded(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return value if value.isascii() else _told("str", [ord(letter) for letter in value])
    if kind is int:
        return value if -strict_json.MAX_INTEGER <= value <= strict_json.MAX_INTEGER else _told("int", hex(value))
    if kind is float:
        return value if math.isfinite(value) and value != 0 else _told("float", repr(value))
    if kind is list:
        return [_encoded(item, arrays) for item in value]
    if kind is tuple:
        return _told("tuple", [_encoded(item, arrays) for item in value])
    if kind is set or kind is frozenset:
        return _told(kind.__name__, [_encoded(item, arrays) for item in sorted(value, key=repr)])
    if kind is dict:
        return _told("dict", [[_encoded(key, arrays), _encoded(item, arrays)] for key, item in value.items()])
    if kind is np.ndarray or isinstance(value, np.generic):
        array = np.asarray(value)
        name = str(array.dtype)
        try:
            values.code_of(name, "")
        except TiedioError:
            raise NotPlain from None
        arrays.append(array)
        what = "array" if kind is np.ndarray else "scalar"
        return _told(what, [len(arrays) - 1, name, [int(size) for size in array.shape]])
    raise NotPlain


def _told(kind: str, content: Any) -> dict[str, Any]:
    return {KIND: kind, "is": content}


def revive(json: Any, array: Callable[[int], np.ndarray[Any, Any]]) -> Any:
    """The value that `describe` described.

    Args:
        json: its JSON.
        array: the bytes of an array by its number.

    Raises:
        FormatError: if the JSON says nothing that `describe` says.
    """
    if isinstance(json, list):
        return [revive(item, array) for item in json]
    if not isinstance(json, dict):
        return json
    kind, content = json.get(KIND), json.get("is")
    try:
        return _REVIVED[str(kind)](content, array)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(
            "a value in the backup cannot be read",
            path=shown(kind),
            expected=", ".join(_REVIVED),
            found=shown(content),
            remedy=DAMAGED,
        ) from error


def _array(content: Any, array: Callable[[int], np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    number, name, shape = content
    return array(number).view(numpy_dtype(name)).reshape(shape).copy()


def _items(content: Sequence[Any], array: Callable[[int], np.ndarray[Any, Any]]) -> list[Any]:
    return [revive(item, array) for item in content]


_REVIVED: dict[str, Callable[[Any, Callable[[int], np.ndarray[Any, Any]]], Any]] = {
    "str": lambda content, array: "".join(map(chr, content)),
    "int": lambda content, array: int(content, 16),
    "float": lambda content, array: float(content),
    "tuple": lambda content, array: tuple(_items(content, array)),
    "set": lambda content, array: set(_items(content, array)),
    "frozenset": lambda content, array: frozenset(_items(content, array)),
    "dict": lambda content, array: {revive(key, array): revive(item, array) for key, item in content},
    "array": _array,
    "scalar": lambda content, array: _array(content, array)[()],
}
