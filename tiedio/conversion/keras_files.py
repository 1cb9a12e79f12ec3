"""`.keras` out: written beside the target, really loaded again, compared, and only then put into place."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from tiedio import keras_api, session, slots, training, values
from tiedio.container.atomic import replace_file
from tiedio.container.single import as_bytes
from tiedio.conversion.candidates import difference
from tiedio.conversion.foreign import Wanted, opened
from tiedio.errors import ModelError, PathError, TiedioError, one_line
from tiedio.views import View


def write_keras(model: Any, target: str, wanted: Wanted, *, overwrite: bool) -> list[str]:
    """Writes a model as `.keras`, atomically.

    Returns:
        What the format does not carry: ties, shared objects, state; found by loading the file again.

    Raises:
        ModelError: if Keras cannot write the model, or if what it writes does not load, or is another model.
        PathError: if the target cannot be written.
    """
    if not isinstance(model, keras_api.Model):
        raise ModelError(
            "a .keras file holds one model",
            path=target,
            expected="one model",
            found=f"{len(model)} models, saved together",
            remedy="convert to .safetensors, or load them and save each with Keras",
        )
    folder = os.path.dirname(os.path.realpath(target))
    if not os.path.isdir(folder):
        raise PathError(
            "the folder does not exist",
            path=target,
            expected="an existing folder",
            found=folder,
            remedy="create it first",
        )
    lost: list[str] = []

    def write(file: BinaryIO) -> None:
        with tempfile.TemporaryDirectory(prefix=".tiedio-", dir=folder) as beside:
            path = os.path.join(beside, "model.keras")
            _save(model, path, target)
            lost.extend(_lost(model, path, target, wanted))
            with open(path, "rb") as written:
                shutil.copyfileobj(written, file, 1 << 20)

    replace_file(target, write, overwrite=overwrite)
    return lost


def _save(model: Any, path: str, target: str) -> None:
    try:
        with session.without_old_warnings():
            model.save(path)
    except Exception as error:  # user code may raise anything
        raise ModelError(
            "Keras cannot write the model",
            path=target,
            expected="a model that its own format can hold",
            found=f"{type(error).__name__}: {one_line(error)}",
            remedy="stay with .safetensors",
        ) from error


def _lost(model: Any, path: str, target: str, wanted: Wanted) -> list[str]:
    """What is not the same in the model that the file gives back."""
    try:
        again = opened(path, replace(wanted, model=None, config=None, mapping={}))
    except TiedioError as error:
        raise ModelError(
            "what Keras wrote does not load again, so nothing was written",
            path=target,
            expected="a .keras file that gives the model back",
            found=f"{error.what}: {error.found or ''}",
            remedy="stay with .safetensors; Keras's format does not carry what this model shares",
        ) from error
    try:
        return _differences(model, again.model, target)
    finally:
        again.close()


def _differences(model: Any, again: Any, target: str) -> list[str]:
    mine, theirs = (slots.walk({None: one}) for one in (model, again))
    there = {slot.path: slot for slot in theirs.slots}
    _require_same_places(mine, theirs, target)
    _require_same_calls(mine, theirs, target)
    lost = []
    trained = {id(variable) for variable in model.weights}
    for slot in mine.slots:
        other = there[slot.path]
        if not np.array_equal(_bytes(slot), _bytes(other)):
            if id(slot.variable) in trained:
                raise _another(target, f"the value of {slot.path}")
            lost.append(f"the state of {slot.path}")
    for group in mine.by_variable():
        told = difference(group[0].variable, there[group[0].path].variable)
        if told and id(group[0].variable) in trained:
            lost.append(f"what was set on {group[0].path}: {told}")
        held = {(id(there[slot.path].variable), there[slot.path].view) for slot in group}
        wanted = {(id(group[0].variable), slot.view) for slot in group}
        if len(group) > 1 and (len({one for one, _ in held}) > 1 or {v for _, v in held} != {v for _, v in wanted}):
            lost.append("the tie " + " = ".join(_told(slot.path, slot.view) for slot in group))
    objects = {path: found.value for found in theirs.objects for path in found.paths}
    lost += [
        f"one {type(found.value).__name__} in {' = '.join(path or 'the model' for path in found.paths)}"
        for found in mine.objects
        if len({id(objects[path]) for path in found.paths}) > 1
    ]
    return [*lost, *_lost_training(mine, theirs)]


def _require_same_places(mine: slots.Walk, theirs: slots.Walk, target: str) -> None:
    for kind, here, there in (
        ("a weight", {s.path for s in mine.slots}, {s.path for s in theirs.slots}),
        ("a layer", {p for o in mine.objects for p in o.paths}, {p for o in theirs.objects for p in o.paths}),
    ):
        missing = sorted(here - there)
        if missing:
            raise _another(target, f"nothing at {missing[0]!r}, where the model has {kind}")


def _require_same_calls(mine: slots.Walk, theirs: slots.Walk, target: str) -> None:
    """Raises `ModelError` if a graph calls other layers: Keras writes a layer that a `Sequential` repeats once."""
    there = {path: found.value for found in theirs.objects for path in found.paths}
    for found in mine.objects:
        path = found.path
        calls, others = _calls(found.value), _calls(there[path])
        if calls != others:
            raise _another(target, f"{len(others)} calls in {path or 'the model'}, which has {len(calls)}")


def _calls(value: Any) -> list[str]:
    """Names of what a graph calls, in any order; of a `Sequential`, of its layers in their order."""
    if isinstance(value, keras_api.Sequential):
        return [layer.name for layer in keras_api.sequential_layers(value)]
    graph = keras_api.graph_of(value)
    return [] if graph is None else sorted(node.operation.name for node in graph.nodes)


def _another(target: str, found: str) -> ModelError:
    return ModelError(
        "Keras's format gives another model back, so nothing was written",
        path=target,
        expected="the model that was to be written",
        found=found,
        remedy="stay with .safetensors; Keras's format does not carry what this model shares",
    )


def _lost_training(mine: slots.Walk, theirs: slots.Walk) -> list[str]:
    """What the optimizers lose: the whole of one, or its state."""
    here, there = dict(training.optimizers_of(mine)), dict(training.optimizers_of(theirs))
    lost = [f"the {type(value).__name__} of {path}" for path, value in here.items() if path not in there]
    for path, value in here.items():
        other = there.get(path)
        if other is None:
            continue
        if _undecayed(value, mine) != _undecayed(other, theirs):
            lost.append(f"what is excluded from weight decay ({path})")
        if not value.built:
            continue
        one, two = list(value.variables), list(other.variables)
        same = len(one) == len(two) and _trained(value, mine) == _trained(other, theirs)
        same = same and all(
            np.array_equal(as_bytes(values.array_of(a)), as_bytes(values.array_of(b)))
            for a, b in zip(one, two, strict=True)
        )
        if not same:
            lost.append(f"the state of {type(value).__name__} ({path})")
    return lost


def _trained(optimizer: Any, walk: slots.Walk) -> list[str]:
    """The weights that an optimizer has state for, in its order."""
    paths = {id(group[0].variable): group[0].path for group in walk.by_variable()}
    return [paths.get(id(variable), "") for variable in keras_api.optimizer_variables(optimizer)]


def _undecayed(optimizer: Any, walk: slots.Walk) -> tuple[set[str], str | None]:
    """The weights that an optimizer excludes from weight decay, and the pattern of names that it excludes."""
    paths = {id(group[0].variable): group[0].path for group in walk.by_variable()}
    variables = [group[0].variable for group in walk.by_variable()]
    excluded, pattern = keras_api.excluded_from_weight_decay(optimizer, variables)
    return {paths[id(variable)] for variable in excluded}, pattern


def _bytes(slot: slots.FoundSlot) -> np.ndarray[Any, Any]:
    array = values.array_of(slot.variable)
    return as_bytes(array if slot.view is None else np.ascontiguousarray(slot.view.apply(array)))


def _told(path: str, view: View | None) -> str:
    return path if view is None else f"{path} ({view})"
