"""Do two models share alike? Answered by the oracle's walk, which knows nothing of how `tiedio` finds ties."""

from __future__ import annotations

from typing import Any

import keras

from tiedio.testing.pairing import LISTS, pair

# What a model is compiled with is not part of the model: a clone has none, and a copy for inference another one.
_NOT_OF_THE_MODEL = ("optimizer", "metric")
_MOST = 12


def __tracebackhide__(excinfo: Any) -> bool:  # noqa: N807 - pytest looks for it among a frame's globals
    return excinfo is not None and bool(excinfo.errisinstance(AssertionError))


def assert_same_ties(a: Any, b: Any) -> None:
    """Assert that two models have the same ties, shared objects and views, place by place.

    Places are compared by structure (`model.layers[1]._kernel`), so that the two may have been built by the same code,
    cloned, or loaded; names, values and what they are compiled with do not matter. Nothing of this uses the code by
    which `tiedio` itself finds ties.

    Args:
        a: a built `keras.Model` or layer, or a dict of them by name.
        b: another one, of the same structure.

    Raises:
        AssertionError: a tie, a shared object or a view is in one of them only, or their structures differ; the message
            names the places.
        TypeError: one of them is no model.

    Example:
        >>> import keras, tiedio
        >>> from tiedio.testing import assert_same_ties
        >>> def build():
        ...     return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), keras.layers.Dense(2)])
        >>> a, b = build(), build()
        >>> assert_same_ties(a, b)
        >>> tiedio.tie(a.layers[1], a.layers[0], weights=["kernel"])
        >>> assert_same_ties(a, b)
        Traceback (most recent call last):
        AssertionError: ties of a and b differ:
          model.layers[0]._kernel and model.layers[1]._kernel are one variable in a, but two in b
    """
    for name, side in (("a", a), ("b", b)):
        named = side if isinstance(side, dict) else {"": side}
        wrong = [one for one in named.values() if not isinstance(one, keras.Operation)]
        if wrong or not named:
            raise TypeError(f"{name} has to be a model, or a dict of models by name, and is {wrong[:1] or named!r}")
    found = pair(a, b, sides=("a", "b"), without=_NOT_OF_THE_MODEL)
    unbuilt = [
        f"{name} is not built: call it on data, or build it"
        for name, side in (("a", a), ("b", b))
        if not all(getattr(one, "built", True) for one in (side.values() if isinstance(side, dict) else [side]))
    ]
    others = sorted(filter(_is_clear, found.others), key=lambda fault: ("._" in fault, "only" not in fault, len(fault)))
    others = [*unbuilt, *others]
    told = "\n".join(
        "\n  ".join([what, *faults[:_MOST], *([f"... and {len(faults) - _MOST} more"] if len(faults) > _MOST else [])])
        for what, faults in (
            ("a and b are not models of one structure:", others),
            # Where places are missing, others have moved.
            ("shared objects of a and b differ:", [] if others else _clear(found.objects)),
            ("ties of a and b differ:", _clear(found.ties)),
            ("a and b keep their variables in other lists:", found.others if not found.ties and not others else []),
        )
        if faults
    )
    if told:
        raise AssertionError(told)


def _is_clear(fault: str) -> bool:
    """Whether a fault is told by the attributes that hold something, and not by Keras's lists of the same."""
    return not any(f".{name}[" in fault for name in LISTS)


def _clear(faults: list[str]) -> list[str]:
    return [*filter(_is_clear, faults)] or faults
