"""A layer under the file layer: it counts the calls of a save that reach the system, and strikes at one of them."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tiedio.container import atomic, writeback

When: TypeAlias = Literal["before", "middle", "after"]
Strike: TypeAlias = Callable[[], None]

DIVISIBLE = ("write", "reserve")
"""Calls that can be half done."""


def die() -> None:
    """Ends this process as nothing can catch it."""
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    """Sends this process what Ctrl-C sends."""
    os.kill(os.getpid(), signal.SIGINT)


def raising(make: Callable[[], BaseException]) -> Strike:
    """A strike that raises a new error."""

    def strike() -> None:
        raise make()

    return strike


def disk_says(code: int) -> Strike:
    """A strike that raises what the system raises for an error number."""
    return raising(lambda: OSError(code, os.strerror(code)))


@dataclass(slots=True)
class Layer:
    """What happens to the calls of one save.

    Args:
        at: the number of the call to strike at, or `None` to only count.
        when: before it, after it, or when half of it is done.
        strike: what to do then.
        short: whether each write takes only half of what it is given, as the system may.
        calls: the names of the calls so far.
    """

    at: int | None = None
    when: When = "before"
    strike: Strike = die
    short: bool = False
    calls: list[str] = field(default_factory=list)

    def run(self, name: str, call: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Makes a call, or strikes."""
        number = len(self.calls)
        self.calls.append(name)
        if number != self.at:
            return call()
        if self.when == "before":
            self.strike()
        elif self.when == "middle":
            assert half is not None
            half()
            self.strike()
        result = call()
        if self.when == "after":
            self.strike()
        return result

    def proof(self) -> None:
        """Stands for the check that runs between writing and syncing."""
        self.run("proof", lambda: None)


class _Raw(io.FileIO):
    """A file whose writes and closing go through a layer."""

    layer: Layer

    def write(self, data: Any, /) -> int:
        raw = memoryview(data).cast("B")
        write = super().write
        count = max(len(raw) // 2, 1) if self.layer.short else len(raw)
        done: int = self.layer.run("write", lambda: write(raw[:count]), lambda: write(raw[: len(raw) // 2]))
        return done

    def close(self) -> None:
        if self.closed:
            return
        close = super().close
        try:
            self.layer.run("close", lambda: None)
        finally:
            close()


@contextmanager
def under(layer: Layer, refused: Sequence[str] = (), code: int = 0) -> Iterator[Layer]:
    """Puts a layer under every save of this process.

    Args:
        layer: the layer.
        refused: calls that the file system does not have: `link`, `rename new`.
        code: the error number that it says so with.
    """
    folders: set[int] = set()

    def opened(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        is_folder = not flags & (os.O_WRONLY | os.O_RDWR)
        name = "open folder" if is_folder else "claim" if "tiedio-tmp" not in str(path) else "create"
        descriptor: int = layer.run(name, lambda: real["open"](path, flags, mode, **options))
        if is_folder:
            folders.add(descriptor)
        return descriptor

    def closed(descriptor: int) -> None:
        name = "close folder" if descriptor in folders else "close claim"
        folders.discard(descriptor)
        layer.run(name, lambda: real["close"](descriptor))

    def synced(descriptor: int) -> None:
        layer.run("sync folder" if descriptor in folders else "sync", lambda: real["fsync"](descriptor))

    def reserved(descriptor: int, start: int, size: int) -> None:
        real_call = real["posix_fallocate"]
        layer.run(
            "reserve", lambda: real_call(descriptor, start, size), lambda: real_call(descriptor, start, size // 2 or 1)
        )

    def named(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **options: Any) -> Any:
            if name in refused:
                raise OSError(code, os.strerror(code))
            return layer.run(name, lambda: call(*args, **options))

        return made

    def opened_file(path: Path, mode: str, buffering: int, opener: Callable[[str, int], int]) -> io.BufferedWriter:
        raw = _Raw(str(path), mode, opener=opener)
        raw.layer = layer
        return io.BufferedWriter(raw, buffering)

    told = {"scandir": "look for litter", "fchmod": "mode"}
    plain = ("scandir", "fchmod", "link", "replace", "unlink")
    real = {name: getattr(os, name) for name in ("open", "close", "fsync", "posix_fallocate", *plain)}
    changes: list[tuple[Any, str, Any]] = [
        (os, "open", opened),
        (os, "close", closed),
        (os, "fsync", synced),
        (os, "posix_fallocate", reserved),
        *((os, name, named(told.get(name, name), real[name])) for name in plain),
        (atomic, "_rename_new", named("rename new", atomic._rename_new)),
        (writeback, "begin", named("tell the disk", writeback.begin)),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in changes]
    for where, name, new in changes:
        setattr(where, name, new)
    vars(atomic)["open"] = opened_file
    try:
        yield layer
    finally:
        del vars(atomic)["open"]
        for where, name, old in before:
            setattr(where, name, old)


def moments(calls: Sequence[str]) -> list[tuple[int, When]]:
    """Every place to strike at: before and after each call, and in the middle of those that can be half done."""
    found: list[tuple[int, When]] = []
    for number, name in enumerate(calls):
        found.append((number, "before"))
        if name in DIVISIBLE:
            found.append((number, "middle"))
        found.append((number, "after"))
    return found
