"""What stands at a place, and putting something there, by the steps that lead to it."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from tiedio import arrays, keras_api
from tiedio.errors import ModelError
from tiedio.slots.walking import (
    MISSING,
    Step,
    attribute_segment,
    attributes_of,
    classify,
    key_segment,
    own_attributes,
)

_TAKES: dict[str, type | tuple[type, ...]] = {"index": (list, tuple, deque), "key": dict, "member": set}
_EXPECTED = {"index": "a list that takes it", "key": "a dict that takes it", "member": "a set that takes it"}


def locate(owner: Any, segments: list[str]) -> tuple[Step, ...] | None:
    """The steps that a path's last segments stand for at `owner`, for a place that may not be there yet."""
    mark = "." if isinstance(owner, (keras_api.Functional, keras_api.Sequential)) else ""
    first = segments[0]
    if first.startswith("@"):
        return (("store", first[1:]), ("index", int(segments[1]))) if first[1:] in keras_api.stores(owner) else None
    hidden = [name for name in own_attributes(owner) if mark + attribute_segment(owner, name) == first]
    name = hidden[0] if hidden else unquote(first.removeprefix(mark))
    steps: list[Step] = [("attribute", name)]
    for segment in segments[1:]:
        container = get(owner, steps)
        if isinstance(container, (list, tuple)) and segment.isdigit():
            steps.append(("index", int(segment)))
        elif isinstance(container, Mapping):
            known = [key for key in container if key_segment(key) == segment]
            steps.append(("key", known[0] if known else unquote(segment.replace("%empty", ""))))
        elif container is not MISSING and classify(type(container)) == "plain":
            steps.append(("attribute", unquote(segment)))
        else:
            return None
    return tuple(steps)


def get(owner: Any, steps: Iterable[Step]) -> Any:
    """What `owner` holds at the end of `steps`, or `MISSING`."""
    value = owner
    before = ""
    for kind, key in steps:
        value = arrays.unwrapped(value)
        # As the walk goes: through containers and plain objects, and not into classes, functions or modules.
        if kind == "attribute" and value is not owner and before != "node" and classify(type(value)) != "plain":
            return MISSING
        value, before = _get(value, kind, key), kind
        if value is MISSING:
            break
    return value


def _get(value: Any, kind: str, key: Any) -> Any:
    if kind == "attribute":
        return attributes_of(value).get(key, MISSING)
    if kind == "index":
        return value[key] if isinstance(value, (list, tuple, deque)) and key < len(value) else MISSING
    if kind == "key":
        return value.get(key, MISSING) if isinstance(value, Mapping) else MISSING
    if kind == "member":
        if not isinstance(value, (set, frozenset)):
            return MISSING
        found = [part for part in value if getattr(part, "name", None) == key]
        return found[0] if len(found) == 1 else MISSING
    if kind == "store":
        return keras_api.stores(value).get(key, MISSING)
    if kind == "layer" and isinstance(value, keras_api.Sequential):
        layers = keras_api.sequential_layers(value)
        return layers[key] if key < len(layers) else MISSING
    graph = keras_api.graph_of(value)
    if graph is None or kind not in ("operation", "node"):
        return MISSING
    if kind == "node":
        return graph.nodes[key].arguments if key < len(graph.nodes) else MISSING
    return graph.operations[key] if key < len(graph.operations) else MISSING


def is_special(name: Any) -> bool:
    """Whether a name has a meaning to Python itself (`__class__`, `__dict__`)."""
    return isinstance(name, str) and name.startswith("__") and name.endswith("__")


def _is_new_and_a_method(container: Any, name: str) -> bool:
    return name not in attributes_of(container) and callable(inspect.getattr_static(type(container), name, None))


def _takes(container: Any, kind: str) -> bool:
    return isinstance(container, _TAKES.get(kind, object))


def put(owner: Any, steps: tuple[Step, ...], value: Any) -> None:
    """Makes `owner` hold `value` at the end of `steps`; the owner's tracker learns of it, its order does not.

    Raises:
        ModelError: if the place cannot be set.
    """
    before = get(owner, steps)
    if keras_api.viewed(value)[1] is not None and isinstance(owner, keras_api.Layer):
        keras_api.note_order(owner)
    _put(owner, steps, value)
    if any(keras_api.viewed(one)[1] is not None for one in (before, value)) and isinstance(owner, keras_api.Layer):
        keras_api.store_views_too(owner)


def _put(owner: Any, steps: tuple[Step, ...], value: Any) -> None:
    *above, (kind, key) = steps
    container = arrays.unwrapped(get(owner, above))
    if kind == "store":
        return
    if container is MISSING or not _takes(container, kind):
        raise ModelError(
            "there is no such place in the rebuilt model",
            path="/".join(str(step) for _, step in steps),
            expected=_EXPECTED.get(kind, "an object that has it"),
            found="nothing" if container is MISSING else type(container).__name__,
            remedy="let the class's own code make this place",
        )
    if kind == "attribute" and (is_special(key) or _is_new_and_a_method(container, key)):
        raise ModelError(
            "a method, or a name of Python's own, is no place for a weight or a layer",
            path=key[:80],
            expected="the name of an attribute",
            found=f"{key[:80]!r} of {type(container).__name__}",
            remedy="call the attribute something else",
        )
    if kind == "attribute":
        keras_api.set_attribute(container, key, value)
    elif kind == "index" and isinstance(container, tuple):
        parts = list(container)
        parts[key : key + 1] = [value]
        same = type(container)
        _put_container(owner, tuple(above), same(*parts) if hasattr(container, "_fields") else same(parts))
    elif kind == "index" and above and above[-1][0] != "store":
        if key < len(container) and keras_api.viewed(value)[1] is not None:
            list.__setitem__(container, key, value)  # no weight of its own, so nothing for the tracker
        elif key < len(container):
            container[key] = value
        elif isinstance(container, deque):
            container.append(value)
        else:
            list.append(container, value)
    elif kind == "key":
        dict.__setitem__(container, key, value)
    elif kind == "member":
        stale = get(owner, steps)
        if stale is not MISSING:
            set.remove(container, stale)
        set.add(container, value)
    elif kind == "index":
        return
    else:
        raise ModelError(
            "a graph cannot take another operation",
            path=str(steps),
            expected="an attribute, a list or a dict",
            found="a place in a functional graph",
            remedy="build the graph from the layer itself",
        )


def _put_container(owner: Any, steps: tuple[Step, ...], value: Any) -> None:
    """Replaces a tuple; the arguments of a node are set on the node itself."""
    if len(steps) == 2 and steps[0][0] == "node":
        graph = keras_api.graph_of(owner)
        assert graph is not None
        node = graph.nodes[steps[0][1]]
        arguments = {"args": node.arguments.args, "kwargs": node.arguments.kwargs, steps[1][1]: value}
        keras_api.set_node_arguments(node, arguments["args"], arguments["kwargs"])
    else:
        put(owner, steps, value)
