"""Lost ties made again: the chosen ones and no others, with the optimizer's state of both copies, or not at all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tiedio import keras_api, slots, tying, values
from tiedio.container.single import as_bytes
from tiedio.conversion.candidates import LostTie, OptimizerState, Weight, difference, distinct_values, weights_of
from tiedio.conversion.foreign import Opened
from tiedio.errors import MismatchError, ModelError, TieError, shown
from tiedio.views import View, transpose

_MOST_TURNED = 10  # ties with a transpose, each of which doubles the orders to be compared


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


@dataclass(slots=True)
class Mended:
    """What `tie_pairs` did: the ties, and what two weights did not have in common, and which of them stayed."""

    tied: list[LostTie] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def tie_pairs(model: Any, pairs: Sequence[tuple[str, str]], *, check_state: bool) -> Mended:
    """Ties weights of a model whose values agree; of each pair the one that optimizers see first stays.

    Args:
        model: a model, or a dict of models.
        pairs: paths of slots.
        check_state: whether an optimizer has state of both that has to agree.

    Returns:
        What was done.

    Raises:
        TieError: if a path is no weight's, if two weights differ in value, or if their optimizer's states differ; the
            model may have some of the ties then.
    """
    done = Mended()
    for one, other in pairs:
        weights = weights_of(model)
        numbers = [_number(weights, path) for path in (one, other)]
        if one == other:
            raise TieError(
                "a pair of one weight with itself",
                path=one,
                expected="two paths",
                found="one",
                remedy="take the paths from tiedio.find_lost_ties, or from tiedio inspect",
            )
        if numbers[0] == numbers[1]:
            continue  # an earlier pair has made it
        first, second = (weights[n] for n in sorted(numbers))
        view = _view_between(first, second)
        if check_state:
            _require_one_state(model, first, second, view)
        if told := difference(first.variable, second.variable):
            done.notes.append(f"{first.slot.path} and {second.slot.path}: {told}; that of {first.slot.path} was kept")
        _tie(model, first, second, view)
        shape = tuple(int(size) for size in first.variable.shape)
        dtype = keras_api.storage_dtype(first.variable)
        paths, distinct = (first.slot.path, second.slot.path), distinct_values(values.array_of(first.variable))
        done.tied.append(LostTie(paths, (None, view), shape, dtype, "weak", "named", distinct))
    return done


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


class Order:
    """The order of a model's trainable weights before ties are made, which tells where those that are one may stand.

    State without names is given by that order. Of a weight and its transpose either may have been the variable, and
    the state stands where that one does, and is turned as it is.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        places = {id(variable): n for n, variable in enumerate(model.trainable_variables)}
        self._shapes = [tuple(map(int, variable.shape)) for variable in model.trainable_variables]
        walk = slots.walk({None: model})
        self._place = {
            s.path: places[id(s.variable)] for s in walk.slots if s.view is None and id(s.variable) in places
        }

    def fits_twice(self) -> bool:
        """Whether, with the ties that the model has now, other variables than its own could have had such state."""
        choices: list[list[tuple[int, tuple[int, ...]]]] = []
        for group in slots.walk({None: self._model}).by_variable():
            known = [(self._place[slot.path], slot.view) for slot in group if slot.path in self._place]
            firsts = [
                min((place for place, view in known if (view is not None) == turned), default=None)
                for turned in (False, True)
            ]
            choices.append([(place, self._shapes[place]) for place in firsts if place is not None])
        choices = [one for one in choices if one]
        if sum(len(one) > 1 for one in choices) > _MOST_TURNED:
            return True
        orders = [[shape for _, shape in sorted(one)] for one in itertools.product(*choices)]
        return orders.count(orders[0]) > 1


def bring_back_state(opened: Opened, order: Order | None) -> str:
    """What became of the optimizer: its state from the file, if the model that was read had no place for it.

    Raises:
        MismatchError: if that state still does not fit, or if it fits in two ways.
    """
    optimizer = getattr(opened.model, "optimizer", None)
    if opened.pending is None:
        if optimizer is None:
            return "none"
        return "no state" if opened.waiting else "reunited"
    if order is not None and order.fits_twice():
        raise MismatchError(
            "the optimizer's state in the file fits in two ways, and it does not say which",
            path="pairs",
            expected="shapes that tell whether a weight or its transpose was the variable",
            found="weights of like shapes",
            remedy="leave the state out: optimizer=False (--drop-optimizer)",
        )
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
