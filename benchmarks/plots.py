"""The plots of docs/benchmarks/: how the time to save and to load grows, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import Samples, median
from benchmarks.tables import points

INK, PAPER = "#222222", "white"
# Okabe and Ito's colors, which color-blind readers tell apart; each line also has its own marker and label.
STYLES: dict[str, Mapping[str, Any]] = {
    "tiedio": {"color": "#0072B2", "marker": "o", "linewidth": 4},
    "keras": {"color": "#D55E00", "marker": "s", "linewidth": 2.5},
    "floor": {"color": "#666666", "marker": "^", "linewidth": 2.5, "linestyle": (0, (2, 1.5))},
}

LABELS = {
    "sizes": ("size of the model (GB), eight dense layers", {"save": "write + fsync", "load": "rebuild,\nno values"}),
    "layers": ("dense layers of 16 x 16", {"save": "write + fsync", "load": "rebuild,\nno values"}),
    "ties": ("ties: weights that two layers share", {"save": "write + fsync", "load": "rebuild,\nno values"}),
}
"""Of each group that grows: what grows, and what its floors are."""

_KERAS = {"save": ".keras\n(not synced)", "load": ".keras"}

_WIDTH, _HEIGHT, _DOTS = 9.0, 6.4, 100
_LINE = 0.075
"""Height of a line of a label, in parts of the height of the axes."""


def draw(groups: Mapping[str, Samples], folder: Path) -> list[Path]:
    """Draws what was measured.

    Args:
        groups: the samples of each group.
        folder: where the files go.

    Returns:
        The files, two for each group that grows: `GROUP-save.png` and `GROUP-load.png`.
    """
    made = []
    for group in LABELS:
        for verb in ("save", "load"):
            if group in groups:
                made.append(folder / f"{group}-{verb}.png")
                _plot(group, verb, groups[group], made[-1])
    return made


def lines(verb: str, samples: Samples) -> dict[str, tuple[list[float], list[float]]]:
    """The lines of one plot: of each way the points and the medians there."""
    found = {}
    for way in STYLES:
        known = [point for point in points(samples) if f"{verb}/{point}/{way}" in samples]
        if known:
            found[way] = ([float(point) for point in known], [median(samples[f"{verb}/{p}/{way}"]) for p in known])
    return found


def spread(places: list[float], heights: list[float]) -> list[float]:
    """Moves labels apart until they do not touch, keeping their order and, together, their middle.

    Args:
        places: where the middle of each should stand.
        heights: how high each is.

    Example:
        >>> spread([0.5, 0.5, 0.9], [0.1, 0.1, 0.1])
        [0.45, 0.55, 0.9]
    """
    groups: list[list[int]] = []
    for n in sorted(range(len(places)), key=places.__getitem__):
        groups.append([n])
        while len(groups) > 1 and _ends(groups[-2], places, heights)[1] > _ends(groups[-1], places, heights)[0]:
            groups[-2].extend(groups.pop())
    moved = list(places)
    for group in groups:
        bottom = _ends(group, places, heights)[0]
        for n in group:
            moved[n] = round(bottom + heights[n] / 2, 6)
            bottom += heights[n]
    return moved


def _ends(group: list[int], places: list[float], heights: list[float]) -> tuple[float, float]:
    """Bottom and top of labels that touch, around the middle of where they should stand."""
    middle, half = sum(places[n] for n in group) / len(group), sum(heights[n] for n in group) / 2
    return middle - half, middle + half


def _plot(group: str, verb: str, samples: Samples, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    what, floors = LABELS[group]
    names = {
        "tiedio": "tiedio",
        "keras": ".keras" + ("\n(not synced)" if verb == "save" else ""),
        "floor": floors[verb],
    }
    with mpl.rc_context({"font.size": 20, "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK}):
        figure, axes = plt.subplots(figsize=(_WIDTH, _HEIGHT), dpi=_DOTS, facecolor=PAPER)
        found = lines(verb, samples)
        for way, (across, up) in found.items():
            axes.plot(across, up, markersize=10, **STYLES[way])
        axes.set_xscale("log")
        axes.set_yscale("log")
        _label_axes(axes, what, [float(point) for point in points(samples)])
        title = {"save": "Time to save", "load": "Time to load, warm"}[verb]
        axes.set_title(title, loc="left", fontsize=24, fontweight="bold", pad=14)
        _label_lines(axes, {way: (across[-1], up[-1]) for way, (across, up) in found.items()}, names)
        figure.subplots_adjust(left=0.13, right=0.72, top=0.88, bottom=0.16)
        figure.savefig(path)
        plt.close(figure)


def _label_axes(axes: Any, what: str, across: list[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    def plain(value: float, _: Any = None) -> str:
        return f"{value:,.{next((n for n in range(7) if round(value, n) == value), 7)}f}"

    axes.set_xlabel(what)
    axes.set_xticks(across, [plain(value) for value in across])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.3, high * 1.3)
    subs = (1.0,) if high / low > 30 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(10, subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{plain(round(value, 6))} s"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color="#DDDDDD", linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label_lines(axes: Any, ends: Mapping[str, tuple[float, float]], names: Mapping[str, str]) -> None:
    """Writes the name of each line at its right end, in its color."""
    heights = [axes.transAxes.inverted().transform(axes.transData.transform(end))[1] for end in ends.values()]
    lines_of = [_LINE * (1 + names[way].count("\n")) for way in ends]
    for way, height in zip(ends, spread(heights, lines_of), strict=True):
        weight = "bold" if way == "tiedio" else "normal"
        place = {"xy": (1.03, height), "xycoords": "axes fraction", "va": "center"}
        axes.annotate(names[way], color=STYLES[way]["color"], fontweight=weight, **place)
