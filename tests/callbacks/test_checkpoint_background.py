"""Saves in the background: the file of that moment, byte for byte, whatever training does meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tests.callbacks.models import Act, Gate, InFront, fit, names, plain
from tiedio.callbacks import ModelCheckpoint, checkpoint
from tiedio.container.single import write_tensors
from tiedio.errors import ModelError, PathError, TiedioError

ROOT = Path(__file__).resolve().parents[2]


def functional(*parts: Any, **options: Any) -> Any:
    model = keras.Sequential([keras.Input((3,)), *parts, keras.layers.Dense(3)])
    model.compile(**({"optimizer": "adam", "loss": "mse"} | options))
    return model


def noisy() -> Any:
    return functional(keras.layers.Dropout(0.5, seed=3), keras.layers.GaussianNoise(0.1), keras.layers.Dropout(0.2))


def normed() -> Any:
    return functional(keras.layers.BatchNormalization(), keras.layers.Dense(4), keras.layers.BatchNormalization())


def averaged() -> Any:
    return functional(optimizer=keras.optimizers.Adam(use_ema=True, ema_overwrite_frequency=2))


def accumulated() -> Any:
    return functional(optimizer=keras.optimizers.SGD(momentum=0.9, gradient_accumulation_steps=2))


def viewed() -> Any:
    first, second = keras.layers.Dense(5, use_bias=False), keras.layers.Dense(3, use_bias=False)
    model = keras.Sequential([keras.Input((3,)), first, second])
    tiedio.tie(second, first, weights=["kernel"], view=tiedio.transpose(), models=model)
    model.compile("adam", "mse")
    return model


def mixed() -> Any:
    return functional(keras.layers.Dense(4, dtype="mixed_bfloat16"), keras.layers.Dense(4, dtype="bfloat16"))


def scaled() -> Any:
    return functional(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), dynamic_growth_steps=1))


def quantized() -> Any:
    model = functional(keras.layers.Dense(8, name="inner"))
    model.get_layer("inner").quantize("float8")
    model.compile("sgd", "mse")
    return model


def scheduled() -> Any:
    return functional(optimizer=keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)))


@keras.saving.register_keras_serializable("tests.callbacks")
class Counting(keras.layers.Layer):
    """Holds an array that changes in place, and stores it by a hook of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen = np.zeros(4, "float32")

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        return x * self.scale

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        store["seen"] = self.seen

    def load_own_variables(self, store: Any) -> None:
        self.seen = np.array(store["seen"])
        self.scale.assign(store["0"])


def counting() -> Any:
    return functional(Counting(name="counting"))


MODELS = [plain, noisy, normed, averaged, accumulated, viewed, mixed, scaled, quantized, scheduled, counting]


def count_on(model: Any, count: int) -> None:
    for layer in model.layers:
        if isinstance(layer, Counting):
            layer.seen += count


@pytest.mark.parametrize("build", MODELS)
def test_the_file_is_byte_for_byte_the_one_of_a_save_in_the_foreground_while_training_goes_on(
    build: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build()
    gate = Gate(write_tensors)
    monkeypatch.setattr(checkpoint, "write_tensors", gate.write)
    back = ModelCheckpoint(tmp_path / "back-{epoch}-{batch}.safetensors", save_freq=2, background=True)
    fit(model, Act(count_on), InFront(tmp_path, 2), gate, back, epochs=2)
    for count, name in ((2, "1-2"), (4, "1-4"), (6, "2-2"), (8, "2-4")):
        ours = (tmp_path / f"back-{name}.safetensors").read_bytes()
        assert ours == (tmp_path / f"front-{count}.safetensors").read_bytes()
        tiedio.verify(tmp_path / f"back-{name}.safetensors")
    assert len({path.read_bytes() for path in tmp_path.glob("back-*")}) == 4


def test_files_of_weights_are_byte_for_byte_those_of_the_foreground_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(write_tensors)
    monkeypatch.setattr(checkpoint, "write_tensors", gate.write)
    back = ModelCheckpoint(tmp_path / "back-{batch}.safetensors", save_freq=2, background=True, save_weights_only=True)
    fit(noisy(), InFront(tmp_path, 2, tiedio.save_weights), gate, back)
    assert (tmp_path / "back-2.safetensors").read_bytes() == (tmp_path / "front-2.safetensors").read_bytes()
    assert (tmp_path / "back-4.safetensors").read_bytes() == (tmp_path / "front-4.safetensors").read_bytes()


def test_the_file_trains_on_as_the_model_did(tmp_path: Path) -> None:
    model = plain()
    fit(model, ModelCheckpoint(tmp_path / "model.safetensors", background=True))
    loaded = tiedio.load(tmp_path / "model.safetensors")
    assert loaded.layers[0] is loaded.layers[2] or loaded.layers[0].kernel is loaded._layers[-1].kernel
    fit(model)
    fit(loaded)
    for mine, theirs in zip(model.variables, loaded.variables, strict=True):
        assert np.array_equal(mine.numpy(), theirs.numpy())


def rate_changed(model: Any, count: int) -> None:
    model.optimizer.learning_rate = 0.1 / count


def test_the_model_is_rebuilt_once_for_all_saves_whatever_the_learning_rate(tmp_path: Path) -> None:
    back = ModelCheckpoint(tmp_path / "{epoch}-{batch}.safetensors", save_freq=1, background=True)
    model = plain()
    fit(model, Act(rate_changed), InFront(tmp_path, 1), back, epochs=2)
    assert back._taker.proofs == 1
    assert (tmp_path / "2-4.safetensors").read_bytes() == (tmp_path / "front-8.safetensors").read_bytes()
    assert tiedio.load(tmp_path / "1-2.safetensors").optimizer.learning_rate.numpy() == np.float32(0.05)


def frozen_at_three(model: Any, count: int) -> None:
    if count == 3:
        model.layers[0].trainable = False


def test_a_changed_structure_is_proved_anew_and_is_what_is_saved(tmp_path: Path) -> None:
    back = ModelCheckpoint(tmp_path / "{batch}.safetensors", save_freq=1, background=True)
    fit(plain(), Act(frozen_at_three), back)
    assert back._taker.proofs == 2
    loaded = [tiedio.load(tmp_path / f"{n}.safetensors").layers[0].trainable for n in (1, 2, 3, 4)]
    assert loaded == [True, True, False, False]


def flag_set_by_hand(model: Any, count: int) -> None:
    if count == 2:
        model.layers[0].rank = 7


def test_what_no_config_tells_is_refused_though_it_was_set_after_the_proof(tmp_path: Path) -> None:
    back = ModelCheckpoint(tmp_path / "{batch}.safetensors", save_freq=1, background=True)
    with pytest.raises(ModelError, match="an attribute would not come back"):
        fit(plain(), Act(flag_set_by_hand), back)
    back.wait()
    assert names(tmp_path) == ["1.safetensors"]


def test_hooks_of_a_class_are_proved_every_time(tmp_path: Path) -> None:
    back = ModelCheckpoint(tmp_path / "{batch}.safetensors", save_freq=1, background=True)
    fit(counting(), Act(count_on), back)
    assert back._taker.proofs == 4


def test_without_the_check_nothing_is_rebuilt(tmp_path: Path) -> None:
    back = ModelCheckpoint(tmp_path / "{batch}.safetensors", save_freq=1, background=True, check=False)
    fit(plain(), InFront(tmp_path, 1), back)
    assert back._taker.proofs == 0
    assert (tmp_path / "3.safetensors").read_bytes() == (tmp_path / "front-3.safetensors").read_bytes()


# --- the thread --------------------------------------------------------------------------------------


class DiskError(TiedioError):
    """Stands for what a disk says."""


def broken(*_given: Any, **_options: Any) -> None:
    raise DiskError("the disk is gone", path="there", expected="a disk", found="none", remedy="get one")


def test_an_error_of_the_thread_stops_training_as_itself_at_the_next_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "write_tensors", broken)
    back = ModelCheckpoint(tmp_path / "model.safetensors", save_freq=2, background=True)

    def let_it_end(_model: Any, count: int) -> None:
        if count == 3:
            assert back._writer._thread is not None
            back._writer._thread.join()

    count = Act(let_it_end)
    with pytest.raises(DiskError, match="the disk is gone"):
        fit(plain(), count, back)
    assert count.count == 3
    fit(plain(), ModelCheckpoint(tmp_path / "other.safetensors"))  # and it is told once
    back.on_train_begin()


@pytest.mark.parametrize("freq", ["epoch", 4])
def test_an_error_of_the_last_save_is_raised_when_training_ends(
    freq: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "write_tensors", broken)
    back = ModelCheckpoint(tmp_path / "model.safetensors", save_freq=freq, background=True)
    with pytest.raises(DiskError, match="the disk is gone"):
        fit(plain(), back)


def test_an_error_that_nobody_heard_is_raised_when_training_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "write_tensors", broken)
    back = ModelCheckpoint(tmp_path / "model.safetensors", save_freq=1, background=True)
    with pytest.raises(KeyboardInterrupt):
        fit(plain(), back, Act(interrupted))
    assert back._writer._thread is not None
    back._writer._thread.join()
    with pytest.raises(DiskError, match="the disk is gone"):
        fit(plain(), back)


def interrupted(_model: Any, _count: int) -> None:
    raise KeyboardInterrupt


def test_all_is_on_disk_when_fit_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def late(*given: Any, **options: Any) -> None:
        begun.set()
        assert not threading.Event().wait(0.05)
        write_tensors(*given, **options)

    monkeypatch.setattr(checkpoint, "write_tensors", late)
    fit(plain(), ModelCheckpoint(tmp_path / "model.safetensors", background=True))
    assert begun.is_set()
    tiedio.verify(tmp_path / "model.safetensors")


def test_a_relative_path_is_of_the_folder_that_was_current_at_the_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    gate = Gate(write_tensors)
    monkeypatch.setattr(checkpoint, "write_tensors", gate.write)
    monkeypatch.chdir(tmp_path / "here")
    leave = Act(lambda _model, count: monkeypatch.chdir(tmp_path / ("there" if count == 4 else "here")))
    fit(plain(), gate, ModelCheckpoint("{batch}.safetensors", save_freq=4, background=True), leave)
    assert names(tmp_path) == ["here/4.safetensors"]


def test_one_file_at_a_time_is_written_and_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = [0], [0]

    def counted(*given: Any, **options: Any) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        write_tensors(*given, **options)
        inside[0] -= 1

    monkeypatch.setattr(checkpoint, "write_tensors", counted)
    fit(plain(), ModelCheckpoint(tmp_path / "{batch}.safetensors", save_freq=1, background=True))
    assert (most[0], len(names(tmp_path))) == (1, 4)


def test_each_value_is_let_go_as_soon_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []

    def read_twice(_path: Any, tensors: Any, _metadata: Any) -> None:
        for tensor in tensors:
            tensor.data()
            with pytest.raises(IndexError):
                tensor.data()
            taken.append(tensor.name)

    monkeypatch.setattr(checkpoint, "write_tensors", read_twice)
    fit(plain(), ModelCheckpoint(tmp_path / "model.safetensors", background=True))
    assert "dense/kernel" in str(taken)


AFTER_AN_END = """
import sys, time
import keras, numpy
from tiedio.callbacks import ModelCheckpoint, checkpoint
from tiedio.container.single import write_tensors
write = checkpoint.write_tensors
def slow(*given, **options):
    time.sleep(0.3)
    {act}
    write(*given, **options)
checkpoint.write_tensors = slow
class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise {error}
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
model.compile("adam", "mse")
back = ModelCheckpoint(sys.argv[1], save_freq=1, background=True)
model.fit(numpy.ones((4, 3)), numpy.ones((4, 3)), verbose=0, callbacks=[back, Stop()])
"""


def run(act: str, error: str, path: Path) -> subprocess.CompletedProcess[str]:
    code = AFTER_AN_END.format(act=act, error=error)
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "SystemExit(3)"])
def test_a_file_that_was_begun_is_whole_though_python_ends(error: str, tmp_path: Path) -> None:
    done = run("pass", error, tmp_path / "model.safetensors")
    assert done.returncode != 0
    tiedio.verify(tmp_path / "model.safetensors")


def test_an_error_after_the_end_of_training_is_told_when_python_ends(tmp_path: Path) -> None:
    done = run("raise OSError('no space')", "KeyboardInterrupt", tmp_path / "model.safetensors")
    assert "a save in the background failed after training had ended" in done.stderr
    assert "OSError: no space" in done.stderr
    assert names(tmp_path) == []


def test_a_bad_place_is_told_by_the_same_error_as_in_the_foreground(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    told = []
    for background in (False, True):
        with pytest.raises(PathError) as caught:
            fit(plain(), ModelCheckpoint(tmp_path / "model.safetensors", background=background))
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_the_end_of_a_save_is_told_once_it_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.safetensors"
    fit(plain(), ModelCheckpoint(path, verbose=1, background=True))
    assert f"Epoch 1: finished saving model to {path}" in capsys.readouterr().out
