"""Which weight of one layer stands for which weight of another, and what the target's slot is to hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiedio import keras_api, slots
from tiedio.errors import TieError
from tiedio.slots import FoundSlot
from tiedio.views import NAMES, View


@dataclass(frozen=True, slots=True)
class Pair:
    """A weight that is to be tied: the target's slot, and the variable or view that it is to hold."""

    target: FoundSlot
    wanted: Any


def pair_weights(
    target: Any, source: Any, weights: Sequence[str] | Mapping[str, str] | None, view: View | None
) -> list[Pair]:
    """Pairs the weights of two layers and checks that they can be tied; see `tiedio.tie`.

    Raises:
        TieError: if they cannot.
    """
    for layer, role in ((target, "target"), (source, "source")):
        _require_built(layer, role)
    if view is not None and not isinstance(view, View):
        raise TieError(
            "this is no view",
            path="view",
            expected="tiedio.transpose(), tiedio.reshape(shape) or tiedio.slice(start_indices, shape)",
            found=repr(view)[:60],
            remedy=_call_it(view)
            or "views are a closed set, so that a file can name them; use a layer of your own for other functions",
        )
    if target is source and (view is not None or not isinstance(weights, Mapping)):
        raise TieError(
            "a layer cannot be tied to itself",
            path=target.name,
            expected="two layers",
            found="one",
            remedy="pass the layer to tie, and the one to tie it to",
        )
    if view is not None and weights is None:
        raise TieError(
            "a view needs the names of the weights that it is for",
            path=target.name,
            expected="weights=[\"kernel\"], or {target's name: source's name}",
            found="weights=None",
            remedy=f"name them; {type(target).__name__} has {', '.join(_named(target)) or 'no weights'}",
        )
    both = _by_name(target, source, weights) if weights is not None else _alike(target, source)
    pairs = [pair for one in both if (pair := _pair(*one, view, target, source)) is not None]
    return list({pair.target.path: pair for pair in pairs}.values())


def _call_it(view: Any) -> str:
    """The remedy where a view's function was passed in place of what it returns."""
    name = getattr(view, "__name__", "") if callable(view) else ""
    return f"call it: view=tiedio.{name}(...)" if name in NAMES else ""


def named_weights(layer: Any, weights: Sequence[str] | None) -> list[FoundSlot]:
    """The slots of a layer's weights of these names, or of all of them.

    Raises:
        TieError: if it is not built, or has no weight of a name.
    """
    _require_built(layer, "layer")
    if weights is None:
        return list(_named(layer).values())
    return [_find(layer, name, _named(layer)) for name in _names(weights)]


def _require_built(layer: Any, role: str) -> None:
    if not isinstance(layer, keras_api.Layer):
        raise TieError(
            "this is no layer",
            path=role,
            expected="a keras.layers.Layer or keras.Model",
            found=type(layer).__name__,
            remedy='pass the layers, and name the weights: tiedio.tie(target, source, weights=["kernel"])',
        )
    if not layer.built:
        raise TieError(
            "the layer is not built, so it has no weights",
            path=layer.name,
            expected="a built layer",
            found="an unbuilt one",
            remedy="call it on data, or layer.build(input_shape), or make the model around it first",
        )


def _named(layer: Any) -> dict[str, FoundSlot]:
    """The slots of a layer's weights by name: the path inside the layer, such as `kernel` or `cell/kernel`."""
    mine = {id(variable) for variable in layer.weights}
    return {
        slot.path: slot
        for slot in slots.walk({None: layer}).slots
        if "@" not in (part[:1] for part in slot.path.split("/")) and (id(slot.variable) in mine or slot.view)
    }


def _names(weights: Any) -> list[str]:
    iterable = isinstance(weights, Iterable) and not isinstance(weights, str)
    if not iterable or not list(weights) or not all(isinstance(name, str) for name in weights):
        raise TieError(
            "weights are named by a list or a dict of strings",
            path="weights",
            expected='["kernel"] or {"kernel": "embeddings"}',
            found=repr(weights)[:60],
            remedy=f"pass [{weights!r}]" if isinstance(weights, str) else "pass names",
        )
    return list(weights)


def _find(layer: Any, name: str, named: Mapping[str, FoundSlot]) -> FoundSlot:
    """The weight of this name; the last part of its path will do if that is unique."""
    found = [slot for path, slot in named.items() if name == path]
    found = found or [slot for path, slot in named.items() if path.rpartition("/")[2] == name]
    if len(found) != 1:
        raise TieError(
            "there are several weights of this name" if found else "there is no weight of this name",
            path=f"{layer.name}/{name}",
            expected=f"one of {', '.join(named)}" if named else "a layer that has weights",
            found=", ".join(slot.path for slot in found) or name,
            remedy="give the path of one of them"
            + ("" if found else "; two names: weights={target's name: source's name}"),
        )
    return found[0]


Both = tuple[FoundSlot, FoundSlot]
"""The target's slot and the source's."""


def _by_name(target: Any, source: Any, weights: Sequence[str] | Mapping[str, str]) -> Iterator[Both]:
    mine, theirs = _named(target), _named(source)
    names = _names(weights)
    sources = _names(list(weights.values())) if isinstance(weights, Mapping) else names
    for name, other in zip(names, sources, strict=True):
        yield _find(target, name, mine), _find(source, other, theirs)


def _alike(target: Any, source: Any) -> list[Both]:
    """The weights of the same name and shape; of layers of one class with layers inside, place by place."""
    mine, theirs = _named(target), _named(source)
    if type(target) is type(source) and any("/" in path for path in (*mine, *theirs)):
        renamed = dict(_aligned(target, source))
        both = [(slot, theirs[renamed[path]]) for path, slot in mine.items() if renamed.get(path) in theirs]
    else:
        both = [(slot, theirs[name]) for name, slot in mine.items() if name in theirs and _fits(slot, theirs[name])]
    if not both:
        raise TieError(
            "the layers have no weight of the same name and shape",
            path=target.name,
            expected=_told(theirs) or "a source that has weights",
            found=_told(mine) or "no weights",
            remedy="name them: weights={target's name: source's name}, with view= where shapes differ",
        )
    return both


def _told(named: Mapping[str, FoundSlot]) -> str:
    return ", ".join(f"{name} {_shape(slot)}" for name, slot in named.items())


def _shape(slot: FoundSlot) -> tuple[int, ...]:
    return tuple(int(size) for size in slot.held.shape)


def _fits(mine: FoundSlot, theirs: FoundSlot) -> bool:
    return _shape(mine) == _shape(theirs)


def _aligned(target: Any, source: Any) -> Iterator[tuple[str, str]]:
    """Paths of the slots that stand in the same places of two objects of one structure.

    Raises:
        TieError: where the structures differ.
    """
    queue = deque([("", target, "", source)])
    seen: set[int] = set()
    while queue:
        path, mine, other, theirs = queue.popleft()
        if id(mine) in seen:
            continue
        seen.add(id(mine))
        sides = [[m for m in slots.members(one) if m.steps[0][0] not in ("store", "node")] for one in (mine, theirs)]
        if len(sides[0]) != len(sides[1]) or any(_kind(a) != _kind(b) for a, b in zip(*sides, strict=True)):
            raise TieError(
                "the two are not of the same structure",
                path=slots.join(target.name, path),
                expected=", ".join(map(_kind, sides[1])),
                found=", ".join(map(_kind, sides[0])),
                remedy="tie the layers inside one by one",
            )
        for a, b in zip(*sides, strict=True):
            where, there = slots.join(path, a.segment), slots.join(other, b.segment)
            if slots.is_variable(a.value):
                yield where, there
            else:
                queue.append((where, a.value, there, b.value))


def _kind(member: slots.Member) -> str:
    return "a weight" if slots.is_variable(member.value) else type(member.value).__name__


def _pair(mine: FoundSlot, theirs: FoundSlot, view: View | None, target: Any, source: Any) -> Pair | None:
    """What the target's slot is to hold; `None` if it holds that already."""
    names = f"{target.name}/{mine.path}", f"{source.name}/{theirs.path}"
    variable = theirs.variable
    shape = tuple(int(size) for size in variable.shape)
    whole = theirs.view if view is None else view.after(theirs.view, shape)
    if mine.variable is variable and mine.view == whole:
        return None
    if mine.held is variable:
        raise TieError(
            f"the weight cannot be a view of itself, and {names[1]!r} is computed from it",
            path=names[0],
            expected="a source that does not depend on the target",
            found=f"a {whole} of it",
            remedy="tie in the other direction, or untie the source first",
        )
    result = shape if whole is None else whole.result_shape(shape)
    if result != _shape(mine):
        raise TieError(
            f"cannot tie to {names[1]!r}: the shapes differ",
            path=names[0],
            expected=_shape(mine),
            found=result,
            remedy=_remedy(result, _shape(mine)),
        )
    _require_alike(names, "dtypes", keras_api.storage_dtype(mine.held), keras_api.storage_dtype(variable))
    _require_alike(names, "devices", keras_api.device_of(mine.held), keras_api.device_of(variable))
    _require_alike(names, "distribution layouts", keras_api.layout_of(mine.held), keras_api.layout_of(variable))
    for layer in (target, source):
        if getattr(layer, "lora_enabled", False):
            raise TieError(
                "a layer with LoRA keeps its kernel to itself",
                path=layer.name,
                expected="a layer without LoRA",
                found=f"LoRA of rank {layer.lora_rank}",
                remedy="tie first; or merge LoRA by saving and loading the layer's weights with Keras",
            )
    if mine.steps[0][0] == "store":
        raise TieError(
            "a variable that no attribute holds cannot be tied",
            path=names[0],
            expected="an attribute that holds it",
            found="a variable that only its layer's code can reach",
            remedy="hold the variable in an attribute of its layer",
        )
    return Pair(mine, variable if whole is None else keras_api.live_view(variable, whole))


def _require_alike(names: tuple[str, str], what: str, mine: Any, theirs: Any) -> None:
    if mine != theirs:
        raise TieError(
            f"cannot tie to {names[1]!r}: the {what} differ",
            path=names[0],
            expected=mine,
            found=theirs,
            remedy=f"make both layers with the same {what.removesuffix('s')}",
        )


def _remedy(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if sorted(given) == sorted(wanted) and len(given) > 1:
        axes = [given.index(size) for size in wanted]
        if given == tuple(reversed(wanted)):
            return "pass view=tiedio.transpose()"
        if len({*axes}) == len(axes):
            return f"pass view=tiedio.transpose({tuple(axes)})"
    return "tie weights of the same shape, or pass a view that gives it"
