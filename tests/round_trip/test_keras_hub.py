"""KerasHub's backbones, layers and tasks come back: what they share, their dropouts' random state, the next step."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

import tiedio
from tiedio.testing import assert_round_trip, zoo_hub

pytestmark = [
    # Two layers of T5 say so at every call.
    pytest.mark.filterwarnings("ignore:.*was passed an input with a mask attached to it:UserWarning"),
    # The matrix that a backbone would use for its outputs has no gradient while only the backbone is trained.
    pytest.mark.filterwarnings("ignore:Gradients do not exist for variables:UserWarning"),
]


@pytest.mark.parametrize("name", zoo_hub.case_names(), ids=lambda name: f"{name} loads as one object")
def test_survives(name: str, tmp_path: Path) -> None:
    case = zoo_hub.build_case(name)
    loaded = assert_round_trip(case.model, inputs=case.inputs, targets=case.targets, folder=tmp_path)
    for model in (case.model, loaded):
        for group in case.same(model):
            assert len(group) > 1
            for one, other in pairwise(group):
                assert one is other
        for group in case.apart(model):
            for one, other in combinations(group, 2):
                assert one is not other


def test_the_random_state_of_every_dropout_comes_back(tmp_path: Path) -> None:
    case = zoo_hub.build_case("gpt2_backbone")
    states = [v for v in case.model.variables if v.path.endswith("seed_generator_state")]
    tiedio.save(case.model, tmp_path / "gpt2.safetensors")
    loaded = tiedio.load(tmp_path / "gpt2.safetensors")
    again = [v for v in loaded.variables if v.path.endswith("seed_generator_state")]
    assert len(states) == len(again) == 7
    assert [np.array(v).tobytes() for v in states] == [np.array(v).tobytes() for v in again]
    fresh = type(case.model).from_config(case.model.get_config())
    assert [np.array(v).tobytes() for v in fresh.variables[-7:]] != [np.array(v).tobytes() for v in states]
