"""Compile configuration and optimizers: their state belongs to variables, never to positions or names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiedio import configs, describe, keras_api, manifest, omissions, optimizers, own_compile, slots
from tiedio.errors import MismatchError, ModelError, RebuildError, one_line

SHARED = "$shared"


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
            describe.describe_variable(group[0].variable, describe.slots_of(group)) for group in groups.values()
        )


NOTHING = Training({"models": [], "optimizers": []}, (), ())


def describe_training(walk: slots.Walk) -> Training:
    """The compile configuration and the optimizers of every compiled model of a walk.

    Raises:
        ModelError: if a model compiles in its own way without the hooks that describe it, or if an optimizer was
            built for variables that the model no longer has.
    """
    compiled = _compiled(walk)
    found = optimizers.find(_tops(compiled))
    canonical = walk.canonical_slots()
    variables = [group[0].variable for group in walk.by_variable()]
    records = optimizers.describe(found, canonical, variables)
    own_slots = optimizers.find_slots(found, canonical)
    place = {id(one.value): n for n, one in enumerate(found)}
    number: dict[int, Any] = {id(one.value): n for n, one in enumerate(walk.objects)}
    shared = _shared(compiled, number)
    known = number | {key: {SHARED: n} for n, key in enumerate(shared)}
    record: dict[str, Any] = {"models": [_describe_model(one, known, place) for one in compiled]}
    references = number | {key: {optimizers.REFERENCE: n} for key, n in place.items()}
    record["optimizers"] = optimizers.encode(found, references, _serialized)
    if shared:
        record["shared"] = [_encode(where, value, known) for where, value in shared.values()]
    return Training(record, records, tuple(own_slots))


def _describe_model(one: Compiled, known: Mapping[int, Any], place: Mapping[int, int]) -> dict[str, Any]:
    described = {
        "model": known[id(one.model)],
        "optimizer": None if one.optimizer is None else place[id(one.optimizer)],
        "config": configs.encode(_compile_config(one), known, one.path),
        "omitted": _omitted(one),
    }
    given = keras_api.compile_arguments(one.model).get("optimizer")
    if given is not one.optimizer and id(given) in place:
        described["given"] = place[id(given)]
    return described


def _shared(compiled: Sequence[Compiled], number: Mapping[int, int]) -> dict[int, tuple[str, Any]]:
    """Losses and metrics that stand in more than one place: identity → (model, object)."""
    seen: dict[int, tuple[str, Any]] = {}
    several: dict[int, tuple[str, Any]] = {}
    for one in compiled:
        for _, value in omissions.parts(_arguments(one.model)):
            if id(value) in seen and id(value) not in number:
                several[id(value)] = seen[id(value)]
            seen.setdefault(id(value), (one.path, value))
    return {key: seen[key] for key in seen if key in several}


def _encode(path: str, value: Any, known: Mapping[int, Any]) -> Any:
    around = {key: item for key, item in known.items() if key != id(value)}
    return configs.encode(_serialized(slots.join(path, "@compile"), lambda: value), around, path)


def describe_state(walk: slots.Walk) -> Training:
    """The optimizers and their state, without any configuration: for a file of weights.

    Raises:
        ModelError: if an optimizer was built for variables that the model no longer has.
    """
    canonical = walk.canonical_slots()
    found = optimizers.find(_tops(_compiled(walk)))
    records = optimizers.describe(found, canonical, [group[0].variable for group in walk.by_variable()])
    return Training(NOTHING.record, records, tuple(optimizers.find_slots(found, canonical)))


def compiled_models(walk: slots.Walk) -> list[Compiled]:
    """Every compiled model of a walk."""
    return _compiled(walk)


def _compiled(walk: slots.Walk) -> list[Compiled]:
    return [
        Compiled(found.path, found.value, found.value.optimizer)
        for found in walk.objects
        if isinstance(found.value, keras_api.Model) and found.value.compiled
    ]


def _tops(compiled: Sequence[Compiled]) -> list[tuple[str, str, Any]]:
    """What `optimizers.find` starts from."""
    return [
        (one.path, slots.join(one.path, optimizers.MARK), one.optimizer)
        for one in compiled
        if one.optimizer is not None
    ]


def owners(walk: slots.Walk, optimizer: bool) -> list[tuple[str, Any]]:
    """Path and object of all that may have saving hooks: the objects and, if they count, the optimizers of a walk."""
    objects = [(found.path, found.value) for found in walk.objects]
    return [*objects, *optimizers_of(walk)] if optimizer else objects


def optimizers_of(walk: slots.Walk) -> list[tuple[str, Any]]:
    """Path and object of the optimizers of every compiled model of a walk, those inside others too."""
    return [(one.path, one.value) for one in optimizers.find(_tops(_compiled(walk)))]


def _arguments(model: Any) -> dict[str, Any]:
    """What Keras's `compile` was called with, without the optimizer."""
    return {key: item for key, item in keras_api.compile_arguments(model).items() if key != "optimizer"}


def _omitted(one: Compiled) -> list[Any]:
    """What configs leave out and tiedio puts back; a class's own hook is compared instead, and refused."""
    if keras_api.overrides(one.model, "compile_from_config", keras_api.Model):
        return []
    return omissions.describe(_arguments(one.model), one.path)


def _compile_config(one: Compiled) -> Any:
    where = slots.join(one.path, "@compile")
    if not keras_api.overrides(one.model, "get_compile_config", keras_api.Model):
        lost = [name for name in own_compile.extra_names(one.model) if name not in vars(one.model)]
        if lost:
            raise ModelError(
                "the model has its own compile method, which no configuration describes",
                path=one.path or "the model",
                expected="get_compile_config and compile_from_config beside compile, or attributes of the same names",
                found=f"{type(one.model).__name__}.compile takes {', '.join(lost)}, which the model does not hold",
                remedy="write the two hooks, or pass optimizer=False and compile afterwards",
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
            remedy="register the loss or metric, or pass optimizer=False and compile afterwards",
        ) from error


def compile_again(
    objects: Sequence[Any],
    record: Mapping[str, Any],
    specs: Sequence[manifest.Optimizer],
    variables: Mapping[str, Any],
    decode: Callable[[Any], Any],
    plainly: Callable[[Any], Any] | None = None,
) -> None:
    """Compiles the models and builds their optimizers for the recorded variables.

    Args:
        objects: the rebuilt objects, by number.
        record: what `describe_training` gave.
        specs: the optimizers' manifest records, in the same order.
        variables: model variable of each canonical slot; ties are already restored.
        decode: revives an encoded config.
        plainly: decodes it and revives nothing, for a class's own hook; default: `decode`.

    Raises:
        RebuildError: if a model cannot be compiled from its configuration.
    """
    revived = optimizers.Reviver(record["optimizers"], [spec.path for spec in specs], decode)
    optimizers.build(revived, specs, variables)
    parts = record.get("shared", [])
    shared = optimizers.Reviver(parts, ["@compile"] * len(parts), decode, SHARED, (keras_api.Loss, keras_api.Metric))
    for one in record["models"]:
        model = objects[one["model"]]
        optimizer, given = (None if n is None else revived[n] for n in (one["optimizer"], one.get("given")))
        try:
            handed = optimizer if given is None else given
            if keras_api.overrides(model, "compile_from_config", keras_api.Model):
                with shared.known(one["config"]):
                    _compile_by_hook(model, handed, (plainly or decode)(shared.with_stubs(one["config"])))
            else:
                config = shared.revive(one["config"])
                omissions.restore(config, one["omitted"])
                model.compile(**own_compile.arguments_for(model, {"optimizer": handed, **config}))
            if model.optimizer is not optimizer:
                model.optimizer = optimizer
        except (TypeError, ValueError) as error:
            raise RebuildError(
                "the model cannot be compiled again",
                path=model.name,
                found=one_line(error),
                remedy="load with compile=False, or register the losses and metrics that it compiles with",
                expected="arguments that compile takes",
            ) from error


def _compile_by_hook(model: Any, optimizer: Any, config: dict[str, Any]) -> None:
    """Hands a class's own hook what Keras hands it, with a reference that revives as `optimizer`."""
    stamp = "tiedio:optimizer"
    reference = {**keras_api.class_reference(type(optimizer)), "config": {}, "shared_object_id": stamp}
    with keras_api.known_objects({stamp: optimizer}):
        model.compile_from_config({**config, "optimizer": None if optimizer is None else reference})


def restore_facts(
    walk: slots.Walk,
    specs: Sequence[manifest.Variable],
    revive: Callable[[Any], Any],
) -> dict[str, Any]:
    """Gives the optimizers' variables their recorded names and paths.

    Returns:
        The variable of each optimizer slot.

    Raises:
        MismatchError: if the optimizers have other slots than the manifest.
    """
    canonical = walk.canonical_slots()
    found = {
        slot.path: slot.variable for slot in optimizers.find_slots(optimizers.find(_tops(_compiled(walk))), canonical)
    }
    recorded = {slot.path for spec in specs for slot in spec.slots}
    if recorded != set(found):
        missing, extra = sorted(recorded - set(found)), sorted(set(found) - recorded)
        raise MismatchError(
            "the optimizer has other state than the file",
            path=optimizers.MARK,
            expected=", ".join(missing[:5]) or "nothing more",
            found=", ".join(extra[:5]) or "nothing more",
            remedy="load with compile=False and compile the model yourself",
        )
    for spec in specs:
        describe.set_facts(found[spec.slots[0].path], spec, revive)
    return found


def compare(live: slots.Walk, rebuilt: slots.Walk) -> None:
    """Raises `ModelError` if a loss, metric or optimizer of the rebuild differs in a plain attribute."""
    sides = (_compiled(live), _compiled(rebuilt))
    for mine, theirs in zip(*sides, strict=True):
        omissions.compare(_arguments(mine.model), _arguments(theirs.model), slots.join(mine.path, "@compile"))
    optimizers.compare(*(optimizers.find(_tops(side)) for side in sides))
