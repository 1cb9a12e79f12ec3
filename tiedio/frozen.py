"""What looks like a tie and is none: a constant in a graph that was computed from a variable, once."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiedio import arrays, keras_api, slots, values
from tiedio.errors import TiedioError
from tiedio.roots import as_roots

HOW = ("equal", "transposed", "reshaped")

_WHAT = "a constant in the graph has the value of a variable, and will not train with it"
_LAYER = "compute with it in the call of a custom layer that holds a reference to its layer"
_REMEDIES = {
    "equal": f"pass the variable itself (layer.kernel), which stays alive in the graph, or {_LAYER}",
    "transposed": "pass the variable itself to an op of the graph that takes it as it is (ops.einsum transposes on the"
    f" way), {_LAYER}, or let a layer's weight be a view of it: tiedio.tie(target, source, view=tiedio.transpose())",
    "reshaped": f"pass the variable itself to an op of the graph that takes it as it is, or {_LAYER}",
}
_MOST_AXES = 6
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FrozenTie:
    """A constant in a functional graph that has the value of a variable of the model: most likely a tie that failed.

    Args:
        place: path of the argument that the constant stands in.
        variable: path of the variable's canonical slot.
        how: `"equal"`, `"transposed"` (the axes permuted) or `"reshaped"` (the same elements in the same order).
        remedy: what to write instead.

    Example:
        >>> from tiedio import FrozenTie
        >>> print(FrozenTie("@node/add/0/args/1", "dense/bias", "equal", "pass the variable itself"))
        @node/add/0/args/1: a constant in the graph has the value of a variable, and will not train with it; expected
        'dense/bias' itself, found its value, equal. Remedy: pass the variable itself.
    """

    place: str
    variable: str
    how: str
    remedy: str

    def __str__(self) -> str:
        return _text([self])


def find_frozen_ties(model: Any) -> list[FrozenTie]:
    """Finds constants in functional graphs that look like ties and are none: they will never train.

    A variable that stands itself as an argument of an op stays alive in the graph. What an op makes of it before,
    as in `ops.matmul(x, ops.transpose(embedding.embeddings))`, is a number of that moment. Such constants are found by
    their value: each that is bit for bit a variable of the model, its transpose or a reshape of it. Ask before
    training: when the variable has moved on, the values differ and nothing can be found.

    Args:
        model: a `keras.Model`, or a dict `{name: model}` whose variables and graphs are looked at together.

    Returns:
        One `FrozenTie` for each argument. Left out are constants that tell nothing, because they have one element or
        all elements are equal, and variables that hold no floating point numbers.

    Raises:
        ModelError: if `model` is no model.

    Example:
        >>> import keras, tiedio
        >>> tokens = keras.Input((5,), dtype="int32")
        >>> embedding = keras.layers.Embedding(7, 3, name="embedding")
        >>> hidden = embedding(tokens)
        >>> model = keras.Model(tokens, keras.ops.matmul(hidden, keras.ops.transpose(embedding.embeddings)))
        >>> [(found.place, found.variable, found.how) for found in tiedio.find_frozen_ties(model)]
        [('@node/matmul/0/args/1', 'embedding/embeddings', 'transposed')]
    """
    return _find(slots.walk(as_roots(model)))


def warn_of_frozen_ties(walk: slots.Walk, stacklevel: int) -> None:
    """Says once, as a `UserWarning`, which constants of a walk look like ties."""
    found = _find(walk)
    if found:
        warnings.warn(_text(found), UserWarning, stacklevel=stacklevel + 1)


def _text(found: Sequence[FrozenTie]) -> str:
    def listed(texts: list[str]) -> str:
        more = [f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
        return ", ".join([*texts[:_SHOWN], *more])

    variables = list(dict.fromkeys(f"'{one.variable}'" for one in found))
    return str(
        TiedioError(
            _WHAT,
            path=listed([one.place for one in found]),
            expected=f"{listed(variables)} itself",
            found=f"its value, {listed(list(dict.fromkeys(one.how for one in found)))}",
            remedy="; ".join(dict.fromkeys(one.remedy for one in found)),
        )
    )


def _find(walk: slots.Walk) -> list[FrozenTie]:
    variables = [(group[0].path, group[0].variable) for group in walk.by_variable()]
    known: dict[int, tuple[str, str] | None] = {}
    found = []
    for place, constant in _constants(walk):
        if id(constant) not in known:
            known[id(constant)] = _source_of(values.array_of(constant), variables)
        source = known[id(constant)]
        if source is not None:
            variable, how = source
            found.append(FrozenTie(place, variable, how, _REMEDIES[how]))
    return found


def _constants(walk: slots.Walk) -> Iterator[tuple[str, Any]]:
    """Arrays and tensors that are arguments in a graph, each with its place; of a call in several graphs the first."""
    seen: set[int] = set()
    for found in walk.objects:
        graph = keras_api.graph_of(found.value)
        calls: dict[int, int] = {}
        for node in graph.nodes if graph is not None else ():
            calls[id(node.operation)] = call = calls.get(id(node.operation), -1) + 1
            if id(node) in seen:
                continue
            seen.add(id(node))
            where = slots.join(found.path, f"@node/{slots.escape(node.operation.name)}/{call}")
            yield from _arrays(f"{where}/args", node.arguments.args)
            yield from _arrays(f"{where}/kwargs", node.arguments.kwargs)


def _arrays(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    stack = [(place, value)]
    while stack:
        where, item = stack.pop()
        item = arrays.unwrapped(item)
        if isinstance(item, (tuple, list)):
            stack.extend((f"{where}/{i}", part) for i, part in reversed(list(enumerate(item))))
        elif isinstance(item, Mapping):
            stack.extend((f"{where}/{slots.escape(str(key))}", part) for key, part in reversed(list(item.items())))
        elif not slots.is_variable(item) and not arrays.is_backend_variable(item) and _has_values(item):
            yield where, item


def _has_values(item: Any) -> bool:
    """Whether this is an array or tensor of numbers that are there: neither symbolic nor sparse nor ragged."""
    return arrays.array_kind(item) in ("numpy", "tensor") and hasattr(item, "ndim") and not arrays.is_symbolic(item)


def _source_of(constant: np.ndarray[Any, Any], variables: Sequence[tuple[str, Any]]) -> tuple[str, str] | None:
    """The variable whose value a constant has, and how; of several the one that is most alike."""
    if constant.size < 2 or "float" not in str(constant.dtype):
        return None
    bits = _bits(constant)
    if bool(np.all(bits == bits.flat[0])):
        return None
    found = []
    for path, variable in variables:
        alike = keras_api.storage_dtype(variable) == str(constant.dtype)
        if alike and int(np.prod(tuple(variable.shape), dtype=np.int64)) == constant.size:
            how = _relation(bits, _bits(values.array_of(variable)))
            if how is not None:
                found.append((path, how))
    return min(found, key=lambda one: HOW.index(one[1]), default=None)


def _bits(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def _relation(constant: np.ndarray[Any, Any], variable: np.ndarray[Any, Any]) -> str | None:
    # However the axes are turned, the first element stays first and the last stays last.
    if constant.flat[0] != variable.flat[0] or constant.flat[-1] != variable.flat[-1]:
        return None
    if np.array_equal(constant, variable):
        return "equal"
    if constant.ndim == variable.ndim <= _MOST_AXES and sorted(constant.shape) == sorted(variable.shape):
        for axes in itertools.permutations(range(variable.ndim)):
            turned = variable.transpose(axes)
            if turned.shape == constant.shape and np.array_equal(turned, constant):
                return "transposed"
    return "reshaped" if np.array_equal(constant.ravel(), variable.ravel()) else None
