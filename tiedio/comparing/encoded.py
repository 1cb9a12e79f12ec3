"""Encoded configurations of two files beside each other: whether they are the same, where they are not, and as text.

Nothing here trusts a file: a value may be anything that JSON can say, and is walked without recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiedio.errors import shown

_LONGEST = 60
_DEEPEST = 8  # levels that are gone into: each of them compares what is below once more

Names = Mapping[str, Callable[[Any], str]]
"""What a reference of one file stands for, by its key (`$object`): a name that both files have in common."""


@dataclass(frozen=True, slots=True)
class Apart:
    """Where two values part: keys and indexes down to the place, and what stands there on both sides."""

    place: str
    a: Any
    b: Any
    names: tuple[Names, Names] = field(repr=False)

    def texts(self) -> tuple[str, str]:
        """Both sides, shortened."""
        return text_of(self.a, self.names[0]), text_of(self.b, self.names[1])


def compare(a: Any, b: Any, names: tuple[Names, Names]) -> Apart | None:
    """The place where two encoded values part, or `None` if they say the same.

    Args:
        a: of the first file.
        b: of the second file.
        names: what references stand for, in each of them.

    Returns:
        The place where both can be shown: the whole values if they are short, or else the innermost that holds all that
        differs, not further in than a few levels.

    Example:
        >>> from tiedio.comparing.encoded import compare
        >>> compare({"size": [3, 3]}, {"size": [3, 5]}, ({}, {})).texts()
        ('{size: [3, 3]}', '{size: [3, 5]}')
        >>> compare({"words": ["a"] * 99}, {"words": ["a"] * 98 + ["b"]}, ({}, {})).place
        'words[98]'
    """
    if _same(a, b, names):
        return None
    apart = Apart("", a, b, names)
    for _ in range(_DEEPEST):
        step = _one_step(apart.a, apart.b, names) if any(text.endswith("…") for text in apart.texts()) else None
        if step is None:
            break
        key, a, b = step
        apart = Apart(f"{apart.place}{'.' if apart.place and key[0] != '[' else ''}{key}", a, b, names)
    return apart


def _one_step(a: Any, b: Any, names: tuple[Names, Names]) -> tuple[str, Any, Any] | None:
    """Into the only part of two containers that differs; `None` if there are several, or other parts."""
    if type(a) is not type(b):
        return None
    if isinstance(a, dict):
        if a.keys() != b.keys() or _reference(a, names[0]) or _reference(b, names[1]):
            return None
        parts = [(key, a[key], b[key]) for key in a]
    elif isinstance(a, list) and len(a) == len(b):
        parts = [(f"[{n}]", one, other) for n, (one, other) in enumerate(zip(a, b, strict=True))]
    else:
        return None
    apart = []
    for part in parts:
        if not _same(part[1], part[2], names):
            apart.append(part)
            if len(apart) > 1:
                return None
    ((key, one, other),) = apart
    if key in ("$tuple", "$dict", "config") and type(one) is type(other):
        deeper = _one_step(one, other, names)
        return deeper if deeper is not None or key != "config" else (key, one, other)
    return key[:_LONGEST] or "''", one, other


def _reference(value: dict[str, Any], names: Names) -> str | None:
    """What an object of JSON refers to, if it is a reference."""
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key in names:
            return f"{key} {names[key](inner)}"
    return None


def _same(a: Any, b: Any, names: tuple[Names, Names]) -> bool:
    stack = [(a, b)]
    while stack:
        one, other = stack.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, dict):
            left, right = _reference(one, names[0]), _reference(other, names[1])
            if left is not None or right is not None:
                if left != right:
                    return False
            elif one.keys() != other.keys():
                return False
            else:
                stack.extend((one[key], other[key]) for key in one)
        elif isinstance(one, list):
            if len(one) != len(other):
                return False
            stack.extend(zip(one, other, strict=True))
        elif one != other:
            return False
    return True


def text_of(value: Any, names: Names) -> str:
    """An encoded value as a reader of Python would write it, shortened.

    Example:
        >>> from tiedio.comparing.encoded import text_of
        >>> text_of({"class_name": "L2", "config": {"l2": 0.01, "size": {"$tuple": [1, 2]}}}, {})
        'L2(l2=0.01, size=(1, 2))'
    """
    text = ""
    for part in _parts_of(value, names):
        text += part
        if len(text) > _LONGEST:
            return text[: _LONGEST - 1] + "…"
    return text


def _parts_of(value: Any, names: Names) -> Iterator[str]:
    if isinstance(value, list):
        yield "["
        yield from _listed(value, names)
        yield "]"
    elif not isinstance(value, dict):
        yield shown(value)
    elif (reference := _reference(value, names)) is not None:
        yield reference.partition(" ")[2] or "the model"
    elif isinstance(value.get("class_name"), str) and "config" in value:
        yield value["class_name"][: _LONGEST + 1]
        config = value["config"]
        if isinstance(config, dict):
            yield "("
            for n, (key, item) in enumerate(config.items()):
                yield f"{', ' if n else ''}{key[: _LONGEST + 1]}="
                yield from _parts_of(item, names)
            yield ")"
        elif config is not None:
            yield from ("(", shown(config), ")")
    elif len(value) == 1 and isinstance(inner := next(iter(value.values())), list) and "$tuple" in value:
        yield "("
        yield from _listed(inner, names)
        yield ",)" if len(inner) == 1 else ")"
    elif len(value) == 1 and "$float" in value:
        yield shown(value["$float"]).strip("'")
    else:
        yield "{"
        for n, (key, item) in enumerate(value.items()):
            yield f"{', ' if n else ''}{key[: _LONGEST + 1]}: "
            yield from _parts_of(item, names)
        yield "}"


def _listed(items: list[Any], names: Names) -> Iterator[str]:
    for n, item in enumerate(items):
        if n:
            yield ", "
        yield from _parts_of(item, names)
