"""What `save` and `load` take and give, and what a save that fails leaves behind."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio import values
from tiedio.errors import ModelError, TiedioError
from tiedio.manifest import FORMAT

X = np.linspace(-1, 1, 24).reshape(8, 3).astype("float32")
Y = np.linspace(0, 1, 16).reshape(8, 2).astype("float32")


def model(compiled: bool = True, eager: bool = True) -> Any:
    """Something of everything that is random or has state of its own; eager, which is quicker for a step or two."""
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, kernel_initializer="orthogonal")(inputs)
    hidden = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(hidden))
    outputs = keras.layers.Dense(2)(keras.layers.GaussianNoise(0.1, seed=3)(hidden))
    made = keras.Model(inputs, outputs)
    if compiled:
        made.compile("adam", keras.losses.Huber(0.3), metrics=["mae"], run_eagerly=eager)
        made.fit(X, Y, batch_size=8, verbose=0)
    return made


class Block(keras.layers.Layer):
    """A layer whose code makes what it needs, at random if it were allowed to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.first = keras.layers.Dense(3, kernel_initializer="random_normal")
        self.dropout = keras.layers.Dropout(0.5)

    def build(self, _shape: Any) -> None:
        random.random()
        np.random.rand()
        keras.random.uniform(())
        self.scale = self.add_weight(shape=(3,), initializer="random_uniform")

    def call(self, x: Any) -> Any:
        return self.dropout(self.first(x)) * self.scale


class Subclassed(keras.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.block, self.last = Block(), keras.layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.last(self.block(x))


CUSTOM = {"Block": Block, "Subclassed": Subclassed}


def subclassed() -> Any:
    made = Subclassed()
    made.compile("sgd", "mse", run_eagerly=True)
    made.fit(X, Y, verbose=0)
    return made


MODELS = {"functional": model, "subclassed": subclassed}


@pytest.fixture(params=sorted(MODELS))
def live(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


# --- arguments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_string_or_a_path(path: Path, kind: Callable[[Path], Any]) -> None:
    assert tiedio.save(model(compiled=False), kind(path)) is None  # type: ignore[func-returns-value]
    assert isinstance(tiedio.load(kind(path)), keras.Model)


def test_a_path_without_a_folder_is_in_this_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    tiedio.save(model(compiled=False), path.name)
    assert path.exists()
    tiedio.load(path.name)


def test_what_was_given_comes_back_a_model_or_a_dict(path: Path) -> None:
    made = model(compiled=False)
    tiedio.save(made, path)
    assert isinstance(tiedio.load(path), keras.Model)
    tiedio.save({"b": made, "a": keras.Model(made.inputs, made.layers[1].output)}, path)
    loaded = tiedio.load(path)
    assert type(loaded) is dict
    assert list(loaded) == ["b", "a"]
    assert loaded["a"].layers[1] is loaded["b"].layers[1]
    tiedio.save({"only": made}, path)
    assert list(tiedio.load(path)) == ["only"]


def test_one_model_under_two_names_is_one_model(path: Path) -> None:
    made = model(compiled=False)
    tiedio.save({"a": made, "b": made}, path)
    loaded = tiedio.load(path)
    assert loaded["a"] is loaded["b"]


def test_the_same_live_model_gives_the_same_bytes_checked_or_not(live: Any, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.safetensors" for n in range(3)]
    tiedio.save(live, paths[0])
    tiedio.save(live, paths[1], check=False)
    tiedio.save(tiedio.load(paths[0], custom_objects=CUSTOM), paths[2])
    assert paths[0].read_bytes() == paths[1].read_bytes() == paths[2].read_bytes()


def test_without_the_optimizer_a_model_comes_back_uncompiled(path: Path) -> None:
    tiedio.save(model(), path, optimizer=False)
    assert tiedio.inspect(path).optimizers == ()
    loaded = tiedio.load(path)
    assert not loaded.compiled
    assert getattr(loaded, "optimizer", None) is None


def test_a_load_without_compiling_leaves_a_model_uncompiled_but_with_its_weights(path: Path) -> None:
    made = model()
    tiedio.save(made, path)
    loaded = tiedio.load(path, compile=False)
    assert not loaded.compiled
    assert np.array_equal(loaded(X), made(X))


def test_a_file_is_replaced_unless_it_is_protected(path: Path) -> None:
    made = model(compiled=False)
    tiedio.save(made, path, overwrite=False)
    first = path.read_bytes()
    made.layers[1].bias.assign_add(np.ones(4))
    tiedio.save(made, path)
    assert path.read_bytes() != first


# --- saves that fail ------------------------------------------------------------------------------------


class Forgetful(keras.layers.Layer):
    """Its `get_config` forgets an argument, so that the default would come back."""

    def __init__(self, factor: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return self.factor * x

    def get_config(self) -> Any:
        return super().get_config()


def fail(error: BaseException, after: int = 0) -> Callable[..., Any]:
    def call(*_args: Any, **_options: Any) -> Any:
        nonlocal after
        after -= 1
        if after < 0:
            raise error
        return np.zeros(4, np.float32)

    return call


def fail_in_check(_monkeypatch: pytest.MonkeyPatch) -> Any:
    return keras.Sequential([keras.Input((3,)), Forgetful(3.0)])


def fail_in_a_value(monkeypatch: pytest.MonkeyPatch) -> Any:
    original, calls = values.array_of, iter(range(100))
    third = fail(MemoryError("no room"))
    monkeypatch.setattr(values, "array_of", lambda value: original(value) if next(calls) < 2 else third())
    return model(compiled=False)


def fail_in_fsync(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(os, "fsync", fail(OSError(28, "No space left on device")))
    return model(compiled=False)


def fail_in_replace(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(os, "replace", fail(KeyboardInterrupt()))
    return model(compiled=False)


FAILURES = {
    "check": (fail_in_check, ModelError),
    "a value": (fail_in_a_value, MemoryError),
    "fsync": (fail_in_fsync, TiedioError),
    "replace": (fail_in_replace, KeyboardInterrupt),
}


@pytest.mark.parametrize("before", [None, b"what stood here"], ids=["no file", "an old file"])
@pytest.mark.parametrize("where", FAILURES)
def test_a_failing_save_leaves_what_stood_there_and_no_litter(
    path: Path, monkeypatch: pytest.MonkeyPatch, where: str, before: bytes | None
) -> None:
    if before is not None:
        path.write_bytes(before)
    make, error = FAILURES[where]
    made = make(monkeypatch)
    with pytest.raises(error):
        tiedio.save(made, path)
    assert [entry.name for entry in path.parent.iterdir()] == ([] if before is None else [path.name])
    assert before is None or path.read_bytes() == before
    monkeypatch.undo()
    tiedio.save(made, path, check=False)
    assert tiedio.inspect(path).format == FORMAT


def test_a_failing_load_leaves_the_file_as_it_is(path: Path) -> None:
    tiedio.save(subclassed(), path)
    before = path.read_bytes()
    with pytest.raises(tiedio.UnregisteredError):
        tiedio.load(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
