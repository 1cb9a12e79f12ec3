"""Callbacks for `fit`, with the arguments and the behavior of their Keras namesakes, that keep every tie."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiedio.callbacks.backup import BackupAndRestore
    from tiedio.callbacks.checkpoint import ModelCheckpoint

__all__ = ["BackupAndRestore", "ModelCheckpoint"]

# Lazily, as in `tiedio` itself: to ask for one of them must not need what the other needs.
_HOMES = {
    "BackupAndRestore": "tiedio.callbacks.backup",
    "ModelCheckpoint": "tiedio.callbacks.checkpoint",
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a callback on first use."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
