"""Small models to train, what stands between the batches of their training, and the names of files that came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tiedio

X = np.linspace(-1, 1, 24).reshape(8, 3).astype("float32")
Y = np.linspace(1, -1, 24).reshape(8, 3).astype("float32")


def plain(optimizer: Any = "adam", **options: Any) -> Any:
    """One layer used twice."""
    shared = keras.layers.Dense(3)
    model = keras.Sequential([keras.Input((3,)), shared, keras.layers.Dense(3), shared])
    model.compile(optimizer, "mse", **options)
    return model


def fit(model: Any, *callbacks: Any, epochs: int = 1, batch: int = 2, **options: Any) -> Any:
    """Trains it: four batches an epoch."""
    given = {"verbose": 0, "shuffle": False, **options}
    return model.fit(X, Y, epochs=epochs, batch_size=batch, callbacks=list(callbacks), **given)


def names(folder: Path) -> list[str]:
    """The files in a folder and below it that are not hidden."""
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in found if not name.rpartition("/")[2].startswith("."))


class Act(keras.callbacks.Callback):
    """Does something at the end of each batch."""

    def __init__(self, act: Callable[[Any, int], object]) -> None:
        super().__init__()
        self.act, self.count = act, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.count += 1
        self.act(self.model, self.count)


class InFront(Act):
    """Saves in the foreground after every `every` batches, under the number of the batch."""

    def __init__(self, folder: Path, every: int, write: Callable[..., None] = tiedio.save) -> None:
        def act(model: Any, count: int) -> None:
            if count % every == 0:
                write(model, folder / f"front-{count}.safetensors")

        super().__init__(act)


class Gate(Act):
    """Lets a thread write only when training has gone on for another batch; it stands before the checkpoint."""

    def __init__(self, write: Callable[..., None]) -> None:
        super().__init__(lambda _model, _count: self.open.set())
        self.open, self._write = threading.Event(), write

    def write(self, *given: Any, **options: Any) -> None:
        """What stands for `write_tensors`; it begins after the next batch, or when training ends."""
        self.open.clear()
        assert self.open.wait(60)
        self._write(*given, **options)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.open.set()
