"""What the format does not carry is refused by name, before anything is written: never lost without a word."""

from __future__ import annotations

import builtins
import functools
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tiedio import arrays, describe, hooks, keras_api, slots
from tiedio.errors import ModelError
from tiedio.structure import hidden


def refuse_what_cannot_be_carried(walk: slots.Walk) -> None:
    """Raises `ModelError` for the first object that holds state which no slot shows."""
    places = hidden.known(walk)
    for found in walk.objects:
        _refuse_saved_model(found)
        _refuse_class_state(found)
        for name, value in slots.own_attributes(found.value).items():
            if hooks.goes_with_vocabulary(found.value, name):
                continue
            _refuse_attribute(slots.join(found.path, name), value)
        for function in _functions(slots.own_attributes(found.value).values()):
            _refuse_captured_state(found.path, function)
        for name, value in hidden.attributes(found):
            hidden.refuse(slots.join(found.path, name), value, places)
    for slot in walk.slots:
        for part in (slot.variable.regularizer, slot.variable.constraint):
            _refuse_held_state(slot.path, part, keras_api.Operation, keras_api.Metric, keras_api.SeedGenerator)
            for function in _functions((part,)):
                _refuse_captured_state(slot.path, function)
        if keras_api.storage_dtype(slot.variable) == "string":
            raise ModelError(
                "a variable of strings cannot be stored",
                path=slot.path,
                expected="a numeric dtype",
                found="string",
                remedy="keep vocabularies in the layer's config",
            )
    describe.require_seen(walk)


def refuse_lambdas(walk: slots.Walk, optimizer: bool) -> None:
    """Raises `ModelError` if a lambda reads names of its module, which a file does not carry."""
    for found in walk.objects:
        if type(found.value).__name__ == "Lambda":
            _refuse_globals(found.path, _functions((found.value.function,)))
        if optimizer and isinstance(found.value, keras_api.Model) and found.value.compiled:
            arguments = keras_api.compile_arguments(found.value)
            _refuse_globals(slots.join(found.path, "@compile"), _functions((arguments,)))
    for slot in walk.slots:
        _refuse_globals(slot.path, _functions((slot.variable.regularizer, slot.variable.constraint)))


def _refuse_saved_model(found: slots.FoundObject) -> None:
    if type(found.value).__name__ == "TFSMLayer":
        raise ModelError(
            "the layer's weights and code are in a SavedModel folder, outside of the file",
            path=found.path,
            expected="layers whose weights are Keras variables",
            found="TFSMLayer",
            remedy="rebuild the layer in Keras",
        )


def _refuse_class_state(found: slots.FoundObject) -> None:
    for cls in type(found.value).__mro__:
        if cls.__module__.partition(".")[0] in ("keras", "tensorflow", "builtins"):
            continue
        for function in hidden.class_functions(cls):
            _refuse_captured_state(found.path, function)
        for name, value in vars(cls).items():
            if not isinstance(value, (property, type)) and any(True for _ in slots.leaves(value)):
                raise ModelError(
                    "a variable or layer belongs to the class and not to the layer",
                    path=slots.join(found.path, name),
                    expected="an attribute of the instance",
                    found=f"attribute {name!r} of class {cls.__name__}",
                    remedy=f"set self.{name} in the constructor",
                )


def _refuse_attribute(path: str, value: Any) -> None:
    stack = [(path, value)]
    seen: set[int] = set()
    while stack:
        where, item = stack.pop()
        if isinstance(item, keras_api.BaseOptimizer):
            raise ModelError(
                "an optimizer in an attribute is not carried; only the one that the model compiles with is",
                path=where,
                expected="model.compile(optimizer=...)",
                found=type(item).__name__,
                remedy="remove the attribute before saving, or compile with the optimizer",
            )
        if arrays.is_backend_variable(item):
            raise ModelError(
                "a variable of the backend is not tracked by Keras and would be lost",
                path=where,
                expected="keras.Variable",
                found=f"{type(item).__module__}.{type(item).__name__}",
                remedy="use self.add_weight or keras.Variable",
            )
        for argument in _bound(item):
            for _, _, leaf in slots.leaves(argument):
                raise ModelError(
                    "a bound function holds a layer or variable, so it would be lost",
                    path=where,
                    expected="a layer that holds its state in an attribute",
                    found=type(leaf).__name__,
                    remedy="hold the object or the layer itself in an attribute, and call it from there",
                )
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, (list, tuple, set, frozenset, deque)):
            stack.extend((f"{where}/{i}", part) for i, part in enumerate(item))
        elif isinstance(item, dict):
            stack.extend((f"{where}/{key}", part) for key, part in item.items())
        elif slots.classify(type(item)) == "plain" or arrays.is_backend_module(item):
            stack.extend((slots.join(where, name), part) for name, part in slots.attributes_of(item).items())


def refuse_in_compile(path: str, arguments: Mapping[str, Any]) -> None:
    """Raises `ModelError` if a loss or metric holds a layer or variable, or is a function that reads one."""
    for function in _functions((arguments,)):
        _refuse_captured_state(path, function)
    stack: list[Any] = [arguments]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, (list, tuple)):
            stack.extend(value)
        elif isinstance(value, keras_api.Loss):
            _refuse_held_state(path, value, keras_api.Operation, keras_api.Metric, keras_api.SeedGenerator)
        elif isinstance(value, keras_api.Metric):
            _refuse_held_state(path, value, keras_api.Layer, variables=False)
    _refuse_live_weights(slots.join(path, "loss_weights"), arguments)


def _refuse_live_weights(path: str, arguments: Mapping[str, Any]) -> None:
    """A variable that weighs a loss is no number: it would come back as the number that it is now."""
    stack = [(path, arguments.get("loss_weights"))]
    while stack:
        where, value = stack.pop()
        if isinstance(value, Mapping):
            stack.extend((slots.join(where, slots.escape(str(key))), item) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            stack.extend((f"{where}/{i}", item) for i, item in enumerate(value))
        elif slots.is_variable(value) or arrays.is_backend_variable(value) or arrays.array_kind(value) == "tensor":
            raise ModelError(
                "a variable or tensor among the loss weights would come back as a number that nothing changes",
                path=where,
                expected="plain numbers",
                found=type(value).__name__,
                remedy="pass a plain number, or weigh the losses in a compute_loss of the model's own class",
            )


def _refuse_held_state(path: str, value: Any, *kinds: type, variables: bool = True) -> None:
    """A loss, regularizer or the like that holds a layer or variable: no slot shows it, so it would be lost."""
    if value is None or isinstance(value, types.FunctionType):
        return
    own = hidden.known(slots.walk({None: value})) if isinstance(value, keras_api.Metric) else {}
    for name, item in slots.own_attributes(value).items():
        hidden.refuse(f"{path}/{type(value).__name__}/{name}", item, own)
        for _, segments, leaf in slots.leaves(item):
            if isinstance(leaf, kinds) or (variables and slots.is_variable(leaf)):
                raise ModelError(
                    f"a {type(value).__name__} holds a layer or variable, which the file would not carry",
                    path="/".join((path, type(value).__name__, name, *segments)),
                    expected="state in the layers of the model only",
                    found=type(leaf).__name__,
                    remedy="move it into a layer (add_loss, add_weight), or pass optimizer=False and compile"
                    " afterwards",
                )


def _refuse_globals(path: str, functions: Iterable[types.FunctionType]) -> None:
    """A lambda travels as code alone: what it reads from its module is not there when it is loaded."""
    for function in functions:
        names = [name for name in hidden.global_names(function.__code__) if not hasattr(builtins, name)]
        if function.__name__ == "<lambda>" and names:
            raise ModelError(
                "a lambda reads names of its module, which are not there after loading",
                path=path or "the model",
                expected="a lambda that uses only its arguments and builtins",
                found=", ".join(names),
                remedy="write a named function, register it with @keras.saving.register_keras_serializable(), and use"
                " that",
            )


def _bound(value: Any) -> tuple[Any, ...]:
    """What a partial function or the method of a plain object carries along; a method of a layer is that layer's."""
    if isinstance(value, functools.partial):
        return (*value.args, *value.keywords.values())
    if isinstance(value, types.MethodType) and slots.classify(type(value.__self__)) == "plain":
        return (value.__self__,)
    return ()


def _functions(values: Iterable[Any]) -> Iterator[types.FunctionType]:
    """Functions inside attribute values: activations, `Lambda` functions, losses; also in containers and partials."""
    stack = list(values)
    depth = 0
    while stack and depth < 10_000:
        depth += 1
        item = stack.pop()
        if isinstance(item, (list, tuple)):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, functools.partial):
            stack.extend((item.func, *item.args, *item.keywords.values()))
        elif isinstance(item, types.FunctionType):
            yield item


def _refuse_captured_state(path: str, function: types.FunctionType) -> None:
    """A function that reaches a layer from outside is tied to that very layer, which no file can name."""
    pending, seen = [function], {id(function)}
    while pending:
        one = pending.pop()
        for name, value in hidden.reached(one).items():
            inner: list[types.FunctionType] = []
            for _, _, leaf in hidden.leaves(value, "function", inner):
                raise ModelError(
                    "a function uses a layer or variable from outside, so the tie would be lost",
                    path=path or "the model",
                    expected="a layer that holds what it shares in an attribute",
                    found=f"function {function.__qualname__!r} reads {name!r} ({type(leaf).__name__})",
                    remedy="write a layer that takes the other layer as a constructor argument, and decorate it with"
                    " @tiedio.serializable",
                )
            pending += [other for other in inner if id(other) not in seen]
            seen |= {id(other) for other in inner}
