"""Shell completion: the protocol as a shell speaks it, and the script in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete, ZshComplete

from tiedio import cli
from tiedio.cli.completion import SHELLS

ROOT = Path(__file__).resolve().parents[2]
MAIN = "import sys; from tiedio.cli import main; sys.exit(main())"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one.safetensors", "two.keras", "three.weights.h5", "notes.txt", "my model.safetensors", ".hidden.h5"):
        (tmp_path / name).touch()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.safetensors").touch()
    return tmp_path


def asked(words: str, folder: Path, code: str = MAIN) -> list[str]:
    """What a shell is told when the tab key is pressed at the end of these words."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "_TIEDIO_COMPLETE": "bash_complete",
        "COMP_WORDS": words.replace(" ", "\n"),
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return [line.removeprefix("plain,") for line in done.stdout.splitlines() if line]


def test_commands_and_options_are_completed(folder: Path) -> None:
    assert asked("tiedio in", folder) == ["inspect"]
    assert {"inspect", "verify", "diff", "completion"} <= set(asked("tiedio ", folder))
    assert asked("tiedio inspect --js", folder) == ["--json"]
    assert asked("tiedio completion z", folder) == ["zsh"]


def test_files_of_models_and_folders_are_completed(folder: Path) -> None:
    every = ["checkpoints/", "my model.safetensors", "one.safetensors", "three.weights.h5", "two.keras"]
    assert asked("tiedio inspect ", folder) == every
    assert asked("tiedio verify o", folder) == ["one.safetensors"]
    assert asked("tiedio diff one.safetensors tw", folder) == ["two.keras"]
    assert asked("tiedio inspect checkpoints/", folder) == ["checkpoints/last.safetensors"]
    assert asked(f"tiedio inspect {folder}/ch", folder) == [f"{folder}/checkpoints/"]
    assert asked("tiedio inspect nowhere/", folder) == []


def test_completing_loads_no_keras_and_no_numpy(folder: Path) -> None:
    code = (
        "import atexit, sys\n"
        "from tiedio.cli import main\n"
        "atexit.register(lambda: print(sorted(set(sys.modules) & {'keras', 'tensorflow', 'numpy', 'jax', 'torch'})))\n"
        "sys.exit(main())"
    )
    for words in ("tiedio ", "tiedio inspect ", "tiedio diff "):
        assert asked(words, folder, code)[-1] == "[]"


def test_the_scripts_differ_from_those_of_click_where_they_have_to() -> None:
    for shell, theirs in (("bash", BashComplete), ("zsh", ZshComplete)):
        assert SHELLS[shell].source_template != theirs.source_template


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_prints_the_script_of_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["completion", shell])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert f"_TIEDIO_COMPLETE={shell}_complete" in out


def test_completion_takes_the_shell_in_use_or_says_that_it_cannot_tell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", "/bin/zsh")
    with pytest.raises(SystemExit):
        cli.main(["completion"])
    assert "#compdef tiedio" in capsys.readouterr().out
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert cli.main(["completion"]) == 1
    assert "expected bash, zsh, fish, found tcsh" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash on this machine to try the script in")
def test_the_script_works_in_bash(folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "tiedio"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{MAIN}\n")
    program.chmod(0o755)
    script = """
    set -e
    eval "$(tiedio completion bash)"
    compopt() { echo compopt "$@"; }  # it works only while bash completes
    press() {
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _tiedio_completion tiedio || true
        printf '<%s>\\n' "${COMPREPLY[@]}"
    }
    press tiedio ver
    press tiedio inspect che
    press tiedio inspect my
    complete -p tiedio
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "<verify>",
        "compopt -o nospace",
        "<checkpoints/>",
        r"<my\ model.safetensors>",
        "complete -o nosort -F _tiedio_completion tiedio",
    ]
