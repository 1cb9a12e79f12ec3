"""`tiedio convert` and `tiedio repair`, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

import tiedio
from tests.conversion_models import saved, two_convolutions
from tiedio import cli
from tiedio.cli import repair as module


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(two_convolutions(), tmp_path_factory.mktemp("lost") / "lost.keras")


def exit_code(*arguments: object) -> int:
    try:
        return cli.main([str(one) for one in arguments])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0


def test_convert_tells_what_came_over_and_what_did_not(
    lost: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert exit_code("convert", lost, tmp_path / "m.safetensors") == 0
    out = capsys.readouterr().out
    assert "optimizer: no" in out
    assert "near/kernel = wide/kernel" in out
    assert max(map(len, out.splitlines())) <= max(60, len(str(tmp_path)) + 30)
    assert tiedio.load(tmp_path / "m.safetensors").count_params() > 0


def test_convert_as_json(lost: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("convert", lost, tmp_path / "m.safetensors", "--json", "--drop-optimizer") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["optimizer"] == "none"
    assert report["lost"][0]["paths"] == ["near/kernel", "wide/kernel"]


def test_convert_takes_weights_with_a_config(lost: Path, tmp_path: Path) -> None:
    weights = saved(two_convolutions(), tmp_path / "m.weights.h5")
    assert exit_code("convert", weights, tmp_path / "m.safetensors") == 1
    assert exit_code("convert", weights, tmp_path / "m.safetensors", "--config", lost) == 0


def test_repair_shows_candidates_and_writes_nothing(
    lost: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert exit_code("repair", lost, tmp_path / "m.safetensors") == module.NOTHING_CHOSEN
    lines = capsys.readouterr().out.splitlines()
    assert lines[-13:-11] == ["  1  near/kernel", "   = wide/kernel"] or "  1  near/kernel" in lines
    assert lines[-1] == "2 candidates"
    assert list(tmp_path.iterdir()) == []


def test_repair_as_json(lost: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("repair", lost, "--json") == 0
    found = json.loads(capsys.readouterr().out)["candidates"]
    assert [one["strength"] for one in found] == ["strong", "companion"]
    assert found[0]["transposed"] == [False, False]


@pytest.mark.parametrize("choice", [["--all"], ["--pairs", "near/kernel=wide/kernel,near/bias=wide/bias"]])
def test_repair_ties_what_is_chosen(choice: list[str], lost: Path, tmp_path: Path) -> None:
    assert exit_code("repair", lost, tmp_path / "m.safetensors", *choice) == 0
    assert len(tiedio.find_ties(tiedio.load(tmp_path / "m.safetensors"))) == 2


@pytest.mark.parametrize(("answers", "ties"), [([True, True], 2), ([False, False], None)])
def test_repair_asks_on_a_terminal(
    answers: list[bool], ties: int | None, lost: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(answers)
    monkeypatch.setattr(module, "_is_terminal", lambda: True)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: next(left))
    code = exit_code("repair", lost, tmp_path / "m.safetensors")
    assert code == (module.NOTHING_CHOSEN if ties is None else 0)
    assert (tmp_path / "m.safetensors").exists() is (ties is not None)


def test_repair_says_how_to_go_on_where_the_state_does_not_fit(
    lost: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["--pairs", "near/kernel=wide/kernel"]
    assert exit_code("repair", lost, tmp_path / "m.safetensors", *pair) == 1
    assert "--drop-optimizer" in capsys.readouterr().err
    assert exit_code("repair", lost, tmp_path / "m.safetensors", *pair, "--drop-optimizer") == 0


def test_a_file_without_lost_ties_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = two_convolutions(None)
    tiedio.save(model, tmp_path / "m.safetensors")
    assert exit_code("repair", tmp_path / "m.safetensors") == 0
    assert "no weights look as if" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["convert", "repair"])
def test_help_has_examples_and_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(command, "--help") == 0
    out = capsys.readouterr().out
    assert "Examples:" in out
    assert "Exit codes:" in out


def test_a_pipe_gets_one_line_a_fact_without_spaces_at_its_end_and_the_next_step(
    lost: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert exit_code("repair", lost) == module.NOTHING_CHOSEN
    out, err = capsys.readouterr()
    assert not [line for line in out.splitlines() if line != line.rstrip()]
    assert f"to tie: tiedio repair {lost} OUT.safetensors --all (or --pairs A=B)" in err
    assert exit_code("repair", lost, tmp_path / "m.safetensors", "--all") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "tied:"
    assert lines[3].startswith("  near/kernel = wide/kernel: ")
    assert lines[3].endswith("waiting")
