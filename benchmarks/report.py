"""Tables and plots from what was measured, without measuring: `python -m benchmarks.report`.

Reads docs/benchmarks/results.json, draws the plots beside it and puts the tables into docs/benchmarks/README.md, each
between its markers; what is written around them stays.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.groups import ORDER
from benchmarks.harness import ROOT, Samples
from benchmarks.plots import draw

FOLDER = ROOT / "docs" / "benchmarks"
PAGE, RESULTS = FOLDER / "README.md", FOLDER / "results.json"

_NAMES = {"keras": "Keras", "tensorflow": "TensorFlow", "keras-hub": "KerasHub", "numpy": "NumPy", "python": "Python"}
_NAMES |= {"orbax-checkpoint": "Orbax"}


def read(path: Path) -> dict[str, Any]:
    """The records of all groups that were measured, by name: `machine`, `samples`, `minutes` and `series`."""
    return dict(json.loads(path.read_text("utf-8"))["groups"]) if path.exists() else {}


def write(path: Path, groups: dict[str, Any]) -> None:
    """Writes the records of groups, in their order."""
    ordered = {name: groups[name] for name in ORDER if name in groups}
    text = json.dumps({"groups": ordered}, indent=1)
    # One series a line.
    text = re.sub(
        r"\[[^\[\]]*\]", lambda found: re.sub(r"\s+", " ", found[0]).replace("[ ", "[").replace(" ]", "]"), text
    )
    path.write_text(f"{text}\n", "utf-8")


def parts(groups: dict[str, Any]) -> dict[str, str]:
    """Every piece of the page that is made from samples, by the name of its markers."""
    series: dict[str, Samples] = {name: group["series"] for name, group in groups.items()}
    found = {"machine": machine(groups), "targets": tables.targets(series)}
    if "peers" in series:
        found["peers"] = tables.peers(series["peers"])
    found |= {name: tables.growth(name, series[name]) for name in tables.GROWTH if name in series}
    if "architectures" in series:
        found["architectures"] = tables.architectures(series["architectures"])
    return found


def machine(groups: dict[str, Any]) -> str:
    """What the groups were measured on and with; once, if it was the same for all."""
    told: dict[str, list[str]] = {}
    for name, group in groups.items():
        told.setdefault(_machine(group["machine"], group["samples"]), []).append(name)
    if len(told) == 1:
        return next(iter(told))
    return "\n".join(f"- {', '.join(names)}: {text}" for text, names in told.items())


def _machine(facts: dict[str, str], samples: int) -> str:
    place = f"{facts['processor']}, {facts['memory']} of memory, {facts['disk']}, {facts['system']}"
    known = {"date", "processor", "memory", "disk", "system", "tiedio"}
    versions = ", ".join(f"{_NAMES.get(name, name)} {version}" for name, version in facts.items() if name not in known)
    return f"{facts['date']}: {place}. {versions}, tiedio {facts['tiedio']}. Medians of at least {samples} samples."


def between(text: str, name: str, content: str) -> str:
    """A text with other content between the markers of this name.

    Raises:
        ValueError: if the text has no such markers.

    Example:
        >>> between("a <!-- x: begin -->old<!-- x: end --> b", "x", "new").splitlines()
        ['a <!-- x: begin -->', 'new', '<!-- x: end --> b']
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, opened, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        raise ValueError(f"the page has no markers {begin} and {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def render(groups: dict[str, Any], page: Path) -> None:
    """Puts the tables into a page and draws the plots beside it."""
    text = page.read_text("utf-8")
    for name, content in parts(groups).items():
        text = between(text, name, content)
    page.write_text(text, "utf-8")
    draw({name: group["series"] for name, group in groups.items()}, page.parent)


def main() -> None:
    """Writes the page anew."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    render(read(RESULTS), PAGE)


if __name__ == "__main__":
    main()
