"""Where the time goes in the two targets that are not met: `python -m benchmarks.where`.

It prints a Markdown table for the first `predict` after a load, whose parts are taken by the profiler, and one for the
first training step. The page docs/benchmarks/README.md quotes both.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tiedio
from benchmarks.groups.training import prepare
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
        print(_table(step(Path(folder))))


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


def step(folder: Path) -> dict[str, float]:
    """Median seconds of training steps after a load, eight layers of 4096 with Adam's state, and of bare copies."""
    path = folder / "step.safetensors"
    prepare(4096, 0, {"tiedio": str(path), "keras": str(folder / "step.keras")})
    found: dict[str, list[float]] = {}
    arrays = [np.ones(64 << 20, np.uint8) for _ in range(24)]
    for _ in range(_SAMPLES):
        for name, mapped in (("mapped", True), ("`mmap=False`", False)):
            model = tiedio.load(path, mmap=mapped)
            given = example(model, 4)
            for turn in ("first", "second"):
                found.setdefault(f"{turn} step, {name}", []).append(_seconds(lambda m=model, x=given: _train(m, x)))  # type: ignore[misc]
            del model
        found.setdefault("copying 1.6 GB once, in 24 pieces, one thread", []).append(
            _seconds(lambda: [array.copy() for array in arrays])
        )
    return {label: median(samples) for label, samples in found.items()}


def _train(model: Any, given: Any) -> None:
    model.train_on_batch(given, np.zeros_like(given))


def _seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _table(rows: Mapping[str, float]) -> str:
    lines = [f"| {label} | {seconds * 1e3:.0f} ms |" for label, seconds in rows.items()]
    return "\n".join(["| what | median |", "| --- | ---: |", *lines])


if __name__ == "__main__":
    main()
