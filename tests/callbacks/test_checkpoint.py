"""`ModelCheckpoint` in the foreground: its files, its arguments, and what it refuses. Its times are Keras's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tests.callbacks.models import Act, InFront, fit, names, plain
from tiedio.callbacks import ModelCheckpoint
from tiedio.errors import ModelError, PathError


def test_the_file_is_the_one_of_save_and_its_ties_hold(tmp_path: Path) -> None:
    fit(plain(), InFront(tmp_path, 4), ModelCheckpoint(tmp_path / "model.safetensors"))
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "front-4.safetensors").read_bytes()
    assert len(tiedio.load(tmp_path / "model.safetensors").weights) == 4


def test_optimizer_and_check_are_handed_on(tmp_path: Path) -> None:
    fit(plain(), ModelCheckpoint(tmp_path / "model.safetensors", optimizer=False))
    assert not tiedio.load(tmp_path / "model.safetensors").compiled
    model = plain()
    model.layers[0].rank = 7
    with pytest.raises(ModelError, match="would not come back"):
        fit(model, ModelCheckpoint(tmp_path / "model.safetensors"))
    fit(model, ModelCheckpoint(tmp_path / "model.safetensors", check=False))


@pytest.mark.parametrize("background", [False, True])
def test_weights_alone_go_into_a_model_that_code_has_built(background: bool, tmp_path: Path) -> None:
    model = plain()
    path = tmp_path / "weights.safetensors"
    fit(model, ModelCheckpoint(path, save_weights_only=True, background=background))
    other = plain()
    fit(other)
    tiedio.load_weights(other, path)
    assert [np.array_equal(a.numpy(), b.numpy()) for a, b in zip(model.weights, other.weights, strict=True)] == [
        True
    ] * 4
    with pytest.raises(tiedio.FormatError, match="weights only"):
        tiedio.load(path)


@pytest.mark.parametrize("background", [False, True])
def test_several_models_are_saved_together_with_the_ties_across_them(background: bool, tmp_path: Path) -> None:
    encoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="encoder")
    whole = keras.Sequential([keras.Input((3,)), encoder, keras.layers.Dense(3)], name="whole")
    whole.compile("adam", "mse")
    path = tmp_path / "both.safetensors"
    fit(whole, ModelCheckpoint(path, models={"encoder": encoder, "whole": whole}, background=background))
    loaded = tiedio.load(path)
    assert loaded["whole"].layers[0] is loaded["encoder"]


@pytest.mark.parametrize("background", [False, True])
def test_folders_are_made(background: bool, tmp_path: Path) -> None:
    fit(plain(), ModelCheckpoint(tmp_path / "run" / "{epoch}" / "model.safetensors", background=background), epochs=2)
    assert names(tmp_path) == ["run/1/model.safetensors", "run/2/model.safetensors"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(PathError, match="the folder cannot be made"):
        fit(plain(), ModelCheckpoint(tmp_path / "run" / "model.safetensors"))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("model.keras", "ends in .safetensors"),
        ("model", "no suffix"),
        ("{}.safetensors", "has no name"),
        ("{0}.safetensors", "has no name"),
        ("{epoch.safetensors", "no template"),
    ],
)
def test_a_name_that_will_not_do_is_refused_before_training(path: str, told: str) -> None:
    with pytest.raises(PathError, match=told):
        ModelCheckpoint(path)


@pytest.mark.parametrize("freq", ["batch", 0, -1, 2.0, True, None])
def test_a_wrong_frequency_is_refused(freq: Any) -> None:
    with pytest.raises(ValueError, match="save_freq") as caught:
        ModelCheckpoint("model.safetensors", save_freq=freq)
    assert isinstance(caught.value, ModelError)


@pytest.mark.parametrize("keep", [0, -1, 1.0, True])
def test_a_wrong_number_to_keep_is_refused(keep: Any) -> None:
    with pytest.raises(ModelError, match="keep"):
        ModelCheckpoint("{epoch}.safetensors", keep=keep)


def test_to_keep_several_files_of_one_name_is_refused_with_a_name_that_would_do() -> None:
    with pytest.raises(ModelError, match=r"model-\{epoch:02d\}\.safetensors"):
        ModelCheckpoint("model.safetensors", keep=2)
    ModelCheckpoint("model.safetensors", keep=1)


def test_what_is_no_model_is_refused_at_once() -> None:
    with pytest.raises(ModelError):
        ModelCheckpoint("model.safetensors", models={"one": 1})


def test_a_brace_may_stand_in_a_name(tmp_path: Path) -> None:
    fit(plain(), ModelCheckpoint(tmp_path / "{{{epoch}}}.safetensors"))
    assert names(tmp_path) == ["{1}.safetensors"]


def test_a_save_that_fails_leaves_the_file_before(tmp_path: Path) -> None:
    def spoil(model: Any, count: int) -> None:
        if count == 2:
            model.layers[0].rank = 7

    with pytest.raises(ModelError):
        fit(plain(), Act(spoil), ModelCheckpoint(tmp_path / "model.safetensors", save_freq=1))
    tiedio.load(tmp_path / "model.safetensors")
    assert names(tmp_path) == ["model.safetensors"]
