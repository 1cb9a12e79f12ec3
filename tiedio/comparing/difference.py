"""What two files have in common and what not: as data, and as text for a narrow terminal."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field
from typing import Any

PARTS = ("file", "structure", "compile", "variables", "ties", "shared objects", "hooks")
"""What a `Change` can be about, in the order in which it is told."""

_WIDTH = 80


@dataclass(frozen=True, slots=True)
class Change:
    """One fact that differs.

    Args:
        part: what it is about: one of "file", "structure", "compile", "variables", "ties", "shared objects", "hooks".
        path: the place: a path in the first file if that has it.
        what: the fact, such as the key of a configuration.
        a: how it is in the first file, shortened; `None` if it is not there.
        b: how it is in the second file, shortened; `None` if it is not there.

    Example:
        >>> from tiedio.comparing import Change
        >>> print(Change("structure", "dense", "units", "4", "8"))
        dense: units is 4 in A, 8 in B
    """

    part: str
    path: str
    what: str
    a: str | None
    b: str | None

    def __str__(self) -> str:
        place = f"{_safe(self.path) or 'the model'}: " if self.path or self.part in ("structure", "compile") else ""
        what = _safe(self.what)
        if self.part == "ties":
            return f"{_safe(self.path)} {_safe(self.a or self.b or '')}: only in {'B' if self.a is None else 'A'}"
        if self.a is None or self.b is None:
            side, told = ("B", self.b) if self.a is None else ("A", self.a)
            return f"{place}{what}{' ' if what else ''}only in {side}{f' ({_safe(told)})' if told else ''}"
        return f"{place}{what}{' is ' if what else ''}{_safe(self.a)} in A, {_safe(self.b)} in B"


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A tensor whose values differ.

    Args:
        path: its place in the first file.
        dtype: the dtype of both.
        shape: the shape of both.
        differing: how many of its elements differ: bit for bit, or by more than `atol`.
        largest: the largest absolute difference, infinity where one side has an infinity; exact for integers. `None`
            if no two numbers are left to be compared.
        not_numbers: how many elements are NaN on one side only.
        first: index of the first element that differs.

    Example:
        >>> from tiedio.comparing import ValueChange
        >>> print(ValueChange("dense/kernel", "float32", (3, 4), 2, 0.5, 0, (0, 1)))
        dense/kernel: 2 of 12 differ, by at most 0.5, first at [0, 1]
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    differing: int
    largest: float | int | None
    not_numbers: int
    first: tuple[int, ...]

    def __str__(self) -> str:
        number = format(self.largest, ".3g") if isinstance(self.largest, float) else str(self.largest)
        if not self.shape:
            text = f"{_safe(self.path)}: differs{'' if self.largest is None else f' by {number}'}"
        else:
            most = "" if self.largest is None else f", by at most {number}"
            text = f"{_safe(self.path)}: {self.differing} of {math.prod(self.shape)} differ{most}"
        if self.not_numbers:
            text += f", {self.not_numbers} {'is' if self.not_numbers == 1 else 'are'} NaN on one side only"
        return f"{text}, first at {list(self.first)}" if self.first else text


@dataclass(frozen=True, slots=True)
class Difference:
    """What `tiedio.diff` found; `print` shows it, and it is true where the files differ.

    Args:
        a: the first file.
        b: the second file.
        changes: all facts that differ, but for values.
        values: the tensors whose values differ.
        notes: what is told and makes no difference: other versions, layers that were matched by their order.
        same: how many objects, ties, shared objects and tensors are the same in both, by these names.
        omitted: how many more changes there are than are listed.

    Example:
        >>> from tiedio import Difference
        >>> difference = Difference("a.safetensors", "b.safetensors", same={"tensors": 4})
        >>> difference.identical, bool(difference)
        (True, False)
    """

    a: str
    b: str
    changes: tuple[Change, ...] = ()
    values: tuple[ValueChange, ...] = ()
    notes: tuple[str, ...] = ()
    same: dict[str, int] = field(default_factory=dict)
    omitted: int = 0

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not (self.changes or self.values)

    def __bool__(self) -> bool:
        return not self.identical

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data that JSON can say: an infinity is the text `"inf"`."""
        return {
            "a": self.a,
            "b": self.b,
            "identical": self.identical,
            "changes": [
                {"part": one.part, "path": one.path, "what": one.what, "a": one.a, "b": one.b} for one in self.changes
            ],
            "values": [
                {
                    "path": one.path,
                    "dtype": one.dtype,
                    "shape": list(one.shape),
                    "differing": one.differing,
                    "largest": "inf" if one.largest == math.inf else one.largest,
                    "not_numbers": one.not_numbers,
                    "first": list(one.first),
                }
                for one in self.values
            ],
            "notes": list(self.notes),
            "same": dict(self.same),
            "omitted": self.omitted,
        }

    def text(self, width: int | None = _WIDTH) -> str:
        """Everything as text.

        Args:
            width: columns that a line takes at most, if its words allow it; `None` for one line for each fact.
        """
        lines = _wrapped(f"A: {_safe(self.a)}", "", width) + _wrapped(f"B: {_safe(self.b)}", "", width)
        told: list[tuple[str, list[str]]] = [
            (part, [str(change) for change in self.changes if change.part == part]) for part in PARTS
        ]
        told.append(("values", [str(change) for change in self.values]))
        if self.omitted:
            told.append(("and more", [f"{self.omitted} other differences"]))
        told.append(("notes", [_safe(note) for note in self.notes]))
        for title, facts in told:
            if facts:
                lines += ["", f"{title}:", *(line for fact in facts for line in _wrapped(fact, "  ", width))]
        counts = ", ".join(_count(count, name) for name, count in self.same.items() if count)
        number = len(self.changes) + len(self.values) + self.omitted
        verdict = "no difference" if self.identical else _count(number, "differences")
        lines += ["", *_wrapped(f"{verdict}{f'; the same in both: {counts}' if counts else ''}", "", width)]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def _count(count: int, plural: str) -> str:
    return f"{count} {plural.removesuffix('s') if count == 1 else plural}"


def _safe(text: str) -> str:
    """A text of a file so that no terminal obeys it."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def _wrapped(text: str, indent: str, width: int | None) -> list[str]:
    if width is None:
        return [indent + text]
    return textwrap.wrap(
        text,
        max(width, 20),
        initial_indent=indent,
        subsequent_indent=indent + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
