"""What a conversion or a repair did, as data and as text that fits a narrow terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from tiedio.conversion.candidates import LostTie
from tiedio.manifest import Tie
from tiedio.terminal import printable

_WIDTH = 60  # of `str`
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Conversion:
    """What `tiedio.convert` did; `print` shows it.

    Args:
        source: the file that was read.
        target: the file that was written.
        kind: what the source is.
        tensors: how many values it has.
        ties: the ties that came over; a `.keras` target does not carry all of them, as `notes` tells.
        optimizer: `"state"`, `"no state"` (it is built, or to be built, anew) or `"none"`.
        notes: what did not come over, or came over in another way.
        lost: weights that may have been tied, for `tiedio.repair`.

    Example:
        >>> from tiedio import Conversion
        >>> print(Conversion("model.keras", "model.safetensors", "a .keras file", 4, optimizer="state"))
        model.keras → model.safetensors
        a .keras file: 4 values, 0 ties; optimizer: state
    """

    source: str
    target: str
    kind: str
    tensors: int = 0
    ties: tuple[Tie, ...] = ()
    optimizer: str = "none"
    notes: tuple[str, ...] = ()
    lost: tuple[LostTie, ...] = ()

    def __str__(self) -> str:
        return self.told(_WIDTH)

    def told(self, width: int) -> str:
        """The text of `str`, folded to so many columns."""
        lines = [
            *_wrapped(f"{printable(self.source)} → {printable(self.target)}", width),
            *_wrapped(
                f"{self.kind}: {self.tensors} values, {_count(self.ties, 'tie')}; optimizer: {self.optimizer}", width
            ),
        ]
        lines += _listed(
            "ties of the model:" if self.target.endswith(".keras") else "ties that came over:",
            [" = ".join(map(printable, tie.slots)) for tie in self.ties],
            width,
        )
        lines += _listed("note:", list(map(printable, self.notes)), width)
        lines += _listed("may have been tied (tiedio repair):", [str(one) for one in self.lost], width)
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Repair:
    """What `tiedio.repair` did; `print` shows it.

    Args:
        source: the file that was read.
        target: the file that was written.
        tied: the ties that were made.
        left: candidates that were not chosen.
        optimizer: `"brought back"` (from the file, where the model with lost ties had no place for it), `"reunited"`,
            `"no state"` or `"none"`.
        notes: what is worth to be told.

    Example:
        >>> from tiedio import Repair
        >>> print(Repair("model.keras", "model.safetensors", optimizer="none"))
        model.keras → model.safetensors
        0 ties made; optimizer: none
    """

    source: str
    target: str
    tied: tuple[LostTie, ...] = ()
    left: tuple[LostTie, ...] = ()
    optimizer: str = "none"
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.told(_WIDTH)

    def told(self, width: int) -> str:
        """The text of `str`, folded to so many columns."""
        lines = _wrapped(f"{printable(self.source)} → {printable(self.target)}", width)
        lines += _wrapped(f"{_count(self.tied, 'tie')} made; optimizer: {self.optimizer}", width)
        lines += _listed("tied:", [str(one) for one in self.tied], width)
        lines += _listed("not chosen:", [str(one) for one in self.left], width)
        lines += _listed("note:", list(map(printable, self.notes)), width)
        return "\n".join(lines)


def _count(things: Iterable[object], noun: str) -> str:
    count = len(tuple(things))
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _listed(title: str, items: list[str], width: int) -> list[str]:
    if not items:
        return []
    more = [f"  … and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return [title, *(line for item in items[:_SHOWN] for line in _wrapped(item, width, "  ")), *more]


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent + "    ", break_on_hyphens=False)
