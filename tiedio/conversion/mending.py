"""Lost ties made again: the chosen ones and no others, with the optimizer's state of both copies, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tiedio import keras_api, slots, tying, values
from tiedio.container.single import as_bytes
from tiedio.conversion.candidates import LostTie, OptimizerState, Weight, weights_of
from tiedio.conversion.foreign import Opened
from tiedio.errors import MismatchError, ModelError, TieError, shown
from tiedio.views import View, transpose


def chosen_of(pairs: Iterable[Any]) -> list[tuple[str, str]]:
    """Pairs of paths, as they are told: `"a=b"`, `("a", "b")` or a `LostTie`.

    Raises:
        ModelError: if one is none of these.
    """
    found: list[tuple[str, str]] = []
    for pair in pairs:
        if isinstance(pair, LostTie):
            found += [(path, pair.paths[0]) for path in pair.paths[1:]]
            continue
        parts = pair.split("=") if isinstance(pair, str) else list(pair) if isinstance(pair, (list, tuple)) else []
        if len(parts) != 2 or not all(isinstance(part, str) and part.strip() for part in parts):
            raise ModelError(
                "this is no pair of paths",
                path="pairs",
                expected='"a/kernel=b/kernel", ("a/kernel", "b/kernel") or a LostTie',
                found=shown(pair),
                remedy="take the paths from tiedio.find_lost_ties, or from tiedio inspect",
            )
        found.append((parts[0].strip(), parts[1].strip()))
    return found


def tie_pairs(model: Any, pairs: Sequence[tuple[str, str]], *, check_state: bool) -> None:
    """Ties weights of a model whose values agree; of each pair the one that optimizers see first stays.

    Args:
        model: a model, or a dict of models.
        pairs: paths of slots.
        check_state: whether an optimizer has state of both that has to agree.

    Raises:
        TieError: if a path is no weight's, if two weights differ in value, or if their optimizer's states differ; the
            model may have some of the ties then.
    """
    for one, other in pairs:
        weights = weights_of(model)
        numbers = [_number(weights, path) for path in (one, other)]
        if numbers[0] == numbers[1]:
            continue  # an earlier pair has made it
        first, second = (weights[n] for n in sorted(numbers))
        view = _view_between(first, second)
        if check_state:
            _require_one_state(model, first, second, view)
        _tie(model, first, second, view)


def _number(weights: Sequence[Weight], path: str) -> int:
    for n, weight in enumerate(weights):
        if path in (place.path for place in weight.places):
            return n
    raise TieError(
        "there is no weight at this path",
        path=path,
        expected=", ".join(shown(weight.slot.path) for weight in weights[:12]),
        found="nothing",
        remedy="take the paths from tiedio.find_lost_ties, or from tiedio inspect",
    )


def _view_between(first: Weight, second: Weight) -> View | None:
    """How the second weight's value is that of the first.

    Raises:
        TieError: if it is another one.
    """
    one, other = values.array_of(first.variable), values.array_of(second.variable)
    paths = f"{first.slot.path} and {second.slot.path}"
    if (
        one.dtype != other.dtype
        or sorted(one.shape) != sorted(other.shape)
        or (one.ndim > 2 and one.shape != other.shape)
    ):
        raise TieError(
            "two weights of another shape or dtype are no copies of one",
            path=paths,
            expected=f"{one.dtype} {one.shape}, as it is or transposed",
            found=f"{other.dtype} {other.shape}",
            remedy="pair weights of one shape",
        )
    if one.shape == other.shape and np.array_equal(as_bytes(one), as_bytes(other)):
        return None
    if one.ndim == 2 and one.shape == other.shape[::-1]:
        if np.array_equal(as_bytes(np.ascontiguousarray(one.T)), as_bytes(other)):
            return transpose()
        other = other if one.shape == other.shape else other.T
    raise TieError(
        "the two weights differ, so one of them would be lost",
        path=paths,
        expected="values that agree bit by bit",
        found=f"values that differ by up to {_distance(one, other):.6g}",
        remedy="if they are to be one from now on, load the file and call tiedio.tie, which keeps one of the values",
    )


def _distance(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    with np.errstate(all="ignore"):
        return float(np.max(np.abs(one.astype("float64") - other.astype("float64")), initial=0.0))


def _require_one_state(model: Any, first: Weight, second: Weight, view: View | None) -> None:
    if OptimizerState.of(model).verdict([first.variable, second.variable], [None, view]) == "differs":
        raise TieError(
            "the optimizer's states of the two weights differ, so one of them would be lost",
            path=f"{first.slot.path} and {second.slot.path}",
            expected="states that agree bit by bit",
            found="others: the copies were trained apart",
            remedy="leave the optimizer out: optimizer=False (--drop-optimizer)",
        )


def _tie(model: Any, first: Weight, second: Weight, view: View | None) -> None:
    roots = dict(model) if isinstance(model, Mapping) else {None: model}
    owners = {found.path: found.value for found in slots.walk(roots).objects}
    target, source = owners[second.slot.owner], owners[first.slot.owner]
    for owner, weight in ((target, second), (source, first)):
        if not isinstance(owner, keras_api.Layer):
            raise TieError(
                "a weight that no layer holds cannot be tied",
                path=weight.slot.path,
                expected="a layer's weight",
                found=type(owner).__name__,
                remedy="leave this pair out",
            )
    names = {_inside(second.slot): _inside(first.slot)}
    tying.tie(target, source, weights=names, view=view, models=list(roots.values()))


def _inside(slot: slots.FoundSlot) -> str:
    """The path of a slot inside its owner."""
    return slot.path[len(slot.owner) + 1 :] if slot.owner else slot.path


def bring_back_state(opened: Opened) -> str:
    """What became of the optimizer: its state from the file, if the model that was read had no place for it.

    Raises:
        MismatchError: if that state still does not fit.
    """
    optimizer = getattr(opened.model, "optimizer", None)
    if opened.pending is None:
        if optimizer is None:
            return "none"
        return "no state" if opened.waiting else "reunited"
    try:
        opened.pending.give_optimizer(optimizer)
    except MismatchError as error:
        raise MismatchError(
            f"{error.what}, even with the ties that were made",
            path=error.path,
            expected=error.expected,
            found=error.found,
            remedy="choose all that was tied, weak candidates too; or leave the state out: optimizer=False"
            " (--drop-optimizer)",
        ) from error
    opened.pending = None
    return "brought back"
