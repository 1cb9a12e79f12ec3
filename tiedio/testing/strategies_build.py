"""Builds the models that a recipe describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

import tiedio
from tiedio.testing.data import Arguments
from tiedio.testing.strategies_facts import signature, view_of
from tiedio.testing.strategies_new import Inner, New
from tiedio.testing.strategies_optimizers import make_optimizer
from tiedio.testing.strategies_recipe import (
    Attach,
    Compile,
    Cut,
    Freeze,
    Graph,
    Layer,
    Op,
    Part,
    Recipe,
    Slot,
    Subclass,
    Tie,
    View,
)
from tiedio.testing.strategies_slots import find, give, lookup
from tiedio.testing.strategies_table import KINDS, LENGTH, SHAPES, WIDTH, WORDS, variables_of

BATCH = 2


def _keras(cls: str, *args: Any, **kwargs: Any) -> New:
    return New(f"keras.layers.{cls}", args, kwargs)


# The arguments are as few as a readable repr of the layer needs; seeds are fixed, so that two builds agree.
_LAYERS: dict[str, New] = {
    "dense": _keras("Dense", WIDTH, activation="tanh"),
    "penalized": _keras("Dense", WIDTH, use_bias=False, kernel_regularizer="l2", kernel_constraint="non_neg"),
    "conv": _keras("Conv1D", WIDTH, 3, padding="same"),
    "dilated": _keras("Conv1D", WIDTH, 3, padding="same", dilation_rate=2),
    "narrow": _keras("Dense", WIDTH),
    "embedding": _keras("Embedding", WORDS, WIDTH),
    "layer_norm": _keras("LayerNormalization"),
    "batch_norm": _keras("BatchNormalization"),
    "lstm": _keras("LSTM", WIDTH, return_sequences=True, dropout=0.5, seed=5),
    "gru": _keras("GRU", WIDTH),
    "simple_rnn": _keras("SimpleRNN", WIDTH, return_sequences=True),
    "attention": _keras("MultiHeadAttention", 2, 2),
    "dropout": _keras("Dropout", 0.5, seed=7),
    "activation": _keras("Activation", "tanh"),
    "flatten": _keras("Flatten"),
    "reshape": _keras("Reshape", (LENGTH, WIDTH)),
    "pool": _keras("GlobalAveragePooling1D"),
    "repeat": _keras("RepeatVector", LENGTH),
    "add": _keras("Add"),
    "concatenate": _keras("Concatenate"),
    "lstm_cell": _keras("LSTMCell", WIDTH),
    "gru_cell": _keras("GRUCell", WIDTH),
    "rnn": _keras("RNN", Inner()),
    "stacked_rnn": _keras("RNN", [Inner(), Inner()]),
    "time_distributed": _keras("TimeDistributed", Inner()),
    "bidirectional": _keras("Bidirectional", _keras("SimpleRNN", WIDTH, return_sequences=True), merge_mode="sum"),
    "transposed": New("Transposed", (Inner(),)),
    "given": New("Given", ([Inner()], {"kernel": Inner("kernel")})),
    "aliased": New("Aliased"),
    "typed": New("Typed"),
    "own_blocks": New("OwnBlocks"),
    "own_by_hand": New("OwnByHand"),
    "own_tied": New("OwnTied"),
}


def new_part(part: Part) -> New:
    """The call that makes a layer, or a subclassed model without its parts.

    Args:
        part: a layer, or a model of its own class.

    Returns:
        The call.

    Example:
        >>> new_part(Layer("dense", name="a")).code()
        "keras.layers.Dense(4, activation='tanh', name='a')"
    """
    more = {} if part.name is None else {"name": part.name}
    if isinstance(part, Subclass):
        cls = "OneArgument" if part.arguments == 1 else "TwoArguments"
        return New(cls, (), ({} if part.container == "list" else {"container": part.container}) | more)
    assert isinstance(part, Layer)
    if part.kind == "own_functional":
        return New("OwnFunctional", (SHAPES[part.on],), more)
    made = _LAYERS[part.kind]
    dtype = {} if part.dtype is None else {"dtype": part.dtype}
    return New(made.cls, made.args, made.kwargs | dtype | more)


class Builder:
    """Makes the objects of a recipe, one part after the other.

    Args:
        parts: the parts of the recipe.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.objects: list[Any] = []
        self.values: dict[int, list[Any]] = {}

    def make(self) -> list[Any]:
        """Makes all parts.

        Returns:
            A layer or model for each part.
        """
        for number in range(len(self.parts)):
            self.objects.append(self._make(number))
        return self.objects

    def _make(self, number: int) -> Any:
        part = self.parts[number]
        name: dict[str, Any] = {} if part.name is None else {"name": part.name}
        if isinstance(part, Layer):
            inner: Any = None if part.inner is None else self.objects[part.inner]
            if part.kind == "given" and not inner.built:
                inner.build((None, *SHAPES[part.on]))
            return new_part(part).make(inner)
        if isinstance(part, Graph):
            values = self._run(part)
            self.values[number] = values
            inputs, outputs = values[: len(part.inputs)], [values[i] for i in part.outputs]
            return keras.Model(_together(part, inputs), _together(part, outputs), **name)
        if isinstance(part, Cut):
            values = self.values[part.graph]
            return keras.Model(_one([values[i] for i in part.inputs]), _one([values[i] for i in part.outputs]), **name)
        held = [self.objects[i] for i in part.parts]
        if isinstance(part, Subclass):
            return new_part(part).given(parts=held).make()
        first = [] if part.deferred else [_placeholder(signature(self.parts, number)[0][0])]
        return keras.Sequential([*first, *held], **name)

    def _run(self, graph: Graph) -> list[Any]:
        names = [f"value_{i:02}" if graph.named else None for i in range(len(graph.inputs))]
        values = [_placeholder(kind, name) for kind, name in zip(graph.inputs, names, strict=True)]
        for step in graph.steps:
            if isinstance(step, Op):
                function = getattr(keras.ops, step.function)
                values.append(function(values[step.arg], self._variable(step)))
                continue
            args = [values[i] for i in step.args]
            part, called = self.parts[step.part], self.objects[step.part]
            if isinstance(part, Subclass) or (isinstance(part, Layer) and part.kind == "attention"):
                result = called(*args)
            else:
                result = called(_together(part, args))
            values.extend(keras.tree.flatten(result))
        return values

    def _variable(self, step: Op) -> Any:
        part, owner = self.parts[step.slot[0]], self.objects[step.slot[0]]
        if not owner.built:
            assert isinstance(part, Layer)
            assert KINDS[part.kind].borrow
            owner.build((None, *SHAPES[part.on]))
        return lookup(owner, step.slot[1])


def _one(items: Sequence[Any]) -> Any:
    return items[0] if len(items) == 1 else list(items)


def _together(part: Part, items: Sequence[Any]) -> Any:
    """What a model takes or returns, in the structure that it has; keys of a dict sort in the order of the items."""
    if isinstance(part, Graph) and part.named:
        return {f"value_{number:02}": item for number, item in enumerate(items)}
    return _one(items)


def _placeholder(kind: str, name: str | None = None) -> Any:
    return keras.Input(SHAPES[kind], dtype="int32" if kind == "ids" else "float32", name=name)


def example(rng: np.random.Generator, kind: str) -> np.ndarray[Any, Any]:
    """Data of a kind.

    Args:
        rng: where the numbers come from.
        kind: "ids", "seq", "vec", "flat" or "wide".

    Returns:
        An array whose first axis is the batch.
    """
    shape = (BATCH, *SHAPES[kind])
    if kind == "ids":
        return rng.integers(WORDS, size=shape, dtype=np.int32)
    return rng.uniform(-1, 1, size=shape).astype(np.float32)


def fill(recipe: Recipe, objects: Sequence[Any]) -> None:
    """Gives every built variable distinct values, because two zero biases would hide that they are swapped.

    Args:
        recipe: the recipe.
        objects: what was made of its parts.
    """
    rng = np.random.default_rng(recipe.seed)
    for part, owner in zip(recipe.parts, objects, strict=True):
        if not isinstance(part, Layer) or (not owner.built and variables_of(part.kind, part.on)):
            continue
        for variable in variables_of(part.kind, part.on):
            if variable.role == "data":
                lookup(owner, variable.path).assign(
                    keras.ops.cast(rng.integers(0, 5, size=variable.shape).astype(np.float32), variable.dtype)
                )
            elif variable.role != "seed":
                # One-dimensional ones stay positive: a moving variance may be among those that a tie joins.
                low = 0.1 if len(variable.shape) == 1 else -0.5
                values = rng.uniform(low, 0.6, size=variable.shape).astype(np.float32)
                lookup(owner, variable.path).assign(values)


def change(recipe: Recipe, objects: Sequence[Any]) -> None:
    """Makes the ties of a recipe, and takes away those that it takes away.

    Args:
        recipe: the recipe.
        objects: what was made of its parts.
    """
    for one in recipe.changes:
        if isinstance(one, Tie):
            (first, path), *others = one.slots
            variable = lookup(objects[first], path)
            for number, other in others:
                if one.how == "tied":
                    _tie(recipe, objects, (number, other), (first, path))
                    continue
                give(find(objects[number], other), variable, in_place=one.how == "in_place")
        elif isinstance(one, View):
            _tie(recipe, objects, one.slot, one.source, view_of(one))
        elif isinstance(one, Attach):
            variable = lookup(objects[one.slot[0]], one.slot[1])
            held = {"plain": variable, "list": [variable], "dict": {"weight": variable}}[one.container]
            objects[one.part].extra = held
        else:
            slot = find(objects[one.slot[0]], one.slot[1])
            copy = keras.Variable(slot.get().numpy(), dtype=slot.get().dtype, name="untied")
            give(slot, copy, in_place=False)


def public(path: str) -> str:
    """What `tiedio.tie` calls a slot: by public attributes, where the class has them.

    Args:
        path: attributes, indexes and keys, joined by dots.

    Returns:
        The name of the weight.

    Example:
        >>> public("_query_dense.kernel")
        'query_dense/kernel'
    """
    return "/".join(key.removeprefix("_") for key in path.split("."))


def _tie(recipe: Recipe, objects: Sequence[Any], slot: Slot, source: Slot, view: tiedio.View | None = None) -> None:
    names = {public(slot[1]): public(source[1])}
    roots = [objects[root.part] for root in recipe.roots]
    tiedio.tie(objects[slot[0]], objects[source[0]], weights=names, view=view, models=roots)


def freeze(freezes: Sequence[Freeze], objects: Sequence[Any], when: str) -> bool:
    """Makes parts or variables of theirs not trainable.

    Args:
        freezes: what the recipe freezes.
        objects: what was made of its parts.
        when: "before", "after" or "late".

    Returns:
        Whether there was anything to freeze at that time.
    """
    chosen = [one for one in freezes if one.when == when]
    for one in chosen:
        frozen = objects[one.part] if one.path is None else lookup(objects[one.part], one.path)
        frozen.trainable = False
    return bool(chosen)


def compile_model(model: Any, how: Compile, targets: Any) -> None:
    """Compiles a model.

    Args:
        model: the model.
        how: the optimizer, with its options, and whether it trains eagerly.
        targets: what it is trained towards: each has a loss.
    """
    model.compile(
        make_optimizer(how.optimizer, how.options, model.trainable_variables),
        keras.tree.map_structure(lambda _: "mse", targets),
        run_eagerly=how.eager,
        jit_compile=False,
    )


def data_for(recipe: Recipe, number: int) -> tuple[Any, Any]:
    """Data to call and to train a model on.

    Args:
        recipe: the recipe.
        number: the number of the part.

    Returns:
        What it is called on, one argument or `Arguments`, and targets that are shaped as what it returns.
    """
    rng = np.random.default_rng((recipe.seed, number))
    part = recipe.parts[number]
    kinds, outputs = signature(recipe.parts, number)
    data = [example(rng, kind) for kind in kinds]
    targets = _together(part, [example(rng, kind) for kind in outputs])
    if isinstance(part, Subclass) and part.arguments > 1:
        return Arguments(tuple(data)), targets
    return _together(part, data), targets
