"""The closing equation: what is found in a rebuilt model equals the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from tiedio.errors import MismatchError
from tiedio.manifest import Manifest, Object, Variable

_SHOWN = 8


def require_equal(expected: Manifest, objects: Sequence[Object], variables: Sequence[Variable], remedy: str) -> None:
    """Raises `MismatchError` unless objects, ties, attributes and orders are the manifest's.

    Args:
        expected: the manifest of the file.
        objects: what was found in the rebuilt model.
        variables: what was found in the rebuilt model, those of optimizers included.
        remedy: what the caller can do.
    """
    found = [
        *_differences("object", {o.path: o for o in expected.objects}, {o.path: o for o in objects}),
        *_differences("variable", _by_slot(expected.variables), _by_slot(variables)),
    ]
    if found:
        place, wanted, there = found[0]
        count = f"{len(found)} difference{'s' if len(found) > 1 else ''}"
        raise MismatchError(
            f"the rebuilt model is not the one that it should be ({count})",
            path=place,
            expected=wanted,
            found=there + "".join(f"; {p}: expected {w}, found {t}" for p, w, t in found[1:_SHOWN]),
            remedy=remedy,
        )


def _by_slot(variables: Sequence[Variable]) -> dict[str, Variable]:
    return {variable.slots[0].path: variable for variable in variables}


def _differences(kind: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for path in sorted(expected.keys() | found.keys()):
        if path not in found:
            yield path or "the model", f"this {kind}", "nothing"
        elif path not in expected:
            yield path or "the model", f"no {kind}", _describe(found[path])
        elif expected[path] != found[path]:
            for spec in fields(expected[path]):
                wanted, there = getattr(expected[path], spec.name), getattr(found[path], spec.name)
                if wanted != there:
                    yield f"{path or 'the model'} ({spec.name})", _short(wanted), _short(there)


def _describe(record: Any) -> str:
    return f"{record.class_name}" if isinstance(record, Object) else f"{record.dtype} {record.shape}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "…"
