"""A small zoo: one model for each way in which a Keras model shares a layer or a variable.

Example:
    >>> from tiedio.testing import zoo
    >>> case = zoo.build_case("siamese_network_calls_one_lstm_on_two_inputs")
    >>> [first is second for first, second, *_ in case.same(case.model)]
    [True]
"""

from __future__ import annotations

# The modules register their cases when they are imported.
from tiedio.testing import (  # noqa: F401
    zoo_compile,
    zoo_dtypes,
    zoo_flags,
    zoo_graphs,
    zoo_hooks,
    zoo_kinds,
    zoo_models,
    zoo_names,
    zoo_objects,
    zoo_optimizers,
    zoo_places,
    zoo_quantized,
    zoo_serializable,
    zoo_subclassed,
    zoo_subclassed_state,
    zoo_systems,
    zoo_tied,
    zoo_tied_classes,
    zoo_training,
)
from tiedio.testing.zoo_base import BUILDERS, Case

__all__ = ["Case", "build_case", "case_names"]


def case_names() -> list[str]:
    """The names of all cases.

    Returns:
        The names, in alphabetical order.

    Example:
        >>> "one_layer_called_three_times" in case_names()
        True
    """
    return sorted(BUILDERS)


def build_case(name: str) -> Case:
    """Build a case afresh.

    Args:
        name: one of `case_names()`.

    Returns:
        The case, with its model built and, mostly, trained a little.

    Raises:
        KeyError: there is no such case.

    Example:
        >>> build_case("one_layer_called_three_times").model.name
        'thrice'
    """
    return BUILDERS[name]()
