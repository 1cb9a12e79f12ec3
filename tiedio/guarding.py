"""Layers that share a weight refuse what would break the tie without a word: quantizing, and adding LoRA."""

from __future__ import annotations

from tiedio import keras_api, slots


def guard_ties(walk: slots.Walk) -> None:
    """Guards every layer of the walk that shares a weight with another object, and no other layer."""
    layers = {found.path: found.value for found in walk.objects if isinstance(found.value, keras_api.Layer)}
    told: dict[str, str] = {}
    for group in walk.by_variable():
        if len({slot.owner for slot in group}) > 1:
            places = " and ".join(slot.path for slot in group[:4]) + (" and others" if len(group) > 4 else "")
            for slot in group:
                told.setdefault(slot.owner, f"one weight in {places}")
    for path, layer in layers.items():
        if path in told:
            keras_api.guard(layer, told[path])
        else:
            keras_api.unguard(layer)
