"""JSON as the file format allows it: one meaning per text, no duplicate keys, no NaN, no lone surrogates."""

from __future__ import annotations

import json
import re
from typing import Any

from tiedio.errors import DAMAGED, FormatError

MAX_INTEGER = 2**63


def dumps(value: Any) -> str:
    """The one compact text of a JSON value; keys keep their order."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def loads(text: str, where: str) -> Any:
    """The value of a strict JSON text.

    Args:
        text: the JSON text.
        where: what the text is, for the error.

    Raises:
        FormatError: if the text is not JSON, repeats a key, holds NaN, an infinity or a huge number, or nests too deep.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise FormatError(
                "a key stands twice in one object",
                path=where,
                found=repr(twice),
                expected="each key once",
                remedy=DAMAGED,
            )
        return result

    def constant(name: str) -> Any:
        raise FormatError("a number is not finite", path=where, found=name, expected="a finite number", remedy=DAMAGED)

    def integer(digits: str) -> int:
        if len(digits) > 20 or abs(int(digits)) > MAX_INTEGER:
            raise FormatError(
                "a number is too large",
                path=where,
                found=digits[:30],
                expected="a number of at most 64 bits",
                remedy=DAMAGED,
            )
        return int(digits)

    def real(digits: str) -> float:
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            raise FormatError(
                "a number is too large",
                path=where,
                found=digits[:30],
                expected="a number of at most 64 bits",
                remedy=DAMAGED,
            )
        return value

    try:
        text.encode("utf-8")
        value: Any = json.loads(
            text, object_pairs_hook=pairs, parse_constant=constant, parse_int=integer, parse_float=real
        )
    except UnicodeEncodeError as error:
        raise FormatError(
            "the text holds half of a surrogate pair",
            path=where,
            expected="valid Unicode",
            found="a lone surrogate",
            remedy=DAMAGED,
        ) from error
    except RecursionError as error:
        raise FormatError(
            "the text nests too deep", path=where, expected="a few levels", found="hundreds of levels", remedy=DAMAGED
        ) from error
    except json.JSONDecodeError as error:
        raise FormatError(
            "the text is not JSON", path=where, found=str(error), expected="JSON", remedy=DAMAGED
        ) from error
    if re.search(r"\\u[dD][89a-fA-F]", text):
        try:
            dumps(value).encode("utf-8")
        except UnicodeEncodeError as error:
            raise FormatError(
                "the text holds half of a surrogate pair",
                path=where,
                expected="valid Unicode",
                found="a lone surrogate",
                remedy=DAMAGED,
            ) from error
    return value
