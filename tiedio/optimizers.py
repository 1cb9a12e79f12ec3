"""Optimizers and those inside them: which there are, the state that each holds, and what their configs leave out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tiedio import configs, keras_api, manifest, plain, slots
from tiedio.errors import MismatchError, ModelError, RebuildError, TiedioError, one_line

MARK = "@optimizer"
REFERENCE = "$optimizer"


@dataclass(frozen=True, slots=True)
class Found:
    """An optimizer: its canonical path, the object, and the models that compile with it (of an inner one: none)."""

    path: str
    value: Any
    models: tuple[str, ...]


def find(tops: Sequence[tuple[str, str, Any]]) -> list[Found]:
    """The optimizers of compiled models and those inside them, each once, breadth first: outer ones come first.

    Args:
        tops: model, path and optimizer of each compiled model that has one.
    """
    queue = [(path, optimizer) for _, path, optimizer in tops]
    found: dict[int, Found] = {}
    for path, optimizer in queue:
        if id(optimizer) not in found:
            models = tuple(model for model, _, top in tops if top is optimizer)
            found[id(optimizer)] = Found(path, optimizer, models)
            queue.extend((slots.join(path, place), inner) for place, inner in held_in(optimizer))
    return list(found.values())


def held_in(owner: Any) -> Iterator[tuple[str, Any]]:
    """The optimizers that an object holds in attributes and in containers there, each with its place."""
    attributes = slots.own_attributes(owner)
    stack = [(_shown(name, attributes), value) for name, value in sorted(attributes.items(), reverse=True)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, keras_api.BaseOptimizer):
            yield place, value
        elif isinstance(value, (list, tuple)):
            stack.extend((f"{place}/{i}", item) for i, item in reversed(list(enumerate(value))))
        elif isinstance(value, Mapping):
            named = sorted(((slots.escape(str(key)), item) for key, item in value.items()), key=lambda one: one[0])
            stack.extend((f"{place}/{key}", item) for key, item in reversed(named))


def _shown(name: str, attributes: Mapping[str, Any]) -> str:
    bare = name.lstrip("_")
    return slots.escape(bare if bare not in attributes else name)


# --- describing -------------------------------------------------------------------------------------------


def describe(
    found: Sequence[Found], canonical: Mapping[int, str], variables: Sequence[Any]
) -> tuple[manifest.Optimizer, ...]:
    """One manifest record for each optimizer.

    Args:
        found: the optimizers.
        canonical: canonical slot of each model variable, by identity.
        variables: the model variables.

    Raises:
        ModelError: if one was built for variables that the model no longer has.
    """
    return tuple(_describe_one(one, canonical, variables) for one in found)


def _describe_one(one: Found, canonical: Mapping[int, str], variables: Sequence[Any]) -> manifest.Optimizer:
    built_for = keras_api.optimizer_variables(one.value)
    lost = [variable.path for variable in built_for if id(variable) not in canonical]
    if lost:
        raise ModelError(
            "the optimizer was built for variables that are no longer in the model",
            path=one.path,
            expected="an optimizer built after the ties were made",
            found=", ".join(lost[:10]),
            remedy="compile the model again after tying, or pass optimizer=False",
        )
    excluded, pattern = keras_api.excluded_from_weight_decay(one.value, variables)
    _require_names_that_come_back(one, pattern, variables)
    return manifest.Optimizer(
        path=one.path,
        models=one.models,
        class_name=type(one.value).__name__,
        built=bool(one.value.built),
        variables=tuple(canonical[id(variable)] for variable in built_for),
        excluded_from_weight_decay=tuple(canonical[id(variable)] for variable in excluded),
        excluded_names=pattern,
    )


def _require_names_that_come_back(one: Found, pattern: str | None, variables: Sequence[Any]) -> None:
    """A loaded variable may have another name; the pattern has to choose the same variables by that."""
    if pattern is None:
        return
    for now, loaded in map(keras_api.names_in_optimizers, variables):
        if bool(re.search(pattern, now)) != bool(re.search(pattern, loaded)):
            raise ModelError(
                f"excluding {pattern!r} from weight decay goes by a TensorFlow name that is not the variable's path",
                path=one.path,
                expected=loaded,
                found=now,
                remedy="exclude the variable itself: exclude_from_weight_decay(var_list=[variable])",
            )


def find_slots(found: Sequence[Found], canonical: Mapping[int, str]) -> list[slots.FoundSlot]:
    """The slots of the optimizers' own variables; parallel lists are named by the model's variable.

    Raises:
        ModelError: if an optimizer has state that no attribute shows.
    """
    known = {id(one.value) for one in found}
    members = [slot for one in found for slot in _members(one, canonical, known)]
    held = {id(slot.variable) for slot in members}
    for one in found:
        missing = [v.path for v in one.value.variables if id(v) not in canonical and id(v) not in held]
        if missing:
            raise ModelError(
                "the optimizer has state in no place that tiedio can see",
                path=one.path,
                found=", ".join(missing[:10]),
                remedy="hold it in an attribute, or in a list parallel to the variables it was built for",
                expected="state in attributes, lists or dicts of the optimizer",
            )
    return [slot for slot in members if id(slot.variable) not in canonical]


def _members(one: Found, canonical: Mapping[int, str], known: set[int]) -> Iterator[slots.FoundSlot]:
    built_for = keras_api.optimizer_variables(one.value)
    attributes = slots.own_attributes(one.value)
    for name, value in sorted(attributes.items()):
        place = slots.join(one.path, _shown(name, attributes))
        if slots.is_variable(value):
            yield slots.FoundSlot(place, one.path, (("attribute", name),), value)
        elif isinstance(value, (list, tuple)) and len(value) == len(built_for) and _is_flat(value):
            for i, item in enumerate(value):
                if item is not None:
                    # A variable that the model lost is refused elsewhere, with a better message.
                    owner = canonical.get(id(built_for[i]), str(i))
                    yield slots.FoundSlot(slots.join(place, owner), one.path, (("attribute", name), ("index", i)), item)
        else:
            for steps, segments, leaf in slots.leaves(value, set(known)):
                if slots.is_variable(leaf):
                    path = "/".join((place, *segments))
                    yield slots.FoundSlot(path, one.path, (("attribute", name), *steps), leaf)


def _is_flat(value: Sequence[Any]) -> bool:
    return all(item is None or slots.is_variable(item) for item in value)


def encode(
    found: Sequence[Found], number: Mapping[int, Any], serialized: Callable[[str, Callable[[], Any]], Any]
) -> list[Any]:
    """The config of each optimizer, with references to those inside it.

    Args:
        found: the optimizers.
        number: what configs refer to, by identity: objects of the table, and optimizers.
        serialized: what a function gives, serialized by Keras and stamped; refused with the path if it cannot be.

    Returns:
        The encoded configs; the name alone for an optimizer that the one around it makes by itself.
    """
    encoded: list[Any] = [one.value.name for one in found]
    pending = [n for n, one in enumerate(found) if one.models]
    for n in pending:
        one = found[n]
        around = {key: value for key, value in number.items() if key != id(one.value)}
        encoded[n] = configs.encode(serialized(one.path, lambda one=one: one.value), around, one.path)  # type: ignore[misc]
        pending.extend(k for k in configs.references(encoded[n], REFERENCE) if k not in pending)
    return encoded


# --- making them again ------------------------------------------------------------------------------------


class Reviver:
    """Makes objects from encoded configs that refer to each other by number, each once and what it holds first.

    Args:
        encoded: the configs.
        paths: a place for each, for errors.
        decode: revives an encoded config.
        reference: the key of a reference, such as `$optimizer`.
        kinds: what the objects have to be.
    """

    def __init__(
        self,
        encoded: Sequence[Any],
        paths: Sequence[str],
        decode: Callable[[Any], Any],
        reference: str = REFERENCE,
        kinds: tuple[type, ...] = (keras_api.BaseOptimizer,),
    ) -> None:
        self.encoded = encoded
        self.paths = paths
        self.decode = decode
        self.reference = reference
        self.kinds = kinds
        self.made: dict[int, Any] = {}
        self.pending: set[int] = set()

    def __getitem__(self, n: int) -> Any:
        """Object number `n`.

        Raises:
            RebuildError: if it cannot be made, or holds itself.
        """
        if n not in self.made:
            made, why = None, "one that holds itself" if n in self.pending else None
            self.pending.add(n)
            if why is None:
                try:
                    made = self.revive(self.encoded[n])
                except TiedioError:
                    raise
                except (TypeError, ValueError) as error:
                    why = one_line(error)
            if not isinstance(made, self.kinds):
                what = "optimizer" if self.reference == REFERENCE else "loss or metric"
                raise RebuildError(
                    f"the {what} cannot be made again",
                    path=self.paths[n],
                    expected=what,
                    found=why or type(made).__name__,
                    remedy="load with compile=False and compile the model yourself",
                )
            self.made[n] = made
        return self.made[n]

    def revive(self, config: Any) -> Any:
        """What an encoded config that may refer to these objects stands for."""
        with self.known(config):
            return self.decode(self.with_stubs(config))

    def known(self, config: Any) -> AbstractContextManager[None]:
        """Inside the block Keras takes the stubs in a config for the objects that it refers to."""
        inner = {n: self[n] for n in configs.references(config, self.reference)}
        return keras_api.known_objects({self._stamp(n): made for n, made in inner.items()})

    def with_stubs(self, config: Any) -> Any:
        """An encoded config with what Keras takes for an object it has made already in place of references."""
        if isinstance(config, list):
            return [self.with_stubs(item) for item in config]
        if not isinstance(config, dict):
            return config
        if self.reference in config:
            n = config[self.reference]
            named = {key: self.encoded[n].get(key) for key in ("module", "class_name", "registered_name")}
            return {**named, "config": {}, "shared_object_id": self._stamp(n)}
        return {key: self.with_stubs(item) for key, item in config.items()}

    def _stamp(self, n: int) -> str:
        return f"tiedio:{self.reference}:{n}"


def build(revived: Reviver, specs: Sequence[manifest.Optimizer], variables: Mapping[str, Any]) -> None:
    """Makes the recorded optimizers and builds them for the recorded variables.

    Args:
        revived: the optimizers.
        specs: their records.
        variables: model variable of each canonical slot; ties are already restored.
    """
    recorded = [n for n, config in enumerate(revived.encoded) if not isinstance(config, str)]
    for n in recorded:
        _exclude(revived[n], specs[n], variables)
    # One that a model compiles with comes before those around it; the others are built by what holds them.
    tops = [n for n in recorded if specs[n].models]
    for n in (*reversed(tops), *recorded):
        if specs[n].built and not revived[n].built:
            revived[n].build([variables[path] for path in specs[n].variables])
    found = {one.path: one.value for one in find([("", specs[n].path, revived[n]) for n in tops])}
    for spec, config in zip(specs, revived.encoded, strict=True):
        if isinstance(config, str) and spec.path in found:
            found[spec.path].name = config
            _exclude(found[spec.path], spec, variables)


def _exclude(optimizer: Any, spec: manifest.Optimizer, variables: Mapping[str, Any]) -> None:
    if spec.excluded_from_weight_decay or spec.excluded_names is not None:
        excluded = [variables[path] for path in spec.excluded_from_weight_decay]
        names = None if spec.excluded_names is None else [spec.excluded_names]
        optimizer.exclude_from_weight_decay(var_list=excluded, var_names=names)


def require_equal(found: Sequence[manifest.Optimizer], specs: Sequence[manifest.Optimizer]) -> None:
    """Raises `MismatchError` unless optimizers are the recorded ones, and built for the same variables."""
    mine, theirs = ({spec.path: spec for spec in records} for records in (specs, found))
    for path in sorted(mine.keys() | theirs.keys()):
        if mine.get(path) != theirs.get(path):
            raise MismatchError(
                "the optimizer is not built as the file says",
                path=path,
                expected=_short(mine.get(path)),
                found=_short(theirs.get(path)),
                remedy="load with compile=False and compile the model yourself",
            )


def _short(spec: manifest.Optimizer | None) -> str:
    if spec is None:
        return "nothing"
    return f"{spec.class_name} for {', '.join(spec.variables) or 'nothing yet'}"[:200]


def compare(live: Sequence[Found], rebuilt: Sequence[Found]) -> None:
    """Raises `ModelError` if an optimizer, or a schedule in it, differs from its rebuild in a plain attribute."""
    theirs = {one.path: one.value for one in rebuilt}
    identities = plain.Identities(*({id(one.value): one.path for one in side} for side in (live, rebuilt)))
    for one in live:
        other = theirs[one.path]
        plain.compare_objects(one.path, one.value, other, identities)
        for name, value in slots.own_attributes(one.value).items():
            if isinstance(value, keras_api.LearningRateSchedule):
                plain.compare_objects(slots.join(one.path, name), value, vars(other).get(name))
