"""Whole processes: `import tiedio`, and looking into a file of 4 GB."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from benchmarks.groups.sizes import LAYERS, WIDTHS
from benchmarks.harness import ROOT, Plan, Samples, clocked, environment, interleave, say

COMMAND = "import sys; from tiedio.cli import main; sys.exit(main())"
"""What the console script `tiedio` does."""


def measure(plan: Plan) -> Samples:
    """Seconds from start to end of each process."""
    path = plan.path("inspect.safetensors")
    plan.child("models.save_stack", path=str(path), layers=LAYERS, units=plan.width(WIDTHS["4"]))
    say("processes: import and inspect")
    code = {
        "python": ("pass",),
        "import": ("import tiedio",),
        "inspect": ("import sys, tiedio; tiedio.inspect(sys.argv[1])", str(path)),
        "command": (COMMAND, "inspect", str(path)),
    }
    steps: dict[str, Any] = {
        name: clocked(lambda _, words=words: _run(*words))  # type: ignore[misc]
        for name, words in code.items()
    }
    interleave(steps, 1)
    return interleave(steps, 2 if plan.quick else 4 * plan.samples)


def _run(*words: str) -> None:
    subprocess.run([sys.executable, "-c", *words], cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, check=True)
