"""Everything that must survive a save and a load, one model for each way to share."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import pytest

import tiedio
from tiedio.testing import zoo
from tiedio.testing.plugin import RoundTrip


def assert_shares(case: zoo.Case, model: Any) -> None:
    """Assert that this model has the sharing for which the case is in the zoo."""
    same, apart = case.same(model), case.apart(model)
    assert same or apart
    for group in same:
        assert len(group) > 1
        for one, other in pairwise(group):
            assert one is other
    for group in apart:
        assert len(group) > 1
        for one, other in combinations(group, 2):
            assert one is not other


@pytest.mark.parametrize("name", zoo.case_names(), ids=lambda name: f"{name} loads as one object")
def test_survives(name: str, round_trip: RoundTrip) -> None:
    case = zoo.build_case(name)
    assert_shares(case, case.model)
    loaded = round_trip(
        case.model,
        case.inputs,
        case.targets,
        training=case.training,
        custom_objects=case.custom_objects,
        safe_mode=case.safe_mode,
    )
    assert_shares(case, loaded)


@pytest.mark.parametrize("name", [name for name in zoo.case_names() if "are_outputs_of_layers" in name])
def test_weights_that_are_activations_are_not_taken_for_a_tie(name: str) -> None:
    assert not tiedio.find_ties(zoo.build_case(name).model)
