"""Recipes of random models: plain, frozen data that says which parts a model has and what they share.

A recipe is what the strategy draws and what a failing test prints; its `repr` is Python code that gives
it back. Nothing here imports Keras.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

Slot = tuple[int, str]
"""The number of a layer among a recipe's parts, and the path of a variable in it, such as `(0, "kernel")`."""


class _Readable:
    """A `repr` that leaves out what equals its default, so that a shrunk example is short."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            required = field.default is dataclasses.MISSING
            if required or value != field.default:
                shown.append(repr(value) if required else f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, slots=True, repr=False)
class Layer(_Readable):
    """A layer, or a model whose class makes its own layers, from the table of kinds.

    Args:
        kind: a name in the table (`tiedio.testing.strategies_table.KINDS`).
        on: the kind of value that it is called on: "ids", "seq", "vec", "flat" or "wide".
        inner: the number of the part that it wraps or refers to, for the kinds that do.
        name: its name, or `None` for an automatic one.
        dtype: its dtype policy, or `None` for the one of the recipe.

    Example:
        >>> Layer("dense", on="seq", name="a")
        Layer('dense', name='a')
    """

    kind: str
    on: str = "seq"
    inner: int | None = None
    name: str | None = None
    dtype: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Call(_Readable):
    """A step of a graph: a part called on values of the graph.

    Args:
        part: the number of the part.
        args: the numbers of the values; a graph's inputs come first, then what its steps return, in order.

    Example:
        >>> Call(3, (0, 0))
        Call(3, (0, 0))
    """

    part: int
    args: tuple[int, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Op(_Readable):
    """A step of a graph: a function of `keras.ops` called on a value and on a live variable.

    Args:
        function: "matmul", "add" or "multiply".
        arg: the number of the value.
        slot: the variable.

    Example:
        >>> Op("matmul", 0, (1, "kernel"))
        Op('matmul', 0, (1, 'kernel'))
    """

    function: str
    arg: int
    slot: Slot


@dataclass(frozen=True, slots=True, repr=False)
class Graph(_Readable):
    """A functional model.

    Args:
        inputs: the kinds of its inputs.
        steps: what is called, in order.
        outputs: the numbers of the values that it returns.
        named: whether it takes and returns dicts.
        name: its name, or `None` for an automatic one.

    Example:
        >>> Graph(inputs=("seq",), steps=(Call(0, (0,)),), outputs=(1,))
        Graph(('seq',), (Call(0, (0,)),), (1,))
    """

    inputs: tuple[str, ...]
    steps: tuple[Call | Op, ...]
    outputs: tuple[int, ...]
    named: bool = False
    name: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Cut(_Readable):
    """A functional model that is taken from the values of another one, in its middle or from its beginning.

    Args:
        graph: the number of the other model, a `Graph`.
        inputs: the numbers of the values, in that graph, that become inputs.
        outputs: the numbers of the values, in that graph, that it returns.
        name: its name, or `None` for an automatic one.

    Example:
        >>> Cut(graph=2, inputs=(0,), outputs=(1,))
        Cut(2, (0,), (1,))
    """

    graph: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Chain(_Readable):
    """A `keras.Sequential`; a part may stand in it twice.

    Args:
        parts: the numbers of its parts.
        deferred: whether it is built when it is first called, because it has no `keras.Input`.
        name: its name, or `None` for an automatic one.

    Example:
        >>> Chain((0, 1, 0), deferred=True)
        Chain((0, 1, 0), deferred=True)
    """

    parts: tuple[int, ...]
    deferred: bool = False
    name: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Subclass(_Readable):
    """A subclassed model that holds parts which it is given and calls one after the other.

    Args:
        parts: the numbers of its parts.
        container: what it holds them in: "list", "dict", "tuple" or "nested".
        arguments: how many values `call` takes, 1 or 2; the parts are called on each and the results added.
        name: its name, or `None` for an automatic one.

    Example:
        >>> Subclass((0, 1), container="dict", arguments=2)
        Subclass((0, 1), container='dict', arguments=2)
    """

    parts: tuple[int, ...]
    container: str = "list"
    arguments: int = 1
    name: str | None = None


Part = Layer | Graph | Cut | Chain | Subclass


@dataclass(frozen=True, slots=True, repr=False)
class Tie(_Readable):
    """A tie that is made on built layers: every further slot is given the variable of the first.

    Args:
        slots: two or more slots of one shape and dtype.
        how: "in_place", which keeps the order of each layer's weights, or "attribute", which is what setting
            an attribute of an unlocked layer does: the variable becomes the last of its weights; or "tied", by
            `tiedio.tie`: what else holds the variable of a further slot follows it.

    Example:
        >>> Tie(((0, "kernel"), (1, "kernel")))
        Tie(((0, 'kernel'), (1, 'kernel')))
    """

    slots: tuple[Slot, ...]
    how: str = "in_place"


@dataclass(frozen=True, slots=True, repr=False)
class Untie(_Readable):
    """A slot that is given a variable of its own again, although the code of its class makes a tie.

    Args:
        slot: the slot.

    Example:
        >>> Untie((0, "second"))
        Untie((0, 'second'))
    """

    slot: Slot


@dataclass(frozen=True, slots=True, repr=False)
class Attach(_Readable):
    """A tie that is made by an attribute of a functional or sequential model: it holds a variable of a layer in it.

    Args:
        part: the number of the model.
        slot: the slot whose variable it holds too.
        container: "plain", or the "list" or "dict" that it holds the variable in.

    Example:
        >>> Attach(2, (0, "kernel"))
        Attach(2, (0, 'kernel'))
    """

    part: int
    slot: Slot
    container: str = "plain"


@dataclass(frozen=True, slots=True, repr=False)
class View(_Readable):
    """A tie that `tiedio.tie` makes: a slot, and what else holds its variable, becomes a view of another slot's.

    Args:
        slot: the slot, in another part than the source.
        source: the slot that keeps its variable.
        view: the name of a function of `tiedio` and its arguments.

    Example:
        >>> View((1, "kernel"), (0, "kernel"), ("slice", (0, 0), (4, 2)))
        View((1, 'kernel'), (0, 'kernel'), view=('slice', (0, 0), (4, 2)))
    """

    slot: Slot
    source: Slot
    view: tuple[Any, ...] = ("transpose",)


Change = Tie | Untie | Attach | View


@dataclass(frozen=True, slots=True, repr=False)
class Freeze(_Readable):
    """`trainable = False`, of a part or of one of its variables.

    Args:
        part: the number of the part.
        path: the path of the variable in it, or `None` for the part as a whole.
        when: "before" or "after" the ties are made, or "late": after the training steps.

    Example:
        >>> Freeze(0, "kernel", when="before")
        Freeze(0, path='kernel', when='before')
    """

    part: int
    path: str | None = None
    when: str = "after"


@dataclass(frozen=True, slots=True, repr=False)
class Compile(_Readable):
    """How a root is compiled, after the ties are made, and for how many steps it is trained.

    Args:
        optimizer: a name in `tiedio.testing.strategies_optimizers.OPTIMIZERS`.
        steps: training steps, 0 to 2.
        eager: whether it trains eagerly, which is fast for a few steps, or compiled.
        options: names in `tiedio.testing.strategies_optimizers.OPTIONS`.

    Example:
        >>> Compile("sgd", steps=1, options=("ema",))
        Compile(optimizer='sgd', steps=1, options=('ema',))
    """

    optimizer: str = "adam"
    steps: int = 0
    eager: bool = True
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Root(_Readable):
    """A model that is handed to `tiedio.save`.

    Args:
        part: the number of the part, which is a model.
        name: its key in the dict of roots; `None`, for an only root, means that there is no dict.
        compile: how it is compiled, or `None`.

    Example:
        >>> Root(4, name="encoder")
        Root(4, name='encoder')
    """

    part: int
    name: str | None = None
    compile: Compile | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Recipe:
    """A model, or several that share layers, as plain data; `build` makes it.

    Args:
        parts: layers and models; a part refers to earlier ones by their numbers, and twice means shared.
        roots: the models that are saved together.
        changes: ties that are made and slots that lose one, in order; `View` comes behind them, and `Attach` last.
        freezes: what is not trainable.
        inside: models inside the roots, not saved by themselves, that are compiled too, and trained before the roots.
        policy: the global dtype policy under which everything is made, or `None` for "float32".
        seed: the seed of all values.

    Example:
        >>> from tiedio.testing.strategies import Chain, Layer, Recipe, Root
        >>> Recipe(parts=(Layer("dense"), Chain((0, 0))), roots=(Root(1),))
        Recipe(
            parts=(
                Layer('dense'),  # 0
                Chain((0, 0)),  # 1
            ),
            roots=(
                Root(1),
            ),
        )
    """

    parts: tuple[Part, ...]
    roots: tuple[Root, ...]
    changes: tuple[Change, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    inside: tuple[Root, ...] = ()
    policy: str | None = None
    seed: int = 0

    def __repr__(self) -> str:
        lines = ["Recipe("]
        for name in ("parts", "roots", "changes", "freezes", "inside"):
            items: tuple[Any, ...] = getattr(self, name)
            if not items:
                continue
            lines.append(f"    {name}=(")
            for number, item in enumerate(items):
                lines.append(f"        {item!r}," + (f"  # {number}" if name == "parts" else ""))
            lines.append("    ),")
        if self.policy is not None:
            lines.append(f"    policy={self.policy!r},")
        if self.seed:
            lines.append(f"    seed={self.seed},")
        return "\n".join([*lines, ")"])
