"""`BackupAndRestore`: a training that is killed goes on as if it had not been."""

from __future__ import annotations

import os
import warnings
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

import keras

from tiedio import keras_api
from tiedio.callbacks import backup_file, settings, states
from tiedio.callbacks.replaying import Front, Replay
from tiedio.errors import BackendError, FormatError, MismatchError, ModelError, one_line

LATEST, PREVIOUS = "latest.backup", "previous.backup"

_finished: dict[str, int] = {}
"""How many trainings of this process have ended, by the folder of their backups."""


class BackupAndRestore(keras.callbacks.Callback):  # type: ignore[misc]
    """Backs up a training, so that the same script, started again after a crash, ends as if nothing had happened.

    A backup is one file that is put in place in one step: the model's weights, with every tie, the optimizer's
    state, the history so far, what other callbacks have noted, and the random states. When the script is started
    again, `fit` draws the data of what was trained once more, without computing, and goes on from there: weights,
    optimizer and history are then bitwise those of a run that was never interrupted. See docs/backup.md.

    Args:
        backup_dir: the folder for the backups of this one training. It is made if need be.
        save_freq: `"epoch"`: at the end of each epoch. A number: after so many batches. `False`: never.
        double_checkpoint: whether the backup before the last one is kept, too, in case that the last one is damaged.
        delete_checkpoint: whether the backups are removed when the training ends.
        replay: whether data that was trained with is drawn again. With `False` the training goes on at once with what
            the data gives then: other batches than in a run that was not interrupted, if it is shuffled.

    Raises:
        ModelError: if an argument is not as above. In `fit`: if the model holds what no backup can hold.
        MismatchError: in `fit`, if model, optimizer or data are not those of the backup, which stays as it is.
        FormatError: in `fit`, if the backup is damaged, and there is no other one.

    Warns:
        UserWarning: a damaged backup was left out; a callback has noted what could not be kept; or the backup is
            of a later training of the script.

    Example:
        >>> import keras, numpy, tiedio
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> x, y = numpy.ones((8, 3)), numpy.ones((8, 1))
        >>> backup = tiedio.callbacks.BackupAndRestore("backups")
        >>> history = model.fit(x, y, epochs=3, callbacks=[backup], verbose=0)
        >>> history.epoch
        [0, 1, 2]
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: Literal["epoch"] | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
        *,
        replay: bool = True,
    ) -> None:
        super().__init__()
        if not os.fspath(backup_dir):
            raise _wrong_argument("backup_dir", "the path of a folder", "an empty path")
        often = save_freq is False or (type(save_freq) is int and save_freq > 0)
        if save_freq != "epoch" and not often:
            raise _wrong_argument("save_freq", "'epoch', a number of batches or False", repr(save_freq))
        self.backup_dir = backup_dir
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self.replay = replay
        if type(save_freq) is int:
            # Not in the class: Keras waits for each batch where a callback wants to hear of it.
            self.on_train_batch_end = self._batch_ends
        self._front: Front | None = None
        self._backup: backup_file.Backup | None = None

    @property
    def _latest(self) -> Path:
        return Path(self.backup_dir, LATEST)

    @property
    def _previous(self) -> Path:
        return Path(self.backup_dir, PREVIOUS)

    # What Keras calls, directly or by the front callback, in the order of a training.

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Finds the backup, and checks that it is one of this training."""
        if keras.backend.backend() != "tensorflow":
            raise BackendError(
                "BackupAndRestore works with the TensorFlow backend only",
                path="keras.backend",
                expected="tensorflow",
                found=keras.backend.backend(),
                remedy="set KERAS_BACKEND=tensorflow, or use keras.callbacks.BackupAndRestore",
            )
        fit = keras_api.running_fit()
        if fit is None:
            raise ModelError(
                "BackupAndRestore works inside of fit only",
                path=str(self.backup_dir),
                expected="model.fit(..., callbacks=[...]), of Keras",
                found="another loop",
                remedy="in a loop of your own call tiedio.save_weights and tiedio.load_weights",
            )
        self._leave()
        self._fit = fit
        self._folder = os.path.realpath(self.backup_dir)
        self._number = _finished.get(self._folder, 0)
        self._first: int | None = None
        self._before: dict[str, dict[str, str]] = {}
        self._settings: dict[str, list[str]] = {}
        self._epoch, self._batch, self._since, self._seen = 0, 0, 0, 0
        self._passive = False
        self._front = Front(self._epoch_begins, self._epoch_replayed, self._train_ends)
        self._front.set_model(self.model)
        self._others = [one for one in fit.callbacks.callbacks if one is not self and not isinstance(one, Front)]
        backup = self._find()
        if backup is not None:
            self._begin_again(backup)
        elif self.model.built:
            backup_file.take(self.model)  # what no backup can hold is told now, and not after an epoch
        self._listen()

    def _find(self) -> backup_file.Backup | None:
        """The backup to go on from, if there is one."""
        backup = None
        if self._latest.exists():
            try:
                backup = backup_file.read(self._latest)
            except FormatError as error:
                if not self._previous.exists():
                    raise
                warnings.warn(
                    f"The last backup cannot be read, and the one before is taken. {one_line(error)}", stacklevel=2
                )
        if backup is None and self._previous.exists():
            backup = backup_file.read(self._previous)
        if backup is None:
            return None
        number = backup.record["number"]
        if number == self._number:
            return backup
        backup.close()
        if number > self._number:
            self._passive = True
            warnings.warn(
                f"The backup in {os.fspath(self.backup_dir)!r} is of training {number + 1} of this script: training "
                f"{self._number + 1} runs again from its beginning, without backups. Give each training a folder of "
                "its own, and all but the last one delete_checkpoint=False, and none has to run twice.",
                stacklevel=2,
            )
        return None

    def _begin_again(self, backup: backup_file.Backup) -> None:
        record = backup.record
        self._compare("the data is not that of the backup", record["data"])
        epochs = self.params.get("epochs")
        if epochs is not None and record["epoch"] + (record["batch"] is not None) > epochs:
            raise self._mismatch(
                "the backup is of a later epoch than the last one", f"epochs={record['epoch']} or more", epochs
            )
        if self.model.built:
            backup.load_into(self.model)
        elif not self.replay:
            raise ModelError(
                "the model is not built, and without a replay nothing builds it in time",
                path=self.model.name,
                expected="a built model",
                found="an unbuilt one",
                remedy="call it on a batch of data before fit, or pass replay=True",
            )
        self._backup = backup
        if not self.replay:
            last = record["stop"] and record["batch"] is None and epochs is not None
            keras_api.start_at(self.model, epochs if last else record["epoch"])
        if self.params.get("verbose"):
            begins = record["epoch"] + 1
            again = f"; drawing the data of {begins - 1} epochs again" if self.replay and begins > 1 else ""
            print(f"Going on from {os.fspath(backup.path)} in epoch {begins}{again}", flush=True)

    def _listen(self) -> None:
        """Puts the front callback before all others, and this one behind all: a backup has what others did.

        As long as the training is not where the backup was made, others hear nothing.
        """
        others = [*self._others, self] if self._backup is None else []
        self._fit.callbacks.callbacks = [self._front, *others]

    def _epoch_begins(self, epoch: int) -> None:
        if self._first is None:
            self._first = epoch
            self._before = states.noted(self._others)
            self._settings = settings.settings_of(self.model)
            keras_api.start_at(self.model, None)  # or the next fit would begin here, too
            if self._backup is not None:
                self._replay(epoch, self._backup.record)
        self._epoch, self._batch = epoch, 0
        front = self._front
        if front is not None and front.replay is not None and self._backup is not None:
            record = self._backup.record
            front.replay.in_epoch = epoch == record["epoch"] and record["batch"] is not None

    def _replay(self, epoch: int, record: dict[str, Any]) -> None:
        """Begins to draw what was trained; in a jump, only the batches of the one epoch."""
        assert self._front is not None
        if self.replay and epoch != record["first"]:
            raise self._mismatch("fit begins at another epoch", f"initial_epoch={record['first']}", epoch)
        self._first = record["first"]
        if epoch == record["epoch"] and record["batch"] is None:
            self._restore({"python", "numpy", "keras"}, metrics=False)  # they are not built, and begin anew
            self._listen()
            for one in (*self._others, self):
                one.on_epoch_begin(epoch, {})
            return
        replay = Replay(self.model, record["batch"], record["logs"], self._first_step_done, self._replayed)
        if record["batch"] is not None:
            keras_api.call_in_order(self._fit.callbacks)
        self._front.replay = replay
        replay.begin()

    def _first_step_done(self) -> None:
        if self._backup is not None:
            self._backup.load_into(self.model)  # a model that is built only now may be another one

    def _epoch_replayed(self, epoch: int) -> None:
        assert self._backup is not None
        assert self._front is not None
        assert self._front.replay is not None
        record = self._backup.record
        self._compare("the data is not that of the backup", record["data"])
        if record["batch"] is not None and epoch == record["epoch"]:
            raise self._mismatch("the data is not that of the backup", f"{record['batch']} steps in an epoch", "fewer")
        if record["batch"] is None and epoch + 1 == record["epoch"]:
            self._front.replay.end()

    def _replayed(self) -> None:
        """All that was trained has been drawn again: from here on the training goes on."""
        assert self._front is not None
        assert self._front.replay is not None
        unmoved = self._front.replay.unmoved()
        self._front.replay = None
        self._restore(unmoved)
        self._listen()

    def _restore(self, generators: set[str], metrics: bool = True) -> None:
        assert self._backup is not None
        backup, self._backup = self._backup, None
        record = backup.record
        with closing(backup):
            backup.load_into(self.model)
            if metrics:
                states.set_metric_values(self.model, record["metrics"], str(backup.path))
        lost = states.restore(self._others, record["callbacks"])
        states.set_randomness(record["random"], generators)
        if record["batch"] is not None:
            self._seen = record["batch"]
            for one in self._others:
                if isinstance(one, keras.callbacks.ProgbarLogger):
                    one.on_epoch_begin(record["epoch"])
        if record["stop"]:
            self.model.stop_training = True
        if lost:
            warnings.warn(
                f"What callbacks had noted could not be kept, as it is neither plain nor an array: {', '.join(lost)}",
                stacklevel=2,
            )
        missing = settings.missing(record["settings"], settings.settings_of(self.model))
        if missing:
            more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
            warnings.warn(
                "What was set in the course of the training is not brought back, so it may end differently: "
                f"{', '.join(missing[:8])}{more}. Set it before fit, or keep it in a variable of the model.",
                stacklevel=2,
            )

    def _batch_ends(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras at each batch's end, with the number of the last batch."""
        done = batch + 1
        self._since += done - self._seen
        self._seen = done
        if self.save_freq is not False and self._since >= self.save_freq:  # type: ignore[operator]
            self._since = 0
            self._save(self._epoch, done, logs or {})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Backs up, if it is to be done after each epoch."""
        self._seen = 0
        if self.save_freq == "epoch":
            self._save(epoch + 1, None, {})

    def _save(self, epoch: int, batch: int | None, logs: dict[str, Any]) -> None:
        if self._passive:
            return
        record = {
            "number": self._number,
            "first": self._first,
            "epoch": epoch,
            "batch": batch,
            "logs": {name: value for name, value in logs.items() if states.is_plain(value)},
            "stop": bool(self.model.stop_training),
            "data": self._fit.facts(),
            "random": states.randomness(),
            "metrics": states.metric_values(self.model),
            "callbacks": states.changed(self._others, self._before),
            "settings": settings.set_since(self._settings, settings.settings_of(self.model)),
        }
        if self.double_checkpoint and self._latest.exists():
            self._latest.replace(self._previous)
        backup_file.write(self._latest, self.model, record)

    def _train_ends(self, logs: dict[str, Any] | None) -> None:
        """Called before all other callbacks: what they need to have noted is given back at the latest."""
        keras_api.start_at(self.model, None)
        if self._backup is not None:
            self._restore({"python", "numpy", "keras"}, metrics=False)
            self._listen()
            for one in (*self._others, self):
                one.on_train_end(logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Removes the backups, if they are not to be kept."""
        _finished[self._folder] = self._number + 1
        self._fit.callbacks.callbacks = [*self._others, self]
        self._front = None
        if self.delete_checkpoint and not self._passive:
            for path in (self._previous, self._latest):
                path.unlink(missing_ok=True)
            with suppress(OSError):  # something else is in it
                Path(self.backup_dir).rmdir()

    # Errors.

    def _leave(self) -> None:
        """Undoes what a training that failed has left."""
        if self._front is not None and self._front.replay is not None:
            self._front.replay.take_away()
        self._front = None
        if self._backup is not None:
            self._backup.close()
            self._backup = None

    def _compare(self, what: str, recorded: dict[str, int | None]) -> None:
        for name, found in self._fit.facts().items():
            expected = recorded.get(name)
            if None not in (expected, found) and expected != found:
                raise self._mismatch(what, f"{_FACTS[name]} {expected}", found)

    def _mismatch(self, what: str, expected: Any, found: Any) -> MismatchError:
        path = self._backup.path if self._backup is not None else self._latest
        self._leave()
        return MismatchError(
            what,
            path=str(path),
            expected=expected,
            found=found,
            remedy="call fit as before, or remove the backup to begin anew",
        )


_FACTS = {
    "steps": "steps in an epoch:",
    "batch": "samples in a batch:",
    "last": "samples in the last batch:",
    "execution": "steps_per_execution",
}


def _wrong_argument(name: str, expected: str, found: str) -> ModelError:
    return ModelError(
        "this is no such argument of BackupAndRestore",
        path=name,
        expected=expected,
        found=found,
        remedy="see the documentation of tiedio.callbacks.BackupAndRestore",
    )
