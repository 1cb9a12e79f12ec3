"""Patterns by which optimizers leave variables out of weight decay: Python's own `re` may take years over one."""

from __future__ import annotations

import math
import re

from tiedio.errors import DAMAGED, FormatError, LimitError
from tiedio.manifest import Manifest

_STEPS = 3e8  # a second or a few


def require_quick(manifest: Manifest, path: str) -> None:
    """Raises unless each pattern is one, and is tried on all names of variables in a moment.

    Raises:
        FormatError: if a pattern is none.
        LimitError: if it repeats a group, or so much else that it may take long for names of this length.
    """
    longest = max((len(name) for one in manifest.variables for name in (one.path, one.name)), default=0)
    for optimizer in manifest.optimizers:
        pattern = optimizer.excluded_names
        if pattern is None:
            continue
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise FormatError(
                "the names that an optimizer leaves out of weight decay are no pattern",
                path=f"{path}: {optimizer.path}",
                expected="a regular expression",
                found=f"{pattern[:60]!r} ({error})",
                remedy=DAMAGED,
            ) from error
        steps = len(manifest.variables) * float(longest + 1) ** min(_repeats(pattern) + 1, 20)
        if steps > _STEPS:
            raise LimitError(
                "a pattern of names that an optimizer leaves out of weight decay could take very long",
                path=f"{path}: {optimizer.path}",
                expected="no repeated group, and few repetitions",
                found=repr(pattern[:60]),
                remedy="if you trust the file: limits=tiedio.Limits.off(); or load with compile=False",
            )


def _repeats(pattern: str) -> float:
    """How many repetitions may have to be tried in all combinations; a repeated group has no bound."""
    if re.search(r"\)[*+{]", pattern) or re.search(r"\\\d|\(\?P=", pattern):
        return math.inf
    branches = [pattern] if "(" in pattern else pattern.split("|")
    return max(sum(branch.count(sign) for sign in "*+{") for branch in branches)
