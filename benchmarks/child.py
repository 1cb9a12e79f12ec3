"""One fresh process: `python -m benchmarks.child MODULE.FUNCTION '{"argument": 1}'` prints what it returns as JSON."""

from __future__ import annotations

import gc
import importlib
import json
import sys
from typing import Any

from benchmarks.harness import Plan


def run(case: str, given: str) -> Any:
    """Calls a function of this package.

    Args:
        case: `module.function` in this package.
        given: its arguments as JSON.
    """
    module, _, function = case.rpartition(".")
    arguments = json.loads(given)
    if "plan" in arguments:
        arguments["plan"] = Plan(**arguments["plan"])
    act = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    if "plan" in arguments and arguments["plan"].quick:
        gc.freeze()  # else every collection looks through all of TensorFlow; a run that counts has it as users do
    return act(**arguments)


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2])))
