"""Before anything is made: every class and function that a table names is looked up, and all unknown ones are told.

An allowlist: what Keras exports for models, classes of Keras and KerasHub, what the caller registered or
passed. No module that a file names is imported, except those two libraries.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tiedio import keras_api
from tiedio.errors import DAMAGED, FormatError, UnregisteredError, UnsafeError

# Modules of Keras's public API whose functions only compute; loaders, downloads and the like are elsewhere.
_FUNCTION_MODULES = (
    "keras.activations", "keras.losses", "keras.metrics", "keras.initializers", "keras.regularizers",
    "keras.constraints", "keras.ops", "keras.random",
)  # fmt: skip
_SPECIAL = {
    "__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"
}  # fmt: skip
_TRUSTED = ("keras", "keras_hub")
_MAX_DEPTH = 200


@dataclass(frozen=True, slots=True)
class Named:
    """A class or function that a config names, and where."""

    where: str
    module: str | None
    class_name: str
    registered_name: str | None
    function: str | None


def audit(record: Any, custom_objects: Mapping[str, Any], safe_mode: bool, path: str) -> None:
    """Checks a table before it is built.

    Args:
        record: the structure of the file, or any part of it that is going to be revived.
        custom_objects: what the caller passed, by name.
        safe_mode: whether code in the file is refused.
        path: the file, for errors.

    Raises:
        FormatError: if it nests too deep.
        UnsafeError: if it holds a lambda and `safe_mode` is on.
        UnregisteredError: naming every class and function that is not known here.
    """
    named = list(_names(record, path))
    lambdas = sorted({n.where for n in named if n.class_name == "__lambda__"})
    if lambdas and safe_mode:
        raise UnsafeError(
            "the file holds Python code (a lambda)",
            path=path,
            expected="no code in safe mode",
            found=", ".join(lambdas[:20]),
            remedy="use a named, registered function instead; or, if you trust the file, pass safe_mode=False",
        )
    unknown = sorted({_title(n) for n in named if not _is_known(n, custom_objects)})
    if unknown:
        raise UnregisteredError(
            f"{len(unknown)} class{'es' if len(unknown) > 1 else ''} or functions are not known here"
            if len(unknown) > 1
            else "a class or function is not known here",
            path=path,
            expected="classes of Keras, registered ones, or ones passed as custom_objects",
            found=", ".join(unknown),
            remedy="import the code that defines them and register them with"
            " @keras.saving.register_keras_serializable(), or pass custom_objects={name: class}",
        )


def class_of(reference: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> Any:
    """The class that a table's `class` entry names, or `None`."""
    return _resolve(
        Named("", reference["module"], reference["class_name"], reference["registered_name"], None), custom_objects
    )


def _names(record: Any, path: str) -> Iterator[Named]:
    """Every dict in the record that Keras would revive, by an explicit stack."""
    stack: list[tuple[Any, str, int]] = [(record, "", 0)]
    while stack:
        value, where, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise FormatError(
                "the structure nests too deep",
                path=path,
                expected=f"at most {_MAX_DEPTH} levels",
                found="more levels",
                remedy=DAMAGED,
            )
        if isinstance(value, list):
            stack.extend((item, where, depth + 1) for item in value)
        elif isinstance(value, dict):
            value = _spelled_out(value)
            name = value.get("class_name")
            inside = value.get("name") if isinstance(value.get("name"), str) else where
            if isinstance(name, str) and ("config" in value or "module" in value):
                config = value.get("config")
                inner = config.get("name") if isinstance(config, dict) else None
                inside = inner if isinstance(inner, str) else inside
                yield Named(
                    str(inside),
                    _text(value.get("module")),
                    name,
                    _text(value.get("registered_name")),
                    config if name == "function" and isinstance(config, str) else None,
                )
            stack.extend((item, str(inside), depth + 1) for item in value.values())


def _spelled_out(value: dict[str, Any]) -> dict[str, Any]:
    """A dict that is written as pairs, as the dict that it decodes to; keys that are no strings name nothing."""
    pairs = value.get("$dict")
    if len(value) != 1 or not isinstance(pairs, list):
        return value
    named = {p[0]: p[1] for p in pairs if isinstance(p, list) and len(p) == 2 and isinstance(p[0], str)}
    rest = [p for p in pairs if not (isinstance(p, list) and len(p) == 2 and isinstance(p[0], str))]
    return {**named, "$rest": rest}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _title(named: Named) -> str:
    return named.function or named.registered_name or f"{named.module}.{named.class_name}"


def _is_known(named: Named, custom_objects: Mapping[str, Any]) -> bool:
    if named.class_name == "__lambda__" or named.class_name in _SPECIAL:
        return True
    return _resolve(named, custom_objects) is not None


def _resolve(named: Named, custom_objects: Mapping[str, Any]) -> Any:
    import keras

    # Keras looks a function up by its own name and a class by its registered one.
    name = named.function if named.class_name == "function" else named.registered_name
    if name is not None:
        found = keras.saving.get_registered_object(name, custom_objects=dict(custom_objects))
        if found is not None:
            return found
    if named.module is None or named.module.partition(".")[0] not in (*_TRUSTED, "builtins"):
        return None
    if named.class_name == "function":
        return _public_function(named)
    public = keras_api.public_symbol(f"{named.module}.{named.class_name}")
    if isinstance(public, type):
        return public
    return _library_class(named)


def _public_function(named: Named) -> Any:
    modules = _FUNCTION_MODULES if named.module == "builtins" else (named.module,)
    for module in modules:
        if module in _FUNCTION_MODULES or (module or "").startswith("keras.ops."):
            found = keras_api.public_symbol(f"{module}.{named.function}")
            if found is not None:
                return found
    return None


def _library_class(named: Named) -> Any:
    """A class of Keras or KerasHub that is not exported, such as the operation behind `keras.ops.add`."""
    assert named.module is not None
    if named.module not in sys.modules:
        try:
            importlib.import_module(named.module)
        except ImportError:
            return None
    found = vars(sys.modules[named.module]).get(named.class_name)
    return found if isinstance(found, type) and issubclass(found, keras_api.KerasSaveable) else None
