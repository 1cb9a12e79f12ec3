"""The optimizers of compiled models: state is matched by the model's variable, never by position or name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from tiedio import keras_api, migration, slots, training
from tiedio.errors import MismatchError
from tiedio.loading.work import UNMATCHED, Pair, Work
from tiedio.manifest import Optimizer
from tiedio.optimizers import find, find_slots
from tiedio.retying import Retied


def names_of(work: Work, pairs: Sequence[Pair]) -> list[dict[int, str]]:
    """The file's names of the models' variables, by identity; more than one table where the model ties more."""
    several: dict[int, dict[str, None]] = {}
    for slot, record in pairs:
        several.setdefault(id(slot.variable), {})[record.slots[0].path] = None
    count = max([len(names) for names in several.values()], default=1)
    tables: list[dict[int, str]] = []
    for number in range(count):
        table = {}
        for group in work.walk.by_variable():
            named = list(several.get(id(group[0].variable), ()))
            table[id(group[0].variable)] = named[min(number, len(named) - 1)] if named else UNMATCHED + group[0].path
        tables.append(table)
    return tables


def prepare(work: Work, names: Sequence[Mapping[int, str]], moved: Mapping[int, Any], undo: ExitStack) -> list[Pair]:
    """Builds what has to be built, and pairs the optimizers' state with the file's; notes what has no partner.

    Raises:
        MismatchError: if an optimizer is of another class, or cannot be built again.
    """
    owners: dict[str, list[str]] = {}
    for mine, theirs in work.found.objects:
        owners.setdefault(mine, []).append(theirs)
    loaded: dict[int, tuple[str, str, Any]] = {}
    records: dict[str, int] = {}
    for path, optimizer in training.optimizers_of(work.walk):
        sharing = [one for one in training.compiled_models(work.walk) if one.optimizer is optimizer]
        if not sharing:
            continue  # one inside another, which goes with it
        models = {theirs for one in sharing for theirs in owners.get(one.path, ())}
        number, record = next(
            ((n, one) for n, one in enumerate(work.manifest.optimizers) if models & set(one.models)), (0, None)
        )
        if record is not None:
            records[record.path] = number
        why = _why_not(work, optimizer, record, path)
        if why is not None or record is None:
            _refuse_stale(optimizer, moved, path, why or "")
            if work.options.optimizer:
                work.skipped.append((path, why or ""))
            continue
        if _build(work, optimizer, record, names, moved, path, undo):
            for one in sharing:
                migration.forget_functions(one.model, undo, "train_function")
        loaded[number] = ("", record.path, optimizer)
    if work.options.optimizer and not work.options.prefix:
        left = [one.path for one in work.manifest.optimizers if one.models and one.path not in records]
        work.skipped += [(path, "no model here is compiled in its place") for path in left]
    # In the file's order, so that an optimizer that two others reach has the path that it has there.
    found = find([loaded[number] for number in sorted(loaded)])
    work.optimizers += [(one.value, one.path) for one in found]
    return _pairs(work, [one.path for one in found], [slot for table in names for slot in find_slots(found, table)])


def _pairs(work: Work, paths: Sequence[str], found: Sequence[slots.FoundSlot]) -> list[Pair]:
    """The state of the optimizers at these paths beside the file's."""
    records = work.records()
    distinct = {(id(slot.variable), slot.path): slot for slot in found}.values()
    pairs = [(slot, records[slot.path]) for slot in distinct if slot.path in records]
    here, there = {id(slot.variable) for slot, _ in pairs}, {one.slots[0].path for _, one in pairs}
    missing = [slot.path.replace(UNMATCHED, "") for slot in distinct if id(slot.variable) not in here]
    work.missing += list(dict.fromkeys(missing))
    in_file = [one.slots[0].path for one in work.manifest.variables]
    below = tuple(f"{path}/" for path in paths)
    work.unexpected += [path for path in in_file if path.startswith(below) and path not in there]
    work.compare(pairs)
    return pairs


def _why_not(work: Work, optimizer: Any, record: Optimizer | None, path: str) -> str | None:
    """Why an optimizer's state is not loaded, if it is not."""
    if not work.options.optimizer:
        return "optimizer=False"
    if record is None:
        return "the file has no state for it"
    classes = {one.path: one.class_name for one in work.manifest.optimizers}
    for one in find([("", record.path, optimizer)]):  # and those inside it
        found, expected = type(one.value).__name__, classes.get(one.path)
        if expected is None or found == expected:
            continue
        if work.options.strict:
            raise MismatchError(
                "the optimizer is of another class, so nothing was loaded",
                path=path + one.path.removeprefix(record.path),
                expected=expected,
                found=found,
                remedy="compile with the optimizer of the file, or pass optimizer=False or strict=False",
            )
        inside = "" if one.value is optimizer else " in its place inside this one"
        return f"the file has a {expected}, the model a {found}{inside}"
    return None


def follow(work: Work, names: Sequence[Mapping[int, str]], done: Retied, undo: ExitStack) -> None:
    """Lets what optimizers that are not built yet leave out of weight decay follow the variables of restored ties."""
    instead = _left_out_instead(work, names, done.moved)
    moves = [(old, instead[id(old)]) for old in done.kept_alive]
    for _, optimizer in training.optimizers_of(work.walk):
        if moves and not optimizer.built:
            undo.callback(migration.remember(optimizer))
            keras_api.move_exclusions(optimizer, moves)


def _left_out_instead(work: Work, names: Sequence[Mapping[int, str]], moved: Mapping[int, Any]) -> dict[int, list[Any]]:
    """What is left out of weight decay where a variable was; where a tie was undone, what the file says, or both."""
    alive = {id(slot.variable): slot.variable for slot in work.walk.slots}
    in_file = {path for one in work.manifest.optimizers for path in one.excluded_from_weight_decay}
    instead = {}
    for key, new in moved.items():
        both = [new] if key not in alive else [alive[key], new]
        said = [one for one in both if any(table.get(id(one)) in in_file for table in names)]
        instead[key] = said or both
    return instead


def _refuse_stale(optimizer: Any, moved: Mapping[int, Any], path: str, why: str) -> None:
    if moved and optimizer.built:
        raise MismatchError(
            "the optimizer is built for the variables that the model had before its ties were restored",
            path=path,
            expected="state in the file, or an optimizer that is not built yet",
            found=why,
            remedy="load before compiling the model, or compile it again with a new optimizer and load then",
        )


def _build(
    work: Work,
    optimizer: Any,
    record: Optimizer,
    names: Sequence[Mapping[int, str]],
    moved: Mapping[int, Any],
    path: str,
    undo: ExitStack,
) -> bool:
    """Builds an optimizer as the file's was; returns whether one that was built already was made anew."""
    alive = {id(group[0].variable): group[0].variable for group in work.walk.by_variable()}
    built_for = keras_api.optimizer_variables(optimizer) if optimizer.built else []
    stale = bool(work.tied) or any(id(variable) not in alive for variable in built_for)
    if bool(optimizer.built) == record.built and not (stale and optimizer.built):
        return False
    by_name: dict[str, list[Any]] = {}
    for table in names:
        for key, name in table.items():
            by_name.setdefault(name, []).append(alive[key])
    variables = [variable for name in record.variables for variable in by_name.get(name, ())]
    if any(name not in by_name for name in record.variables):
        variables = [moved.get(id(v), v) for v in built_for]
        variables = variables or _trained(work, optimizer)
    if record.built:
        variables += _trained_here_only(work, optimizer, variables, names[0])
    variables = list({id(v): v for v in variables if id(v) in alive}.values())
    undo.callback(migration.remember(optimizer))
    if optimizer.built:
        instead = _left_out_instead(work, names, moved)
        migration.start_again(optimizer, variables if record.built else None, moved, path, instead)
        return True
    optimizer.build(variables)
    return False


def _trained(work: Work, optimizer: Any) -> list[Any]:
    """What the models that compile with an optimizer train."""
    models = [one.model for one in training.compiled_models(work.walk) if one.optimizer is optimizer]
    return [variable for model in models for variable in model.trainable_variables]


def _trained_here_only(work: Work, optimizer: Any, variables: Sequence[Any], names: Mapping[int, str]) -> list[Any]:
    """What the models train, but what was frozen, or not there, when the file's optimizer was built.

    Raises:
        MismatchError: if there is any and the loading is strict: no step could be taken with such an optimizer.
    """
    records, known = work.records(), {id(variable) for variable in variables}
    other = [one for one in _trained(work, optimizer) if id(one) not in known and id(one) in names]
    # One that was trainable in the file too is one that the model's own code trains in another way.
    other = [one for one in other if names[id(one)] not in records or not records[names[id(one)]].trainable]
    if other and work.options.strict:
        canonical = work.walk.canonical_slots()
        raise MismatchError(
            "the optimizer of the file was not built for all that the model trains, so nothing was loaded",
            path=canonical[id(other[0])],
            expected="what was frozen in the file, frozen in the model",
            found=f"trainable: {', '.join(canonical[id(one)] for one in other[:8])}",
            remedy="freeze the layer as the file has it, or pass optimizer=False, or strict=False for what fits",
        )
    return other
