"""Files as an attacker writes them: a good file, taken apart, changed, and sealed again with the right digests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiedio.container import digests
from tiedio.container.header import build_header, parse_header
from tiedio.inspection import MANIFEST_KEY, STRUCTURE_KEY, TRAINING_KEY

KEYS = {"manifest": MANIFEST_KEY, "structure": STRUCTURE_KEY, "training": TRAINING_KEY}

Document = dict[str, Any]
"""The three JSON texts of a file, parsed, by name."""


def document_of(raw: bytes) -> Document:
    """The texts in the header of a file, parsed."""
    metadata = parse_header(raw, len(raw)).metadata
    return {name: json.loads(metadata[key]) for name, key in KEYS.items() if key in metadata}


def edited(raw: bytes, change: Callable[[Document], None]) -> bytes:
    """A file like this one whose texts were changed; its digests are right."""
    header = parse_header(raw, len(raw))
    document = document_of(raw)
    change(document)
    metadata = dict(header.metadata) | {KEYS[name]: json.dumps(value) for name, value in document.items()}
    stored = digests.digests_of(header)
    assert stored is not None
    entries = list(header.entries.values())
    head = build_header(entries, metadata | {digests.KEY: digests.blank(len(entries))})
    return digests.sealed(head, stored.tensors) + raw[header.data_start :]


def entry_of(document: Document, name: str) -> dict[str, Any]:
    """The entry of the layer of this name."""
    found: dict[str, Any] = next(one for one in document["structure"]["objects"] if one["name"] == name)
    return found


def write_edited(path: Path, source: Path, change: Callable[[Document], None]) -> Path:
    """Writes an edited copy of a file, and gives back where."""
    path.write_bytes(edited(source.read_bytes(), change))
    return path
