"""What stands beside a golden file: digests of its tensors, read without tiedio, and arrays as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tiedio import records


def raw_tensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Each tensor of a safetensors file, read without tiedio: dtype code, shape, bytes."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    found = {}
    for name, spec in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            begin, end = spec["data_offsets"]
            found[name] = (spec["dtype"], spec["shape"], raw[start + begin : start + end])
    return found


def facts_of(path: Path) -> dict[str, dict[str, Any]]:
    """Dtype, shape and digest of each tensor of a file."""
    return {
        name: {"dtype": dtype, "shape": shape, "sha256": hashlib.sha256(raw).hexdigest()}
        for name, (dtype, shape, raw) in sorted(raw_tensors(path).items())
    }


def views_of(slots: Iterable[Iterable[Any]]) -> dict[str, Any]:
    """By path, the view in each slot that holds one."""
    return {one.path: records.encode(one.view) for group in slots for one in group if one.view is not None}


def outputs_of(model: Any, inputs: Any) -> list[np.ndarray[Any, Any]]:
    """What a model, or each of several, gives for the fixed inputs, as float32."""
    pairs = [(model[name], inputs[name]) for name in sorted(model)] if isinstance(model, dict) else [(model, inputs)]
    flat = [keras.tree.flatten(one(fed, training=False)) for one, fed in pairs]
    return [np.asarray(keras.ops.convert_to_numpy(x)).astype("float32") for outputs in flat for x in outputs]


def encoded(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"dtype": str(array.dtype), "shape": list(array.shape), "hex": array.tobytes().hex()}


def array_of(record: dict[str, Any]) -> np.ndarray[Any, Any]:
    """An array from its dtype, shape and bytes in hex."""
    return np.frombuffer(bytes.fromhex(record["hex"]), record["dtype"]).reshape(record["shape"])


def map_inputs(inputs: Any, act: Callable[[Any], Any]) -> Any:
    """The inputs of a golden model with each array, or its record, replaced."""
    if isinstance(inputs, list):
        return [map_inputs(item, act) for item in inputs]
    if isinstance(inputs, dict) and "hex" not in inputs:
        return {name: map_inputs(item, act) for name, item in inputs.items()}
    return act(inputs)
