"""Draws ties: what `tiedio.tie` could share between the layers of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from hypothesis import note
from hypothesis import strategies as st

import tiedio
from tiedio.keras_api import LiveView
from tiedio.testing.strategies import build
from tiedio.testing.strategies_code import code_of
from tiedio.testing.strategies_draw import recipes
from tiedio.testing.strategies_new import Script
from tiedio.testing.strategies_recipe import Chain, Layer, Recipe, Root


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DrawnTie:
    """A tie that is not made yet; its `repr` is the call that makes it.

    Args:
        model: the model, or the dict of models, that the layers are in.
        target: the layer whose weight would be replaced.
        source: the layer whose weight would stay.
        weights: the target's name of the weight → the source's.
        view: how the one would be computed from the other, or `None` for one variable.
        places: how the two layers are reached from `model`, as code.
        code: a script that makes the model, if the strategy has drawn it too.
    """

    model: Any
    target: Any
    source: Any
    weights: Mapping[str, str]
    view: tiedio.View | None
    places: tuple[str, str]
    code: str = ""

    def __repr__(self) -> str:
        (target, source), (to, given) = self.places, next(iter(self.weights.items()))
        weights = repr([to] if to == given else dict(self.weights))
        view = "" if self.view is None else ", view=tiedio.transpose()"
        return f"tiedio.tie({target}, {source}, weights={weights}{view})"

    def apply(self) -> Any:
        """Makes the tie.

        Returns:
            The model, or dict of models, in which it is made.
        """
        models = list(self.model.values()) if isinstance(self.model, dict) else [self.model]
        tiedio.tie(self.target, self.source, weights=self.weights, view=self.view, models=models)
        return self.model


_SMALLEST = Recipe((Layer("dense"), Layer("dense"), Chain((0, 1))), (Root(2),))


@dataclass(frozen=True, slots=True)
class _Place:
    """A weight of a layer: how its layer is reached, the layer, the weight's name, and its variable."""

    code: str
    layer: Any
    name: str
    variable: Any


def ties(model: Any = None) -> st.SearchStrategy[DrawnTie]:
    """Ties that `tiedio.tie` accepts between layers of a model: one variable for both, or one the other's transpose.

    Weights that are one variable already, views and their sources, weights that are not trained, and quantized layers
    and those with LoRA are left as they are. To try the tie, `apply()` it; the model stays tied afterwards, so that a
    test builds its model anew for each example, and draws with `data.draw(ties(model))`.

    Args:
        model: a built `keras.Model`, or a dict of them by name; `None` to draw a small one, too: `tie.model`.

    Returns:
        A strategy of `DrawnTie`, whose values print as the call that makes the tie.

    Raises:
        ValueError: no two weights of the model go together.

    Example:
        >>> import keras
        >>> from hypothesis import given, settings, strategies as st
        >>> from tiedio.testing import ties
        >>> @settings(deadline=None, max_examples=5, derandomize=True, database=None)
        ... @given(st.data())
        ... def test_my_model_trains_with_any_tie(data):
        ...     layers = [keras.layers.Dense(4), keras.layers.Dense(4)]
        ...     model = keras.Sequential([keras.Input((4,)), *layers])
        ...     data.draw(ties(model)).apply()
        ...     assert len(model.weights) == 3
        >>> test_my_model_trains_with_any_tie()
    """
    if model is None:
        return _with_model()
    found = list(_possible(model))
    if not found:
        raise ValueError("no two weights of the model go together: none have one shape and dtype, or transposed shapes")
    return st.sampled_from(found)


@st.composite
def _with_model(draw: st.DrawFn) -> DrawnTie:
    recipe = draw(recipes().map(_without_ties))
    found = list(_possible(build(recipe).model))
    if not found:  # about every third model has no two weights that go together
        recipe = _SMALLEST
        found = list(_possible(build(recipe).model))
    tie = dataclasses.replace(draw(st.sampled_from(found)), code=code_of(recipe))
    note(Script(lambda: _script(tie)))
    return tie


def _script(tie: DrawnTie) -> str:
    lines = tie.code.splitlines()
    if "import tiedio" not in lines:
        lines.insert(lines.index("import numpy as np") + 1, "import tiedio")
    return "\n".join([*lines, repr(tie)])


def _without_ties(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, changes=(), freezes=())


def _places(thing: Any, code: str, seen: set[int]) -> Iterator[_Place]:
    if id(thing) in seen or not isinstance(thing, keras.layers.Layer):
        return
    seen.add(id(thing))
    if isinstance(thing, keras.Model):
        for number, layer in enumerate(thing.layers):
            yield from _places(layer, f"{code}.layers[{number}]", seen)
        return
    if getattr(thing, "quantization_mode", None) or getattr(thing, "lora_enabled", False) or not thing.built:
        return
    for attribute, value in sorted(vars(thing).items()):
        name = attribute.removeprefix("_")
        if isinstance(value, keras.layers.Layer) and not attribute.startswith("_"):
            yield from _places(value, f"{code}.{attribute}", seen)
        elif isinstance(value, keras.Variable | LiveView) and getattr(thing, name, None) is value:
            yield _Place(code, thing, name, value)


def _possible(model: Any) -> Iterator[DrawnTie]:
    seen: set[int] = set()
    named = {f"model[{name!r}]": one for name, one in model.items()} if isinstance(model, dict) else {"model": model}
    found = [place for code, one in named.items() for place in _places(one, code, seen)]
    views = {id(one.variable.source) for one in found if isinstance(one.variable, LiveView)}
    free = [
        one
        for one in found
        if not isinstance(one.variable, LiveView) and one.variable.trainable and id(one.variable) not in views
    ]
    for source in free:
        for target in free:
            a, b = source.variable, target.variable
            if source.layer is target.layer or a is b or a.dtype != b.dtype:
                continue
            shapes = tuple(b.shape), tuple(a.shape)
            fitting: list[tiedio.View | None] = [] if shapes[0] != shapes[1] else [None]
            if len(shapes[0]) == 2 and shapes[0] == shapes[1][::-1]:
                fitting.append(tiedio.transpose())
            for view in fitting:
                names = {target.name: source.name}
                yield DrawnTie(model, target.layer, source.layer, names, view, (target.code, source.code))
