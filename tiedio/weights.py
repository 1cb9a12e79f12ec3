"""Weights without structure: model → file, for a model that only its own code can make again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tiedio import __version__, arrays, describe, hooks, keras_api, moments, session, slots, training, values
from tiedio.container.writing import Tensor
from tiedio.errors import ModelError
from tiedio.inspection import FORMAT_KEY, MANIFEST_KEY
from tiedio.manifest import FORMAT, Manifest, Root
from tiedio.structure import hidden

Roots = Mapping[str | None, Any]


@dataclass(frozen=True, slots=True)
class Taken:
    """The tensors and the metadata of a file of weights, and the variables and the values that are held of them."""

    tensors: list[Tensor]
    metadata: dict[str, str]
    living: dict[str, Any]
    held: dict[str, Any]


def take_weights(roots: Roots, optimizer: bool) -> Taken:
    """What `save_weights` writes of live models.

    Raises:
        ModelError: if a value is in no place that tiedio can see, or is of a dtype that cannot be stored.
    """
    walk = slots.walk(roots)
    beginning = moments.Beginning.of(walk, training.optimizers_of(walk) if optimizer else [])
    describe.require_built(walk)
    _require_seen(walk, optimizer)
    layers = [found.value for found in walk.objects if isinstance(found.value, keras_api.Layer)]
    if not walk.slots and not all(layer.built for layer in layers):  # one with vocabularies only has none
        raise ModelError(
            "the model has no weights",
            path=next(root.name for _, root in walk.roots),
            expected="at least one variable",
            found="none",
            remedy="call it on a batch of data first: model.build alone may leave layers without weights",
        )
    trained = training.describe_state(walk) if optimizer else training.NOTHING
    variables = (*describe.describe_variables(walk, configs=False), *trained.variables())
    by_slot = {slot.path: slot.variable for slot in (*walk.slots, *trained.slots)}
    sources = {spec.slots[0].path: by_slot[spec.slots[0].path] for spec in variables}
    paths = walk.object_paths()
    kept = hooks.describe(training.owners(walk, optimizer), sources, configs=False)
    manifest = Manifest(
        format=FORMAT,
        versions=session.versions() | {"tiedio": __version__},
        roots=tuple(Root(name, paths[id(root)]) for name, root in roots.items()),
        objects=describe.describe_objects(walk),
        variables=variables,
        optimizers=trained.optimizers,
        stored=kept.stored,
    )
    held = moments.hold_all(sources)
    beginning.require_same()
    tensors = values.tensors_of(manifest.tensors, held | kept.sources)
    return Taken(tensors, {FORMAT_KEY: str(FORMAT), MANIFEST_KEY: manifest.to_json()}, sources, held)


def _require_seen(walk: slots.Walk, optimizer: bool) -> None:
    """Raises `ModelError` if a value of the models would not be in the file."""
    describe.require_seen(walk)
    hidden.refuse_lost_weights(walk)
    for found in walk.objects:
        for name, value in slots.own_attributes(found.value).items():
            if hooks.goes_with_vocabulary(found.value, name):
                continue
            where = slots.join(found.path, name)
            for item in _reached(value):
                if arrays.is_backend_variable(item):
                    raise ModelError(
                        "a variable of the backend is not tracked by Keras and would be lost",
                        path=where,
                        expected="keras.Variable",
                        found=f"{type(item).__module__}.{type(item).__name__}",
                        remedy="use self.add_weight or keras.Variable",
                    )
                if optimizer and isinstance(item, keras_api.BaseOptimizer):
                    raise ModelError(
                        "an optimizer in an attribute is not carried; only the one that the model compiles with is",
                        path=where,
                        expected="model.compile(optimizer=...)",
                        found=type(item).__name__,
                        remedy="save with optimizer=False, which leaves every optimizer out",
                    )


def _reached(value: Any) -> Iterator[Any]:
    """A value and what it holds: in containers, in plain objects, and as attributes of the backend's own objects."""
    stack = [(value, False)]
    seen: dict[int, Any] = {}
    while stack:
        item, last = stack.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        yield item
        inside: Iterable[Any] = ()
        of_backend = type(item).__module__.startswith("tensorflow.")
        if last or isinstance(item, keras_api.BaseOptimizer) or arrays.array_kind(item) is not None:
            continue
        if isinstance(item, (list, tuple, set, frozenset)):
            inside = item
        elif isinstance(item, Mapping):
            inside = item.values()
        elif slots.classify(type(item)) == "plain" or (of_backend and not arrays.is_backend_variable(item)):
            inside = slots.attributes_of(item).values()
        stack.extend((part, of_backend) for part in inside)
