"""The parts of `make bench` that do not measure: samples in turn, targets, tables, and the page that they go into."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import harness, plots, report, tables
from benchmarks.groups import ORDER
from benchmarks.harness import Plan, Samples, clocked, interleave
from benchmarks.targets import TARGETS, Target, pairs, ratio


@pytest.mark.parametrize("module", [harness, plots, report, tables], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings_run(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_the_order_is_drawn_and_then_turned_around() -> None:
    order: list[str] = []

    def step(name: str) -> float:
        order.append(name)
        return float(len(order))

    names = "abcdefgh"
    found = interleave({name: lambda name=name: step(name) for name in names}, 5)  # type: ignore[misc]
    rounds = ["".join(order[n : n + 8]) for n in range(0, 40, 8)]
    assert [sorted(one) for one in rounds] == [list(names)] * 5
    assert rounds[1] == rounds[0][::-1]
    assert rounds[3] == rounds[2][::-1]
    assert len(set(rounds)) == 5
    assert list(found) == list(names)
    assert found["c"] == [8 * n + one.index("c") + 1 for n, one in enumerate(rounds)]


def test_the_clock_stands_while_a_step_is_prepared_and_hands_on_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("benchmarks.harness.time.perf_counter", lambda: now)

    def pass_time(seconds: float, result: str) -> str:
        nonlocal now
        now += seconds
        return result

    given: list[str] = []

    def act(prepared: str) -> str:
        given.append(prepared)
        return pass_time(2.0, "done")

    step = clocked(act, lambda: pass_time(100.0, "prepared"))
    assert step() == 2.0
    assert given == ["prepared"]


def test_a_plan_that_is_only_tried_is_small_and_runs_here() -> None:
    plan, tried = Plan("there"), Plan("there", quick=True)
    assert (plan.width(4096), plan.count(250)) == (4096, 250)
    assert (tried.width(4096), tried.width(16), tried.count(250), tried.count(1)) == (64, 8, 10, 1)
    assert tried.child("harness.median", values=[3.0, 1.0, 2.0]) == 2.0


def test_a_save_is_held_against_the_faster_of_two_writes() -> None:
    samples = {"save": [3.0, 3.0, 3.0], "slow": [3.0, 3.0, 9.0], "fast": [2.0, 2.0, 2.0]}
    assert pairs("save", "slow", "fast")(samples) == 1.5


@pytest.mark.parametrize(("least", "met"), [(True, [True, True, False]), (False, [False, True, True])])
def test_a_value_at_its_limit_meets_it(least: bool, met: list[bool]) -> None:
    target = Target("sizes", "what", "goal", ratio("a", "b"), 2.0, "{:.1f}", (), least)
    assert [target.met({"a": [a], "b": [1.0]}) for a in (3.0, 2.0, 1.0)] == met


def test_every_target_is_of_a_group_that_runs() -> None:
    assert {target.group for target in TARGETS} <= set(ORDER)


@pytest.fixture
def measured() -> dict[str, Samples]:
    """The samples that the page in docs/ shows."""
    return {name: group["series"] for name, group in report.read(report.RESULTS).items()}


def test_the_page_shows_what_the_results_beside_it_say(measured: dict[str, Samples]) -> None:
    page = report.PAGE.read_text("utf-8")
    assert set(measured) == set(ORDER)
    for name, content in report.parts(report.read(report.RESULTS)).items():
        assert report.between(page, name, content) == page, (
            f"run python -m benchmarks.report: {name} is not the results'"
        )


def test_every_plot_is_on_the_page(measured: dict[str, Samples]) -> None:
    page = report.PAGE.read_text("utf-8")
    for group in plots.LABELS:
        for verb in ("save", "load"):
            assert f"]({group}-{verb}.png)" in page
            assert plots.lines(verb, measured[group])


def test_a_target_whose_group_was_not_measured_says_so() -> None:
    rows = tables.targets({}).splitlines()
    assert len(rows) == len(TARGETS) + 2
    assert all("not measured" in row for row in rows[2:])


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no markers <!-- peers: begin --> and <!-- peers: end -->"):
        report.between("<!-- peers: begin -->", "peers", "table")


def test_results_come_back_in_the_order_in_which_groups_run(tmp_path: Path) -> None:
    group = {"machine": {}, "samples": 5, "minutes": 1.0, "series": {}}
    report.write(tmp_path / "results.json", {"ties": group, "sizes": group})
    assert list(report.read(tmp_path / "results.json")) == ["sizes", "ties"]
    assert list(json.loads((tmp_path / "results.json").read_text("utf-8"))) == ["groups"]


def test_machines_are_told_apart_where_they_differ() -> None:
    facts = {"date": "2026-01-01", "processor": "one", "memory": "1 GiB", "disk": "ext4", "system": "Linux"}
    facts |= {"tiedio": "0.1.0", "keras": "3.15.1"}
    alike = {"sizes": {"machine": facts, "samples": 5}, "ties": {"machine": facts, "samples": 5}}
    assert report.machine(alike).startswith(
        "2026-01-01: one, 1 GiB of memory, ext4, Linux. Keras 3.15.1, tiedio 0.1.0."
    )
    apart = alike | {"ties": {"machine": facts | {"processor": "two"}, "samples": 5}}
    assert report.machine(apart).splitlines()[1].startswith("- ties: 2026-01-01: two")


def test_labels_that_would_touch_are_moved_apart_and_no_other() -> None:
    assert plots.spread([0.9, 0.1, 0.12], [0.1, 0.1, 0.1]) == pytest.approx([0.9, 0.06, 0.16])
    assert plots.spread([0.3, 0.3, 0.3], [0.1, 0.2, 0.1]) == pytest.approx([0.15, 0.3, 0.45])
