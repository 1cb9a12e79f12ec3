"""What a training holds beside the model: random states, metrics in mid-epoch, and what callbacks have noted."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tiedio import keras_api, values
from tiedio.callbacks.contents import content_of
from tiedio.callbacks.plain_values import NotPlain, describe
from tiedio.errors import MismatchError, ModelError

_OF_KERAS = ("_model", "params", "validation_data")
# Their own records of one process: bars, files and clocks.
_OWN_WAY: tuple[type, ...] = (keras.callbacks.ProgbarLogger,)

_OTHER = "other "
Randomness = dict[str, Any]


def randomness() -> Randomness:
    """The states of Python's and NumPy's generators, and of Keras's global one (`None` if there is none)."""
    seeds = keras_api.global_seed_state()
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "keras": None if seeds is None else np.array(values.array_of(seeds)),
    }


def set_randomness(recorded: Randomness, names: Iterable[str]) -> None:
    """Gives the generators of these names their recorded states."""
    for name in names:
        if recorded[name] is None:
            continue
        if name == "keras":  # made first, if need be: that may draw from Python's
            keras_api.global_seed_state(make=True).assign(recorded[name])
        elif name == "python":
            random.setstate(recorded[name])
        else:
            np.random.set_state(recorded[name])


def moved(before: Randomness, after: Randomness) -> set[str]:
    """The names of the generators that are not where they were."""
    return {name for name in before if describe(before[name]).fingerprint() != describe(after[name]).fingerprint()}


def metric_values(model: Any) -> list[np.ndarray[Any, Any]]:
    """The state of a model's metrics, which a file of weights does not hold."""
    return [np.array(values.array_of(variable)) for variable in model.metrics_variables]


def set_metric_values(model: Any, recorded: list[np.ndarray[Any, Any]], path: str) -> None:
    """Gives the metrics their recorded state.

    Raises:
        MismatchError: if they are other metrics.
    """
    variables = model.metrics_variables
    expected = [(str(array.dtype), array.shape) for array in recorded]
    found = [(keras_api.storage_dtype(variable), tuple(variable.shape)) for variable in variables]
    if expected != found:
        raise MismatchError(
            "the model has other metrics than when the backup was made",
            path=path,
            expected=expected,
            found=found,
            remedy="compile it as before, or remove the backup to begin anew",
        )
    for variable, array in zip(variables, recorded, strict=True):
        variable.assign(array)


def named(callbacks: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Callbacks with a name each that is the same in the next run of the same script."""
    seen: Counter[str] = Counter()
    for one in callbacks:
        name = f"{type(one).__module__}.{type(one).__qualname__}"
        yield f"{name}#{seen[name]}", one
        seen[name] += 1


def noted(callbacks: Iterable[Any]) -> dict[str, dict[str, str]]:
    """A fingerprint of each attribute of callbacks, to see later what has changed."""
    return {name: {key: _noted(one, value) for key, value in attributes_of(one)} for name, one in named(callbacks)}


def _noted(callback: Any, value: Any) -> str:
    """The fingerprint; what is not plain may be held all along and change inside."""
    told = fingerprint(value)
    if not told.startswith(_OTHER):
        return told
    model = callback.model
    lists = [] if model is None else [model.variables, getattr(model.optimizer, "variables", [])]
    return f"{told} {content_of(value, {id(variable) for variables in lists for variable in variables})}"


def fingerprint(value: Any) -> str:
    """As of `plain_values`; what is not plain is told by its identity."""
    try:
        return describe(value).fingerprint()
    except NotPlain:
        return f"{_OTHER}{id(value)}"


def is_plain(value: Any) -> bool:
    """Whether a backup can keep the value."""
    return not fingerprint(value).startswith(_OTHER)


def attributes_of(callback: Any) -> list[tuple[str, Any]]:
    """The attributes of a callback that may be state of the training."""
    if isinstance(callback, _OWN_WAY):
        return []
    own = getattr(type(callback), "BRINGS_BACK", ())
    return [
        (key, value)
        for key, value in vars(callback).items()
        if key not in (*_OF_KERAS, *own)
        and not (key == "monitor_op" and callable(value))  # follows from `mode` and `monitor`
    ]


def changed(callbacks: Iterable[Any], before: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """What callbacks have noted since: by callback, its changed attributes, and the names of those that are not plain.

    Raises:
        ModelError: if the history cannot be kept.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, one in named(callbacks):
        kept: dict[str, Any] = {}
        lost: list[str] = []
        for key, value in attributes_of(one):
            now, then = _noted(one, value), before.get(name, {}).get(key, "")
            if now == then:
                continue
            if now.startswith(_OTHER):
                # Keras's own make what is missing again; but what they were given is the user's.
                if not _is_of_keras(one) or isinstance(one, keras.callbacks.History) or then.startswith(_OTHER):
                    lost.append(key)
            else:
                kept[key] = value
        if isinstance(one, keras.callbacks.History) and lost:
            raise ModelError(
                "the history holds what no backup can keep",
                path=f"History.{lost[0]}",
                expected="numbers, texts and arrays in the logs of an epoch",
                found=", ".join(lost),
                remedy="let train_step and metrics give numbers or arrays",
            )
        found[name] = {"kept": kept, "lost": lost, "rows": _rows_of(one)}
    return found


def _rows_of(callback: Any) -> np.ndarray[Any, Any] | None:
    """What a `CSVLogger` has written so far."""
    if not isinstance(callback, keras.callbacks.CSVLogger) or not isinstance(callback.csv_file, io.TextIOWrapper):
        return None  # no such logger, or its file is on a remote store
    callback.csv_file.flush()
    return np.frombuffer(Path(callback.filename).read_bytes(), np.uint8)


def restore(callbacks: Iterable[Any], recorded: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Gives callbacks what they had noted.

    Returns:
        What could not be given back: names of callbacks and of their attributes.
    """
    present = dict(named(callbacks))
    lost = [name for name in recorded if name not in present and _has_state(recorded[name])]
    for name, one in present.items():
        record = recorded.get(name)
        if record is None:
            continue
        for key, value in record["kept"].items():
            _put(one, key, value)
        if record["rows"] is not None:
            _write_rows(one, record["rows"])
        else:
            lost += [f"{name}.{key}" for key in record["lost"]]
    return lost


def _is_of_keras(callback: Any) -> bool:
    return type(callback).__module__.startswith("keras.")


def _has_state(record: Mapping[str, Any]) -> bool:
    return bool(record["kept"] or record["lost"])


def _put(callback: Any, key: str, value: Any) -> None:
    """Sets an attribute; a list or dict that the caller may hold is changed in place."""
    present = vars(callback).get(key)
    if type(present) is list and type(value) is list:
        present[:] = value
    elif type(present) is dict and type(value) is dict:
        present.clear()
        present.update(value)
    else:
        setattr(callback, key, value)


def _write_rows(callback: Any, rows: np.ndarray[Any, Any]) -> None:
    """Makes the file of a `CSVLogger`, which it opened anew, what it was, so that it goes on after the last row."""
    file = callback.csv_file
    file.flush()
    file.seek(0)
    file.truncate()
    file.buffer.write(rows.tobytes())
    file.buffer.flush()
    callback.append_header = not rows.size
