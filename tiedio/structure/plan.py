"""The order in which a table is made again: objects, calls and models, each after what it needs.

A child that another object's own code makes (in its constructor or in `build`) is found at that object and
not made a second time; everything else is made from its config. A call of an operation comes after the
operation's earlier calls, so that `layer.output` and `layer.input` mean the same after loading.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tiedio import configs

Entry = dict[str, Any]
Item = tuple[str, int]


def found_at(objects: Sequence[Entry]) -> list[list[int]]:
    """For each object the positions in its `held` list where the owner's own code makes it; empty: made from config.

    An owner makes a child if neither its config nor its graph names the child. All children of an object
    that is itself found are found there. A child is never found at something that it needs itself.
    """
    needs = [_needs(entry) for entry in objects]
    result: list[list[int]] = [[] for _ in objects]
    for n, entry in enumerate(objects):
        for position, (owner, steps) in enumerate(entry["held"]):
            kind = objects[owner]["kind"]
            of_its_own = kind == "object" or (kind == "sequential" and steps[0][0] == "operation")
            makes = of_its_own and not _reaches(owner, n, needs)
            if makes and not _reaches(n, owner, needs):
                result[n].append(position)
    _break_circles(objects, needs, result)
    queue = [n for n, places in enumerate(result) if places]
    children: dict[int, list[tuple[int, int]]] = {}
    for n, entry in enumerate(objects):
        for position, (owner, _) in enumerate(entry["held"]):
            children.setdefault(owner, []).append((n, position))
    while queue:
        owner = queue.pop()
        for n, position in children.get(owner, ()):
            makers = [objects[owner]["held"][place][0] for place in result[owner]]
            if all(maker == n or _reaches(maker, n, needs) for maker in makers):
                continue  # it must be there before the owner's own maker is
            if position not in result[n] and n != owner and not _reaches(n, owner, needs):
                if not result[n]:
                    queue.append(n)
                result[n].append(position)
    return [sorted(places) for places in result]


def _break_circles(objects: Sequence[Entry], needs: Sequence[set[int]], result: list[list[int]]) -> None:
    """A parent that a child knows is not found at the child if a graph or a config names the parent."""
    named = set().union(*needs)
    for n, places in enumerate(result):
        if n in named:
            owners = {position: objects[n]["held"][position][0] for position in places}
            places[:] = [p for p in places if not _only_found_at(owners[p], n, objects, result)]


def _only_found_at(child: int, parent: int, objects: Sequence[Entry], result: Sequence[list[int]]) -> bool:
    places = result[child]
    return bool(places) and all(objects[child]["held"][position][0] == parent for position in places)


def _needs(entry: Entry) -> set[int]:
    """Objects that must be there before this one can be made from its config."""
    return {*map(int, configs.references(entry.get("config"))), *entry.get("layers", ()), *entry.get("operations", ())}


def _reaches(start: int, goal: int, needs: Sequence[set[int]]) -> bool:
    seen: set[int] = set()
    stack = list(needs[start])
    while stack:
        n = stack.pop()
        if n == goal:
            return True
        if n not in seen:
            seen.add(n)
            stack.extend(needs[n])
    return False


def order(objects: Sequence[Entry], nodes: Sequence[Entry], roots: Sequence[int]) -> list[Any]:
    """The steps: `["make", n]`, `["find", n]`, `["call", k]`.

    Args:
        objects: entries of the table, each with its `found_at`.
        nodes: records of the nodes.
        roots: numbers of the roots.

    Returns:
        Every object and every node once.
    """
    planner = _Planner(objects, nodes)
    items = [("object", n) for n in (*roots, *range(len(objects)))] + [("node", k) for k in range(len(nodes))]
    for item in items:
        planner.visit(item)
    return planner.steps


def built_within(objects: Sequence[Entry], nodes: Sequence[Entry]) -> dict[int, int]:
    """For each object that is built while another one is being built: the outermost of those others.

    A `Sequential` that knows no input shape is built by its first call. If the model around it called one of its
    layers before it did, that first call stood in the model around it. What lies between the two is built there too.

    Args:
        objects: entries of the table, each with its `found_at`.
        nodes: records of the nodes.
    """
    first = _first_calls(objects, nodes)
    needs = [_needs(entry) for entry in objects]
    around: dict[int, int] = {}
    for model in sorted(first):
        if model in around:
            continue  # what is built within it is built within the other too
        inner = _all_from([model], needs)
        later = _built_later(first, model, inner)
        needed_by: dict[int, list[int]] = {}
        for n in inner if later else ():
            for other in needs[n]:
                needed_by.setdefault(other, []).append(n)
        for n in (_all_from(later, needed_by) | later) - {model}:
            if objects[n]["kind"] != "functional":
                around.setdefault(n, model if objects[n]["found_at"] else _maker(objects, model))
    outermost = {n: _outermost(n, around) for n in around}
    return {n: other for n, other in outermost.items() if other not in around}


def _first_calls(objects: Sequence[Entry], nodes: Sequence[Entry]) -> dict[int, dict[int, int]]:
    """For each `Sequential` the operations that are called while it is being built, each with its first such call."""
    called_by = {node["operation"]: node["model"] for node in nodes if node["call"] == 0 and "model" in node}
    first: dict[int, dict[int, int]] = {}
    for node in nodes:
        model: int | None = node.get("model")
        seen = set[int | None]()
        while model is not None and model not in seen and objects[model]["kind"] == "sequential":
            _note_call(first.setdefault(model, {}), node["operation"], node["call"])
            seen.add(model)
            # What an object makes in its own code is built when that object is called.
            maker = _maker(objects, model)
            model = None if maker == model else called_by.get(maker)
    return first


def _note_call(calls: dict[int, int], operation: int, call: int) -> None:
    calls[operation] = min(call, calls.get(operation, call))


def _maker(objects: Sequence[Entry], model: int) -> int:
    """What makes the model in its own code; the model itself if it is made from its config."""
    for _ in objects:
        if not objects[model]["found_at"]:
            break
        model = objects[model]["held"][objects[model]["found_at"][0]][0]
    return model


def _built_later(first: Mapping[int, dict[int, int]], model: int, inner: set[int]) -> set[int]:
    """The models in it that call an operation later than it does, or than one of these that it built before."""
    calls = dict(first[model])
    waiting, later = {n for n in inner if n in first}, set[int]()
    while new := {n for n in waiting if any(calls.get(op, call) < call for op, call in first[n].items())}:
        for n in new:
            for operation, call in first[n].items():
                _note_call(calls, operation, call)
        waiting -= new
        later |= new
    return later


def _outermost(n: int, around: Mapping[int, int]) -> int:
    seen = {n}
    while around.get(n, n) not in seen:
        n = around[n]
        seen.add(n)
    return n


def _all_from(start: Iterable[int], edges: Sequence[Iterable[int]] | Mapping[int, Iterable[int]]) -> set[int]:
    """All that is reached from these by one edge or more."""
    seen: set[int] = set()
    stack = [*start]
    while stack:
        n = stack.pop()
        onward = edges.get(n, ()) if isinstance(edges, Mapping) else edges[n]
        new = {*onward} - seen
        seen |= new
        stack.extend(new)
    return seen


class _Planner:
    """Depth first over what an item needs, with an explicit stack of generators instead of recursion."""

    def __init__(self, objects: Sequence[Entry], nodes: Sequence[Entry]) -> None:
        self.objects, self.nodes = objects, nodes
        self.steps: list[Any] = []
        self.done: dict[Item, bool] = {}
        self.calls: dict[int, list[int]] = {}
        self.made_by: dict[int, list[int]] = {}
        for k, node in enumerate(nodes):
            self.calls.setdefault(node["operation"], []).append(k)
            if "model" in node:
                self.made_by.setdefault(node["model"], []).append(k)
        for calls in self.calls.values():
            calls.sort(key=lambda k: int(nodes[k]["call"]))
        self.children: dict[int, list[int]] = {}
        for n, entry in enumerate(objects):
            for owner, steps in entry["held"]:
                if steps[0][0] not in ("operation", "layer", "store"):
                    self.children.setdefault(owner, []).append(n)
        self.earlier = {k: before for calls in self.calls.values() for before, k in itertools.pairwise(calls)}
        self.around = built_within(objects, nodes)
        self.inside: dict[int, list[int]] = {}
        for n, outermost in sorted(self.around.items()):
            if not objects[n]["found_at"]:
                self.inside.setdefault(outermost, []).append(n)

    def visit(self, start: Item) -> None:
        if start in self.done:
            return
        stack = [(start, self._expand(start))]
        self.done[start] = False
        while stack:
            item, needs = stack[-1]
            need = next(needs, None)
            if need is None:
                stack.pop()
                self.done[item] = True
            elif need not in self.done:
                self.done[need] = False
                stack.append((need, self._expand(need)))

    def _expand(self, item: Item) -> Iterator[Item]:
        """Yields what must come first, then appends the step itself."""
        kind, n = item
        if kind == "node":
            yield from self._needs_of_call(n)
            self.steps.append(["call", n])
            return
        entry = self.objects[n]
        if n in self.around and entry["found_at"]:
            yield ("object", self.around[n])
        for position in entry["found_at"]:
            owner = entry["held"][position][0]
            if self.done.get(("object", owner), True):
                yield ("object", owner)
                # State that `build` makes is there only after the owner's first call.
                yield from (("node", k) for k in self.calls.get(owner, ())[:1])
                yield from (("object", other) for other in self._mentioned_from_elsewhere(n))
                self.steps.append(["find", n])
                return
        yield from (("object", other) for other in sorted(_needs(entry)))
        yield from (("node", k) for k in entry.get("nodes", ()) if entry["kind"] == "functional")
        for k in self.made_by.get(n, ()):
            before = self.nodes[self.earlier.get(k, k)].get("model")
            if before is None or self.around.get(before, before) != self.around.get(n, n):
                yield from self._earlier_call(k)
        if n in self.around:
            yield ("object", self.around[n])  # whose step is followed by that of `n`
            return
        self.steps.extend(["make", made] for made in (n, *self.inside.get(n, ())))

    def _mentioned_from_elsewhere(self, n: int) -> list[int]:
        """What the config of a found object names and that object does not make itself: wanted if it has to be made."""
        mentioned = sorted(set(configs.references(self.objects[n].get("config"))))
        return [other for other in mentioned if n not in self._owners(other)]

    def _owners(self, n: int) -> set[int]:
        entry = self.objects[n]
        return {entry["held"][position][0] for position in entry["found_at"]}

    def _needs_of_call(self, k: int) -> Iterator[Item]:
        node = self.nodes[k]
        yield ("object", node["operation"])
        if "model" in node:
            yield ("object", node["model"])
            return
        arguments = [node.get("args"), node.get("kwargs")]
        yield from (("node", tensor[0]) for tensor in configs.references(arguments, "$tensor"))
        yield from (("object", other) for other in configs.references(arguments, "$object"))
        yield from (("object", part) for part in self._parts_from_elsewhere(node["operation"]))
        yield from self._earlier_call(k)

    def _parts_from_elsewhere(self, operation: int) -> list[int]:
        """What an operation holds, at any depth, that something else makes: put in before a call builds its own."""
        if operation not in self.children:
            return []
        inside = {operation}
        stack = [operation]
        while stack:
            new = [child for child in self.children.get(stack.pop(), ()) if child not in inside]
            inside.update(new)
            stack.extend(new)
        inside.discard(operation)
        made_inside = {operation, *inside}
        return sorted(part for part in inside if self._first_owner(part) not in made_inside)

    def _first_owner(self, n: int) -> int | None:
        entry = self.objects[n]
        return entry["held"][entry["found_at"][0]][0] if entry["found_at"] else None

    def _earlier_call(self, k: int) -> Iterator[Item]:
        if k in self.earlier:
            yield ("node", self.earlier[k])
