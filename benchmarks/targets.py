"""The targets of issue 5: each is a number worked out from samples, and a limit that is never moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.harness import Samples, median, paired_ratio

_MIB = 2**20
_LINEAR = 1.15
"""What counts as linear: so much more time for each slot among ten times as many."""

Value = Callable[[Samples], float]


@dataclass(frozen=True, slots=True)
class Target:
    """One row of the table of targets."""

    group: str
    measure: str
    goal: str
    value: Value
    limit: float
    shown: str
    """How the value is written; a format string."""
    behind: tuple[tuple[str, str], ...]
    """Labels and names of the samples whose medians stand beside it."""
    least: bool = False
    """Whether the value must be at least the limit; else at most."""

    def met(self, samples: Samples) -> bool:
        """Whether the samples meet the target."""
        value = self.value(samples)
        return value >= self.limit if self.least else value <= self.limit


def ratio(one: str, other: str) -> Value:
    """The ratio of two medians."""
    return lambda samples: median(samples[one]) / median(samples[other])


def pairs(one: str, *others: str) -> Value:
    """The median of the ratios within a round; against several the largest: that is against the fastest."""
    return lambda samples: max(paired_ratio(samples[one], samples[other]) for other in others)


def more(one: str, other: str, unit: float) -> Value:
    """The difference of two medians in a unit."""
    return lambda samples: (median(samples[one]) - median(samples[other])) / unit


def seconds(name: str) -> Value:
    """The median."""
    return lambda samples: median(samples[name])


def most(name: str, unit: float) -> Value:
    """The largest sample in a unit."""
    return lambda samples: max(samples[name]) / unit


def _faster(group: str, what: str, prefix: str, times: float, suffix: str = "", alone: str = "") -> Target:
    ours, theirs = (f"{prefix}/{way}{suffix}" for way in ("tiedio", "keras"))
    goal = f"at least {times:g} times faster" if times > 1 else "never slower"
    behind = (("tiedio", ours), ("`.keras`", theirs), *((("without the load", alone),) if alone else ()))
    return Target(group, what, goal, ratio(theirs, ours), times, "{:.1f} times", behind, least=True)


def _overhead(samples: Samples) -> float:
    """Bytes of the file that are neither unique weights nor configuration, in percent of the weights."""
    ours, unique, config = (samples[f"transformer/{name}"][0] for name in ("tiedio", "unique", "config"))
    return 100 * (ours - unique - config) / unique


def _per_slot(samples: Samples) -> float:
    return median(samples["find/10000"]) / median(samples["find/1000"]) / 10


def _copied(samples: Samples) -> float:
    return (median(samples["copied/moved"]) - median(samples["copied/updated"])) / _MIB


def _whole(what: str, name: str, limit: float) -> Target:
    behind = (("bare Python", "python"),)
    return Target("processes", what, f"under {limit:g} s", seconds(name), limit, "{:.3f} s", behind)


def _no_slower(what: str, name: str, way: str = "tiedio") -> Target:
    ours, theirs = f"{way}/{name}", f"keras/{name}"
    behind = (("tiedio", ours), ("`.keras`", theirs))
    return Target("training", what, "no slower", ratio(ours, theirs), 1.0, "{:.2f}", behind)


def _checkpoint(what: str, name: str) -> Target:
    behind = tuple((label, f"{name}/{label}/paid") for label in ("background", "foreground"))
    ours, theirs = (one[1] for one in behind)
    behind += (("in the callback", f"{name}/background/callback"), ("step", f"{name}/step"))
    what = f"what training pays for a save in the background over one in the foreground, {what}"
    return Target("checkpoints", what, "at most 1/4", ratio(ours, theirs), 0.25, "{:.2f}", behind)


TARGETS = (
    _faster("sizes", "load against `.keras`, 0.5 GB, warm", "load/0.5", 40),
    _faster("sizes", "load against `.keras`, 2 GB, warm", "load/2", 100),
    _faster("first_use", "the first load of a fresh process, 0.5 GB, warm", "fresh/predict", 40, "/load"),
    Target(
        "sizes",
        "load against a rebuild with lazily mapped variables and no values, 0.5 GB",
        "at most 20 ms more",
        more("turn/0.5", "turn/floor", 1e-3),
        20,
        "{:.1f} ms more",
        (("load", "turn/0.5"), ("rebuild", "turn/floor")),
    ),
    _faster("first_use", "load and first `model(x)`, warm", "warm/call", 15, alone="warm/call/alone"),
    _faster("first_use", "load and first `predict`, warm", "warm/predict", 10, alone="warm/predict/alone"),
    _faster("first_use", "load and first `model(x)`, cold", "cold/call", 1),
    _faster("first_use", "load and first `predict`, cold", "cold/predict", 1),
    _faster("first_use", "load and first `model(x)` of a fresh process, warm", "fresh/call", 15, "/used"),
    _faster("first_use", "load and first `predict` of a fresh process, warm", "fresh/predict", 10, "/used"),
    Target(
        "sizes",
        "load of 4 GB over load of 0.5 GB, eight layers each",
        "at most 1.3",
        ratio("turn/4", "turn/0.5"),
        1.3,
        "{:.2f}",
        (("4 GB", "turn/4"), ("0.5 GB", "turn/0.5")),
    ),
    Target(
        "layers",
        "load of 250 small dense layers over `keras.Model.from_config`, fresh processes",
        "at most 0.8",
        ratio("fresh/tiedio", "fresh/from_config"),
        0.8,
        "{:.2f}",
        (
            ("load", "fresh/tiedio"),
            ("`from_config`", "fresh/from_config"),
            ("the same without initializers", "fresh/no_values"),
            ("and without `tf.Variable`s", "fresh/no_variables"),
        ),
    ),
    Target(
        "saving",
        "save, synced, over the faster of write + fsync and fallocate + write + fsync",
        "at most 1.10",
        pairs("synced/tiedio", "synced/write", "synced/fallocate"),
        1.10,
        "{:.2f}",
        (("save", "synced/tiedio"), ("write", "synced/write"), ("fallocate and write", "synced/fallocate")),
    ),
    _faster("saving", "save against `.keras`, neither synced", "unsynced", 4),
    Target(
        "saving",
        "`check=True` over `check=False`, whole save, 0.5 GB",
        "at most 1.15",
        pairs("check/with", "check/without"),
        1.15,
        "{:.2f}",
        (("with", "check/with"), ("without", "check/without")),
    ),
    Target(
        "memory_use",
        "extra memory in save, 4 GB (the most of all saves)",
        "at most 64 MiB",
        most("save/extra", _MIB),
        64,
        "{:.1f} MiB",
        (),
    ),
    Target(
        "memory_use",
        "private memory in load before first use, 4 GB (the most of all loads)",
        "at most 64 MiB",
        most("load/private", _MIB),
        64,
        "{:.1f} MiB",
        (),
    ),
    Target(
        "memory_use",
        "file of a 12-layer transformer whose layers share their weights, over `.keras`",
        "at most 1/10",
        ratio("transformer/tiedio", "transformer/keras"),
        0.1,
        "{:.3f}",
        (("tiedio", "transformer/tiedio"), ("`.keras`", "transformer/keras")),
    ),
    Target(
        "memory_use",
        "the same file, beyond the unique bytes and the configuration",
        "at most 0.1 %",
        _overhead,
        0.1,
        "{:.3f} %",
        (("unique", "transformer/unique"), ("configuration", "transformer/config")),
    ),
    Target(
        "ties",
        "`find_ties`, 10,000 layers with 100,000 slots",
        "under 0.5 s",
        seconds("find/10000"),
        0.5,
        "{:.2f} s",
        (("1,000 layers", "find/1000"), ("5,000", "find/5000"), ("10,000", "find/10000")),
    ),
    Target(
        "ties",
        "the same, time for a slot over that among a tenth of the slots",
        f"linear (at most {_LINEAR})",
        _per_slot,
        _LINEAR,
        "{:.2f}",
        (),
    ),
    _whole("`import tiedio`, whole process", "import", 0.1),
    _whole("`tiedio.inspect` of a 4 GB file, whole process", "inspect", 0.3),
    _whole("`tiedio inspect` on the command line, the same file", "command", 0.3),
    _no_slower("load with Adam's state and one training step, over Keras", "both"),
    _no_slower("that first step alone, over Keras's", "step"),
    _no_slower("that first step alone after `load(mmap=False)`, over Keras's", "step", "unmapped"),
    Target(
        "training",
        "bytes of variables that the first step copies, one layer of eight trained, beyond those that it updates",
        "copies only what it updates (at most 0.1 MiB more)",
        _copied,
        0.1,
        "{:+.2f} MiB",
        (("copied", "copied/moved"), ("updated", "copied/updated"), ("file", "copied/file")),
    ),
    _checkpoint("250 small dense layers", "small"),
    _checkpoint("4 dense layers of 2048 x 2048", "large"),
    Target(
        "checkpoints",
        "extra memory of saves in the background, 4 dense layers of 2048 x 2048 (the most of all)",
        "at most one copy of the state",
        most("large/memory", 1),
        1.0,
        "{:.2f} copies",
        (),
    ),
)
