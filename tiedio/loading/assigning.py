"""Values into living variables, all or none, and the loading hooks of their owners."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiedio import hooks, slots, values
from tiedio.container.single import as_bytes
from tiedio.dtypes import numpy_dtype
from tiedio.errors import DAMAGED, MismatchError
from tiedio.loading.remembering import remember
from tiedio.loading.work import Pair, Read, Work, is_alike
from tiedio.manifest import Stored, Variable
from tiedio.report import Mismatch


@dataclass(frozen=True, slots=True)
class Step:
    """One assignment: the variable, where it is, and its bytes, which no other variable shares."""

    variable: Any
    path: str
    raw: np.ndarray[Any, Any]


def plan(work: Work, pairs: Sequence[Pair], read: Read) -> list[Step]:
    """What is to be assigned, every byte of it read and checked.

    Raises:
        MismatchError: if slots of one variable have several values in the file, which differ.
        FormatError: if the file cannot be read.
    """
    sources: dict[int, tuple[slots.FoundSlot, dict[str, Variable]]] = {}
    for slot, record in pairs:
        if is_alike(slot.variable, record):
            sources.setdefault(id(slot.variable), (slot, {}))[1][record.slots[0].path] = record
    canonical = work.walk.canonical_slots()
    given: set[str] = set()
    steps = []
    for slot, records in sources.values():
        path = canonical.get(id(slot.variable), slot.path)
        (name, record), *others = records.items()
        raw = read(name)
        if raw.size != np.prod(record.shape, dtype=np.int64) * numpy_dtype(record.dtype).itemsize:
            raise MismatchError(
                "the tensor has another size in bytes than its variable",
                path=path,
                expected=f"{record.dtype} {record.shape}",
                found=f"{raw.size} bytes",
                remedy=DAMAGED,
            )
        different = [other for other, _ in others if not np.array_equal(raw, read(other))]
        if different:
            _refuse_different(work, path, [name, *different])
            continue
        # A variable may share the file's pages, and write to them: two must not share the same ones.
        steps.append(Step(slot.variable, path, raw.copy() if name in given else raw))
        given.add(name)
        work.loaded.append(path)
    return steps


def _refuse_different(work: Work, path: str, names: Sequence[str]) -> None:
    if work.options.strict:
        raise MismatchError(
            "one variable of the model has several values in the file, so nothing was loaded",
            path=path,
            expected="values that agree bit for bit",
            found=f"others in {' and '.join(names)}",
            remedy="pass ties='restore' to give each slot its own variable again, or untie the model",
        )
    work.mismatched.append(Mismatch(path, f"several values ({', '.join(names)})", "one variable"))


def assign(steps: Sequence[Step], undo: ExitStack) -> None:
    """Gives every variable its value; `undo` gives back the ones that they had."""
    for step in steps:
        undo.callback(values.put_back, step.variable, values.remember(step.variable))
        values.fill(step.variable, step.raw, step.path)


# --- hooks ------------------------------------------------------------------------------------------


def run_hooks(work: Work, steps: Sequence[Step], read: Read, undo: ExitStack) -> bool:
    """Runs the loading hooks of classes that have their own, and checks that they leave the file's values alone.

    Returns:
        Whether any ran.

    Raises:
        MismatchError, RebuildError: if a hook fails, or leaves another value than the file's in a slot.
    """
    stored: dict[str, list[Stored]] = {}
    for one in work.manifest.stored:
        if one.hook != "vocabulary":
            stored.setdefault(one.object, []).append(one)
    loaded = {id(step.variable): step for step in steps}
    mine_of = {theirs: mine for mine, theirs in work.found.objects}
    ran = False
    for theirs, held, below in _hooked(work):
        value = held[0]
        mine = stored.get(theirs, [])
        if not mine and not hooks.has_hooks(value):
            continue
        whole = all(id(variable) in loaded for variable in below)
        if not work.options.strict and not (whole and hooks.has_hooks(value)):
            work.skipped.append((theirs, "its own hooks need everything below it, and a class that has them"))
            continue
        expected = [(loaded[id(variable)], _bytes(variable)) for variable in below]
        undo.callback(remember(held, below))
        for variable in below:
            undo.callback(values.put_back, variable, values.remember(variable))
        ran |= hooks.restore([(theirs, value)], mine, lambda one: values.stored_array(read, one))
        for step, before in expected:
            if _bytes(step.variable) != before:
                raise MismatchError(
                    "a loading hook left another value than the file's, so nothing was loaded",
                    path=step.path,
                    expected="the value that was saved",
                    found="another one",
                    remedy="let load_own_variables give every variable the value that it had",
                )
        work.loaded += [slots.join(mine_of.get(theirs, theirs), f"{hooks.MARKS[one.hook]}/{one.key}") for one in mine]
    return ran


def _bytes(variable: Any) -> bytes:
    return as_bytes(values.array_of(variable)).tobytes()


def _hooked(work: Work) -> list[tuple[str, list[Any], list[Any]]]:
    """Path in the file of each object, the object and, if it has hooks, all below it, and the variables there."""
    objects = work.objects()
    by_slot = {slot.path: slot.variable for slot in work.walk.slots}
    found: dict[str, tuple[str, list[Any], list[Any]]] = {}
    for mine, theirs in work.found.objects:
        value = objects[mine]
        if mine not in found:
            has = hooks.has_hooks(value)
            below = {id(by_slot[p]): by_slot[p] for p in work.model_tree.reached([mine])} if has else {}
            held = [objects[path] for path in work.model_tree.below([mine])] if has else [value]
            found[mine] = (theirs, held, list(below.values()))
    optimizers = [(theirs, [optimizer], list(optimizer.variables)) for optimizer, theirs in work.optimizers]
    return [*found.values(), *optimizers]
