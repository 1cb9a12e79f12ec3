"""`.keras`: a zip archive, read by rules of its own: known members, each once, whole, in a row, and not too large."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO, cast

from tiedio.allowance import Allowance
from tiedio.conversion.opening import Source
from tiedio.errors import DAMAGED, FormatError, LimitError, shown
from tiedio.limits import Limits

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets/"
_NEEDED = (METADATA, CONFIG, WEIGHTS)
_END, _END_64 = 22, 20
_MOST_DIRECTORY = 1 << 20  # bytes; thousands of assets
_LONGEST_NAME, _LONGEST_PART, _MOST_PARTS = 1024, 255, 32
_RATIO = 100
_PIECE = 1 << 20


class Archive:
    """A `.keras` file whose directory has been judged.

    Args:
        source: the open file.
        limits: what it may ask for.

    Raises:
        FormatError: if it is not an archive as Keras writes it.
        LimitError: if what it holds is too large once it is unpacked.
    """

    def __init__(self, source: Source, limits: Limits | None) -> None:
        self._source = source
        self._path = source.path
        self._limits = (limits or Limits()).for_file(source.size)
        self._require_short_directory()
        try:
            self._zip = zipfile.ZipFile(cast("BinaryIO", io.BufferedReader(source.window())))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
            raise self._refused("the archive is damaged", "a zip archive", str(error)) from error
        self.members = {info.filename: info for info in self._zip.infolist()}
        self._require_plain(self._zip.infolist())

    def text(self, name: str, allowance: Allowance) -> str:
        """A member that is text."""
        info = self.members[name]
        allowance.take(info.file_size, self._path)
        try:
            return self._read(info).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._refused(f"{name} is no text", "UTF-8", f"another byte at {error.start}") from error

    def weights(self) -> Any:
        """The HDF5 file in it, as an open file: a part of the archive, or a copy if it is compressed."""
        info = self.members[WEIGHTS]
        if info.compress_type != zipfile.ZIP_STORED:
            return io.BytesIO(self._read(info))
        with self._zip.open(info) as file:  # it checks the header that stands before the data
            start = cast("Any", file)._orig_compress_start
        window = self._source.window(start, info.file_size)
        checksum = 0
        while piece := window.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
        if checksum != info.CRC:
            raise self._refused(f"{WEIGHTS} is damaged", f"checksum {info.CRC:08x}", f"{checksum:08x}")
        window.seek(0)
        return window

    def assets(self) -> dict[str, bytes]:
        """Content of each asset, by its path under `assets/`."""
        return {
            name.removeprefix(ASSETS): self._read(info)
            for name, info in self.members.items()
            if name.startswith(ASSETS) and not info.is_dir()
        }

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        try:
            return self._zip.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise self._refused(f"{shown(info.filename)} is damaged", "a whole member", str(error)) from error

    # --- rules --------------------------------------------------------------------------------------

    def _require_short_directory(self) -> None:
        """Before anything is parsed: the directory ends the file, without a comment, and is short."""
        tail = self._source.window(max(self._source.size - _END - _END_64, 0)).read()
        end = tail[-_END:]
        if len(end) < _END or end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":
            raise self._refused("the archive does not end with its directory", "nothing after it", "other bytes")
        size = struct.unpack("<L", end[12:16])[0]
        if tail[:4] == b"PK\x06\x07" and len(tail) == _END + _END_64:
            record = self._source.window(struct.unpack("<Q", tail[8:16])[0]).read(56)
            size = struct.unpack("<Q", record[40:48])[0] if len(record) == 56 else _MOST_DIRECTORY + 1
        if size > _MOST_DIRECTORY:
            raise LimitError(
                "the archive's directory is too long",
                path=self._path,
                expected=f"at most {_MOST_DIRECTORY:,} bytes",
                found=f"{size:,}",
                remedy=DAMAGED,
            )

    def _require_plain(self, infos: Sequence[zipfile.ZipInfo]) -> None:
        if len(infos) != len(self.members):
            raise self._refused("a member stands twice in the archive", "each once", self._twice(infos))
        for info in infos:
            problem = _problem_of(info)
            if problem:
                raise self._refused(
                    f"a member of the archive {problem}", "members as Keras writes", shown(info.filename)
                )
        missing = [name for name in _NEEDED if name not in self.members]
        if missing:
            raise self._refused("the archive is no model of Keras", ", ".join(_NEEDED), f"no {', '.join(missing)}")
        self._require_a_row(infos)
        total = sum(info.file_size for info in infos)
        stored = all(info.file_size <= _RATIO * max(info.compress_size, 1) for info in infos)
        assert self._limits.memory is not None
        if total > self._source.size and (total > self._limits.memory or not stored):
            raise LimitError(
                "the archive is far larger once it is unpacked",
                path=self._path,
                expected=f"at most {self._limits.memory:.0f} bytes, and {_RATIO} for each that is stored",
                found=f"{total:,} bytes",
                remedy="unpack it and pack it again without compression, if you trust it",
            )

    def _require_a_row(self, infos: Sequence[zipfile.ZipInfo]) -> None:
        """Members stand one after the other from the first byte on: nothing overlaps, and nothing hides between."""
        position = 0
        for info in sorted(infos, key=lambda one: one.header_offset):
            head = self._source.window(info.header_offset).read(30)
            if info.header_offset != position or len(head) < 30 or head[:4] != b"PK\x03\x04":
                raise self._refused(
                    "the archive has a hole or an overlap", "one member after the other", shown(info.filename)
                )
            if struct.unpack("<H", head[8:10])[0] != info.compress_type:
                raise self._refused(
                    "a member says two things of itself", "its header as in the directory", shown(info.filename)
                )
            name_size, extra_size = struct.unpack("<HH", head[26:30])
            position += 30 + name_size + extra_size + info.compress_size
            if info.flag_bits & 8:  # sizes stand behind the data
                following = self._source.window(position).read(28)
                wide = info.file_size >= 1 << 32 or extra_size >= 20
                position += (20 if wide else 12) + (4 if following[:4] == b"PK\x07\x08" else 0)
        if position != cast("Any", self._zip).start_dir:
            raise self._refused(
                "the archive has a hole before its directory", f"{position}", str(cast("Any", self._zip).start_dir)
            )

    def _twice(self, infos: Sequence[zipfile.ZipInfo]) -> str:
        names = [info.filename for info in infos]
        return shown(next(name for n, name in enumerate(names) if name in names[:n]))

    def _refused(self, what: str, expected: str, found: str) -> FormatError:
        return FormatError(what, path=self._path, expected=expected, found=found, remedy=DAMAGED)


def _problem_of(info: zipfile.ZipInfo) -> str:
    """What is wrong with a member, or nothing."""
    name, mode = info.filename, info.external_attr >> 16
    if info.orig_filename != name or "\\" in name or "\0" in name or ":" in name or not name.isprintable():
        return "has an odd name"
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return "leads out of the archive"
    if len(name) > _LONGEST_NAME or len(parts) > _MOST_PARTS or any(len(p.encode()) > _LONGEST_PART for p in parts):
        return "has too long a name"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file"
    if info.flag_bits & 0x41 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is encrypted, or compressed in an unusual way"
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        return "claims another size than it has"
    if info.is_dir() and info.file_size:
        return "is a folder with content"
    if name not in _NEEDED and not name.startswith(ASSETS):
        return "is none of a model's"
    return ""
