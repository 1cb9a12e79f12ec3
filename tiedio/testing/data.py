"""Makes inputs and targets for a model that comes with none, from what the model says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

BATCH = 2
LENGTH = 3
"""The size of an axis that the model leaves open, beside the batch."""


@dataclass(frozen=True)
class Arguments:
    """The arguments of one call, for a model that takes more than one.

    Args:
        args: the positional arguments.
        kwargs: the keyword arguments.

    Example:
        >>> Arguments(("question", "answer")).args
        ('question', 'answer')
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def make_inputs(model: Any) -> Any:
    """Inputs that a model can be called on.

    Args:
        model: a built `keras.Model`.

    Returns:
        One argument, or `Arguments`: arrays of shape (2, ...), where an open axis has 3 entries, of the dtypes that
        a functional model's inputs have; `None` if the model does not say what it takes.

    Example:
        >>> import keras
        >>> from tiedio.testing.data import make_inputs
        >>> model = keras.Sequential([keras.Input((None, 5)), keras.layers.Dense(1)])
        >>> make_inputs(model).shape
        (2, 3, 5)
    """
    rng = np.random.default_rng(0)
    try:
        specs = model.input
    except (AttributeError, ValueError):
        specs = None
    if specs is not None:
        return keras.tree.map_structure(lambda spec: _array(rng, spec.shape, spec.dtype), specs)
    shapes = model.get_build_config() or {}
    if shapes.get("input_shape") is not None:
        return _arrays(rng, shapes["input_shape"])
    named = shapes.get("shapes_dict", {})
    if not named:
        return None
    return Arguments(kwargs={name.removesuffix("_shape"): _arrays(rng, shape) for name, shape in named.items()})


def _arrays(rng: np.random.Generator, shape: Any) -> Any:
    """Arrays in the structure of a shape, or of shapes in lists, tuples and dicts."""
    if isinstance(shape, Mapping):
        return {key: _arrays(rng, one) for key, one in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return _array(rng, shape, "float32")
    return type(shape)(_arrays(rng, one) for one in shape)


def _array(rng: np.random.Generator, shape: Any, dtype: str) -> Any:
    sizes = tuple((BATCH if axis == 0 else LENGTH) if size is None else size for axis, size in enumerate(shape))
    if dtype == "string":
        return np.full(sizes, "a")
    # Below 1, so that a layer that takes it for an index, by its dtype or by a cast, finds something there.
    if dtype == "bool" or "int" in dtype:
        return np.zeros(sizes, dtype)
    return rng.uniform(0, 1, sizes).astype("float32" if dtype == "bfloat16" else dtype)


def made_targets(outputs: Any) -> Iterator[Any]:
    """Targets that a loss might take, the likeliest first.

    Args:
        outputs: what the model returns.

    Returns:
        An iterator over targets: numbers shaped as the outputs, indexes of classes, none at all.

    Example:
        >>> import numpy as np
        >>> from tiedio.testing.data import made_targets
        >>> [getattr(one, "shape", None) for one in made_targets(np.zeros((2, 5)))]
        [(2, 5), (2,), None]
    """
    rng = np.random.default_rng(1)
    shapes = keras.tree.map_structure(lambda one: np.zeros(tuple(one.shape), bool), outputs)
    yield keras.tree.map_structure(lambda one: rng.uniform(0, 1, one.shape).astype("float32"), shapes)
    yield keras.tree.map_structure(lambda one: np.zeros(one.shape[:-1], "int32"), shapes)
    yield None
