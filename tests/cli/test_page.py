"""docs/command-line.md shows what the commands print, and keeps showing it."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from tests.test_docs import blocks
from tiedio import cli
from tiedio.cli.app import COMMANDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")


def sessions() -> list[list[tuple[str, str]]]:
    """The commands of each block of text, and what each of them prints."""
    found = []
    for block in blocks(PAGE):
        parts = re.split(r"^\$ (.*)$", "\n".join(block.lines), flags=re.MULTILINE)
        if block.info == "text" and len(parts) > 1:
            found.append(
                [(command, shown.strip("\n")) for command, shown in zip(parts[1::2], parts[2::2], strict=True)]
            )
    return found


def exit_code(command: str) -> int:
    try:
        return cli.main(shlex.split(command)[1:])
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else -1


def test_the_page_shows_what_the_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    first = next(block for block in blocks(PAGE) if block.info == "python")
    exec("\n".join(first.lines), {})
    capsys.readouterr()
    listed = sessions()
    assert len(listed) >= 3
    for session in listed:
        code = 0
        for command, expected in session:
            if command == "echo $?":
                printed = str(code)
            else:
                code = exit_code(command)
                printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
            matches = doctest.OutputChecker().check_output(f"{expected}\n", f"{printed}\n", doctest.ELLIPSIS)
            assert matches, f"$ {command}\n{printed}"


def test_the_page_has_every_command_and_every_exit_code() -> None:
    for name in COMMANDS:
        assert f"| `tiedio {name}" in PAGE, name
    codes = {0, 1, 2, 3, cli.INTERRUPTED, cli.PIPE_CLOSED}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)} == codes
