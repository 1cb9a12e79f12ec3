"""`ModelCheckpoint`: saves the model while `fit` trains it."""

from __future__ import annotations

import functools
import operator
import os
import string
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from tiedio import keras_api
from tiedio.api import save, save_weights
from tiedio.callbacks.background import Background
from tiedio.callbacks.keeping import Kept, number
from tiedio.callbacks.taking import Taken, Taker
from tiedio.container.single import write_tensors
from tiedio.errors import ModelError, PathError
from tiedio.paths import SUFFIX
from tiedio.roots import as_roots


class TemplateError(PathError, KeyError):
    """A file name has a field for which training has no value; Keras raises a `KeyError` there."""


class ModelCheckpoint(keras_api.MonitorCallback):  # type: ignore[misc]
    """Saves the model after epochs or batches, with every tie: `keras.callbacks.ModelCheckpoint` with `tiedio.save`.

    What is written, when, under which name and with what message is as with Keras. Beyond it: `keep`, `background`,
    and several models in one file. docs/checkpoints.md tells what is promised.

    Args:
        filepath: the file; its name ends in `.safetensors`. It may have the fields `{epoch}` and `{batch}`, counted
            from 1, and the names in the logs: `"{epoch:02d}-{val_loss:.2f}.safetensors"`. Folders are made.
        monitor: the name in the logs by which `save_best_only` decides.
        verbose: 1 tells of every save.
        save_best_only: whether to save only what is better than all before.
        save_weights_only: whether to write with `tiedio.save_weights`: no configuration and no proof, for a model that
            only its own code can rebuild.
        mode: `"min"`, `"max"`, or `"auto"`: told by the metric.
        save_freq: `"epoch"`, or a number of batches.
        initial_value_threshold: the value that the first save has to beat, if only the best is saved.
        keep: how many of the files that this callback wrote stay: the newest, or with `save_best_only` the best.
            `None` keeps all. Others' files are never removed.
        background: whether a thread writes while training goes on. The file is that of this moment, byte for byte.
        optimizer: whether the compile configuration and the state of the optimizers are saved too.
        check: whether it is proved that `tiedio.load` gives the same model, as in `tiedio.save`.
        models: other models than the one that is trained, by name, to save together in one file.

    Raises:
        PathError: if the name does not end in `.safetensors` or is no template.
        ModelError: if an argument is none of those above.

    Example:
        >>> import keras, numpy, os
        >>> from tiedio.callbacks import ModelCheckpoint
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> saving = ModelCheckpoint("{epoch:02d}.safetensors", keep=2, background=True)
        >>> _ = model.fit(numpy.ones((4, 3)), numpy.ones((4, 1)), epochs=3, verbose=0, callbacks=[saving])
        >>> sorted(name for name in os.listdir() if name.endswith(".safetensors"))
        ['02.safetensors', '03.safetensors']
    """

    # For `BackupAndRestore`: which files are ours stands on disk, and the rest is made anew.
    BRINGS_BACK = ("_kept", "_taker", "_writer")

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        *,
        keep: int | None = None,
        background: bool = False,
        optimizer: bool = True,
        check: bool = True,
        models: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        self.best: Any = initial_value_threshold
        self.verbose = verbose
        self.filepath = os.fsdecode(filepath)
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.keep, self.background, self.models = keep, background, models
        self._optimizer, self._check = optimizer, check
        if save_freq != "epoch" and (type(save_freq) is not int or save_freq < 1):
            raise _refused("save_freq", save_freq, "'epoch' or a number of batches", "pass 'epoch', or 100, say")
        if keep is not None and (type(keep) is not int or keep < 1):
            raise _refused("keep", keep, "a number of files, or None", "pass None to keep all of them")
        fields = _fields_of(self.filepath)
        if keep is not None and keep > 1 and not fields:
            raise _refused(
                "keep",
                f"{keep} files of one name, {self.filepath!r}",
                "a file name that differs from save to save",
                f"put a field into it: 'model-{{epoch:02d}}{SUFFIX}'",
            )
        if models is not None:
            as_roots(dict(models))
        self._epoch = 0
        self._batches_since = 0
        self._last_batch: int | None = None
        self._kept = None if keep is None else Kept(self.filepath, keep)
        self._taker = Taker(optimizer=optimizer, check=check, weights_only=save_weights_only)
        self._writer = Background()
        self._unsaid = ""

    def on_train_begin(self, logs: Any = None) -> None:
        """Raises what a save in the background has raised after the last training had ended."""
        self._hear()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch, counted from 0."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves if it is time; raises what a save in the background has raised."""
        self._hear()
        if self._is_due(batch):
            self._save(self._epoch, batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves if it is time; raises what a save in the background has raised."""
        self._hear()
        if self.monitor_op is None:
            self._set_monitor_op()
        if self.save_freq == "epoch":
            self._save(epoch, None, logs)

    def on_train_end(self, logs: Any = None) -> None:
        """Waits until all is on disk."""
        self.wait()

    def wait(self) -> None:
        """Waits until all that was saved so far is on disk; for a loop of your own, or after an interrupt.

        Raises:
            Exception: what a save in the background has raised.
        """
        self._writer.wait()
        self._hear()

    def _hear(self) -> None:
        """Tells what became of the save in the background, if it is done."""
        if self._writer.is_done():
            self._writer.check()
            if self._unsaid:
                keras_api.print_message(self._unsaid)
            self._unsaid = ""

    def _is_due(self, batch: int) -> bool:
        """Whether enough batches have been since the last save; several may end at once (`steps_per_execution`)."""
        if self.save_freq == "epoch":
            return False
        new_epoch = self._last_batch is None or batch <= self._last_batch
        self._batches_since += batch + 1 if new_epoch else batch - (self._last_batch or 0)
        self._last_batch = batch
        if self._batches_since < int(self.save_freq):
            return False
        self._batches_since = 0
        return True

    def _save(self, epoch: int, batch: int | None, logs: Any) -> None:
        logs = logs or {}
        path = self._path(epoch, batch, logs)
        if not self._is_wanted(epoch, logs, path):
            return
        folder = os.path.dirname(path)
        if folder:
            _make(folder, path)
        done = f"\nEpoch {epoch + 1}: finished saving model to {path}" if self.verbose > 0 else ""
        if self._kept is not None and self.save_best_only:
            self._kept.better = operator.lt if self.monitor_op is keras_api.keras.ops.less else operator.gt
        value = number(logs.get(self.monitor)) if self.save_best_only else None
        model = self.model  # with JAX, to ask for it brings the state of training back into the model
        models = model if self.models is None else self.models
        if not self.background:
            act = save_weights if self.save_weights_only else functools.partial(save, check=self._check)
            act(models, path, optimizer=self._optimizer)
            self._note(path, value)
            if done:
                keras_api.print_message(done)
            return
        self.wait()  # first: what the last one holds is to be gone before more is held
        # The folder that is current now: training may go on in another one.
        write = functools.partial(
            _write, os.path.abspath(path), [self._taker.take(as_roots(models))], self._kept, value
        )
        self._writer.start(write)
        self._unsaid = done

    def _note(self, path: str, value: float | None) -> None:
        if self._kept is not None:
            self._kept.note(path, value)

    def _path(self, epoch: int, batch: int | None, logs: Mapping[str, Any]) -> str:
        counts = {"epoch": epoch + 1}
        if batch is not None and "batch" not in logs:
            counts["batch"] = batch + 1
        try:
            return self.filepath.format(**counts, **logs)
        except KeyError as error:
            raise TemplateError(
                f"failed to format this callback filepath: {self.filepath!r}",
                path="filepath",
                expected=f"fields among {', '.join(sorted({*counts, *logs}))}",
                found=f"{{{error.args[0]}}}",
                remedy="name a metric that training reports at that time; history.history has them",
            ) from None

    def _is_wanted(self, epoch: int, logs: Mapping[str, Any], path: str) -> bool:
        """Whether to save, and the messages and warnings of Keras's callback."""
        begin = f"\nEpoch {epoch + 1}: "
        if not self.save_best_only:
            self._say(f"{begin}saving model to {path}")
            return True
        current = logs.get(self.monitor)
        if current is None:
            text = f"Can save best model only with {self.monitor} available."
            warnings.warn(text, stacklevel=2)
            return True
        if (isinstance(current, np.ndarray) or keras_api.keras.ops.is_tensor(current)) and len(current.shape) > 0:
            warnings.warn(
                f"Can save best model only when `monitor` is a scalar value. Received: {current}. "
                "Falling back to `save_best_only=False`.",
                stacklevel=2,
            )
            return True
        if self.monitor_op is None:
            self._set_monitor_op()  # Keras has none before the first epoch ends, and then fails at the second save
        before = "None" if self.best is None else f"{self.best:.5f}"
        if not self._is_improvement(current, self.best):
            self._say(f"{begin}{self.monitor} did not improve from {before}")
            return False
        self._say(f"{begin}{self.monitor} improved from {before} to {current:.5f}, saving model to {path}")
        self.best = current
        return True

    def _say(self, text: str) -> None:
        if self.verbose > 0:
            keras_api.print_message(text)


def _write(path: str, taken: list[Taken], kept: Kept | None, value: float | None) -> None:
    """What the thread does."""
    one = taken.pop()  # nobody else is to hold the values: each is let go when it is written
    write_tensors(path, one.tensors, one.metadata)
    if kept is not None:
        kept.note(path, value)


def _make(folder: str, path: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise PathError(
            "the folder cannot be made",
            path=path,
            expected=f"a folder {folder}",
            found=str(error),
            remedy="save to another path, or lift the protection",
        ) from error


def _fields_of(template: str) -> list[str]:
    """The fields of a file name; raises `PathError` if it is none that this callback can fill."""
    if not template.endswith(SUFFIX):
        raise PathError(
            "the file name has the wrong suffix",
            path=template,
            expected=f"a name that ends in {SUFFIX}",
            found=os.path.splitext(template)[1] or "no suffix",
            remedy=f"save to 'model-{{epoch:02d}}{SUFFIX}'",
        )
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise _no_template(template, str(error)) from None
    for field in fields:
        if not field or field[0].isdigit():
            raise _no_template(template, f"the field {{{field}}}, which has no name")
    return fields


def _no_template(template: str, found: str) -> PathError:
    remedy = "write a brace that is no field twice: {{ and }}"
    return PathError(
        "the file name is no template", path=template, expected="fields such as {epoch:02d}", found=found, remedy=remedy
    )


def _refused(name: str, found: object, expected: str, remedy: str) -> ModelError:
    return ModelError("the argument does not fit", path=name, expected=expected, found=found, remedy=remedy)
