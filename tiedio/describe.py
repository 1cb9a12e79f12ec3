"""Live objects ↔ manifest: what belongs to each object and each variable itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tiedio import configs, keras_api, manifest, slots
from tiedio.errors import ModelError

_OBJECT_STORES = ("layers", "metrics", "seed_generators")


def describe_objects(walk: slots.Walk) -> tuple[manifest.Object, ...]:
    """One record for each object of a walk."""
    paths = walk.object_paths()
    canonical = walk.canonical_slots()
    return tuple(
        manifest.Object(
            path=found.path,
            class_name=type(found.value).__name__,
            paths=found.paths,
            trainable=vars(found.value).get("_trainable") if isinstance(found.value, keras_api.Layer) else None,
            orders=_orders(found.value, paths, canonical),
        )
        for found in walk.objects
    )


def _orders(value: Any, paths: Mapping[int, str], canonical: Mapping[int, str]) -> dict[str, tuple[str, ...]]:
    inner = getattr(value, "_functional", None)
    orders = {}
    for store, members in keras_api.stores(value).items():
        known = paths if store in _OBJECT_STORES else canonical
        listed = tuple(known[id(member)] for member in members if member is not inner)
        if listed:
            orders[store] = listed
    return orders


def describe_variable(variable: Any, held_by: tuple[manifest.Slot, ...], configs: bool = True) -> manifest.Variable:
    """The record of one variable that these slots hold, the canonical one first; without `configs`, values only."""
    return manifest.Variable(
        slots=held_by,
        shape=tuple(int(size) for size in variable.shape),
        dtype=keras_api.storage_dtype(variable),
        name=variable.name,
        path=variable.path,
        trainable=bool(variable.trainable),
        created_trainable=keras_api.created_trainable(variable),
        autocast=bool(variable._autocast),
        aggregation=variable.aggregation,
        synchronization=variable.synchronization,
        overwrite_with_gradient=bool(variable.overwrite_with_gradient),
        regularizer=_serialized(variable.regularizer, held_by[0].path) if configs else None,
        constraint=_serialized(variable.constraint, held_by[0].path) if configs else None,
    )


def _serialized(value: Any, where: str) -> Any:
    return None if value is None else configs.encode(keras_api.stamped(lambda: value), {}, where)


def describe_variables(walk: slots.Walk, configs: bool = True) -> tuple[manifest.Variable, ...]:
    """One record for each variable of a walk.

    Raises:
        ModelError: if a weight is a view of a variable that no slot holds.
    """
    groups = walk.by_variable()
    for first, *_ in groups:
        if first.view is not None:
            raise ModelError(
                "the weight is a view of a variable that is in none of the models",
                path=first.path,
                expected=f"a model that holds {first.variable.path!r}",
                found=f"its {first.view} only",
                remedy="save it with the model that it is tied to: {'one': model, 'other': other_model}; or untie it",
            )
    return tuple(describe_variable(group[0].variable, slots_of(group), configs) for group in groups)


def slots_of(group: Sequence[slots.FoundSlot]) -> tuple[manifest.Slot, ...]:
    """The slots of one variable as a manifest notes them."""
    return tuple(manifest.Slot(slot.path, slot.view) for slot in group)


def set_facts(variable: Any, spec: manifest.Variable, revive: Callable[[Any], Any]) -> None:
    """Gives a variable the attributes of its record; what is equal already stays the same object."""
    keras_api.set_variable_facts(
        variable,
        name=spec.name,
        path=spec.path,
        trainable=spec.trainable,
        autocast=spec.autocast,
        aggregation=spec.aggregation,
        synchronization=spec.synchronization,
        overwrite_with_gradient=spec.overwrite_with_gradient,
    )
    if variable.regularizer is None and variable.constraint is None and not (spec.regularizer or spec.constraint):
        return
    now = describe_variable(variable, spec.slots)
    if now.regularizer != spec.regularizer:
        variable.regularizer = None if spec.regularizer is None else revive(spec.regularizer)
    if now.constraint != spec.constraint:
        variable.constraint = None if spec.constraint is None else revive(spec.constraint)


def require_seen(walk: slots.Walk) -> None:
    """Raises `ModelError` if a variable of the models stands in no slot, or if Keras takes a view for one."""
    held = {id(slot.variable) for slot in walk.slots}
    for name, root in walk.roots:
        for variable in root.variables:
            source, view = keras_api.viewed(variable)
            if view is not None:
                raise ModelError(
                    "a view stands among the weights of a layer: it was set by hand, and is no weight",
                    path=source.path,
                    expected="tiedio.tie(layer, source, weights=..., view=...)",
                    found=f"its {view} in the variables of {name or 'the model'}",
                    remedy="untie the layer, and tie it with tiedio.tie",
                )
            if id(variable) not in held:
                raise ModelError(
                    "a variable of the model is in no place that tiedio can see",
                    path=variable.path,
                    expected="an attribute of a layer, or a list or dict in one",
                    found=f"only in the variables of {name or 'the model'}",
                    remedy="hold it in an attribute of its layer",
                )


def require_built(walk: slots.Walk) -> None:
    """Raises `ModelError` if a model, or a layer that it holds, has no variables yet."""
    layers = [found for found in walk.objects if isinstance(found.value, keras_api.Layer)]
    unbuilt = [found.path for found in layers if not found.value.built]
    for name, root in walk.roots:
        children = [path for path in unbuilt if path]
        if not root.built and (children or not root.variables):
            raise ModelError(
                "the model is not built, so it has no weights",
                path=name or root.name,
                expected="a built model",
                found=f"unbuilt layers: {', '.join(children[:5])}" if children else "no variables",
                remedy="call it on a batch of data, or call model.build(input_shape) first",
            )
