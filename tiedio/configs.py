"""Configs both ways: what `get_config` returns ↔ strict JSON that keeps tuples, floats and references.

JSON alone loses tuples, integer keys and infinities, and Keras's nested configs lose identity. Here a
value that JSON cannot say is an object with one key that starts with `$`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any

from tiedio.errors import FormatError, ModelError

Reference = Callable[[Any], Any]


def encode(value: Any, objects: Mapping[int, int], where: str) -> Any:
    """A config as JSON.

    Args:
        value: a config as Keras serialized it, each object in it stamped with its identity.
        objects: identity of a tabled object → its number; such a config becomes a reference.
        where: the place in the model, for errors.

    Raises:
        ModelError: if the config holds something that JSON cannot carry.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, tuple):
        return {"$tuple": [encode(item, objects, where) for item in value]}
    if isinstance(value, list):
        return [encode(item, objects, where) for item in value]
    if isinstance(value, Mapping):
        return _encode_mapping(value, objects, where)
    raise ModelError(
        "the config holds a value that cannot be stored",
        path=where or "the model",
        expected="numbers, strings, lists, dicts, or objects serialized by Keras",
        found=f"{type(value).__module__}.{type(value).__qualname__}",
        remedy="return only plain values from get_config, and revive them in from_config",
    )


def _encode_mapping(value: Mapping[Any, Any], objects: Mapping[int, int], where: str) -> Any:
    stamp = value.get("shared_object_id") if "class_name" in value else None
    if stamp is not None:
        if stamp in objects:
            return {"$object": objects[stamp]}
        value = {key: item for key, item in value.items() if key != "shared_object_id"}
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: encode(item, objects, where) for key, item in value.items()}
    pairs = [[encode(key, objects, where), encode(item, objects, where)] for key, item in value.items()]
    return {"$dict": pairs}


def decode(value: Any, reference: Mapping[str, Reference]) -> Any:
    """The config that a JSON value stands for.

    Args:
        value: what `encode` gave.
        reference: how to revive `$object` and other references, by key.

    Raises:
        FormatError: if the value has an unknown `$` key.
    """
    if isinstance(value, list):
        return [decode(item, reference) for item in value]
    if not isinstance(value, dict):
        return value
    key = next(iter(value), "")
    if len(value) != 1 or not key.startswith("$"):
        return {name: decode(item, reference) for name, item in value.items()}
    inner = value[key]
    if key in reference:
        return reference[key](inner)
    if key == "$tuple" and isinstance(inner, list):
        return tuple(decode(item, reference) for item in inner)
    if key == "$dict" and isinstance(inner, list) and all(isinstance(p, list) and len(p) == 2 for p in inner):
        return {decode(name, reference): decode(item, reference) for name, item in inner}
    if key == "$float" and inner in ("nan", "inf", "-inf"):
        return float(inner)
    if key == "$bytes" and isinstance(inner, str):
        return base64.b64decode(inner)
    raise FormatError("unknown key in a config", path="structure", found=repr(key)[:60])


def references(value: Any, key: str = "$object") -> list[Any]:
    """All references of one kind inside an encoded config, in order."""
    found: list[Any] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(reversed(item))
        elif isinstance(item, dict):
            if key in item:
                found.append(item[key])
            else:
                stack.extend(reversed(list(item.values())))
    return found


def without_identity(value: Any) -> Any:
    """An encoded config with what differs between two equal makings blanked: references, own name, trainable."""

    def blank(item: Any) -> Any:
        if isinstance(item, list):
            return [blank(part) for part in item]
        if isinstance(item, dict):
            return {"$object": None} if "$object" in item else {name: blank(part) for name, part in item.items()}
        return item

    if isinstance(value, dict):
        value = {name: part for name, part in value.items() if name not in ("name", "trainable")}
    return blank(value)
