"""What a file says never reaches a terminal as a command: not through `tiedio inspect`, and not through an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hostile.good import good
from tiedio import strict_json
from tiedio.cli import main

EVIL = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\x9b31m\r\x08"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that says so wherever a manifest takes any text."""
    document = good().parts.document("manifest")
    document["versions"] = {key: f"{EVIL}{key}" for key in document["versions"]}
    document["custom"] = [EVIL]
    document["roots"][0]["name"] = EVIL
    for record in document["objects"]:
        record["class_name"] = EVIL
    document["objects"][2]["paths"].append("other")
    for variable in document["variables"]:
        variable["name"] = variable["path"] = EVIL
    path = tmp_path / "file.safetensors"
    path.write_bytes(good().parts.with_text("manifest", strict_json.dumps(document)).built())
    return path


def shown(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


def test_inspect_prints_nothing_that_a_terminal_obeys(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["inspect", str(path)], ["inspect", "--json", str(path)]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        output = capsys.readouterr()
        assert left.value.code == 0, output
        assert "gnp.exe" in output.out
        assert shown(output.out)
        assert output.err == ""
    assert json.loads(output.out)["custom"] == [EVIL]  # JSON says it escaped


def test_an_error_prints_nothing_that_a_terminal_obeys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.safetensors"
    for change in ("paths", "views", "version"):
        document = good().parts.document("manifest")
        if change == "paths":
            document["objects"][2]["paths"].append(EVIL)
        elif change == "views":
            document["variables"][0]["slots"][2]["view"]["name"] = EVIL
        else:
            document["format"] = EVIL
        path.write_bytes(good().parts.with_text("manifest", strict_json.dumps(document)).built())
        for command in ("inspect", "verify"):
            assert main([command, str(path)]) == 1
            output = capsys.readouterr()
            assert "owned" in output.err
            assert shown(output.err)
