"""A model that shares the pages of its file, and the file: neither changes the other."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio import values
from tiedio.errors import FormatError


def build(seed: int = 1) -> Any:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(64), keras.layers.BatchNormalization(), keras.layers.Dense(64)]
    )
    model.compile("adam", "mse")
    model.fit(*data(), verbose=0)
    return model


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 64)).astype("float32"), rng.normal(size=(8, 64)).astype("float32")


def fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state(model: Any) -> list[bytes]:
    return [np.asarray(v).tobytes() for v in (*model.variables, *model.optimizer.variables)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "m.safetensors"
    tiedio.save(build(), place)
    return place


def test_training_a_mapped_model_leaves_its_file_as_it_is(path: Path) -> None:
    before = fingerprint(path)
    model = tiedio.load(path)
    untrained = state(model)
    model.fit(*data(), epochs=2, verbose=0)
    model.set_weights([weights + 1 for weights in model.get_weights()])
    assert state(model) != untrained
    assert fingerprint(path) == before
    assert state(tiedio.load(path)) == untrained


def test_saving_over_the_file_that_a_model_is_mapped_to_leaves_the_model_as_it_is(path: Path) -> None:
    model = tiedio.load(path)
    untouched = tiedio.load(path, mmap=False)
    tiedio.save(build(2), path)
    assert state(model) == state(untouched)
    model.fit(*data(), verbose=0)
    untouched.fit(*data(), verbose=0)
    assert state(model) == state(untouched)


def test_a_model_can_be_saved_to_the_very_file_that_it_is_mapped_to(path: Path) -> None:
    model = tiedio.load(path)
    before = fingerprint(path)
    tiedio.save(model, path)
    assert fingerprint(path) == before
    model.fit(*data(), verbose=0)
    tiedio.save(model, path)
    assert state(tiedio.load(path)) == state(model)


def test_a_mapped_model_outlives_its_file(path: Path) -> None:
    model = tiedio.load(path)
    expected = state(tiedio.load(path, mmap=False))
    path.unlink()
    assert state(model) == expected


def test_two_models_of_one_file_train_each_for_itself(path: Path) -> None:
    first, second = tiedio.load(path), tiedio.load(path)
    before = state(second)
    first.fit(*data(), verbose=0)
    assert state(second) == before


def test_a_mapped_model_and_a_copied_one_take_the_same_step(path: Path) -> None:
    mapped, copied = tiedio.load(path), tiedio.load(path, mmap=False)
    for model in (mapped, copied):
        model.fit(*data(), verbose=0)
    assert state(mapped) == state(copied)


def test_a_file_that_is_written_to_while_it_is_loaded_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give = values.fill

    def meddle(*args: Any, **kwargs: Any) -> None:
        os.utime(path)
        give(*args, **kwargs)

    monkeypatch.setattr(values, "fill", meddle)
    with pytest.raises(FormatError, match="changed while it was open"):
        tiedio.load(path)
