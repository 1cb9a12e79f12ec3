"""What a save writes, taken at one moment, so that a thread can write it while training goes on.

Everything is read from the living models here, in the thread that calls; what is given back refers to none of them.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiedio import keras_api, moments, session, strict_json
from tiedio.container.single import as_bytes
from tiedio.container.writing import Tensor
from tiedio.errors import LimitError
from tiedio.frozen import warn_of_frozen_ties
from tiedio.inspection import TRAINING_KEY
from tiedio.pipeline import Restored, Snapshot, take_snapshot
from tiedio.proof import MovedError, Proof, compare_living
from tiedio.values import array_of
from tiedio.weights import take_weights

Roots = Mapping[str | None, Any]


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that is still to be written; it can be written once, and each value is let go as soon as it is there."""

    tensors: list[Tensor]
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Proved:
    """What was proved last, and the models that were rebuilt for it, which have no values."""

    texts: dict[str, str]
    fixed: dict[str, bytes]
    restored: Restored
    beyond: LimitError | None


class Taker:
    """Takes what `tiedio.save` or `tiedio.save_weights` would write, again and again.

    That a model comes back is proved by a rebuild. It depends on the texts of the file, not on values: as long as they
    are those that were proved, the living models are compared with the rebuild that is there, and no new one is made.

    Args:
        optimizer, check: as for `tiedio.save`.
        weights_only: whether it is a file of `tiedio.save_weights`.
    """

    def __init__(self, *, optimizer: bool, check: bool, weights_only: bool = False) -> None:
        self._optimizer, self._check, self._weights_only = optimizer, check, weights_only
        self._proved: _Proved | None = None
        self.proofs = 0
        """How many rebuilds there have been."""

    def take(self, roots: Roots) -> Taken:
        """Takes the models as they are now.

        Args:
            roots: the models by name.

        Raises:
            ModelError: if they would not come back the same, as `tiedio.save` says.
        """
        with session.without_collections():
            if self._weights_only:
                weights = take_weights(roots, self._optimizer)
                return Taken(_at_hand(weights.tensors, weights.living), weights.metadata)
            snapshot, metadata = self._describe(roots)
            return Taken(_at_hand(snapshot.tensors(), snapshot.living), metadata)

    def _describe(self, roots: Roots) -> tuple[Snapshot, dict[str, str]]:
        alone = keras_api.is_alone()
        snapshot = take_snapshot(roots, self._optimizer)
        metadata = snapshot.metadata()
        if snapshot.manifest.constants:
            warn_of_frozen_ties(snapshot.walk, stacklevel=2)
        if self._check:
            snapshot = self._prove(snapshot, metadata, alone)
        elif not alone:
            moments.require_still(snapshot.living, snapshot.sources)
        if self._proved is not None and self._proved.beyond is not None:
            text = f"tiedio.load will ask for raised limits. {self._proved.beyond}"
            warnings.warn(text, UserWarning, stacklevel=2)
        return snapshot, metadata

    def _prove(self, snapshot: Snapshot, metadata: dict[str, str], alone: bool) -> Snapshot:
        texts = {**metadata, TRAINING_KEY: _without_rates(snapshot)}
        fixed = {name: _raw(one) for name, one in snapshot.sources.items() if name not in snapshot.living}
        # What a loading hook does may depend on any value within its reach: then there is no proof but a new one.
        hooked = any(one.hook != "vocabulary" for one in snapshot.manifest.stored)
        last = self._proved
        if last is not None and not hooked and (last.texts, last.fixed) == (texts, fixed):
            with session.without_warnings():
                compare_living(snapshot, last.restored)
            if not alone:
                moments.require_still(snapshot.living, snapshot.sources)
            return snapshot
        self._proved = None  # one at a time
        proof = Proof(snapshot, metadata, True, alone)
        self.proofs += 1
        try:
            proof.run()
        except MovedError as error:
            if keras_api.others_compute():
                raise moments.changed(error.path) from None
            snapshot = snapshot.renewed()  # as `tiedio.save` does it
        assert proof.restored is not None
        self._proved = _Proved(texts, fixed, proof.restored, proof.beyond)
        return snapshot


def _raw(source: Any) -> bytes:
    return as_bytes(array_of(source)).tobytes()


def _without_rates(snapshot: Snapshot) -> str:
    """The compile configuration without learning rates: each is the value of a variable, which any number may be."""
    record: Any = snapshot.training
    if any(map(_has_rate, record["optimizers"])):
        record = copy.copy(record)
        record["optimizers"] = [
            {**one, "config": {**one["config"], "learning_rate": 0.0}} if _has_rate(one) else one
            for one in record["optimizers"]
        ]
    return strict_json.dumps(record)


def _has_rate(record: Any) -> bool:
    config = record.get("config")
    if not str(record.get("module", "")).startswith("keras.") or not isinstance(config, dict):
        return False
    rate = config.get("learning_rate")
    return type(rate) is float and math.isfinite(rate)


def _at_hand(tensors: Sequence[Tensor], living: Mapping[str, Any]) -> list[Tensor]:
    """The same tensors, of values that no training changes, each for one reading.

    On TensorFlow the values of variables are held, and a variable that is updated gets other memory. Elsewhere a step
    takes their memory away (JAX donates it), and what a hook gave may be changed in place: these are copied.
    """
    held = keras_api.keras.backend.backend() == "tensorflow"
    return [_for_once(one, one.data if held and one.name in living else _copied(one)) for one in tensors]


def _copied(tensor: Tensor) -> Callable[[], Any]:
    raw = np.array(tensor.data())
    return lambda: raw


def _for_once(tensor: Tensor, data: Callable[[], Any]) -> Tensor:
    box = [data]
    # With the last reference goes the value: what is written costs no memory, and no copy at the next update.
    return Tensor(tensor.name, tensor.dtype, tensor.shape, lambda: box.pop()())
