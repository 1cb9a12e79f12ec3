"""What a user of `BackupAndRestore` sees, in one process."""

from __future__ import annotations

import collections
import inspect
import threading
import types
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tiedio
from tiedio.callbacks import BackupAndRestore, ModelCheckpoint
from tiedio.callbacks.backup import LATEST, PREVIOUS
from tiedio.callbacks.plain_values import NotPlain, describe, revive

X = np.random.default_rng(0).random((12, 3)).astype("float32")
Y = X.sum(1, keepdims=True)


class Stop(keras.callbacks.Callback):
    """Ends the training by an error, as a crash would."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras."""
        if epoch == self.epoch:
            raise RuntimeError("crash")


def compiled(width: int = 4) -> Any:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(width), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def fit(model: Any, *callbacks: Any, epochs: int = 4, **options: Any) -> Any:
    options = {"batch_size": 4, "verbose": 0, "shuffle": False} | options
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **options)


def crash(folder: Path, epoch: int = 2, **options: Any) -> Any:
    model = compiled()
    with pytest.raises(RuntimeError, match="crash"):
        fit(model, BackupAndRestore(folder, delete_checkpoint=False, **options), Stop(epoch))
    return model


def test_arguments_and_defaults_are_those_of_keras() -> None:
    ours = inspect.signature(BackupAndRestore.__init__).parameters
    theirs = inspect.signature(keras.callbacks.BackupAndRestore.__init__).parameters
    assert [*theirs] == [name for name in ours if name != "replay"]
    assert {name: one.default for name, one in theirs.items()} == {
        name: one.default for name, one in ours.items() if name != "replay"
    }


@pytest.mark.parametrize("wrong", [0, -1, True, "batch", 1.5])
def test_a_wrong_save_freq_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(tiedio.ModelError, match="save_freq"):
        BackupAndRestore(tmp_path, save_freq=wrong)


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(tiedio.ModelError, match="backup_dir"):
        BackupAndRestore("")


def test_after_a_crash_the_history_is_whole_and_the_weights_are_the_same(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    whole = compiled()
    expected = fit(whole)
    keras.utils.set_random_seed(1)
    crash(tmp_path / "backups")
    keras.utils.set_random_seed(1)
    model = compiled()
    found = fit(model, BackupAndRestore(tmp_path / "backups"))
    assert (found.history, found.epoch) == (expected.history, expected.epoch)
    for mine, theirs in zip(model.variables, whole.variables, strict=True):
        assert np.array_equal(mine, theirs)
    assert int(model.optimizer.iterations) == 12
    assert not (tmp_path / "backups").exists()


def test_the_next_fit_begins_where_it_is_told_to(tmp_path: Path) -> None:
    crash(tmp_path)
    model = compiled()
    fit(model, BackupAndRestore(tmp_path, replay=False))
    assert fit(model, epochs=1).epoch == [0]


def test_what_other_files_are_in_the_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    fit(compiled(), BackupAndRestore(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_another_model_is_refused_and_the_backup_stays(tmp_path: Path) -> None:
    crash(tmp_path)
    before = (tmp_path / LATEST).read_bytes()
    model = compiled(5)
    values = model.get_weights()
    with pytest.raises(tiedio.MismatchError):
        fit(model, BackupAndRestore(tmp_path))
    assert all(np.array_equal(a, b) for a, b in zip(values, model.get_weights(), strict=True))
    assert (tmp_path / LATEST).read_bytes() == before


@pytest.mark.parametrize("options", [{"batch_size": 5}, {"batch_size": 3}, {"epochs": 1}, {"initial_epoch": 1}])
def test_other_data_or_epochs_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    crash(tmp_path)
    before = (tmp_path / LATEST).read_bytes()
    model = compiled()
    with pytest.raises(tiedio.MismatchError, match="remove the backup"):
        fit(model, BackupAndRestore(tmp_path), **options)
    assert (tmp_path / LATEST).read_bytes() == before
    fit(model, epochs=1)  # nothing is left behind
    assert int(model.optimizer.iterations) > 0


def test_a_damaged_backup_is_refused_and_with_two_the_other_is_taken(tmp_path: Path) -> None:
    crash(tmp_path, 3, double_checkpoint=True)
    raw = bytearray((tmp_path / LATEST).read_bytes())
    raw[-1] ^= 1
    (tmp_path / LATEST).write_bytes(raw)
    with pytest.warns(UserWarning, match="the one before is taken"):
        history = fit(compiled(), BackupAndRestore(tmp_path, delete_checkpoint=False))
    assert history.epoch == [0, 1, 2, 3]
    (tmp_path / LATEST).write_bytes(raw)
    (tmp_path / PREVIOUS).unlink(missing_ok=True)
    with pytest.raises(tiedio.DamagedError):
        fit(compiled(), BackupAndRestore(tmp_path))


def test_a_training_that_has_ended_is_not_trained_again(tmp_path: Path) -> None:
    first = compiled()
    expected = fit(first, BackupAndRestore(tmp_path, delete_checkpoint=False))
    from tiedio.callbacks import backup

    backup._finished.clear()  # as in a new process
    model = compiled()
    found = fit(model, BackupAndRestore(tmp_path, delete_checkpoint=False))
    assert found.history == expected.history
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), model.get_weights(), strict=True))


def test_a_backup_of_a_later_training_of_the_script_is_kept_for_that(tmp_path: Path) -> None:
    from tiedio.callbacks import backup

    callback = BackupAndRestore(tmp_path, delete_checkpoint=False)
    model = compiled()
    fit(model, callback)
    with pytest.raises(RuntimeError, match="crash"):
        fit(model, callback, Stop(2))
    backup._finished.clear()
    callback, model = BackupAndRestore(tmp_path), compiled()
    with pytest.warns(UserWarning, match="training 2 of this script"):
        fit(model, callback)
    assert (tmp_path / LATEST).exists()
    assert fit(model, callback).epoch == [0, 1, 2, 3]
    assert not (tmp_path / LATEST).exists()


def test_what_a_callback_has_noted_comes_back_and_what_cannot_is_told(tmp_path: Path) -> None:
    class Notes(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[int] = []
            self.best: Any = None
            self.patience = 3
            self.odd: Any = None

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seen.append(epoch)
            self.best = (np.float32(logs["loss"]), {"epoch": epoch})
            self.odd = object()

    def run(*others: Any) -> Notes:
        notes = Notes()
        fit(compiled(), BackupAndRestore(tmp_path), notes, *others)
        return notes

    with pytest.raises(RuntimeError, match="crash"):
        run(Stop(2))
    with pytest.warns(UserWarning, match=r"Notes.*\.odd"):
        notes = run()
    assert notes.seen == [0, 1, 2, 3]
    assert notes.best[1] == {"epoch": 3}


class Holds(keras.callbacks.Callback):
    """Counts in what it has held from the beginning."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.held: Any = {
            "deque": collections.deque(),
            "object": types.SimpleNamespace(seen=[]),
            "function": _closing([]),
            "variable": keras.Variable(0.0),
            "backend": tf.Variable(0.0),
            "file": (threading.Lock(), []),
        }[kind]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras."""
        if self.kind in ("variable", "backend"):
            self.held.assign_add(1.0)
        elif self.kind == "function":
            self.held(epoch)
        elif self.kind == "object":
            self.held.seen.append(epoch)
        else:
            (self.held if self.kind == "deque" else self.held[1]).append(epoch)


def _closing(seen: list[int]) -> Any:
    return lambda epoch, logs=None: seen.append(epoch)


@pytest.mark.parametrize("kind", ["deque", "object", "function", "variable", "backend", "file"])
def test_what_a_callback_changes_inside_of_what_it_holds_is_told(tmp_path: Path, kind: str) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        fit(compiled(), BackupAndRestore(tmp_path), Holds(kind), Stop(2))
    with pytest.warns(UserWarning, match=r"Holds.*\.held"):
        fit(compiled(), BackupAndRestore(tmp_path), Holds(kind))


def test_what_a_function_given_to_a_callback_of_keras_changes_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        fit(compiled(), BackupAndRestore(tmp_path), keras.callbacks.LambdaCallback(on_epoch_end=_closing([])), Stop(2))
    with pytest.warns(UserWarning, match=r"LambdaCallback.*\.on_epoch_end"):
        fit(compiled(), BackupAndRestore(tmp_path), keras.callbacks.LambdaCallback(on_epoch_end=_closing([])))


def test_what_a_callback_holds_and_leaves_is_not_told(tmp_path: Path) -> None:
    class Holder(keras.callbacks.Callback):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.parts = (model, model.layers[0].kernel, threading.Lock(), lambda: model, collections.deque([1]))
            self.data = tf.data.Dataset.range(3)

    def run(*others: Any) -> None:
        model = compiled()
        early = keras.callbacks.EarlyStopping("loss", restore_best_weights=True)
        fit(model, BackupAndRestore(tmp_path), Holder(model), early, *others)

    with pytest.raises(RuntimeError, match="crash"):
        run(Stop(2))
    run()  # a warning would be an error


class Sets(keras.callbacks.Callback):
    """Sets something of the model when the second epoch begins."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Called by Keras."""
        if epoch != 1:
            return
        model = self.model
        if self.what == "rate":
            model.layers[1].rate = 0.9
        elif self.what == "trainable":
            model.layers[-1].trainable = False
        elif self.what == "kernel":
            model.layers[0].kernel.trainable = False
        elif self.what == "activation":
            model.layers[0].activation = keras.activations.relu
        elif self.what == "clipnorm":
            model.optimizer.clipnorm = 0.5
        else:
            model.compile(model.optimizer, "mae")
            model.make_train_function()


def _with_dropout() -> Any:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3), keras.layers.Dropout(0.1)])
    model.add(keras.layers.Dense(1))
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize("what", ["rate", "trainable", "kernel", "activation", "clipnorm", "compile"])
def test_what_is_set_in_the_course_of_a_training_is_told(tmp_path: Path, what: str) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        fit(_with_dropout(), BackupAndRestore(tmp_path), Sets(what), Stop(2))
    with pytest.warns(UserWarning, match=f"not brought back.*{what}"):
        fit(_with_dropout(), BackupAndRestore(tmp_path), Sets(what))


def test_a_setting_that_the_script_sets_again_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        fit(_with_dropout(), BackupAndRestore(tmp_path), Sets("rate"), Stop(2))
    model = _with_dropout()
    model.layers[1].rate = 0.9
    fit(model, BackupAndRestore(tmp_path), Sets("rate"))  # a warning would be an error


def test_a_count_that_a_step_keeps_beside_the_weights_is_told(tmp_path: Path) -> None:
    class Counting(keras.Sequential):
        steps = 0

        def train_step(self, data: Any) -> Any:
            self.steps += 1
            return super().train_step(data)

    def counting() -> Any:
        model = Counting([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("adam", "mse", run_eagerly=True)
        return model

    with pytest.raises(RuntimeError, match="crash"):
        fit(counting(), BackupAndRestore(tmp_path), Stop(2))
    with pytest.warns(UserWarning, match="not brought back.*steps"):
        fit(counting(), BackupAndRestore(tmp_path))


def test_a_count_that_a_metric_keeps_beside_its_variables_is_told(tmp_path: Path) -> None:
    class Counting(keras.metrics.Mean):
        calls = 0

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            self.calls += 1
            super().update_state(y_pred)

    def counting() -> Any:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("adam", "mse", metrics=[Counting()], run_eagerly=True)
        return model

    with pytest.raises(RuntimeError, match="crash"):
        fit(counting(), BackupAndRestore(tmp_path), Stop(2))
    with pytest.warns(UserWarning, match="not brought back.*calls"):
        fit(counting(), BackupAndRestore(tmp_path))


@keras.saving.register_keras_serializable()
class Total(keras.metrics.Metric):
    """Goes on from epoch to epoch."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.total = self.add_weight(shape=(), initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds."""
        self.total.assign_add(1.0)

    def result(self) -> Any:
        """The sum so far."""
        return self.total

    def reset_state(self) -> None:
        """Does nothing."""


@pytest.mark.parametrize("save_freq", ["epoch", 2])
def test_a_metric_that_no_epoch_resets_goes_on(tmp_path: Path, save_freq: Any) -> None:
    def counted() -> Any:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("adam", "mse", metrics=[Total(name="total")])
        return model

    expected = fit(counted()).history["total"]
    with pytest.raises(RuntimeError, match="crash"):
        fit(counted(), BackupAndRestore(tmp_path, save_freq=save_freq), Stop(2))
    assert fit(counted(), BackupAndRestore(tmp_path, save_freq=save_freq)).history["total"] == expected


def test_a_loop_of_ones_own_is_refused(tmp_path: Path) -> None:
    callbacks = keras.callbacks.CallbackList([BackupAndRestore(tmp_path)], model=compiled(), epochs=1)
    with pytest.raises(tiedio.ModelError, match="fit only"):
        callbacks.on_train_begin()


def test_without_a_replay_an_unbuilt_model_is_refused(tmp_path: Path) -> None:
    crash(tmp_path)
    model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(tiedio.ModelError, match="not built"):
        fit(model, BackupAndRestore(tmp_path, replay=False))


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -(10**30), 0.1, -0.0, float("inf"), "text", "ünder", "\ud800", [1, [2.5]], (1, "a"), {"a": (1,)},
        {1: None}, {3, 4}, np.float32(1.5), np.arange(6, dtype="int16").reshape(2, 3), np.array(2.5), b"bytes",
    ],
    ids=repr,
)  # fmt: skip
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    if isinstance(value, bytes):
        with pytest.raises(NotPlain):
            describe(value)
        return
    plain = describe(value)
    found = revive(plain.json, lambda n: np.frombuffer(plain.arrays[n].tobytes(), np.uint8))
    assert type(found) is type(value)
    assert repr(found) == repr(value)


def test_nothing_is_warned_of_beside_a_checkpoint_and_an_early_stop_of_ones_own(tmp_path: Path, recwarn: Any) -> None:
    class Patience(keras.callbacks.EarlyStopping):
        """A class of the user's: how it compares is made again from its arguments."""

    def run(*more: Any) -> Any:
        model = compiled()
        others = [ModelCheckpoint(tmp_path / "{epoch}.safetensors", keep=2), Patience("loss", patience=9)]
        backup = BackupAndRestore(tmp_path / "backups")
        return model.fit(X, Y, epochs=4, verbose=0, callbacks=[*others, backup, *more])

    with pytest.raises(RuntimeError, match="crash"):
        run(Stop(2))
    assert run().epoch == [0, 1, 2, 3]
    assert [str(one.message) for one in recwarn if "could not be kept" in str(one.message)] == []
