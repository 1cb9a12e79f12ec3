"""Files whose configurations an attacker wrote: the texts of a good file, changed together, with the right digests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.good import TEXTS, Parts, compact

Document = dict[str, Any]
"""The three JSON texts of a file, parsed, by name."""


def edited(raw: bytes, change: Callable[[Document], None]) -> bytes:
    """A file like this one whose texts were changed; its digests are right."""
    parts = Parts.of(raw)
    document = {name: parts.document(name) for name in TEXTS}
    change(document)
    for name, value in document.items():
        parts = parts.with_text(name, compact(value))
    return parts.built()


def entry_of(document: Document, name: str) -> dict[str, Any]:
    """The entry of the layer of this name."""
    found: dict[str, Any] = next(one for one in document["structure"]["objects"] if one["name"] == name)
    return found


def write_edited(path: Path, source: Path, change: Callable[[Document], None]) -> Path:
    """Writes an edited copy of a file, and gives back where."""
    path.unlink(missing_ok=True)  # a model may be mapped to what stands there
    path.write_bytes(edited(source.read_bytes(), change))
    return path
