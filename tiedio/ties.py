"""Slots → ties, by the identity of the variable; equal values are not a tie."""

from __future__ import annotations

from tiedio import keras_api
from tiedio.describe import slots_of
from tiedio.manifest import Tie
from tiedio.slots import Walk


def ties_of(walk: Walk) -> list[Tie]:
    """Every tie of the walk: a variable that two or more slots hold, or views of it."""
    return [
        Tie.of(
            slots_of(group),
            tuple(int(size) for size in group[0].variable.shape),
            keras_api.storage_dtype(group[0].variable),
        )
        for group in walk.by_variable()
        if len(group) > 1
    ]
