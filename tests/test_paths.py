"""Names of files that are refused, with a remedy that fits what was asked for."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

import tiedio


def model() -> keras.Model:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("two.keras", "save to 'two.safetensors'; for .keras out of it: tiedio.convert"),
        ("two.weights.h5", "save to 'two.safetensors'"),
        ("run.v2", "save to 'run.v2.safetensors'"),
        ("two", "save to 'two.safetensors'"),
        (".", "save to './model.safetensors'"),
        ("", "save to 'model.safetensors'"),
    ],
)
def test_a_name_to_write_is_mended(name: str, remedy: str) -> None:
    with pytest.raises(tiedio.PathError) as caught:
        tiedio.save(model(), name)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("name", ["two.keras", "two.h5", "two.weights.h5"])
def test_a_file_of_keras_is_to_be_converted(name: str) -> None:
    for read in (tiedio.load, lambda path: tiedio.load_weights(model(), path)):
        with pytest.raises(tiedio.PathError) as caught:
            read(name)
        assert caught.value.remedy == f"convert it first: tiedio.convert({name!r}, 'two.safetensors')"


def test_another_file_is_not_said_to_be_convertible() -> None:
    with pytest.raises(tiedio.PathError) as caught:
        tiedio.load("two.pt")
    assert caught.value.remedy == "pass the path of a .safetensors file that tiedio wrote"


def test_a_missing_folder_is_named_in_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(tiedio.PathError) as caught:
        tiedio.save(model(), tmp_path / "run" / "two.safetensors")
    assert caught.value.remedy == f"create it first: os.makedirs({str(tmp_path / 'run')!r})"


def test_a_keras_file_that_is_inspected_is_to_be_converted(tmp_path: Path) -> None:
    model().save(tmp_path / "two.keras")
    with pytest.raises(tiedio.FormatError, match=r"a zip archive.*tiedio convert makes one of it"):
        tiedio.inspect(tmp_path / "two.keras")
