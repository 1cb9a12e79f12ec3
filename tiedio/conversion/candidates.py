"""Weights that may have been one: equal bit by bit, as they are or transposed, where that says something."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from xxhash import xxh3_128_digest

from tiedio import keras_api, slots, training, values
from tiedio.container.single import as_bytes
from tiedio.dtypes import numpy_dtype
from tiedio.optimizers import find as find_optimizers
from tiedio.optimizers import find_slots
from tiedio.terminal import printable, size_text
from tiedio.views import View, transpose

MIN_SIZE = 16
"""Elements: two trained tensors that agree in 16 random floats (23 bits each) by chance are one in 2 to the 368th."""

_DISTINCT = 8  # values: fewer are a pattern (an identity, a mask), which two initializers can give alike


@dataclass(frozen=True, slots=True)
class LostTie:
    """Weights that may have been one variable before a format lost that.

    Args:
        paths: slots, that of the weight that stays first.
        views: for each path: how it is computed from the first, or `None` if it is equal as it is.
        shape: of the first.
        dtype: of all.
        strength: `"strong"`, `"companion"` (small, but of the same layers as a strong one) or `"weak"`.
        reason: why, in words.
        distinct: how many different values are among the elements.
        optimizer: `"agrees"`, `"differs"`, `"none"`, or `"waiting"` in the file until the ties are back.

    Example:
        >>> from tiedio import LostTie
        >>> lost = LostTie(("a/kernel", "b/kernel"), (None, None), (3, 4), "float32", distinct=12)
        >>> print(lost)
        a/kernel = b/kernel: float32 3 x 4, 48 B, 12 distinct values of 12, strong; optimizer: none
    """

    paths: tuple[str, ...]
    views: tuple[View | None, ...]
    shape: tuple[int, ...]
    dtype: str
    strength: str = "strong"
    reason: str = ""
    distinct: int = 0
    optimizer: str = "none"

    @property
    def elements(self) -> int:
        """How many elements were compared."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bytes_saved(self) -> int:
        """Bytes of the copies that a tie does without."""
        return (len(self.paths) - 1) * self.elements * numpy_dtype(self.dtype).itemsize

    @property
    def pair(self) -> str:
        """The paths, as they are shown; a weight that is a view of the first is told as such."""
        told = [printable(self.paths[0])]
        for path, view in zip(self.paths[1:], self.views[1:], strict=True):
            told.append(printable(path) + ("" if view is None else " (transposed)"))
        return " = ".join(told)

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape)) or "scalar"
        facts = (
            f"{self.dtype} {shape}, {size_text(self.bytes_saved)}, {self.distinct} distinct values of {self.elements}"
        )
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.pair}: {facts}, {self.strength}{why}; optimizer: {self.optimizer}"


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight of the model: its canonical slot, all of its slots, and the variable."""

    slot: slots.FoundSlot
    places: tuple[slots.FoundSlot, ...]

    @property
    def variable(self) -> Any:
        """The variable."""
        return self.slot.variable


def weights_of(model: Any) -> list[Weight]:
    """The weights of a model, in the order in which optimizers see them; no state of seeds, metrics or optimizers."""
    models = list(model.values()) if isinstance(model, Mapping) else [model]
    roots = dict(model) if isinstance(model, Mapping) else {None: model}
    order = {id(variable): n for n, variable in enumerate(v for one in models for v in one.weights)}
    groups = [group for group in slots.walk(roots).by_variable() if id(group[0].variable) in order]
    groups = sorted(groups, key=lambda group: order[id(group[0].variable)])
    return [Weight(group[0], group) for group in groups if group[0].view is None]


def candidates(model: Any, *, min_size: int = MIN_SIZE, waiting: bool = False) -> list[LostTie]:
    """The weights of a model that may have been tied, the surest first.

    Args:
        model: a model, or a dict of models.
        min_size: elements below which equality alone says too little.
        waiting: whether the optimizer's state is still in the file.
    """
    weights = weights_of(model)
    arrays = [values.array_of(weight.variable) for weight in weights]
    states = OptimizerState.of(model)
    groups = [part for group in _equal(weights, arrays) for part in _by_facts(group, weights)]
    strong: set[tuple[str, ...]] = set()
    found: list[LostTie] = []
    for group, other in groups:
        first = arrays[group[0][0]]
        distinct = distinct_values(first)
        strength, reason = _strength(first, distinct, min_size)
        mine = [weights[n] for n, _ in group]
        if strength == "strong" and _same_seed(model, mine):
            strength, reason = "weak", "their initializers have one seed"
        if strength in ("strong", "small") and other:
            strength, reason = "weak", other
        if strength == "strong" and all(view is None for _, view in group) and _is_symmetric(first):
            strength, reason = "weak", "symmetric: as it is, or transposed, nobody knows"
        owners = tuple(sorted(weight.slot.owner for weight in mine))
        if strength == "strong":
            strong.add(owners)
        views = tuple(view for _, view in group)
        verdict = "waiting" if waiting else states.verdict([weight.variable for weight in mine], views)
        paths = tuple(weight.slot.path for weight in mine)
        shape = tuple(int(size) for size in first.shape)
        dtype = keras_api.storage_dtype(mine[0].variable)
        found.append(LostTie(paths, views, shape, dtype, strength, reason, distinct, verdict))
    owner_of = {weight.slot.path: weight.slot.owner for weight in weights}
    return sorted(
        (one for one in (_ranked(one, owner_of, strong) for one in found) if one is not None),
        key=lambda one: (("strong", "companion", "weak").index(one.strength), -one.bytes_saved, one.paths),
    )


def _ranked(one: LostTie, owner_of: Mapping[str, str], strong: set[tuple[str, ...]]) -> LostTie | None:
    """A candidate with what its layers' other weights say; one that says nothing is none."""
    together = tuple(sorted(owner_of[path] for path in one.paths)) in strong
    if one.strength == "small":
        return dataclasses.replace(
            one,
            strength="companion" if together else "weak",
            reason=one.reason + (", other weights of its layers are equal" if together else ""),
        )
    if one.strength == "constant":
        return dataclasses.replace(one, strength="weak", reason=one.reason) if together else None
    return one


def _strength(array: np.ndarray[Any, Any], distinct: int, min_size: int) -> tuple[str, str]:
    if distinct <= 1:
        return "constant", "all elements alike"
    if array.size < min_size:
        return "small", f"only {array.size} elements"
    if distinct < _DISTINCT:
        return "small", f"only {distinct} distinct values"
    if array.dtype.kind in "iub" and distinct < 64:
        return "small", "small integers"
    return "strong", ""


def distinct_values(array: np.ndarray[Any, Any]) -> int:
    """How many different bit patterns there are; of a large array, among the first of it."""
    flat = np.ascontiguousarray(array).reshape(-1)
    bits = flat.view({1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}.get(flat.dtype.itemsize, np.uint8))
    if bits.size == 0 or (bits == bits[0]).all():
        return min(bits.size, 1)
    return max(int(np.unique(bits[: 1 << 20]).size), 2)


Key = tuple[str, tuple[int, ...], bytes]


def _equal(weights: Sequence[Weight], arrays: Sequence[np.ndarray[Any, Any]]) -> list[list[tuple[int, View | None]]]:
    """Groups of equal weights by number, each with its view of the first; equality as it is goes before transposed."""
    shapes = {(keras_api.storage_dtype(w.variable), tuple(a.shape)) for w, a in zip(weights, arrays, strict=True)}
    groups: dict[Key, list[tuple[int, View | None]]] = {}
    for n, (weight, array) in enumerate(zip(weights, arrays, strict=True)):
        dtype, shape = keras_api.storage_dtype(weight.variable), tuple(array.shape)
        key = (dtype, shape, xxh3_128_digest(as_bytes(array).data))
        if key not in groups and len(shape) == 2 and (dtype, shape[::-1]) in shapes:
            turned = (dtype, shape[::-1], xxh3_128_digest(as_bytes(np.ascontiguousarray(array.T)).data))
            if turned in groups and turned != key:
                groups[turned].append((n, transpose()))
                continue
        groups.setdefault(key, []).append((n, None))
    return [group for group in groups.values() if len(group) > 1 and _are_equal(group, arrays)]


def _by_facts(
    group: list[tuple[int, View | None]], weights: Sequence[Weight]
) -> Iterator[tuple[list[tuple[int, View | None]], str]]:
    """The weights of a group that one variable can have been, and what speaks against it for the others."""
    parts: list[list[tuple[int, View | None]]] = []
    for one in group:
        variable = weights[one[0]].variable
        found = next((part for part in parts if not difference(weights[part[0][0]].variable, variable)), None)
        if found is None:
            parts.append([one])
        else:
            found.append(one)
    for part in parts:
        base = part[0][1]
        if len(part) > 1:
            yield [(n, None if view == base else transpose()) for n, view in part], ""
    if len(parts) > 1:
        firsts = [part[0] for part in parts]
        yield firsts, difference(*(weights[n].variable for n, _ in firsts[:2]))


def difference(one: Any, other: Any) -> str:
    """What two variables do not have in common beside their values, in words; a tie keeps what the first one has."""
    if bool(one.trainable) != bool(other.trainable):
        return "one is trainable, the other is not"
    for name in ("regularizer", "constraint"):
        if not _alike(getattr(one, name, None), getattr(other, name, None)):
            return f"they have not the same {name}"
    return ""


def _alike(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other) or not hasattr(one, "get_config"):
        return False
    return bool(one.get_config() == other.get_config())


def _is_symmetric(array: np.ndarray[Any, Any]) -> bool:
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        return False
    return np.array_equal(as_bytes(np.ascontiguousarray(array.T)), as_bytes(np.ascontiguousarray(array)))


def _are_equal(group: Sequence[tuple[int, View | None]], arrays: Sequence[np.ndarray[Any, Any]]) -> bool:
    """Bit by bit: digests that agree are no proof."""
    first = as_bytes(arrays[group[0][0]])
    for n, view in group[1:]:
        array = arrays[n] if view is None else np.ascontiguousarray(arrays[n].T)
        if not np.array_equal(as_bytes(array), first):
            return False
    return True


def _same_seed(model: Any, weights: Iterable[Weight]) -> bool:
    """Whether initializers with one given seed made all of these, which are equal then without ever being tied."""
    roots = dict(model) if isinstance(model, Mapping) else {None: model}
    owners = {found.path: found.value for found in slots.walk(roots).objects}
    seeds = []
    for weight in weights:
        name = weight.slot.path.rpartition("/")[2]
        initializer = getattr(owners[weight.slot.owner], f"{name}_initializer", None)
        if initializer is None or not hasattr(initializer, "seed") or keras_api.has_drawn_seed(initializer):
            return False
        seeds.append(initializer.seed)
    return all(isinstance(seed, int) and seed == seeds[0] for seed in seeds)


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """The state that optimizers have for each weight: by place, and by identity of the weight."""

    places: dict[tuple[str, str], dict[int, Any]]

    @staticmethod
    def of(model: Any) -> OptimizerState:
        """The state for the weights of a model."""
        roots = dict(model) if isinstance(model, Mapping) else {None: model}
        walk = slots.walk(roots)
        canonical = walk.canonical_slots()
        found = find_optimizers([("", path, value) for path, value in training.optimizers_of(walk)])
        built = {one.path: keras_api.optimizer_variables(one.value) for one in found}
        places: dict[tuple[str, str], dict[int, Any]] = {}
        for slot in find_slots(found, canonical):
            if len(slot.steps) == 2 and slot.steps[1][0] == "index":
                weight = built[slot.owner][slot.steps[1][1]]
                places.setdefault((slot.owner, str(slot.steps[0][1])), {})[id(weight)] = slot.variable
        return OptimizerState(places)

    def verdict(self, variables: Sequence[Any], views: Sequence[View | None]) -> str:
        """Whether the states of weights that are to be one agree."""
        seen = False
        for state in self.places.values():
            mine = [state.get(id(variable)) for variable in variables]
            if all(one is None for one in mine):
                continue
            if any(one is None for one in mine):
                return "differs"
            seen = True
            first = values.array_of(mine[0])
            for one, view in zip(mine[1:], views[1:], strict=True):
                array = values.array_of(one)
                array = np.ascontiguousarray(array.T) if view is not None and array.ndim == 2 else array
                if array.shape != first.shape or not np.array_equal(as_bytes(array), as_bytes(first)):
                    return "differs"
        return "agrees" if seen else "none"
