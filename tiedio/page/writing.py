"""A file → the text of its page. What the file says is data in it, which a script shows as text, and never markup."""

from __future__ import annotations

import base64
import hashlib
import html
import os
from importlib import resources
from pathlib import PurePath
from typing import Any

from tiedio import strict_json
from tiedio.container import digests
from tiedio.container.atomic import replace_file
from tiedio.container.header import open_file, read_header
from tiedio.errors import PathError
from tiedio.inspection import MANIFEST_KEY, manifest_of, metadata_of
from tiedio.limits import Limits
from tiedio.page.data import data_of
from tiedio.progress import Progress, observed
from tiedio.texts import printable, size_text

SUFFIXES = (".html", ".htm")
_WITHOUT_SCRIPT = 500  # tensors in the list for a browser without scripts


def write_page(
    path: str | os.PathLike[str],
    to_file: str | os.PathLike[str],
    *,
    verify: bool = False,
    limits: Limits | None = None,
    progress: Progress = False,
) -> None:
    """Writes a page about a file, whole or not at all.

    Args:
        path: a file that tiedio wrote.
        to_file: the page; its name ends in `.html`.
        verify: whether every byte of the file is compared with its digests first.
        limits: what the file may ask for; the default grows with its size.
        progress: as for `tiedio.verify`.

    Raises:
        PathError: if the name of the page ends otherwise, or nothing can be written there.
        NoSuchFileError, FormatError, LimitError, DamagedError: as `tiedio.inspect` and `tiedio.verify`.

    Example:
        >>> import keras, tiedio
        >>> from tiedio.page import write_page
        >>> tiedio.save(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), "model.safetensors")
        >>> write_page("model.safetensors", "report.html")
    """
    suffix = PurePath(os.fsdecode(to_file)).suffix.lower()
    if suffix not in SUFFIXES:
        raise PathError(
            "a page has another name",
            path=os.fsdecode(to_file),
            expected="a name that ends in .html",
            found=repr(suffix) if suffix else "a name without a suffix",
            remedy="rename it: report.html, say",
        )
    text = page_of(path, verify=verify, limits=limits, progress=progress).encode()

    def write(file: Any) -> None:
        file.write(text)

    replace_file(to_file, write)


def page_of(
    path: str | os.PathLike[str], *, verify: bool = False, limits: Limits | None = None, progress: Progress = False
) -> str:
    """The text of a page about a file: it needs no network, and no other file.

    Args:
        path: a file that tiedio wrote.
        verify: whether every byte of the file is compared with its digests first.
        limits: what the file may ask for; the default grows with its size.
        progress: as for `tiedio.verify`.

    Raises:
        NoSuchFileError, FormatError, LimitError, DamagedError: as `tiedio.inspect` and `tiedio.verify`.
    """
    name = os.fsdecode(path)
    if verify:
        with observed(progress, f"verifying {PurePath(name).name}") as observer, open_file(name) as file:
            header = digests.verified_header(file, name, limits, observer)
    else:
        header = read_header(name, limits)
    manifest = manifest_of(header, name)
    data = data_of(header, manifest, PurePath(name).name, verify)
    files = resources.files("tiedio.page")
    style, script, frame = (
        files.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js", "html")
    )
    parts = {
        "TITLE": html.escape(printable(data["file"])),
        "STYLE_HASH": _hash(style),
        "SCRIPT_HASH": _hash(script),
        "STYLE": style,
        "SCRIPT": script,
        "NOSCRIPT": _list(data),
        "DATA": in_script(strict_json.dumps(data)),
        "MANIFEST": in_script(metadata_of(header, MANIFEST_KEY, name)),
    }
    # By pieces: nothing that the file says is looked at for names of parts again.
    pieces = frame.split("@@")
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def in_script(text: str) -> str:
    r"""A text of JSON that nothing can end before its element does, and that says the same.

    Example:
        >>> in_script('"</script><!--"')
        '"\\u003c/script\\u003e\\u003c!--"'
    """
    # Outside of its strings JSON has none of these characters.
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _list(data: dict[str, Any]) -> str:
    """The largest tensors, for a browser that runs no script."""
    largest = sorted(data["tensors"], key=lambda one: -int(one[4]))[:_WITHOUT_SCRIPT]
    rows = [f"<li>{html.escape(printable(one[0]))}: {size_text(one[4])}</li>" for one in largest]
    left = len(data["tensors"]) - len(largest)
    return "".join(rows) + (f"<li>… and {left:,} smaller ones</li>" if left else "")
