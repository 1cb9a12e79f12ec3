"""What a path in a manifest, and the name of a file that a hook stored, may look like; whatever a file claims."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from tiedio.errors import shown

ESCAPED = r"\\\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
"""Characters, beside `/` and `%`, that stand in no path: writers escape them."""

_UNESCAPED = re.compile(f"[{ESCAPED}]")
_SEGMENT = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)", re.IGNORECASE)
_LONGEST_PART = 255  # bytes; what file systems take
_LONGEST_NAME = 1024  # bytes; with the folder before it, a path has to stay below 4096
_MOST_PARTS = 32  # folders and the file


def is_path(path: str) -> bool:
    r"""Whether a path is one that a writer makes: escaped, and without empty segments or such as lead elsewhere.

    Example:
        >>> from tiedio.naming import is_path
        >>> is_path("blocks/0/kernel"), is_path("../kernel"), is_path("a//b"), is_path("tab\there")
        (True, False, False, False)
    """
    if path.isascii() and path.isprintable() and "\\" not in path and "." not in path and "//" not in path:
        return not (path.startswith("/") or path.endswith("/"))
    return not path or not (_UNESCAPED.search(path) or _SEGMENT.search(path))


def join(path: str, segment: str) -> str:
    """`path/segment`, or the segment alone at the root."""
    return f"{path}/{segment}" if path else segment


def is_file_path(name: str) -> bool:
    r"""Whether `name` is a relative path with `/` that cannot lead out of its folder, on any system.

    Example:
        >>> from tiedio.naming import is_file_path
        >>> [is_file_path(name) for name in ("words.txt", "a/b", "../a", "/a", "C:/a", "nul.txt", "a\0")]
        [True, True, False, False, False, False, False]
    """
    if (
        len(name) > _LONGEST_NAME
        or name.count("/") >= _MOST_PARTS
        or any(c in "\\:" or c < " " or c == "\x7f" for c in name)
    ):
        return False
    if any("\ud800" <= c <= "\udfff" for c in name) or len(name.encode()) > _LONGEST_NAME:
        return False
    return all(
        part.strip(". ") and len(part.encode()) <= _LONGEST_PART and not _DEVICE.match(part) for part in name.split("/")
    )


def collisions(names: Iterable[str]) -> Iterator[str]:
    """What is wrong with file names beside each other: those that some file system takes for one, and folders.

    Args:
        names: names for which `is_file_path` holds.
    """
    folded = [_folded(name) for name in names]
    files = set()
    for name in folded:
        if name in files:
            yield f"two assets are one file {shown(name)} where case or Unicode forms do not count"
        files.add(name)
    for name in folded:
        # A name is short, so that its folders are few.
        for at in (found.start() for found in re.finditer("/", name)):
            if name[:at] in files:
                yield f"asset {shown(name[:at])} is file and folder"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())
