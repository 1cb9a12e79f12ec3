"""What a call takes on a file: the growth of its process's peak memory, seconds, and the error.

Each call runs in a process of its own kind that has imported Keras and the library, and has made the call on a good
file before. Linux forgets the peak of a process when 5 is written to /proc/self/clear_refs; what is read afterwards is
exact, however short the peak was. It counts resident memory: anonymous pages, and those of the file that are touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20
ROOT = Path(__file__).resolve().parents[2]
_MOST = 6 << 30  # bytes that a call may take before the system refuses, lest a bomb that goes off ends the machine
_FORGET = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measured:
    """One call: `peak` is in bytes above what the process had before, `error` the class of what was raised.

    `ours` says whether it is an error of the library; `text` is its text. A process that died, or hung, has `error`
    "died" or "hung", and no peak.
    """

    path: str
    peak: int
    seconds: float
    error: str | None
    ours: bool
    text: str

    @property
    def bound(self) -> int:
        """What the file may take: 64 MiB, and four times its size."""
        return 64 * MIB + 4 * os.path.getsize(self.path)


def can_measure() -> bool:
    """Whether this system tells and forgets the peak of a process."""
    try:
        _FORGET.write_text("5")
    except OSError:
        return False
    return "VmHWM" in Path("/proc/self/status").read_text()


def measure(
    paths: Sequence[Path | str], call: str, *, warm: Path | str | None = None, limit: float = 120
) -> list[Measured]:
    """Makes a call on each of many files, in as few processes as can be.

    Args:
        paths: the files.
        call: a key of `CALLS`, or `module:function` of a function that is given a path.
        warm: a good file, on which the call is made first.
        limit: seconds after which a call is said to hang, and its process is ended.

    Returns:
        One `Measured` for each file, in the order of the files.
    """
    done: list[Measured] = []
    while len(done) < len(paths):
        left = [str(path) for path in paths[len(done) :]]
        done += _in_one_process(left, call, "" if warm is None else str(warm), limit)
    return done


def _in_one_process(paths: list[str], call: str, warm: str, limit: float) -> list[Measured]:
    """Measures until all is done or the process dies; the file that it died of counts as done."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.hostile.measure", call, warm]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert process.stdin is not None
    assert process.stdout is not None
    done: list[Measured] = []
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{' '.join(command)} did not start")
        for path in paths:
            process.stdin.write(json.dumps(path) + "\n")
            process.stdin.flush()
            line = _line(process, limit)
            if line is None or not line:
                done.append(Measured(path, 0, limit, "hung" if line is None else "died", False, ""))
                return done
            done.append(Measured(path, **json.loads(line)))
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    return done


def _line(process: subprocess.Popen[str], limit: float) -> str | None:
    """The next line of a process, the empty text at its end, or `None` if it says nothing for so long."""
    import select

    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], limit)
    return process.stdout.readline() if ready else None


# --- in the child -----------------------------------------------------------------------------------


def _inspect(path: str) -> None:
    import tiedio

    tiedio.inspect(path)


def _verify(path: str) -> None:
    import tiedio

    tiedio.verify(path)


def _load(path: str) -> None:
    import tiedio

    tiedio.load(path)


def _load_weights(path: str) -> None:
    import tiedio
    from tests.hostile.good import small_model

    tiedio.load_weights(small_model(), path)


def _parse(path: str) -> None:
    """Everything before something is made: header, digests of the header, manifest, structure, training record."""
    from tests.hostile.good import parse

    parse(path)


CALLS: dict[str, Callable[[str], None]] = {
    "inspect": _inspect,
    "verify": _verify,
    "load": _load,
    "load_weights": _load_weights,
    "parse": _parse,
}


def _function(call: str) -> Callable[[str], Any]:
    if call in CALLS:
        return CALLS[call]
    import importlib

    module, _, name = call.partition(":")
    found: Callable[[str], Any] = getattr(importlib.import_module(module), name)
    return found


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the system does not tell {key}")


def _trim() -> None:
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _one(function: Callable[[str], Any], path: str) -> dict[str, Any]:
    from tiedio.errors import TiedioError

    _trim()
    _FORGET.write_text("5")
    before = _status("VmHWM")
    error: BaseException | None = None
    start = time.perf_counter()
    try:
        function(path)
    except BaseException as caught:  # noqa: BLE001 - it is what is measured
        error = caught
    seconds = time.perf_counter() - start
    peak = _status("VmHWM") - before
    ours, text = isinstance(error, TiedioError), "" if error is None else str(error)[:5000]
    return {
        "peak": peak,
        "seconds": seconds,
        "error": None if error is None else type(error).__name__,
        "ours": ours,
        "text": text,
    }


def _paths() -> Iterator[str]:
    for line in sys.stdin:
        yield json.loads(line)


def main(call: str, warm: str) -> None:
    """Measures each path that standard input names; one line of JSON for each goes to standard output."""
    function = _function(call)
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the call prints is no result
    import keras  # noqa: F401

    import tiedio  # noqa: F401

    if warm:
        for _ in range(2):
            function(warm)
    resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData") + _MOST, resource.RLIM_INFINITY))
    output.write("ready\n")
    output.flush()
    for path in _paths():
        output.write(json.dumps(_one(function, path)) + "\n")
        output.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
