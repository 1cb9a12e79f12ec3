"""`serializable`: custom classes whose config is what their constructor was given, layers and variables included.

The arguments are noted when the object is made, in `__new__`, as Keras itself notes plain ones: whatever class is
made, its own constructor's arguments are seen, once, before its code can change them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar, overload

import numpy as np

from tiedio import arrays, configs, keras_api, slots
from tiedio.errors import ModelError, TiedioError, one_line

_Class = TypeVar("_Class", bound=type)

# The walk, Keras's tracker and the backend pass over names with this beginning: a note is no place that holds anything.
_NOTE = keras_api.ARGUMENTS_NAME
_FUNCTIONAL_KEYS = ("name", "layers", "input_layers", "output_layers")


@overload
def serializable(package: _Class) -> _Class: ...
@overload
def serializable(package: str = ..., name: str | None = ...) -> Callable[[_Class], _Class]: ...
def serializable(package: Any = "Custom", name: str | None = None) -> Any:
    """Lets a custom layer or model class be saved whose constructor takes layers, models or variables.

    The class is registered as `keras.saving.register_keras_serializable` does it, and given a `get_config` and a
    `from_config` from the arguments of its constructor. Layers and models among them, also in lists, tuples and dicts,
    come back from `tiedio.load` as the very objects that stand elsewhere in the model, and variables as the variables.
    A class that has a `get_config` of its own, or the constructor of a class of Keras, keeps what it has and is only
    registered.

    Args:
        package: the package that the class is registered under; or the class itself, for a bare `@tiedio.serializable`.
        name: the name that the class is registered under, its own by default.

    Returns:
        A decorator that gives back the class; or the class.

    Raises:
        ModelError: if it is not a class of layers or models.

    Example:
        >>> import keras, tiedio
        >>> @tiedio.serializable(package="docs")
        ... class Transposed(keras.layers.Layer):
        ...     def __init__(self, source, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.source = source
        ...     def call(self, inputs):
        ...         return keras.ops.matmul(inputs, keras.ops.transpose(self.source.kernel))
        >>> encoder = keras.layers.Dense(2, name="encoder")
        >>> model = keras.Sequential([keras.Input((3,)), encoder, Transposed(encoder, name="decoder")])
        >>> tiedio.save(model, "model.safetensors")
        >>> loaded = tiedio.load("model.safetensors")
        >>> loaded.get_layer("decoder").source is loaded.get_layer("encoder")
        True
    """
    if isinstance(package, str):
        return functools.partial(_register, package=package, name=name)
    return _register(package, package="Custom", name=name)


def _register(cls: Any, *, package: str, name: str | None) -> Any:
    if not (isinstance(cls, type) and issubclass(cls, keras_api.Layer)):
        raise ModelError(
            "only classes of layers and models can be made serializable",
            path=getattr(cls, "__name__", repr(cls)),
            expected="a class that derives from keras.layers.Layer or keras.Model",
            found=type(cls).__name__
            if not isinstance(cls, type)
            else ", ".join(base.__name__ for base in cls.__bases__),
            remedy="use keras.saving.register_keras_serializable for anything else",
        )
    if not _configures_itself(cls):
        _give_config(cls)
    return keras_api.keras.saving.register_keras_serializable(package, name)(cls)


def _configures_itself(cls: Any) -> bool:
    """Whether a class needs no config from here: it has one of its own, or Keras's constructor and with it Keras's."""
    if not _is_of_keras(cls, "get_config") or _is_of_keras(cls, "__init__"):
        return True
    if not issubclass(cls, keras_api.Model):
        return False
    own, functional = (list(_parameters(one)) for one in (cls, keras_api.Functional))
    return own == functional


def _is_of_keras(cls: Any, method: str) -> bool:
    home = next(base for base in cls.__mro__ if method in vars(base))
    return str(home.__module__).partition(".")[0] == "keras"


def _give_config(cls: Any) -> None:
    own_new = vars(cls).get("__new__")

    def make(kind: Any, *args: Any, **kwargs: Any) -> Any:
        # The bases are looked up anew: Keras changes those of a model that turns out to be functional.
        new = super(cls, kind).__new__ if own_new is None else own_new.__func__
        made = new(kind, *args, **kwargs)
        if type(made) is kind and _NOTE not in vars(made):
            _note(made, args, kwargs)
        return made

    def get_config(self: Any) -> dict[str, Any]:
        """The constructor's arguments, layers among them serialized as Keras does it."""
        noted = arguments_of(self)
        if takes_tensors(self):
            functional: dict[str, Any] = super(cls, self).get_config()
            return functional
        base = keras_api.base_config(self)
        config = {name: item for name, item in base.items() if _accepts(type(self), name)}
        return config | {name: _stored(self, name, item) for name, item in noted.items() if name not in _BASE}

    def from_config(kind: Any, config: Mapping[str, Any], custom_objects: Any = None) -> Any:
        """Makes the object from its constructor's arguments."""
        if all(key in config for key in _FUNCTIONAL_KEYS):
            return super(cls, kind).from_config(config, custom_objects)
        with keras_api.knowing(custom_objects or {}):
            arguments = {name: _revived(item) for name, item in config.items()}
        if "dtype" in arguments:
            arguments["dtype"] = keras_api.plain_policy(arguments["dtype"])
        return _construct(kind, arguments)

    for name, function in (("__new__", make), ("get_config", get_config), ("from_config", from_config)):
        function.__name__, function.__qualname__ = name, f"{cls.__qualname__}.{name}"
        function.__module__ = cls.__module__
    cls.__new__ = make
    cls.get_config = get_config
    cls.from_config = classmethod(from_config)


# What every layer's own config tells, as it stands now and not as it was given.
_BASE = ("name", "trainable", "dtype", "activity_regularizer")


def _parameters(cls: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a class's constructor, without `self`."""
    found = list(keras_api.constructor_parameters(cls).values())
    if found and found[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        del found[0]
    return {parameter.name: parameter for parameter in found}


def _accepts(cls: Any, name: str) -> bool:
    if issubclass(cls, keras_api.Sequential) and name not in ("name", "trainable"):
        return False
    parameters = _parameters(cls)
    named = parameters.get(name)
    if named is not None and named.kind not in (named.VAR_POSITIONAL, named.VAR_KEYWORD):
        return True
    return any(one.kind is one.VAR_KEYWORD for one in parameters.values())


# --- the note -------------------------------------------------------------------------------------------


def _note(made: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Notes the arguments by name; a default that is given is as good as one that is left out."""
    parameters = _parameters(type(made))
    try:
        bound = inspect.Signature(list(parameters.values())).bind(*args, **kwargs).arguments
    except TypeError:
        return  # the constructor is about to say so itself
    noted: dict[str, Any] = {}
    for name, item in bound.items():
        if parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            _require_one_name(made, {*bound} & {*item})
            noted |= {key: _copied(part) for key, part in item.items()}
        elif not _is_default(item, parameters[name].default):
            noted[name] = _copied(item)
    object.__setattr__(made, _NOTE, noted)


def _require_one_name(made: Any, twice: set[str]) -> None:
    if twice:
        raise ModelError(
            "a constructor's argument has two values, so no config can tell them apart",
            path=type(made).__name__,
            expected="keywords that are not named as a positional parameter",
            found=", ".join(sorted(twice)),
            remedy="rename the keyword or the parameter",
        )


def _is_default(item: Any, default: Any) -> bool:
    return item is default or (configs.is_data(item) and type(item) is type(default) and repr(item) == repr(default))


def _copied(value: Any) -> Any:
    """The lists, tuples and dicts of a value made anew, since a constructor may change them, and all else as it is."""
    value = arrays.unwrapped(value)
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if type(value) is tuple:
        return tuple(_copied(item) for item in value)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value


def arguments_of(value: Any) -> dict[str, Any]:
    """The noted arguments of an object of a serializable class; none of any other."""
    noted: dict[str, Any] = getattr(value, "__dict__", {}).get(_NOTE, {})
    return noted


def takes_tensors(value: Any) -> bool:
    """Whether symbolic tensors were handed to a serializable class: then it is made as `keras.Model` is."""
    flat = keras_api.tree.flatten(list(arguments_of(value).values()))
    return any(isinstance(item, keras_api.KerasTensor) for item in flat)


def follow(owner: Any, new: Mapping[int, Any], undo: ExitStack) -> None:
    """Lets the note of one object speak of other variables; `undo` takes it back."""
    noted = arguments_of(owner)
    if noted:
        undo.callback(noted.update, dict(noted))
        replace_variables([owner], new)


def replace_variables(values: Iterable[Any], new: Mapping[int, Any]) -> None:
    """Lets the notes of objects speak of other variables.

    Args:
        values: objects of any class.
        new: identity of a variable that was an argument → the one that took its place.
    """

    def replaced(item: Any) -> Any:
        if isinstance(item, (list, tuple)):
            return type(item)(replaced(part) for part in item)
        if isinstance(item, dict):
            return {key: replaced(part) for key, part in item.items()}
        return new.get(id(item), item)

    for value in values:
        noted = arguments_of(value)
        noted.update({name: replaced(item) for name, item in noted.items()})


# --- arguments → config ---------------------------------------------------------------------------------


def _stored(owner: Any, name: str, value: Any) -> Any:
    """An argument as Keras serializes it; inside `tiedio.save` layers and variables as references."""
    if slots.is_variable(value):
        value = _present(owner, name, value)
    return _serialized(owner, name, value)


def _present(owner: Any, name: str, variable: Any) -> Any:
    """The variable that took the place of an argument in the attribute of its name: a tie that was made later."""
    held = vars(owner).get(name, vars(owner).get(f"_{name}"))
    if not slots.is_variable(held) or tuple(held.shape) != tuple(variable.shape):
        return variable
    return held if keras_api.storage_dtype(held) == keras_api.storage_dtype(variable) else variable


def _serialized(owner: Any, name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_serialized(owner, name, item) for item in value]
    if type(value) is tuple:
        return tuple(_serialized(owner, name, item) for item in value)
    if isinstance(value, dict):
        if "class_name" in value:
            raise _error(owner, name, "a dict with the key 'class_name'", "pass the object that the dict describes")
        return {key: _serialized(owner, name, item) for key, item in value.items()}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.floating):
        return value  # of its own dtype, which configs keep
    if arrays.array_kind(value) == "scalar":
        return value.item()
    if keras_api.is_stamping() and slots.classify(type(value)) in ("variable", "object"):
        return configs.reference_to(value)
    if slots.is_variable(value):
        raise _error(owner, name, f"variable {value.path!r}", "save with tiedio.save, which keeps it as one variable")
    if isinstance(value, (str, int, float, type, tuple, keras_api.KerasTensor)):  # enums and named tuples among them
        raise _error(owner, name, f"{type(value).__module__}.{type(value).__qualname__}")
    try:
        return keras_api.keras.saving.serialize_keras_object(value)
    except TiedioError:
        raise  # of a layer inside this one, which says more
    except (TypeError, ValueError, NotImplementedError, AttributeError, OSError) as error:
        found = f"{type(value).__module__}.{type(value).__qualname__} ({one_line(error)})"
        raise _error(owner, name, found) from error


def _error(owner: Any, name: str, found: str, remedy: str = "") -> ModelError:
    return ModelError(
        f"argument {name!r} of {type(owner).__name__} cannot be stored",
        path=owner.name,
        expected="numbers, strings, arrays, layers, models, what Keras serializes, and lists, tuples and dicts of them",
        found=found,
        remedy=remedy or f"pass something else, or write get_config and from_config for {type(owner).__name__}",
    )


# --- config → arguments ---------------------------------------------------------------------------------


def _revived(value: Any) -> Any:
    if isinstance(value, list):
        return [_revived(item) for item in value]
    if type(value) is tuple:
        return tuple(_revived(item) for item in value)  # which Keras would make a list
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _revived(item) for key, item in value.items()}
    return keras_api.keras.saving.deserialize_keras_object(value) if isinstance(value, dict) else value


def _construct(cls: Any, arguments: dict[str, Any]) -> Any:
    """Calls the constructor: by position what it takes only so, and what stands before `*args`; the rest by name."""
    parameters = _parameters(cls)
    keywords = dict(arguments)
    many = any(one.kind is one.VAR_POSITIONAL and arguments.get(one.name) for one in parameters.values())
    args: list[Any] = []
    for name, one in parameters.items():
        if one.kind is one.VAR_POSITIONAL:
            args.extend(keywords.pop(name, ()))
        elif one.kind is one.POSITIONAL_ONLY or (many and one.kind is one.POSITIONAL_OR_KEYWORD):
            args.append(keywords.pop(name, one.default))
    return cls(*args, **keywords)
