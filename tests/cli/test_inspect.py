"""`tiedio inspect` of what is large or has views."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

import tiedio
from tiedio import cli
from tiedio.cli import inspect
from tiedio.manifest import Manifest, Optimizer, Slot, Variable
from tiedio.views import View


def manifest(*paths: str, ties: int = 0) -> Manifest:
    variables = [Variable((Slot(path),), (2, 3), "float32", "k", path) for path in paths]
    variables += [Variable((Slot(f"t/{n}"), Slot(f"u/{n}")), (2,), "float32", "k", "k") for n in range(ties)]
    return Manifest(4, {}, (), (), tuple(variables))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """What a terminal of 60 columns shows of a manifest."""

    def show(found: Manifest, *options: str, terminal: bool = True) -> list[str]:
        monkeypatch.setattr(tiedio, "inspect", lambda path, limits: found, raising=False)
        monkeypatch.setenv("COLUMNS", "60")
        monkeypatch.setattr(Console, "is_terminal", property(lambda self: terminal))
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("TERM", "dumb")
        with pytest.raises(SystemExit) as left:
            cli.main(["inspect", "any", *options])
        assert left.value.code == 0
        lines = capsys.readouterr().out.splitlines()
        assert all(len(line) <= 60 for line in lines)
        return [" ".join(line.split()) for line in lines]

    return show


def test_a_large_model_is_shown_in_sums_in_a_terminal_and_whole_in_a_pipe(shown: object) -> None:
    assert callable(shown)
    paths = [f"blocks/{n}/{part}/kernel" for n in range(30) for part in ("query", "key")]
    lines = shown(manifest(*paths, "head/kernel"))
    assert "blocks/0/… float32 2 tensors 48 B" in lines
    assert "head/kernel float32 2 x 3 24 B" in lines
    assert "in sums; each of the 61 tensors: --all" in lines
    assert "blocks/0/query/kernel float32 2 x 3 24 B" in shown(manifest(*paths), "--all")
    assert "blocks/0/query/kernel float32 2 x 3 24 B" in shown(manifest(*paths), terminal=False)
    assert "blocks/… float32 60 tensors 1.44 kB" in shown(manifest(*paths), "--depth", "1", terminal=False)


def test_many_layers_whose_names_differ_in_numbers_are_one_row(shown: object) -> None:
    assert callable(shown)
    lines = shown(manifest(*(f"dense_{n}/{part}" for n in range(100) for part in ("kernel", "bias"))))
    assert "dense_*/… float32 200 tensors 4.8 kB" in lines
    letters = [f"{chr(97 + n % 26)}{chr(97 + n // 26)}/kernel" for n in range(100)]
    lines = shown(manifest(*letters))
    assert "and 60 more: --all" in lines
    assert len(lines) < 60


def test_of_many_ties_the_first_are_shown(shown: object) -> None:
    assert callable(shown)
    lines = shown(manifest(ties=50))
    assert "= u/39" in lines
    assert "= u/40" not in lines
    assert "and 10 more: --all" in lines
    assert "= u/49" in shown(manifest(ties=50), "--all")


def test_views_save_what_they_would_take_and_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    slots = (Slot("a"), Slot("b", View("transpose", axes=(1, 0))), Slot("c", View("slice", shape=(1, 3), start=(0, 0))))
    found = inspect.summarize(Manifest(4, {}, (), (), (Variable(slots, (2, 3), "float32", "k", "k"),)))
    assert found["bytes_saved"] == 24 + 12
    assert found["ties"][0]["views"] == [None, "transpose([1, 0])", "slice([0, 0], [1, 3])"]


def test_json_tells_flags_and_optimizers(tmp_path: Path) -> None:
    frozen = Variable((Slot("a"),), (2,), "float32", "k", "k", trainable=False)
    found = inspect.summarize(
        Manifest(4, {}, (), (), (frozen,), (Optimizer("@optimizer", ("",), "Adam", True, ("a",)),))
    )
    assert found["tensors"][0]["trainable"] is False
    assert json.loads(json.dumps(found["optimizers"])) == [
        {"path": "@optimizer", "class_name": "Adam", "models": [""], "built": True, "variables": 1}
    ]
