"""A training that may kill its own process, and tells at its end all that it came to.

    python -m tests.callbacks.training FOLDER [--kill epoch:3] [--kill batch:17] [--kill write:40] [options]

Each kill happens once in a folder, so the same command may be given again and again until it ends.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np

import tiedio
from tiedio.callbacks import BackupAndRestore
from tiedio.container import writing

SAMPLES, BATCH, EPOCHS = 40, 8, 5


class Tied(keras.Model):
    """A head whose matrix is the embedding's; built by its first call only."""

    def __init__(self) -> None:
        super().__init__()
        self.first = keras.layers.Dense(6, name="first")
        self.second = keras.layers.Dense(6, name="second")
        self.normalization = keras.layers.BatchNormalization()
        self.dropout = keras.layers.Dropout(0.4)
        self.head = keras.layers.Dense(1)

    def build(self, shape: Any) -> None:
        """Ties the second layer to the first."""
        self.first.build((None, 6))
        self.second.build((None, 6))
        tiedio.tie(self.second, self.first)
        self.normalization.build((None, 6))
        self.dropout.build((None, 6))
        self.head.build((None, 6))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Computes the outputs."""
        x = self.normalization(self.first(x), training=training)
        return self.head(self.dropout(self.second(x), training=training))


class Deaths:
    """Kills this process at the told moments, each once."""

    def __init__(self, folder: Path, moments: list[str]) -> None:
        self._folder = folder
        self._left = {moment for moment in moments if not self._mark(moment).exists()}
        self.counts = {"epoch": 0, "batch": 0, "write": 0}

    def _mark(self, moment: str) -> Path:
        return self._folder / moment.replace(":", "-")

    def pass_by(self, kind: str, number: int | None = None) -> None:
        """A moment of a kind has come; those without a number are counted."""
        self.counts[kind] += 1
        moment = f"{kind}:{self.counts[kind] if number is None else number}"
        if moment in self._left:
            self._mark(moment).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, owner: Any, name: str) -> None:
        """Each call of a function is a moment of writing."""
        real: Callable[..., Any] = getattr(owner, name)

        def call(*given: Any, **options: Any) -> Any:
            self.pass_by("write")
            return real(*given, **options)

        setattr(owner, name, call)


class Killer(keras.callbacks.Callback):
    """Tells of epochs and batches; the batches of all epochs are counted."""

    def __init__(self, deaths: Deaths) -> None:
        super().__init__()
        self._deaths = deaths
        self.steps = 0
        self.losses: list[float] = []
        self.drawn: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras."""
        self._deaths.pass_by("epoch", epoch)
        self.drawn.append(float(np.random.random()))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called by Keras."""
        self.steps += 1
        self.losses.append(logs["loss"])
        self._deaths.pass_by("batch", self.steps)


def compiled() -> Tied:
    """The model, compiled and not built."""
    model = Tied()
    model.compile(keras.optimizers.Adam(0.05), "mse", metrics=["mae", keras.metrics.R2Score()])
    return model


def generated(samples: int) -> Any:
    """Batches that draw from Python's generator, one after the other, without end."""
    while True:
        x = np.array([[random.random() for _ in range(6)] for _ in range(samples)], "float32")
        yield x, x.sum(1, keepdims=True)


def told(model: Any, history: Any, callbacks: list[Any], folder: Path) -> dict[str, Any]:
    """All that the training came to."""

    def digest(variables: list[Any]) -> str:
        hashed = hashlib.sha256()
        for variable in variables:
            hashed.update(np.asarray(keras.ops.convert_to_numpy(variable)).tobytes())
        return hashed.hexdigest()

    early, plateau, killer = callbacks[0], callbacks[1], callbacks[-1]
    return {
        "weights": digest(model.variables),
        "optimizer": digest(model.optimizer.variables),
        "iterations": int(model.optimizer.iterations),
        "tied": model.second.kernel is model.first.kernel and model.second.bias is model.first.bias,
        "history": history.history,
        "epoch": history.epoch,
        "early": [early.wait, early.best, early.best_epoch, early.stopped_epoch],
        "plateau": [plateau.wait, plateau.best],
        "rate": float(model.optimizer.learning_rate),
        "steps": killer.steps,
        "losses": killer.losses,
        "drawn": killer.drawn,
        "next": [random.random(), float(np.random.random()), float(keras.random.uniform(()))],
        "rows": (folder / "rows.csv").read_text(),
        "left": sorted(path.name for path in folder.glob("backups/*")),
    }


def main() -> None:
    """Trains, and writes what it came to into the folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill", action="append", default=[])
    parser.add_argument("--save-freq", type=int, default=0)
    parser.add_argument("--execution", type=int, default=1)
    parser.add_argument("--patience", type=int, default=3)
    parser.add_argument("--generator", action="store_true")
    parser.add_argument("--no-replay", action="store_true")
    parser.add_argument("--no-shuffle", action="store_true")
    parser.add_argument("--built", action="store_true")
    given = parser.parse_args()
    keras.utils.set_random_seed(7)
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    given.folder.mkdir(exist_ok=True)
    deaths = Deaths(given.folder, given.kill)
    for owner, name in ((writing, "reserve"), (writing, "_write_one"), (os, "fsync"), (Path, "replace")):
        deaths.before(owner, name)
    x = np.random.random((SAMPLES, 6)).astype("float32")
    y = x.sum(1, keepdims=True) + np.random.random((SAMPLES, 1)).astype("float32")
    model = compiled()
    model.steps_per_execution = given.execution
    if given.built:
        model.build((None, 6))
    callbacks: list[Any] = [
        keras.callbacks.EarlyStopping("val_loss", patience=given.patience, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=1),
        BackupAndRestore(given.folder / "backups", given.save_freq or "epoch", replay=not given.no_replay),
        keras.callbacks.CSVLogger(str(given.folder / "rows.csv")),
        Killer(deaths),
    ]
    options: dict[str, Any] = {"batch_size": BATCH, "shuffle": not given.no_shuffle}
    data: tuple[Any, ...] = (x, y)
    if given.generator:
        data, options = (generated(BATCH),), {"steps_per_epoch": SAMPLES // BATCH, "shuffle": False}
    options |= {"epochs": EPOCHS, "validation_data": (x[:16], y[:16]), "callbacks": callbacks, "verbose": 0}
    history = model.fit(*data, **options)
    (given.folder / "told.json").write_text(json.dumps(told(model, history, callbacks, given.folder)))
    print(json.dumps(deaths.counts))


if __name__ == "__main__":
    main()
