"""Roots: a model, or a dict of several, as a user hands them over and gets them back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiedio import keras_api
from tiedio.errors import ModelError


def as_roots(model: Any, kind: type = keras_api.Model) -> dict[str | None, Any]:
    """What a user hands over, a model or a dict of them, as roots by name; `None` names a single one.

    Raises:
        ModelError: if it is neither.
    """
    roots: dict[Any, Any] = dict(model) if isinstance(model, Mapping) else {None: model}
    if not roots:
        raise ModelError(
            "there is no model",
            path="model",
            found="an empty dict",
            expected="a model, or a dict of at least one",
            remedy="pass a keras.Model, or {name: model}",
        )
    named = isinstance(model, Mapping)
    for name, root in roots.items():
        if not isinstance(root, kind):
            raise ModelError(
                "this is not a model",
                path="model" if name is None else f"model[{name!r}]",
                expected="a keras.Model, or a dict of them",
                found=type(root).__name__,
                remedy="wrap layers in a keras.Model",
            )
        if named and not isinstance(name, str):
            raise ModelError(
                "the name of a root is no string",
                path="model",
                expected="str",
                found=repr(name),
                remedy='name every model with a string: {"encoder": encoder}',
            )
    return roots


def as_given(roots: Mapping[str | None, Any]) -> Any:
    """Roots as a user hands them over: the model itself if it has no name, else a dict."""
    return roots[None] if None in roots else dict(roots)
