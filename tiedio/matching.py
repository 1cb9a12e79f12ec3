"""Which place of a model stands for which place of a file: by path, by the order of unnamed layers, by a mapping."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiedio.errors import MismatchError
from tiedio.manifest import Manifest
from tiedio.naming import join


@dataclass(frozen=True, slots=True)
class Tree:
    """Objects and slots of one side, each object once, whatever number of paths lead to it.

    Args:
        classes: class name of each object, by its canonical path.
        children: by object: the segments that lead to an object it holds → that object's canonical path.
        slots: by object: the segments that lead to a slot → the slot's path.
        graphs: the objects whose children are layers by name.
    """

    classes: dict[str, str]
    children: dict[str, dict[str, str]]
    slots: dict[str, dict[str, str]]
    graphs: frozenset[str] = frozenset()

    @staticmethod
    def of(objects: Iterable[tuple[Sequence[str], str]], slot_paths: Iterable[str], graphs: Iterable[str] = ()) -> Tree:
        """Makes the tree.

        Args:
            objects: all paths of each object, the canonical one first, and its class name.
            slot_paths: paths of slots; each goes on from the canonical path of its owner.
            graphs: canonical paths of functional and sequential models.
        """
        listed = list(objects)
        tree = Tree({paths[0]: name for paths, name in listed}, {}, {}, frozenset(graphs))
        for paths, _ in listed:
            tree.children[paths[0]], tree.slots[paths[0]] = {}, {}
        lengths = sorted({len(path) for path in tree.classes}, reverse=True)
        for paths, _ in listed:
            for path in paths:
                owner = tree._owner(path, lengths)
                if owner is not None:
                    tree.children[owner][_below(path, owner)] = paths[0]
        for path in slot_paths:
            owner = tree._owner(path, lengths)
            if owner is not None:
                tree.slots[owner][_below(path, owner)] = path
        return tree

    def _owner(self, path: str, lengths: Sequence[int]) -> str | None:
        """The object that holds what is at `path`: the longest path of an object that leads there.

        Only `lengths`, those of the paths of objects, the longest first, are tried: a forged path has any number of
        segments.
        """
        for length in lengths:
            if length < len(path) and (path[length] == "/" or length == 0) and path[:length] in self.classes:
                return path[:length]
        return None

    def find(self, path: Any) -> tuple[str, str] | None:
        """`("object", canonical path)` or `("slot", path)` of what any path leads to, or `None`."""
        if not isinstance(path, str):
            return None
        if path in self.classes:
            return "object", path
        rest = path.split("/")
        current = "" if "" in self.classes else rest.pop(0)
        if current not in self.classes:
            return None
        while rest:
            for count in range(len(rest), 0, -1):
                child = self.children[current].get("/".join(rest[:count]))
                if child is not None:
                    current, rest = child, rest[count:]
                    break
            else:
                slot = self.slots[current].get("/".join(rest))
                return None if slot is None else ("slot", slot)
        return "object", current

    def reached(self, starts: Iterable[str]) -> list[str]:
        """Paths of all slots that these objects and what they hold have."""
        return [slot for path in self.below(starts) for slot in self.slots[path].values()]

    def below(self, starts: Iterable[str]) -> list[str]:
        """Paths of these objects and of all that they hold, each once."""
        found: dict[str, None] = {}
        queue = deque(starts)
        while queue:
            path = queue.popleft()
            if path not in found:
                found[path] = None
                queue.extend(self.children[path].values())
        return list(found)


def _below(path: str, owner: str) -> str:
    return path[len(owner) + 1 :] if owner else path


def tree_of_file(manifest: Manifest) -> Tree:
    """The tree of a file's models, without their optimizers."""
    optimizers = tuple(f"{spec.path}/" for spec in manifest.optimizers)
    slots = [slot.path for v in manifest.variables for slot in v.slots if not slot.path.startswith(optimizers)]
    return Tree.of([(one.paths, one.class_name) for one in manifest.objects], slots)


@dataclass(slots=True)
class Alignment:
    """Pairs of (path in the model, path in the file), and objects that only their order matched."""

    objects: list[tuple[str, str]] = field(default_factory=list)
    slots: list[tuple[str, str]] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)


def align(
    model: Tree, file: Tree, starts: Iterable[tuple[str, str]], mapping: Mapping[tuple[str, str], tuple[str, str]]
) -> Alignment:
    """Walks both trees side by side.

    Args:
        model: the model's tree.
        file: the file's tree.
        starts: pairs of objects (model, file) to begin with.
        mapping: what `read_mapping` gave; its places are matched as it says and not otherwise.

    Returns:
        The pairs; one place may stand in several of them, where only one side has a tie.
    """
    found = Alignment()
    sources, targets = set(mapping), set(mapping.values())

    def is_free(kind: str, mine: str, theirs: str) -> bool:
        return (kind, theirs) not in sources and (kind, mine) not in targets

    queue = deque(pair for pair in starts if is_free("object", *pair))
    for (kind, theirs), (_, mine) in mapping.items():
        (queue if kind == "object" else found.slots).append((mine, theirs))
    seen: set[tuple[str, str]] = set()
    while queue:
        mine, theirs = queue.popleft()
        if (mine, theirs) in seen:
            continue
        seen.add((mine, theirs))
        found.objects.append((mine, theirs))
        names = _by_order(model, mine, file, theirs)
        for segments, slot in model.slots[mine].items():
            other = file.slots[theirs].get(_renamed(segments, names))
            if other is not None and is_free("slot", slot, other):
                found.slots.append((slot, other))
        for segments, child in model.children[mine].items():
            other = file.children[theirs].get(names.get(segments, segments) or "")
            if other is not None and is_free("object", child, other):
                queue.append((child, other))
                if segments in names and file.reached([other]):
                    found.renamed.append((other, child))
    return found


def _by_order(model: Tree, mine: str, file: Tree, theirs: str) -> dict[str, str | None]:
    """Name in the file of each layer of a model's graph that only its order tells, or `None` if nothing does."""
    if mine not in model.graphs:
        return {}
    names: dict[str, str | None] = {}
    ours, others = _unnamed(model, model.children[mine]), _unnamed(file, file.children[theirs])
    for name in ours.keys() | others.keys():
        left, right = ours.get(name, []), others.get(name, [])
        if set(left) <= set(right) or set(right) <= set(left):
            continue  # the same names, or a part of them: names tell
        same_count = len(left) == len(right)
        names |= {segment: right[i] if same_count else None for i, segment in enumerate(left)}
    return names


def _renamed(segments: str, names: Mapping[str, str | None]) -> str:
    """The segments of a slot in the file: an argument of a call is found by the name of the operation."""
    mark, _, rest = segments.partition("/")
    operation, _, argument = rest.partition("/")
    return f"{mark}/{names[operation]}/{argument}" if mark == "@node" and names.get(operation) else segments


def _unnamed(tree: Tree, children: Mapping[str, str]) -> dict[str, list[str]]:
    """The children that have the name that Keras gives to a layer without one, by that name, in order."""
    found: dict[str, list[str]] = {}
    for segment, child in children.items():
        base = automatic_name(tree.classes[child])
        if re.fullmatch(rf"{re.escape(base)}(_[0-9]+)?", segment):
            found.setdefault(base, []).append(segment)
    return found


def automatic_name(class_name: str) -> str:
    """The name, without its number, that Keras gives to a layer of this class that has none."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def read_mapping(
    mapping: Mapping[str, str], model: Tree, file: Tree, prefix: str
) -> dict[tuple[str, str], tuple[str, str]]:
    """Finds the places that a mapping names.

    Args:
        mapping: path in the file, below `prefix` → path in the model.
        model: the model's tree.
        file: the file's tree.
        prefix: the part of the file that is used.

    Raises:
        MismatchError: if a place is not there or named twice, or if a slot is mapped to an object.
    """
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for theirs, mine in mapping.items():
        source, target = file.find(join(prefix, theirs) if theirs else prefix), model.find(mine)
        if source is None:
            raise _unknown(theirs, "the file", file)
        if target is None:
            raise _unknown(mine, "the model", model)
        if source[0] != target[0]:
            raise MismatchError(
                "the mapping names a slot on one side and an object on the other",
                path=f"{theirs} → {mine}",
                expected="two slots, or two objects",
                found=f"{source[0]} → {target[0]}",
                remedy="name the slot of the layer too: 'dense/kernel'",
            )
        if source in found or target in found.values():
            raise MismatchError(
                "the mapping names one place twice",
                path=f"{theirs} → {mine}",
                expected="one path in the model for each path in the file",
                found=f"{source[1] or 'the file'} and {target[1] or 'the model'} again",
                remedy="leave one of the entries out",
            )
        found[source] = target
    return found


def _unknown(path: Any, side: str, tree: Tree) -> MismatchError:
    known = [*filter(None, tree.classes), *(slot for slots in tree.slots.values() for slot in slots.values())]
    last = str(path).rpartition("/")[2]
    near = [one for one in known if last and last in one] or known
    return MismatchError(
        f"{side} has no such place",
        path=str(path),
        expected=", ".join(near[:6]) + (", …" if len(near) > 6 else ""),
        found="nothing",
        remedy=f"take a path from {'tiedio.inspect' if side == 'the file' else 'the report of strict=False'}",
    )


def select(file: Tree, roots: Sequence[str], prefix: str) -> list[str]:
    """The objects of the file to begin with: its roots, or the one that `prefix` leads to.

    Raises:
        MismatchError: if `prefix` leads to no object.
    """
    if not prefix:
        return list(roots)
    place = file.find(prefix)
    if place is None or place[0] != "object":
        raise _unknown(prefix, "the file", file)
    return [place[1]]
