"""Hostile files, each made from a good one: what it does, and what the error must say.

`HOSTILE` has them all by name. A function of `headers`, `documents` or `shapes` registers its files with `hostile`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.hostile.good import Parts, good

ALL = ("inspect", "verify", "load", "load_weights")
BUILDING = ("load", "load_weights")
"""The calls that look at structure and training record."""


@dataclass(frozen=True)
class Hostile:
    """One hostile file.

    Args:
        name: what it does.
        make: gives its bytes.
        says: a pattern that the text of the error must match, or `None` if the file is sound after all.
        calls: the calls that must refuse it; the others may take it.
        kind: the class of the error.
    """

    name: str
    make: Callable[[], bytes]
    says: str | None
    calls: tuple[str, ...] = ALL
    kind: str = "FormatError"


HOSTILE: dict[str, Hostile] = {}


def hostile(
    name: str,
    make: Callable[[], bytes],
    says: str | None,
    calls: tuple[str, ...] = ALL,
    kind: str = "FormatError",
) -> None:
    """Registers a hostile file."""
    assert name not in HOSTILE, name
    HOSTILE[name] = Hostile(name, make, says, calls, kind)


def of_parts(change: Callable[[Parts], Parts]) -> Callable[[], bytes]:
    """The good file with its parts changed, and sealed again."""
    return lambda: change(good().parts).built()


def of_document(
    document: str, change: Callable[..., object], start: Callable[[], Parts] | None = None
) -> Callable[[], bytes]:
    """The good file with one of its texts changed, and sealed again."""
    return lambda: (good().parts if start is None else start()).changed(document, change).built()


def of_text(document: str, change: Callable[[str], str]) -> Callable[[], bytes]:
    """The good file with the JSON of one of its texts changed as text, and sealed again."""

    def made() -> bytes:
        from tests.hostile.good import TEXTS

        parts = good().parts
        return parts.with_text(document, change(parts.metadata[TEXTS[document]])).built()

    return made


def with_entry(name: str, **fields: object) -> Callable[[Parts], Parts]:
    """Parts with fields of one tensor's entry changed."""
    return lambda parts: replace(parts, entries={**parts.entries, name: {**parts.entries[name], **fields}})
