"""How large the objects of a file are once each is written out wherever another one holds it.

What holds one part twice, which holds another one twice, and so on, is a short file; but code of Keras that asks each
part for something (its config, its state, its weights) asks as often as there are ways that lead to it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from tiedio import configs


def largest(objects: Sequence[Mapping[str, Any]], counted: Sequence[bool]) -> float:
    """The size of the largest object: itself and, for each time that it holds a part, the size of the part.

    Args:
        objects: the entries of a table.
        counted: which of them ask all their parts, as classes of Keras do; any other counts as one object.
    """
    parts = [_parts(entry) if one else Counter[int]() for entry, one in zip(objects, counted, strict=True)]
    _add_held(objects, counted, parts)
    sizes: dict[int, float] = {}
    asked: set[int] = set()
    stack = [(n, False) for n in range(len(objects))]
    while stack:
        n, parts_done = stack.pop()
        if parts_done:
            # A part without a size is one that holds this object: asked without end.
            sizes[n] = 1.0 + sum(times * sizes.get(part, inf) for part, times in parts[n].items())
        elif n not in asked:
            asked.add(n)
            stack.append((n, True))
            stack.extend((part, False) for part in parts[n])
    return max(sizes.values(), default=0.0)


def _parts(entry: Mapping[str, Any]) -> Counter[int]:
    """The objects that an entry names, each with how often it does."""
    return Counter([*configs.references(entry.get("config")), *entry.get("layers", ())])


def _add_held(objects: Sequence[Mapping[str, Any]], counted: Sequence[bool], parts: Sequence[Counter[int]]) -> None:
    """Adds what is put into objects; what stands in two attributes of one of them is one part of it all the same."""
    for n, entry in enumerate(objects):
        places = Counter((owner, json.dumps(steps[0])) for owner, steps in entry["held"])
        for (owner, _), times in places.items():
            if counted[owner] and owner != n:
                parts[owner][n] = max(parts[owner][n], times)
