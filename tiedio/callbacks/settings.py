"""What computes beside the variables: attributes, what is trainable, how the model is compiled.

A backup cannot bring back what code set there in the course of a training. But it can tell that it was set.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from tiedio import keras_api, plain, session, slots
from tiedio.callbacks.plain_values import NotPlain, describe
from tiedio.roots import as_roots

_LEFT_OUT = ("stop_training", "name", "_name", "path", "_path")


def settings_of(model: Any) -> dict[str, list[str]]:
    """Each setting that is plain or a function: a fingerprint, the same in each process, and its path.

    The keys go by the order in the model: automatic names are others when the same code runs again in one process.
    """
    walk = slots.walk(as_roots(model))
    found: dict[str, list[str]] = {}
    for number, one in enumerate(walk.objects):
        _add(found, f"object {number}", one.path, one.value, plain.attributes_to_compare(one.value))
    for number, slot in enumerate(walk.slots):
        found[f"slot {number}"] = [str(slot.variable.trainable), slots.join(slot.path, "trainable")]
    for number, metric in enumerate(_metrics_of(model)):
        path = slots.join("@metric", slots.escape(metric.name))
        _add(found, f"metric {number}", path, metric, plain.attributes_to_compare(metric))
    for number, optimizer in enumerate(_optimizers_of(model)):
        # What is private there is bookkeeping, by identities.
        public = {name: value for name, value in vars(optimizer).items() if not name.startswith("_")}
        _add(found, f"optimizer {number}", "@optimizer", optimizer, public)
    compiled = _compiled(model)
    if compiled is not None:
        found["compile"] = [compiled, "the arguments of compile"]
    return found


def _add(found: dict[str, list[str]], key: str, path: str, owner: Any, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        told = _told(value)
        if told is not None and name not in _LEFT_OUT:
            found[f"{key} {name}"] = [told, slots.join(path, name)]
    if isinstance(owner, keras.layers.Layer):
        found[f"{key} @trainable"] = [str(owner.trainable), slots.join(path, "trainable")]


def _told(value: Any) -> str | None:
    if isinstance(value, types.FunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    try:
        return describe(value).fingerprint()
    except NotPlain:
        return None


def _metrics_of(model: Any) -> Iterator[Any]:
    for metric in model.metrics:
        yield metric
        yield from getattr(metric, "metrics", ())  # Keras holds those of `compile` in one


def _optimizers_of(model: Any) -> Iterator[Any]:
    optimizer = model.optimizer
    while optimizer is not None:
        yield optimizer
        optimizer = getattr(optimizer, "inner_optimizer", None)


def _compiled(model: Any) -> str | None:
    """The arguments of `compile` without the optimizer, if they can be told."""
    try:
        with session.without_warnings():
            arguments = keras_api.keras.saving.serialize_keras_object(
                {name: item for name, item in keras_api.compile_arguments(model).items() if name != "optimizer"}
            )
    except Exception:  # noqa: BLE001 - what a loss of one's own tells of itself is its own affair
        return None
    return describe(json.dumps(arguments, default=lambda value: type(value).__qualname__)).fingerprint()


def set_since(before: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The settings that are not as they were."""
    return {key: one for key, one in now.items() if before.get(key, one[1:])[0] != one[0]}


def missing(recorded: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> list[str]:
    """The paths whose setting is not the recorded one."""
    return [path for key, (told, path) in recorded.items() if now.get(key, [""])[0] != told]
