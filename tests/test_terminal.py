"""Consoles, tables and sizes."""

from __future__ import annotations

import io

import pytest

from tiedio import terminal


def test_brackets_and_colons_stand_as_they_are() -> None:
    out = io.StringIO()
    terminal.plain_console(file=out, width=40).print("[bold]x[/bold] :smile:")
    assert out.getvalue() == "[bold]x[/bold] :smile:\n"


def test_a_pipe_gets_80_columns_or_no_folding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert terminal.plain_console().width == 80
    assert terminal.plain_console(fold_when_piped=False).width == 1000


def test_columns_in_the_environment_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert terminal.plain_console(fold_when_piped=False).width == 60


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (537_000_000, "537 MB"),
        (1_500_000_000_000, "1.5 TB"),
        (12_345_000_000_000_000, "12345 TB"),
    ],
)
def test_sizes_read_at_a_glance(count: int, text: str) -> None:
    assert terminal.size_text(count) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [("dense/kernel", "dense/kernel"), ("", "''"), ("a\nb", r"a\nb"), ("\x1b[2J", r"\x1b[2J"), ("é", "é")],
)
def test_a_name_cannot_steer_the_terminal(name: str, text: str) -> None:
    assert terminal.printable(name) == text


@pytest.mark.parametrize(
    ("path", "width", "folded"),
    [
        ("dense/kernel", 12, "dense/kernel"),
        ("dense/kernel", 11, "dense/\n  kernel"),
        ("a/b/c/d/e/f", 8, "a/b/c/d/\n  e/f"),
        ("unbreakable_name", 5, "unbreakable_name"),
        ("unbreakable_name/a", 5, "unbreakable_name/\n  a"),
        ("/a//b/", 4, "/a//\n  b/"),
    ],
)
def test_a_path_is_folded_after_its_slashes(path: str, width: int, folded: str) -> None:
    assert terminal.fold_path(path, width) == folded
    assert folded.replace("\n  ", "") == path
