"""`tiedio plot` and `tiedio report`, as a user meets them."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiedio
from tiedio import cli
from tiedio.demo.models import two_convolutions


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiedio.save(two_convolutions(2), "tied.safetensors")
    return Path("tied.safetensors")


def exit_code(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0


def test_plot_writes_the_picture_that_the_library_writes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("plot", str(file), "-o", "model.dot", "--shapes", "--boxes", "3") == 0
    assert capsys.readouterr().out == "model.dot: drawn\n"
    assert Path("model.dot").read_text(encoding="utf-8") == tiedio.plot(file, None, show_shapes=True, fold=3).dot
    assert exit_code("plot", str(file), "-o", "model.dot", "--boxes", "all") == 0


def test_plot_names_what_is_wrong(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("plot", str(file), "-o", "model.jpeg") == 1
    assert "a name that ends in .svg" in capsys.readouterr().err
    assert exit_code("plot", str(file), "--boxes", "few") == 2
    assert exit_code("plot", "nowhere.safetensors", "-o", "model.dot") == 1


def test_plot_without_graphviz_says_what_to_install(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert exit_code("plot", str(file)) == 1
    assert "apt install graphviz" in capsys.readouterr().err
    assert not Path("tied.svg").exists()


def test_report_writes_a_page_beside_the_reader(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("report", str(file)) == 0
    assert exit_code("report", str(file), "-o", "page.html", "--verify") == 0
    assert capsys.readouterr().out == "tied.html: written\npage.html: written\n"
    assert "every byte is as it was written" in Path("page.html").read_text(encoding="utf-8")
    assert exit_code("report", str(file), "-o", "page.txt") == 1


@pytest.mark.parametrize("command", ["plot", "report"])
def test_the_help_is_found(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--help") == 0
    assert command in capsys.readouterr().out
    assert exit_code(command, "--help") == 0
