"""Plain safetensors: tensors by name, put into a model's weights by slot, by Keras's path, or by a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiedio import keras_api, slots, values
from tiedio.container.single import Reader, as_bytes, open_reader
from tiedio.dtypes import numpy_dtype
from tiedio.errors import MismatchError, ModelError, shown
from tiedio.limits import Limits
from tiedio.manifest import SAFETENSORS_CODES
from tiedio.views import View

_DTYPES = {code: dtype for dtype, code in SAFETENSORS_CODES.items()}


def fill_from(path: str, limits: Limits | None) -> Reader:
    """The open file."""
    return open_reader(path, mmap=False, verify=False, limits=limits)


@dataclass(frozen=True, slots=True)
class Target:
    """The weights of a model by the names that a file may have for them: slots, and Keras's paths where they differ."""

    path: str
    by_slot: dict[str, slots.FoundSlot]
    by_path: dict[str, slots.FoundSlot | None]
    weights: dict[int, slots.FoundSlot]

    @staticmethod
    def of(model: Any, path: str) -> Target:
        """The names of a model's weights."""
        walk = slots.walk({None: model})
        mine = {id(variable) for variable in model.weights}
        by_path: dict[str, slots.FoundSlot | None] = {}
        groups = [group for group in walk.by_variable() if id(group[0].variable) in mine]
        for group in groups:
            name = str(group[0].variable.path)
            by_path[name] = None if name in by_path else group[0]  # which of two is meant, nobody knows
        by_slot = {slot.path: slot for group in groups for slot in group if slot.view is None}
        return Target(path, by_slot, by_path, {id(group[0].variable): group[0] for group in groups})

    def fill(self, reader: Reader, mapping: Mapping[str, Any], strict: bool) -> list[str]:
        """Gives every weight its tensor.

        Returns:
            What is worth to be told.

        Raises:
            MismatchError: if a tensor fits no weight, a weight gets none, or two that differ; all of them are named.
        """
        problems: list[str] = []
        filled: dict[int, tuple[slots.FoundSlot, str, np.ndarray[Any, Any]]] = {}
        left: list[str] = []
        names = [name for name in sorted(reader.header.entries) if name not in mapping]
        is_slots, is_paths = (all(name in known for name in names) for known in (self.by_slot, self.by_path))
        for name in sorted(reader.header.entries):
            if name in names and is_slots == is_paths and self._means_two(name):
                problems.append(f"{shown(name)} is the slot of one weight and Keras's path of another")
                continue
            slot, view = self._meant(name, mapping, is_paths)
            if slot is None:
                left.append(name)
                continue
            array, problem = self._array(reader, name, view, slot)
            key = id(slot.variable)
            if problem:
                problems.append(problem)
            elif key in filled and not np.array_equal(filled[key][2], array):
                problems.append(f"{shown(name)} and {shown(filled[key][1])} differ, and are one weight of the model")
            else:
                filled.setdefault(key, (slot, name, array))
        absent = [name for name in mapping if name not in reader.header.entries]
        problems += [f"{shown(name)} is in the mapping, and not in the file" for name in absent]
        missing = [slot.path for key, slot in self.weights.items() if key not in filled]
        loose = [*(f"{shown(name)} is no weight of the model" for name in left)]
        loose += [f"{shown(path)} of the model is not in the file" for path in missing]
        if problems or (strict and loose):
            raise self._misfit([*problems, *loose])
        for slot, name, array in filled.values():
            values.fill(slot.variable, array, name, share=False)
        tied = len(self.by_slot) - len(self.weights)
        return [*loose, *([f"{tied} more places got their value by the model's own ties"] if tied else [])]

    def _means_two(self, name: str) -> bool:
        """Whether a name is a slot, and also a path of another variable, or of more than one."""
        if name not in self.by_slot or name not in self.by_path:
            return False
        by_path = self.by_path[name]
        return by_path is None or by_path.variable is not self.by_slot[name].variable

    def _meant(
        self, name: str, mapping: Mapping[str, Any], is_paths: bool
    ) -> tuple[slots.FoundSlot | None, View | None]:
        if name not in mapping:
            if is_paths and self._means_two(name):  # all names are paths, and not all are slots
                return self.by_path[name], None
            return self.by_slot.get(name) or self.by_path.get(name), None
        target, view = mapping[name] if isinstance(mapping[name], tuple) else (mapping[name], None)
        found = self.by_slot.get(target) or self.by_path.get(target)
        if found is None or not isinstance(view, (View, type(None))):
            raise ModelError(
                "the mapping leads to no weight of the model",
                path=self.path,
                expected=f"one of {', '.join(list(self.by_slot)[:8])}",
                found=f"{shown(name)}: {shown(mapping[name])}",
                remedy='map names in the file to slots: {"w": "dense/kernel"} or ("dense/kernel", tiedio.transpose())',
            )
        return found, view

    def _array(
        self, reader: Reader, name: str, view: View | None, slot: slots.FoundSlot
    ) -> tuple[np.ndarray[Any, Any], str]:
        """The bytes for a slot, and what does not fit."""
        entry = reader.header.entries[name]
        dtype = _DTYPES.get(entry.dtype)
        wanted = (keras_api.storage_dtype(slot.variable), tuple(int(size) for size in slot.variable.shape))
        shape = entry.shape if view is None or dtype is None else view.result_shape(entry.shape)
        if dtype is None or (dtype, tuple(shape)) != wanted:
            told = f"{dtype or entry.dtype} {tuple(shape)}"
            return np.empty(0, np.uint8), f"{shown(name)}: {told} in the file, {wanted[0]} {wanted[1]} in the model"
        raw = reader.bytes_of(name)
        if view is None:
            return raw, ""
        whole = raw.view(numpy_dtype(dtype)).reshape(entry.shape)
        return as_bytes(np.ascontiguousarray(view.apply(whole))), ""

    def _misfit(self, problems: list[str]) -> MismatchError:
        return MismatchError(
            f"the file does not fit the model ({len(problems)} problems)",
            path=self.path,
            expected="one tensor for each weight, alike in shape and dtype",
            found="; ".join(problems[:6]) + (f"; and {len(problems) - 6} more" if len(problems) > 6 else ""),
            remedy="pass mapping={name in the file: slot}, or strict=False for what fits",
        )
