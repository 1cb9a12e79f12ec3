"""Where the time goes in the two targets that are not met: `python -m benchmarks.where`.

It prints a Markdown table for the first `predict` after a load, whose parts are taken by the profiler, and one for what
the first training step copies. The page docs/benchmarks/README.md quotes both.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import tiedio
from benchmarks.harness import median
from benchmarks.models import dense_stack, example

_SAMPLES = 5
_PREDICT = {
    "`tiedio.load`": ("tiedio/api.py", "load"),
    "Keras makes an iterator over the data": ("tensorflow/trainer.py", "__init__"),
    "TensorFlow traces the predict function": ("tracing_compilation.py", "_create_concrete_function"),
    "TensorFlow runs it, and reads the weights for the first time": ("eager/execute.py", "quick_execute"),
}
"""Label → end of the file's name and name of the function whose cumulative time is shown."""


def main() -> None:
    """Prints both tables."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent / "results") as folder:
        print(_table(predict(Path(folder))))
    print()
    print(_table(copies()))


def predict(folder: Path) -> dict[str, float]:
    """Median seconds of the parts of load and first `predict`, 0.5 GB, warm; the profiler slows all down a little."""
    path = folder / "predict.safetensors"
    model = dense_stack(8, 4096)
    given = example(model)
    tiedio.save(model, path)
    del model
    found: dict[str, list[float]] = {}
    for _ in range(_SAMPLES + 1):
        profile = cProfile.Profile()
        start = time.perf_counter()
        profile.enable()
        tiedio.load(path).predict(given, verbose=0)
        profile.disable()
        found.setdefault("all", []).append(time.perf_counter() - start)
        for label, where in _PREDICT.items():
            found.setdefault(label, []).append(_cumulative(profile, *where))
    return {label: median(samples[1:]) for label, samples in found.items()}


def _cumulative(profile: cProfile.Profile, file: str, function: str) -> float:
    stats: Mapping[tuple[str, int, str], Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    return float(sum(row[3] for (name, _, own), row in stats.items() if name.endswith(file) and own == function))


def copies() -> dict[str, float]:
    """Median seconds of copying, into memory that is new to the process, what a first step of Adam has to copy."""
    arrays = [np.ones(64 << 20, np.uint8) for _ in range(24)]  # eight kernels of 4096 x 4096, two moments each
    found: dict[str, list[float]] = {}
    for _ in range(_SAMPLES):
        for threads in (1, 2):
            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                kept = list(pool.map(np.copy, arrays))
                label = f"copying 1.6 GB once, {threads} thread{'s' if threads > 1 else ''}"
                found.setdefault(label, []).append(time.perf_counter() - start)
                del kept
    return {label: median(samples) for label, samples in found.items()}


def _table(rows: Mapping[str, float]) -> str:
    lines = [f"| {label} | {seconds * 1e3:.0f} ms |" for label, seconds in rows.items()]
    return "\n".join(["| what | median |", "| --- | ---: |", *lines])


if __name__ == "__main__":
    main()
