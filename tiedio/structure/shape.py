"""The shape of a table and of a training record: what keys and kinds of values they may have.

The rest of this room works on plain JSON values; here they are checked once, before anything uses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiedio import configs, records
from tiedio.errors import DAMAGED, FormatError, shown
from tiedio.manifest import FORMAT

_STEPS = ("attribute", "index", "key", "member", "operation", "layer", "node", "store")


@dataclass(frozen=True, slots=True)
class ClassName:
    """How Keras names a class."""

    module: str | None
    class_name: str
    registered_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One object of the table. `kind` is `object`, `functional` or `sequential`."""

    kind: str
    name: str | None
    held: tuple[Any, ...]
    found_at: tuple[int, ...]
    built: bool = False
    path: str | None = None
    parent_path: str | None = None
    policy: Any = None
    build_config: Any = None
    compile_arguments: dict[str, Any] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    config: Any = None
    no_config: str | None = None
    inner_names: tuple[str | None, ...] = ()
    layers: tuple[int, ...] = ()
    shape: Any = None
    operations: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()
    inputs: Any = None
    outputs: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """One call of an operation in a graph."""

    operation: int
    call: int
    input: bool = False
    model: int | None = None
    position: int | None = None
    args: Any = None
    kwargs: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The structure of all roots."""

    objects: tuple[Any, ...]
    nodes: tuple[NodeRecord, ...]
    steps: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledModel:
    """How one model is compiled."""

    model: int
    optimizer: int | None
    config: dict[str, Any]
    omitted: tuple[Any, ...]
    given: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """How all models are compiled."""

    models: tuple[CompiledModel, ...]
    optimizers: tuple[Any, ...]
    shared: tuple[Any, ...] = ()


def check(table: Any, training: Any, objects: int, optimizers: int, path: str, version: int = FORMAT) -> None:
    """Checks both records.

    Args:
        table: the structure of a file, as JSON.
        training: its training record, as JSON.
        objects: how many objects the manifest has.
        optimizers: how many optimizers the manifest has.
        path: the file, for errors.
        version: the format version of the file.

    Raises:
        FormatError: if a key is unknown or missing, a value is of another kind, or a number points nowhere.
    """
    where = f"{path}: structure"
    shaped = records.decode(Table, table, where)
    for n, entry in enumerate(shaped.objects):
        at = f"{where}.objects[{n}]"
        if not isinstance(entry, dict) or "class" not in entry:
            raise FormatError("an object has no class", path=at, expected="a class", found="none", remedy=DAMAGED)
        records.decode(ClassName, entry["class"], f"{at}.class")
        records.decode(Entry, {key: item for key, item in entry.items() if key != "class"}, at)
    trained = records.decode(TrainingRecord, training, f"{path}: training")
    if version < 2 and (trained.shared or any("given" in model for model in training["models"])):
        raise FormatError(
            "unknown key",
            path=f"{path}: training",
            expected="only keys of format 1",
            found="'shared' or 'given'",
            remedy=DAMAGED,
        )
    refuse_newer_keys([entry.get("config") for entry in shaped.objects], ("$variable",), version, where)
    if version < 3 and any(entry.get("seeds") for entry in shaped.objects):
        raise FormatError(
            "unknown key", path=where, expected=f"only keys of format {version}", found="'seeds'", remedy=DAMAGED
        )
    refuse_newer_keys([table, training], ("$numpy",), version, path)
    problem = next(_problems(table, training, objects, optimizers), None)
    if problem is not None:
        raise FormatError(
            "the structure contradicts the manifest",
            path=path,
            found=problem,
            remedy="the file is damaged or was edited; save the model again",
            expected="numbers that point to objects and nodes of the file",
        )


def refuse_newer_keys(value: Any, keys: Sequence[str], version: int, where: str) -> None:
    """Raises `FormatError` if an encoded value has one of these keys, which format 3 brought, and is older."""
    found = [key for key in keys if version < 3 and configs.references(value, key)]
    if found:
        raise FormatError(
            "unknown key in a config",
            path=where,
            expected=f"only keys of format {version}",
            found=", ".join(map(repr, found)),
            remedy=DAMAGED,
        )


def _problems(table: Any, training: Any, objects: int, optimizers: int) -> Iterator[str]:
    nodes = len(table["nodes"])
    if len(table["objects"]) != objects:
        yield f"{len(table['objects'])} entries for {objects} objects"
    if len(training["optimizers"]) != optimizers:
        yield f"{len(training['optimizers'])} configurations for {optimizers} optimizers"
    yield from _out_of_range("object", configs.references([table, training]), objects)
    for entry in table["objects"]:
        yield from _out_of_range("object", [*entry.get("layers", ()), *entry.get("operations", ())], objects)
        yield from _out_of_range("node", entry.get("nodes", ()), nodes)
        yield from _out_of_range("place", entry["found_at"], len(entry["held"]))
        for held in entry["held"]:
            if not (isinstance(held, list) and len(held) == 2 and isinstance(held[1], list) and held[1]):
                yield f"a place that is no place: {shown(held)}"[:100]
                return
            yield from _out_of_range("object", held[:1], objects)
            if not all(isinstance(s, list) and len(s) == 2 and s[0] in _STEPS for s in held[1]):
                yield f"an unknown step: {shown(held[1])}"[:100]
        if entry["kind"] not in ("object", "functional", "sequential"):
            yield f"an object of unknown kind {shown(entry['kind'])}"[:100]
        if ("path" in entry) != ("policy" in entry) or any(k in entry for k in ("path",)) != ("built" in entry):
            yield "a layer without path, policy or state of building"
        needed = {"functional": ("inputs", "outputs", "config"), "sequential": ("shape",)}.get(entry["kind"], ())
        if any(key not in entry for key in needed):
            yield f"a {entry['kind']} model without {', '.join(needed)}"
    for node in table["nodes"]:
        yield from _out_of_range("object", [node["operation"]], objects)
        if "model" in node:
            yield from _out_of_range("object", [node["model"]], objects)
            yield from _out_of_range("position", [node.get("position")], 1 << 40)
        yield from (
            f"a tensor {shown(where)} of no node"[:100]
            for where in configs.references([node.get("args"), node.get("kwargs")], "$tensor")
            if not (isinstance(where, list) and len(where) == 2 and not list(_out_of_range("node", where[:1], nodes)))
        )
    for step in table["steps"]:
        if not (isinstance(step, list) and len(step) == 2 and step[0] in ("make", "find", "call")):
            yield f"an unknown step {shown(step)}"[:100]
            return
        yield from _out_of_range(step[0], step[1:], nodes if step[0] == "call" else objects)
    yield from _out_of_range("optimizer", configs.references(training, "$optimizer"), optimizers)
    yield from _out_of_range("shared part", configs.references(training, "$shared"), len(training.get("shared", ())))
    for model in training["models"]:
        yield from _out_of_range("object", [model["model"]], objects)
        used = [n for n in (model["optimizer"], model.get("given")) if n is not None]
        yield from _out_of_range("optimizer", used, optimizers)


def _out_of_range(kind: str, numbers: Any, limit: int) -> Iterator[str]:
    for number in numbers:
        if type(number) is not int or not 0 <= number < limit:
            yield f"{kind} {shown(number)} does not exist"[:100]
