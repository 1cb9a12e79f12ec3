"""Texts of JSON that take far more memory once they are parsed than one would think."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator


def _joined(size: int, item: Callable[[int], str]) -> Iterator[str]:
    taken = n = 0
    while taken < size:
        text = item(n)
        taken += len(text) + 1
        n += 1
        yield text


def _array(item: Callable[[int], str]) -> Callable[[int], str]:
    return lambda size: f"[{','.join(_joined(size, item))}]"


def _object(pair: Callable[[int], str]) -> Callable[[int], str]:
    return lambda size: f"{{{','.join(_joined(size, pair))}}}"


def _name(n: int) -> str:
    return f"{n:x}"


NASTY: dict[str, Callable[[int], str]] = {
    "empty arrays": _array(lambda n: "[]"),
    "empty objects": _array(lambda n: "{}"),
    "arrays of one": _array(lambda n: "[1]"),
    "arrays of five": _array(lambda n: "[1,1,1,1,1]"),
    "arrays of nine": _array(lambda n: "[1,1,1,1,1,1,1,1,1]"),
    "arrays in arrays": _array(lambda n: "[" * 50 + "]" * 50),
    "objects in objects": _array(lambda n: '{"a":' * 50 + "1" + "}" * 50),
    "objects in objects, each with a key of its own": _array(
        lambda n: "".join(f'{{"{n:x}-{m}":' for m in range(50)) + "1" + "}" * 50
    ),
    "objects of one pair": _array(lambda n: '{"a":1}'),
    "objects of one pair with a key of its own": _array(lambda n: f'{{"{_name(n)}":1}}'),
    "objects of six pairs": _array(lambda n: '{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}'),
    "objects of eleven pairs": _array(lambda n: "{" + ",".join(f'"{c}":1' for c in "abcdefghijk") + "}"),
    "one wide object": _object(lambda n: f'"{_name(n)}":1'),
    "one wide object of empty objects": _object(lambda n: f'"{_name(n)}":{{}}'),
    "one wide object of arrays": _object(lambda n: f'"{_name(n)}":[1]'),
    "one wide object of objects": _object(lambda n: f'"{_name(n)}":{{"a":1}}'),
    "one wide object of strings": _object(lambda n: f'"{_name(n)}":"{_name(n)}!"'),
    "keys that look like known ones": _object(lambda n: f'"{_name(n)}\\"path":1'),
    "small integers": _array(lambda n: "1"),
    "integers": _array(lambda n: "999"),
    "long integers": _array(lambda n: "9223372036854775807"),
    "floats": _array(lambda n: "1.5"),
    "short floats": _array(lambda n: "1e1"),
    "null": _array(lambda n: "null"),
    "empty strings": _array(lambda n: '""'),
    "strings of two": _array(lambda n: '"ab"'),
    "strings of sixteen": _array(lambda n: '"abcdefghijklmnop"'),
    "strings of a backslash": _array(lambda n: '"a\\\\"'),
    "strings of quotes": _array(lambda n: '"\\"\\""'),
    "strings of Latin letters": _array(lambda n: '"\\u00e9a"'),
    "strings of wide characters": _array(lambda n: '"\u03b1b"'),
    "strings of escaped wide characters": _array(lambda n: '"\\u03b1b"'),
    "strings of very wide characters": _array(lambda n: '"\U0001f600"'),
    "strings of escaped very wide characters": _array(lambda n: '"\\ud83d\\ude00"'),
    "one long string": lambda size: json.dumps("a" * size),
    "one long string that ends with a wide character": lambda size: f'"{"a" * size}\u03b1"',
    "one long string that ends with a very wide character": lambda size: f'"{"a" * size}\U0001f600"',
    "one long string that ends with an escaped very wide character": lambda size: f'"{"a" * size}\\ud83d\\ude00"',
    "one long string that becomes wider twice": lambda size: f'"{"a" * size}\\u03b1{"a" * (size // 4)}\\ud83d\\ude00"',
    "one long string of escapes": lambda size: '"' + "\\n" * (size // 2) + '"',
    "one long string of brackets": lambda size: '"' + "[{" * (size // 2) + '"',
    "brackets that never close": lambda size: "[" * 900 + "1," * (size // 2),
    "records as manifests have them": _array(
        lambda n: (
            f'{{"slots":[{{"path":"a/{n}"}},{{"path":"b/{n}"}}],"shape":[8],"dtype":"float32","name":"part_{n}",'
            f'"path":"bank/part_{n}"}}'
        )
    ),
}
