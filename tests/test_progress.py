"""`progress=`: what a caller's function is told, what a terminal shows, and that nothing is left half done."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio import progress
from tiedio.errors import TiedioError

ROOT = Path(__file__).resolve().parents[1]
Calls = list[tuple[int, int]]


def small_model(seed: int = 0) -> Any:
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="a"), keras.layers.Dense(2, name="b")])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    tiedio.save(small_model(), path)
    return path


DATA = 4 * (3 * 4 + 4 + 4 * 2 + 2)


def noted(calls: Calls) -> Callable[[int, int], None]:
    return lambda done, total: calls.append((done, total))


def require_going_up(calls: Calls, total: int) -> None:
    assert calls
    assert {every for _, every in calls} == {total}
    assert calls == sorted(calls)
    assert calls[-1] == (total, total)


def test_save_tells_a_function_of_every_byte(tmp_path: Path) -> None:
    for save in (tiedio.save, tiedio.save_weights):
        calls: Calls = []
        save(small_model(), tmp_path / "model.safetensors", progress=noted(calls))
        require_going_up(calls, DATA)


@pytest.mark.parametrize("mmap", [True, False])
def test_load_tells_a_function_of_every_byte(file: Path, mmap: bool) -> None:
    calls: Calls = []
    tiedio.load(file, mmap=mmap, progress=noted(calls))
    require_going_up(calls, DATA)
    calls.clear()
    tiedio.load_weights(small_model(), file, mmap=mmap, progress=noted(calls))
    require_going_up(calls, DATA)


def test_load_that_verifies_goes_through_the_bytes_twice(file: Path) -> None:
    calls: Calls = []
    tiedio.load(file, verify=True, progress=noted(calls))
    require_going_up(calls, 2 * DATA)


def test_verify_tells_a_function_of_every_byte(file: Path) -> None:
    calls: Calls = []
    tiedio.verify(file, progress=noted(calls))
    require_going_up(calls, DATA)


def test_the_last_call_says_that_all_is_done_even_if_not_all_was_needed(tmp_path: Path) -> None:
    model = small_model()
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 3)), np.zeros((2, 2)), verbose=0)
    tiedio.save(model, tmp_path / "m.safetensors")
    calls: Calls = []
    tiedio.load(tmp_path / "m.safetensors", compile=False, progress=noted(calls))
    done, total = calls[-1]
    assert done == total
    assert calls[-2][0] < total


class BrokenError(OSError):
    """Of the kind that the rooms below explain as an error of the disk."""


@pytest.mark.parametrize("error", [BrokenError("mine"), ValueError("mine"), KeyboardInterrupt()])
def test_what_the_function_raises_comes_out_as_it_is_and_leaves_nothing_half_done(
    file: Path, tmp_path: Path, error: BaseException
) -> None:
    before = file.read_bytes()

    def stop(done: int, total: int) -> None:
        raise error

    model = small_model(1)
    values = [np.array(one) for one in model.get_weights()]
    for call in (
        lambda: tiedio.save(model, file, progress=stop),
        lambda: tiedio.save_weights(model, file, progress=stop),
        lambda: tiedio.load(file, progress=stop),
        lambda: tiedio.load(file, mmap=False, progress=stop),
        lambda: tiedio.load_weights(model, file, progress=stop),
        lambda: tiedio.load_weights(model, file, mmap=False, progress=stop),
        lambda: tiedio.verify(file, progress=stop),
    ):
        with pytest.raises(type(error)) as caught:
            call()
        assert caught.value is error
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert all(np.array_equal(old, new) for old, new in zip(values, model.get_weights(), strict=True))


def test_a_bar_without_rich_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(TiedioError, match=r"needs rich.*pip install 'tiedio\[cli\]'"):
        tiedio.save(small_model(), tmp_path / "m.safetensors", progress=True)
    assert not list(tmp_path.iterdir())
    calls: Calls = []
    tiedio.save(small_model(), tmp_path / "m.safetensors", progress=noted(calls))
    require_going_up(calls, DATA)


def test_something_else_than_a_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TiedioError, match=r"neither a truth value nor a function.*found 'yes'"):
        tiedio.save(small_model(), tmp_path / "m.safetensors", progress="yes")  # type: ignore[arg-type]


def test_without_a_terminal_no_bar_is_shown_and_nothing_is_asked(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with progress.observed(True, "saving") as observer:
        assert observer is None
    with progress.observed(False, "saving") as observer:
        assert observer is None
    tiedio.verify(file, progress=True)
    assert capfd.readouterr() == ("", "")


# --- in a terminal ----------------------------------------------------------------------------------

SLOW = """
import sys, time
from tiedio import progress
progress.DELAY, steps, name = float(sys.argv[1]), 4, sys.argv[2]
with progress.observed(True, name) as observer:
    for n in range(1, steps + 1):
        time.sleep(0.12)
        observer(n * 100_000_000, steps * 100_000_000)
print("done", file=sys.stderr)
"""


def in_a_terminal(*command: str, columns: int = 60, **environment: str) -> str:
    """What a command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    given = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": str(columns), **environment}
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=given, cwd=ROOT)
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux says so when the last writer is gone
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    assert child.wait(timeout=60) == 0, b"".join(parts)
    return b"".join(parts).decode()


def lines_of(output: str) -> list[str]:
    """The lines that were drawn, without colors and moves of the cursor."""
    return [line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)) if line.strip()]


@pytest.mark.parametrize("columns", [60, 100])
def test_a_bar_shows_bytes_and_rate_and_fits_the_terminal(columns: int) -> None:
    name = "saving a-model-with-a-rather-long-name-of-its-file.safetensors"
    output = in_a_terminal(sys.executable, "-c", SLOW, "0", name, columns=columns)
    lines = lines_of(output)
    assert any("200.0/400.0 MB" in line for line in lines), lines
    assert any("400.0/400.0 MB" in line for line in lines), lines
    assert all(len(line) <= columns for line in lines), lines
    assert all(re.search(r"[\d.]+ [MG]B/s$", line.rstrip()) for line in lines if "/400.0 MB" in line), lines
    assert "saving a-model" in lines[0]
    # Removed at the end: the line is erased, and what comes next takes its place.
    assert "\x1b[2K" in output
    assert output.rstrip().endswith("done")


def test_what_is_done_within_a_second_shows_nothing() -> None:
    output = in_a_terminal(sys.executable, "-c", SLOW, "1.0", "saving")
    assert output == "done\r\n"


def test_a_name_cannot_steer_the_terminal() -> None:
    output = in_a_terminal(sys.executable, "-c", SLOW, "0", "\x1b[2J\x07evil")
    assert "\x1b[2J" not in output
    assert "\x07" not in output
    assert "evil" in output


def test_a_terminal_that_cannot_move_its_cursor_shows_nothing() -> None:
    code = SLOW.replace("        observer(", "        assert observer is None\n        observer and observer(")
    assert in_a_terminal(sys.executable, "-c", code, "0", "saving", TERM="dumb") == "done\r\n"


def test_a_bar_starts_no_thread(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import threading

    monkeypatch.setattr(progress, "_has_terminal", lambda: True)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    with progress.observed(True, "saving") as observer:
        assert observer is not None
        before = threading.active_count()
        observer(1, 2)
        observer(2, 2)
        assert threading.active_count() == before


def test_a_terminal_that_goes_away_does_not_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(what: str, start: float) -> Any:
        raise OSError("gone")

    monkeypatch.setattr(progress, "_has_terminal", lambda: True)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(progress, "_draw", gone)
    with progress.observed(True, "saving") as observer:
        assert observer is not None
        observer(1, 2)
        observer(2, 2)


def test_warnings_of_save_still_name_the_caller(tmp_path: Path) -> None:
    tokens, table = keras.Input((5,), dtype="int32"), keras.layers.Embedding(7, 3)
    logits = keras.ops.matmul(table(tokens), keras.ops.transpose(table.embeddings))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        tiedio.save(keras.Model(tokens, logits), tmp_path / "m.safetensors", progress=lambda done, total: None)
    assert [Path(one.filename).name for one in told if "tie" in str(one.message)] == [Path(__file__).name]
