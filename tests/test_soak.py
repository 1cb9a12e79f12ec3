"""The soak runner counts what it did, goes on where it ended, and tells of a failure so that it can be made again."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    path = Path(__file__).parent / "soak" / "soak.py"
    spec = importlib.util.spec_from_file_location("soak", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    return module


def too_many_layers(recipe: Any) -> None:
    assert len(recipe.parts) < 4, "a planted failure"


def test_a_chunk_counts_the_examples_that_came_back(soak: ModuleType) -> None:
    seen: list[Any] = []
    chunk = soak.run_chunk(3, check=seen.append, examples=30)
    assert chunk.passed == len(seen) == 30
    assert len(chunk.recipes) == len({repr(recipe) for recipe in seen})
    assert chunk.failures == []


def test_a_chunk_is_the_same_again(soak: ModuleType) -> None:
    first, again, other = (soak.run_chunk(n, check=lambda _: None, examples=20).recipes for n in (3, 3, 4))
    assert first == again != other


def test_one_example_really_makes_the_round_trip(soak: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import tiedio

    checked: list[bool] = []
    save = tiedio.save

    def counted(model: Any, path: Path, check: bool = True) -> None:
        checked.append(check)
        save(model, path, check=check)

    monkeypatch.setattr(tiedio, "save", counted)
    assert soak.run_chunk(0, examples=1).passed == 1
    assert checked == [True, False]


def test_a_planted_failure_is_reported_with_its_recipe_and_its_blob(
    soak: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = soak.run_chunk(3, check=too_many_layers, examples=200)
    assert len(chunk.failures) == 1
    report = "\n".join(soak.failures({3: chunk}))
    assert "AssertionError: a planted failure" in report
    assert "Recipe(\n    parts=(" in report
    blob = chunk.failures[0]["blob"]
    assert f"@reproduce_failure({blob})" in report
    monkeypatch.setattr(soak, "check", too_many_layers)
    monkeypatch.setattr(soak, "prepare", lambda: None)
    with pytest.raises(AssertionError, match="a planted failure"):
        soak.reproduce(blob, chunk.size)


def test_the_summary_adds_up_what_the_progress_file_holds(soak: ModuleType, tmp_path: Path) -> None:
    progress = tmp_path / "progress.jsonl"
    done = [soak.Chunk(0, "small", 200, ["a", "b"]), soak.Chunk(9, "full", 40, ["b", "c"], [{"recipe": "Recipe()"}])]
    progress.write_text("".join(chunk.line() for chunk in done) + '{"number": 2, "si')
    chunks = soak.read(progress)
    assert list(chunks) == [0, 9]
    assert soak.summary(chunks).startswith("240 random models came back whole (3 distinct, 40 of full size), 1 did not")


class Worker:
    """A process that has done its chunks as soon as it starts."""

    started: list[list[int]]

    def __init__(self, soak: ModuleType, numbers: list[int], progress: Path) -> None:
        self.returncode = 0
        with progress.open("a") as file:
            for number in numbers:
                if number == 1:  # the first failure of all ends its chunk early
                    file.write(soak.Chunk(1, "small", 5, [], [{"recipe": "Recipe()", "error": "E: it"}]).line())
                else:
                    size = soak.size_of(number)
                    file.write(soak.Chunk(number, size, soak.CHUNK[size]).line())

    def poll(self) -> int:
        return self.returncode

    def terminate(self) -> None:
        raise AssertionError("it has ended")


def test_a_run_makes_enough_examples_and_goes_on_where_it_ended(
    soak: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[int]] = []

    def start(numbers: list[int], progress: Path) -> Worker:
        started.append(list(numbers))
        return Worker(soak, numbers, progress)

    monkeypatch.setattr(soak, "_start", start)
    monkeypatch.setattr(soak.time, "sleep", lambda _: None)
    assert soak.run(1000, 2, tmp_path) == 1
    first = {number for numbers in started for number in numbers}
    assert "chunk 1 (small): 5 FAILED: E: it" in capsys.readouterr().out
    assert sum(chunk.passed for chunk in soak.read(tmp_path / "progress.jsonl").values()) >= 1000
    started.clear()
    soak.run(2000, 2, tmp_path)
    assert started
    assert not first & {number for numbers in started for number in numbers}
    assert (tmp_path / "summary.txt").read_text().splitlines()[-1].startswith("2")


def test_a_process_that_ends_with_a_chunk_undone_is_reported(
    soak: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dead(Worker):
        def __init__(self, numbers: list[int], progress: Path) -> None:
            super().__init__(soak, [number for number in numbers if number != 0], progress)
            self.returncode = -11

    monkeypatch.setattr(soak, "_start", Dead)
    monkeypatch.setattr(soak.time, "sleep", lambda _: None)
    assert soak.run(500, 1, tmp_path) == 1
    assert "chunk 0 ended its process" in (tmp_path / "summary.txt").read_text()
