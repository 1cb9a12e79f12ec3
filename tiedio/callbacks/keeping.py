"""Which files of a callback stay: the newest, or the best, of those that it wrote itself."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from tiedio.container.atomic import replace_file

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Written:
    """A file that the callback wrote: where, what the system says of it, and the value that was monitored."""

    path: str
    size: int
    mtime_ns: int
    value: float | None = None

    def is_there(self) -> bool:
        """Whether the file at the path is still that one; not a link to it, and nothing that took its place."""
        try:
            found = os.lstat(self.path)
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns)


class Kept:
    """The files that a callback wrote, oldest first, and how many of them stay.

    They are noted in a hidden file beside them, so that a run that is started again goes on where the last one ended.
    A file is removed only if it stands there, or was written in this run, and is byte count and time of change the
    same as then; and only after the new one is on disk.

    Args:
        template: the callback's file name with its fields.
        keep: how many stay.
        better: whether one monitored value is better than another, if the best stay and not the newest.
    """

    def __init__(self, template: str, keep: int, better: Callable[[float, float], bool] | None = None) -> None:
        self._keep, self.better = keep, better
        fixed = template.partition("{")[0]
        self._folder = os.path.abspath(os.path.dirname(fixed) or ".")
        self._template = os.path.relpath(os.path.abspath(template), self._folder)
        tag = hashlib.sha256(self._template.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        self.record = os.path.join(self._folder, f".tiedio-kept-{tag}.json")
        """The file in which they are noted."""
        self._files: list[Written] | None = None

    def note(self, path: str, value: float | None = None) -> list[str]:
        """Notes a file that is on disk now, and removes what does not stay.

        Args:
            path: the file, which was just written.
            value: what was monitored; `None` if that was no number.

        Returns:
            The paths that were removed.

        Raises:
            TiedioError: if the note cannot be written; nothing is removed then.
            OSError: if a file cannot be removed.
        """
        full = os.path.abspath(path)
        status = os.stat(full)
        files = [one for one in self._read() if one.path != full and one.is_there()]
        files.append(Written(full, status.st_size, status.st_mtime_ns, value))
        # If Python ends before the rest are removed, the next run still knows of them.
        self._write(files)
        stay = self._staying(files)
        self._files = stay
        gone = [one for one in files if one not in stay and one.is_there()]
        for one in gone:
            os.unlink(one.path)
        return [one.path for one in gone]

    def _staying(self, files: list[Written]) -> list[Written]:
        """The newest always stays: a file that is gone once it is written helps nobody."""
        *rest, last = files
        chosen: list[Written] = [last]
        while rest and len(chosen) < self._keep:
            best = rest[-1]
            for one in reversed(rest):
                if self.better is not None and self._is_better(one, best):
                    best = one
            rest.remove(best)
            chosen.append(best)
        return [one for one in files if one in chosen]

    def _is_better(self, one: Written, other: Written) -> bool:
        if one.value is None or other.value is None or self.better is None:
            return other.value is None and one.value is not None
        return bool(self.better(one.value, other.value))

    def _read(self) -> list[Written]:
        if self._files is not None:
            return self._files
        try:
            with open(self.record, encoding="utf-8") as file:
                return [self._parsed(one) for one in self._checked(json.load(file))["files"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            warnings.warn(
                f"{self.record} cannot be read ({error}): what an earlier run has written stays",
                UserWarning,
                stacklevel=2,
            )
            return []

    def _checked(self, found: Any) -> Any:
        if found["version"] != _VERSION or found["template"] != self._template:
            raise ValueError("another version or template")
        return found

    def _parsed(self, one: Any) -> Written:
        path = os.path.normpath(os.path.join(self._folder, one["path"]))
        size, mtime, value = one["size"], one["mtime_ns"], one["value"]
        inside = os.path.commonpath([self._folder, path]) == self._folder
        numbers = type(size) is int and type(mtime) is int and (value is None or type(value) is float)
        if not inside or not numbers:
            raise ValueError("an entry is none of this callback")
        return Written(path, size, mtime, value)

    def _write(self, files: list[Written]) -> None:
        told = [{**asdict(one), "path": os.path.relpath(one.path, self._folder)} for one in files]
        text = json.dumps({"version": _VERSION, "template": self._template, "files": told}, indent=1)

        def write(file: BinaryIO) -> None:
            file.write(text.encode("utf-8", "surrogateescape"))

        replace_file(self.record, write)


def number(value: Any) -> float | None:
    """A monitored value as a number that can be compared, if it is one."""
    try:
        plain = float(value)
    except (TypeError, ValueError):
        return None
    return plain if math.isfinite(plain) else None
