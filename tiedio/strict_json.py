"""JSON as the file format allows it: one meaning per text, no duplicate keys, no NaN, no lone surrogates."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from tiedio.allowance import Allowance
from tiedio.errors import DAMAGED, FormatError, LimitError, shown

MAX_INTEGER = 2**63
_LONGEST_FLOAT = 400
"""Digits of a float in a text: every double has an exact text that is shorter, but for the smallest of all."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def dumps(value: Any) -> str:
    """The one compact text of a JSON value; keys keep their order."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def loads(text: str, where: str, allowance: Allowance | None = None) -> Any:
    """The value of a strict JSON text.

    Args:
        text: the JSON text.
        where: what the text is, for the error.
        allowance: what the file may take in memory; `None` for a text that is no file's. The value's part is taken.

    Raises:
        FormatError: if the text is not JSON, repeats a key, holds NaN, an infinity or a huge number.
        LimitError: if it nests too deep, or would take too much memory; that is found out before it is parsed.
    """

    def refuse(what: str, found: str, expected: str) -> NoReturn:
        raise FormatError(what, path=where, found=found, expected=expected, remedy=DAMAGED)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            refuse("a key stands twice in one object", shown(twice), "each key once")
        return result

    def constant(name: str) -> Any:
        refuse("a number is not finite", name, "a finite number")

    def integer(digits: str) -> int:
        if len(digits) > 20 or abs(int(digits)) > MAX_INTEGER:
            refuse("a number is too large", digits[:30], "a number of at most 64 bits")
        return int(digits)

    def real(digits: str) -> float:
        if len(digits) > _LONGEST_FLOAT:
            refuse("a number is too long", f"{len(digits)} digits", f"at most {_LONGEST_FLOAT} digits")
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            refuse("a number is too large", digits[:30], "a number of at most 64 bits")
        return value

    allowed = Allowance() if allowance is None else allowance
    if not text.isascii() and _SURROGATE.search(text):
        refuse("the text holds half of a surrogate pair", "a lone surrogate", "valid Unicode")
    allowed.take_text(text, where)
    try:
        value: Any = json.loads(
            text, object_pairs_hook=pairs, parse_constant=constant, parse_int=integer, parse_float=real
        )
    except RecursionError as error:
        raise _too_deep(where, allowed) from error
    except json.JSONDecodeError as error:
        raise FormatError(
            "the text is not JSON", path=where, found=str(error), expected="JSON", remedy=DAMAGED
        ) from error
    if not _is_shallow(value, allowed.depth):
        raise _too_deep(where, allowed)
    if _ESCAPED_SURROGATE.search(text) and _has_surrogate(value):
        refuse("the text holds half of a surrogate pair", "a lone surrogate", "valid Unicode")
    return value


def _too_deep(where: str, allowance: Allowance) -> LimitError:
    return LimitError(
        "the text nests too deep",
        path=where,
        expected=f"at most {allowance.depth:.0f} levels",
        found="more levels",
        remedy="if you trust the file, pass limits=tiedio.Limits(depth=...)",
    )


def _is_shallow(value: Any, depth: float) -> bool:
    """Whether a value has at most so many levels of objects and arrays."""
    level = [value]
    for _ in range(int(depth) + 1):
        if not level:
            return True
        level = [
            inner
            for item in level
            if type(item) is dict or type(item) is list
            for inner in (item.values() if type(item) is dict else item)
            if type(inner) is dict or type(inner) is list
        ]
    return not level


def _has_surrogate(value: Any) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if not item.isascii() and _SURROGATE.search(item):
                return True
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return False
