"""Each hostile file is refused by each call that it concerns: a short error of the library says what is wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiedio
from tests.hostile.all import HOSTILE
from tests.hostile.generators import ALL
from tests.hostile.good import good, small_model


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


def facts(model: Any) -> list[Any]:
    """What a call must leave alone: the variables themselves, their values and flags, and the functions."""
    variables = [*model.variables, *model.optimizer.variables]
    values = [(id(v), np.asarray(v).tobytes(), v.trainable, v.path) for v in variables]
    held = [(id(layer), id(getattr(layer, "kernel", None)), id(getattr(layer, "bias", None))) for layer in model.layers]
    return [values, held, id(model.train_function), id(model.optimizer)]


def make_call(call: str, path: Path, model: Any) -> None:
    if call == "load_weights":
        tiedio.load_weights(model, path)
    else:
        getattr(tiedio, call)(path)


@pytest.mark.parametrize("call", ALL)
def test_the_good_file_is_good(call: str, model: Any, tmp_path: Path) -> None:
    path = tmp_path / "good.safetensors"
    path.write_bytes(good().raw)
    make_call(call, path, model)
    path.write_bytes(good().parts.built())
    make_call(call, path, model)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name: str, model: Any, tmp_path: Path) -> None:
    case = HOSTILE[name]
    path = tmp_path / "file.safetensors"
    path.write_bytes(case.make())
    before = facts(model)
    for call in ALL:
        if case.says is None:
            make_call(call, path, model)
            continue
        if call not in case.calls:
            continue
        with pytest.raises(tiedio.TiedioError) as caught:
            make_call(call, path, model)
        error, text = caught.value, str(caught.value)
        if case.kind != "any":
            assert isinstance(error, getattr(tiedio, case.kind)), (call, error)
        assert re.search(case.says, text, re.DOTALL), (call, text)
        assert len(text) < 2_000 + text.count(str(path)) * len(str(path)), call
        assert error.remedy, call
        assert all(c.isprintable() or c == "\n" for c in text), call
        assert sorted(os.listdir(tmp_path)) == ["file.safetensors"]
    if case.says is not None:
        assert facts(model) == before
