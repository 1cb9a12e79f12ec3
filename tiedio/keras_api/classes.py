"""Keras's classes, and which of their attributes are Keras's own records and not state."""

from __future__ import annotations

from typing import Any

from tiedio.errors import BackendError

try:
    import keras
    from keras.src import api_export, backend
    from keras.src.backend.common import global_state
    from keras.src.initializers.random_initializers import RandomInitializer
    from keras.src.layers.convolutional.base_conv import BaseConv
    from keras.src.layers.layer import Layer
    from keras.src.layers.preprocessing.image_preprocessing import aug_mix
    from keras.src.metrics.metric import Metric
    from keras.src.models.functional import Functional, functional_like_constructor
    from keras.src.ops.node import Node
    from keras.src.ops.operation import Operation
    from keras.src.optimizers.base_optimizer import BaseOptimizer
    from keras.src.random import seed_generator
    from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
    from keras.src.saving.keras_saveable import KerasSaveable
    from keras.src.saving.serialization_lib import SafeModeScope, SerializableDict
    from keras.src.utils import python_utils
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

LOOKUPS = (keras.layers.StringLookup, keras.layers.IntegerLookup)
"""Layers that keep a vocabulary in a table of the backend."""

_FORWARDING = (keras.layers.TextVectorization, keras.utils.FeatureSpace)
NO_HOOKS_NEEDED = (*RAW_SLOTS_SUFFICE, *LOOKUPS, *_FORWARDING, BaseOptimizer)
"""Classes of Keras whose hooks need not run: raw slots, a vocabulary, or hooks that only forward to a child's."""

__all__ = [
    "GLOBAL_SEED_GENERATOR",
    "LOOKUPS",
    "NO_HOOKS_NEEDED",
    "RAW_SLOTS_SUFFICE",
    "ARGUMENTS_NAME",
    "ORDER_NAME",
    "TENSORFLOW_NAMES",
    "BaseConv",
    "BaseOptimizer",
    "Functional",
    "InputLayer",
    "KerasSaveable",
    "KerasTensor",
    "Layer",
    "LearningRateSchedule",
    "Loss",
    "Metric",
    "Model",
    "Node",
    "Operation",
    "RandomInitializer",
    "SafeModeScope",
    "SeedGenerator",
    "Sequential",
    "SerializableDict",
    "Variable",
    "api_export",
    "aug_mix",
    "backend",
    "bookkeeping_names",
    "functional_like_constructor",
    "global_state",
    "keras",
    "python_utils",
    "seed_generator",
    "tree",
]

# Bookkeeping attributes of Keras's base classes. They hold no state of their own: what they list is
# reached through the attributes that user code set, or through `stores` and `graph_of` below.
TENSORFLOW_NAMES = frozenset({
    "_self_name_based_restores", "_self_saveable_object_factories", "_self_setattr_tracking",
    "_self_unconditional_checkpoint_dependencies", "_self_unconditional_deferred_dependencies",
    "_self_unconditional_dependency_names", "_self_update_uid",
})  # fmt: skip
"""What TensorFlow's `Trackable` sets on an object that it tracks; other names that begin so are the user's own."""

ARGUMENTS_NAME = "_self_tiedio_arguments"
"""Where a serializable layer notes its constructor's arguments: TensorFlow's export passes over names that begin so."""

ORDER_NAME = "_self_tiedio_order"
"""Where a layer notes the places of its weights in Keras's lists, if one of them is a view now."""

_OPERATION_NAMES = TENSORFLOW_NAMES | {
    ARGUMENTS_NAME, ORDER_NAME,
    "_lock", "_auto_config", "_auto_config_error_args", "name", "_inbound_nodes", "_outbound_nodes", "_remat_mode"
}  # fmt: skip
_LAYER_NAMES = _OPERATION_NAMES | {
    "_allow_non_tensor_positional_args", "_build_shapes_dict", "_call_context_args", "_call_has_context_arg",
    "_call_has_mask_arg", "_call_has_training_arg", "_call_signature", "_called", "_convert_input_args",
    "_dtype_policy", "_input_spec", "_layers", "_loss_ids", "_losses", "_losses_override", "_metrics",
    "_non_trainable_variables", "_parent_path", "_path", "_saved_model_arg_spec", "_saved_model_inputs_spec",
    "_seed_generators", "_supports_masking", "_tracked", "_tracker", "_trainable", "_trainable_variables",
    "activity_regularizer", "autocast", "build", "built", "call_signature_parameters", "enable_lora",
    "load_own_variables", "quantize", "save_own_variables", "supports_jit",
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
_METRIC_NAMES = TENSORFLOW_NAMES | {"_dtype", "_dtype_policy", "_metrics", "_tracker", "_variables", "name"}
_OPTIMIZER_NAMES = TENSORFLOW_NAMES | {
    "_distribution_strategy", "_lock", "_tracker", "_trainable_variables", "_trainable_variables_indices",
    "_variables", "_exclude_from_weight_decay", "_exclude_from_weight_decay_cache", "name",
    "_var_to_optimizer_idx",
}  # fmt: skip
_STORES = {"trainable_variables", "non_trainable_variables", "layers", "metrics", "seed_generators", "variables"}


def bookkeeping_names(owner: Any) -> frozenset[str]:
    """The attribute names of `owner` that hold Keras's own records and not state."""
    if isinstance(owner, Model):
        names = _GRAPH_NAMES if isinstance(owner, (Functional, Sequential)) else _MODEL_NAMES
        # `fit` puts a callback there; anything else is the user's.
        own_history = not isinstance(vars(owner).get("history"), (keras.callbacks.History, type(None)))
        return names - {"history"} if own_history else names
    if isinstance(owner, Layer):
        return _LAYER_NAMES
    if isinstance(owner, Metric):
        return _METRIC_NAMES
    if isinstance(owner, BaseOptimizer):
        return _OPTIMIZER_NAMES
    return _OPERATION_NAMES
