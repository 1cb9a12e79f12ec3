"""Everything in two files but values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tiedio.comparing.encoded import Names, compare, text_of
from tiedio.comparing.found import LONGEST, Found, Orders, compare_keys, each_once, is_automatic, listed
from tiedio.comparing.sides import Match
from tiedio.comparing.training import compare_optimizers, compare_training
from tiedio.comparing.variables import compare_hooks, compare_sharing, compare_ties, compare_variables
from tiedio.errors import shown
from tiedio.manifest import Object

# Of an entry of the structure: what follows from the rest, or is compared in another way.
_DERIVED = (
    "held",
    "found_at",
    "path",
    "parent_path",
    "inner_names",
    "nodes",
    "config",
    "name",
    "class",
    "layers",
    "operations",
)
_SETTINGS = ("floatx", "image_data_format")


def compare_facts(match: Match, optimizer: bool, found: Found) -> None:
    """Compares everything but values.

    Args:
        match: both files, and which place stands for which.
        optimizer: whether compile settings and optimizers are compared.
        found: takes what differs.
    """
    names = match.names()
    _compare_files(match, found)
    _compare_objects(match, names, found)
    if optimizer:
        compare_training(match, names, found)
        compare_optimizers(match, names, found)
    compare_variables(match, optimizer, found)
    compare_ties(match, optimizer, found)
    compare_sharing(match, found)
    compare_hooks(match, optimizer, found)


# --- the files --------------------------------------------------------------------------------------


def _compare_files(match: Match, found: Found) -> None:
    a, b = match.a, match.b
    if (a.structure is None) != (b.structure is None):
        has, only = "structure", "weights only"
        found.add("file", "", "content", *(only if side.structure is None else has for side in (a, b)))
    if (a.training is None) != (b.training is None) and (a.structure is None) == (b.structure is None):
        found.add("file", "", "compile settings", *(None if side.training is None else "" for side in (a, b)))
    mine, theirs = ([root.name for root in side.manifest.roots] for side in (a, b))
    if mine != theirs:
        found.add("file", "", "models", listed(mine), listed(theirs))
    versions = [side.manifest.versions for side in (a, b)]
    for key in _SETTINGS:
        if versions[0].get(key) != versions[1].get(key):
            found.add("file", "", key, *(str(one.get(key)) for one in versions))
    told = [{"format": str(side.manifest.format), **side.manifest.versions} for side in (a, b)]
    for key in told[0]:
        if key not in _SETTINGS and told[0][key] != told[1].get(key):
            values = ", ".join(f"{shown(one.get(key))} in {side}" for one, side in zip(told, "AB", strict=True))
            found.notes.append(f"{key[:LONGEST]}: {values}")
    found.notes += [f"matched by order: {old} in A, {new} in B" for old, new in match.renamed[:20]]
    if len(match.renamed) > 20:
        found.notes.append(f"matched by order: {len(match.renamed) - 20} more layers")


# --- objects ----------------------------------------------------------------------------------------


def _compare_objects(match: Match, names: tuple[Names, Names], found: Found) -> None:
    records = [{one.path: one for one in side.manifest.objects} for side in (match.a, match.b)]
    entries = (match.a.entries(), match.b.entries())
    both = match.a.structure is not None and match.b.structure is not None
    nodes = [[] if side.structure is None else side.structure["nodes"] for side in (match.a, match.b)]
    told = ({mine for mine, _ in match.objects}, {theirs for _, theirs in match.objects})
    for path, record in records[0].items():
        if path not in told[0]:
            found.add("structure", path, "", record.class_name, None)
    for path, record in records[1].items():
        if path not in told[1]:
            found.add("structure", path, "", None, record.class_name)
    orders = Orders.of(match)
    for mine, theirs in each_once(match.objects):
        before = len(found.changes) + found.omitted
        a, b = records[0][mine], records[1][theirs]
        if both:
            _compare_entries(mine, (a, b), (entries[0].get(mine, {}), entries[1].get(theirs, {})), names, found)
            _compare_graphs(mine, (entries[0].get(mine, {}), entries[1].get(theirs, {})), nodes, names, found)
        elif a.class_name != b.class_name:
            found.add("structure", mine, "class", a.class_name, b.class_name)
        if a.trainable != b.trainable:
            found.add("structure", mine, "trainable", str(a.trainable), str(b.trainable))
        for store in a.orders.keys() | b.orders.keys():
            orders.compare(mine, store, a.orders.get(store, ()), b.orders.get(store, ()), found)
        if len(found.changes) + found.omitted == before:
            found.count("objects")


def _compare_entries(
    path: str, records: tuple[Object, Object], entries: tuple[Any, Any], names: tuple[Names, Names], found: Found
) -> None:
    classes = [_class_of(entry, record) for entry, record in zip(entries, records, strict=True)]
    if classes[0] != classes[1]:
        found.add("structure", path, "class", classes[0], classes[1])
    labels = [entry.get("name") for entry in entries]
    automatic = all(is_automatic(label, record.class_name) for label, record in zip(labels, records, strict=True))
    if labels[0] != labels[1] and not automatic:
        found.add("structure", path, "name", *map(shown, labels))
    facts: list[dict[str, Any]] = [
        {key: _shapes(item) if key == "build_config" else item for key, item in entry.items() if key not in _DERIVED}
        for entry in entries
    ]
    compare_keys("structure", path, facts[0], facts[1], names, found)
    configs = [_without_name(entry.get("config")) for entry in entries]
    compare_keys("structure", path, configs[0], configs[1], names, found)


def _class_of(entry: Mapping[str, Any], record: Object) -> str:
    told = entry.get("class")
    if not isinstance(told, dict):
        return record.class_name
    registered = told.get("registered_name")
    return str(registered) if registered else f"{told.get('module')}.{told.get('class_name')}"


def _shapes(built: Any) -> Any:
    """What a layer was built with: a shape is the same as a tuple and, as `.keras` has it, as a list."""
    if not isinstance(built, dict):
        return built
    return {key: one["$tuple"] if isinstance(one, dict) and [*one] == ["$tuple"] else one for key, one in built.items()}


def _without_name(config: Any) -> Any:
    return {key: item for key, item in config.items() if key != "name"} if isinstance(config, dict) else config


def _compare_graphs(
    path: str, entries: tuple[Any, Any], nodes: Sequence[Sequence[Any]], names: tuple[Names, Names], found: Found
) -> None:
    """Compares the layers of a sequential model, and the calls of a graph."""
    layers = [[{"$object": n} for n in _list(entry.get("layers"))] for entry in entries]
    apart = compare(layers[0], layers[1], names)
    if apart is not None:
        found.add("structure", path, f"layers{apart.place}", *apart.texts())
    calls = [_calls(entry.get("nodes"), listed) for entry, listed in zip(entries, nodes, strict=True)]
    if len(calls[0]) != len(calls[1]):
        found.add("structure", path, "number of calls in the graph", *(str(len(one)) for one in calls))
        return
    for n, (one, other) in enumerate(zip(*calls, strict=True)):
        for key in one.keys() | other.keys():
            apart = compare(one.get(key), other.get(key), names)
            if apart is not None:
                layer = text_of(one.get("operation"), names[0])
                found.add("structure", path, f"call {n} of the graph ({layer}), {key}", *apart.texts())


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _calls(numbers: Any, nodes: Sequence[Any]) -> list[dict[str, Any]]:
    records = [nodes[n] for n in _list(numbers) if type(n) is int and 0 <= n < len(nodes)]
    kept = ("call", "args", "kwargs", "input")
    return [
        {"operation": {"$object": record.get("operation")}, **{key: record[key] for key in kept if key in record}}
        for record in records
    ]
