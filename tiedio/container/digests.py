"""Digests in the header, one for each tensor and one for the header itself: no flipped bit of a file stays unseen."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xxhash import xxh3_128

from tiedio.container.header import LENGTH, Header, changed, parse_text, read_head, unreadable
from tiedio.container.observing import Counter
from tiedio.container.strict_json import refuse, short, short_list
from tiedio.errors import DamagedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import FileIO

    from tiedio.container.observing import Observer
    from tiedio.limits import Limits

KEY = "tiedio.digests"
"""The metadata key; a file that has none was written by another library, or by tiedio before format 4."""

ALGORITHM = "xxh3-128"
_BLANK = "0" * 32
_DIGEST = re.compile(r"[0-9a-f]{32}")
_FIELDS = ["algorithm", "header", "tensors"]
_CHUNK = 1 << 21  # bytes that are read at once: they are hashed from the cache
_SHOWN = 20  # names of damaged tensors in an error's text


@dataclass(frozen=True, slots=True)
class Digests:
    """Hex digests: of all bytes before the data, and of each tensor in the order of their data."""

    header: str
    tensors: tuple[str, ...]

    def text(self) -> str:
        """The one text that says them: its length depends on nothing but the number of tensors."""
        fields = dict(zip(_FIELDS, (ALGORITHM, self.header, self.tensors), strict=True))
        return json.dumps(fields, separators=(",", ":"))


def _escaped(text: str) -> bytes:
    """A text of digests as it stands in the JSON of a header."""
    return json.dumps(text)[1:-1].encode()


# Where the header's own digits begin. A quote inside a string of JSON has a backslash before it, so this is found
# nowhere but at the key itself, whatever other texts of the header say.
_UP_TO_DIGITS = f'{{"algorithm":"{ALGORITHM}","header":"'
_PLACE = re.compile(
    rb"[{,]\s*" + re.escape(json.dumps(KEY).encode()) + rb'\s*:\s*"' + re.escape(_escaped(_UP_TO_DIGITS))
)


def blank(count: int) -> str:
    """Return the text that holds the place of digests that are not known yet.

    Args:
        count: the number of tensors.

    Example:
        >>> from tiedio.container.digests import blank
        >>> blank(0)
        '{"algorithm":"xxh3-128","header":"00000000000000000000000000000000","tensors":[]}'
    """
    return Digests(_BLANK, (_BLANK,) * count).text()


def sealed(head: bytes, tensors: Sequence[str]) -> bytes:
    """Put the digests into a header that was built with a blank text.

    Args:
        head: all bytes before the data.
        tensors: the digest of each tensor, in the order of their data.

    Returns:
        As many bytes, with the tensors' digests and the digest of the header that has them.

    Example:
        >>> from tiedio.container.digests import KEY, blank, digests_of, sealed
        >>> from tiedio.container.header import build_header, parse_header
        >>> head = sealed(build_header([], {KEY: blank(0)}), [])
        >>> digests_of(parse_header(head, len(head))).header
        'b3e239be49198b6ff788f3ec17356d5d'
    """
    first, raw = head[:LENGTH], bytearray(head[LENGTH:])
    place = _place_of_digits(raw)
    if place is None:
        raise ValueError("the header has no blank digests")
    rest = _escaped(Digests(_BLANK, tuple(tensors)).text())[len(_escaped(_UP_TO_DIGITS)) :]
    raw[place : place + len(rest)] = rest
    raw[place : place + len(_BLANK)] = _digest_of_header(first, raw, place).encode()
    return first + raw


def digests_of(header: Header, path: str | None = None) -> Digests | None:
    """Return the digests that a header holds, checked for their shape only.

    Args:
        header: the header of a file.
        path: the file, for errors.

    Returns:
        The digests, or `None` if the file has none.

    Raises:
        FormatError: the text of the digests is not the one that it has to be.
    """
    text = header.metadata.get(KEY)
    if text is None:
        return None
    most = 2 * len(blank(len(header.entries))) + 1000
    if len(text) > most:  # before it is parsed: it could be all brackets
        refuse(path, "the text of its digests is too long", f"at most {most} characters", len(text))
    try:
        fields: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse(path, "the text of its digests is not JSON", "JSON", str(error)[:80])
    if not isinstance(fields, dict) or list(fields) != _FIELDS:
        found = short_list(fields) if isinstance(fields, dict) else short(fields)
        refuse(path, "its digests have not the keys they should have", ", ".join(_FIELDS), found or "none")
    algorithm, own, tensors = fields.values()
    if algorithm != ALGORITHM:
        remedy = "update tiedio; if that does not help, the file is damaged"
        refuse(path, "its digests are of an unknown algorithm", repr(ALGORITHM), short(algorithm), remedy)
    if not isinstance(tensors, list) or len(tensors) != len(header.entries):
        found = f"{len(tensors)}" if isinstance(tensors, list) else short(tensors)
        refuse(path, "it has not one digest for each tensor", f"a list of {len(header.entries)}", found)
    for digest in (own, *tensors):
        if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
            refuse(path, "one of its digests is none", "32 hex digits in lower case", short(digest))
    result = Digests(own, tuple(tensors))
    if text != result.text():  # a key that stands twice, too
        refuse(path, "the text of its digests is not compact", "JSON without spaces and escapes", "other JSON")
    return result


def verified_header(file: FileIO, path: str, limits: Limits | None = None, progress: Observer | None = None) -> Header:
    """Read a file that was just opened, in bounded memory, and compare every byte with its digests.

    Args:
        file: the open file; it is left where its data ends.
        path: the file, for errors.
        limits: what the file may ask for; `None` for the defaults.
        progress: told of the bytes of tensors that are compared.

    Returns:
        The header.

    Raises:
        DamagedError: bytes are not those that were written; it names every tensor that is damaged.
        FormatError: it is not a safetensors file, holds no digests, or is cut while it is read.
        PathError: it cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> from tiedio.container.digests import verified_header
        >>> from tiedio.container.header import open_file
        >>> from tiedio.container.single import write_tensors
        >>> from tiedio.container.writing import Tensor
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "one.safetensors"
        >>> write_tensors(path, [Tensor("bias", "U8", (3,), lambda: b"abc")], {})
        >>> with open_file(str(path)) as file:
        ...     list(verified_header(file, str(path)).entries)
        ['bias']
    """
    first, raw, size = read_head(file, path)
    header = parse_text(raw, size, path, limits)
    digests = digests_of(header, path)
    if digests is None:
        found = short_list(sorted(header.metadata)) or "no metadata"
        remedy = (
            "load the model and save it again: tiedio writes digests since file format 4, and other programs write none"
        )
        refuse(path, "holds no digests to verify its bytes with", f"metadata key {KEY!r}", found, remedy)
    place = _place_of_digits(raw)
    sound = place is not None and _digest_of_header(first, raw, place) == digests.header
    del raw
    buffer = memoryview(bytearray(_CHUNK))
    counter = None if progress is None else Counter(progress, header.file_size - header.data_start)
    try:
        damaged = tuple(
            entry.name
            for entry, digest in zip(header.entries.values(), digests.tensors, strict=True)
            if _digest_of_next(file, entry.stop - entry.start, buffer, path, counter) != digest
        )
    except OSError as error:
        raise unreadable(error, path) from error
    if damaged or not sound:
        raise _damage(path, not sound, damaged)
    return header


def _damage(path: str, header: bool, tensors: tuple[str, ...]) -> DamagedError:
    shown = [*(["its header"] if header else []), *(f"tensor {short(name)}" for name in tensors[:_SHOWN])]
    if len(tensors) > _SHOWN:
        shown.append(f"{len(tensors) - _SHOWN} more tensors")
    return DamagedError(
        "its bytes are not those that were written",
        path=path,
        expected="bytes that agree with the digests in the file",
        found=f"others in {', '.join(shown)}",
        remedy="get the file again from where it came, or save the model again",
        header=header,
        tensors=tensors,
    )


def _place_of_digits(raw: bytes | bytearray) -> int | None:
    match = _PLACE.search(raw)
    return None if match is None else match.end()


def _digest_of_header(first: bytes, raw: bytes | bytearray, place: int) -> str:
    """The digest of the bytes before the data, its own digits taken as zeros."""
    view = memoryview(raw)
    hashed = xxh3_128(first)
    hashed.update(view[:place])
    hashed.update(_BLANK.encode())
    hashed.update(view[place + len(_BLANK) :])
    return hashed.hexdigest()


def _digest_of_next(file: FileIO, count: int, buffer: memoryview, path: str, counter: Counter | None) -> str:
    hashed = xxh3_128()
    while count > 0:
        read = file.readinto(buffer[:count])
        if not read:
            raise changed(path, "more", "no more")
        hashed.update(buffer[:read])
        count -= read
        if counter is not None:
            counter.add(read)
    return hashed.hexdigest()
