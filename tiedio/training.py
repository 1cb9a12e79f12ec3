"""Compile configuration and optimizers: their state belongs to variables, never to positions or names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiedio import configs, describe, keras_api, manifest, omissions, slots
from tiedio.errors import MismatchError, ModelError, RebuildError, one_line

MARK = "@optimizer"


@dataclass(frozen=True, slots=True)
class Compiled:
    """One model that is compiled: its path, the model, its optimizer (or `None`)."""

    path: str
    model: Any
    optimizer: Any


@dataclass(frozen=True, slots=True)
class Training:
    """How the models of a walk are compiled.

    Args:
        record: the JSON value that is written.
        optimizers: one manifest record for each optimizer object.
        slots: slots of the optimizers' variables.
    """

    record: dict[str, Any]
    optimizers: tuple[manifest.Optimizer, ...]
    slots: tuple[slots.FoundSlot, ...]

    def variables(self) -> tuple[manifest.Variable, ...]:
        """Manifest records of the optimizers' variables."""
        groups: dict[int, list[slots.FoundSlot]] = {}
        for slot in self.slots:
            groups.setdefault(id(slot.variable), []).append(slot)
        return tuple(
            describe.describe_variable(group[0].variable, tuple(slot.path for slot in group))
            for group in groups.values()
        )


NOTHING = Training({"models": [], "optimizers": []}, (), ())


def describe_training(walk: slots.Walk) -> Training:
    """The compile configuration and the optimizers of every compiled model of a walk.

    Raises:
        ModelError: if a model compiles in its own way without the hooks that describe it, or if an optimizer was
            built for variables that the model no longer has.
    """
    number = {id(found.value): n for n, found in enumerate(walk.objects)}
    canonical = walk.canonical_slots()
    compiled = _compiled(walk)
    optimizers = _optimizers(compiled)
    numbers = {key: n for n, key in enumerate(optimizers)}
    models = [
        {
            "model": number[id(one.model)],
            "optimizer": None if one.optimizer is None else numbers[id(one.optimizer)],
            "config": configs.encode(_compile_config(one), number, one.path),
            "omitted": _omitted(one),
        }
        for one in compiled
    ]
    found: list[slots.FoundSlot] = []
    records = []
    for path, optimizer in optimizers.values():
        found.extend(_optimizer_slots(path, optimizer, canonical))
        sharing = tuple(one.path for one in compiled if one.optimizer is optimizer)
        records.append(_describe_optimizer(path, optimizer, sharing, canonical))
    encoded = [
        configs.encode(_serialized(path, lambda optimizer=optimizer: optimizer), number, path)  # type: ignore[misc]
        for path, optimizer in optimizers.values()
    ]
    return Training({"models": models, "optimizers": encoded}, tuple(records), tuple(found))


def describe_state(walk: slots.Walk) -> Training:
    """The optimizers and their state, without any configuration: for a file of weights.

    Raises:
        ModelError: if an optimizer was built for variables that the model no longer has.
    """
    canonical = walk.canonical_slots()
    compiled = _compiled(walk)
    records, found = [], []
    for path, optimizer in _optimizers(compiled).values():
        sharing = tuple(one.path for one in compiled if one.optimizer is optimizer)
        records.append(_describe_optimizer(path, optimizer, sharing, canonical))
        found.extend(_optimizer_slots(path, optimizer, canonical))
    return Training(NOTHING.record, tuple(records), tuple(found))


def compiled_models(walk: slots.Walk) -> list[Compiled]:
    """Every compiled model of a walk."""
    return _compiled(walk)


def state_slots(path: str, optimizer: Any, names: Mapping[int, str]) -> list[slots.FoundSlot]:
    """The slots of an optimizer's variables.

    Args:
        path: where the optimizer is.
        optimizer: the optimizer.
        names: the canonical slot of each model variable, by identity.

    Raises:
        ModelError: if the optimizer has state in no place that tiedio can see.
    """
    return _optimizer_slots(path, optimizer, names)


def _compiled(walk: slots.Walk) -> list[Compiled]:
    return [
        Compiled(found.path, found.value, found.value.optimizer)
        for found in walk.objects
        if isinstance(found.value, keras_api.Model) and found.value.compiled
    ]


def _optimizers(compiled: Sequence[Compiled]) -> dict[int, tuple[str, Any]]:
    optimizers: dict[int, tuple[str, Any]] = {}
    for one in compiled:
        if one.optimizer is not None and id(one.optimizer) not in optimizers:
            optimizers[id(one.optimizer)] = (slots.join(one.path, MARK), one.optimizer)
    return optimizers


def optimizers_of(walk: slots.Walk) -> list[tuple[str, Any]]:
    """Path and object of the optimizers of every compiled model of a walk."""
    return list(_optimizers(_compiled(walk)).values())


def _arguments(model: Any) -> dict[str, Any]:
    """What Keras's `compile` was called with, without the optimizer."""
    if not hasattr(model, "_compile_config"):
        return {}
    return {key: item for key, item in keras_api.compile_arguments(model).items() if key != "optimizer"}


def _omitted(one: Compiled) -> list[Any]:
    """What configs leave out and tiedio puts back; a class's own hook is compared instead, and refused."""
    if keras_api.overrides(one.model, "compile_from_config", keras_api.Model):
        return []
    return omissions.describe(_arguments(one.model), one.path)


def _compile_config(one: Compiled) -> Any:
    where = slots.join(one.path, "@compile")
    if not keras_api.overrides(one.model, "get_compile_config", keras_api.Model):
        if keras_api.overrides(one.model, "compile", keras_api.Model):
            raise ModelError(
                "the model has its own compile method, which no configuration describes",
                path=one.path or "the model",
                expected="get_compile_config and compile_from_config beside compile",
                found=f"{type(one.model).__name__}.compile",
                remedy="write the two hooks, or save with optimizer=False and compile after loading",
            )
        return _serialized(where, lambda: _arguments(one.model))
    config = _serialized(where, one.model.get_compile_config)
    return {key: value for key, value in config.items() if key != "optimizer"}


def _serialized(path: str, get: Callable[[], Any]) -> Any:
    try:
        return keras_api.stamped(get)
    except (TypeError, ValueError, NotImplementedError, AttributeError, OSError) as error:
        raise ModelError(
            "the compile configuration cannot be described",
            path=path,
            expected="losses and metrics by name, registered functions, or objects with get_config",
            found=one_line(error),
            remedy="register the loss or metric, or save with optimizer=False and compile after loading",
        ) from error


def _describe_optimizer(
    path: str, optimizer: Any, models: tuple[str, ...], canonical: Mapping[int, str]
) -> manifest.Optimizer:
    built_for = keras_api.optimizer_variables(optimizer)
    lost = [variable.path for variable in built_for if id(variable) not in canonical]
    if lost:
        raise ModelError(
            "the optimizer was built for variables that are no longer in the model",
            path=path,
            expected="an optimizer built after the ties were made",
            found=", ".join(lost[:10]),
            remedy="compile the model again after tying, or save with optimizer=False",
        )
    excluded, pattern = keras_api.excluded_from_weight_decay(optimizer)
    return manifest.Optimizer(
        path=path,
        models=models,
        class_name=type(optimizer).__name__,
        built=bool(optimizer.built),
        variables=tuple(canonical[id(variable)] for variable in built_for),
        excluded_from_weight_decay=tuple(canonical[id(built_for[i])] for i in excluded),
        excluded_names=pattern,
    )


def _optimizer_slots(path: str, optimizer: Any, canonical: Mapping[int, str]) -> list[slots.FoundSlot]:
    found = [slot for slot in _members(path, optimizer, canonical) if id(slot.variable) not in canonical]
    held = {id(slot.variable) for slot in found}
    state = [variable for variable in optimizer.variables if id(variable) not in canonical]
    missing = [variable.path for variable in state if id(variable) not in held]
    if missing:
        raise ModelError(
            "the optimizer has state in no place that tiedio can see",
            path=path,
            found=", ".join(missing[:10]),
            remedy="hold it in an attribute, or in a list parallel to the variables it was built for",
            expected="state in attributes, lists or dicts of the optimizer",
        )
    return found


def _members(path: str, optimizer: Any, canonical: Mapping[int, str]) -> Iterator[slots.FoundSlot]:
    """Slots of an optimizer and of the optimizers inside it; parallel lists are named by the model's variable."""
    built_for = keras_api.optimizer_variables(optimizer)
    attributes = slots.own_attributes(optimizer)
    for name, value in sorted(attributes.items()):
        shown = name.lstrip("_") if name.lstrip("_") not in attributes else name
        place = slots.join(path, slots.escape(shown))
        if slots.is_variable(value):
            yield slots.FoundSlot(place, path, (("attribute", name),), value)
        elif isinstance(value, keras_api.BaseOptimizer):
            yield from _members(place, value, canonical)
        elif isinstance(value, (list, tuple)) and len(value) == len(built_for) and _is_flat(value):
            for i, item in enumerate(value):
                if item is not None:
                    # A variable that the model lost is refused later, with a better message.
                    owner = canonical.get(id(built_for[i]), str(i))
                    yield slots.FoundSlot(slots.join(place, owner), path, (("attribute", name), ("index", i)), item)
        elif isinstance(value, (list, tuple)) and any(isinstance(item, keras_api.BaseOptimizer) for item in value):
            for i, item in enumerate(value):
                yield from _members(slots.join(place, str(i)), item, canonical)
        else:
            for steps, segments, leaf in slots.leaves(value):
                if slots.is_variable(leaf):
                    yield slots.FoundSlot("/".join((place, *segments)), path, (("attribute", name), *steps), leaf)


def _is_flat(value: Sequence[Any]) -> bool:
    return all(item is None or slots.is_variable(item) for item in value)


def compile_again(
    objects: Sequence[Any],
    record: Mapping[str, Any],
    optimizers: Sequence[manifest.Optimizer],
    variables: Mapping[str, Any],
    decode: Callable[[Any], Any],
    plainly: Callable[[Any], Any] | None = None,
) -> None:
    """Compiles the models and builds their optimizers for the recorded variables.

    Args:
        objects: the rebuilt objects, by number.
        record: what `describe_training` gave.
        optimizers: their manifest records, in the same order.
        variables: model variable of each canonical slot; ties are already restored.
        decode: revives an encoded config.
        plainly: decodes it and revives nothing, for a class's own hook; default: `decode`.

    Raises:
        RebuildError: if a model cannot be compiled from its configuration.
    """
    pairs = zip(record["optimizers"], optimizers, strict=True)
    revived = [_revive(config, spec.path, decode) for config, spec in pairs]
    for spec, optimizer in zip(optimizers, revived, strict=True):
        if spec.excluded_from_weight_decay or spec.excluded_names is not None:
            excluded = [variables[path] for path in spec.excluded_from_weight_decay]
            names = None if spec.excluded_names is None else [spec.excluded_names]
            optimizer.exclude_from_weight_decay(var_list=excluded, var_names=names)
        if spec.built:
            optimizer.build([variables[path] for path in spec.variables])
    for one in record["models"]:
        model = objects[one["model"]]
        optimizer = None if one["optimizer"] is None else revived[one["optimizer"]]
        try:
            own_hook = keras_api.overrides(model, "compile_from_config", keras_api.Model)
            config = {} if own_hook else decode(one["config"])
            omissions.restore(config, one["omitted"])
            _compile(model, optimizer, config, one["config"], plainly or decode)
        except (TypeError, ValueError) as error:
            raise RebuildError(
                "the model cannot be compiled again",
                path=model.name,
                found=one_line(error),
                remedy="load with compile=False, or register the losses and metrics that it compiles with",
                expected="arguments that compile takes",
            ) from error


def _revive(config: Any, path: str, decode: Callable[[Any], Any]) -> Any:
    try:
        optimizer = decode(config)
    except (TypeError, ValueError) as error:
        optimizer, why = None, one_line(error)
    else:
        why = type(optimizer).__name__
    if not isinstance(optimizer, keras_api.BaseOptimizer):
        raise RebuildError(
            "the optimizer cannot be made again",
            path=path,
            expected="an optimizer",
            found=why,
            remedy="load with compile=False and compile the model yourself",
        )
    return optimizer


def _compile(model: Any, optimizer: Any, config: dict[str, Any], encoded: Any, plainly: Callable[[Any], Any]) -> None:
    """Compiles; a class's own hook is handed what Keras hands it, with a reference that revives as `optimizer`."""
    if not keras_api.overrides(model, "compile_from_config", keras_api.Model):
        model.compile(optimizer=optimizer, **config)
    else:
        stamp = "tiedio:optimizer"
        reference = {**keras_api.class_reference(type(optimizer)), "config": {}, "shared_object_id": stamp}
        with warnings.catch_warnings(), keras_api.known_objects({stamp: optimizer}):
            model.compile_from_config({**plainly(encoded), "optimizer": None if optimizer is None else reference})
    if model.optimizer is not optimizer:
        model.optimizer = optimizer


def restore_facts(walk: slots.Walk, specs: Sequence[manifest.Variable], revive: Callable[[Any], Any]) -> dict[str, Any]:
    """Gives the optimizers' variables their recorded names and paths.

    Returns:
        The variable of each optimizer slot.

    Raises:
        MismatchError: if the optimizers have other slots than the manifest.
    """
    canonical = walk.canonical_slots()
    found: dict[str, Any] = {}
    for path, optimizer in _optimizers(_compiled(walk)).values():
        found |= {slot.path: slot.variable for slot in _optimizer_slots(path, optimizer, canonical)}
    recorded = {slot.path for spec in specs for slot in spec.slots}
    if recorded != set(found):
        missing, extra = sorted(recorded - set(found)), sorted(set(found) - recorded)
        raise MismatchError(
            "the optimizer has other state than the file",
            path=MARK,
            expected=", ".join(missing[:5]) or "nothing more",
            found=", ".join(extra[:5]) or "nothing more",
            remedy="load with compile=False and compile the model yourself",
        )
    for spec in specs:
        describe.set_facts(found[spec.slots[0].path], spec, revive)
    return found


def compare(live: slots.Walk, rebuilt: slots.Walk) -> None:
    """Raises `ModelError` if a loss, metric or optimizer of the rebuild differs in a plain attribute."""
    for mine, theirs in zip(_compiled(live), _compiled(rebuilt), strict=True):
        omissions.compare(_arguments(mine.model), _arguments(theirs.model), slots.join(mine.path, "@compile"))
        omissions.compare_optimizers(slots.join(mine.path, MARK), mine.optimizer, theirs.optimizer)
