"""Frozen dataclasses ↔ JSON, strictly: unknown keys, missing keys and wrong kinds are refused with their place."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from tiedio.errors import DAMAGED, FormatError, shown


def encode(value: Any) -> Any:
    """A record as a JSON value; what equals its default is left out."""
    if dataclasses.is_dataclass(value):
        record = {}
        kind: Any = type(value)
        for spec in _fields(kind)[0].values():
            item = getattr(value, spec.name)
            default = spec.default_factory() if callable(spec.default_factory) else spec.default
            if item != default or isinstance(item, bool) != isinstance(default, bool):
                record[spec.name] = encode(item)
        return record
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value


def decode(kind: Any, value: Any, where: str, consume: bool = False) -> Any:
    """`value` as `kind`: a dataclass, `tuple[X, ...]`, `dict[str, X]`, an optional or a plain type.

    Args:
        kind: what it has to be.
        value: a JSON value.
        where: its place, for errors.
        consume: whether records of `value` are let go as soon as they are decoded, so that both are never in memory
            as a whole.

    Raises:
        FormatError: at the first unknown key, missing key or value of another kind.
    """
    if kind is Any or type(value) is kind:
        return value
    origin, arguments = _parts(kind)
    if origin is _RECORD:
        return _record(kind, value, where, consume)
    if origin is tuple:
        if not isinstance(value, list):
            raise FormatError(
                "wrong kind of value", path=where, expected="an array", found=_short(value), remedy=DAMAGED
            )
        if consume:
            return tuple(_consumed(arguments[0], value, where))
        return tuple(decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise FormatError(
                "wrong kind of value", path=where, expected="an object", found=_short(value), remedy=DAMAGED
            )
        return {key: decode(arguments[1], item, f"{where}.{key[:80]}") for key, item in value.items()}
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return decode(next(a for a in arguments if a is not type(None)), value, where, consume)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FormatError(
            "wrong kind of value", path=where, expected=kind.__name__, found=_short(value), remedy=DAMAGED
        )
    return value


def _consumed(kind: Any, items: list[Any], where: str) -> Iterator[Any]:
    for i, item in enumerate(items):
        yield decode(kind, item, f"{where}[{i}]", consume=True)
        items[i] = None


_RECORD = object()


def _uncached_parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return (_RECORD, ()) if dataclasses.is_dataclass(kind) else (typing.get_origin(kind), typing.get_args(kind))


# Asking is slow, and a file has many records of few kinds.
_parts: Callable[[Any], tuple[Any, tuple[Any, ...]]] = functools.cache(_uncached_parts)


@functools.cache
def _fields(kind: type) -> tuple[dict[str, dataclasses.Field[Any]], dict[str, Any]]:
    """The fields of a dataclass and their resolved types, by name; resolving is slow, and a file has many records."""
    return {spec.name: spec for spec in dataclasses.fields(kind)}, typing.get_type_hints(kind)


def _record(kind: type, value: Any, where: str, consume: bool) -> Any:
    if not isinstance(value, dict):
        raise FormatError(
            "wrong kind of value", path=where, expected=f"a {kind.__name__}", found=_short(value), remedy=DAMAGED
        )
    specs, hints = _fields(kind)
    unknown = sorted(set(value) - set(specs))
    if unknown:
        raise FormatError(
            "unknown key",
            path=where,
            expected=f"only {', '.join(specs)}",
            found=", ".join(map(shown, unknown[:8])) + (", …" if len(unknown) > 8 else ""),
            remedy="the file was not written by this format version of tiedio",
        )
    missing = [
        name
        for name, spec in specs.items()
        if name not in value and spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise FormatError(
            "missing key", path=where, expected=", ".join(missing), found=", ".join(value) or "no keys", remedy=DAMAGED
        )  # keys that are known are few and short
    return kind(**{name: decode(hints[name], item, f"{where}.{name}", consume) for name, item in value.items()})


def _short(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= 60 else text[:57] + "…"
