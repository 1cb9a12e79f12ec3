"""The command line, as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import pytest

import tiedio
from tiedio import cli
from tiedio.cli import inspect
from tiedio.cli.options import EXIT_CODES
from tiedio.demo.models import language_model, put_variable, two_convolutions
from tiedio.manifest import FORMAT, Manifest, Object, Slot, Variable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "tied.safetensors"
    model = two_convolutions(2)
    model.optimizer.build(model.trainable_variables)  # its tensors have the long names
    tiedio.save(model, path)
    return path


def exit_code(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0


def run(*arguments: str, columns: int | None = None) -> subprocess.CompletedProcess[str]:
    code = "import sys; from tiedio.cli import main; sys.exit(main())"
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    if columns is not None:
        environment["COLUMNS"] = str(columns)
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=120)


def test_inspect_shows_tensors_ties_and_what_sharing_saves(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert exit_code("inspect", str(file)) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "near/kernel float32 3 x 3 x 1 x 2 72 B" in lines
    assert "near/bias float32 2 8 B" in lines
    at = lines.index("near/kernel 3 x 3 x 1 x 2 72 B")
    assert lines[at + 1] == "= wide/kernel"
    assert lines[-1].endswith("; 2 ties, 80 B saved by sharing")


def test_inspect_json_is_the_same_as_data(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("inspect", str(file), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == str(file)
    assert found["format"] == FORMAT
    ties = {tie["path"]: tie for tie in found["ties"]}
    assert ties["near/kernel"] == {
        "path": "near/kernel",
        "slots": ["near/kernel", "wide/kernel"],
        "dtype": "float32",
        "shape": [3, 3, 1, 2],
        "bytes_saved": 72,
    }
    assert found["bytes_saved"] == 80
    assert found["bytes"] == sum(tensor["bytes"] for tensor in found["tensors"])
    names = [tensor["name"] for tensor in found["tensors"]]
    assert "near/kernel" in names
    assert "wide/kernel" not in names, "stored once"


def test_sizes_are_the_sizes_in_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tiedio.container.header import read_header

    exit_code("inspect", str(file), "--json")
    told = {one["name"]: one["bytes"] for one in json.loads(capsys.readouterr().out)["tensors"]}
    entries = read_header(file).entries
    assert told == {name: entry.stop - entry.start for name, entry in entries.items()}


def test_inspect_names_several_models_shared_layers_and_custom_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    whole = language_model(30, 4, 6, "reference")
    part = keras.Model(whole.input, whole.get_layer("nearby").output)
    path = tmp_path / "two.safetensors"
    tiedio.save({"whole": whole, "part": part}, path)
    assert exit_code("inspect", str(path)) == 0
    out = capsys.readouterr().out
    assert "models: whole, part" in out
    assert "tiedio_demo>ReferringOutput" in out
    assert "shared object" in out
    assert "= part/embedding" in out


def test_inspect_without_ties_shows_no_table_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = two_convolutions(2)
    near, wide = model.get_layer("near"), model.get_layer("wide")
    for attribute in ("_kernel", "bias"):
        put_variable(wide, attribute, keras.Variable(getattr(near, attribute).numpy()))
    path = tmp_path / "plain.safetensors"
    tiedio.save(model, path)
    exit_code("inspect", str(path))
    out = capsys.readouterr().out
    assert "saved\n" not in out
    assert out.endswith("; 0 ties, 0 B saved by sharing\n")


def test_inspect_in_a_pipe_keeps_one_line_per_tensor(file: Path) -> None:
    done = run("inspect", str(file))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.endswith(" B")}
    long = "@optimizer/velocities/near/kernel"
    assert rows[long].split() == [long, "float32", "3", "x", "3", "x", "1", "x", "2", "72", "B"]
    assert "\x1b" not in done.stdout


def test_inspect_at_60_columns_folds_names_and_nothing_else(file: Path) -> None:
    lines = run("inspect", str(file), columns=60).stdout.splitlines()
    assert max(map(len, lines)) <= 60
    assert any(
        line.split() == ["near/kernel", "float32", "3", "x", "3", "x", "1", "x", "2", "72", "B"] for line in lines
    )


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_what_reads_a_file_loads_no_keras_and_no_backend(file: Path, command: str) -> None:
    code = (
        "import sys, tiedio.cli\n"
        "try: tiedio.cli.main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print(sorted(set(sys.modules) & {'keras', 'tensorflow', 'jax', 'torch', 'sklearn'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command, str(file)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_verify_says_that_a_file_is_whole_or_what_is_damaged(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("verify", str(file)) == 0
    assert capsys.readouterr().out == f"{file}: every byte is as it was written\n"
    damaged = tmp_path / "damaged.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    damaged.write_bytes(raw)
    assert exit_code("verify", str(damaged)) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "its bytes are not those that were written" in shown.err
    assert "others in tensor '@optimizer/" in shown.err


def test_an_error_of_tiedio_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    missing = tmp_path / "missing.safetensors"
    done = run("inspect", str(missing))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"tiedio: {missing}: no such file")
    assert done.stderr.count("\n") == 1


def test_another_kind_of_file_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"not a safetensors file")
    assert exit_code("inspect", str(other)) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_that_quotes_a_file_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("inspect", str(tmp_path / "\x1b[2J.safetensors")) == 1
    err = capsys.readouterr().err
    assert r"\x1b[2J.safetensors: no such file" in err
    assert "\x1b" not in err


@pytest.mark.parametrize("arguments", [["inspect"], ["verify"], ["nope"], ["demo", "--nope"], ["--nope"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*arguments) == 2
    assert "Usage: tiedio" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["demo"], ["inspect"], ["verify"]])
def test_help_documents_the_exit_codes_at_60_columns(command: list[str]) -> None:
    done = run(*command, "--help", columns=60)
    assert done.returncode == 0
    assert EXIT_CODES in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 60


def test_the_help_lists_the_commands_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--help") == 0
    out = capsys.readouterr().out
    commands = [line.split()[0] for line in out.split("Commands:\n")[1].split("\n\n")[0].splitlines()]
    assert commands == ["demo", "inspect", "verify", "convert", "repair"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"{tiedio.__version__}\n"


@pytest.mark.parametrize("package", ["click", "rich"])
def test_a_missing_extra_is_named_and_exits_with_1(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from tiedio.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("tiedio: the command line is not installed")
    assert done.stderr.endswith("Remedy: pip install 'tiedio[cli]'.\n")


def test_demo_passes_the_folder_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("tiedio.demo.show.show", lambda console, keep: asked.append(keep))
    assert exit_code("demo", "--keep", str(tmp_path)) == 0
    assert exit_code("demo") == 0
    assert asked == [tmp_path, None]


def test_names_from_a_file_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = Variable((Slot("a\x1b[2J/k"), Slot("[b]\n/k")), (2, 0), "bfloat16", "k", "k")
    manifest = Manifest(1, {"keras": "\x1b3"}, (), (Object("x\r", "C\x07", ("x\r", "y")),), (kernel,))
    monkeypatch.setattr(tiedio, "inspect", lambda path, limits: manifest, raising=False)
    assert exit_code("inspect", "any\x1b") == 0
    out = capsys.readouterr().out
    assert not {sign for sign in out if not sign.isprintable()} - {"\n"}
    assert r"a\x1b[2J/k" in out
    assert r"= [b]\n/k" in out
    assert "2 x 0" in out


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("float32", 4), ("bfloat16", 2), ("float8_e4m3fn", 1), ("int64", 8), ("bool", 1), ("complex64", 8)],
)
def test_every_dtype_has_its_size(dtype: str, size: int) -> None:
    scalar = Variable((Slot("a"), Slot("b"), Slot("c")), (), dtype, "a", "a")
    found = inspect.summarize(Manifest(1, {}, (), (), (scalar,)))
    assert (found["bytes"], found["bytes_saved"]) == (size, 2 * size)


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_a_file_beyond_the_limits_is_read_when_it_is_trusted(
    command: str, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tiedio.Limits(memory=100)
    monkeypatch.setattr("tiedio.allowance.Limits", lambda: small)
    assert exit_code(command, str(file)) == 1
    assert "limits=tiedio.Limits(memory=" in capsys.readouterr().err
    assert exit_code(command, str(file), "--no-limits") == 0
