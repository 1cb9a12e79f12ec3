"""One file of a comparison, and which place of it stands for which place of the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiedio import strict_json
from tiedio.comparing.encoded import Names
from tiedio.container.single import Reader
from tiedio.errors import DAMAGED, FormatError
from tiedio.inspection import STRUCTURE_KEY, TRAINING_KEY, manifest_of
from tiedio.manifest import Manifest, Variable
from tiedio.matching import Tree, align

_MOST_SEGMENTS = 64  # of a path of optimizer state, that are tried as the beginning of a variable's


@dataclass(frozen=True, slots=True)
class Side:
    """One file, parsed: its manifest, and structure and training record as they stand there; `None` if it has none."""

    path: str
    manifest: Manifest
    structure: dict[str, Any] | None
    training: dict[str, Any] | None
    variables: dict[str, Variable]

    @staticmethod
    def of(reader: Reader, path: str) -> Side:
        """Parses the texts of an open file.

        Raises:
            FormatError: if they are not what they should be, as far as a comparison looks at them.
        """
        manifest = manifest_of(reader.header, path)
        told = []
        for key, lists in ((STRUCTURE_KEY, ("objects", "nodes")), (TRAINING_KEY, ("models", "optimizers"))):
            text = reader.header.metadata.get(key)
            value = None if text is None else strict_json.loads(text, f"{path}: {key}", reader.header.allowance)
            if value is not None and not (
                isinstance(value, dict) and all(_is_list_of_objects(value.get(name)) for name in lists)
            ):
                raise FormatError(
                    "the text is not of the shape that it should have",
                    path=f"{path}: {key}",
                    expected=f"lists of objects under {' and '.join(lists)}",
                    found="something else",
                    remedy=DAMAGED,
                )
            told.append(value)
        return Side(path, manifest, told[0], told[1], {s.path: v for v in manifest.variables for s in v.slots})

    def entries(self) -> dict[str, dict[str, Any]]:
        """What the structure says of each object, by its canonical path."""
        listed = [] if self.structure is None else self.structure["objects"]
        return {record.path: entry for record, entry in zip(self.manifest.objects, listed, strict=False)}

    def optimizers(self) -> dict[str, Any]:
        """What the training record says of each optimizer, by its path."""
        listed = [] if self.training is None else self.training["optimizers"]
        return {record.path: entry for record, entry in zip(self.manifest.optimizers, listed, strict=False)}

    def tree(self) -> Tree:
        """Objects and slots, without those of optimizers."""
        of_optimizers = tuple(f"{one.path}/" for one in self.manifest.optimizers)
        slots = [path for path in self.variables if not path.startswith(of_optimizers)]
        kinds = {path: entry.get("kind") for path, entry in self.entries().items()}
        graphs = [
            one.path
            for one in self.manifest.objects
            if kinds.get(one.path) in ("functional", "sequential") or one.class_name in ("Functional", "Sequential")
        ]
        return Tree.of([(one.paths, one.class_name) for one in self.manifest.objects], slots, graphs)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


@dataclass(frozen=True, slots=True)
class Match:
    """Both sides, and pairs of places (first file, second file): a place may stand in several pairs."""

    a: Side
    b: Side
    objects: tuple[tuple[str, str], ...]
    slots: tuple[tuple[str, str], ...]
    renamed: tuple[tuple[str, str], ...]

    @staticmethod
    def of(a: Side, b: Side, optimizer: bool) -> Match:
        """Matches two files: by path, and layers of one graph that have automatic names by their order.

        Args:
            a: the first file.
            b: the second file.
            optimizer: whether the state of optimizers is matched.
        """
        starts = _roots(a, b)
        found = align(a.tree(), b.tree(), starts, {})
        slots = list(dict.fromkeys(found.slots))
        if optimizer:
            slots += _state(a, b, dict(reversed(found.objects)), dict(reversed(slots)))
        renamed = [(mine, theirs) for theirs, mine in dict.fromkeys(found.renamed)]
        return Match(a, b, tuple(dict.fromkeys(found.objects)), tuple(slots), tuple(renamed))

    def alike(self) -> list[tuple[str, str]]:
        """The pairs of slots that both hold the variable itself, or the same view of it."""
        views = [{s.path: s.view for v in side.manifest.variables for s in v.slots} for side in (self.a, self.b)]
        return [(mine, theirs) for mine, theirs in self.slots if views[0][mine] == views[1][theirs]]

    def names(self) -> tuple[Names, Names]:
        """What references of each file stand for, in the words of the first."""
        back = {theirs: mine for mine, theirs in reversed(self.objects)}
        slots = {theirs: mine for mine, theirs in reversed(self.slots)}
        return _names(self.a, {}, {}), _names(self.b, back, slots)


def _roots(a: Side, b: Side) -> list[tuple[str, str]]:
    mine, theirs = a.manifest.roots, b.manifest.roots
    if len(mine) == len(theirs) == 1:
        return [(mine[0].path, theirs[0].path)]
    named = {root.name: root.path for root in theirs}
    return [(root.path, named[root.name]) for root in mine if root.name in named]


def _state(a: Side, b: Side, objects: Mapping[str, str], slots: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs of slots of optimizers: the end of such a path is that of the variable whose state it is."""
    found = []
    for optimizer in sorted(a.manifest.optimizers, key=lambda one: len(one.path)):
        model, mark, rest = optimizer.path.rpartition("@optimizer")
        owner = objects.get(model.removesuffix("/"), model.removesuffix("/"))
        theirs = f"{owner}/{mark}{rest}" if owner else f"{mark}{rest}"
        for path in a.variables:
            if path.startswith(f"{optimizer.path}/"):
                tail = _translated(path[len(optimizer.path) + 1 :], slots)
                if f"{theirs}/{tail}" in b.variables:
                    found.append((path, f"{theirs}/{tail}"))
    return list(dict.fromkeys(found))


def _translated(tail: str, slots: Mapping[str, str]) -> str:
    at = 0
    for _ in range(_MOST_SEGMENTS):
        if tail[at:] in slots:
            return tail[:at] + slots[tail[at:]]
        at = tail.find("/", at) + 1
        if at == 0:
            break
    return tail


def _names(side: Side, objects: Mapping[str, str], slots: Mapping[str, str]) -> Names:
    paths = [objects.get(record.path, record.path) for record in side.manifest.objects]
    nodes = [] if side.structure is None else side.structure["nodes"]

    def object_of(number: Any) -> str:
        known = type(number) is int and 0 <= number < len(paths)
        return paths[number] if known else f"nothing ({str(number)[:20]})"

    def tensor(where: Any) -> str:
        known = isinstance(where, list) and len(where) == 2 and type(where[0]) is int and 0 <= where[0] < len(nodes)
        if not known:
            return "a tensor of nothing"
        node = nodes[where[0]]
        call, output = node.get("call"), where[1]
        text = f"output {str(output)[:20]} of " if output != 0 else "output of "
        return text + object_of(node.get("operation")) + (f" (call {str(call)[:20]})" if call != 0 else "")

    def optimizer(number: Any) -> str:
        known = type(number) is int and 0 <= number < len(side.manifest.optimizers)
        return side.manifest.optimizers[number].path if known else "nothing"

    return {
        "$object": object_of,
        "$tensor": tensor,
        "$variable": lambda path: slots.get(path, path) if isinstance(path, str) else "nothing",
        "$optimizer": optimizer,
    }
