"""Manifest and table → scene: the parts that can be drawn, what each takes, who calls whom, and the ties."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tiedio.container.header import span_of
from tiedio.manifest import SAFETENSORS_CODES, Manifest, Object, Variable
from tiedio.picture.table import Call, Entry, Table
from tiedio.views import View

_DEEPEST = 200  # segments of a path; models nest a few levels deep


@dataclass(frozen=True, slots=True)
class Part:
    """An object that is drawn: a model, a layer or an operation.

    Args:
        number: its number in the manifest.
        name: its path below the part around it; of a root its name.
        path: its canonical path.
        class_name: its class.
        parent: the number of the part around it, or `None`.
        trainable: its flag, or `None` if it has none.
        also: other places that hold it, below other parts.
        size: bytes of the variables that are its own, each where it is stored.
        parameters: numbers in them.
        trains: whether a variable of its own is trainable.
    """

    number: int
    name: str
    path: str
    class_name: str
    parent: int | None
    trainable: bool | None
    also: tuple[str, ...]
    size: int
    parameters: int
    trains: bool


@dataclass(frozen=True, slots=True)
class Link:
    """An output of one part goes into another: numbers of parts, and of their calls; output and input, from 0."""

    source: int
    target: int
    source_call: int
    target_call: int
    output: int
    input: int


@dataclass(frozen=True, slots=True)
class End:
    """A slot of a tie: the part that has it, the weight's name there, and the view that it holds."""

    part: int
    weight: str
    path: str
    view: View | None


@dataclass(frozen=True, slots=True)
class TieMark:
    """A tie, by its number from 1: its ends, the canonical one first, and the bytes that sharing saves."""

    number: int
    ends: tuple[End, ...]
    saved: int


@dataclass(frozen=True, slots=True)
class Scene:
    """All that can be drawn. `children` has them in the order in which they run; roots stand under `None`."""

    parts: dict[int, Part]
    children: dict[int | None, tuple[int, ...]]
    links: tuple[Link, ...]
    ties: tuple[TieMark, ...]
    entries: tuple[Entry, ...]
    calls: tuple[Call, ...]
    called: Mapping[int, int]
    """How often each part is called."""
    outputs: Mapping[int, str]
    """Shapes of outputs, where they are known."""


def bytes_of(dtype: str, shape: Sequence[int]) -> int:
    """The size of a tensor.

    Example:
        >>> bytes_of("bfloat16", (2, 3))
        12
    """
    return span_of(SAFETENSORS_CODES.get(dtype, ""), shape) or 0


def scene_of(manifest: Manifest, table: Table | None, outputs: Mapping[int, str] | None = None) -> Scene:
    """What can be drawn of a manifest.

    Args:
        manifest: the manifest.
        table: its structure; `None` for a file of weights only, whose graphs nobody knows.
        outputs: shapes of outputs by number of the object, where they are known better than from the structure.
    """
    entries = table.entries if table is not None else (Entry(),) * len(manifest.objects)
    calls = table.calls if table is not None else ()
    called = Counter(call.operation for call in calls)
    houses = _Houses.of(manifest, called)
    sizes, parameters, trains = _weigh(manifest, houses)
    parts = {}
    for n in sorted(houses.drawn):
        record, parent = manifest.objects[n], houses.parents[n]
        parts[n] = Part(
            number=n,
            name=_name(record, entries[n], houses, parent),
            path=record.path,
            class_name=record.class_name,
            parent=parent,
            trainable=record.trainable,
            also=houses.elsewhere(record, n),
            size=sizes[n],
            parameters=parameters[n],
            trains=n in trains,
        )
    links = _links(entries, calls)
    return Scene(
        parts=parts,
        children=_children(parts, entries, calls),
        links=links,
        ties=_ties(manifest, houses),
        entries=entries,
        calls=calls,
        called=called,
        outputs={**_known_shapes(entries, calls, links), **(outputs or {})},
    )


@dataclass(frozen=True, slots=True)
class _Houses:
    """Where everything lives: objects by place, those that are drawn, and for each object the drawn one around it."""

    places: dict[str, int]
    drawn: set[int]
    parents: dict[int, int | None]
    homes: dict[int, str]
    roots: dict[int, str | None]

    @staticmethod
    def of(manifest: Manifest, called: Mapping[int, int]) -> _Houses:
        places = {place: n for n, record in enumerate(manifest.objects) for place in record.paths}
        roots = {places[root.path]: root.name for root in manifest.roots}
        drawn = {
            n for n, record in enumerate(manifest.objects) if record.trainable is not None or n in called or n in roots
        }
        homes = {n: min(record.paths, key=_depth) for n, record in enumerate(manifest.objects)}
        parents: dict[int, int | None] = {}
        for n, home in homes.items():
            # A place around it is of something whose own home is less deep: this goes round in no circle.
            around = (places[place] for place in _around(home) if place in places)
            parents[n] = None if n in roots else next((m for m in around if m in drawn and m != n), None)
        return _Houses(places, drawn, parents, homes, roots)

    def part_of(self, n: int) -> int | None:
        return n if n in self.drawn else self.parents[n]

    def owner(self, slot: str) -> tuple[int, str] | None:
        """The object that has a slot, and the weight's name there."""
        before, mark, after = slot.partition("@node/")
        if mark:
            operation = self.places.get(before + after.partition("/")[0])
            if operation is not None:
                return operation, "argument"
        for place in _around(slot):
            if place in self.places:
                return self.places[place], slot[len(place) :].lstrip("/")
        return None

    def elsewhere(self, record: Object, n: int) -> tuple[str, ...]:
        """Places of an object that are not below the part that it is drawn in."""
        if n in self.roots:
            return tuple(place for place in record.paths if place != self.homes[n])
        around = self.parents[n]
        found = []
        for place in record.paths:
            near = (self.places[above] for above in _around(place) if above in self.places)
            if next((self.part_of(m) for m in near), None) != around:
                found.append(place)
        return tuple(found)


def _depth(place: str) -> int:
    return place.count("/") + 1 if place else 0


def _around(place: str) -> Iterator[str]:
    """The places around a place, from the nearest to the root without a name; of what is too deep, the outer ones.

    There would be gigabytes of them around a place of a megabyte.
    """
    if place.count("/") > _DEEPEST:
        place = "/".join(place.split("/", _DEEPEST)[:_DEEPEST]) + "/…"
    while place:
        place = place.rpartition("/")[0]
        yield place


def _name(record: Object, entry: Entry, houses: _Houses, parent: int | None) -> str:
    if record.path in houses.places and houses.places[record.path] in houses.roots:
        root = houses.roots[houses.places[record.path]]
        return root if root is not None else entry.name or record.class_name
    home = houses.homes[houses.places[record.path]]
    if parent is None:
        return home
    # The part around it may be reached by another of its places than its own home.
    for place in _around(home):
        if place in houses.places and houses.part_of(houses.places[place]) == parent:
            return home[len(place) :].lstrip("/")
    return home


def _weigh(manifest: Manifest, houses: _Houses) -> tuple[Counter[int], Counter[int], set[int]]:
    """Bytes, parameters, and whether something trains, of each part."""
    sizes: Counter[int] = Counter()
    parameters: Counter[int] = Counter()
    trains = set()
    for variable in _of_models(manifest):
        found = houses.owner(variable.slots[0].path)
        part = None if found is None else houses.part_of(found[0])
        if found is None or part is None:
            continue
        sizes[part] += bytes_of(variable.dtype, variable.shape)
        if manifest.objects[found[0]].trainable is not None:  # the state of a seed generator is no parameter
            parameters[part] += math.prod(variable.shape)
        if variable.trainable:
            trains.add(part)
    return sizes, parameters, trains


def _of_models(manifest: Manifest) -> Iterator[Variable]:
    optimizers = tuple(f"{optimizer.path}/" for optimizer in manifest.optimizers)
    return (variable for variable in manifest.variables if not variable.slots[0].path.startswith(optimizers))


def _ties(manifest: Manifest, houses: _Houses) -> tuple[TieMark, ...]:
    marks: list[TieMark] = []
    for variable in _of_models(manifest):
        if len(variable.slots) < 2:
            continue
        ends = []
        for slot in variable.slots:
            found = houses.owner(slot.path)
            part = None if found is None else houses.part_of(found[0])
            if found is not None and part is not None:
                ends.append(End(part, found[1], slot.path, slot.view))
        saved = (len(variable.slots) - 1) * bytes_of(variable.dtype, variable.shape)
        marks.append(TieMark(len(marks) + 1, tuple(ends), saved))
    return tuple(marks)


def _children(
    parts: Mapping[int, Part], entries: Sequence[Entry], calls: Sequence[Call]
) -> dict[int | None, tuple[int, ...]]:
    """The parts in each part, in the order in which its graph runs them, then in that of the manifest."""
    found: dict[int | None, list[int]] = {}
    for n, part in parts.items():
        found.setdefault(part.parent, []).append(n)
    ordered: dict[int | None, tuple[int, ...]] = {}
    for parent, members in found.items():
        entry = Entry() if parent is None else entries[parent]
        runs = entry.layers or tuple(calls[call].operation for call in entry.nodes)
        rank: dict[int, int] = {}
        for n in runs:
            rank.setdefault(n, len(rank))
        ordered[parent] = tuple(sorted(members, key=lambda n: (rank.get(n, len(rank)), n)))
    return ordered


def _links(entries: Sequence[Entry], calls: Sequence[Call]) -> tuple[Link, ...]:
    links = []
    for call in calls:
        for position, (source, output) in enumerate(call.sources):
            made = calls[source]
            links.append(Link(made.operation, call.operation, made.number, call.number, output, position))
    for entry in entries:
        if entry.kind == "sequential":
            times: Counter[int] = Counter()
            steps = []
            for n in entry.layers:
                steps.append((n, times[n]))
                times[n] += 1
            links += [Link(a, b, i, j, 0, 0) for (a, i), (b, j) in itertools.pairwise(steps)]
    return tuple(dict.fromkeys(links))


def _known_shapes(entries: Sequence[Entry], calls: Sequence[Call], links: Sequence[Link]) -> dict[int, str]:
    """Shapes of outputs that the structure tells: of inputs, and of what alone goes into a layer."""
    takes = Counter((link.target, link.target_call) for link in links)
    shapes: dict[int, str] = {}
    for link in links:
        shape = entries[link.target].input_shape
        if link.target_call == 0 and link.output == 0 and takes[link.target, 0] == 1 and shape is not None:
            shapes.setdefault(link.source, shape)
    fed = {link.target for link in links}
    for call in calls:
        n, shape = call.operation, entries[call.operation].input_shape
        if shape is not None and n not in fed and not call.sources and entries[n].kind == "object":
            shapes.setdefault(n, shape)
    return shapes
