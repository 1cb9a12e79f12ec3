"""Tests for models of one's own: the round trip's oracle, a zoo of models, and random models.

Example:
    >>> import keras, numpy as np, tempfile
    >>> from tiedio.testing import assert_round_trip
    >>> dense = keras.layers.Dense(2)
    >>> model = keras.Sequential([keras.Input((2,)), dense, dense])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     loaded = assert_round_trip(model, inputs=np.ones((1, 2)), train=False, folder=folder)
    >>> loaded.layers[0] is loaded.layers[1]
    True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiedio.testing.data import Arguments
from tiedio.testing.oracle import assert_round_trip

if TYPE_CHECKING:
    from tiedio.testing.strategies import tied_models

__all__ = ["Arguments", "assert_round_trip", "tied_models"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import the strategies on first use: they need hypothesis, and the oracle does not."""
        if name != "tied_models":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tiedio.testing.strategies import tied_models

        return tied_models
