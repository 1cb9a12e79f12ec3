"""The structure of a file as far as a picture needs it: who is called with whose outputs. Read with distrust."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiedio.errors import DAMAGED, FormatError, shown

_MOST_AXES = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: its name, how it is made, and the graph that it holds.

    Args:
        name: its name, or `None`.
        kind: `"object"`, `"functional"` or `"sequential"`.
        layers: numbers of the layers of a sequential model, repeats included.
        nodes: numbers of the calls in its graph, in the order in which they run.
        inputs, outputs: of a functional model: pairs of call and output.
        input_shape: the shape that it was built for, or an input is; `None` where the file does not say.
        activation: the name of its activation, or `None`.
        dtype: the name of its dtype policy, or `None`.
    """

    name: str | None = None
    kind: str = "object"
    layers: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()
    inputs: tuple[tuple[int, int], ...] = ()
    outputs: tuple[tuple[int, int], ...] = ()
    input_shape: str | None = None
    activation: str | None = None
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call: of which object, which of its calls, counted from 0, and the calls and outputs that it is given."""

    operation: int
    number: int
    sources: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """All objects, in the order of the manifest, and all calls."""

    entries: tuple[Entry, ...]
    calls: tuple[Call, ...]


def read_table(value: Any, objects: int, where: str) -> Table:
    """What a picture needs of a structure.

    Args:
        value: the structure as JSON.
        objects: how many objects the manifest has.
        where: the file, for errors.

    Raises:
        FormatError: if it is not of the shape that `tiedio.save` writes, or a number points nowhere.
    """
    reader = _Reader(where, objects, 0)
    table = reader.mapping(value)
    entries, calls = reader.list(table.get("objects")), reader.list(table.get("nodes"))
    if len(entries) != objects:
        reader.refuse(f"{len(entries)} entries for {objects} objects")
    reader = _Reader(where, objects, len(calls))
    return Table(tuple(map(reader.entry, entries)), tuple(map(reader.call, calls)))


@dataclass(frozen=True, slots=True)
class _Reader:
    where: str
    objects: int
    calls: int

    def refuse(self, found: str) -> None:
        raise FormatError(
            "the structure of the file cannot be followed",
            path=self.where,
            expected="a structure as tiedio.save writes it",
            found=found,
            remedy=DAMAGED,
        )

    def mapping(self, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.refuse(shown(value))
        found: Mapping[str, Any] = value
        return found

    def list(self, value: Any) -> Sequence[Any]:
        if not isinstance(value, list):
            self.refuse(shown(value))
        found: Sequence[Any] = value
        return found

    def number(self, value: Any, limit: int) -> int:
        if type(value) is not int or not 0 <= value < limit:
            self.refuse(f"number {shown(value)}, which does not exist")
        found: int = value
        return found

    def numbers(self, value: Any, limit: int) -> tuple[int, ...]:
        return tuple(self.number(one, limit) for one in self.list(value))

    def tensors(self, value: Any) -> tuple[tuple[int, int], ...]:
        found = []
        for pair in _tensors(value):
            if not isinstance(pair, list) or len(pair) != 2:
                self.refuse(f"a tensor {shown(pair)}")
            found.append((self.number(pair[0], self.calls), self.number(pair[1], 1 << 32)))
        return tuple(found)

    def entry(self, value: Any) -> Entry:
        record = self.mapping(value)
        name, kind = record.get("name"), record.get("kind")
        if name is not None and not isinstance(name, str):
            self.refuse(f"a name {shown(name)}")
        if kind not in ("object", "functional", "sequential"):
            self.refuse(f"an object of kind {shown(kind)}")
        config = record.get("config")
        config = config if isinstance(config, dict) else {}
        build = record.get("build_config")
        built_for = config.get("batch_shape") or (build.get("input_shape") if isinstance(build, dict) else None)
        return Entry(
            name=name,
            kind=str(kind),
            layers=self.numbers(record.get("layers", []), self.objects),
            nodes=self.numbers(record.get("nodes", []), self.calls),
            inputs=self.tensors(record.get("inputs")),
            outputs=self.tensors(record.get("outputs")),
            input_shape=_shape(built_for),
            activation=_title(config.get("activation")),
            dtype=_title(record.get("policy")),
        )

    def call(self, value: Any) -> Call:
        record = self.mapping(value)
        return Call(
            operation=self.number(record.get("operation"), self.objects),
            number=self.number(record.get("call"), 1 << 53),
            sources=self.tensors([record.get("args"), record.get("kwargs")]),
        )


def _tensors(value: Any) -> Iterator[Any]:
    """What stands under every `$tensor` in an encoded value, in order; without recursion."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if len(item) == 1 and "$tensor" in item:
                yield item["$tensor"]
            else:
                left += reversed(item.values())
        elif isinstance(item, list):
            left += reversed(item)


def _shape(value: Any) -> str | None:
    """An encoded shape as Keras prints it; `None` for what is no single shape."""
    sides = value.get("$tuple") if isinstance(value, dict) else value
    if not isinstance(sides, list) or len(sides) > _MOST_AXES:
        return None
    if not all(side is None or (type(side) is int and abs(side) < 1 << 63) for side in sides):
        return None
    return repr(tuple(sides))


def _title(value: Any) -> str | None:
    """The name that an encoded function, or the config of a policy, goes by."""
    if isinstance(value, dict):
        config = value.get("config")
        named = config.get("name") if isinstance(config, dict) else config
        value = named if isinstance(named, str) else value.get("class_name")
    return value if isinstance(value, str) else None
