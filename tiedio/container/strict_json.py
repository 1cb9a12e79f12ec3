"""JSON as a header may hold it: every key once, and only numbers that every reader sees alike."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any, NoReturn

from tiedio.errors import FormatError

MAX_NUMBER = 2**53  # what every JSON reader keeps exact
DAMAGED = "the file is damaged or was cut short: get it again from where it came"


def loads(raw: bytes | memoryview, path: str | None = None) -> dict[str, Any]:
    """Parse a JSON object whose numbers are integers from 0 to 2**53, strictly.

    Args:
        raw: the object in UTF-8; it begins with its brace. It is not copied but for its text.
        path: the file it comes from, for errors.

    Returns:
        The object.

    Raises:
        FormatError: it is not JSON, not an object, has a key twice, another number, or is nested too deep.

    Example:
        >>> from tiedio.container import strict_json
        >>> strict_json.loads(b'{"a": [1, 2]}')
        {'a': [1, 2]}
    """
    if bytes(raw[:1]) != b"{":
        remedy = "pass a safetensors file"
        refuse(path, "not a safetensors file", "a header that begins with '{'", repr(bytes(raw[:1])), remedy)

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                refuse(path, "a key stands twice in its header", "each key once", short(key))
            result[key] = value
        return result

    def integer(digits: str) -> int:
        # The length first: turning millions of digits into a number takes minutes.
        if digits.startswith("-") or len(digits) > 16 or int(digits) > MAX_NUMBER:
            refuse(path, "a number in its header is out of bounds", f"0 to {MAX_NUMBER}", digits[:40])
        return int(digits)

    def other(literal: str) -> NoReturn:
        refuse(path, "a number in its header is not an integer", f"0 to {MAX_NUMBER}", literal[:40])

    try:
        value: dict[str, Any] = json.loads(
            str(raw, "utf-8"),
            object_pairs_hook=table,
            parse_int=integer,
            parse_float=other,
            parse_constant=other,
        )
    except UnicodeDecodeError as error:
        refuse(path, "its header is not UTF-8", "UTF-8", f"another byte at {error.start}")
    except json.JSONDecodeError as error:
        refuse(path, "its header is not JSON", "JSON", f"{error.msg} at character {error.pos}")
    except RecursionError:
        refuse(path, "its header is nested too deep", "three levels", "far more")
    return value


def refuse(path: str | None, what: str, expected: object, found: object, remedy: str = DAMAGED) -> NoReturn:
    """Raise the one error of this module; most often the remedy is a better copy of the file."""
    raise FormatError(what, path=path, expected=expected, found=found, remedy=remedy)


def short(value: object) -> str:
    """Show a value from a file in an error: never longer than a line, whatever the file claims."""
    if isinstance(value, str):
        return repr(value[:80])
    return repr(value) if value is None or isinstance(value, int) else f"a {type(value).__name__}"


def short_list(names: Iterable[str], most: int = 8) -> str:
    """Show names from a file in an error, the first few in their order; never long either."""
    shown = [short(name) for name in itertools.islice(names, most + 1)]
    return ", ".join([*shown[:most], *(["…"] if len(shown) > most else [])])
