"""Made-up findings, for tests of what is printed."""

from __future__ import annotations

import pytest

from tiedio.demo.measure import Comparison, Epoch, RoundTrip, Training, Tuned
from tiedio.demo.run import Findings
from tiedio.demo.ways import Way

KEPT = RoundTrip("tiedio", True, 4, 9, (), True, 52_345, 0.01, 0.02, Tuned(True, 0.0, 0.5))
LOST = RoundTrip(".keras", False, 6, 0, ("Skipping [it]",), True, 123_456, 0.1, 0.2, Tuned(False, 0.0625, 0.4))


@pytest.fixture
def findings() -> Findings:
    """Return findings that nobody measured."""
    comparison = Comparison(
        title="Two Conv2D",
        tie="near and wide share kernel and bias",
        training=Training((Epoch(1, 1, 1.5, 0.25, 0.1),), 0.1, 0.9, 0.14),
        tie_made=True,
        trainable=4,
        state=9,
        tuned=Tuned(True, 0.0, 0.5),
        trips=(LOST, KEPT),
    )
    ways = (
        Way("custom layer that serializes its reference to the Embedding", {".keras": True, "tiedio": True}),
        Way("the matrix passed to an operation", {".keras": "ValueError", "tiedio": True}),
    )
    return Findings((comparison,), ways, "Linux, 2 cores, Python 3.11.9, Keras 3.15.1", 3, 31.6)
