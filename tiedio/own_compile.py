"""A model's own `compile`: the arguments that it takes beyond Keras's and keeps in attributes of their names.

They are in the table and not with the compile configuration, since they may hold state, as a sampler does that draws
random numbers: their objects have places in the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tiedio import configs, keras_api
from tiedio.errors import RebuildError


def extra_names(model: Any) -> list[str]:
    """The parameters of the class's own `compile` that Keras's lacks; none if the class describes its `compile`."""
    if not isinstance(model, keras_api.Model) or not keras_api.overrides(model, "compile", keras_api.Model):
        return []
    if keras_api.overrides(model, "get_compile_config", keras_api.Model):
        return []
    known = inspect.signature(keras_api.Model.compile).parameters
    # A static method has no receiver; of any other the first parameter is the model, whatever its name.
    static = isinstance(inspect.getattr_static(type(model), "compile"), staticmethod)
    own = list(inspect.signature(type(model).compile).parameters.values())[0 if static else 1 :]
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [parameter.name for parameter in own if parameter.name not in known and parameter.kind not in variadic]


def describe(model: Any, number: Mapping[int, int], path: str) -> dict[str, Any]:
    """The extra arguments that a model holds, encoded, by name."""
    held = vars(model)
    return {
        name: configs.encode(keras_api.stamped(lambda name=name: held[name]), number, path)  # type: ignore[misc]
        for name in extra_names(model)
        if name in held
    }


def set_extras(model: Any, encoded: Mapping[str, Any], revive: Callable[[Any], Any]) -> None:
    """Gives a rebuilt model its extra arguments, and undoes what a constructor that compiles has done."""
    if not isinstance(model, keras_api.Model):
        return
    known = extra_names(model)
    if model.compiled:
        keras_api.uncompile(model, [name for name in known if name not in encoded])
    unknown = sorted(encoded.keys() - {*known})
    if unknown:  # any other attribute may be a method
        raise RebuildError(
            "the file has arguments that the class's own compile does not take",
            path=model.name,
            expected=", ".join(known) or "none",
            found=", ".join(unknown)[:200],
            remedy="load with the code that the model was saved with",
        )
    for name, value in encoded.items():
        keras_api.set_attribute(model, name, revive(value))


def arguments_for(model: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """What the class's own `compile` takes of Keras's arguments, and its extra ones as the model holds them."""
    extra = {name: vars(model)[name] for name in extra_names(model) if name in vars(model)}
    if not keras_api.overrides(model, "compile", keras_api.Model):
        return dict(config)
    taken = inspect.signature(type(model).compile).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values()):
        return {**config, **extra}
    return {**{name: item for name, item in config.items() if name in taken}, **extra}
