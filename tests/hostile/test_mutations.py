"""A good file, changed at random, is loaded or refused by an error of the library; nothing else comes out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiedio
from tests.hostile.good import good, parse, small_model
from tests.hostile.mutate import mutant_or_bytes
from tests.hostile.test_hostile import facts


class Drawn:
    """Choices that hypothesis makes, and makes smaller."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def below(self, count: int) -> int:
        return self.data.draw(st.integers(0, count - 1))


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutants") / "file.safetensors"


def write_anew(path: Path, raw: bytes) -> None:
    """A file of its own each time: a model may be mapped to the last one."""
    path.unlink(missing_ok=True)
    path.write_bytes(raw)


MORE = settings(
    max_examples=25 * settings().max_examples,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


@MORE
@given(st.data())
def test_a_changed_file_is_read_or_refused(path: Path, data: st.DataObject) -> None:
    write_anew(path, mutant_or_bytes(good().parts, good().raw, Drawn(data)))
    for call in (tiedio.inspect, tiedio.verify, lambda path: parse(str(path))):
        try:
            call(path)
        except tiedio.TiedioError as error:
            assert len(str(error)) < 2_500  # noqa: PT017 - it may be raised, and need not


@settings(MORE, max_examples=15 * settings().max_examples)
@given(st.data())
def test_a_changed_file_is_loaded_into_a_model_or_leaves_it_alone(path: Path, model: Any, data: st.DataObject) -> None:
    write_anew(path, mutant_or_bytes(good().parts, good().raw, Drawn(data)))
    before = facts(model)
    try:
        tiedio.load_weights(model, path)
    except tiedio.TiedioError as error:
        assert len(str(error)) < 2_500  # noqa: PT017
        assert facts(model) == before
