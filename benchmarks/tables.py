"""The tables of docs/benchmarks/README.md, in Markdown, from samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.harness import Samples, median
from benchmarks.targets import TARGETS, Target

Groups = Mapping[str, Samples]
"""The samples of each group that was measured."""

NOTHING = "-"
"""A cell that has no number."""

_BYTES = ("transformer", "copied", "bytes")
_KEPT = {1.0: "comes back", 0.0: "lost", -1.0: "load fails"}


def seconds(value: float) -> str:
    """A time with three digits.

    Example:
        >>> seconds(0.02449), seconds(2.6049)
        ('24.5 ms', '2.60 s')
    """
    return f"{_digits(value * 1000)} ms" if value < 0.1 else f"{_digits(value)} s"


def size(value: float) -> str:
    """A number of bytes.

    Example:
        >>> size(536870912), size(28_401_000), size(48_000)
        ('537 MB', '28.4 MB', '0.0480 MB')
    """
    return f"{_digits(value / 1e6)} MB"


def _digits(value: float) -> str:
    """Three digits that count, and no exponent."""
    places = next((n for n, bound in enumerate((100, 10, 1, 0.1)) if abs(value) >= bound), 4)
    return f"{value:,.{places}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> str:
    """A table whose last columns are numbers.

    Args:
        head: titles of the columns.
        rows: cells.
        numbers: how many columns at the end are set to the right.
    """
    rule = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))


def targets(groups: Groups) -> str:
    """One row for each target; what was not measured says so."""
    rows = [_target(one, groups[one.group]) if _is_there(one, groups) else _missing(one) for one in TARGETS]
    return table(["measure", "target", "measured", "met", "medians behind it"], rows, 0)


def _target(one: Target, samples: Samples) -> list[str]:
    behind = ", ".join(f"{label} {_told(name, median(samples[name]))}" for label, name in one.behind)
    measured = one.shown.format(one.value(samples))
    return [one.measure, one.goal, measured, "yes" if one.met(samples) else "**no**", behind or NOTHING]


def _is_there(one: Target, groups: Groups) -> bool:
    """Whether all was measured; the samples that a failed run has left may be of an older suite."""
    return one.group in groups and all(name in groups[one.group] for _, name in one.behind)


def _missing(one: Target) -> list[str]:
    return [one.measure, one.goal, "not measured", NOTHING, NOTHING]


def _told(name: str, value: float) -> str:
    return size(value) if name.startswith(_BYTES) else seconds(value)


def peers(samples: Samples) -> str:
    """One row for each way to store a model, the floors last."""
    head = ["way", "makes the model", "a tie", "size", "save", "load", "load + call", "cold load", "cold load + call"]
    names = [name.removeprefix("save/") for name in samples if name.startswith("save/")]
    return table(head, [_peer(name, samples) for name in names], 6)


def _peer(name: str, samples: Samples) -> list[str]:
    def cell(key: str) -> str:
        return seconds(median(samples[key])) if key in samples else NOTHING

    way = f"makes/{name}" in samples
    synced = way and samples[f"syncs/{name}"] == [1.0]
    return [
        name,
        ("yes" if samples[f"makes/{name}"] == [1.0] else "no") if way else NOTHING,
        _KEPT[samples[f"kept/{name}"][0]] if way else NOTHING,
        size(samples[f"bytes/{name}"][0]) if f"bytes/{name}" in samples else NOTHING,
        cell(f"save/{name}") + (", synced" if synced else ""),
        cell(f"warm/{name}/load"),
        cell(f"warm/{name}/used") if way else NOTHING,
        cell(f"cold/{name}/load"),
        cell(f"cold/{name}/used") if way else NOTHING,
    ]


def architectures(samples: Samples) -> str:
    """One row for each architecture."""
    head = ["model", "layers", "variables", "size", "`.keras` size", "save", "`.keras` save", "load", "`.keras` load"]
    names = [name.removesuffix("/build") for name in samples if name.endswith("/build")]
    rows = [
        [
            name,
            *(f"{samples[f'{name}/{fact}'][0]:,.0f}" for fact in ("layers", "variables")),
            *(size(samples[f"{name}/bytes/{way}"][0]) for way in ("tiedio", "keras")),
            *(
                seconds(median(samples[f"{name}/{verb}/{way}"]))
                for verb in ("save", "load")
                for way in ("tiedio", "keras")
            ),
        ]
        for name in names
    ]
    return table(head, rows, 8)


GROWTH = {"sizes": "GB", "layers": "layers", "ties": "ties"}
"""The groups that grow, and in what."""


def growth(group: str, samples: Samples) -> str:
    """The medians that the plots of a group show."""
    head = [GROWTH[group], *(f"{way} {verb}" for verb in ("save", "load") for way in ("tiedio", "`.keras`", "floor"))]
    rows = [
        [
            f"{float(point):,g}",
            *(
                seconds(median(samples[key])) if (key := f"{verb}/{point}/{way}") in samples else NOTHING
                for verb in ("save", "load")
                for way in ("tiedio", "keras", "floor")
            ),
        ]
        for point in points(samples)
    ]
    return table(head, rows, len(head))


def points(samples: Samples) -> list[str]:
    """The points at which a group that grows was measured, as they are named."""
    return [name.split("/")[1] for name in samples if name.startswith("load/") and name.endswith("/tiedio")]
