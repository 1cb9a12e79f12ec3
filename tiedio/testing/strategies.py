"""Hypothesis strategies of random models with sharing, for property tests here and elsewhere."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from hypothesis import note
from hypothesis import strategies as st

from tiedio.testing.data import Arguments
from tiedio.testing.strategies_build import (
    Builder,
    change,
    compile_model,
    data_for,
    fill,
    freeze,
)
from tiedio.testing.strategies_code import code_of
from tiedio.testing.strategies_draw import recipes
from tiedio.testing.strategies_features import FEATURES, features
from tiedio.testing.strategies_new import Script
from tiedio.testing.strategies_recipe import (
    Attach,
    Call,
    Chain,
    Compile,
    Cut,
    Freeze,
    Graph,
    Layer,
    Op,
    Recipe,
    Root,
    Subclass,
    Tie,
    Untie,
    View,
)

__all__ = [
    "Attach",
    "BuiltModel",
    "Call",
    "Chain",
    "Compile",
    "Cut",
    "FEATURES",
    "Freeze",
    "Graph",
    "Layer",
    "Op",
    "Recipe",
    "Root",
    "Subclass",
    "Tie",
    "Untie",
    "View",
    "build",
    "code_of",
    "features",
    "recipes",
    "tied_models",
]


@dataclass(frozen=True, slots=True, eq=False)
class BuiltModel:
    """What a recipe makes: the arguments of `tiedio.testing.assert_round_trip`.

    Args:
        recipe: the recipe.
        model: a model, or a dict of them by name: what `tiedio.save` takes.
        inputs: what to call it on, one argument or `Arguments`; by name if `model` is a dict.
        targets: what to train it towards, or `None`; by name, only of those that train, if `model` is a dict.
        trainable: whether it, or one of its models, is compiled and has something to train.
        parts: what was made of each part of the recipe.

    Example:
        >>> from tiedio.testing.strategies import Chain, Layer, Recipe, Root, Tie, build
        >>> tie = Tie(((0, "kernel"), (1, "kernel")))
        >>> built = build(Recipe((Layer("dense"), Layer("dense"), Chain((0, 1))), (Root(2),), (tie,)))
        >>> built.parts[0].kernel is built.parts[1].kernel
        True
    """

    recipe: Recipe
    model: Any
    inputs: Any
    targets: Any
    trainable: bool
    parts: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"build({self.recipe!r})"

    @property
    def code(self) -> str:
        """A script that builds the same with Keras's own calls: `model`, `inputs`, and `targets` if it is compiled.

        Returns:
            Python code that needs `tiedio`, and no recipe.
        """
        return code_of(self.recipe)


def build(recipe: Recipe) -> BuiltModel:
    """Builds what a recipe describes: the same structure and the same values each time.

    It sets the random seeds, and puts back the states of Python's and NumPy's generators, as a strategy has to.

    Args:
        recipe: the recipe.

    Returns:
        The model or models, tied, frozen, compiled and trained as the recipe says, and data for them.

    Example:
        >>> from tiedio.testing.strategies import Chain, Layer, Recipe, Root, build
        >>> built = build(Recipe((Layer("dense"), Chain((0, 0))), (Root(1),)))
        >>> built.model.count_params()
        20
    """
    states = random.getstate(), np.random.get_state()
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(recipe.seed)
    try:
        keras.config.set_dtype_policy(recipe.policy or policy)
        return _build(recipe)
    finally:
        keras.config.set_dtype_policy(policy)
        random.setstate(states[0])
        np.random.set_state(states[1])


def _build(recipe: Recipe) -> BuiltModel:
    objects = Builder(recipe.parts).make()
    models = [objects[root.part] for root in recipe.roots]
    data = [data_for(recipe, root.part) for root in recipe.roots]
    for model, (inputs, _) in zip(models, data, strict=True):
        model(*(inputs.args if isinstance(inputs, Arguments) else (inputs,)))
    fill(recipe, objects)
    freeze(recipe.freezes, objects, "before")
    change(recipe, objects)
    freeze(recipe.freezes, objects, "after")
    for one in (*recipe.inside, *recipe.roots):
        _train(objects[one.part], one.compile, *data_for(recipe, one.part))
    if freeze(recipe.freezes, objects, "late"):
        for one in (*recipe.inside, *recipe.roots):
            if one.compile is not None:
                objects[one.part].make_train_function(force=True)  # the old one still trains what is frozen now
    names = [root.name for root in recipe.roots]
    trained = {n: t for n, m, (i, t) in zip(names, models, data, strict=True) if _trains(m, i)}
    if names[0] is None:
        return BuiltModel(recipe, models[0], data[0][0], trained.get(None), bool(trained), tuple(objects))
    named = dict(zip(names, models, strict=True))
    inputs_of = {name: inputs for name, (inputs, _) in zip(names, data, strict=True)}
    return BuiltModel(recipe, named, inputs_of, trained or None, bool(trained), tuple(objects))


def _train(model: Any, how: Compile | None, inputs: Any, targets: Any) -> None:
    if how is not None:
        compile_model(model, how, targets)
        for _ in range(how.steps if _trains(model, inputs) else 0):
            model.train_on_batch(inputs, targets)


def _trains(model: Any, inputs: Any) -> bool:
    """Whether `fit` can train the model: it passes one argument, and warns when there is nothing to train."""
    return bool(model.compiled and model.trainable_weights and not isinstance(inputs, Arguments))


def tied_models() -> st.SearchStrategy[BuiltModel]:
    """Random models with sharing of every kind that `tiedio.save` carries, built and ready to be saved.

    Building takes a moment: give the test `settings(deadline=None)`. Of a failing example, hypothesis prints a script
    that builds the model again, which is `built.code` too.

    Returns:
        A strategy of `BuiltModel`: `model`, or a dict of them, `inputs` and `targets`, and whether it is `trainable`.

    Example:
        >>> from hypothesis import given, settings
        >>> from tiedio.testing.strategies import tied_models
        >>> @settings(deadline=None, max_examples=2, derandomize=True, database=None)
        ... @given(tied_models())
        ... def test_model_has_values(built):
        ...     assert built.model
        >>> test_model_has_values()
    """
    return _noted()


@st.composite
def _noted(draw: st.DrawFn) -> BuiltModel:
    built = draw(recipes().map(build))
    note(Script(lambda: built.code))
    return built
