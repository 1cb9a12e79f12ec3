"""What the texts of a file may take once they are parsed: estimated from above, from counts, before anything is.

The numbers are bytes of CPython 3.11 to 3.13 on 64 bits; tests/hostile/test_memory.py measures that they suffice.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from math import inf
from typing import NoReturn

from tiedio.errors import LimitError
from tiedio.limits import Limits

_FIXED = 4096  # what parsing takes by itself
_MOST = 400  # of one character, whatever it is
_OBJECT = 200  # a dict of up to five pairs
_PAIR = 131  # one pair more: its place in a dict that was just enlarged, and in the list that it came in
_SAME_PAIR = 65  # with one of a few keys: no dict has it twice, so that dicts stay small, or it is refused
_KEY = 66  # the parser keeps each key that it meets for the first time in a dict of its own
_LIST = 96
_ITEM = 18  # a place in a list that was just enlarged
_STRING = 64  # before its characters, if they take one byte each
_WIDE_STRING = 88
_NUMBER = 48

_SAMPLE = 1 << 15  # characters in which keys are looked for that come again and again
_MOST_KEYS = 16
_FEW = 1000  # strings, among which those that are met again do not matter
_SAMPLED = re.compile(r'"([A-Za-z$_][A-Za-z_]{0,30})":')
_FIXED_KEYS = ("dtype", "shape", "data_offsets")
_HEADER_OBJECT = 350  # an `Entry`, its shape, its places in a list and in a dict
# What needs four bytes: the escape of half a pair, and the first byte of such a character in UTF-8.
_PAIR_ESCAPE = re.compile(r"\\u[dD][89a-bA-B]")
_HIGH_ESCAPE = re.compile(rb"\\u[dD][89a-bA-B]")
_HIGH_BYTE = re.compile(rb"[\xf0-\xff]")


@dataclass(slots=True)
class Allowance:
    """Bytes that the texts of one file may take together, and those that are taken.

    Args:
        memory: how many, at most.
        depth: levels of nesting in one text.
        size: of the file, in bytes.
        taken: how many are taken.
    """

    memory: float = inf
    depth: float = 900  # what Python itself can walk
    size: int = 0
    taken: int = 0

    @staticmethod
    def of(limits: Limits | None, size: int) -> Allowance:
        """The whole allowance of a file.

        Args:
            limits: what the caller allows; `None` for the defaults.
            size: of the file, in bytes.

        Example:
            >>> from tiedio.allowance import Allowance
            >>> Allowance.of(None, 1000).memory
            58723256
        """
        given = (limits or Limits()).for_file(size)
        memory, depth = (inf if limit is None else limit for limit in (given.memory, given.depth))
        # A configuration stands some levels deep in its text; Python itself gives up at a thousand.
        return Allowance(memory, min(depth + 50, 900), size)

    def take(self, cost: int, where: str | None) -> None:
        """Takes so many bytes.

        Raises:
            LimitError: there are not as many left; none is taken.
        """
        if self.taken + cost > self.memory:
            self._refuse(cost, where)
        self.taken += cost

    def take_text(self, text: str, where: str | None) -> None:
        """Takes what a text would take once it is parsed.

        Raises:
            LimitError: there is not as much left.
        """
        if self.memory == inf:
            return
        most = len(text) * _MOST
        if most * 32 <= self.memory - self.taken:  # a short text: not even counting is worth it
            self.take(most, where)
            return
        quick = parsed_size(text, quick=True)
        # Counting the keys takes a while, and is worth it only where it may decide: a key that is met again saves
        # no more than this.
        left, saved = self.memory - self.taken, text.count(":") * (_KEY + _PAIR - _SAME_PAIR + _WIDE_STRING)
        decided = quick * 8 <= left or quick - saved > left
        self.take(quick if decided else parsed_size(text), where)

    def take_header(self, raw: bytes, where: str | None) -> None:
        """Takes the text of a header, and what it would take once it is parsed.

        Raises:
            LimitError: there is not as much left.
        """
        if self.memory < inf:
            most = len(raw) * _MOST
            self.take(most if most * 32 <= self.memory else len(raw) + header_size(raw), where)

    def give_back(self, cost: int) -> None:
        """Gives back bytes that were taken, and are used no more."""
        self.taken -= cost

    def _refuse(self, cost: int, where: str | None) -> NoReturn:
        raise LimitError(
            "its texts would take more memory than is allowed for a file of its size",
            path=where,
            expected=f"at most {self.memory:.0f} bytes for a file of {self.size} bytes",
            found=f"up to {self.taken + cost} bytes",
            remedy=f"if you trust the file, pass limits=tiedio.Limits(memory={_round_up(self.taken + cost)})",
        )


def _round_up(count: int) -> str:
    """A number that is easy to read, twice as large or more: more texts may follow."""
    return f"{1 << max(count, 1).bit_length() + 1:_}"


@dataclass(frozen=True, slots=True)
class _Counts:
    """What stands in a text, each from above, but for `fewest`: strings, from below."""

    objects: int
    empty: int
    lists: int
    pairs: int
    commas: int
    strings: int
    fewest: int
    known: int  # keys that are met again

    def size(self, string: int) -> int:
        """Bytes of what is made of it, without the characters of strings."""
        own = self.objects - self.empty  # each has a pair of its own, which no other object has too
        more, new = max(self.pairs - own, 0), max(self.pairs - self.known, 0)
        return (
            self.objects * _OBJECT
            + min(more, new) * _PAIR
            + max(more - new, 0) * _SAME_PAIR
            + new * _KEY
            + self.lists * _LIST
            + self.commas * _ITEM
            + max(self.strings - self.known, 0) * string
            + max(self.commas + 1 - max(self.fewest - self.pairs, 0), 0) * _NUMBER
        )


def parsed_size(text: str, quick: bool = False) -> int:
    """Return how many bytes a JSON text may take once it is parsed, beside itself: never fewer than it does.

    Args:
        text: the text.
        quick: whether to count less, and to return more.

    Example:
        >>> from tiedio.allowance import parsed_size
        >>> parsed_size('{"a": [1, 2]}') < 10_000 < parsed_size("[" * 1000)
        True
    """
    real, fewest = _strings(text.count('"'), text.count('\\"'), text.count('\\\\"'))
    known = 0 if quick or real <= _FEW else sum(_again(text, key) for key in _frequent_keys(text))
    counts = _Counts(
        text.count("{"),
        text.count("{}"),
        text.count("["),
        text.count(":"),
        text.count(","),
        real,
        fewest,
        known,
    )
    width = _width(text)
    # A string with escapes is put together piece by piece, in a buffer that is larger, and widened on the way.
    characters = len(text) * (width + (width if "\\" in text else 0))
    return _FIXED + counts.size(_STRING if text.isascii() and width == 1 else _WIDE_STRING) + characters


def header_size(raw: bytes) -> int:
    """Return how many bytes the text of a header takes as text and parsed, together: never fewer than it does.

    A header holds other texts of JSON as strings; what looks like structure in them does not count.

    Args:
        raw: the text in UTF-8.
    """
    width = 1 if raw.isascii() else 4 if _HIGH_BYTE.search(raw) else 2
    text = len(raw) * (width + width // 2)  # it is widened on the way
    if width < 4 and b"\\u" in raw:
        width = 4 if _HIGH_ESCAPE.search(raw) else 2
    string = _STRING if width == 1 else _WIDE_STRING
    characters = len(raw) * width * (10 if width == 1 else 15) // 8
    real, fewest = _strings(raw.count(b'"'), raw.count(b'\\"'), raw.count(b'\\\\"'))
    known = sum(_again(raw, key) for key in _FIXED_KEYS) if real > _FEW else 0
    outside = _outside(raw)
    counts = _Counts(outside["{"], outside["{}"], outside["["], outside[":"], outside[","], real, fewest, known)
    return _FIXED + text + characters + counts.size(string) + min(counts.objects, counts.pairs // 3) * _HEADER_OBJECT


def _strings(quotes: int, escaped: int, doubtful: int) -> tuple[int, int]:
    """How many strings there are at most and at least, if `doubtful` of the escaped quotes may be none."""
    plain = quotes - escaped
    return (plain + doubtful + 1) // 2, plain // 2


def _again(text: str | bytes, key: str) -> int:
    if isinstance(text, str):
        escaped = text.count(f'\\"{key}":') if "\\" in text else 0
        return max(text.count(f'"{key}":') - escaped - 1, 0)
    return max(text.count(f'"{key}":'.encode()) - text.count(f'\\"{key}":'.encode()) - 1, 0)


def _frequent_keys(text: str) -> list[str]:
    found: dict[str, int] = {}
    for start in (0, len(text) // 2):
        for key in _SAMPLED.findall(text, start, start + _SAMPLE):
            found[key] = found.get(key, 0) + 1
    return sorted(found, key=lambda key: -found[key])[:_MOST_KEYS]


def _width(text: str) -> int:
    """Bytes that a character may take in what is made of a text: an escape can widen the string that it stands in."""
    width = 1
    if not text.isascii():
        own = (sys.getsizeof(text) - 48) // max(len(text), 1)
        width = 4 if own >= 4 else 2 if own >= 2 else 1
    if width < 4 and "\\u" in text:
        width = 4 if _PAIR_ESCAPE.search(text) else 2
    return width


_STRUCTURE = b'"{}[],:'
_OTHERS = bytes(sorted(set(range(256)) - set(_STRUCTURE)))
_PIECE = 1 << 20  # bytes that are looked at together, so that counting itself takes no memory


def _outside(raw: bytes) -> Counter[str]:
    """How often each sign of structure stands outside of the strings of a JSON text, and `{}` beside them."""
    found: Counter[str] = Counter()
    start, inside = 0, 0
    while start < len(raw):
        end = min(start + _PIECE, len(raw))
        while end < len(raw) and raw[end - 1 : end] == b"\\":  # an escape stays whole
            end += 1
        # Pairs of backslashes first: what is left before a quote escapes it.
        piece = raw[start:end].replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHERS)
        parts = piece.split(b'"')
        plain = b"".join(parts[inside::2])
        found.update({sign: plain.count(sign.encode()) for sign in ("{", "{}", "[", ":", ",")})
        inside = (inside + len(parts) - 1) % 2
        start = end
    return found
