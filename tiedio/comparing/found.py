"""What a comparison has found so far, and what several parts of it use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiedio.comparing.difference import Change
from tiedio.comparing.encoded import Names, compare, text_of
from tiedio.comparing.sides import Match
from tiedio.errors import shown
from tiedio.matching import automatic_name

LONGEST = 200
"""Characters of a text of a file that are kept."""


@dataclass(slots=True)
class Found:
    """What differs, up to a number that nobody reads; and how much does not."""

    most: int
    changes: list[Change] = field(default_factory=list)
    same: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    omitted: int = 0

    def add(self, part: str, path: str, what: str, a: str | None, b: str | None) -> None:
        """Notes one fact."""
        if len(self.changes) >= self.most:
            self.omitted += 1
        else:
            self.changes.append(Change(part, path[:LONGEST], what[:LONGEST], *(t and t[:LONGEST] for t in (a, b))))

    def count(self, name: str) -> None:
        """Notes that one more thing is the same."""
        self.same[name] = self.same.get(name, 0) + 1


def each_once(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The pairs of which at least one side was in none before: each place is compared, and work grows with files."""
    mine: set[str] = set()
    theirs: set[str] = set()
    for one, other in pairs:
        if one not in mine or other not in theirs:
            mine.add(one)
            theirs.add(other)
            yield one, other


def compare_keys(part: str, path: str, a: Any, b: Any, names: tuple[Names, Names], found: Found) -> None:
    """Compares two encoded configurations key by key."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        apart = compare(a, b, names)
        if apart is not None:
            found.add(part, path, "config", *apart.texts())
        return
    for key in a:
        if key not in b:
            found.add(part, path, key, text_of(a[key], names[0]), None)
            continue
        apart = compare(a[key], b[key], names)
        if apart is not None:
            joint = "" if not apart.place or apart.place.startswith("[") else "."
            found.add(part, path, f"{key}{joint}{apart.place}", *apart.texts())
    for key in b:
        if key not in a:
            found.add(part, path, key, None, text_of(b[key], names[1]))


def is_automatic(label: Any, class_name: str) -> bool:
    """Whether a name is the one that Keras gives to an object of this class that was given none."""
    base = automatic_name(class_name[:LONGEST])
    return isinstance(label, str) and re.fullmatch(rf"{re.escape(base)}(_[0-9]+)?", label) is not None


def listed(values: Sequence[str | None]) -> str:
    """Some names, shortened; `None` is that of a model without one."""
    text = ", ".join("one without a name" if one is None else one for one in values[:8])
    return f"{text}, …" if len(values) > 8 else text or "none"


@dataclass(frozen=True, slots=True)
class Orders:
    """Compares lists of paths, but for what stands on one side only, which is told elsewhere.

    A member of a list of variables is its canonical slot, which depends on ties: it is taken for the same if it is so
    by the ties of either file.
    """

    a_to_b: tuple[dict[str, str], dict[str, str]]
    canonical: tuple[dict[str, str], dict[str, str]]

    @staticmethod
    def of(match: Match) -> Orders:
        """What is the same member in both files."""
        pairs = (*match.objects, *match.alike())
        there = dict(reversed(pairs))
        back = {theirs: mine for mine, theirs in reversed(pairs)}
        canonical = tuple(
            {path: variable.slots[0].path for path, variable in side.variables.items()} for side in (match.a, match.b)
        )
        return Orders((there, back), (canonical[0], canonical[1]))

    def compare(
        self, path: str, store: str, a: Sequence[str], b: Sequence[str], found: Found, part: str = "structure"
    ) -> None:
        """Compares one list of one object; `store` is its name."""
        if tuple(a) == tuple(b):
            return
        there, back = self.a_to_b
        mine, theirs = self.canonical
        ours = [mine.get(one, one) for one in a if one in there]
        others = [mine.get(back[one], back[one]) for one in b if one in back]
        if ours == others:
            return
        if [theirs.get(there[one], there[one]) for one in a if one in there] == [
            theirs.get(one, one) for one in b if one in back
        ]:
            return
        found.add(part, path, f"order of {store}", shown(ours), shown(others))
