"""Scene → frame: which parts are boxes, which are frames around others, and what is folded into one box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tiedio.picture.scene import Scene

READABLE = 48
"""Boxes that a picture has at most, as long as nothing else is asked for."""

_LONGEST_PERIOD = 12
_BROADCAST = 4  # what goes to more parts than this, such as a mask, does not hold blocks together
_DEEPEST = 20  # frames around each other
_FEWEST = 4  # boxes in a frame
_MOST_INPUTS = 8
_WORTH_FOLDING = 4  # parts
_LARGEST = 60  # parts of a block


@dataclass(frozen=True, slots=True)
class Box:
    """One box: a part, or several that were folded.

    Args:
        members: numbers of the parts, in the order in which they run.
        repeats: how often the same block stands here; 1 for a single part, and for a block that nothing repeats.
    """

    members: tuple[int, ...]
    repeats: int = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """A part that is drawn as a frame around others."""

    part: int
    items: tuple[Box | Frame, ...]


def framed(scene: Scene, *, nested: bool, fold: bool | int) -> tuple[Box | Frame, ...]:
    """What is drawn, from the outside in.

    Args:
        scene: all that could be drawn.
        nested: whether models and layers inside of others are opened.
        fold: how many boxes there may be before blocks are folded; `True` for 48, `False` for no limit.
    """
    most = READABLE if fold is True else max(1, int(fold)) if fold else None
    roots = scene.children.get(None, ())
    opened = _opened(scene, roots, nested, most)
    drawn = sum(1 for n in [*roots, *(child for n in opened for child in scene.children[n])] if n not in opened)

    def build(members: Sequence[int]) -> tuple[Box | Frame, ...]:
        items = [Frame(n, build(scene.children[n])) if n in opened else Box((n,)) for n in members]
        if most is None or drawn <= most:
            return tuple(items)
        return _folded(items, scene, max(_FEWEST, most * len(items) // drawn))

    return build(roots)


def boxes(items: Sequence[Box | Frame]) -> Iterator[Box]:
    """All boxes, in order."""
    for item in items:
        if isinstance(item, Box):
            yield item
        else:
            yield from boxes(item.items)


def _opened(scene: Scene, roots: Sequence[int], nested: bool, most: int | None) -> set[int]:
    """The parts that are drawn as frames: roots, and others as far as they may."""
    opened: set[int] = set()
    level = [n for n in roots if scene.children.get(n)]
    for _ in range(_DEEPEST if nested else 1):
        # What is in a frame can be folded, but not to less than a few boxes.
        if most is not None and len(opened) + len(level) > max(1, most // _FEWEST):
            break
        opened.update(level)
        level = [child for n in level for child in scene.children[n] if scene.children.get(child)]
    return opened


def _folded(items: Sequence[Box | Frame], scene: Scene, most: int) -> tuple[Box | Frame, ...]:
    """Folds the boxes that stand beside each other until there are not more than `most` of them."""
    found: list[Box | Frame] = []
    run: list[int] = []
    for item in (*items, None):
        if isinstance(item, Box):
            run += item.members
        else:
            found += _fold_run(run, scene, max(1, most * len(run) // len(items))) if run else ()
            run = []
            found += () if item is None else (item,)
    return tuple(found)


def _fold_run(order: Sequence[int], scene: Scene, most: int) -> list[Box]:
    inputs = [n for n in order if scene.parts[n].class_name == "InputLayer"]
    first = [Box(tuple(inputs), len(inputs))] if len(inputs) > _MOST_INPUTS else [Box((n,)) for n in inputs]
    most = max(1, most - len(first))
    blocks = _blocks([n for n in order if n not in {*inputs}], scene)
    merged = _merged([part for block in blocks for part in _cut(block)], scene)
    loose = [box for box in merged for box in ([box] if box.repeats > 1 else [Box((n,)) for n in box.members])]
    tight = loose if len(loose) <= most else merged
    if len(tight) > most:
        length = -(-len(tight) // most)
        chunks = (tight[i : i + length] for i in range(0, len(tight), length))
        tight = [
            chunk[0] if len(chunk) == 1 else Box(tuple(n for box in chunk for n in box.members)) for chunk in chunks
        ]
    return [*first, *tight]


def _blocks(order: Sequence[int], scene: Scene) -> list[tuple[int, ...]]:
    """Cuts an order of parts after each part that alone hands on all that was made so far.

    A chain falls into single parts, a residual net into its blocks.
    """
    position = {n: i for i, n in enumerate(order)}
    targets: dict[int, set[int]] = {}
    for link in scene.links:
        if link.source in position and link.target in position and link.source != link.target:
            targets.setdefault(link.source, set()).add(link.target)
    onward, backward = list(range(len(order))), list(range(len(order)))
    for source, found in targets.items():
        here = position[source]
        for there in (position[target] for target in found if len(found) <= _BROADCAST):
            if there > here:
                onward[here] = max(onward[here], there)
            else:
                backward[there] = max(backward[there], here)
    blocks: list[tuple[int, ...]] = []
    start = crossing = 0
    for i in range(len(order)):
        crossing = max(crossing, backward[i])
        if crossing <= i:
            blocks.append(tuple(order[start : i + 1]))
            start = i + 1
        crossing = max(crossing, onward[i])
    return blocks if start == len(order) else [*blocks, tuple(order[start:])]


def _cut(block: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """A block in pieces, if it is so large that a box of it would say nothing."""
    length = -(-len(block) // -(-len(block) // _LARGEST))
    return (block[i : i + length] for i in range(0, len(block), length))


def _merged(blocks: Sequence[tuple[int, ...]], scene: Scene) -> list[Box]:
    """Blocks as boxes, in one box those that repeat each other: of the same classes in the same order."""
    found = [Box(block) for block in blocks]
    for period in range(
        1, _LONGEST_PERIOD + 1
    ):  # small ones first: a stage is many alike blocks, not a part of two stages
        found = list(_merged_by(period, found, scene))
    return found


def _merged_by(period: int, found: Sequence[Box], scene: Scene) -> Iterator[Box]:
    number: dict[tuple[str, ...], int] = {}
    # What is merged already is like nothing else.
    alike = [
        -1 - i
        if box.repeats > 1
        else number.setdefault(tuple(scene.parts[n].class_name for n in box.members), len(number))
        for i, box in enumerate(found)
    ]
    at = 0
    while at < len(found):
        times = 1
        while alike[at + times * period : at + (times + 1) * period] == alike[at : at + period]:
            times += 1
        run = tuple(n for box in found[at : at + times * period] for n in box.members)
        if times > 1 and len(run) >= _WORTH_FOLDING:
            yield Box(run, times)
            at += times * period
        else:
            yield found[at]
            at += 1
