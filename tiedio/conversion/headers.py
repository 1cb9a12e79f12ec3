"""How long the texts of a list are that an HDF5 file has as an attribute, before the library makes room for them.

Each item says how long its text is, and where it stands; thousands may be one text of a megabyte. HDF5 tells the sum
for datasets only, so the object's header is read here: version 1, as all files that Keras writes have it.
"""

from __future__ import annotations

import struct
from typing import Any

_ATTRIBUTE, _CONTINUATION, _SHARED = 0x0C, 0x10, 2
_ITEM = 16  # bytes: length, address of a heap, number in it


def texts_length(file: Any, address: int, name: str, count: int) -> int | None:
    """Bytes of the texts in an attribute.

    Args:
        file: the open HDF5 file.
        address: where the object stands whose attribute it is.
        name: the attribute's name.
        count: how many texts it has.

    Returns:
        The sum, or `None` if the header is of another kind.
    """
    head = _read(file, address, 16)
    if len(head) < 16 or head[0] != 1:
        return None
    blocks, seen = [(address + 16, struct.unpack("<L", head[8:12])[0])], set()
    found: list[int] = []
    while blocks:
        start, size = blocks.pop()
        if start in seen:
            return None
        seen.add(start)
        block = _read(file, start, size)
        position = 0
        while position + 8 <= len(block):
            kind, length, flags = struct.unpack("<HHB", block[position : position + 5])
            message = block[position + 8 : position + 8 + length]
            position += 8 + length
            if kind == _CONTINUATION and length >= 16:
                blocks.append(struct.unpack("<QQ", message[:16]))
            elif kind == _ATTRIBUTE and flags & _SHARED:
                return None
            elif kind == _ATTRIBUTE:
                sum_of = _sum(message, name.encode(), count)
                if sum_of is None:
                    return None
                found.append(sum_of)
    return max(found, default=0) or None


def _sum(message: bytes, name: bytes, count: int) -> int | None:
    """Of an attribute of this name, the sum of its texts; of others, nothing."""
    if len(message) < 9 or message[0] not in (1, 2, 3):
        return None
    version, sizes = message[0], struct.unpack("<3H", message[2:8])
    position = 9 if version == 3 else 8
    if message[position : position + sizes[0]].rstrip(b"\0") != name:
        return 0
    position += sum(-(-size // 8) * 8 if version == 1 else size for size in sizes)
    items = message[position : position + count * _ITEM]
    if len(items) != count * _ITEM:
        return None
    return sum(int(length) for length, _, _ in struct.iter_unpack("<LQL", items))


def _read(file: Any, start: int, size: int) -> bytes:
    file.seek(start)
    return bytes(file.read(min(size, 1 << 24)))
