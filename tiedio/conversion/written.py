"""Configurations as Keras writes them: parsed, put into the one form of Keras 3, audited, and only then made."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tiedio import keras_api, session, strict_json, values
from tiedio.allowance import Allowance
from tiedio.errors import DAMAGED, FormatError, RebuildError, TiedioError, one_line, shown
from tiedio.limits import Limits
from tiedio.structure.audit import Rules, audit_written
from tiedio.structure.meter import Meter

# Where a class that is named without its module is looked for, as the formats before Keras 3 name them.
_MODULES = (
    "keras.layers", "keras", "keras.initializers", "keras.regularizers", "keras.constraints", "keras.optimizers",
    "keras.optimizers.schedules", "keras.losses", "keras.metrics", "keras.dtype_policies", "keras.random",
)  # fmt: skip
_VALUES = frozenset(
    {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__lambda__", "function"}
)


def parse(text: str, path: str, allowance: Allowance) -> dict[str, Any]:
    """The configuration in a text.

    Raises:
        FormatError: if it is not strict JSON, or no object.
        LimitError: if it would take too much memory.
    """
    config = strict_json.loads(text, path, allowance)
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise FormatError(
            "the configuration names no class",
            path=path,
            expected="a model as Keras writes it",
            found=shown(config),
            remedy=DAMAGED,
        )
    return config


def in_form(config: Any, custom_objects: Mapping[str, Any]) -> Any:
    """A configuration in which every class has its module, as in those of Keras 3; tuples are lists.

    The classes of formats before Keras 3 are named alone; each is looked for among what Keras exports, so that there is
    one way in which a name becomes a class, and that is audited. The depth of the text was bounded when it was parsed.
    """
    if isinstance(config, list):
        return [in_form(item, custom_objects) for item in config]
    if not isinstance(config, dict):
        return config
    name = config.get("class_name")
    if name in ("__tuple__", "TensorShape") and isinstance(config.get("items"), list):
        return [in_form(item, custom_objects) for item in config["items"]]
    new = {key: in_form(item, custom_objects) for key, item in config.items()}
    if isinstance(name, str) and "config" in config and "module" not in config and name not in _VALUES:
        new["module"] = None if _is_registered(name, custom_objects) else _module_of(name)
        inner = new["config"]
        if isinstance(inner, dict) and "batch_input_shape" in inner:
            shape = inner.pop("batch_input_shape")
            inner["batch_shape" if name == "InputLayer" else "input_shape"] = shape
        axis = inner.get("axis") if isinstance(inner, dict) else None
        if isinstance(axis, list) and len(axis) == 1:
            inner["axis"] = axis[0]
        new["registered_name"] = name if new["module"] is None else None
    return new


def _is_registered(name: str, custom_objects: Mapping[str, Any]) -> bool:
    return name in custom_objects or keras_api.keras.saving.get_registered_object(name, custom_objects={}) is not None


def _module_of(name: str) -> str | None:
    if name == "Functional":  # Keras exports it as `Model` only
        return str(keras_api.Functional.__module__)
    return next((module for module in _MODULES if keras_api.public_symbol(f"{module}.{name}") is not None), None)


def judged(config: Any, rules: Rules, path: str) -> int:
    """Audits a configuration; how many layers, operations and calls it has.

    Raises:
        LimitError, FormatError, UnsafeError, UnregisteredError: as `tiedio.load`.
    """
    calls, graphs = 0, []
    for value in _dicts(config):
        nodes = value.get("inbound_nodes")
        if isinstance(nodes, list):
            calls += len(nodes)
            for node in nodes:
                if not _has_tensor(node):
                    raise _odd("a call without a tensor, which would run at once", value, path)
        if isinstance(value.get("layers"), list):
            if any(isinstance(one, dict) and "class_name" in one and "module" not in one for one in value["layers"]):
                # Keras would go by the bare name then, and not by what was judged.
                raise _odd("a layer without the module of its class", value, path)
            if len(value["layers"]) > 1:
                graphs.append(value["layers"])
    count = audit_written(config, rules, path, calls)
    for layers in graphs:
        names = [one.get("name") for one in layers if isinstance(one, dict) and "inbound_nodes" in one]
        if any(not isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise _odd("a graph whose layers have no names of their own", {"class_name": shown(names[:5])}, path)
    return count


def _odd(what: str, value: Mapping[str, Any], path: str) -> FormatError:
    return FormatError(
        what, path=path, expected="a graph as Keras writes it", found=shown(value.get("class_name")), remedy=DAMAGED
    )


def _has_tensor(node: Any) -> bool:
    """Whether a call of a graph has a tensor: written out, or as `[layer, call, output, …]` before Keras 3."""
    if isinstance(node, list):
        return any(
            isinstance(one, list) and len(one) >= 3 and isinstance(one[0], str) and one[0] != "_CONSTANT_VALUE"
            for one in ([node] if node and isinstance(node[0], str) else node)
        )
    return any(value.get("class_name") == "__keras_tensor__" for value in _dicts(node))


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def without_compiling(config: Any) -> Any:
    """The configuration of the same models, none of which is compiled."""
    if isinstance(config, list):
        return [without_compiling(item) for item in config]
    if not isinstance(config, dict):
        return config
    skipped = ("compile_config",) if "class_name" in config else ()
    return {key: without_compiling(item) for key, item in config.items() if key not in skipped}


class Making:
    """Makes a model of an audited configuration, without random numbers, and counts what it makes."""

    def __init__(self, rules: Rules, shapes: Sequence[tuple[int, ...]], path: str) -> None:
        self.rules, self.path = rules, path
        self.shapes = shapes
        self._waiting: list[weakref.ref[Any]] = []

    def make(self, config: Any) -> Any:
        """The model, compiled if its configuration says how; its variables have no values yet.

        Raises:
            LimitError, UnsafeError, UnregisteredError, FormatError: if it is refused; nothing was made then.
            RebuildError: if it cannot be made.
        """
        meter = Meter(self.shapes, judged(config, self.rules, self.path), self.rules.limits, self.path)
        with contextlib.ExitStack() as stack:
            stack.enter_context(session.untouched_randomness())
            stack.enter_context(session.untouched_names())
            stack.enter_context(session.outside_name_scopes())
            stack.enter_context(session.without_old_warnings())
            stack.enter_context(keras_api.metered(meter))
            self._waiting = stack.enter_context(keras_api.without_values(values.zeros))
            stack.enter_context(keras_api.known_objects({}))
            model = self._made(config, meter)
        if not isinstance(model, keras_api.Model):
            raise RebuildError(
                "the file holds no model",
                path=self.path,
                expected="a model",
                found=type(model).__name__,
                remedy="save the model that holds it",
            )
        return model

    def _made(self, config: Any, meter: Meter) -> Any:
        try:
            return keras_api.deserialize(config, dict(self.rules.custom_objects), self.rules.safe_mode)
        except Exception as error:  # user code and Keras may raise anything; nothing is swallowed
            if meter.refusal is not None:
                raise meter.refusal from None
            if isinstance(error, (TiedioError, MemoryError)):
                raise
            raise RebuildError(
                "Keras cannot make the model again",
                path=self.path,
                expected="a configuration that its classes take",
                found=f"{type(error).__name__}: {one_line(error)}",
                remedy="register its classes, or build the model by its code and pass model=",
            ) from error

    def finish(self) -> None:
        """Gives storage to what no value came for: metrics."""
        keras_api.give_storage_to_all(self._waiting)


def rules_for(
    custom_objects: Mapping[str, Any] | None, safe_mode: bool, limits: Limits | None, size: int, sides: frozenset[int]
) -> Rules:
    """The rules for a file of this size, whose tensors have these sides."""
    return Rules(dict(custom_objects or {}), safe_mode, (limits or Limits()).for_file(size), sides, written=True)
