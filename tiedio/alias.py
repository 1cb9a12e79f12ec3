"""Puts the one variable of each tie into all of its slots, in place, and restores attributes and orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from tiedio import arrays, describe, keras_api, slots
from tiedio.errors import MismatchError, TiedioError, one_line
from tiedio.manifest import Manifest, Variable

_GAP = 10_000
"""So far behind the end of a list a slot may be: what stands between is filled later, and a file can say anything."""

_GAP_FOR_EACH = 100
"""By how much more for each weight that is put there, of all lists together."""

_DEPTH = 200
"""Segments of a path that are told apart, which no honest path has; each is tried as the end of its owner's path."""

Fresh = Callable[[Variable], Any]
Revive = Callable[[Any], Any]

_LONGEST_INDEX = 9  # digits


def alias(
    roots: Mapping[str | None, Any],
    record: Manifest,
    variables: Sequence[Variable],
    fresh: Fresh,
    revive: Revive,
    foreign: Mapping[int, Any],
) -> None:
    """Gives rebuilt roots the ties, variable attributes and orders of a manifest.

    What the classes' own code tied is kept where the manifest has it and undone where it has not.

    Args:
        roots: the rebuilt models by name.
        record: the manifest.
        variables: its model variables, without those of optimizers.
        fresh: makes a variable for a record, for a slot that no code filled.
        revive: turns an encoded regularizer or constraint into the object.
        foreign: variables and objects, by identity, that belong to another model and must not be in this one.

    Raises:
        MismatchError: if a slot cannot be filled.
    """
    walk = slots.walk(roots)
    for path, value in (*((o.path, o.value) for o in walk.objects), *((s.path, s.variable) for s in walk.slots)):
        if id(value) in foreign:
            raise MismatchError(
                "the class's code gave a variable or layer of the living model instead of a new one",
                path=path,
                expected="a constructor that makes its state anew",
                found=f"{type(value).__name__} kept in a registry, cache or default argument",
                remedy="pass what is shared as a constructor argument and return it from get_config",
            )
    found = {slot.path: slot for slot in walk.slots}
    owners = {obj.path: obj.value for obj in walk.objects}
    _require_few_gaps([slot.path for spec in variables for slot in spec.slots if slot.path not in found])
    used: dict[int, Any] = {}
    chosen: dict[str, Any] = {}
    for spec in variables:
        variable = _choose(spec, found, used)
        if variable is None:
            variable = fresh(spec)
        used[id(variable)] = variable
        chosen[spec.slots[0].path] = variable
        describe.set_facts(variable, spec, revive)
        for slot in spec.slots:
            current = found.get(slot.path)
            if current is not None:
                _require_shape(
                    slot.path, current, spec.shape if slot.view is None else slot.view.result_shape(spec.shape)
                )
            wanted = variable if slot.view is None else keras_api.live_view(variable, slot.view)
            if current is None or current.held is not wanted:
                _fill(slot.path, current, owners, wanted)
    for obj in record.objects:
        if obj.path not in owners:
            raise MismatchError(
                "the rebuilt model lacks a layer",
                path=obj.path,
                expected=obj.class_name,
                found="nothing",
                remedy="set the layer in the constructor, or return it from get_config",
            )
    for obj in record.objects:
        _restore_object(owners, obj.path, obj.trainable, obj.orders, chosen)


def _require_few_gaps(paths: Sequence[str]) -> None:
    """Raises if lists would have to be made far longer, all together, than what is there to be put into them."""
    longest: dict[str, int] = {}
    for path in paths:
        segments = path.split("/", _DEPTH)
        for n, segment in enumerate(segments):
            if segment.isdecimal() and len(segment) <= 7:
                above = "/".join(segments[:n])
                longest[above] = max(longest.get(above, 0), int(segment))
    total = sum(longest.values())
    if total > _GAP + _GAP_FOR_EACH * len(paths):
        raise MismatchError(
            "the rebuilt model has no such place",
            path=next(iter(longest)),
            expected="lists about as long as what they hold",
            found=f"lists of {total:,} items, all together, for {len(paths):,} weights",
            remedy="the class's code no longer makes what it made when the model was saved",
        )


def _choose(spec: Variable, found: Mapping[str, slots.FoundSlot], used: Mapping[int, Any]) -> Any:
    """A variable that already stands in one of the slots, is free, and is alike in what cannot be changed."""
    for slot in spec.slots:
        if slot.path in found and slot.view is None and found[slot.path].view is None:
            variable = found[slot.path].variable
            _require_shape(slot.path, found[slot.path], spec.shape)
            alike = (
                keras_api.storage_dtype(variable) == spec.dtype
                and keras_api.created_trainable(variable) == spec.created_trainable
            )
            if alike and id(variable) not in used:
                return variable
    return None


def _require_shape(path: str, current: slots.FoundSlot, expected: tuple[int, ...]) -> None:
    """Raises unless what the class's code put into a slot has this shape: a tie changes none."""
    shape = tuple(int(size) for size in current.held.shape)
    if shape != expected:
        raise MismatchError(
            "the class's code makes a weight of another shape",
            path=path,
            expected=expected,
            found=shape,
            remedy="load with the code that the model was saved with, or give the layer its size in its config",
        )


def _fill(path: str, current: slots.FoundSlot | None, owners: Mapping[str, Any], variable: Any) -> None:
    if current is not None:
        owner, steps = owners[current.owner], current.steps
        if steps[0][0] == "store":
            raise MismatchError(
                "a variable that no attribute holds cannot be tied",
                path=path,
                found="a variable that only its layer's code can reach",
                remedy="hold the variable in an attribute of its layer",
                expected="an attribute that holds it",
            )
    else:
        owner, steps = _locate(path, owners)
    try:
        slots.put(owner, steps, variable)
    except (TiedioError, TypeError, AttributeError) as error:
        raise MismatchError(
            "the slot cannot be filled",
            path=path,
            expected="a place that takes a variable",
            found=one_line(error),
            remedy="let the class's own code make this place in its constructor or in build",
        ) from error


def _locate(path: str, owners: Mapping[str, Any]) -> tuple[Any, tuple[slots.Step, ...]]:
    """Owner and steps of a slot that the rebuilt model does not have yet; the list or dict around it is made."""
    segments = path.split("/", _DEPTH)
    for cut in range(len(segments) - 1, -1, -1):
        owner = owners.get("/".join(segments[:cut]))
        if owner is not None:
            steps = slots.locate(owner, segments[cut:]) or _make_place(owner, segments[cut:])
            if steps is not None:
                return owner, steps
    raise MismatchError(
        "the rebuilt model has no such place",
        path=path,
        remedy="the class's code no longer makes what it made when the model was saved",
        expected="a place that the class makes",
        found="nothing",
    )


def _make_place(owner: Any, segments: list[str]) -> tuple[slots.Step, ...] | None:
    """Makes the lists and dicts that lead to a place which a user's hand, and no code, has made; the steps to it.

    A segment of digits is an index, since names that begin with a digit are escaped; any other one is a key. What they
    were besides (a tuple, say) is compared afterwards, like everything else.
    """
    mark = "." if isinstance(owner, (keras_api.Functional, keras_api.Sequential)) else ""
    if slots.is_special(unquote(segments[0].removeprefix(mark))) or any(map(_is_no_index, segments)):
        return None
    if not segments[0].startswith(mark) or any(segment.startswith(("@", "#")) for segment in segments):
        return None
    steps: tuple[slots.Step, ...] = (("attribute", unquote(segments[0].removeprefix(mark))),)
    for segment in segments[1:]:
        there = slots.get(owner, steps)
        if there is slots.MISSING or there is None:
            slots.put(owner, steps, [] if segment.isdigit() else {})
        container = arrays.unwrapped(slots.get(owner, steps))
        if segment.isdigit() and isinstance(container, list):
            if int(segment) > len(container) + _GAP:
                return None
            while len(container) <= int(segment):
                list.append(container, None)  # what comes before it may be filled later
            steps = (*steps, ("index", int(segment)))
        elif not segment.isdigit() and isinstance(container, dict):
            steps = (*steps, ("key", "" if segment == "%empty" else unquote(segment)))
        else:
            return None
    return steps


def _is_no_index(segment: str) -> bool:
    """Whether a segment looks like an index and is none that a list could have."""
    return segment.isdigit() and not (segment.isdecimal() and segment.isascii() and len(segment) <= _LONGEST_INDEX)


def _restore_object(
    owners: Mapping[str, Any],
    path: str,
    trainable: bool | None,
    orders: Mapping[str, tuple[str, ...]],
    chosen: Mapping[str, Any],
) -> None:
    owner = owners[path]
    if trainable is not None:
        keras_api.set_object_facts(owner, trainable=trainable)
    inner = getattr(owner, "_functional", None)
    for store in keras_api.stores(owner):
        listed = [owners.get(member, chosen.get(member)) for member in orders.get(store, ())]
        if store == "layers" and inner is not None:
            listed.append(inner)
        if any(member is None for member in listed):
            members = orders.get(store, ())
            raise MismatchError(
                "the rebuilt model lacks a member of a list that Keras keeps",
                path=path or "the model",
                expected=", ".join(name for name, member in zip(members, listed, strict=False) if member is None),
                found=f"nothing of these names in {store}",
                remedy="load with the code that the model was saved with",
            )
        keras_api.set_store(owner, store, listed)
