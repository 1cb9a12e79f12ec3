"""Live models → manifest, structure and shapes, as a picture wants them; nothing of it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiedio import __version__, describe, keras_api, session, slots
from tiedio.errors import ModelError
from tiedio.manifest import FORMAT, Manifest, Root
from tiedio.pipeline import take_snapshot
from tiedio.roots import as_roots


def describe_live(model: Any) -> tuple[Manifest, Any, Mapping[int, str]]:
    """What there is to draw of a model.

    Args:
        model: a built model, or a dict `{name: model}` of several.

    Returns:
        The manifest, the structure (`None` if the model cannot be described), and shapes of outputs by number.

    Raises:
        ModelError: if it is no model, or is not built.
    """
    roots = as_roots(model)
    try:
        snapshot = take_snapshot(roots, False, live=True)
    except ModelError:  # what cannot be saved can be looked at
        return _objects_only(roots), None, {}
    graphs = {n: g for n, f in enumerate(snapshot.walk.objects) if (g := keras_api.graph_of(f.value)) is not None}
    structure = {**snapshot.structure, "nodes": [dict(node) for node in snapshot.structure["nodes"]]}
    number = {id(found.value): n for n, found in enumerate(snapshot.walk.objects)}
    nodes = {
        id(node): k
        for n, graph in graphs.items()
        for k, node in zip(structure["objects"][n].get("nodes", ()), graph.nodes, strict=False)
    }
    shapes: dict[int, str] = {}
    for graph in graphs.values():
        for node in graph.nodes:
            if id(node.operation) in number:
                shapes.setdefault(number[id(node.operation)], _shape_of(node.outputs))
            record = structure["nodes"][nodes[id(node)]] if id(node) in nodes else None
            if record is not None and "args" not in record and "input" not in record:
                record["args"] = _sources(node, nodes)
    return snapshot.manifest, structure, shapes


def _objects_only(roots: Mapping[str | None, Any]) -> Manifest:
    walk = slots.walk(roots)
    describe.require_built(walk)
    paths = walk.object_paths()
    return Manifest(
        format=FORMAT,
        versions=session.versions() | {"tiedio": __version__},
        roots=tuple(Root(name, paths[id(root)]) for name, root in roots.items()),
        objects=describe.describe_objects(walk),
        variables=describe.describe_variables(walk, configs=False),
    )


def _sources(node: Any, nodes: Mapping[int, int]) -> list[Any]:
    """The calls whose outputs a call is given, for a graph that a model's own code makes: no file has them."""
    found = []
    for tensor in node.input_tensors:
        history = tensor._keras_history
        maker = None if history.operation is None else history.operation._inbound_nodes[history.node_index]
        if maker is not None and id(maker) in nodes:
            found.append({"$tensor": [nodes[id(maker)], history.tensor_index]})
    return found


def _shape_of(outputs: Any) -> str:
    shapes = [tuple(output.shape) for output in outputs]
    return str(shapes[0]) if len(shapes) == 1 else ", ".join(map(str, shapes))
