"""What became of a case that was stored and loaded: the judge of `benchmarks.kept`.

It looks at the objects, at every value bit for bit, at the outputs and at the next training step, with the oracle's
pairing of places, and shares no code with the part of tiedio that saves and loads.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.peers import Builder, Load, Save, named
from tiedio.testing import Arguments
from tiedio.testing.pairing import pair
from tiedio.testing.zoo_base import Case

KEPT, REFUSED, FAILS = "kept", "refused", "fails"


def outcome(build: Builder, save: Save, load: Load) -> str:
    """Builds a case, stores and loads it, and says what is left.

    Args:
        build: makes the case.
        save: writes it into a folder.
        load: gives back a model, or a dict of models.

    Returns:
        `kept`; `refused` (saving raised); `fails` (loading raised, so there is no model); or what was lost, and
        whether without a word.
    """
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(1)
    case = build()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if _raises(lambda: save(case, Path(folder))):
            return REFUSED
        caught.clear()
        loaded: list[Any] = []
        if _raises(lambda: loaded.append(load(case, Path(folder), build))):
            return FAILS
        told = any("optimizer" in str(warning.message) for warning in caught)
        warnings.simplefilter("ignore")
        lost = differences(case, loaded[0])
    if not lost:
        return KEPT
    return f"lost {'with a warning' if told else 'silently'}: {', '.join(lost)}"


def _raises(act: Callable[[], object]) -> bool:
    try:
        act()
    except Exception:  # noqa: BLE001 - whatever it raises, the user has been told
        return True
    return False


def differences(case: Case, loaded: Any) -> list[str]:
    """What of a case a loaded model lacks, in words; the consequences of another difference are left out.

    Args:
        case: the case, whose model is as it was saved; it makes a training step here.
        loaded: the loaded model, or models by name.

    Returns:
        Some of `sharing`, `values`, `optimizer state`, `outputs`, and one of `random state` (seed generators, where
        the next training step shows it) and `next step`.
    """
    found = pair(case.model, loaded)
    lost = []
    if not _shares(case, loaded) or any(" are one " in fault or " are two " in fault for fault in found.faults):
        lost.append("sharing")
    drawing = {id(generator.state) for generator in found.firsts("seed generator")}
    other = [a for a, b, place in found.items("variable") if ".optimizer" not in place and _raw(a) != _raw(b)]
    random = [a for a in other if id(a) in drawing]
    if len(other) > len(random):
        lost.append("values")
    if _optimizer_state(case.model) != _optimizer_state(loaded):
        lost.append("optimizer state")
    if "values" not in lost and not all(_same_outputs(*one) for one in _pairs(case, loaded)):
        lost.append("outputs")
    if not lost and case.training and not all(_same_step(*one, case, name) for one, name in _named_pairs(case, loaded)):
        lost.append("random state" if random else "next step")
    return lost


def _shares(case: Case, loaded: Any) -> bool:
    try:
        same = all(thing is group[0] for group in case.same(loaded) for thing in group)
        apart = all(len({id(thing) for thing in group}) == len(group) for group in case.apart(loaded))
    except (AttributeError, IndexError, ValueError, KeyError, TypeError):
        return False  # the place that should hold the shared object is not there
    return same and apart


def _optimizer_state(model: Any) -> list[Any]:
    """The variables of the optimizers: which variable of the model each is for does not show here but in the step."""
    state: list[Any] = []
    for name, root in sorted(named(model).items()):
        optimizer = getattr(root, "optimizer", None)
        variables = [] if optimizer is None else [_raw(variable) for variable in optimizer.variables]
        state.append((name, type(optimizer).__name__, variables))
    return state


def _named_pairs(case: Case, loaded: Any) -> list[tuple[tuple[Any, Any, Any], str]]:
    return list(zip(_pairs(case, loaded), named(case.model), strict=True))


def _pairs(case: Case, loaded: Any) -> list[tuple[Any, Any, Any]]:
    inputs = case.inputs if isinstance(case.model, dict) else {"model": case.inputs}
    copies = named(loaded)
    return [(model, copies[name], inputs[name]) for name, model in named(case.model).items()]


def _raw(value: Any) -> tuple[str, tuple[int, ...], bytes]:
    array = np.ascontiguousarray(keras.ops.convert_to_numpy(value))
    return str(array.dtype), tuple(value.shape), array.tobytes()


def _same_outputs(one: Any, other: Any, inputs: Any) -> bool:
    call = inputs if isinstance(inputs, Arguments) else Arguments((inputs,))
    results: list[list[Any]] = []
    for model in (one, other):
        if _raises(lambda model=model: results.append(keras.tree.flatten(model(*call.args, **call.kwargs)))):  # type: ignore[misc]
            return False
    first, second = results
    return len(first) == len(second) and all(_raw(a) == _raw(b) for a, b in zip(first, second, strict=True))


def _same_step(one: Any, other: Any, inputs: Any, case: Case, name: str) -> bool:
    targets = (case.targets or {}).get(name) if isinstance(case.model, dict) else case.targets
    if not one.compiled or targets is None:
        return True
    given = inputs.args if isinstance(inputs, Arguments) else inputs
    for model in (one, other):
        if _raises(lambda model=model: model.train_on_batch(given, targets)):  # type: ignore[misc]
            return False
    return _same_outputs(one, other, inputs)
