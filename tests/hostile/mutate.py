"""Mutations of good files: of their bytes, of the JSON of the header, and of the JSON texts inside it.

What to change comes from a source of choices: hypothesis, a fuzzer or a random number generator.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tests.hostile.good import TEXTS, Parts, compact, plain, seal


class Choices(Protocol):
    """Where the choices of a mutation come from."""

    def below(self, count: int) -> int:
        """A number from 0 to `count` - 1."""
        ...


@dataclass
class Bytes:
    """Choices read from bytes, as a fuzzer gives them; zeros when they are used up."""

    raw: bytes
    at: int = 0

    def below(self, count: int) -> int:
        width = 1 if count <= 256 else 2 if count <= 65536 else 4
        piece = self.raw[self.at : self.at + width]
        self.at += width
        return int.from_bytes(piece, "little") % count


VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 255, 65536, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63), 0.0,
    1.0, -0.0, 1e308, float("nan"), float("inf"), "", "a", "..", "../x", "/", "a/b", "\0", "\x1b[2J", "\u202e",
    "caf\u00e9", "cafe\u0301", "\ud800", "\U0001f600", "$object", "__class__", "@optimizer", "4", "F32", "float32",
    "first/kernel", "a" * 300, [], [[]], {}, {"$object": 0}, {"$object": 2**40}, {"$tuple": []}, {"$dict": [[1, 2]]},
    {"$float": "nan"}, {"$bytes": "AA=="}, {"$tensor": [0, 0]}, {"$variable": "first/kernel"},
    {"name": "transpose", "axes": [0, 1]}, {"name": "reshape", "shape": [-1]}, [0] * 70, {"x": {"x": {"x": {}}}},
)  # fmt: skip
"""What is put into documents; more come from the documents themselves."""

_BITS = (0x01, 0x20, 0x80, 0xFF)


def place(value: Any, choices: Choices) -> tuple[Any, Any] | None:
    """A container somewhere in a JSON value, and one of its keys or positions; most often deep inside."""
    owner, key = None, None
    while isinstance(value, (dict, list)) and value:
        if owner is not None and choices.below(8) == 0:
            break
        owner = value
        keys = list(owner) if isinstance(owner, dict) else range(len(owner))
        key = keys[choices.below(len(keys))]
        value = owner[key]
    return None if owner is None else (owner, key)


def change_document(document: Any, choices: Choices) -> Any:
    """One change at some place of a JSON value, in place; what is left of it."""
    here, there = place(document, choices), place(document, choices)
    if here is None or there is None:
        return VALUES[choices.below(len(VALUES))]
    (owner, key), (other, spot) = here, there
    act = choices.below(8)
    if act == 0:
        del owner[key]
    elif act == 1:
        owner[key] = copy.deepcopy(VALUES[choices.below(len(VALUES))])
    elif act == 2:
        owner[key] = copy.deepcopy(other[spot])
    elif act == 3:
        _double(owner, key, choices)
    elif act == 4:
        name = VALUES[choices.below(len(VALUES))]
        if isinstance(owner, dict):
            owner[name if isinstance(name, str) else "unknown"] = owner[key]
        else:
            owner.insert(key, copy.deepcopy(name))
    elif act == 5:
        owner[key] = _nudged(owner[key], choices)
    elif act == 6:
        mine, theirs = copy.deepcopy(owner[key]), copy.deepcopy(other[spot])
        owner[key], other[spot] = theirs, mine
    else:
        owner[key] = _wrapped(owner[key], choices)
    return document


def _double(owner: Any, key: Any, choices: Choices) -> None:
    if isinstance(owner, list):
        owner[key:key] = [copy.deepcopy(owner[key])] * (1 << choices.below(6))
    else:
        owner[f"{key}{choices.below(3)}"] = copy.deepcopy(owner[key])


def _nudged(value: Any, choices: Choices) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)):
        return value + (1, -1, 64, 2**20, 2**33)[choices.below(5)]
    if isinstance(value, str):
        at = choices.below(len(value) + 1)
        sign = ("", "/", "\0", "%", "\u0301", "@", "\\", "9", "\ud800", '"')[choices.below(10)]
        return value[:at] + sign + value[at + choices.below(2) :]
    if isinstance(value, list):
        return value[::-1]
    return {key: value[key] for key in reversed(value)}


def _wrapped(value: Any, choices: Choices) -> Any:
    depth = (1, 2, 60, 260)[choices.below(4)]
    for _ in range(depth):
        value = [value] if choices.below(2) else {"$tuple": [value]}
    return value


def change_text(text: str, choices: Choices) -> str:
    """One change of a text as text: what no writer of JSON would make."""
    at = choices.below(len(text) + 1)
    signs = (
        '"',
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\\",
        "\\u0000",
        "\\ud800",
        "NaN",
        "1e999",
        "-",
        "0",
        " ",
        "\x00",
        "\u00e9",
    )
    act = choices.below(4)
    if act == 0:
        return text[:at] + signs[choices.below(len(signs))] + text[at:]
    if act == 1:
        return text[:at] + text[at + 1 + choices.below(8) :]
    if act == 2:
        return text[:at] + text[max(at - choices.below(200), 0) : at] * (1 + choices.below(3)) + text[at:]
    return text[:at] + signs[choices.below(len(signs))] + text[at + 1 :]


def change_bytes(raw: bytes, choices: Choices) -> bytes:
    """One change of bytes."""
    at = choices.below(max(len(raw), 1))
    act = choices.below(5)
    if act == 0:
        return raw[:at] + bytes([(raw[at] if raw else 0) ^ _BITS[choices.below(4)]]) + raw[at + 1 :]
    if act == 1:
        return raw[:at]
    if act == 2:
        return raw[:at] + raw[at + 1 + choices.below(64) :]
    if act == 3:
        return raw[:at] + bytes([choices.below(256)]) * (1 + choices.below(32)) + raw[at:]
    length = int.from_bytes(raw[:8], "little") + (1, -1, 8, 2**32, 2**63)[choices.below(5)]
    return (length % 2**64).to_bytes(8, "little") + raw[8:]


_CLASHES = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError)


def mutant_or_bytes(parts: Parts, raw: bytes, choices: Choices) -> bytes:
    """A hostile file made from a good one; some of its bytes are changed where other changes do not go together."""
    try:
        return mutant(parts, raw, choices)
    except _CLASHES:
        return change_bytes(raw, choices)


def mutant(parts: Parts, raw: bytes, choices: Choices) -> bytes:
    """A hostile file made from a good one.

    Args:
        parts: the parts of the good file.
        raw: its bytes.
        choices: what to change.
    """
    kind = choices.below(16)
    if kind == 0:
        for _ in range(1 + choices.below(4)):
            raw = change_bytes(raw, choices)
        return raw
    right = choices.below(4) > 0  # whether digests are computed anew, as a forger does
    if kind <= 2:
        return _header_mutant(parts, choices, right)
    names = sorted(name for name, key in TEXTS.items() if key in parts.metadata)
    name = names[choices.below(len(names))]
    if kind == 3:
        text = parts.metadata[TEXTS[name]]
        for _ in range(1 + choices.below(3)):
            text = change_text(text, choices)
        parts = parts.with_text(name, text)
    else:
        document = parts.document(name)
        for _ in range((1, 1, 1, 3)[choices.below(4)]):
            document = change_document(document, choices)
        parts = parts.with_text(name, compact(document))
        if choices.below(3) == 0:
            parts = replace(parts, entries=_following(parts))
    return parts.built() if right else plain(parts.header(), parts.data)


def _header_mutant(parts: Parts, choices: Choices, right: bool) -> bytes:
    if choices.below(2):
        text = parts.header()
        for _ in range(1 + choices.below(3)):
            text = change_text(text, choices)
    else:
        header = {"__metadata__": dict(parts.metadata), **copy.deepcopy(parts.entries)}
        changed = change_document(header, choices)
        text = compact(changed)
    return seal(text, parts.data, parts.digests()) if right else plain(text, parts.data)


def _following(parts: Parts) -> dict[str, Any]:
    """Entries that go along with a changed manifest where they can: shapes and names as it has them."""
    entries = copy.deepcopy(parts.entries)
    try:
        for variable in parts.document("manifest")["variables"]:
            name = variable["slots"][0]["path"]
            if name in entries:
                entries[name]["shape"] = variable["shape"]
    except (KeyError, TypeError, IndexError, ValueError, AttributeError):
        pass
    return entries
