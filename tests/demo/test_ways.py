"""The check that does not look inside the model; what the formats do is in test_end_to_end.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiedio.demo import models, ways
from tiedio.demo.measure import Format


def test_a_format_that_fails_is_named_by_its_error(tmp_path: Path) -> None:
    def load(_: Path) -> Any:
        raise KeyError("lost")

    found = ways.other_ways(
        tmp_path, formats=(Format("bad", ".x", lambda model, path: None, load),), vocabulary=30, width=4
    )
    assert [way.kept["bad"] for way in found] == ["KeyError", "KeyError"]


@pytest.mark.parametrize("output", ["by hand", "reference", "operation"])
def test_scores_follow_a_matrix_that_is_shared(output: models.Output) -> None:
    assert ways.follows(models.language_model(30, 4, 6, output))


def test_scores_do_not_follow_a_matrix_of_their_own() -> None:
    model = models.language_model(30, 4, 6)
    output = model.get_layer("output")
    own = type(output.kernel)(output.kernel.numpy())
    models.put_variable(output, "_kernel", own)
    assert not ways.follows(model)
