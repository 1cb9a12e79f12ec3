"""What a recipe says about its models before they are built: kinds of values, depth, who holds what."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from tiedio import views
from tiedio.testing.strategies_recipe import (
    Attach,
    Call,
    Chain,
    Change,
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
    Untie,
    View,
)
from tiedio.testing.strategies_table import COST, KINDS, POLICIES, Variable, variables_of

Kinds = tuple[str, ...]


def signature(parts: Sequence[Part], number: int) -> tuple[Kinds, Kinds]:
    """The kinds of the values that a part is called on and of those that it returns.

    Args:
        parts: the parts of a recipe.
        number: the number of the part.

    Returns:
        Kinds of inputs, kinds of outputs; both are empty for a cell.

    Example:
        >>> from tiedio.testing.strategies import Chain, Layer
        >>> signature((Layer("embedding", on="ids"), Layer("pool"), Chain((0, 1))), 2)
        (('ids',), ('vec',))
    """
    part = parts[number]
    if isinstance(part, Layer):
        kind = KINDS[part.kind]
        if not kind.on:
            return (), ()
        return (part.on,) * kind.arguments, (kind.on[part.on],)
    if isinstance(part, Graph):
        values = value_kinds(parts, part)
        return part.inputs, tuple(values[i] for i in part.outputs)
    if isinstance(part, Cut):
        graph = parts[part.graph]
        assert isinstance(graph, Graph)
        values = value_kinds(parts, graph)
        return tuple(values[i] for i in part.inputs), tuple(values[i] for i in part.outputs)
    first, last = signature(parts, part.parts[0]), signature(parts, part.parts[-1])
    return first[0] * (part.arguments if isinstance(part, Subclass) else 1), last[1]


def value_kinds(parts: Sequence[Part], graph: Graph) -> Kinds:
    """The kinds of all values of a graph: its inputs, then what its steps return.

    Args:
        parts: the parts of the recipe.
        graph: one of them, or one that is about to become one.

    Returns:
        A kind for each value.
    """
    values = list(graph.inputs)
    for step in graph.steps:
        values.extend(signature(parts, step.part)[1] if isinstance(step, Call) else (values[step.arg],))
    return tuple(values)


def sources(parts: Sequence[Part], graph: Graph) -> tuple[tuple[int, tuple[int, ...]] | None, ...]:
    """Which step of a graph returns each of its values, and from which values.

    Args:
        parts: the parts of the recipe.
        graph: one of them.

    Returns:
        For each value `None` if it is an input, else the number of the step and those of its arguments.
    """
    found: list[tuple[int, tuple[int, ...]] | None] = [None] * len(graph.inputs)
    for number, step in enumerate(graph.steps):
        if isinstance(step, Call):
            found.extend([(number, step.args)] * len(signature(parts, step.part)[1]))
        else:
            found.append((number, (step.arg,)))
    return tuple(found)


def between(
    parts: Sequence[Part], graph: Graph, inputs: Iterable[int], outputs: Iterable[int]
) -> tuple[set[int], set[int]]:
    """What lies between some values of a graph and others that depend on them.

    Args:
        parts: the parts of the recipe.
        graph: one of them.
        inputs: numbers of values at which the way back from the outputs ends.
        outputs: numbers of values.

    Returns:
        The steps on the way, and the values at which it ends: some of `inputs`, and inputs of the graph.
    """
    origin, ends = sources(parts, graph), set(inputs)
    steps: set[int] = set()
    reached: set[int] = set()
    waiting, seen = list(outputs), set[int]()
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        source = origin[value]
        if source is None or value in ends:
            reached.add(value)
        else:
            steps.add(source[0])
            waiting.extend(source[1])
    return steps, reached


def references(parts: Sequence[Part], number: int, *, called: bool = False) -> tuple[int, ...]:
    """The parts that a part refers to.

    Args:
        parts: the parts of the recipe.
        number: the number of the part.
        called: leave out what the model does not hold, though it is needed to build it: the owners of
            variables that ops take, and the steps that a cut leaves out.

    Returns:
        Their numbers, each as often as it is referred to.
    """
    part = parts[number]
    if isinstance(part, Layer):
        return () if part.inner is None else (part.inner,)
    if isinstance(part, Chain | Subclass):
        return part.parts
    steps = part.steps if isinstance(part, Graph) else ()
    if isinstance(part, Cut):
        if not called:
            return (part.graph,)
        graph = parts[part.graph]
        assert isinstance(graph, Graph)
        steps = tuple(graph.steps[i] for i in sorted(between(parts, graph, part.inputs, part.outputs)[0]))
    owners = () if called else tuple(step.slot[0] for step in steps if not isinstance(step, Call))
    return tuple(step.part for step in steps if isinstance(step, Call)) + owners


def reach(parts: Sequence[Part], numbers: Iterable[int], *, called: bool = False) -> set[int]:
    """The parts that can be reached from some parts, those included.

    Args:
        parts: the parts of the recipe.
        numbers: where to start.
        called: as in `references`.

    Returns:
        Their numbers.
    """
    found: set[int] = set()
    waiting = list(numbers)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting.extend(references(parts, number, called=called))
    return found


def depth(parts: Sequence[Part], number: int) -> int:
    """How many models lie inside each other in a part.

    Args:
        parts: the parts of the recipe.
        number: the number of the part.

    Returns:
        0 for a layer, 1 for a model of layers, and so on.
    """
    part = parts[number]
    own = KINDS[part.kind].model if isinstance(part, Layer) else True
    below = max((depth(parts, i) for i in references(parts, number, called=True)), default=0)
    return below + int(own)


def calls(parts: Sequence[Part], number: int) -> int:
    """How many layers are called when a part is: what it costs.

    Args:
        parts: the parts of the recipe.
        number: the number of the part.

    Returns:
        1 for a layer, and the sum of what is called for a model.
    """
    part = parts[number]
    if isinstance(part, Layer):
        return 1
    inside = sum(calls(parts, i) for i in references(parts, number, called=True))
    return inside * (part.arguments if isinstance(part, Subclass) else 1)


def cost(parts: Sequence[Part], number: int) -> int:
    """About how long a part takes to be called, in calls of a dense layer.

    Args:
        parts: the parts of the recipe.
        number: the number of the part.

    Returns:
        The cost.
    """
    part = parts[number]
    if isinstance(part, Layer):
        return COST.get(part.kind, 1)
    inside = sum(cost(parts, i) for i in references(parts, number, called=True))
    return inside * (part.arguments if isinstance(part, Subclass) else 1)


def is_model(part: Part) -> bool:
    """Whether a part is a `keras.Model`.

    Args:
        part: a part of a recipe.

    Returns:
        Whether it is.
    """
    return not isinstance(part, Layer) or KINDS[part.kind].model


def slots(recipe: Recipe) -> dict[Slot, Variable]:
    """The slots that the roots hold, in the order of the parts.

    Args:
        recipe: the recipe; its ties are not looked at: `holdings` does.

    Returns:
        The variable that each slot is built with, of the dtype that it has.
    """
    held = reach(recipe.parts, (root.part for root in recipe.roots), called=True)
    return {
        (number, variable.path): _typed(variable, part.dtype or recipe.policy)
        for number, part in enumerate(recipe.parts)
        if number in held and isinstance(part, Layer)
        for variable in variables_of(part.kind, part.on)
    }


def _typed(variable: Variable, policy: str | None) -> Variable:
    if variable.dtype is not None:
        return variable
    if variable.role == "seed":
        return dataclasses.replace(variable, dtype="uint32")
    return dataclasses.replace(variable, dtype="float32" if policy is None else POLICIES[policy])


class Held(NamedTuple):
    """What a slot holds once all changes are made: a variable by the slot that it comes from, or a view of it."""

    origin: Hashable
    view: views.View | None = None


def view_of(change: View) -> views.View:
    """The view that a change makes.

    Args:
        change: the change.

    Returns:
        What to pass to `tiedio.tie`.

    Example:
        >>> view_of(View((1, "kernel"), (0, "kernel"))).name
        'transpose'
    """
    name, *arguments = change.view
    made: views.View = getattr(views, name)(*arguments)
    return made


def holdings(recipe: Recipe) -> dict[Slot, Held]:
    """What the slots of the roots' layers hold once the changes of a recipe are made.

    Args:
        recipe: the recipe.

    Returns:
        For each of `slots(recipe)` what it holds: equal exactly where two slots hold one object.

    Example:
        >>> from tiedio.testing.strategies import Chain, Layer, Recipe, Root, Tie
        >>> parts = (Layer("dense"), Layer("dense"), Chain((0, 1)))
        >>> held = holdings(Recipe(parts, (Root(2),), (Tie(((0, "kernel"), (1, "kernel"))),)))
        >>> held[0, "kernel"] == held[1, "kernel"], held[0, "bias"] == held[1, "bias"]
        (True, False)
    """
    known = slots(recipe)
    held: dict[Slot, Held] = {}
    for number, path in known:
        part = recipe.parts[number]
        assert isinstance(part, Layer)
        alias = path in KINDS[part.kind].aliases
        held[number, path] = Held((number, variables_of(part.kind, part.on)[0].path if alias else path))
    for change in recipe.changes:
        if isinstance(change, Untie):
            held[change.slot] = Held(("own", change.slot))
        elif isinstance(change, View):
            new = Held(held[change.source].origin, view_of(change).resolved(known[change.source].shape))
            held |= _followed(held, change.slot, new)
        elif isinstance(change, Tie):
            first, *others = change.slots
            for slot in others:
                held |= {slot: held[first]} if change.how != "tied" else _followed(held, slot, held[first])
    return held


def _followed(held: dict[Slot, Held], slot: Slot, new: Held) -> dict[Slot, Held]:
    """What changes if `tiedio.tie` gives a slot something new: all that holds the same."""
    return {other: new for other, one in held.items() if one == held[slot]}


def tidy(recipe: Recipe) -> Recipe:
    """Leaves out the parts that no root needs, with the changes and freezes that speak of them.

    Args:
        recipe: a recipe.

    Returns:
        The same models with fewer parts.
    """
    kept = sorted(reach(recipe.parts, (root.part for root in recipe.roots)))
    new = {old: number for number, old in enumerate(kept)}

    def step(one: Call | Op) -> Call | Op:
        if isinstance(one, Call):
            return dataclasses.replace(one, part=new[one.part])
        return dataclasses.replace(one, slot=(new[one.slot[0]], one.slot[1]))

    def renumber(part: Part) -> Part:
        if isinstance(part, Layer):
            return part if part.inner is None else dataclasses.replace(part, inner=new[part.inner])
        if isinstance(part, Graph):
            return dataclasses.replace(part, steps=tuple(step(one) for one in part.steps))
        if isinstance(part, Cut):
            return dataclasses.replace(part, graph=new[part.graph])
        return dataclasses.replace(part, parts=tuple(new[i] for i in part.parts))

    def moved(slot: Slot) -> Slot:
        return new[slot[0]], slot[1]

    changes: list[Change] = []
    for change in recipe.changes:
        if isinstance(change, Tie):
            left = tuple(moved(slot) for slot in change.slots if slot[0] in new)
            changes.extend([dataclasses.replace(change, slots=left)] if len(left) > 1 else [])
        elif isinstance(change, Attach):
            if change.part in new:
                changes.append(dataclasses.replace(change, part=new[change.part], slot=moved(change.slot)))
        elif isinstance(change, View):
            if {change.slot[0], change.source[0]} <= new.keys():
                changes.append(dataclasses.replace(change, slot=moved(change.slot), source=moved(change.source)))
        elif change.slot[0] in new:
            changes.append(Untie(moved(change.slot)))
    freezes: list[Freeze] = [
        dataclasses.replace(freeze, part=new[freeze.part]) for freeze in recipe.freezes if freeze.part in new
    ]
    return dataclasses.replace(
        recipe,
        parts=tuple(renumber(recipe.parts[old]) for old in kept),
        roots=tuple(dataclasses.replace(root, part=new[root.part]) for root in recipe.roots),
        changes=tuple(changes),
        freezes=tuple(freezes),
        inside=tuple(dataclasses.replace(one, part=new[one.part]) for one in recipe.inside if one.part in new),
    )
