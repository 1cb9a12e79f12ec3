"""`make bench`: measures everything and writes docs/benchmarks/: `python -m benchmarks.run [--only GROUP …] [--quick]`.

Every group runs in a process of its own, and its samples are kept as soon as they are there. `--only` measures some
groups anew and keeps the others as they are. `--quick` tries the whole suite with tiny models and two samples: its
tables and plots mean nothing, and go into a folder beside the checkout's other results, never into docs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report, tables
from benchmarks.groups import ORDER
from benchmarks.harness import ROOT, Plan, child, machine, say

RESULTS = ROOT / "benchmarks" / "results"
_SAMPLES, _FEW = 5, 2


def main() -> int:
    """Measures, and writes tables and plots.

    Returns:
        1 if a group failed.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=ORDER, default=ORDER, metavar="GROUP", help=", ".join(ORDER))
    parser.add_argument("--quick", action="store_true", help="tiny models, two samples, nothing into docs")
    given = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    folder = RESULTS / "quick" if given.quick else report.FOLDER
    if given.quick:
        folder.mkdir(exist_ok=True)
        shutil.copy(report.PAGE, folder)
    kept = folder / report.RESULTS.name
    groups = report.read(kept)
    failed = []
    for name in given.only:
        start = time.monotonic()
        # A folder on the disk of the checkout: what lives in memory can be neither synced nor cold.
        with tempfile.TemporaryDirectory(dir=RESULTS) as work:
            plan = Plan(work, _FEW if given.quick else _SAMPLES, given.quick)
            try:
                series = child(f"groups.{name}.measure", plan=plan)
            except RuntimeError as error:
                say(f"{name} failed: {error}")
                failed.append(name)
                continue
        minutes = (time.monotonic() - start) / 60
        say(f"{name} took {minutes:.1f} minutes")
        groups[name] = {
            "machine": machine(RESULTS),
            "samples": plan.samples,
            "minutes": round(minutes, 2),
            "series": {key: [float(f"{value:.5g}") for value in values] for key, values in series.items()},
        }
        report.write(kept, groups)
    report.render(groups, folder / report.PAGE.name)
    print(tables.targets({name: group["series"] for name, group in groups.items()}))
    say(f"written: {Path(folder).relative_to(ROOT)}{f'; failed: {failed}' if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
