"""What a loading of weights did, as data and as text that fits a narrow terminal."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

_SHOWN = 12
_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A place whose value in the file does not fit: `file` and `model` say how the two sides look.

    Example:
        >>> from tiedio.report import Mismatch
        >>> print(Mismatch("head/kernel", "float32 (8, 10)", "float32 (8, 3)"))
        head/kernel: float32 (8, 10) in the file, float32 (8, 3) in the model
    """

    path: str
    file: str
    model: str

    def __str__(self) -> str:
        return f"{self.path}: {self.file} in the file, {self.model} in the model"


@dataclass(frozen=True, slots=True)
class Report:
    """What `tiedio.load_weights` did; `print(report)` tells it.

    Args:
        file: the file.
        loaded: paths in the model, and of the optimizer's state, that have the file's values now; and what loading
            hooks were given.
        missing: paths in the model that the file does not have; they are as they were.
        unexpected: paths in the file that the model does not have.
        mismatched: places whose shape or dtype differs; they are as they were.
        skipped: place and reason of what was not tried, such as the optimizer of a model that is not compiled.
        trainable: paths in the model whose `trainable` flag is not the file's; the model's own was kept.
        renamed: object in the file and object in the model, where layers with automatic names, such as `dense_3`,
            were matched by their order.
        tied: slots in the model that were given another variable, by `ties="restore"`.

    Example:
        >>> from tiedio import Report
        >>> report = Report("model.safetensors", loaded=("dense/kernel", "dense/bias"), missing=("head/kernel",))
        >>> print(report)
        model.safetensors: 2 loaded, 1 missing
        missing (in the model, not in the file):
          head/kernel
        >>> report.complete
        False
    """

    file: str
    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    trainable: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    tied: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether model and file had exactly the same places, alike in shape and dtype."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        counts = {
            "loaded": self.loaded, "missing": self.missing, "unexpected": self.unexpected,
            "mismatched": self.mismatched, "skipped": self.skipped,
        }  # fmt: skip
        told = ", ".join(f"{len(places)} {name}" for name, places in counts.items() if places)
        if not self.loaded:
            told = f"nothing was loaded{', ' if told else ''}{told}"
        lines = [*_wrapped(f"{self.file}: {told}", "")]
        for title, places in (
            ("missing (in the model, not in the file):", self.missing),
            ("unexpected (in the file, not in the model):", self.unexpected),
            ("mismatched (shape or dtype; left as they were):", self.mismatched),
            ("skipped:", [f"{path}: {why}" for path, why in self.skipped]),
            ("another trainable flag in the file (the model's was kept):", self.trainable),
            ("matched by order (file → model):", [f"{old} → {new}" for old, new in self.renamed]),
            ("given the file's ties:", self.tied),
        ):
            lines += _listed(title, [str(place) for place in places])
        return "\n".join(lines)


def _listed(title: str, places: list[str]) -> list[str]:
    if not places:
        return []
    more = [f"  … and {len(places) - _SHOWN} more"] if len(places) > _SHOWN else []
    return [title, *(line for place in places[:_SHOWN] for line in _wrapped(place, "  ")), *more]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
