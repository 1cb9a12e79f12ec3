"""What runs around a callback: the list that calls it, the data of `fit`, and the functions that compute its steps.

Read in Keras 3.15.1: `fit` calls `CallbackList.on_train_begin` after it has made its iterator and the train function,
and asks for `model._initial_epoch` and `model.train_function` only then.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any

from tiedio.keras_api.classes import keras, seed_generator
from tiedio.keras_api.configs import get_global


@dataclass(frozen=True, slots=True)
class Fit:
    """A call of `fit` that is running: its list of callbacks, and its iterator over epochs."""

    callbacks: Any
    data: Any

    def facts(self) -> dict[str, int | None]:
        """What can be told of the data without drawing any: steps of an epoch, size of a batch and of the last one."""
        adapter = self.data.data_adapter
        return {
            "steps": _number(self.data.num_batches),
            "batch": _asked(adapter, "batch_size"),
            "last": _asked(adapter, "partial_batch_size"),
            "execution": _number(self.data.steps_per_execution),
        }


def _asked(adapter: Any, name: str) -> int | None:
    try:
        return _number(getattr(adapter, name))
    except NotImplementedError:  # of a generator nothing is known
        return None


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def running_fit() -> Fit | None:
    """The call of `fit` in whose `on_train_begin` this is asked, or `None` where another loop calls the callbacks."""
    frame: FrameType | None = sys._getframe(1)
    found = None
    while frame is not None:
        one = frame.f_locals.get("self")
        if found is None and frame.f_code.co_name == "on_train_begin" and isinstance(one, keras.callbacks.CallbackList):
            found = one
        elif found is not None and frame.f_locals.get("callbacks") is found:
            data = frame.f_locals.get("epoch_iterator")
            if data is not None:
                return Fit(found, data)
        frame = frame.f_back
    return None


def call_in_order(callbacks: Any) -> None:
    """Lets a list of callbacks call each batch's end before the next batch begins, and in the thread of `fit`."""
    callbacks._async_train = False


def start_at(model: Any, epoch: int | None) -> None:
    """Makes `fit` begin at an epoch; `None`: at the one that it is told to begin at."""
    model._initial_epoch = epoch


def global_seed_state(make: bool = False) -> Any:
    """The variable of Keras's global seed generator; `None` if there is none and none is to be made."""
    generator = get_global(seed_generator.GLOBAL_SEED_GENERATOR)
    if generator is None and make:
        generator = seed_generator.global_seed_generator()
    return None if generator is None else generator.state
