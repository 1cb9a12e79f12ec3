"""How `make bench` measures: samples taken in turn, in this process or in fresh ones, and on what machine.

A group of measures is a module with a function `measure(plan)` that returns its samples by name. It runs in a process
of its own (`benchmarks.child`), so that no group finds what another has left in memory.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

ROOT = Path(__file__).resolve().parents[1]

Samples: TypeAlias = dict[str, list[float]]
"""Seconds, bytes or plain numbers by the name of the measure, in the order in which they were taken."""

Step: TypeAlias = Callable[[], float | Mapping[str, float]]
"""Takes one sample; of several numbers each has a name."""

_T = TypeVar("_T")

_PACKAGES = ("keras", "tensorflow", "keras-hub", "numpy", "h5py", "safetensors", "orbax-checkpoint", "psutil")


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a run puts its files, how many samples it takes, and whether it is only tried (`quick`)."""

    folder: str
    samples: int = 5
    quick: bool = False

    def width(self, units: int) -> int:
        """The width of a layer; tiny if the run is only tried."""
        return max(8, units // 64) if self.quick else units

    def count(self, number: int) -> int:
        """A number of layers or ties; small if the run is only tried."""
        return max(1, number // 25) if self.quick else number

    def path(self, name: str) -> Path:
        """A file in the folder of the run."""
        return Path(self.folder) / name

    def child(self, case: str, **arguments: Any) -> Any:
        """What a function of this package returns, from a fresh process; from this one if the run is only tried."""
        if self.quick:
            module, _, function = case.rpartition(".")
            return getattr(importlib.import_module(f"benchmarks.{module}"), function)(**arguments)
        return child(case, **arguments)


def clocked(action: Callable[[Any], object], prepare: Callable[[], Any] = lambda: None) -> Step:
    """A step that takes the seconds of an action, without what comes before and after it.

    Args:
        action: what is timed; it is given what `prepare` returned. What it returns is let go after the clock.
        prepare: what is done first, after all garbage of the step before is gone.
    """

    def sample() -> float:
        gc.collect()
        prepared = prepare()
        start = time.perf_counter()
        result = action(prepared)
        seconds = time.perf_counter() - start
        del result, prepared
        return seconds

    return sample


def interleave(steps: Mapping[str, Step], samples: int) -> Samples:
    """Takes one sample of every step in turn: in an order that is drawn, then in the same turned around, and so on.

    What disturbs the machine for a while then disturbs all of them alike, and so does what a step leaves for the next.

    Args:
        steps: what takes a sample, by name.
        samples: how many rounds.

    Returns:
        The samples by name; of a step that returns several numbers under `name/number`.

    Example:
        >>> interleave({"one": lambda: 1.0, "two": lambda: {"a": 2.0, "b": 3.0}}, 2)
        {'one': [1.0, 1.0], 'two/a': [2.0, 2.0], 'two/b': [3.0, 3.0]}
    """
    found: Samples = {}
    order, draw = list(steps), random.Random(0)
    for n in range(samples):
        if n % 2:
            order.reverse()
        else:
            draw.shuffle(order)
        for name in order:
            taken = steps[name]()
            named = taken if isinstance(taken, Mapping) else {"": taken}
            for key, value in named.items():
                found.setdefault(f"{name}/{key}" if key else name, []).append(value)
    return {name: found[name] for name in sorted(found, key=lambda name: _place(name, steps))}


def _place(name: str, steps: Mapping[str, Step]) -> int:
    """Where the step stands of which a series is."""
    return next(n for n, step in enumerate(steps) if name == step or name.startswith(f"{step}/"))


def prefixed(prefix: str, samples: Mapping[str, _T]) -> dict[str, _T]:
    """The same samples, or steps, under longer names.

    Example:
        >>> prefixed("load", {"tiedio": [1.0]})
        {'load/tiedio': [1.0]}
    """
    return {f"{prefix}/{name}": values for name, values in samples.items()}


def median(values: Sequence[float]) -> float:
    """The median, by which every series is told."""
    return float(statistics.median(values))


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of samples that were taken in one round.

    Example:
        >>> paired_ratio([2.0, 3.0, 8.0], [1.0, 2.0, 2.0])
        2.0
    """
    return median([one / other for one, other in zip(ours, theirs, strict=True)])


def child(case: str, **arguments: Any) -> Any:
    """Runs `benchmarks.child` in a fresh process and gives back what it printed.

    Args:
        case: `module.function` in this package.
        arguments: the function's arguments, as JSON can hold them; a `Plan` too.

    Raises:
        RuntimeError: if it fails, with the end of what it said.
    """
    given = json.dumps(arguments, default=dataclasses.asdict)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.child", case, given]
    done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{case} {given} ended with {done.returncode}; what it said stands above")
    return json.loads(done.stdout.splitlines()[-1])


def environment() -> dict[str, str]:
    """The environment of every process that measures: the TensorFlow backend, no graphics card, this checkout."""
    fixed = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    # Without bytecode an import takes twice as long.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **fixed, "PYTHONPATH": str(ROOT)}


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def machine(folder: Path) -> dict[str, str]:
    """What the samples are taken on and with.

    Args:
        folder: where the files are written.
    """
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES if importlib.util.find_spec(_module(name))}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{pages / 2**30:.0f} GiB",
        "disk": _file_system(folder),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "tiedio": f"{_tiedio_version()} at {_commit()}",
        **versions,
    }


def _module(package: str) -> str:
    return {"keras-hub": "keras_hub", "orbax-checkpoint": "orbax"}.get(package, package)


def _tiedio_version() -> str:
    import tiedio

    return tiedio.__version__


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


def _file_system(folder: Path) -> str:
    """The type and device of the file system that holds a folder: the longest mount point above it."""
    try:
        mounts = [line.split()[:3] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    except OSError:
        return "unknown"
    there = folder.resolve()
    above = [(point, kind, device) for device, point, kind in mounts if there.is_relative_to(point)]
    _, kind, device = max(above, key=lambda one: len(one[0]), default=("", "unknown", "unknown"))
    return f"{kind} on {device}"


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    try:
        commit, changed = git("rev-parse", "--short", "HEAD"), git("status", "--porcelain", "--", "tiedio")
    except OSError:
        return "an unknown commit"
    return f"{commit or 'an unknown commit'}{', changed' if changed else ''}"
