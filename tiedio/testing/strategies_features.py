"""Names what a recipe exercises, for the variety that a test demands and for hypothesis statistics."""

from __future__ import annotations

from collections import Counter

from tiedio.testing.strategies_facts import depth, holdings, reach, references, slots
from tiedio.testing.strategies_optimizers import OPTIMIZERS, OPTIONS
from tiedio.testing.strategies_recipe import (
    Attach,
    Call,
    Chain,
    Cut,
    Graph,
    Layer,
    Op,
    Recipe,
    Subclass,
    Tie,
    Untie,
    View,
)

FEATURES: tuple[str, ...] = (
    "functional",
    "several inputs",
    "several outputs",
    "dicts in and out",
    "variable in an op",
    "variable of no layer in an op",
    "cut from another model",
    "cut in the middle",
    "sequential",
    "deferred sequential",
    "layer twice in a sequential",
    "subclassed, list",
    "subclassed, dict",
    "subclassed, tuple",
    "subclassed, nested",
    "two call arguments",
    "layer twice in a subclassed model",
    "two levels",
    "three levels",
    "layer called twice in a graph",
    "model called twice in a graph",
    "layer inside a model and outside it",
    "layer in two models",
    "inner layer shared",
    "several roots",
    "dict of one root",
    "part in two roots",
    "tie",
    "tie of three or more",
    "tie in place",
    "tie by attribute",
    "tie by a call",
    "tie within a layer",
    "tie across layers",
    "ties that overlap in a layer",
    "tie across roots",
    "tie of a weight and a statistic",
    "tie of statistics",
    "tie of seeds",
    "tie taken away",
    "transpose",
    "reshape by a view",
    "slice",
    "view across roots",
    "view of a tied weight",
    "one view in several slots",
    "view in an op",
    "variable held by a model",
    "frozen part",
    "frozen variable",
    "frozen after training",
    *OPTIMIZERS,
    *OPTIONS,
    "global dtype policy",
    "dtype policy of a layer",
    "tie of variables with odd dtypes",
    "no steps",
    "one step",
    "two steps",
    "compiled steps",
    "model compiled inside another",
    "names that are odd",
)


_ROLES = {
    ("weight",): "tie",
    ("stat",): "tie of statistics",
    ("seed",): "tie of seeds",
    ("data",): "tie of variables with odd dtypes",
    ("stat", "weight"): "tie of a weight and a statistic",
}


def features(recipe: Recipe) -> frozenset[str]:
    """What a recipe exercises.

    Args:
        recipe: the recipe.

    Returns:
        Some of `FEATURES`, and the kinds of its layers.

    Example:
        >>> from tiedio.testing.strategies import Chain, Layer, Recipe, Root
        >>> sorted(features(Recipe((Layer("dense"), Chain((0, 0))), (Root(1),))))
        ['dense', 'layer twice in a sequential', 'sequential']
    """
    found = {part.kind for part in recipe.parts if isinstance(part, Layer)}
    if any(part.name is not None for part in recipe.parts):
        found.add("names that are odd")
    found |= {"global dtype policy"} if recipe.policy is not None else set()
    if any(isinstance(part, Layer) and part.dtype is not None for part in recipe.parts):
        found.add("dtype policy of a layer")
    for number in range(len(recipe.parts)):
        found |= _of_part(recipe, number)
    return frozenset(found | _of_sharing(recipe) | _of_changes(recipe) | _of_training(recipe))


def _of_part(recipe: Recipe, number: int) -> set[str]:
    part = recipe.parts[number]
    found: set[str] = set()
    if isinstance(part, Graph):
        found |= {"dicts in and out"} if part.named else set()
        found |= {"functional"} | _of_graph(recipe, part)
    if isinstance(part, Cut):
        graph = recipe.parts[part.graph]
        assert isinstance(graph, Graph)
        middle = any(value >= len(graph.inputs) for value in part.inputs)
        found |= {"cut in the middle" if middle else "cut from another model"}
    if isinstance(part, Chain):
        found |= {"deferred sequential" if part.deferred else "sequential"}
        found |= {"layer twice in a sequential"} if len(set(part.parts)) < len(part.parts) else set()
    if isinstance(part, Subclass):
        found |= {f"subclassed, {part.container}"} | ({"two call arguments"} if part.arguments > 1 else set())
        found |= {"layer twice in a subclassed model"} if len(set(part.parts)) < len(part.parts) else set()
    return found


def _of_graph(recipe: Recipe, graph: Graph) -> set[str]:
    found = {"several inputs"} if len(graph.inputs) > 1 else set()
    found |= {"several outputs"} if len(graph.outputs) > 1 else set()
    calls = Counter(step.part for step in graph.steps if isinstance(step, Call))
    inside = reach(recipe.parts, calls, called=True)
    for part, times in calls.items():
        if times > 1:
            level = depth(recipe.parts, part)
            found.add("model called twice in a graph" if level else "layer called twice in a graph")
        below = reach(recipe.parts, references(recipe.parts, part, called=True), called=True)
        found |= {"layer inside a model and outside it"} if below & set(calls) else set()
    for step in graph.steps:
        if isinstance(step, Op):
            found.add("variable in an op" if step.slot[0] in inside else "variable of no layer in an op")
    return found


def _of_sharing(recipe: Recipe) -> set[str]:
    parts, roots = recipe.parts, recipe.roots
    levels = max(depth(parts, root.part) for root in roots)
    found = {2: {"two levels"}, 3: {"three levels"}}.get(levels, set())
    models = [number for number in range(len(parts)) if not isinstance(parts[number], Layer)]
    holders = Counter(part for model in models for part in set(references(parts, model, called=True)))
    found |= {"layer in two models"} if any(times > 1 for times in holders.values()) else set()
    inner = Counter(part.inner for part in parts if isinstance(part, Layer) and part.inner is not None)
    found |= {"inner layer shared"} if any(n > 1 or holders[part] for part, n in inner.items()) else set()
    if len(roots) > 1:
        held = Counter(part for root in roots for part in reach(parts, [root.part], called=True))
        found |= {"several roots"} | ({"part in two roots"} if max(held.values()) > 1 else set())
    elif roots[0].name is not None:
        found.add("dict of one root")
    return found


def _of_changes(recipe: Recipe) -> set[str]:
    known = slots(recipe)
    attached = [change for change in recipe.changes if isinstance(change, Attach)]
    ties = [change for change in recipe.changes if isinstance(change, Tie)]
    found = {"tie"} if ties else set()
    found |= {"tie taken away"} if any(isinstance(change, Untie) for change in recipe.changes) else set()
    found |= {"variable held by a model"} if attached else set()
    touched: Counter[int] = Counter()
    for tie in ties:
        found.add({"in_place": "tie in place", "attribute": "tie by attribute", "tied": "tie by a call"}[tie.how])
        found |= {"tie of three or more"} if len(tie.slots) > 2 else set()
        owners = [number for number, _ in tie.slots]
        found |= {"tie within a layer"} if len(set(owners)) < len(owners) else set()
        touched.update(set(owners))
        roles = tuple(sorted({known[slot].role for slot in tie.slots}))
        found.add(_ROLES[roles])
        found |= {"tie across layers"} if len(set(owners)) > 1 else set()
        found |= {"tie across roots"} if _is_across_roots(recipe, set(owners)) else set()
    found |= _of_views(recipe)
    return found | ({"ties that overlap in a layer"} if any(n > 1 for n in touched.values()) else set())


def _is_across_roots(recipe: Recipe, owners: set[int]) -> bool:
    held = [reach(recipe.parts, [root.part], called=True) for root in recipe.roots]
    return any(0 < len(inside & owners) < len(owners) for inside in held)


def _of_views(recipe: Recipe) -> set[str]:
    found: set[str] = set()
    held = holdings(recipe)
    count = Counter(held.values())
    for one in recipe.changes:
        if isinstance(one, View):
            name = str(one.view[0])
            found.add("reshape by a view" if name == "reshape" else name)
            found |= {"view across roots"} if _is_across_roots(recipe, {one.slot[0], one.source[0]}) else set()
            found |= {"view of a tied weight"} if count[held[one.source]] > 1 else set()
            found |= {"one view in several slots"} if count[held[one.slot]] > 1 else set()
    steps = [step for part in recipe.parts if isinstance(part, Graph) for step in part.steps]
    ops = [held[step.slot] for step in steps if isinstance(step, Op) and step.slot in held]
    return found | ({"view in an op"} if any(one.view is not None for one in ops) else set())


def _of_training(recipe: Recipe) -> set[str]:
    found: set[str] = set()
    for freeze in recipe.freezes:
        late = freeze.when == "late" and any(root.compile and root.compile.steps for root in recipe.roots)
        found |= {"frozen after training"} if late else set()
        found.add("frozen part" if freeze.path is None else "frozen variable")
    found |= {"model compiled inside another"} if recipe.inside else set()
    for root in recipe.roots:
        if root.compile is not None:
            found |= {
                root.compile.optimizer,
                *root.compile.options,
                ("no steps", "one step", "two steps")[root.compile.steps],
            }
            found |= {"compiled steps"} if root.compile.steps and not root.compile.eager else set()
    return found
