"""The proof's last part: what is neither config nor variable must come back too, or the outputs may differ."""

from __future__ import annotations

import contextvars
import functools
import inspect
import pickle
import threading
import types
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tiedio import arrays, keras_api, slots
from tiedio.errors import ModelError

# Set by Keras itself in the course of building and calling, on classes whose method this is; they change no output.
_TRANSIENT = {
    "_already_warned": "_serialize_function_to_config",
    "_dropout_mask": "get_dropout_mask",
    "_recurrent_dropout_mask": "get_recurrent_dropout_mask",
    "generate_function": "make_generate_function",
    # How a vocabulary was given; what came of it is compared by `get_vocabulary`.
    "input_vocabulary": "get_vocabulary",
    "input_idf_weights": "get_vocabulary",
    "_has_input_vocabulary": "get_vocabulary",
}
# Keras's loading of weights (3.15.1) notes on every Dense and EinsumDense that they are *not* calibrated, which it also
# takes them for without a note.
_CALIBRATED = ("is_gptq_calibrated", "is_awq_calibrated")
# What has no value that could be compared, and yet a state that would be lost.
_STATEFUL = (Iterator, threading.local, contextvars.ContextVar)
# Bookkeeping of Keras's base class that user code may set and that not every config returns.
_FLAGS = (
    "activity_regularizer",
    "autocast",
    "_supports_masking",
    "_convert_input_args",
    "_allow_non_tensor_positional_args",
)


@dataclass(frozen=True, slots=True)
class Identities:
    """Canonical path of each walked object on either side: two references are alike if their paths are."""

    live: Mapping[int, str] = field(default_factory=dict)
    rebuilt: Mapping[int, str] = field(default_factory=dict)


def compare(live: slots.Walk, rebuilt: slots.Walk) -> None:
    """Raises `ModelError` at the first attribute that differs between a model and its rebuild.

    Numbers, strings, arrays, functions, configured objects such as regularizers, plain objects and containers
    of them are compared; so is the class of every object. A value that is set by hand, or drawn at random in a
    constructor, and that `get_config` does not return would otherwise be lost without a word.
    """
    identities = Identities(live.object_paths(), rebuilt.object_paths())
    for mine, theirs in zip(live.objects, rebuilt.objects, strict=True):
        compare_objects(mine.path, mine.value, theirs.value, identities)
        _compare_constants(mine.path, mine.value, theirs.value)
    for old, new in zip(live.by_variable(), rebuilt.by_variable(), strict=True):
        if type(old[0].variable) is not type(new[0].variable):
            raise ModelError(
                "a variable of a class of its own would come back as a plain one",
                path=old[0].path,
                expected=type(old[0].variable).__name__,
                found=type(new[0].variable).__name__,
                remedy="let the layer make it in its constructor or in build",
            )
        for name in ("regularizer", "constraint"):
            before, after = getattr(old[0].variable, name), getattr(new[0].variable, name)
            compare_objects(slots.join(old[0].path, f"@{name}"), before, after, identities)


def _compare_constants(path: str, mine: Any, theirs: Any) -> None:
    """Raises `ModelError` if a class that makes its graph itself leaves another array in it.

    The file has no argument of such a call. What was computed from a weight would be computed from the new one.
    """
    graphs = keras_api.graph_of(mine), keras_api.graph_of(theirs)
    if graphs[0] is None or graphs[1] is None or type(mine).__module__.partition(".")[0] == "keras":
        return
    for old, new in zip(graphs[0].nodes, graphs[1].nodes, strict=False):
        before, after = (keras_api.tree.flatten([node.arguments.args, node.arguments.kwargs]) for node in (old, new))
        for one, other in zip(before, after, strict=False):
            numbers = arrays.array_kind(one) is not None and not arrays.is_backend_variable(one)
            if numbers and not equal(one, other, Identities()):
                raise ModelError(
                    "a constant in the graph that the class makes would not come back",
                    path=slots.join(path, f"@node/{slots.escape(old.operation.name)}"),
                    expected=f"the values of this {type(one).__name__} of shape {tuple(np.shape(one))}",
                    found="other ones after a rebuild",
                    remedy="pass a variable itself to the op (layer.kernel), and nothing that was computed from it"
                    " while the graph was made; return other arrays from get_config",
                )


def compare_objects(path: str, mine: Any, theirs: Any, identities: Identities | None = None) -> None:
    """Raises `ModelError` if two objects differ in class or in an attribute."""
    if type(mine) is not type(theirs):
        raise ModelError(
            "the rebuilt object is of another class",
            path=path or "the model",
            expected=f"{type(mine).__module__}.{type(mine).__qualname__}",
            found=f"{type(theirs).__module__}.{type(theirs).__qualname__}",
            remedy="register the class under a name of its own",
        )
    if not hasattr(mine, "__dict__"):
        return
    before, after = attributes_to_compare(mine), attributes_to_compare(theirs)
    if "history" in keras_api.bookkeeping_names(mine):
        after.pop("history", None)  # `fit` has put its own where the constructor has something else
    for name in sorted(before.keys() | after.keys()):
        # An attribute that is not there and one that is `None` read alike: caches begin so.
        old, new = before.get(name), after.get(name)
        if slots.is_variable(old) or slots.is_variable(new):
            continue  # the manifest tells of variables; those of `compile`'s metrics are not kept
        if not equal(old, new, identities or Identities()):
            raise ModelError(
                "an attribute would not come back",
                path=slots.join(path, name),
                expected=_short(old),
                found=f"{_short(new)} after a rebuild from the config",
                remedy=_remedy(name, old, new, type(mine)),
            )


def _remedy(name: str, old: Any, new: Any, cls: type) -> str:
    if _is_keras_function(old) and _is_keras_function(new):
        return f"pass keras.activations.{new.__name__}, or a registered function that calls keras.ops.{old.__name__}"
    if isinstance(old, np.floating) and type(new) is float:
        return f"make a Python float of it, float({name.lstrip('_')}), or return it from get_config as it is"
    if isinstance(old, Iterator):
        return f"keep what {name!r} is made from, and the position in a weight, and make it anew where it is used"
    if new is None and arrays.array_kind(old) == "tensor":
        return f"set {name!r} to None before saving if it is only a cache, or make it a weight"
    shown = name.lstrip("_")
    if cls.__module__.partition(".")[0] == "keras":
        return (
            f"Keras's {cls.__name__} does not keep {shown!r}: leave it as it was made, or subclass it with a get_config"
        )
    return f"return {shown!r} from get_config of {cls.__name__}, or make it a weight"


def attributes_to_compare(value: Any) -> dict[str, Any]:
    """The attributes of an object that its outputs may depend on.

    No code reads what is set by hand on a functional or sequential model of Keras's own class, unless it
    takes the place of a method; what holds a variable or layer there comes back, so all that is beside it has to.
    """
    attributes = {
        name: item
        for name, item in slots.own_attributes(value).items()
        if not (name in _TRANSIENT and _is_of_keras(value, _TRANSIENT[name]))
    }
    if type(value) in (keras_api.Functional, keras_api.Sequential):
        attributes = {
            name: item
            for name, item in attributes.items()
            if hasattr(type(value), name) or any(True for _ in slots.leaves(item))
        }
    if isinstance(value, keras_api.Metric):
        attributes = {name: item for name, item in attributes.items() if name.lstrip("_") != "built"}
    if _is_of_keras(value, "get_vocabulary"):
        # A vocabulary that was set later stands in a table of the backend and not in the config.
        attributes["vocabulary"] = value.get_vocabulary()
    if isinstance(value, keras_api.keras.layers.Discretization):
        attributes.pop("summary", None)  # what `adapt` has seen so far; it begins with an empty one
    if isinstance(value, (keras_api.keras.layers.Dense, keras_api.keras.layers.EinsumDense)):
        for name in _CALIBRATED:
            if attributes.get(name) is False:
                del attributes[name]
    if isinstance(value, keras_api.Layer):
        attributes |= {name: vars(value)[name] for name in _FLAGS if name in vars(value)}
    return attributes


def _is_of_keras(value: Any, method: str) -> bool:
    """Whether a class of Keras or KerasHub gives the object this method; user code may use the same names."""
    given_by = [cls.__module__.partition(".")[0] for cls in type(value).__mro__ if method in vars(cls)]
    return bool({"keras", "keras_hub"} & set(given_by))


def equal(old: Any, new: Any, identities: Identities) -> bool:
    """Whether two values are the same: numbers and arrays bit for bit, layers by their place in the model."""
    try:
        return _equal(old, new, identities, frozenset())
    except RecursionError:
        return False  # a value that nests too deep to be compared is not known to come back


def _equal(old: Any, new: Any, identities: Identities, above: frozenset[tuple[int, int]]) -> bool:
    old, new = _plainly(old), _plainly(new)
    if old is new or (id(old), id(new)) in above:
        return True
    if (
        id(old) in identities.live
        or slots.classify(type(old)) in ("variable", "object")
        or slots.classify(type(new)) in ("variable", "object")
    ):
        return _alike(old, new, identities)
    if arrays.array_kind(old) is not None or arrays.array_kind(new) is not None:
        items = _of_objects(old, new)  # strings, or anything: their bytes are addresses
        return _equal_arrays(old, new) if items is None else _equal(*items, identities, above)
    above |= {(id(old), id(new))}

    def same(one: Any, other: Any) -> bool:
        return _equal(one, other, identities, above)

    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return list(old) == list(new) and all(same(old[key], new[key]) for key in old)
    if isinstance(old, (list, tuple, deque)) and isinstance(new, (list, tuple, deque)):
        # Keras's configs make a list of a tuple of layers; the places in it are the same.
        layers = any(slots.classify(type(item)) == "object" for item in old)
        same_kind = layers or isinstance(old, tuple) == isinstance(new, tuple)
        return same_kind and len(old) == len(new) and all(map(same, old, new))
    if _is_keras_function(old) and _is_keras_function(new):
        return _compute_the_same(old, new)
    if type(old) is not type(new):
        return False
    if isinstance(old, (set, frozenset)):
        return _equal_sets(old, new, identities)
    if isinstance(old, int):
        return bool(_stands_for(old, identities.live) == _stands_for(new, identities.rebuilt))
    if isinstance(old, weakref.ref):
        return same(old(), new())
    if isinstance(old, types.MethodType):
        return old.__func__ is new.__func__ and same(old.__self__, new.__self__)
    if isinstance(old, functools.partial):
        return same(old.func, new.func) and same(old.args, new.args) and same(old.keywords, new.keywords)
    if isinstance(old, types.FunctionType):
        return _equal_functions(old, new, identities, above)
    if hasattr(old, "get_config") and not isinstance(old, type):
        return _config_text(old) == _config_text(new) and (_config_tells_all(old) or same(vars(old), vars(new)))
    if slots.classify(type(old)) == "plain":
        return same(slots.attributes_of(old), slots.attributes_of(new))
    return _equal_leaves(old, new)


def _plainly(value: Any) -> Any:
    """A value without the wrappers that change nothing; what only tracing left behind counts as nothing."""
    value = arrays.unwrapped(value)
    if isinstance(value, keras_api.KerasTensor) or arrays.is_symbolic(value):
        return None
    if type(value).__name__ == "TensorShape" and type(value).__module__.startswith("tensorflow."):
        return list(value)  # a weight's shape where the config brings back a list
    value = arrays.as_number(value)  # Keras writes a NumPy integer into a config as the Python one that it is
    return getattr(value, "python_function", value)  # tf.function


def _alike(old: Any, new: Any, identities: Identities) -> bool:
    """Whether two layers stand in the same place of their models; of variables the manifest tells."""
    if slots.is_variable(old) or slots.is_variable(new):
        return slots.is_variable(old) and slots.is_variable(new)
    return identities.live.get(id(old), "") == identities.rebuilt.get(id(new), "")


def _is_keras_function(value: Any) -> bool:
    """Whether this is one of Keras's own functions, and not a lambda that Keras has made of its code."""
    named = isinstance(value, types.FunctionType) and "<" not in value.__qualname__
    return named and (value.__module__ or "").startswith("keras.")


def _compute_the_same(old: types.FunctionType, new: types.FunctionType) -> bool:
    """Whether two functions of Keras are an operation and the activation of its name, with the same defaults.

    An activation given as `keras.ops.silu` comes back from its config as `keras.activations.silu`; but
    `keras.ops.gelu` approximates and `keras.activations.gelu` does not, and of losses the two differ in the mean.
    """
    modules = {function.__module__ for function in (old, new)}
    pair = any(".ops." in module for module in modules) and any(".activations." in module for module in modules)
    before, after = (inspect.signature(function).parameters for function in (old, new))
    same_defaults = all(before[name].default == after[name].default for name in before.keys() & after.keys())
    return old.__name__ == new.__name__ and pair and same_defaults


def _equal_sets(old: Any, new: Any, identities: Identities) -> bool:
    mine, theirs = (
        [item for item in one if slots.classify(type(item)) not in ("variable", "object")] for one in (old, new)
    )
    return len(old) == len(new) and {_stands_for(item, identities.live) for item in mine} == {
        _stands_for(item, identities.rebuilt) for item in theirs
    }


def _stands_for(value: Any, paths: Mapping[int, str]) -> Any:
    """A value, or the place of the object whose `id` it is: KerasHub's models note the ids of their layers."""
    return ("object", paths[value]) if type(value) is int and value in paths else value


def _equal_leaves(old: Any, new: Any) -> bool:
    """Values of a type that tiedio knows nothing of: by their own equality, or by what pickle makes of them."""
    if arrays.is_table(old):
        return arrays.table_content(old) == arrays.table_content(new)
    own_equality: Any = type(old).__eq__
    if own_equality is not object.__eq__:
        try:
            return bool(old == new) or bool(old != old and new != new)
        except Exception:  # noqa: BLE001 - an equality that gives arrays, or that only works inside a graph
            return False
    if isinstance(old, types.GeneratorType):
        return _are_at_their_start(old, new)
    try:
        return pickle.dumps(old) == pickle.dumps(new)
    except Exception:  # noqa: BLE001 - locks, data sets and the like have no value that could be lost
        return not isinstance(old, _STATEFUL)


def _are_at_their_start(old: types.GeneratorType[Any, Any, Any], new: types.GeneratorType[Any, Any, Any]) -> bool:
    """Whether two generators are of one function and have yielded nothing yet."""
    begun = any(inspect.getgeneratorstate(one) != inspect.GEN_CREATED for one in (old, new))
    return not begun and old.gi_code.co_code == new.gi_code.co_code


def _equal_functions(old: Any, new: Any, identities: Identities, above: frozenset[tuple[int, int]]) -> bool:
    """Two makings of one function: the same code, defaults and captured values."""
    captured = [[_contents(cell) for cell in function.__closure__ or ()] for function in (old, new)]
    return (
        old.__code__.co_code == new.__code__.co_code
        and old.__code__.co_names == new.__code__.co_names
        and _constants(old.__code__) == _constants(new.__code__)
        and _equal(old.__defaults__, new.__defaults__, identities, above)
        and _equal(old.__kwdefaults__, new.__kwdefaults__, identities, above)
        and _equal(captured[0], captured[1], identities, above)
    )


def _constants(code: types.CodeType) -> list[Any]:
    return [item.co_code if isinstance(item, types.CodeType) else repr(item) for item in code.co_consts]


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that is not filled yet
        return slots.MISSING


def _config_text(value: Any) -> str:
    try:
        return repr(keras_api.keras.saving.serialize_keras_object(value))
    except (NotImplementedError, TypeError, ValueError):
        return repr(type(value))


def _config_tells_all(value: Any) -> bool:
    """Whether an object's config tells what it computes: Keras's own configs do."""
    if isinstance(value, (keras_api.Loss, keras_api.Metric)):
        return False  # Huber's config leaves its delta out, and others the like
    return type(value).__module__.partition(".")[0] == "keras"


def _equal_arrays(old: Any, new: Any) -> bool:
    if arrays.array_kind(old) is None or arrays.array_kind(new) is None:
        return False
    mine, theirs = np.asarray(old), np.asarray(new)
    return mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()


def _of_objects(old: Any, new: Any) -> tuple[list[Any], list[Any]] | None:
    """Shape and items of two arrays of strings and the like, each as a list; `None` for any other arrays.

    What else such an array holds, variables first of all, stands in no slot: its address differs, so it is refused.
    """
    if arrays.array_kind(old) is None or arrays.array_kind(new) is None:
        return None
    mine, theirs = np.asarray(old), np.asarray(new)
    if not (mine.dtype.hasobject and theirs.dtype.hasobject):
        return None
    first, second = mine.ravel().tolist(), theirs.ravel().tolist()
    if not all(isinstance(item, (str, bytes, int, float, type(None))) for item in (*first, *second)):
        return None
    return [*mine.shape, *first], [*theirs.shape, *second]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
