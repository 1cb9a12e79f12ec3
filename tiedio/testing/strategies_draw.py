"""Draws recipes: a few layers first, models out of them, then what they share, freeze and learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hypothesis import strategies as st

from tiedio.testing.strategies_changes import counts, draw_changes, draw_compile, draw_freezes, draw_inside, one_in
from tiedio.testing.strategies_facts import (
    between,
    calls,
    cost,
    depth,
    is_model,
    references,
    signature,
    sources,
    tidy,
)
from tiedio.testing.strategies_recipe import (
    Call,
    Chain,
    Cut,
    Graph,
    Layer,
    Op,
    Part,
    Recipe,
    Root,
    Slot,
    Subclass,
)
from tiedio.testing.strategies_table import FREE_DTYPE, KINDS, POLICIES, RECURRENT, WIDTH, variables_of

ODD_NAMES = ("a", "A", "a.b", "..", "0", "kernel")
"""Names that Keras and TensorFlow allow and that a path made of names would stumble over."""

STRANGE_NAMES = ("", " ", ":0", "two\nlines", "na\u00efve", "a=b", "x\\y")
"""Names that Keras allows and that TensorFlow takes only as long as nothing is traced into a graph."""

MOST = 6
"""How many layers a model may call that stands in another one: three levels are soon slow."""

# What has variables stands there twice, to be drawn more often, and what has a rare role three times; cells are
# drawn only inside others.
_RARE = ("batch_norm", "dropout")
_PLAIN = [
    kind
    for kind, row in KINDS.items()
    if row.on
    for _ in range(3 if kind in _RARE else 1 + bool(row.variables or row.inner))
]
_INSIDE = {"rnn": "seq", "stacked_rnn": "seq", "time_distributed": "vec"}
_FUNCTIONS = {(WIDTH, WIDTH): "matmul", (WIDTH,): "add"}


@st.composite
def recipes(draw: st.DrawFn, *, max_layers: int = 6, max_models: int = 3, max_cost: int = 100) -> Recipe:
    """Recipes of random models with sharing, smallest first.

    Args:
        draw: given by hypothesis.
        max_layers: how many layers are drawn at most, beside those that others wrap.
        max_models: how many models are made of them at most.
        max_cost: how much each of the models may cost to call, counted in dense layers.

    Returns:
        A strategy.

    Example:
        >>> from hypothesis import given, settings
        >>> from tiedio.testing.strategies import recipes
        >>> @settings(deadline=None, max_examples=5, derandomize=True, database=None)
        ... @given(recipes())
        ... def test_a_recipe_names_what_is_saved(recipe):
        ...     assert recipe.roots
        >>> test_a_recipe_names_what_is_saved()
    """
    parts: list[Part] = []
    for _ in range(draw(counts(1, max_layers))):
        _draw_layer(draw, parts)
    models = draw(counts(1, max_models))
    for number in range(models):
        # The last one often gathers what is there, so that there is something to share and to tie.
        gather = number == models - 1 and one_in(draw, 2)
        _draw_model(draw, parts, gather=gather, budget=max_cost)
    recipe = tidy(Recipe(tuple(parts), _draw_roots(draw, parts)))
    recipe = dataclasses.replace(recipe, parts=_draw_names(draw, recipe))
    recipe = _draw_dtypes(draw, recipe)
    recipe = dataclasses.replace(recipe, changes=draw_changes(draw, recipe))
    recipe = dataclasses.replace(recipe, freezes=draw_freezes(draw, recipe))
    strange = any(part.name in STRANGE_NAMES for part in recipe.parts)
    roots = [dataclasses.replace(root, compile=draw_compile(draw, recipe, eager=strange)) for root in recipe.roots]
    recipe = dataclasses.replace(recipe, inside=draw_inside(draw, recipe, eager=strange))
    return dataclasses.replace(recipe, roots=tuple(roots), seed=draw(counts(0, 3)))


def _draw_layer(draw: st.DrawFn, parts: list[Part]) -> None:
    like = [part for part in parts if isinstance(part, Layer) and KINDS[part.kind].on]
    typed = [part for part in like if part.kind == "typed"]
    if len(typed) == 1 and one_in(draw, 2):  # only another one of this kind has variables of its dtypes
        parts.append(typed[0])
        return
    if like and one_in(draw, 2):  # a second one of a kind, so that there is something to tie
        parts.append(draw(st.sampled_from(like)))
        return
    kind = draw(st.sampled_from(_PLAIN))
    options = sorted(KINDS[kind].on)
    on = options[draw(counts(0, 3)) % len(options)]  # a choice even of one, or else one would count as simpler
    inner = None
    if wanted := KINDS[kind].inner:
        # A part that is there already comes first: what is wrapped is then shared.
        there = [i for i, part in enumerate(parts) if isinstance(part, Layer) and _fits(kind, on, part)]
        if there and one_in(draw, 2):
            inner = draw(st.sampled_from(there))
        else:
            inside = draw(st.sampled_from(wanted))
            parts.append(Layer(inside, on=_INSIDE.get(kind, on)))
            inner = len(parts) - 1
    parts.append(Layer(kind, on=on, inner=inner))


def _fits(kind: str, on: str, inside: Layer) -> bool:
    if inside.kind not in KINDS[kind].inner:
        return False
    return inside.on == _INSIDE.get(kind, on)


def _draw_model(draw: st.DrawFn, parts: list[Part], *, gather: bool, budget: int) -> None:
    small = [i for i in range(len(parts)) if depth(parts, i) < 3 and calls(parts, i) <= MOST]
    small = [i for i in small if cost(parts, i) <= budget]
    usable = [i for i in small if signature(parts, i)[0]]  # cells are called on nothing
    kind = "graph" if gather else draw(st.sampled_from(["graph", "chain", "graph", "subclass"]))
    if not usable:  # every layer is too dear
        parts.append(Layer("dense"))
        usable = [len(parts) - 1]
    if kind == "graph" or not (chain := _draw_chain(draw, parts, usable, budget)):
        parts.append(_draw_graph(draw, parts, usable, gather=gather, budget=budget))
        if (cuts := _cuts(parts, parts[-1])) and one_in(draw, 3):
            inputs, output = draw(st.sampled_from(cuts))
            parts.append(Cut(len(parts) - 1, inputs, (output,)))
    elif kind == "chain":
        parts.append(Chain(chain, deferred=one_in(draw, 2)))
    else:
        container = draw(st.sampled_from(["list", "dict", "tuple", "nested"]))
        parts.append(Subclass(chain, container, draw(st.integers(1, 2))))


def _draw_chain(draw: st.DrawFn, parts: list[Part], usable: Sequence[int], budget: int) -> tuple[int, ...]:
    """Parts that can be called one after the other; none if nothing takes and gives one value."""
    single = [i for i in usable if tuple(map(len, signature(parts, i))) == (1, 1) and not _named(parts[i])]
    if not single:
        return ()
    chosen = [draw(st.sampled_from(single))]
    for _ in range(draw(counts(0, 3))):
        left = budget - sum(cost(parts, i) for i in chosen)
        single = [i for i in single if cost(parts, i) <= left]
        after = [i for i in single if signature(parts, i)[0] == signature(parts, chosen[-1])[1]]
        if not after:
            break
        again = [i for i in after if i in chosen]  # to use one of them again is what sharing is about
        chosen.append(draw(st.sampled_from(again if again and one_in(draw, 2) else after)))
    return tuple(chosen)


def _named(part: Part) -> bool:
    return isinstance(part, Graph) and part.named


def _draw_graph(draw: st.DrawFn, parts: list[Part], usable: Sequence[int], *, gather: bool, budget: int) -> Graph:
    """Calls parts on what is there, and on new inputs; what nobody takes is returned."""
    values: list[tuple[str, int]] = []  # kind, and the number of the step that made it, -1 for an input
    steps: list[Call | Op] = []
    taken: set[int] = set()
    least = min(len(usable), 6) if gather else 1
    for number in range(draw(counts(least, 6))):
        slot = _draw_borrowed(draw, parts, values)
        if slot is not None:
            arg, function, where = slot
            taken.add(arg)
            steps.append(Op(function, arg, where))
            values.append((values[arg][0], number))
            continue
        before = {step.part for step in steps if isinstance(step, Call)}
        left = budget - sum(cost(parts, step.part) for step in steps if isinstance(step, Call))
        usable = [i for i in usable if cost(parts, i) <= left]
        if not usable:
            break
        there = {kind for kind, _ in values}
        rest = [i for i in usable if i not in before] if gather else []
        part = _draw_part(draw, parts, rest or usable, there, before)
        args = tuple(_draw_argument(draw, kind, values) for kind in signature(parts, part)[0])
        taken.update(args)
        steps.append(Call(part, args))
        values.extend((kind, number) for kind in signature(parts, part)[1])
    # Inputs come first in a recipe: they move to the front, everything else keeps its order.
    order = sorted(range(len(values)), key=lambda i: (values[i][1] >= 0, i))
    new = {old: number for number, old in enumerate(order)}
    return Graph(
        tuple(values[i][0] for i in order if values[i][1] < 0),
        tuple(
            dataclasses.replace(step, args=tuple(new[i] for i in step.args))
            if isinstance(step, Call)
            else dataclasses.replace(step, arg=new[step.arg])
            for step in steps
        ),
        tuple(new[i] for i in order if i not in taken),
        named=one_in(draw, 8),
    )


def _draw_part(draw: st.DrawFn, parts: Sequence[Part], usable: Sequence[int], there: set[str], before: set[int]) -> int:
    """What a step calls: often something new, or a model, and mostly what fits on values that are there."""
    ready = [i for i in usable if set(signature(parts, i)[0]) <= there]
    options = ready if ready and not one_in(draw, 4) else list(usable)
    preferred: dict[str, list[int]] = {
        "any": options,
        "new": [i for i in options if i not in before],
        "model": [i for i in options if is_model(parts[i])],
        "again": [i for i in options if i in before],
    }
    which = draw(st.sampled_from(["any", "new", "model", "new", "again"]))
    return draw(st.sampled_from(preferred[which] or options))


def _draw_argument(draw: st.DrawFn, kind: str, values: list[tuple[str, int]]) -> int:
    there = [i for i, (other, _) in enumerate(values) if other == kind]
    inputs = sum(made < 0 for _, made in values)
    if there and (inputs >= 3 or not one_in(draw, 4)):
        return draw(st.sampled_from(there[::-1]))
    values.append((kind, -1))
    return len(values) - 1


def _draw_borrowed(draw: st.DrawFn, parts: list[Part], values: list[tuple[str, int]]) -> tuple[int, str, Slot] | None:
    """Sometimes an op on a live variable: of a layer of the graph, of another model, or of none."""
    args = [i for i, (kind, _) in enumerate(values) if kind in ("seq", "vec")]
    lent = [
        ((number, variable.path), _FUNCTIONS[variable.shape])
        for number, part in enumerate(parts)
        if isinstance(part, Layer) and KINDS[part.kind].borrow
        for variable in variables_of(part.kind, part.on)
    ]
    if not args or not lent or not one_in(draw, 8):
        return None
    if one_in(draw, 3):  # a layer that no model holds
        parts.append(Layer("dense", on="vec"))
        lent = [((len(parts) - 1, v.path), _FUNCTIONS[v.shape]) for v in variables_of("dense", "vec")]
    slot, function = draw(st.sampled_from(lent))
    return draw(st.sampled_from(args)), function, slot


def _cuts(parts: Sequence[Part], graph: Part) -> list[tuple[tuple[int, ...], int]]:
    """Ways to cut a model out of another: from its inputs, or a value in its middle, up to a value."""
    assert isinstance(graph, Graph)
    origin = sources(parts, graph)
    found = []
    for output in range(len(graph.inputs), len(origin)):
        for start in (None, *range(len(graph.inputs), output)):
            steps, ends = between(parts, graph, [] if start is None else [start], [output])
            if not steps or not (start is None or start in ends):
                continue
            # Of several values of a step only some may lead to the output: layers would get no gradient.
            if any(sum(one is not None and one[0] == step for one in origin) > 1 for step in steps):
                continue
            # Keras 3.15.1 cannot cut behind a layer that is called again later: it takes it for the input.
            made = None if start is None else origin[start]
            if made is None or not {_called(graph, step) for step in steps} & {_called(graph, made[0])}:
                found.append((tuple(sorted(ends)), output))
    return found


def _called(graph: Graph, step: int) -> int:
    one = graph.steps[step]
    return one.part if isinstance(one, Call) else -1 - step


def _draw_dtypes(draw: st.DrawFn, recipe: Recipe) -> Recipe:
    """Sometimes a global dtype policy, and sometimes layers with one of their own."""
    if one_in(draw, 8):
        recipe = dataclasses.replace(recipe, policy=draw(st.sampled_from(_policies(recipe.parts))))
    if not one_in(draw, 6):
        return recipe
    parts = list(recipe.parts)
    inner = {part.inner for part in parts if isinstance(part, Layer)}
    for number, part in enumerate(parts):
        # What stands inside of another layer runs on what that one hands it.
        if isinstance(part, Layer) and part.kind in FREE_DTYPE and number not in inner and one_in(draw, 2):
            parts[number] = dataclasses.replace(part, dtype=draw(st.sampled_from(_policies([part]))))
    return dataclasses.replace(recipe, parts=tuple(parts))


def _policies(parts: Sequence[Part]) -> list[str]:
    """The policies for some parts. Keras 3.15.1 draws recurrent kernels by TensorFlow's QR, which takes no bfloat16."""
    recurrent = any(isinstance(part, Layer) and part.kind in RECURRENT for part in parts)
    return [policy for policy in sorted(POLICIES) if not (recurrent and policy == "bfloat16")]


def _draw_roots(draw: st.DrawFn, parts: Sequence[Part]) -> tuple[Root, ...]:
    models = [i for i in range(len(parts)) if is_model(parts[i]) and signature(parts, i)[0]]
    others = st.lists(st.sampled_from(models[-2::-1]), max_size=2, unique=True) if models[1:] else st.just([])
    several = one_in(draw, 2) and draw(others)
    if not several and not one_in(draw, 8):
        return (Root(models[-1]),)
    names = draw(st.permutations(["encoder", "b.c:0", ""]))
    return tuple(Root(part, name) for part, name in zip([models[-1], *(several or [])], names, strict=False))


def _calls_another(part: Layer | Subclass) -> bool:
    return isinstance(part, Layer) and part.kind == "given"


def _draw_names(draw: st.DrawFn, recipe: Recipe) -> tuple[Part, ...]:
    """Odd names, the same one twice where Keras allows it: not in one functional or sequential model."""
    parts = list(recipe.parts)
    if not one_in(draw, 4):
        return recipe.parts
    # A model without a build() of its own is traced. Keras 3.15.1 swallows the failure and leaves the name in
    # its global stack of name scopes: the paths of the variables of every later model begin with it.
    # So is a layer of one's own that calls another one, to find out what it gives.
    traced = any(isinstance(part, Layer | Subclass) and (is_model(part) or _calls_another(part)) for part in parts)
    names = ODD_NAMES if traced else ODD_NAMES + STRANGE_NAMES
    beside: dict[int, set[int]] = {number: set() for number in range(len(parts))}
    for number, part in enumerate(parts):
        if isinstance(part, Graph | Chain):
            held = set(references(parts, number, called=True))
            for one in held:
                beside[one] |= held - {one}
    for number, part in enumerate(parts):
        name = draw(st.sampled_from((None, *names)))
        if name not in {parts[other].name for other in beside[number]}:
            parts[number] = dataclasses.replace(part, name=name)
    return tuple(parts)
