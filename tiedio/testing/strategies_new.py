"""Objects of Keras as plain data: a class and its arguments, which can be made, and printed as code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import keras

OWN = "tiedio.testing.strategies_models"
"""The module of the classes that are named without a dot."""


class Script:
    """A note for hypothesis: code that is written when it is printed, which is hardly ever.

    Args:
        write: gives the code.
    """

    def __init__(self, write: Callable[[], str]) -> None:
        self.write = write

    def __repr__(self) -> str:
        return f"# This script builds the example:\n{self.write()}\n"


class Name(str):
    """What something is called in the code that is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class Inner:
    """Stands, among arguments, for the part that a layer wraps or refers to.

    Args:
        attribute: the attribute of it that is meant, or "" for itself.
    """

    attribute: str = ""


@dataclass(frozen=True, slots=True)
class New:
    """A call of a class.

    Args:
        cls: the class, such as `"keras.layers.Dense"`, or the name of one of `tiedio.testing.strategies_models`.
        args: positional arguments: plain values, `Inner`, `New`, or lists and dicts of these.
        kwargs: keyword arguments.

    Example:
        >>> New("keras.layers.Dense", (4,), {"activation": "tanh"}).code()
        "keras.layers.Dense(4, activation='tanh')"
        >>> New("keras.layers.Dense", (4,)).make().units
        4
    """

    cls: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def given(self, **more: Any) -> New:
        """The same call with more keyword arguments.

        Args:
            **more: the arguments; they come first, as what most calls say.

        Returns:
            The call.
        """
        return replace(self, kwargs={**more, **self.kwargs})

    def make(self, inner: Any = None) -> Any:
        """Makes the object.

        Args:
            inner: what `Inner` stands for.

        Returns:
            A fresh object.
        """
        return class_of(self.cls)(*_made([*self.args], inner), **_made(self.kwargs, inner))

    def code(self, inner: str = "") -> str:
        """The call as Python code.

        Args:
            inner: what `Inner` is called there.

        Returns:
            An expression.
        """
        shown = [_code(one, inner) for one in self.args]
        shown += [f"{name}={_code(one, inner)}" for name, one in self.kwargs.items()]
        return f"{self.cls}({', '.join(shown)})"


def class_of(path: str) -> Any:
    """The class that a call names.

    Args:
        path: as for `New`.

    Returns:
        The class.
    """
    if "." not in path:
        return getattr(import_module(OWN), path)
    found: Any = keras
    for name in path.split(".")[1:]:
        found = getattr(found, name)
    return found


def _made(value: Any, inner: Any) -> Any:
    if isinstance(value, New):
        return value.make(inner)
    if isinstance(value, Inner):
        return getattr(inner, value.attribute) if value.attribute else inner
    if isinstance(value, list):
        return [_made(one, inner) for one in value]
    if isinstance(value, dict):
        return {key: _made(one, inner) for key, one in value.items()}
    return value


def _code(value: Any, inner: str) -> str:
    if isinstance(value, New):
        return value.code(inner)
    if isinstance(value, Inner):
        return f"{inner}.{value.attribute}" if value.attribute else inner
    if isinstance(value, list):
        return f"[{', '.join(_code(one, inner) for one in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_code(one, inner)}' for key, one in value.items())}}}"
    return repr(value)
