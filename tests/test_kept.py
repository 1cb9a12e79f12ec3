"""The table of what is kept: its judge is right on planted cases, and README.md shows rows of docs/peers.md."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from benchmarks import judge, kept
from benchmarks.peers import rebuilt
from tiedio.testing import zoo, zoo_hub
from tiedio.testing.zoo_base import Case, untie

NAME = "two_convs_with_different_padding_share_kernel_and_bias"


def build() -> Case:
    return zoo.build_case(NAME)


def nothing(_case: Case, _folder: Path) -> None:
    pass


def copied(change: Callable[[Any], None]) -> Callable[[Case, Path, Any], Any]:
    """A way to load that brings everything back, and then spoils something."""

    def load(case: Case, _folder: Path, again: Any) -> Any:
        copy = rebuilt(again)
        for mine, theirs in ((case.model, copy), (case.model.optimizer, copy.optimizer)):
            for one, other in zip(mine.variables, theirs.variables, strict=True):
                other.assign(one)
        change(copy)
        return copy

    return load


def loses_the_tie(model: Any) -> None:
    untie(model.layers[2], "_kernel")


def loses_a_value(model: Any) -> None:
    model.layers[1].bias.assign_add(np.ones(model.layers[1].bias.shape))


def loses_momentum(model: Any) -> None:
    for variable in model.optimizer.variables[2:]:
        variable.assign(np.zeros(variable.shape))


def warns(model: Any) -> None:
    loses_momentum(model)
    warnings.warn("skipped the optimizer's state", stacklevel=2)


def takes_other_steps(model: Any) -> None:
    model.compile(model.optimizer, "mae", run_eagerly=True)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda _model: None, "kept"),
        (loses_the_tie, "lost silently: sharing"),
        (loses_a_value, "lost silently: values"),
        (loses_momentum, "lost silently: optimizer state"),
        (warns, "lost with a warning: optimizer state"),
        (takes_other_steps, "lost silently: next step"),
    ],
)
def test_the_judge_names_what_was_lost(change: Callable[[Any], None], verdict: str) -> None:
    assert judge.outcome(build, nothing, copied(change)) == verdict


def test_the_judge_tells_refusing_from_failing() -> None:
    def fails(*_given: Any) -> Any:
        raise OSError

    assert judge.outcome(build, fails, copied(lambda _model: None)) == "refused"
    assert judge.outcome(build, nothing, fails) == "fails"


def test_random_state_counts_where_the_next_step_shows_it() -> None:
    def dropout() -> Case:
        inputs = keras.Input((4,))
        model = keras.Model(inputs, keras.layers.Dropout(0.5, seed=1)(keras.layers.Dense(2)(inputs)))
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
        rows = np.linspace(-1, 1, 16, dtype="float32").reshape(4, 4)  # no two alike: it shows which ones are dropped
        model.train_on_batch(rows, rows[:, :2])
        return Case(model, rows, rows[:, :2])

    def spoiled(model: Any) -> None:
        model.layers[2].seed_generator.state.assign([7, 7])

    assert judge.outcome(dropout, nothing, copied(spoiled)) == "lost silently: random state"


def rows(path: Path) -> list[str]:
    table = path.read_text("utf-8").partition(kept.BEGIN)[2].partition(kept.END)[0]
    return [line for line in table.splitlines() if line.startswith("|")]


def test_readme_shows_the_first_rows_of_the_whole_table() -> None:
    whole, short = rows(kept.DOCS), rows(kept.README)
    assert short == whole[: len(short)]
    assert [line.split(" | ")[0].removeprefix("| ") for line in whole[2:]] == list(kept.ROWS)
    assert len(short) == len(kept.SHORT) + 2


def test_every_row_is_a_case_and_tiedio_keeps_it() -> None:
    known = {*zoo.case_names(), *zoo_hub.case_names()}
    assert set(kept.ROWS.values()) <= known
    assert {line.split(" | ")[1] for line in rows(kept.DOCS)[2:]} == {"kept"}
