"""Train, save, load, fine-tune, and return what was measured; nothing is printed here."""

from __future__ import annotations

import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tiedio
from tiedio.demo import models
from tiedio.demo.subjects import Array, Data, Subject

REPEATS = 3
TUNE_EPOCHS = 2


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of training.

    Args:
        number: counted from 1.
        of: how many there will be.
        loss: mean loss of the epoch.
        accuracy: share of right answers in the epoch.
        seconds: wall-clock time.
    """

    number: int
    of: int
    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Training:
    """How a model learned.

    Args:
        epochs: each epoch.
        before: accuracy on the test examples before training.
        after: the same after training.
        guess: accuracy of always answering the most frequent class.
    """

    epochs: tuple[Epoch, ...]
    before: float
    after: float
    guess: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """What two more epochs on new examples did.

    Args:
        still_one: whether each pair of tied variables is one variable.
        difference: largest absolute difference within a pair, in weights.
        loss: mean loss of the last epoch.
    """

    still_one: bool
    difference: float
    loss: float


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What one format did to one model.

    Args:
        format: the name of the format.
        tie_kept: whether each pair of tied variables is one variable in the loaded model.
        trainable: trainable variables of the loaded model.
        state_kept: arrays of the optimizer's state, step count included and learning rate not, that the
            loaded optimizer holds with the same bytes, wherever it holds them.
        warnings: texts of the warnings that loading gave.
        predictions_equal: whether predictions agree bit for bit.
        file_bytes: size of the file.
        save_seconds: median wall-clock time of a save.
        load_seconds: median wall-clock time of a load.
        tuned: what fine-tuning did to the loaded model.
    """

    format: str
    tie_kept: bool
    trainable: int
    state_kept: int
    warnings: tuple[str, ...]
    predictions_equal: bool
    file_bytes: int
    save_seconds: float
    load_seconds: float
    tuned: Tuned


@dataclass(frozen=True, slots=True)
class Comparison:
    """One model through every format.

    Args:
        title: what the model is.
        tie: which of its weights are one.
        training: how it learned.
        tie_made: whether the model that was saved had its ties.
        trainable: its trainable variables.
        state: arrays of its optimizer's state, step count included, learning rate not.
        tuned: what fine-tuning did to the model itself, never saved.
        trips: one per format.
    """

    title: str
    tie: str
    training: Training
    tie_made: bool
    trainable: int
    state: int
    tuned: Tuned
    trips: tuple[RoundTrip, ...]


@dataclass(frozen=True, slots=True)
class Format:
    """A way to save and load a model.

    Args:
        name: what to call it.
        suffix: how its files end.
        save: writes a model to a path.
        load: reads a model from a path.
    """

    name: str
    suffix: str
    save: Callable[[Any, Path], Any]
    load: Callable[[Path], Any]


KERAS = Format(".keras", ".keras", lambda model, path: model.save(path), keras.saving.load_model)
TIEDIO = Format("tiedio", ".safetensors", lambda model, path: tiedio.save(model, path), lambda path: tiedio.load(path))
FORMATS = (KERAS, TIEDIO)


def compare(
    subject: Subject,
    folder: Path,
    *,
    formats: tuple[Format, ...] = FORMATS,
    repeats: int = REPEATS,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_trained: Callable[[Training], None] = lambda training: None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Comparison:
    """Train a model, send it through every format and fine-tune what comes back.

    Args:
        subject: the model and its data; the model is trained.
        folder: where to write the files.
        formats: the formats to compare.
        repeats: how often to save and load for the median.
        on_epoch: called after each epoch of training.
        on_trained: called after the training.
        on_step: called with a few words before each later step.

    Returns:
        everything that was measured.
    """
    model = subject.model
    training = _train(subject, on_epoch)
    on_trained(training)
    predictions = model.predict(subject.test.inputs, batch_size=subject.size.batch, verbose=0)
    state = _state(model)
    tie_made, trainable = _one(subject.pairs(model)), len(model.trainable_variables)
    trips = []
    for form in formats:
        on_step(f"saving, loading and fine-tuning with {form.name}")
        trips.append(_round_trip(subject, form, folder, repeats, predictions, state))
    on_step("fine-tuning the model that was never saved")
    return Comparison(
        title=subject.title,
        tie=subject.tie,
        training=training,
        tie_made=tie_made,
        trainable=trainable,
        state=state.total(),
        tuned=_tune(subject, model),
        trips=tuple(trips),
    )


def _train(subject: Subject, on_epoch: Callable[[Epoch], None]) -> Training:
    before = _accuracy(subject, subject.model)
    epochs = []
    for number in range(1, subject.size.epochs + 1):
        start = time.perf_counter()
        loss, accuracy = _fit(subject.model, subject.train, subject.size.batch)
        seconds = time.perf_counter() - start
        epochs.append(Epoch(number, subject.size.epochs, loss, accuracy, seconds))
        on_epoch(epochs[-1])
    return Training(tuple(epochs), before, _accuracy(subject, subject.model), subject.test.guess())


def _round_trip(
    subject: Subject, form: Format, folder: Path, repeats: int, predictions: Array, state: Counter[Any]
) -> RoundTrip:
    path = folder / f"{subject.model.name}{form.suffix}"
    saves, loads = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        form.save(subject.model, path)
        middle = time.perf_counter()
        # What Keras has to say about a state that it drops is evidence here, not noise.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            between = time.perf_counter()
            loaded = form.load(path)
            loads.append(time.perf_counter() - between)
        saves.append(middle - start)
    texts = tuple(" ".join(str(one.message).split()) for one in caught if one.category is UserWarning)
    kept = state & _state(loaded)
    again = loaded.predict(subject.test.inputs, batch_size=subject.size.batch, verbose=0)
    return RoundTrip(
        format=form.name,
        tie_kept=_one(subject.pairs(loaded)),
        trainable=len(loaded.trainable_variables),
        state_kept=kept.total(),
        warnings=texts,
        predictions_equal=again.dtype == predictions.dtype and again.tobytes() == predictions.tobytes(),
        file_bytes=path.stat().st_size,
        save_seconds=statistics.median(saves),
        load_seconds=statistics.median(loads),
        tuned=_tune(subject, loaded),
    )


def _tune(subject: Subject, model: Any) -> Tuned:
    for _ in range(TUNE_EPOCHS):
        loss, _ = _fit(model, subject.tune, subject.size.batch)
    pairs = subject.pairs(model)
    gaps = [np.abs(keras.ops.convert_to_numpy(one) - keras.ops.convert_to_numpy(other)).max() for one, other in pairs]
    return Tuned(still_one=_one(pairs), difference=float(max(gaps)), loss=loss)


def _fit(model: Any, data: Data, batch: int) -> tuple[float, float]:
    """Return loss and accuracy of one epoch, in the order in which the examples stand."""
    done = model.fit(data.inputs, data.targets, sample_weight=data.weights, batch_size=batch, shuffle=False, verbose=0)
    return float(done.history["loss"][0]), float(done.history["accuracy"][0])


def _accuracy(subject: Subject, model: Any) -> float:
    test = subject.test
    found = model.evaluate(
        test.inputs,
        test.targets,
        sample_weight=test.weights,
        batch_size=subject.size.batch,
        verbose=0,
        return_dict=True,
    )
    return float(found["accuracy"])


def _one(pairs: models.Pairs) -> bool:
    return all(one is other for one, other in pairs)


def _state(model: Any) -> Counter[tuple[tuple[int, ...], bytes]]:
    """Return the arrays of the optimizer's state as a multiset, so that their order does not matter."""
    # The learning rate is in the configuration as well and would come back without any state.
    kept = (one for one in model.optimizer.variables if one.name != "learning_rate")
    arrays = (keras.ops.convert_to_numpy(one) for one in kept)
    return Counter((array.shape, array.tobytes()) for array in arrays)
