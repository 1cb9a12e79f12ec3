"""A loading that fails, at whatever line, leaves the model, its ties, flags and optimizer bit for bit as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.durability.load_cases import CASES, Case, strike
from tests.durability.tripwire import Tripwire

MOMENTS = 12
"""Of each loading, spread evenly over it; `make soak` takes all."""


def some(wire: Tripwire) -> list[int]:
    found = list(wire.moments())
    return [*found[:: len(found) // MOMENTS], found[-1]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_loading_that_fails_while_it_changes_the_model_leaves_it_as_it_was(case: Case, tmp_path: Path) -> None:
    struck = strike(case, tmp_path, some)
    assert struck.wrong == ()
    assert struck.times >= MOMENTS


@pytest.mark.parametrize("case", [CASES[0], CASES[9]], ids=lambda case: case.name)
def test_a_loading_that_fails_while_it_compares_leaves_the_model_as_it_was(case: Case, tmp_path: Path) -> None:
    struck = strike(case, tmp_path, some, late=False)
    assert struck.wrong == ()
    assert struck.times >= MOMENTS
