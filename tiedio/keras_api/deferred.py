"""Rebuilding without values: a variable gets its storage when its value is there, or when somebody asks for it.

Read in Keras 3.15.1 and TensorFlow 2.21: `Variable._initialize_with_initializer` is what a variable with an
initializer calls last, and whatever reads or assigns a value goes through `_value`. A `tf.Variable` costs more than
all the rest of a small layer, most of it for a kernel that TensorFlow keeps by the variable's name; one name for all
makes it four times cheaper, and what users see as the name is set afterwards.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import MethodType
from typing import Any

from tiedio.keras_api.classes import RandomInitializer, backend, keras
from tiedio.keras_api.metering import active_meter
from tiedio.keras_api.patching import Patch

# TensorFlow's optimizer asks its own variable for the name (weight decay), which is the path that it was made in;
# `BaseResourceVariable.name` reads this attribute (TensorFlow 2.21).
HANDLE_NAME = "_handle_name"

Zeros = Callable[[Any, str], Any]

_MARK = "_tiedio_deferral"
_ONE_NAME = "Variable"
_making = threading.RLock()
# They give the same whenever they run, so they run when somebody asks: an identity of 60,000 takes 14 GiB.
_CONSTANTS = (keras.initializers.Ones, keras.initializers.Constant, keras.initializers.Identity)


@dataclass(slots=True)
class Deferral:
    """What storage that is made later must be like: the flag and the device of the moment, and its value till then.

    Copies of a variable's attributes share it, and with it the `storage`, once that is made.
    """

    trainable: bool
    device: str
    zeros: Zeros
    storage: Any = None


def deferral_of(variable: Any) -> Deferral | None:
    """What the storage of `variable` will be like, if it has none yet."""
    deferral: Deferral | None = vars(variable).get(_MARK)
    if deferral is None or "_value" in vars(variable):  # some code may have set it
        return None
    if deferral.storage is not None:
        _adopt(variable, deferral.storage)
        return None
    return deferral


def give_storage(variable: Any, value: Any = None) -> bool:
    """Makes the storage of a variable that has none yet.

    Args:
        variable: a `keras.Variable`.
        value: its first value, a tensor of the backend, which the storage may share; default: zeros.

    Returns:
        Whether it was made; `False` if the variable has storage already.
    """
    with _making:
        deferral = deferral_of(variable)
        if deferral is None:
            return False
        deferral.storage = _new_storage(variable, deferral, value)
        _adopt(variable, deferral.storage)
    return True


def _adopt(variable: Any, storage: Any) -> None:
    variable._value, variable._initializer = storage, None
    vars(variable).pop(_MARK)  # what copied its attributes before has a mark of its own


def _new_storage(variable: Any, deferral: Deferral, value: Any) -> Any:
    import tensorflow as tf

    with tf.init_scope(), tf.device(deferral.device) if deferral.device else nullcontext():
        if value is None:
            value = deferral.zeros(tuple(variable._shape), variable._dtype)
        facts = {
            "trainable": deferral.trainable,
            "aggregation": variable._map_aggregation(variable.aggregation),
            "synchronization": variable._map_synchronization(variable.synchronization),
        }
        if tf.executing_eagerly() and not _creators():
            return _resource(value, variable.path, facts)
        made = tf.Variable(value, dtype=variable._dtype, name=variable.name, **facts)
    if hasattr(made, HANDLE_NAME):
        setattr(made, HANDLE_NAME, f"{variable.path}:0")
    return made


def _creators() -> list[Any]:
    """What `tf.variable_creator_scope` has put in the way of making a variable."""
    from tensorflow.python.framework import ops

    return list(ops.get_default_graph()._variable_creator_stack)


def _resource(value: Any, path: str, facts: Mapping[str, Any]) -> Any:
    """What `tf.Variable(value, …)` makes in eager mode, in a third of the time.

    This is `ResourceVariable._init_from_args` of TensorFlow 2.21 without its scopes and conversions;
    tests/test_keras_api_deferred.py compares what both make.
    """
    from tensorflow.python.ops import resource_variable_ops as resources

    handle = resources._variable_handle_from_shape_and_dtype(value.shape, value.dtype, None, _ONE_NAME, False)
    resources.gen_resource_variable_ops.assign_variable_op(handle, value)
    made = resources.ResourceVariable.__new__(resources.ResourceVariable)
    unique = f"{path}_{resources.ops.uid()}"
    resources.BaseResourceVariable.__init__(
        made, shape=value.shape, dtype=value.dtype, handle=handle, handle_name=path, unique_id=unique, name=path,
        in_graph_mode=False, **facts,
    )  # fmt: skip
    handle._parent_trackable, handle._name, handle._unique_id = weakref.ref(made), f"{path}:0", unique
    return made


def give_storage_to_all(waiting: Iterable[weakref.ref[Any]]) -> None:
    """Makes the storage of those variables of a `without_values` block that are still there and have none."""
    for reference in waiting:
        variable = reference()
        if variable is not None:
            give_storage(variable)


class _Asked:
    """The class's `_value`, which Python finds only where the variable itself has none."""

    def __get__(self, variable: Any, owner: type) -> Any:
        if variable is None:
            return self
        # Also while a shape is inferred: a function of TensorFlow's that is traced then is used for real values later.
        give_storage(variable)
        try:
            return vars(variable)["_value"]
        except KeyError:
            raise AttributeError("_value") from None


class _Active(threading.local):
    zeros: Zeros | None = None
    waiting: list[weakref.ref[Any]] | None = None


_active = _Active()
_original: Any = backend.Variable._initialize_with_initializer


def _initialize_lazily(self: Any, initializer: Any) -> None:
    # Values come from the file: drawing random numbers or writing zeros would be thrown away. Any other
    # initializer runs, since layers may read what it gives (masks, scales) while they build.
    value = _value_of(initializer)
    waits = value is not None and _can_wait(self)
    meter = active_meter()
    if meter is not None:
        meter.variable(tuple(self._shape), self._dtype, waits)
    if value is None:
        MethodType(_original, self)(initializer)
    elif waits:
        vars(self).pop("_value", None)
        setattr(self, _MARK, Deferral(self._trainable, _device(), value))
        assert _active.waiting is not None
        _active.waiting.append(weakref.ref(self))
    else:
        self._initialize(value(tuple(self._shape), self._dtype))


def _value_of(initializer: Any) -> Zeros | None:
    """What a variable with this initializer has until its value is there; `None`: what the initializer gives now."""
    if _active.zeros is None:
        return None
    if isinstance(initializer, (RandomInitializer, keras.initializers.Zeros)):
        return _active.zeros
    # A list or an array in it may be changed before somebody asks.
    fixed = type(initializer) in _CONSTANTS and not hasattr(getattr(initializer, "value", 0.0), "__len__")
    return functools.partial(_constant_of, initializer) if fixed else None


def _constant_of(initializer: Any, shape: Any, dtype: str) -> Any:
    """What an initializer gives that always gives the same: run only when somebody asks."""
    return keras.ops.convert_to_tensor(initializer(shape, dtype=dtype))


def _can_wait(variable: Any) -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    # A strategy makes variables of its own, and a class's own `_initialize` may do anything.
    return type(variable)._initialize is backend.Variable._initialize and not tf.distribute.has_strategy()


def is_tracing() -> bool:
    """Whether a function of TensorFlow is being traced: what is computed now has no value."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


def _device() -> str:
    """The device of the innermost `tf.device` block, or nothing; there is no public way to ask (TensorFlow 2.21)."""
    from tensorflow.python.eager import context

    return str(context.context().device_name or "")


_ASKED = _Asked()
_patch = Patch((backend.Variable, "_initialize_with_initializer", _initialize_lazily))


@contextmanager
def without_values(zeros: Zeros) -> Iterator[list[weakref.ref[Any]]]:
    """Inside the block variables with a random or zero initializer, of this thread, get no values.

    On TensorFlow they get no storage either, until `give_storage` or until somebody asks for it: then, as on other
    backends at once, `zeros(shape, dtype)` is what they hold. Other threads keep Keras's own behavior.

    Yields:
        References to the variables that were made without storage, for `give_storage_to_all`.
    """
    backend.Variable._value = _ASKED  # stays: who outlives the block may still be without storage
    before = (_active.zeros, _active.waiting)
    with _patch.block():
        try:
            _active.zeros, _active.waiting = zeros, []
            yield _active.waiting
        finally:
            _active.zeros, _active.waiting = before
