"""The only module that names `keras.src`: everything tiedio needs of Keras beyond its public API.

Every private name here was read in Keras 3.15.1; `tests/test_keras_api.py` fails when one of them changes.
"""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

from tiedio.errors import BackendError

try:
    import keras
    from keras.src import api_export, backend
    from keras.src.backend.common import global_state
    from keras.src.initializers.random_initializers import RandomInitializer
    from keras.src.layers.convolutional.base_conv import BaseConv
    from keras.src.layers.layer import Layer
    from keras.src.metrics.metric import Metric
    from keras.src.models.functional import Functional, functional_like_constructor
    from keras.src.ops.node import Node
    from keras.src.ops.operation import Operation
    from keras.src.optimizers.base_optimizer import BaseOptimizer
    from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
    from keras.src.saving.keras_saveable import KerasSaveable
    from keras.src.saving.serialization_lib import SafeModeScope
except ImportError as error:
    raise BackendError(
        "Keras or its backend could not be imported",
        found=str(error),
        remedy="install a backend with Keras, for example: pip install 'tiedio[tensorflow]'",
        path="keras",
        expected="Keras with a backend such as TensorFlow",
    ) from error

Variable = keras.Variable
KerasTensor = keras.KerasTensor
Model = keras.Model
Sequential = keras.Sequential
InputLayer = keras.layers.InputLayer
SeedGenerator = keras.random.SeedGenerator
Loss = keras.losses.Loss
LearningRateSchedule = keras.optimizers.schedules.LearningRateSchedule
tree = keras.tree

RAW_SLOTS_SUFFICE = (
    Layer, BaseConv, keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding,
    keras.layers.ReversibleEmbedding,
)  # fmt: skip
"""Classes whose own saving hooks only rename variables or merge LoRA: storing their slots raw loses nothing."""

__all__ = [
    "GLOBAL_SEED_GENERATOR",
    "BaseOptimizer",
    "Functional",
    "KerasSaveable",
    "Layer",
    "Metric",
    "Operation",
    "keras",
]

# Bookkeeping attributes of Keras's base classes. They hold no state of their own: what they list is
# reached through the attributes that user code set, or through `stores` and `graph_of` below.
_OPERATION_NAMES = frozenset(
    {"_lock", "_auto_config", "_auto_config_error_args", "name", "_inbound_nodes", "_outbound_nodes", "_remat_mode"}
)
_LAYER_NAMES = _OPERATION_NAMES | {
    "_allow_non_tensor_positional_args", "_build_shapes_dict", "_call_context_args", "_call_has_context_arg",
    "_call_has_mask_arg", "_call_has_training_arg", "_call_signature", "_called", "_convert_input_args",
    "_dtype_policy", "_input_spec", "_layers", "_loss_ids", "_losses", "_losses_override", "_metrics",
    "_non_trainable_variables", "_parent_path", "_path", "_saved_model_arg_spec", "_saved_model_inputs_spec",
    "_seed_generators", "_supports_masking", "_tracked", "_tracker", "_trainable", "_trainable_variables",
    "activity_regularizer", "autocast", "build", "built", "call_signature_parameters", "quantize", "supports_jit",
}  # fmt: skip
_MODEL_NAMES = _LAYER_NAMES | {
    "_compile_loss", "_compile_metrics", "_compute_loss_has_training_arg", "_distribute_strategy",
    "_initial_epoch", "_jit_compile", "_loss_tracker", "_run_eagerly", "compiled", "loss", "predict_function",
    "steps_per_execution", "test_function", "train_function", "unrolled_steps_per_execution", "_compile_config",
    "_compiled_trainable_state", "_eval_epoch_iterator", "history", "optimizer", "stop_training",
    "stop_evaluating", "stop_predicting",
}  # fmt: skip
_GRAPH_NAMES = _MODEL_NAMES | {
    "_functional", "_inputs", "_inputs_struct", "_nodes", "_nodes_by_depth", "_operations",
    "_operations_by_depth", "_outputs", "_outputs_struct", "output_names",
}  # fmt: skip
_METRIC_NAMES = frozenset({"_dtype", "_dtype_policy", "_metrics", "_tracker", "_variables", "name"})
_OPTIMIZER_NAMES = frozenset(
    {
        "_distribution_strategy", "_lock", "_tracker", "_trainable_variables", "_trainable_variables_indices",
        "_variables", "_exclude_from_weight_decay", "_exclude_from_weight_decay_cache", "name",
    }
)  # fmt: skip
_STORES = {"trainable_variables", "non_trainable_variables", "layers", "metrics", "seed_generators", "variables"}


def bookkeeping_names(owner: Any) -> frozenset[str]:
    """The attribute names of `owner` that hold Keras's own records and not state."""
    if isinstance(owner, (Functional, Sequential)):
        return _GRAPH_NAMES
    if isinstance(owner, Model):
        return _MODEL_NAMES
    if isinstance(owner, Layer):
        return _LAYER_NAMES
    if isinstance(owner, Metric):
        return _METRIC_NAMES
    if isinstance(owner, BaseOptimizer):
        return _OPTIMIZER_NAMES
    return _OPERATION_NAMES


def stores(owner: Any) -> dict[str, list[Any]]:
    """The ordered lists that Keras's tracker keeps for `owner`: store name → list, live and not a copy.

    A `Sequential` reads its layers from a list of its own; the tracker's is a heap of all it ever had.
    """
    tracker = getattr(owner, "_tracker", None)
    if tracker is None:
        return {}
    unread = "layers" if isinstance(owner, Sequential) else None
    return {name: store for name, (_, store) in tracker.config.items() if name in _STORES and name != unread}


def set_store(owner: Any, name: str, values: Sequence[Any]) -> None:
    """Makes the tracker's list `name` of `owner` hold exactly `values`, in this order, in place."""
    tracker = owner._tracker
    tracker.config[name][1][:] = values
    tracker.stored_ids[name] = {id(value) for value in values}


@contextmanager
def unlocked(owner: Any) -> Iterator[None]:
    """Lets `owner`, though built, take new state for the length of the block."""
    tracker = getattr(owner, "_tracker", None)
    if tracker is None or not tracker.locked:
        yield
        return
    tracker.unlock()
    try:
        yield
    finally:
        tracker.lock()


def set_attribute(owner: Any, name: str, value: Any) -> None:
    """Sets an attribute through Keras and its backend, so that every registry follows, built or not."""
    with unlocked(owner):
        try:
            setattr(owner, name, value)
        except dataclasses.FrozenInstanceError:
            object.__setattr__(owner, name, value)


class Graph:
    """The graph of a functional or sequential model: nodes in the order in which the model runs them."""

    def __init__(self, model: Any) -> None:
        by_depth = model._nodes_by_depth
        self.nodes: list[Node] = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
        self.operations: list[Any] = list(model._operations)
        self.inputs: Any = model._inputs_struct
        self.outputs: Any = model._outputs_struct


def graph_of(model: Any) -> Graph | None:
    """The graph of `model`, or `None` when it has none (a layer, a subclassed or an unbuilt model)."""
    if isinstance(model, Functional):
        return Graph(model)
    if isinstance(model, Sequential) and model._functional is not None:
        return Graph(model._functional)
    return None


def sequential_layers(model: Any) -> list[Any]:
    """All layers of a `Sequential` in order, its `InputLayer` and repeated layers included."""
    return list(model._layers)


def inner_graph_names(model: Any) -> list[str | None]:
    """Name, path and parent's path of the functional model that runs a built `Sequential`."""
    inner = model._functional
    return [inner.name, inner.path, inner._parent_path]


def rename_inner_graph(model: Any, name: str, path: str | None, parent_path: str | None) -> None:
    """Gives the functional model inside a `Sequential`, if it is built, other names."""
    if model._functional is not None:
        model._functional.name = name
        set_object_facts(model._functional, path=path, parent_path=parent_path)


def make_sequential(cls: type, name: str, layers: Sequence[Any], batch_shape: Any) -> Any:
    """A `Sequential` of these very layers, repeats included, built for `batch_shape` unless it is `None`."""
    model = cls(name=name)
    for layer in layers:
        model.add(layer, rebuild=False)
    if batch_shape is not None:
        model.build(batch_shape)
    return model


def set_node_arguments(node: Node, args: Any, kwargs: Any) -> None:
    """Gives a node other argument values; its symbolic tensors must stay the same."""
    arguments = node.arguments
    arguments.args, arguments.kwargs = args, kwargs
    arguments._flat_arguments = tree.flatten((args, kwargs))


def constructor_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The parameters of a class's `__init__`, `self` included; Keras's `__new__` hides them from `inspect`."""
    initialize: Any = next(vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base))
    return dict(inspect.signature(initialize).parameters)


def has_functional_constructor(cls: type) -> bool:
    """Whether `cls` is made from `inputs` and `outputs`, as `keras.Model` is."""
    return bool(functional_like_constructor(cls))


def auto_config(owner: Any) -> dict[str, Any] | None:
    """The constructor arguments that Keras noted when `owner` was made, or `None`."""
    noted = vars(owner).get("_auto_config")
    return None if noted is None else dict(noted.config)


def overrides(owner: Any, method: str, *bases: type) -> bool:
    """Whether the class of `owner` has its own `method`, not the one of `bases` (default: Keras's)."""
    own = getattr(type(owner), method, None)
    own = getattr(own, "__func__", own)
    for base in bases or (Sequential, Functional, Model, Layer, Metric, SeedGenerator, Operation):
        inherited = getattr(base, method, None)
        if own is getattr(inherited, "__func__", inherited):
            return False
    return True


def policy_of(layer: Any) -> Any:
    """The config of a layer's dtype policy."""
    return keras.dtype_policies.serialize(layer.dtype_policy)


def rename(value: Any, name: str) -> None:
    """Gives an object, built or not, another name; an input's symbolic tensor follows."""
    value.name = name
    if isinstance(value, InputLayer):
        value.output.name = name


def refresh_names(value: Any) -> None:
    """Lets a functional model's list of output names follow the names of its layers."""
    if isinstance(value, Functional):
        value.output_names = [tensor._keras_history[0].name for tensor in value.outputs]


# --- configs ---------------------------------------------------------------------------------------


get_global = global_state.get_global_attribute
set_global = global_state.set_global_attribute


class _StampAll(dict[int, Any]):
    """Makes Keras stamp `shared_object_id` on every object it serializes, at the first sighting too."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: int) -> dict[str, Any]:
        return {}


@contextmanager
def global_attribute(name: str, value: Any) -> Iterator[None]:
    """Sets one of Keras's thread-local global attributes for the length of the block."""
    before = global_state.get_global_attribute(name)
    global_state.set_global_attribute(name, value)
    try:
        yield
    finally:
        global_state.set_global_attribute(name, before)


def stamped(get: Callable[[], Any]) -> Any:
    """What `get` returns, serialized by Keras, each object in it stamped with its identity."""
    with global_attribute("shared_objects/id_to_config_map", _StampAll()):
        return keras.saving.serialize_keras_object(get())


@contextmanager
def known_objects(objects: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block Keras answers a config stamped with a key of `objects` with that very object."""
    with (
        global_attribute("shared_objects/id_to_obj_map", objects),
        global_attribute("shared_objects/id_to_config_map", None),
    ):
        yield


def deserialize(config: Any, custom_objects: dict[str, Any], safe_mode: bool) -> Any:
    """`keras.saving.deserialize_keras_object` under the caller's custom objects and safe mode."""
    with keras.saving.custom_object_scope(custom_objects), SafeModeScope(safe_mode):
        return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects, safe_mode=safe_mode)


def class_reference(symbol: Any) -> dict[str, Any]:
    """How Keras names a class or function in a config: module, class name, registered name."""
    public = api_export.get_name_from_symbol(symbol)
    if public is not None:
        module, _, name = public.rpartition(".")
        return {"module": module, "class_name": name, "registered_name": None}
    module = symbol.__module__
    return {
        "module": None if module == "__main__" else module,
        "class_name": symbol.__name__,
        "registered_name": keras.saving.get_registered_name(symbol),
    }


def names_a_layer(config: Any) -> bool:
    """Whether a serialized object is a layer or model: something with weights of its own."""
    found = keras.saving.get_registered_object(config.get("registered_name") or "")
    if found is None:
        found = api_export.get_symbol_from_name(f"{config.get('module')}.{config['class_name']}")
    return config.get("build_config") is not None or (isinstance(found, type) and issubclass(found, Layer))


def public_symbol(name: str) -> Any:
    """The object that Keras exports as `name` (such as `keras.layers.Dense`), or `None`."""
    return api_export.get_symbol_from_name(name)


# --- variables -------------------------------------------------------------------------------------


def set_variable_facts(variable: Any, **facts: Any) -> None:
    """Sets what a variable's constructor would take (`name`, `path`, `trainable`, …) on a living variable."""
    for name, value in facts.items():
        setattr(variable, f"_{name}", value)


def raw_value(variable: Any) -> Any:
    """The backend's own variable or array, without autocast."""
    return variable._value


def created_trainable(variable: Any) -> bool:
    """The flag that the backend's variable was made with; it cannot be changed afterwards."""
    own = getattr(raw_value(variable), "trainable", True)
    return own if isinstance(own, bool) else True


def storage_dtype(variable: Any) -> str:
    """The dtype that the variable is stored in, whatever autocast scope is active."""
    return str(keras.backend.standardize_dtype(variable._dtype))


class _Active(threading.local):
    zeros: Callable[[Any, str], Any] | None = None


_active = _Active()
_patch_lock = threading.Lock()
_patch_count = 0
_original: Any = None


def _initialize_lazily(self: Any, initializer: Any) -> None:
    # Values come from the file: drawing random numbers or writing zeros would be thrown away. Any other
    # initializer runs, since layers may read what it gives (masks, scales) while they build.
    if _active.zeros is not None and isinstance(initializer, (RandomInitializer, keras.initializers.Zeros)):
        self._initialize(_active.zeros(tuple(self._shape), self._dtype))
    else:
        MethodType(_original, self)(initializer)


@contextmanager
def without_values(zeros: Callable[[Any, str], Any]) -> Iterator[None]:
    """Inside the block random and zero initializers of this thread give `zeros(shape, dtype)` instead.

    The hook is `Variable._initialize_with_initializer`; other threads keep Keras's own behavior.
    """
    global _patch_count, _original
    with _patch_lock:
        if _patch_count == 0:
            _original = backend.Variable._initialize_with_initializer
            backend.Variable._initialize_with_initializer = _initialize_lazily
        _patch_count += 1
    before, _active.zeros = _active.zeros, zeros
    try:
        yield
    finally:
        _active.zeros = before
        with _patch_lock:
            _patch_count -= 1
            if _patch_count == 0:
                backend.Variable._initialize_with_initializer = _original


def set_object_facts(owner: Any, **facts: Any) -> None:
    """Sets raw bookkeeping (`trainable`, `path`, `parent_path`, …) of a layer without Keras's cascades."""
    for name, value in facts.items():
        object.__setattr__(owner, f"_{name}", value)


def set_policy(layer: Any, policy: Any) -> None:
    """Gives a layer its dtype policy, without quantizing or rebuilding anything."""
    if policy_of(layer) != policy:
        object.__setattr__(layer, "_dtype_policy", keras.dtype_policies.get(policy))


def mark_built(layer: Any, shapes: Any) -> None:
    """Marks a layer whose state is all there as built, as its own `build` would have done."""
    layer.built = True
    layer._build_shapes_dict = shapes
    layer._post_build()
    layer._lock_state()


def built_by_default(layer: Any) -> bool:
    """Whether the class has no `build` of its own, so that building it means building its children."""
    return not overrides(layer, "build", Layer, Model) or isinstance(layer, (Functional, Sequential))


# --- compiling -------------------------------------------------------------------------------------


def optimizer_variables(optimizer: Any) -> list[Any]:
    """The model variables that a built optimizer was built for, in its order."""
    return list(optimizer._trainable_variables)


def excluded_from_weight_decay(optimizer: Any) -> tuple[list[int], str | None]:
    """Positions (in `optimizer_variables`) and name pattern that `exclude_from_weight_decay` noted."""
    keys = vars(optimizer).get("_exclude_from_weight_decay") or set()
    pattern = vars(optimizer).get("_exclude_from_weight_decay_pattern")
    positions = [i for i, v in enumerate(optimizer_variables(optimizer)) if optimizer._var_key(v) in keys]
    return positions, None if pattern is None else pattern.pattern


def compile_arguments(model: Any) -> dict[str, Any]:
    """The arguments that `compile` was called with, as Keras noted them."""
    return dict(model._compile_config.config)
