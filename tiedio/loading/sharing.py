"""Whether the ties of the models are the file's, and what it takes to make them so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from tiedio import migration, retying, slots
from tiedio.errors import MismatchError
from tiedio.loading.work import Pair, Work, is_alike
from tiedio.weights import Roots


def groups(work: Work, pairs: Sequence[Pair]) -> list[retying.Group]:
    """For each variable of the file what is to hold it in the model."""
    found: dict[str, list[slots.FoundSlot]] = {}
    for slot, record in pairs:
        if slot.view is None and is_alike(slot.variable, record):
            found.setdefault(record.slots[0].path, []).append(slot)
    mine_of = {theirs: mine for mine, theirs in work.found.slots}
    part = set(work.part)
    made = []
    for record in work.manifest.variables:
        held = found.get(record.slots[0].path)
        if held:
            first = mine_of.get(record.slots[0].path)
            held.sort(key=lambda slot: slot.path != first)
            plain = [slot.path for slot in record.slots if slot.view is None]
            lacking = [path for path in plain if path not in mine_of and path in part]
            made.append(retying.Group(record, tuple(held), tuple(_places(work, lacking))))
    return made


def _places(work: Work, lacking: Sequence[str]) -> Iterable[tuple[Any, tuple[slots.Step, ...], str]]:
    """Owner and way of places that the file has and the model has not, where the owner is there."""
    if not lacking:
        return
    objects = work.objects()
    for mine, theirs in work.found.objects:
        for segments, path in work.file_tree.slots[theirs].items():
            steps = slots.locate(objects[mine], segments.split("/")) if path in lacking else None
            if steps is not None and [kind for kind, _ in steps] == ["attribute"]:  # what is deeper, code has to make
                yield objects[mine], steps, slots.join(mine, segments)


def orders(work: Work) -> dict[str, Mapping[str, tuple[str, ...]]]:
    """The file's orders of the variables of each object of the models."""
    of_file = {record.path: record.orders for record in work.manifest.objects}
    return {mine: of_file[theirs] for mine, theirs in work.found.objects}


def after(work: Work, pairs: Sequence[Pair], roots: Roots) -> list[Pair]:
    """The pairs as they are now that ties were restored, with the places that were made."""
    matched = {slot.path: record for slot, record in pairs}
    theirs_of = dict(work.found.objects)
    records = work.records()
    work.walk = slots.walk(roots)
    now: list[Pair] = []
    for slot in work.walk.slots:
        if slot.path in matched:
            now.append((slot, matched[slot.path]))
        elif slot.path in work.tied and slot.owner in theirs_of:
            segments = slot.path[len(slot.owner) + 1 :] if slot.owner else slot.path
            theirs = work.file_tree.slots[theirs_of[slot.owner]].get(segments)
            if theirs is not None:
                work.found.slots.append((slot.path, theirs))
                now.append((slot, records[theirs]))
    return now


def require_same_ties(pairs: Sequence[Pair]) -> None:
    """Raises `MismatchError` unless two matched places hold one variable exactly if they do in the file."""
    in_file: dict[str, dict[int, str]] = {}
    in_model: dict[int, dict[str, str]] = {}
    for slot, record in pairs:
        in_file.setdefault(record.slots[0].path, {}).setdefault(id(slot.variable), slot.path)
        in_model.setdefault(id(slot.variable), {}).setdefault(record.slots[0].path, slot.path)
    split = [" and ".join(places.values()) for places in in_file.values() if len(places) > 1]
    merged = [" and ".join(places) for places in in_model.values() if len(places) > 1]
    if split or merged:
        told = [f"{p}: one variable in the file, several in the model" for p in split]
        told += [f"{p}: several variables in the file, one in the model" for p in merged]
        raise MismatchError(
            "the ties of the model are not those of the file, so nothing was loaded",
            path=(split or merged)[0].partition(" and ")[0],
            expected="places that hold one variable exactly where the file says so",
            found="; ".join(told[:8]) + ("; …" if len(told) > 8 else ""),
            remedy="pass ties='restore' to give the model the file's ties, or ties='model' to keep the model's",
        )


def forget_all_functions(work: Work, undo: ExitStack) -> None:
    """Lets all models trace their functions anew; one that is not compiled predicts too."""
    for one in work.objects().values():
        migration.forget_functions(one, undo, "train_function", "test_function", "predict_function")
