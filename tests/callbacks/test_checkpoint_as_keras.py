"""Both callbacks in one `fit`, ours and Keras's, with the same arguments: what each wrote, said and warned of."""

from __future__ import annotations

import inspect
import itertools
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.callbacks.models import X, Y, fit, names, plain
from tiedio.callbacks import ModelCheckpoint, checkpoint

SUFFIXES = (".safetensors", ".weights.h5", ".keras")
LOSSES = [3.0, 2.0, 2.5, 1.0, 1.0]
"""What is monitored in each epoch."""


def bare(text: str) -> str:
    for suffix in SUFFIXES:
        text = text.replace(suffix, "")
    return text.replace("/keras/", "/").replace("/ours/", "/")


class Recorder:
    """Notes the order of writes, and writes nothing that takes time."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ours: list[str] = []
        self.keras: list[str] = []
        self.folder = folder

        def note(into: list[str], path: Any) -> None:
            into.append(bare(Path(path).relative_to(folder).as_posix().partition("/")[2]))

        monkeypatch.setattr(checkpoint, "save", lambda _model, path, **_options: note(self.ours, path))
        monkeypatch.setattr(checkpoint, "save_weights", lambda _model, path, **_options: note(self.ours, path))
        monkeypatch.setattr(keras.Model, "save", lambda _self, path, **_options: note(self.keras, path))
        monkeypatch.setattr(keras.Model, "save_weights", lambda _self, path, **_options: note(self.keras, path))


class Given(keras.callbacks.Callback):
    """Puts numbers of our choice into the logs; it stands before the callbacks that read them."""

    def __init__(self, missing: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.missing, self.count = missing, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.count += 1
        logs["given"] = float(10 - self.count % 3)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch not in self.missing:
            logs["given"] = LOSSES[epoch]


def both(folder: Path, template: str, **arguments: Any) -> tuple[Any, Any]:
    theirs = ".weights.h5" if arguments.get("save_weights_only") else ".keras"
    return (
        ModelCheckpoint(folder / "ours" / f"{template}.safetensors", **arguments),
        keras.callbacks.ModelCheckpoint(folder / "keras" / f"{template}{theirs}", **arguments),
    )


GRID = list(
    itertools.product(
        ["model", "{epoch:02d}-{given:.2f}", "{epoch}/{given}"],
        ["min", "max"],
        [False, True],
        ["epoch", 1, 3, 7],
        [None, 2.2],
        [False, True],
    )
)


def test_the_same_files_are_written_at_the_same_times_with_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen, pairs = Recorder(tmp_path, monkeypatch), []
    for n, (template, mode, best, freq, threshold, weights) in enumerate(GRID):
        if best and freq != "epoch":
            continue  # Keras fails there, see below
        arguments = {
            "monitor": "given", "mode": mode, "save_best_only": best, "save_freq": freq, "verbose": 1,
            "initial_value_threshold": threshold, "save_weights_only": weights,
        }  # fmt: skip
        pairs.append(both(tmp_path, f"{n}/{template}", **arguments))
    fit(plain(), Given(), *itertools.chain.from_iterable(pairs), epochs=5)
    assert seen.ours == seen.keras
    assert len({path.partition("/")[0] for path in seen.ours}) > len(pairs) / 2
    said = Counter(line for line in bare(capsys.readouterr().out).splitlines() if line)
    assert {line: count for line, count in said.items() if count % 2} == {}
    assert len(said) > 100
    assert [ours.best for ours, _ in pairs] == [theirs.best for _, theirs in pairs]


@pytest.mark.parametrize("steps", [2, 3])
def test_several_steps_in_one_execution_are_counted_alike(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Recorder(tmp_path, monkeypatch)
    callbacks = both(tmp_path, "{epoch}-{batch}", save_freq=3)
    fit(plain(steps_per_execution=steps), *callbacks, epochs=4)
    assert seen.ours == seen.keras
    assert seen.ours


@pytest.mark.parametrize(
    ("monitor", "metric"), [("val_loss", "mse"), ("val_acc", "acc"), ("loss", "mse"), ("mae", "mae")]
)
def test_the_direction_of_a_metric_is_found_alike(
    monitor: str, metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Recorder(tmp_path, monkeypatch)
    callbacks = both(tmp_path, "{epoch}", monitor=monitor, save_best_only=True)
    fit(plain("sgd", metrics=[metric]), *callbacks, epochs=3, validation_data=(X, Y))
    assert seen.ours == seen.keras
    assert callbacks[0].best == callbacks[1].best


def test_a_direction_that_nothing_tells_is_the_same_error(tmp_path: Path) -> None:
    told = []
    for callback in both(tmp_path, "model", monitor="unheard_of"):
        with pytest.raises(ValueError, match="automatically determine") as caught:
            fit(plain(), callback)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_a_value_that_is_missing_warns_and_saves_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Recorder(tmp_path, monkeypatch)
    callbacks = both(tmp_path, "{epoch}", monitor="given", mode="min", save_best_only=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(plain(), Given(missing=(1, 2)), *callbacks, epochs=4)
    told = [str(one.message) for one in caught if "given" in str(one.message)]
    assert told == ["Can save best model only with given available."] * 4
    assert seen.ours == seen.keras == ["1", "2", "3", "4"]


class Vector(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["given"] = np.ones(2)


def test_a_value_that_is_no_scalar_warns_and_saves_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Recorder(tmp_path, monkeypatch)
    callbacks = both(tmp_path, "{epoch}", monitor="given", mode="min", save_best_only=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(plain(), Vector(), *callbacks)
    told = [str(one.message) for one in caught if "scalar" in str(one.message)]
    assert len(told) == 2
    assert told[0] == told[1]
    assert seen.ours == seen.keras == ["1"]


def test_an_unknown_mode_warns_alike(tmp_path: Path) -> None:
    for name, kind in (("m.safetensors", ModelCheckpoint), ("m.keras", keras.callbacks.ModelCheckpoint)):
        with pytest.warns(UserWarning, match="ModelCheckpoint mode 'best' is unknown, fallback to auto mode"):
            assert kind(tmp_path / name, mode="best").mode == "auto"


def test_a_field_without_a_value_is_a_key_error_with_either(tmp_path: Path) -> None:
    for callback in both(tmp_path, "{epoch}-{val_loss}"):
        with pytest.raises(KeyError, match=re.escape("ailed to format this callback filepath")) as caught:
            fit(plain(), callback)
        assert "val_loss" in str(caught.value)


def test_the_best_among_batches_is_saved_where_keras_fails(tmp_path: Path) -> None:
    ours, theirs = both(tmp_path, "{epoch}-{batch}", monitor="given", mode="min", save_best_only=True, save_freq=1)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        fit(plain(), Given(), theirs)
    fit(plain(), Given(), ours)
    assert names(tmp_path / "ours") == ["1-1.safetensors", "1-2.safetensors"]  # 9, 8, 10, 9


def test_defaults_and_positions_of_arguments_are_those_of_keras() -> None:
    mine, theirs = (
        list(inspect.signature(kind.__init__).parameters.values())[1:]
        for kind in (ModelCheckpoint, keras.callbacks.ModelCheckpoint)
    )
    shared = [(one.name, one.default) for one in mine if one.kind is not one.KEYWORD_ONLY]
    assert shared == [(one.name, one.default) for one in theirs]
