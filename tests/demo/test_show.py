"""How the demo starts, where it writes, and what it says when something is missing."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

import tiedio.demo.run
from tiedio.demo.run import Findings
from tiedio.demo.show import held_stderr, show
from tiedio.errors import BackendError, PathError
from tiedio.terminal import plain_console


def test_files_go_where_nobody_finds_them_unless_asked(findings: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def run(folder: Path, **_: object) -> Findings:
        assert folder.is_dir()
        folders.append(folder)
        return findings

    monkeypatch.setattr(tiedio.demo.run, "run", run)
    show(plain_console(file=io.StringIO()))
    assert not folders[0].exists()


def test_a_folder_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    out = io.StringIO()
    with pytest.raises(PathError, match=r"no such folder; .* Remedy: make it first"):
        show(plain_console(file=out), tmp_path / "nowhere")
    assert out.getvalue() == ""


def test_a_missing_backend_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiedio.demo.run", None)
    with pytest.raises(BackendError, match=r"pip install 'tiedio\[demo\]'"):
        show(plain_console(file=io.StringIO()))


def test_native_noise_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with held_stderr():
        os.write(2, b"noise\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_native_words_before_a_failure_are_given_out(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with held_stderr():
            os.write(2, b"why\n")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert capfd.readouterr().err == "why\n"
