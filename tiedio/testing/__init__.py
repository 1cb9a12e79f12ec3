"""Tests for models of one's own: the round trip's oracle, a zoo of models, random models, fixtures for pytest.

Every name is imported when it is first asked for: the pytest plugin stands in this package, and costs a session that
does not use it nothing.

Example:
    >>> import keras, numpy as np, tempfile
    >>> from tiedio.testing import assert_round_trip
    >>> dense = keras.layers.Dense(2)
    >>> model = keras.Sequential([keras.Input((2,)), dense, dense])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     loaded = assert_round_trip(model, inputs=np.ones((1, 2)), training=False, folder=folder)
    >>> loaded.layers[0] is loaded.layers[1]
    True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiedio.testing.data import Arguments
    from tiedio.testing.oracle import assert_round_trip
    from tiedio.testing.same_ties import assert_same_ties
    from tiedio.testing.strategies import tied_models
    from tiedio.testing.strategies_ties import ties
    from tiedio.testing.strategies_training import optimizers

__all__ = ["Arguments", "assert_round_trip", "assert_same_ties", "optimizers", "tied_models", "ties"]

_HOMES = {
    "Arguments": "tiedio.testing.data",
    "assert_round_trip": "tiedio.testing.oracle",
    "assert_same_ties": "tiedio.testing.same_ties",
    "optimizers": "tiedio.testing.strategies_training",
    "tied_models": "tiedio.testing.strategies",
    "ties": "tiedio.testing.strategies_ties",
}


if not TYPE_CHECKING:  # a type checker sees the imports above, and a misspelled name

    def __getattr__(name: str) -> object:
        """Import a public name on first use; the strategies need hypothesis, and the rest does not."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            value = getattr(import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            if error.name != "hypothesis":
                raise
            raise ModuleNotFoundError(
                f"tiedio.testing.{name} needs hypothesis, which is not installed; pip install 'tiedio[testing]'",
                name="hypothesis",
            ) from error
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
