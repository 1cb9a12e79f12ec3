"""How sizes, and texts from a file, are written for people. Needs nothing, so that whatever shows a file can use it."""

from __future__ import annotations


def size_text(count: int) -> str:
    """Write a size in bytes so that it can be read at a glance.

    Args:
        count: bytes.

    Returns:
        up to three digits and a unit.

    Example:
        >>> size_text(999), size_text(52345), size_text(999600), size_text(123456789)
        ('999 B', '52.3 kB', '1 MB', '123 MB')
    """
    if count < 1000:
        return f"{count} B"
    size = count / 1000
    for unit in ("kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB" if size < 999.5 else f"{size:.0f} TB"


def printable(text: str) -> str:
    r"""Write a text from a file so that it cannot steer the terminal.

    Args:
        text: a name or path.

    Returns:
        the text with everything that is not printable escaped, and quotes for an empty one.

    Example:
        >>> print(printable("a" + chr(27) + "[2J"), printable(""))
        a\x1b[2J ''
    """
    if not text:
        return "''"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)
