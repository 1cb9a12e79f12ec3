"""Places that are a view on one side of a loading and something else on the other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiedio import keras_api, retying, slots
from tiedio.container.single import as_bytes
from tiedio.dtypes import numpy_dtype
from tiedio.errors import MismatchError
from tiedio.loading.assigning import Step
from tiedio.loading.work import Pair, Read, Work, look, spec_of
from tiedio.manifest import TensorSpec, Variable
from tiedio.report import Mismatch
from tiedio.views import View
from tiedio.weights import Roots


@dataclass(frozen=True, slots=True)
class Unlike:
    """A place of the model, the variable that the file has there, and the view of it that the file has there."""

    slot: slots.FoundSlot
    record: Variable
    view: View | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what the file has there."""
        return self.record.shape if self.view is None else self.view.result_shape(self.record.shape)

    @property
    def told(self) -> str:
        """Both sides, in words."""
        mine, theirs = (f"a {view}" if view else "a variable" for view in (self.slot.view, self.view))
        of = ", of other weights" if self.slot.view == self.view else ""
        return f"{self.slot.path}: {theirs} in the file, {mine} in the model{of}"


def split(work: Work) -> tuple[list[Pair], list[Unlike]]:
    """The matched places: those that hold a variable, or the same view of one, on both sides, and the others."""
    mine = {slot.path: slot for slot in work.walk.slots}
    views = {slot.path: slot.view for variable in work.manifest.variables for slot in variable.slots}
    records = work.records()
    found = [Unlike(mine[here], records[there], views[there]) for here, there in work.found.slots]
    plain = [one for one in found if one.slot.view is None and one.view is None]
    sources = {id(one.slot.variable): one.record.slots[0].path for one in plain}

    def alike(one: Unlike) -> bool:
        path = one.record.slots[0].path
        return one.slot.view == one.view and (one.view is None or sources.get(id(one.slot.variable), path) == path)

    return [(one.slot, one.record) for one in found if alike(one)], [one for one in found if not alike(one)]


def compare(work: Work, unlike: Sequence[Unlike]) -> None:
    """Notes the places that differ in shape or dtype."""
    for one in unlike:
        theirs = TensorSpec("", one.record.dtype, one.shape)
        mine = spec_of(one.slot.held)
        if mine != theirs:
            work.mismatched.append(Mismatch(one.slot.path, look(theirs), look(mine)))


def refuse(unlike: Sequence[Unlike]) -> None:
    """Raises `MismatchError` if there are any."""
    if unlike:
        told = [one.told for one in unlike]
        raise MismatchError(
            "the ties of the model are not those of the file, so nothing was loaded",
            path=unlike[0].slot.path,
            expected="the same views in both",
            found="; ".join(told[:8]) + ("; …" if len(told) > 8 else ""),
            remedy="pass ties='restore' to give the model the file's ties, or ties='model' to keep the model's",
        )


def part(
    work: Work, roots: Roots, pairs: Sequence[Pair], unlike: Sequence[Unlike], undo: ExitStack
) -> tuple[list[Pair], list[Unlike]]:
    """Gives places that are another view in the model a variable of their own.

    Returns:
        All pairs of variables as they are then, and the places that the file has a view for.
    """
    changed = [one for one in unlike if one.slot.view is not None]
    own = [(one.slot, _own(one)) for one in changed]
    retying.replace(work.objects(), own, undo)
    work.tied += [one.slot.path for one in changed]
    if changed:
        work.walk = slots.walk(roots)
    now = {slot.path: slot for slot in work.walk.slots}
    plain = [(one.slot, one.record) for one in unlike if one.view is None]
    return (
        [(now[slot.path], record) for slot, record in (*pairs, *plain)],
        [Unlike(now[one.slot.path], one.record, one.view) for one in unlike if one.view is not None],
    )


def _own(one: Unlike) -> Any:
    shape = tuple(int(size) for size in one.slot.held.shape)
    record = one.record
    return retying.another(one.slot.variable, shape, record.created_trainable, record.name, record.path)


def view_again(
    work: Work, unlike: Sequence[Unlike], pairs: Sequence[Pair], moved: dict[int, Any], undo: ExitStack
) -> None:
    """Puts the file's views where the model has a variable.

    Raises:
        MismatchError: if the model does not have the weight that one is computed from.
    """
    sources = {record.slots[0].path: slot.variable for slot, record in pairs}
    made: list[tuple[slots.FoundSlot, Any]] = []
    for one in unlike:
        source = sources.get(one.record.slots[0].path)
        if source is None:
            raise MismatchError(
                "the weight is a view of one that the model does not have, so nothing was loaded",
                path=one.slot.path,
                expected=f"the weight {one.record.slots[0].path!r} of the file",
                found="no place for it",
                remedy="load both together, or pass ties='model' to give this weight the view's value",
            )
        assert one.view is not None
        moved[id(one.slot.variable)] = source
        made.append((one.slot, keras_api.live_view(source, one.view)))
    retying.replace(work.objects(), made, undo)
    work.tied += [one.slot.path for one in unlike]


def steps(work: Work, unlike: Sequence[Unlike], pairs: Sequence[Pair], read: Read) -> list[Step]:
    """What is assigned where the model's ties stay: the value of a view to a variable; a view is only compared.

    Raises:
        MismatchError: if a view of the model would have another value than the file's.
    """
    here = {id(slot.variable): record for slot, record in pairs}
    found = []
    for one in unlike:
        if not _fits(one):
            continue  # noted as a mismatch
        raw = _value(read, one.record, one.view)
        if one.slot.view is None:
            found.append(Step(one.slot.variable, one.slot.path, raw))
            work.loaded.append(one.slot.path)
            continue
        source = here.get(id(one.slot.variable))
        if source is None or not np.array_equal(raw, _value(read, source, one.slot.view)):
            if work.options.strict:
                raise MismatchError(
                    "a weight that is a view in the model has another value in the file, so nothing was loaded",
                    path=one.slot.path,
                    expected=f"the {one.slot.view} of its source, bit for bit",
                    found="another value" if source is not None else "no value for its source",
                    remedy="pass ties='restore' to give the slot its own variable again, or untie the model",
                )
            work.mismatched.append(Mismatch(one.slot.path, "another value", f"a {one.slot.view}"))
        else:
            work.loaded.append(one.slot.path)
    return found


def _fits(one: Unlike) -> bool:
    return spec_of(one.slot.held) == TensorSpec("", one.record.dtype, one.shape)


def _value(read: Read, record: Variable, view: View | None) -> np.ndarray[Any, Any]:
    """The bytes of a variable of the file, or of a view of it, in memory of their own."""
    raw = read(record.slots[0].path)
    array = raw.view(numpy_dtype(record.dtype)).reshape(record.shape)
    return as_bytes(array if view is None else view.apply(array)).copy()
