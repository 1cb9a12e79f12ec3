"""Makes inputs and targets for a model that comes with none, from what the model says of itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


def call(model: Any, inputs: Any, *, training: bool) -> Any:
    """Calls a model, or each of a dict of models.

    Args:
        model: a model, or models by name.
        inputs: one argument or `Arguments`; by name for a dict of models.
        training: whether it is called as it is in training.

    Returns:
        What it returns; by name for a dict of models.

    Example:
        >>> import keras, numpy as np
        >>> call(keras.layers.Flatten(), np.zeros((2, 3, 4)), training=False).shape
        TensorShape([2, 12])
    """
    if isinstance(model, dict):
        return {name: call(one, inputs[name], training=training) for name, one in sorted(model.items())}
    given = inputs if isinstance(inputs, Arguments) else Arguments((inputs,))
    return model(*given.args, **given.kwargs, training=training)


def step(model: Any, inputs: Any, targets: Any) -> Any:
    """Trains a model, or each of a dict of models that has targets, for one step.

    Args:
        model: a compiled model, or models by name.
        inputs: one argument or `Arguments`; by name for a dict of models.
        targets: what the losses take; by name for a dict of models.

    Returns:
        What `train_on_batch` returns; by name for a dict of models.

    Raises:
        ValueError: if a model is not compiled.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "linear", False, "zeros")])
        >>> model.compile("sgd", "mse")
        >>> float(step(model, np.ones((1, 2)), np.ones((1, 1))))
        1.0
    """
    if isinstance(model, dict):
        return {name: step(model[name], inputs[name], target) for name, target in sorted(targets.items())}
    if not model.compiled:
        raise ValueError(f"{model.name}: compile the model, or pass training=False")
    model.reset_metrics()  # the loss that is returned is a running mean
    return model.train_on_batch(inputs.args if isinstance(inputs, Arguments) else inputs, targets)


@contextmanager
def traced_anew(model: Any) -> Iterator[None]:
    """Lets a model, or a dict of models, trace its step anew, and gives back the step that it had.

    A step that TensorFlow has traced for batches of another size rounds otherwise than one that is new.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with traced_anew(model):
        ...     print(model.train_function)
        None
    """
    held = [(one, one.train_function) for one in (model.values() if isinstance(model, dict) else [model])]
    try:
        for one, _ in held:
            one.train_function = None
        yield
    finally:
        for one, function in held:
            one.train_function = function


def usable_inputs(model: Any) -> Any:
    """Inputs made from what the model says of itself, on which it has been called.

    Args:
        model: a built model, or models by name.

    Returns:
        Inputs, by name for a dict of models, or `None`.

    Warns:
        UserWarning: there are none.

    Example:
        >>> import keras
        >>> usable_inputs(keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])).shape
        (2, 5)
    """
    try:
        if isinstance(model, dict):
            inputs = {name: make_inputs(one) for name, one in model.items()}
        else:
            inputs = make_inputs(model)
        found = "the model does not say what it takes"
        if not any(one is None for one in (inputs.values() if isinstance(model, dict) else [inputs])):
            call(model, inputs, training=False)
            return inputs
    except Exception as error:  # noqa: BLE001 - whatever the model says to inputs that were made up
        found = f"{type(error).__name__}: {error}".splitlines()[0]
    text = f"outputs and next step were not compared, since no inputs could be made ({found}); pass inputs="
    warnings.warn(text, stacklevel=4)
    return None


def usable_targets(model: Any, inputs: Any) -> tuple[bool, Any]:
    """Whether a step can be made, and targets for it that the losses of the compiled models take.

    Args:
        model: a built model, or models by name.
        inputs: what it is called on, by name for a dict of models.

    Returns:
        Whether there are any, and the targets; by name, without those of models that cannot be trained, for a dict.

    Warns:
        UserWarning: a compiled model has none.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> usable_targets(model, usable_inputs(model))[1].shape
        (2, 1)
    """
    named = model if isinstance(model, dict) else {"": model}
    found: dict[str, Any] = {}
    for name, one in named.items():
        if one.compiled and one.trainable_variables:
            given = inputs[name] if isinstance(model, dict) else inputs
            usable, why = _targets_of(one, given)
            if usable:
                found[name] = usable[0]
            else:
                text = (
                    f"the next step of {one.name!r} was not compared: no targets could be made ({why}); pass targets="
                )
                warnings.warn(text, stacklevel=4)
    return bool(found), found if isinstance(model, dict) else found.get("")


def _targets_of(model: Any, inputs: Any) -> tuple[list[Any], str]:
    """The first targets that the loss takes, in a list, or an empty one and the reason."""
    if isinstance(inputs, Arguments):
        return [], "train_on_batch hands over one argument"
    outputs = call(model, inputs, training=False)
    why = ""
    for targets in made_targets(outputs):
        try:
            model.compute_loss(x=inputs, y=targets, y_pred=outputs)
        except Exception as error:  # noqa: BLE001 - whatever the loss says
            why = why or f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            return [targets], ""
    return [], why
