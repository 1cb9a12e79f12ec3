"""How the command line ends: codes for scripts, Ctrl-C, a reader that has read enough."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tests.hostile.good import good
from tests.hostile.test_terminal import EVIL, shown
from tiedio import cli, strict_json

ROOT = Path(__file__).resolve().parents[2]
MAIN = "import sys; from tiedio.cli import main; sys.exit(main())"


def exit_code(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else -1


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(4, name="dense")], name="m")
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    tiedio.save(model, folder / "a.safetensors")
    model.get_layer("dense").bias.assign([0, 0.5, 0, 0])
    model.optimizer.iterations.assign(7)
    tiedio.save(model, folder / "b.safetensors")
    return folder / "a.safetensors", folder / "b.safetensors"


def test_diff_ends_with_0_for_the_same_and_3_for_different_files(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = map(str, files)
    assert exit_code("diff", a, a) == 0
    assert "no difference" in capsys.readouterr().out
    assert exit_code("diff", a, b) == 3
    out = capsys.readouterr().out
    assert "dense/bias: 1 of 4 differ, by at most 0.5, first at [1]" in out
    assert "@optimizer/iterations: differs by 7" in out
    assert out.endswith("2 differences; the same in both: 3 objects, 6 tensors\n")


def test_diff_ends_with_1_for_an_error_and_2_for_wrong_usage(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("diff", str(files[0]), "nowhere.safetensors") == 1
    assert "no such file" in capsys.readouterr().err
    assert exit_code("diff", str(files[0])) == 2
    assert exit_code("diff", str(files[0]), str(files[1]), "--atol", "-1") == 2


def test_diff_leaves_out_what_it_is_asked_to(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = map(str, files)
    assert exit_code("diff", a, b, "--ignore-optimizer", "--atol", "0.5") == 0
    assert exit_code("diff", a, b, "--ignore-optimizer", "--atol", "0.4") == 3
    assert exit_code("diff", a, b, "--atol", "0.5") == 3


def test_diff_as_json(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("diff", "--json", *map(str, files)) == 3
    found = json.loads(capsys.readouterr().out)
    assert found == tiedio.diff(*files).to_dict()
    assert found["values"][0]["path"] == "dense/bias"


def test_diff_folds_lines_in_a_terminal_only(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    exit_code("diff", *map(str, files))
    assert all(len(line) <= 40 for line in capsys.readouterr().out.splitlines() if ".safetensors" not in line)
    monkeypatch.delenv("COLUMNS")
    exit_code("diff", *map(str, files))
    assert "  dense/bias: 1 of 4 differ, by at most 0.5, first at [1]\n" in capsys.readouterr().out


def hostile(path: Path, **changes: Any) -> Path:
    parts = good().parts
    document = parts.document("manifest")
    document["versions"] = {key: f"{EVIL}{key}" for key in document["versions"]}
    document["custom"] = [EVIL]
    document["roots"][0]["name"] = EVIL
    for record in document["objects"]:
        record["class_name"] = EVIL
    for variable in document["variables"]:
        variable["name"] = variable["path"] = EVIL
    parts = parts.with_text("manifest", strict_json.dumps(document))
    structure = parts.document("structure")
    for entry in structure["objects"]:
        entry["name"] = EVIL
        if isinstance(entry.get("config"), dict):
            entry["config"] |= {EVIL: EVIL, "name": EVIL}
    path.write_bytes(parts.with_text("structure", strict_json.dumps(structure)).built())
    return path


def test_diff_prints_nothing_that_a_terminal_obeys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil, plain = hostile(tmp_path / "evil.safetensors"), tmp_path / "plain.safetensors"
    plain.write_bytes(good().parts.built())
    for pair in ((evil, plain), (plain, evil)):
        for options in ([], ["--json"]):
            assert exit_code("diff", *options, *map(str, pair)) == 3
            output = capsys.readouterr()
            assert "gnp.exe" in output.out
            assert shown(output.out)
            assert output.err == ""
    assert exit_code("diff", str(evil), str(evil)) == 0


def test_a_structure_of_any_shape_is_compared_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, odd = tmp_path / "plain.safetensors", tmp_path / "odd.safetensors"
    plain.write_bytes(good().parts.built())
    parts = good().parts
    for key in ("layers", "nodes", "config", "class", "inputs", "operations", "kind", "name"):
        odd_values: list[Any] = [
            5,
            [5],
            [-1, "x", None],
            {"$object": 10**9},
            {"$object": {}},
            {"$tensor": [0]},
            "text",
            None,
        ]
        for value in odd_values:
            structure = parts.document("structure")
            for entry in structure["objects"]:
                entry[key] = value
            odd.write_bytes(parts.with_text("structure", strict_json.dumps(structure)).built())
            for pair in ((odd, plain), (plain, odd)):
                assert exit_code("diff", *map(str, pair)) in (0, 3), (key, value)
    no_structures: list[Any] = [5, [], {"objects": 3, "nodes": []}, {"objects": [3], "nodes": []}]
    for value in no_structures:
        odd.write_bytes(parts.with_text("structure", strict_json.dumps(value)).built())
        assert exit_code("diff", str(plain), str(odd)) == 1
        assert "Traceback" not in capsys.readouterr().err
    training = parts.document("training")
    for key in ("models", "optimizers", "shared"):
        records: list[Any] = [[{}], [{"model": {}, "config": 3, "optimizer": "x"}], []]
        for value in records:
            odd.write_bytes(parts.with_text("training", strict_json.dumps({**training, key: value})).built())
            assert exit_code("diff", str(plain), str(odd)) in (0, 3)


def test_a_reader_that_has_read_enough_ends_it_without_a_word(files: tuple[Path, Path]) -> None:
    a, b = map(str, files)
    for arguments in (["inspect", a], ["inspect", "--json", a], ["verify", a], ["diff", a, b], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-c", MAIN, *arguments]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
        os.close(writer)
        assert (done.returncode, done.stderr) == (cli.PIPE_CLOSED, ""), arguments


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time, tiedio.inspection\n"
        # A shell has commands in the background ignore it, and what they start as well.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def slow(*args, **options):\n    print('begun', flush=True)\n    time.sleep(60)\n"
        "tiedio.inspection.inspect = slow\n"
        "from tiedio.cli import main\n"
        "sys.exit(main(['inspect', 'any']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.split() == ["tiedio:", "interrupted"]


@pytest.mark.parametrize("command", ["inspect", "verify", "--help"])
def test_numpy_is_not_loaded_for_what_needs_no_numbers(files: tuple[Path, Path], command: str) -> None:
    code = (
        "import sys, tiedio.cli\n"
        "try: tiedio.cli.main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'numpy' not in sys.modules"
    )
    arguments = [command] if command == "--help" else [command, str(files[0])]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_diff_asks_no_more_memory_of_a_file_than_inspect(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tiedio.Limits(memory=100)
    monkeypatch.setattr("tiedio.allowance.Limits", lambda: small)
    assert exit_code("diff", *map(str, files)) == 1
    assert "limits=tiedio.Limits(memory=" in capsys.readouterr().err
    assert exit_code("diff", *map(str, files), "--no-limits") == 3


def test_numbers_that_json_cannot_say_are_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for name, value in (("a", 0.0), ("b", np.inf)):
        model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(1, name="d")], name="m")
        model.set_weights([np.zeros((3, 1)), np.array([value])])
        paths.append(str(tmp_path / f"{name}.safetensors"))
        tiedio.save(model, paths[-1])
    assert exit_code("diff", "--json", *paths) == 3
    assert json.loads(capsys.readouterr().out)["values"][0]["largest"] == "inf"
    assert os.path.exists(paths[0])
