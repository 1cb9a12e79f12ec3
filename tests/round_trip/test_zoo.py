"""The oracle accepts the zoo's cases when the loader is right by construction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tiedio.testing import assert_round_trip, zoo
from tiedio.testing.zoo_base import BUILDERS, case, register

if TYPE_CHECKING:
    from .conftest import Twins


# Every eighth, for they take a while; a case that fails in test_survival is tried here first: add its name.
@pytest.mark.parametrize("name", zoo.case_names()[::8])
def test_the_oracle_accepts_a_case_that_its_own_code_builds_again(name: str, twins: Twins, tmp_path: Path) -> None:
    case = zoo.build_case(name)
    twins.build = lambda: zoo.build_case(name).model
    assert_round_trip(case.model, inputs=case.inputs, targets=case.targets, training=case.training, folder=tmp_path)
    assert twins.loads == 2


def test_a_case_is_built_afresh_every_time() -> None:
    first, second = (zoo.build_case("one_layer_called_three_times") for _ in range(2))
    assert first.name == second.name == "one_layer_called_three_times"
    assert first.model is not second.model


def test_two_cases_cannot_have_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiedio.testing.zoo_base.BUILDERS", dict(BUILDERS))

    def one_layer_called_three_times() -> zoo.Case:
        raise AssertionError("never built")

    with pytest.raises(ValueError, match="two zoo cases are called one_layer_called_three_times"):
        case(one_layer_called_three_times)
    with pytest.raises(ValueError, match="two zoo cases are called one_layer_called_three_times"):
        register("one_layer_called_three_times", one_layer_called_three_times)


def test_an_unknown_case_is_an_error() -> None:
    with pytest.raises(KeyError):
        zoo.build_case("no_such_case")
