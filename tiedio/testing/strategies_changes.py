"""Draws what is done to models once they are built: ties, freezes, optimizers and training steps."""

from __future__ import annotations

import dataclasses
import itertools
import math
import operator
from collections.abc import Iterable

from hypothesis import strategies as st

from tiedio.testing.strategies_facts import holdings, is_model, reach, slots
from tiedio.testing.strategies_optimizers import FLOAT32_ONLY, OPTIMIZERS, OPTIONS
from tiedio.testing.strategies_recipe import (
    Attach,
    Chain,
    Change,
    Compile,
    Cut,
    Freeze,
    Graph,
    Layer,
    Op,
    Recipe,
    Root,
    Slot,
    Tie,
    Untie,
    View,
)
from tiedio.testing.strategies_table import KINDS, WIDTH


def counts(low: int, high: int) -> st.SearchStrategy[int]:
    """Each number alike: `integers` would mostly draw the smallest.

    Args:
        low: the smallest number.
        high: the largest.

    Returns:
        A strategy.
    """
    return st.sampled_from(range(low, high + 1))


def one_in(draw: st.DrawFn, number: int) -> bool:
    """Something that happens once in so many times, and not in the smallest example.

    Args:
        draw: given by hypothesis.
        number: in how many times.

    Returns:
        Whether it happens.
    """
    return draw(st.sampled_from(range(number))) == number - 1


def draw_changes(draw: st.DrawFn, recipe: Recipe) -> tuple[Change, ...]:
    """Ties between slots that fit, of any layers or of one, and slots that lose what their class's code ties.

    Args:
        draw: given by hypothesis.
        recipe: the recipe so far.

    Returns:
        The changes, in order.
    """
    known = slots(recipe)
    groups: dict[object, list[Slot]] = {}
    for slot, variable in known.items():
        groups.setdefault((variable.shape, variable.role, variable.dtype), []).append(slot)
        if variable.role == "weight" and (variable.shape, variable.dtype) == ((WIDTH,), "float32"):
            groups.setdefault("mixed", []).append(slot)
    # A weight may take over a moving mean, which is not trained; the reverse could leave it without gradient.
    means = [slot for slot, one in known.items() if slot[1] == "moving_mean" and one.dtype == "float32"]
    mixed = groups.pop("mixed", [])
    choices = [group for group in groups.values() if len(group) > 1]
    changes: list[Change] = []
    for _ in range(draw(st.sampled_from((0, 1, 2, 1, 3))) if choices else 0):
        if means and mixed and one_in(draw, 3):
            taken = [draw(st.sampled_from(means)), draw(st.sampled_from(mixed))]
        else:
            role = draw(st.sampled_from(sorted({known[group[0]].role for group in choices}, reverse=True)))
            group = draw(st.sampled_from([group for group in choices if known[group[0]].role == role]))
            several = len({number for number, _ in group}) > 1 and not one_in(draw, 4)
            key = operator.itemgetter(0) if several else None  # one slot of each layer, or several of one
            one = st.sampled_from(group)
            taken = draw(st.lists(one, min_size=2, max_size=4, unique_by=key, unique=not several))
        seeds = any(known[slot].role == "seed" for slot in taken)  # no weights, which `tiedio.tie` is for
        # The plainest first: an example that needs a tie shrinks to a call of `tiedio.tie`.
        ways = ([] if seeds else ["tied"]) + ["in_place", "attribute"] * 2
        how = draw(st.sampled_from(ways))
        changes.append(Tie(tuple(taken), how))
    made = [
        (number, path)
        for number in sorted({slot[0] for slot in known})
        if isinstance(part := recipe.parts[number], Layer)
        for path in KINDS[part.kind].aliases
    ]
    if made and one_in(draw, 2):
        changes.append(Untie(draw(st.sampled_from(made))))
    changes += _draw_views(draw, dataclasses.replace(recipe, changes=tuple(changes)))
    changes += _draw_attached(draw, dataclasses.replace(recipe, changes=tuple(changes)))
    return tuple(changes)


def _draw_views(draw: st.DrawFn, recipe: Recipe) -> list[Change]:
    """Sometimes weights become views, of other weights that are none; not where another change has a hand in it."""
    if not one_in(draw, 2):
        return []
    known = slots(recipe)
    made: list[View] = []
    for _ in range(draw(st.sampled_from((1, 2)))):
        choices = _possible_views(dataclasses.replace(recipe, changes=(*recipe.changes, *made)))
        if not choices:
            break
        pairs = choices.get(made[0].view[0], []) if made else []
        shape = known[made[0].slot].shape if made else ()
        again = [(slot, one) for slot, one in pairs if one == made[0].source and known[slot].shape == shape]
        if again and not one_in(draw, 3):  # the view that is there already, in another slot
            made.append(View(*draw(st.sampled_from(again)), made[0].view))
            continue
        preferred = choices if one_in(draw, 3) else _rare(recipe, choices)
        name = draw(st.sampled_from(sorted(preferred, reverse=True)))
        slot, source = draw(st.sampled_from(preferred[name]))
        made.append(View(slot, source, _draw_view(draw, name, known[source].shape, known[slot].shape)))
    return [*made]


Pairs = dict[str, list[tuple[Slot, Slot]]]


def _possible_views(recipe: Recipe) -> Pairs:
    """For each kind of view the slots that could be one, each with a slot that could be its source."""
    known, held = slots(recipe), holdings(recipe)
    touched = {slot for one in recipe.changes for slot in (one.slots if isinstance(one, Tie) else (one.slot,))}
    seen = {one.origin for one in held.values() if one.view is not None}
    weights = [slot for slot, one in known.items() if one.role == "weight" and held[slot].view is None]
    found: Pairs = {}
    for slot in weights:
        if slot in touched or held[slot].origin in seen:
            continue
        for source in weights:
            one, other = known[slot], known[source]
            if slot[0] != source[0] and held[slot] != held[source] and one.dtype == other.dtype:
                for name in _fitting(other.shape, one.shape):
                    found.setdefault(name, []).append((slot, source))
    return found


def _rare(recipe: Recipe, choices: Pairs) -> Pairs:
    """Those whose slot is an argument of an op; else those of which a root holds one slot; else all."""
    steps = [step for part in recipe.parts if isinstance(part, Graph) for step in part.steps]
    lent = {step.slot for step in steps if isinstance(step, Op)}
    held = [reach(recipe.parts, [root.part], called=True) for root in recipe.roots]
    in_ops = {n: [pair for pair in pairs if pair[0] in lent] for n, pairs in choices.items()}
    across = {
        n: [(a, b) for a, b in pairs if any((a[0] in one) != (b[0] in one) for one in held)]
        for n, pairs in choices.items()
    }
    some = [{n: pairs for n, pairs in rare.items() if pairs} for rare in (in_ops, across)]
    return next((rare for rare in some if rare), choices)


def _fitting(source: tuple[int, ...], shape: tuple[int, ...]) -> Iterable[str]:
    """The kinds of views that give a weight of this shape and are more than the source as it is."""
    if _orders(source, shape):
        yield "transpose"
    if source != shape and math.prod(source) == math.prod(shape):
        yield "reshape"
    if source != shape and len(source) == len(shape) and all(n <= s for n, s in zip(shape, source, strict=True)):
        yield "slice"


def _orders(source: tuple[int, ...], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The orders of axes, other than the one they have, in which the source has this shape."""
    orders = list(itertools.permutations(range(len(source))))[1:]
    return [axes for axes in orders if tuple(source[axis] for axis in axes) == shape]


def _draw_view(draw: st.DrawFn, name: str, source: tuple[int, ...], shape: tuple[int, ...]) -> tuple[object, ...]:
    if name == "transpose":
        axes = draw(st.sampled_from(_orders(source, shape)))
        return (name,) if axes == tuple(reversed(range(len(axes)))) else (name, axes)
    if name == "reshape":
        return name, draw(st.sampled_from([shape, (-1, *shape[1:]), (*shape[:-1], -1)]))
    start = tuple(draw(counts(0, s - n)) for n, s in zip(shape, source, strict=True))
    rest = [a + n == s for a, n, s in zip(start, shape, source, strict=True)]
    left = one_in(draw, 3)  # told as what is left
    return name, start, tuple(-1 if left and last else n for n, last in zip(shape, rest, strict=True))


def _draw_attached(draw: st.DrawFn, recipe: Recipe) -> list[Change]:
    """Sometimes a variable of a layer becomes an attribute of the model: of one that Keras leaves open when built."""
    now = holdings(recipe)
    known = {slot: one for slot, one in slots(recipe).items() if now[slot].view is None}
    held = reach(recipe.parts, [root.part for root in recipe.roots], called=True)
    choices = {}
    for number in sorted(held):
        if isinstance(recipe.parts[number], Graph | Cut | Chain):
            below = reach(recipe.parts, [number], called=True)
            choices[number] = [slot for slot, one in known.items() if slot[0] in below and one.role == "weight"]
    models = [number for number, inside in choices.items() if inside]
    if not models or not one_in(draw, 8):
        return []
    model = draw(st.sampled_from(models))
    # Not in a list or dict: `save` refuses one that no code makes again.
    return [Attach(model, draw(st.sampled_from(choices[model])))]


def draw_freezes(draw: st.DrawFn, recipe: Recipe) -> tuple[Freeze, ...]:
    """At most two parts or variables that are not trained.

    Args:
        draw: given by hypothesis.
        recipe: the recipe so far.

    Returns:
        The freezes.
    """
    held = sorted(reach(recipe.parts, [root.part for root in recipe.roots], called=True))
    now = holdings(recipe)  # a view cannot be frozen
    weights = [slot for slot, one in slots(recipe).items() if one.role == "weight" and now[slot].view is None]
    freezes: list[Freeze] = []
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 1, 2)))):
        when = draw(st.sampled_from(["after", "before", "late"]))
        if weights and one_in(draw, 2):
            one = Freeze(*draw(st.sampled_from(weights)), when)
        else:
            one = Freeze(draw(st.sampled_from(held)), None, when)
        freezes += [one] if one not in freezes else []
    return tuple(freezes)


def draw_inside(draw: st.DrawFn, recipe: Recipe, *, eager: bool) -> tuple[Root, ...]:
    """Sometimes a model that is only inside a root is compiled too, as the discriminator of a generative pair is.

    Args:
        draw: given by hypothesis.
        recipe: the recipe so far.
        eager: whether it has to train eagerly.

    Returns:
        The model, if there is one.
    """
    held = reach(recipe.parts, [root.part for root in recipe.roots], called=True)
    models = [i for i in sorted(held - {root.part for root in recipe.roots}) if is_model(recipe.parts[i])]
    if not models or not one_in(draw, 6):
        return ()
    how = draw_compile(draw, recipe, eager=eager) or Compile()
    return (Root(draw(st.sampled_from(models)), compile=how),)


def draw_compile(draw: st.DrawFn, recipe: Recipe, *, eager: bool) -> Compile | None:
    """How a model is compiled, if it is.

    Args:
        draw: given by hypothesis.
        recipe: the recipe so far.
        eager: whether it has to train eagerly.

    Returns:
        The optimizer with its options and the steps, or `None`.
    """
    # Keras 3.15.1 cannot add the penalty of a variable in another dtype to the loss, which is float32.
    penalties = [
        part.dtype or recipe.policy for part in recipe.parts if isinstance(part, Layer) and part.kind == "penalized"
    ]
    if not one_in(draw, 2) or any(policy in ("bfloat16", "float64") for policy in penalties):
        return None
    steps = draw(counts(0, 2))
    eager = eager or not steps or not one_in(draw, 16)
    policies = {recipe.policy, *(part.dtype for part in recipe.parts if isinstance(part, Layer))}
    narrow = bool(policies & {"bfloat16", "float64"})
    late = any(freeze.when == "late" for freeze in recipe.freezes)
    optimizer = draw(
        st.sampled_from(
            [
                name
                for name in OPTIMIZERS
                # Of several optimizers in one, Keras refuses gradients for fewer variables than it was built for.
                if (not narrow or name not in FLOAT32_ONLY) and not (late and name == "multi")
            ]
        )
    )
    return Compile(optimizer, steps, eager, _draw_options(draw, optimizer, narrow=narrow))


def _draw_options(draw: st.DrawFn, optimizer: str, *, narrow: bool) -> tuple[str, ...]:
    if optimizer == "multi":  # its inner optimizers have options of their own
        return ()
    options = [option for option in OPTIONS if not narrow or option not in FLOAT32_ONLY]
    chosen = draw(st.lists(st.sampled_from(options), max_size=3, unique=True))
    if narrow and "accumulate" in chosen:
        # Keras 3.15.1 adds gradients that it scaled in float32 to an accumulator of another dtype: an error.
        chosen = [option for option in chosen if option != "loss_scale"]
    clips = [option for option in chosen if "clip" in option]
    chosen = [option for option in chosen if option not in clips[1:]]
    if any(option.startswith("exclude") for option in chosen) and "weight_decay" not in chosen:
        chosen.append("weight_decay")
    return tuple(option for option in OPTIONS if option in chosen)
