"""Files to start from: one that is to be replaced, and forged ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

OLD = b"the old bytes"

Forge: TypeAlias = Callable[..., Path]


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """Write a file that says it is safetensors: length, header (an object, text or bytes), data."""

    def write(header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
        text = header if isinstance(header, str | bytes) else json.dumps(header)
        raw = text if isinstance(text, bytes) else text.encode()
        path = tmp_path / "forged.safetensors"
        path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)
        return path

    return write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def old(path: Path) -> Path:
    path.write_bytes(OLD)
    return path
