"""Configs both ways: what `get_config` returns ↔ strict JSON that keeps tuples, floats and references.

JSON alone loses tuples, integer keys and infinities, and Keras's nested configs lose identity. Here a
value that JSON cannot say is an object with one key that starts with `$`.
"""

from __future__ import annotations

import base64
import marshal
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tiedio import keras_api
from tiedio.errors import DAMAGED, FormatError, ModelError
from tiedio.strict_json import MAX_INTEGER

Reference = Callable[[Any], Any]

_NUMPY_FLOATS = ("float16", "float32", "float64")
_REFERENCE = "__tiedio_reference__"


class Inside(dict[int, Any]):
    """References by identity, for a part of a model: a layer or variable of elsewhere counts as one too, to nothing."""


def reference_to(value: Any) -> dict[str, Any]:
    """What stands in a config for a live layer or variable itself: `encode` looks it up, and nothing revives it."""
    named = getattr(value, "path", None) if not hasattr(value, "get_config") else value.name
    title = f"{type(value).__name__} {named!r}"
    return {"class_name": _REFERENCE, "config": {"name": title}, "shared_object_id": id(value)}


def encode(value: Any, objects: Mapping[int, Any], where: str) -> Any:
    """A config as JSON.

    Args:
        value: a config as Keras serialized it, each object in it stamped with its identity.
        objects: identity of a tabled object → its number; such a config becomes a reference. Of anything else that
            is written elsewhere, the reference itself.
        where: the place in the model, for errors.

    Raises:
        ModelError: if the config holds something that JSON cannot carry.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isprintable():
        return value
    if isinstance(value, str):
        return _require(not _has_surrogate(value), value, "text that is valid Unicode", where)
    if isinstance(value, int):
        return int(_require(abs(value) <= MAX_INTEGER, value, "integers up to 2**63", where))
    if isinstance(value, keras_api.NumpyFloat):
        value = value.number
    if isinstance(value, np.floating):
        dtype = str(_require(value.dtype.name in _NUMPY_FLOATS, value, " or ".join(_NUMPY_FLOATS), where).dtype)
        return {"$numpy": [dtype, repr(float(value))]}
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


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _require(holds: bool, value: Any, expected: str, where: str) -> Any:
    if not holds:
        raise ModelError(
            "the config holds a value that cannot be stored",
            path=where or "the model",
            expected=expected,
            found=repr(value)[:60],
            remedy="return another value from get_config",
        )
    return value


def _encode_mapping(value: Mapping[Any, Any], objects: Mapping[int, Any], where: str) -> Any:
    stamp = value.get("shared_object_id") if "class_name" in value else None
    if stamp is not None:
        if stamp in objects:
            found = objects[stamp]
            return dict(found) if isinstance(found, Mapping) else {"$object": found}
        if value["class_name"] == _REFERENCE or keras_api.names_a_layer(value):
            if isinstance(objects, Inside):
                return {"$object": None}
            raise ModelError(
                "the config refers to a layer or variable that is in no attribute, so its values would be lost",
                path=where or "the model",
                expected="what the model reaches through attributes of its layers",
                found=_title(value),
                remedy="hold it in an attribute of the object whose config refers to it, or save the model that it"
                " belongs to together with this one",
            )
        value = {key: item for key, item in value.items() if key != "shared_object_id"}
    if value.get("class_name") == "__lambda__" and isinstance(value.get("config"), Mapping):
        value = {**value, "config": _stable_lambda(value["config"])}
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: encode(item, objects, where) for key, item in value.items()}
    pairs = [[encode(key, objects, where), encode(item, objects, where)] for key, item in value.items()]
    return {"$dict": pairs}


def _title(value: Mapping[str, Any]) -> str:
    config = value.get("config")
    name = config.get("name") if isinstance(config, Mapping) else None
    if value["class_name"] == _REFERENCE:
        return str(name)
    return f"{value['class_name']} {name!r}" if isinstance(name, str) else str(value["class_name"])


def _stable_code(code: str) -> str:
    """A marshaled code object as `Lambda` stores it, in bytes that depend on the code alone.

    From version 3 on marshal marks objects by their reference count, which changes from run to run.
    """
    return base64.encodebytes(marshal.dumps(marshal.loads(base64.b64decode(code)), 2)).decode("ascii")


def _stable_lambda(config: Mapping[str, Any]) -> dict[str, Any]:
    """A lambda's config with its code in a form that does not change from one save to the next."""
    if isinstance(config.get("code"), str):
        return {**config, "code": _stable_code(config["code"])}
    dumped = config.get("value")
    if isinstance(dumped, (list, tuple)) and dumped and isinstance(dumped[0], str):
        return {**config, "value": (_stable_code(dumped[0]), *dumped[1:])}
    return dict(config)


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
    marked = [name for name in value if name.startswith("$")]
    if not marked:
        return {name: decode(item, reference) for name, item in value.items()}
    key = marked[0]
    if len(value) != 1:
        raise FormatError(
            "a reference in a config does not stand alone",
            path="structure",
            found=repr(key)[:60],
            expected="one key that starts with $, alone in its object",
            remedy=DAMAGED,
        )
    inner = value[key]
    if key in reference:
        return reference[key](inner)
    if key == "$tuple" and isinstance(inner, list):
        return tuple(decode(item, reference) for item in inner)
    pairs = isinstance(inner, list) and all(isinstance(p, list) and len(p) == 2 for p in inner)
    if key == "$ordered" and pairs:
        return OrderedDict((decode(name, reference), decode(item, reference)) for name, item in inner)
    if key == "$dict" and pairs:
        return {decode(name, reference): decode(item, reference) for name, item in inner}
    if key == "$float" and inner in ("nan", "inf", "-inf"):
        return float(inner)
    if key == "$numpy" and isinstance(inner, list) and len(inner) == 2 and inner[0] in _NUMPY_FLOATS:
        return np.dtype(inner[0]).type(_number(inner[1]))
    if key == "$bytes" and isinstance(inner, str):
        return base64.b64decode(inner, validate=True)
    raise FormatError(
        "unknown key in a config",
        path="structure",
        found=repr(key)[:60],
        expected="a key of a known format",
        remedy=DAMAGED,
    )


def _number(text: Any) -> float:
    """The number that `repr(float)` wrote; nothing else, so that one number has one text."""
    try:
        number = float(text) if isinstance(text, str) else None
    except ValueError:
        number = None
    if number is None or repr(number) != text:
        raise FormatError(
            "no number in a config",
            path="structure",
            found=repr(text)[:60],
            expected="the shortest text of a float",
            remedy=DAMAGED,
        )
    return number


def is_data(value: Any) -> bool:
    """Whether a value is a number, a string, or a container of them: what a config can say by itself."""
    if isinstance(value, (list, tuple)):
        return all(map(is_data, value))
    if isinstance(value, Mapping):
        return all(map(is_data, value.values()))
    return isinstance(value, (str, int, float, np.floating, type(None)))


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
            if "$object" in item or "$variable" in item:
                return {"$object": None}
            return {name: blank(part) for name, part in item.items()}
        return item

    if isinstance(value, dict):
        value = {name: part for name, part in value.items() if name not in ("name", "trainable")}
    return blank(value)
