"""One loading of weights: its options, both sides, and what has been found so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tiedio import keras_api, slots
from tiedio.errors import MismatchError
from tiedio.manifest import Manifest, TensorSpec, Variable
from tiedio.matching import Alignment, Tree
from tiedio.report import Mismatch, Report

Pair = tuple[slots.FoundSlot, Variable]
"""A slot of the models, and the variable of the file that stands there."""

Read = Callable[[str], np.ndarray[Any, Any]]
UNMATCHED = "\0"
"""Marks, in names of optimizer state, a model variable that the file does not have."""


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of `load_weights` that say how."""

    strict: bool = True
    ties: str = "match"
    optimizer: bool = True
    prefix: str = ""
    mapping: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Work:
    """One loading: both sides, what was matched, and what has been found so far."""

    walk: slots.Walk
    manifest: Manifest
    path: str
    options: Options
    model_tree: Tree
    file_tree: Tree
    found: Alignment
    part: list[str]
    part_objects: frozenset[str] = frozenset()
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[Mismatch] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    trainable: list[str] = field(default_factory=list)
    tied: list[str] = field(default_factory=list)
    optimizers: list[tuple[Any, str]] = field(default_factory=list)

    def report(self) -> Report:
        """What happened."""
        return Report(
            self.path,
            tuple(self.loaded),
            tuple(self.missing),
            tuple(self.unexpected),
            tuple(self.mismatched),
            tuple(self.skipped),
            tuple(self.trainable),
            tuple(self.found.renamed),
            tuple(self.tied),
        )

    def records(self) -> dict[str, Variable]:
        """The file's variable of each of its slots."""
        return {slot.path: variable for variable in self.manifest.variables for slot in variable.slots}

    def objects(self) -> dict[str, Any]:
        """The models' objects by path."""
        return {found.path: found.value for found in self.walk.objects}

    def compare(self, pairs: Iterable[Pair]) -> None:
        """Notes the pairs that differ in shape or dtype."""
        for slot, record in pairs:
            if not is_alike(slot.variable, record):
                self.mismatched.append(Mismatch(slot.path, look(record.tensor), look(spec_of(slot.variable))))

    def require_complete(self) -> None:
        """Raises `MismatchError` unless both sides had the same places, alike in shape and dtype."""
        if self.report().complete:
            return
        lists = (
            ("missing in the file", self.missing),
            ("not in the model", self.unexpected),
            ("different", [str(one) for one in self.mismatched]),
        )
        told = [f"{what}: {'; '.join(p[:8])}{'; …' if len(p) > 8 else ''}" for what, p in lists if p]
        raise MismatchError(
            "the file does not fit the model, so nothing was loaded",
            path=(self.missing or self.unexpected or [one.path for one in self.mismatched])[0],
            expected="the same places, each alike in shape and dtype",
            found=" | ".join(told),
            remedy="pass strict=False to load what fits, prefix= for a part of the file, or mapping= for other names",
        )


def spec_of(variable: Any) -> TensorSpec:
    """Dtype and shape of a living variable."""
    return TensorSpec("", keras_api.storage_dtype(variable), tuple(int(size) for size in variable.shape))


def is_alike(variable: Any, record: Variable) -> bool:
    """Whether a variable takes the value of the file as it is."""
    spec = spec_of(variable)
    return (spec.dtype, spec.shape) == (record.dtype, record.shape)


def look(spec: TensorSpec) -> str:
    """Dtype and shape as text."""
    return f"{spec.dtype} {spec.shape}"
