"""Layers, models and their graphs: what they keep, and how it is set without Keras's cascades."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tiedio.keras_api.classes import (
    _STORES,
    Functional,
    InputLayer,
    Layer,
    Metric,
    Model,
    Node,
    Operation,
    SeedGenerator,
    Sequential,
    SerializableDict,
    functional_like_constructor,
    keras,
    tree,
)
from tiedio.keras_api.live_views import LiveView


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
    store = tracker.config[name][1]
    if [id(value) for value in store] != [id(value) for value in values]:
        store[:] = values
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
    """Sets an attribute through Keras and its backend, so that every registry follows, built or not.

    A view is set past them, and what TensorFlow's registry of attributes has there is forgotten (`_delete_tracking`,
    TensorFlow 2.21): a checkpoint would go on saving it.
    """
    if isinstance(value, LiveView):
        if hasattr(owner, "_delete_tracking"):
            owner._delete_tracking(name)
        object.__setattr__(owner, name, value)
        return
    with unlocked(owner):
        try:
            setattr(owner, name, value)
        except dataclasses.FrozenInstanceError:
            object.__setattr__(owner, name, value)


def delete_attribute(owner: Any, name: str) -> None:
    """Deletes an attribute of an object, built or not."""
    with unlocked(owner):
        delattr(owner, name)


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


def flat_layers(layer: Any) -> list[Any]:
    """A layer and all layers in it that Keras knows of, each once."""
    return list(layer._flatten_layers())


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


def set_auto_config(owner: Any, config: dict[str, Any]) -> None:
    """Makes Keras's note of the constructor arguments these; the name is no part of it."""
    noted = SerializableDict(**{key: item for key, item in config.items() if key != "name"})
    object.__setattr__(owner, "_auto_config", noted)


def overrides(owner: Any, method: str, *bases: type) -> bool:
    """Whether the class of `owner` has its own `method`, not the one of `bases` (default: Keras's)."""
    own = getattr(type(owner), method, None)
    own = getattr(own, "__func__", own)
    for base in bases or (Sequential, Functional, Model, Layer, Metric, SeedGenerator, Operation):
        inherited = getattr(base, method, None)
        if own is getattr(inherited, "__func__", inherited):
            return False
    return True


def reads_vocabulary(layer: Any) -> bool:
    """Whether a lookup or text layer was made with a vocabulary that its config does not tell: from a text file."""
    lookup = vars(layer).get("_lookup_layer", layer)
    return bool(vars(lookup).get("_has_input_vocabulary")) and lookup.input_vocabulary is None


def set_adapted_shape(layer: Any, build_config: Any) -> None:
    """Gives a `Normalization` the shape of the data that it was adapted to; a rebuild took that of its first call."""
    if isinstance(layer, keras.layers.Normalization) and "input_shape" in (build_config or {}):
        object.__setattr__(layer, "_build_input_shape", build_config["input_shape"])


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
