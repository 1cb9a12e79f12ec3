"""Living models → their clones: what `save` and `load` do, without a file between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from tiedio import keras_api, moments, session, values
from tiedio.container.single import as_bytes
from tiedio.errors import FormatError, MismatchError, ModelError, TiedioError
from tiedio.manifest import Stored
from tiedio.pipeline import Restored, fill, run_hooks, take_snapshot
from tiedio.proof import rebuild

# There is none, and the lambda stays what it is.
_TALK_OF_FILES = "The object being serialized includes a `lambda`"
_BY_HAND = "let the class's own code and get_config make what was set by hand"


def clones_of(roots: Mapping[str | None, Any], *, weights: bool, optimizer: bool) -> dict[str | None, Any]:
    """Clones roots together; see `tiedio.clone`.

    Raises:
        ModelError: if they cannot be cloned.
    """
    if optimizer and not weights:
        raise ModelError(
            "the optimizer's state belongs to the weights, which are not cloned",
            path="optimizer",
            expected="optimizer=False where weights=False",
            found="optimizer=True, weights=False",
            remedy="clone with weights=True, or compile the clone with an optimizer of its own",
        )
    alone = keras_api.is_alone()
    with _told(), session.without_warnings(_TALK_OF_FILES):
        snapshot = take_snapshot(roots, optimizer, live=True)
        metadata = snapshot.metadata()
        living = {name: one for name, one in snapshot.sources.items() if isinstance(one, keras_api.Variable)}
        held = moments.hold_all(living) if weights else {}
        sources = snapshot.sources | held

        def read(name: str) -> np.ndarray[Any, Any]:
            # A variable takes over the memory that it is filled from, so it gets a copy: the living one trains on.
            return values.aligned_copy(as_bytes(values.array_of(sources[name])))

        def give(restored: Restored) -> None:
            if weights:
                fill(restored, read)
            else:
                _give_what_is_not_drawn(restored, read)

        foreign = session.runs_foreign_code(metadata.values())
        with session.untouched_randomness(foreign) if weights else nullcontext():
            clones = rebuild(snapshot, metadata, read, give, drawn=not weights, live=True).roots
        if weights and not alone:
            moments.require_still(living, held)
        return clones


def _give_what_is_not_drawn(restored: Restored, read: Any) -> None:
    """Initializers have run: the rest is variables that no code makes, and what hooks stored beside weights."""
    for path, variable in restored.variables.items():
        if id(variable) in restored.set_by_hand:
            values.fill(variable, read(path), path)
    trains = {spec.slots[0].path for spec in restored.expected.variables if spec.trainable}

    def stored(one: Stored) -> np.ndarray[Any, Any]:
        if one.tensor in trains:
            return np.array(values.array_of(restored.variables[one.tensor]))
        return values.stored_array(read, one)

    run_hooks(restored, stored)


@contextmanager
def _told() -> Iterator[None]:
    """Tells of cloning what the rooms below tell of saving and loading."""
    try:
        yield
    except TiedioError as error:
        raise ModelError(
            f"the model cannot be cloned: {error.what}",
            path=error.path or "the model",
            expected=error.expected,
            found=error.found,
            remedy=_BY_HAND if isinstance(error, (MismatchError, FormatError)) else error.remedy or _BY_HAND,
        ) from error
