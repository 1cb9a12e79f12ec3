"""The ties of a file, given to a living model in place; every act notes how it is undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tiedio import describe, keras_api, serialization, slots
from tiedio.errors import MismatchError, TiedioError, one_line
from tiedio.manifest import Slot, Variable
from tiedio.slots import FoundSlot, Step

_VARIABLE_STORES = ("trainable_variables", "non_trainable_variables", "variables")


@dataclass(frozen=True, slots=True)
class Group:
    """One variable of the file, and the places in the model that are to hold it.

    Args:
        record: the variable in the file.
        slots: the model's slots for it, that of the canonical slot first.
        lacking: owner, way and path of places that the model does not have yet.
    """

    record: Variable
    slots: tuple[FoundSlot, ...]
    lacking: tuple[tuple[Any, tuple[Step, ...], str], ...] = ()


@dataclass(slots=True)
class Retied:
    """What was done: the paths of the slots that hold another variable now, and what took each old one's place."""

    paths: list[str] = field(default_factory=list)
    moved: dict[int, Any] = field(default_factory=dict)
    kept_alive: list[Any] = field(default_factory=list)


def retie(
    groups: Sequence[Group],
    owners: Mapping[str, Any],
    orders: Mapping[str, Mapping[str, tuple[str, ...]]],
    undo: ExitStack,
) -> Retied:
    """Makes each group's slots hold one variable, and no two groups the same one.

    The variable in the canonical slot is kept, with its regularizer and constraint; where a group changes, its
    variable gets the trainable flag of the file.

    Args:
        groups: what is to be one variable.
        owners: the model's objects by path.
        orders: by object of the model: the file's orders of its variables, as canonical slots in the file.
        undo: takes the callbacks that put everything back.

    Raises:
        MismatchError: if a slot cannot be set.
    """
    done = Retied()
    chosen: dict[str, Any] = {}
    used: dict[int, Any] = {}
    changes: list[tuple[FoundSlot, Any]] = []
    for group in groups:
        keeper = next((s.variable for s in group.slots if _fits(s.variable, group.record, used)), None)
        if keeper is None:
            record = group.record
            old = group.slots[0].variable
            keeper = another(old, tuple(old.shape), record.created_trainable, record.name, record.path)
        used[id(keeper)] = chosen[group.record.slots[0].path] = keeper
        stale = [slot for slot in group.slots if slot.variable is not keeper]
        changes += [(slot, keeper) for slot in stale]
        if stale or group.lacking:
            _set_trainable(keeper, group.record.trainable, undo)
    touched = {slot.owner: owners[slot.owner] for slot, _ in changes}
    before = {path: {n: list(s) for n, s in keras_api.stores(owner).items()} for path, owner in touched.items()}
    for path, owner in touched.items():
        undo.callback(set_stores, owner, before[path])
    for slot, keeper in changes:
        if slot.steps[0][0] == "store":
            raise MismatchError(
                "a variable that no attribute holds cannot be tied",
                path=slot.path,
                expected="an attribute that holds it",
                found="a variable that only its layer's code can reach",
                remedy="hold the variable in an attribute of its layer",
            )
        undo.callback(put, owners[slot.owner], slot.steps, slot.variable, slot.path)
        put(owners[slot.owner], slot.steps, keeper, slot.path)
        done.moved[id(slot.variable)] = keeper
        done.kept_alive.append(slot.variable)
        done.paths.append(slot.path)
    for group in groups:
        for owner, steps, path in group.lacking:
            _add(owner, steps, chosen[group.record.slots[0].path], path, undo)
            done.paths.append(path)
    for path, owner in touched.items():
        mine = [(slot, keeper) for slot, keeper in changes if slot.owner == path]
        _restore_orders(owner, before[path], mine, orders.get(path, {}), chosen)
        serialization.follow(owner, {id(slot.variable): keeper for slot, keeper in mine}, undo)
    return done


def _fits(variable: Any, record: Variable, used: Mapping[int, Any]) -> bool:
    return id(variable) not in used and keras_api.created_trainable(variable) == record.created_trainable


def another(old: Any, shape: tuple[int, ...], created_trainable: bool, name: str, path: str) -> Any:
    """A variable like the old one, for a slot whose variable belongs to another slot."""
    new = keras_api.Variable(
        keras_api.keras.initializers.Zeros(),
        shape=shape,
        dtype=keras_api.storage_dtype(old),
        trainable=created_trainable,
        autocast=bool(old._autocast),
        aggregation=old.aggregation,
        name=name,
    )
    new.regularizer, new.constraint = old.regularizer, old.constraint
    like = describe.describe_variable(old, (Slot(""),), configs=False)
    keras_api.set_variable_facts(
        new,
        name=name,
        path=path,
        trainable=bool(old.trainable),
        synchronization=like.synchronization,
        overwrite_with_gradient=like.overwrite_with_gradient,
    )
    return new


def _set_trainable(variable: Any, flag: bool, undo: ExitStack) -> None:
    if bool(variable.trainable) != flag:
        undo.callback(keras_api.set_variable_facts, variable, trainable=bool(variable.trainable))
        keras_api.set_variable_facts(variable, trainable=flag)


def put(owner: Any, steps: tuple[Step, ...], variable: Any, path: str) -> None:
    """Makes a living object hold a variable or a view.

    Raises:
        MismatchError: if its place cannot be set.
    """
    try:
        slots.put(owner, steps, variable)
    except (TiedioError, TypeError, AttributeError) as error:
        raise MismatchError(
            "the slot cannot be filled",
            path=path,
            expected="a place that takes a variable",
            found=one_line(error),
            remedy="let the class's own code make the tie, and load with ties='match'",
        ) from error


def _add(owner: Any, steps: tuple[Step, ...], variable: Any, path: str, undo: ExitStack) -> None:
    """Makes an attribute that the model's code does not make."""
    stores = {name: list(store) for name, store in keras_api.stores(owner).items()}
    undo.callback(set_stores, owner, stores)
    undo.callback(keras_api.delete_attribute, owner, steps[0][1])
    put(owner, steps, variable, path)


def set_stores(owner: Any, stores: Mapping[str, Sequence[Any]]) -> None:
    """Gives an object the lists that Keras keeps for it."""
    for name, values in stores.items():
        keras_api.set_store(owner, name, values)


def _restore_orders(
    owner: Any,
    before: Mapping[str, Sequence[Any]],
    changes: Sequence[tuple[FoundSlot, Any]],
    orders: Mapping[str, tuple[str, ...]],
    chosen: Mapping[str, Any],
) -> None:
    """Puts each new variable where the old one stood, or all in the file's order if these are the same ones."""
    held = {id(member.value) for member in slots.members(owner) if member.steps[0][0] != "store"}
    for name, old in before.items():
        if name not in _VARIABLE_STORES:
            keras_api.set_store(owner, name, old)
            continue
        replaced: list[Any] = []
        for variable in old:
            new = [keeper for slot, keeper in changes if slot.variable is variable]
            replaced.extend([variable, *new] if not new or id(variable) in held else new)
        distinct = list({id(one): one for one in replaced}.values())
        listed = [chosen.get(path) for path in orders.get(name, ())]
        same = {id(one) for one in listed} == {id(one) for one in distinct}
        keras_api.set_store(owner, name, listed if same else distinct)


def replace(owners: Mapping[str, Any], changes: Sequence[tuple[FoundSlot, Any]], undo: ExitStack) -> None:
    """Puts variables or views into slots of living objects; their lists, orders and notes follow.

    Args:
        owners: the objects by path.
        changes: each slot with what it is to hold.
        undo: takes the callbacks that put everything back.

    Raises:
        MismatchError: if a slot cannot be set.
    """
    for path in dict.fromkeys(slot.owner for slot, _ in changes):
        owner = owners[path]
        before = {name: list(store) for name, store in keras_api.stores(owner).items()}
        undo.callback(_set_noted_order, owner, vars(owner).get(keras_api.ORDER_NAME))  # last: setting a view notes one
        undo.callback(set_stores, owner, before)
        mine = [(slot, new) for slot, new in changes if slot.owner == path]
        for slot, new in mine:
            undo.callback(put, owner, slot.steps, slot.held, slot.path)
            put(owner, slot.steps, new, slot.path)
        _rearrange(owner, before, [(slot.held, new) for slot, new in mine])
        serialization.follow(owner, {id(slot.held): new for slot, new in mine}, undo)


def _set_noted_order(owner: Any, noted: Any) -> None:
    vars(owner).pop(keras_api.ORDER_NAME, None)
    if noted is not None:
        vars(owner)[keras_api.ORDER_NAME] = noted


def _rearrange(owner: Any, before: Mapping[str, Sequence[Any]], changes: Sequence[tuple[Any, Any]]) -> None:
    """Each new variable stands in the owner's lists where the old one stood; a view stands in none.

    Args:
        owner: an object whose slots hold the new variables already.
        before: its lists as they were.
        changes: what a slot held, and what it holds now: a variable or a view.
    """
    held = {id(member.value): member.value for member in slots.members(owner) if member.steps[0][0] != "store"}
    placed: set[int] = set()
    for name, listed in before.items():
        if name not in _VARIABLE_STORES[:2]:
            keras_api.set_store(owner, name, listed)
            continue
        new: list[Any] = []
        for variable in listed:
            others = [now for old, now in changes if old is variable]
            new.extend([variable] if id(variable) in held or not others else [])
            new.extend(one for one in others if keras_api.viewed(one)[1] is None)
        distinct = list({id(one): one for one in new if id(one) not in placed}.values())
        placed |= {id(one) for one in distinct}
        keras_api.set_store(owner, name, distinct)
    for _, now in changes:
        if keras_api.viewed(now)[1] is None and id(now) not in placed:  # a view stood there before
            keras_api.insert(owner, now)
            placed.add(id(now))
    keras_api.forget_order(owner)
