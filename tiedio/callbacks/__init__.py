"""Callbacks for `model.fit`, with the names, arguments and defaults of their Keras namesakes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiedio.callbacks.backup import BackupAndRestore

__all__ = ["BackupAndRestore"]

_HOMES = {"BackupAndRestore": "tiedio.callbacks.backup"}


if not TYPE_CHECKING:  # a type checker sees the imports above, and a misspelled name

    def __getattr__(name: str) -> object:
        """Import a callback on first use: the classes need Keras."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
