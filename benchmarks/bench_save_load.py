"""What saving and loading take, and what `check=True` adds: `python -m benchmarks.bench_save_load [--write]`.

All rows are medians of one run on one machine, with the file cache warm; ratios compare rows of that run. `--write`
puts the tables into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf

import tiedio

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- bench_save_load: begin -->", "<!-- bench_save_load: end -->"
REPEATS = 5


def wide(layers: int = 8, units: int = 4096) -> Any:
    """Few large layers: 537 MB."""
    return _trained(layers, units, train=False)


def deep(layers: int = 250, units: int = 16) -> Any:
    """Many small layers."""
    return _trained(layers, units, train=False)


def trained(layers: int = 8, units: int = 256) -> Any:
    """A compiled model with Adam's state."""
    return _trained(layers, units, train=True)


def _trained(layers: int, units: int, *, train: bool) -> Any:
    inputs = tensor = keras.Input((units,))
    for _ in range(layers):
        tensor = keras.layers.Dense(units)(tensor)
    model = keras.Model(inputs, tensor)
    if train:
        model.compile("adam", "mse")
        model.fit(np.ones((4, units), "float32"), np.ones((4, units), "float32"), verbose=0)
    return model


def measure(model: Any, folder: Path) -> dict[str, float]:
    """Median seconds of each step."""
    ours, theirs = folder / "model.safetensors", folder / "model.keras"
    steps: dict[str, Callable[[], Any]] = {
        "save, check=False": lambda: tiedio.save(model, ours, check=False),
        "save": lambda: tiedio.save(model, ours),
        "load": lambda: tiedio.load(ours),
        "`.keras` save": lambda: model.save(theirs),
        "`.keras` load": lambda: keras.saving.load_model(theirs),
    }
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            samples[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in samples.items()}


def main() -> None:
    """Prints the table; with `--write` also puts it into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    write = parser.parse_args().write
    cases = {
        "8 dense layers of 4096 x 4096 (537 MB)": wide,
        "250 dense layers of 16 x 16": deep,
        "8 dense layers of 256 x 256, Adam": trained,
    }
    names = ["save, check=False", "save", "load", "`.keras` save", "`.keras` load"]
    rows = [
        f"| model | {' | '.join(f'{name} (s)' for name in names)} | check | save | load |",
        f"| --- |{' ---: |' * (len(names) + 3)}",
    ]
    for title, make in cases.items():
        print(f"{title} …", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            found = measure(make(), Path(folder))
        ratios = [
            found["save"] / found["save, check=False"],
            found["`.keras` save"] / found["save"],
            found["`.keras` load"] / found["load"],
        ]
        cells = [f"{found[name]:.3f}" for name in names] + [f"{ratio:.1f}" for ratio in ratios]
        rows.append(f"| {title} | {' | '.join(cells)} |")
    legend = (
        "check: `save` over `save` with `check=False`; save and load: `.keras` over tiedio. tiedio syncs the file to"
        " disk, `.keras` does not."
    )
    machine = (
        f"Medians of {REPEATS}, file cache warm. {platform.machine()}, {os.cpu_count()} cores, Python"
        f" {platform.python_version()}, Keras {keras.__version__}, TensorFlow {tf.__version__}, tiedio"
        f" {tiedio.__version__}."
    )
    table = "\n".join([*rows, "", legend, "", machine])
    print(table)
    if write:
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
