"""Walk of one or several roots: every object, every slot, each by a path that is structural and injective.

A path is made of segments joined by `/`: the name of a layer in a functional or sequential model, an
attribute, a list index, a dict key. Attributes of a model that has a graph start with `.`, so that they
cannot be taken for a layer's name; `@` starts what is neither attribute nor layer: arguments of a node
(`@node/matmul/0/args/1`), variables that only Keras's own list holds (`@trainable_variables/0`) and the
optimizer (`@optimizer`).
"""

from __future__ import annotations

import functools
import itertools
import re
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from tiedio import arrays, keras_api
from tiedio.errors import ModelError
from tiedio.naming import join
from tiedio.views import View

Step = tuple[str, Any]
"""How to go one step down: ("attribute", name), ("index", i), ("key", k), ("member", name), …"""

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<nothing>"})()

# Modules whose objects hold no Keras state, or a web of state that is not a model's; everything else that has
# attributes is looked into, namespaces and data classes first of all.
_FOREIGN = frozenset({
    "keras", "tensorflow", "numpy", "jax", "jaxlib", "torch", "optree", "h5py", "ml_dtypes", "google",
    "absl", "scipy", "pandas", "sklearn", "builtins", "abc", "asyncio", "concurrent", "datetime", "decimal", "enum",
    "fractions", "functools", "importlib", "inspect", "io", "logging", "multiprocessing", "os", "pathlib", "queue",
    "random", "re", "socket", "ssl", "subprocess", "threading", "_thread", "typing", "unittest", "weakref", "wrapt",
})  # fmt: skip


class Member(NamedTuple):
    """What one owner holds at one place: `steps` lead there from the owner, `segment` is its part of the path."""

    steps: tuple[Step, ...]
    segment: str
    value: Any


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object of the walk: canonical path, the object, all paths, and the owners that hold it."""

    path: str
    value: Any
    paths: tuple[str, ...]
    holders: tuple[tuple[str, tuple[Step, ...]], ...]


class FoundSlot(NamedTuple):
    """A slot of the walk: its path, the canonical path of its owner, the way from the owner, the variable.

    If the slot holds a view of the variable, `view` says which, and `live` is what stands there.
    """

    path: str
    owner: str
    steps: tuple[Step, ...]
    variable: Any
    view: View | None = None
    live: Any = None

    @property
    def held(self) -> Any:
        """What stands in the slot: the variable, or a view of it."""
        return self.variable if self.view is None else self.live


@dataclass(frozen=True, slots=True)
class Walk:
    """All objects and slots that the roots reach, breadth first: what is nearest to a root names a thing."""

    roots: tuple[tuple[str | None, Any], ...]
    objects: tuple[FoundObject, ...]
    slots: tuple[FoundSlot, ...]

    def object_paths(self) -> dict[int, str]:
        """Canonical path of each object, by identity (the walk keeps the objects alive)."""
        return {id(found.value): found.path for found in self.objects}

    def canonical_slots(self) -> dict[int, str]:
        """Canonical slot path of each variable, by identity."""
        return {id(group[0].variable): group[0].path for group in self.by_variable()}

    def by_variable(self) -> list[tuple[FoundSlot, ...]]:
        """The slots of each variable, the canonical one first: a layer's own slot names it, if there is one."""
        groups: dict[int, list[FoundSlot]] = {}
        for slot in self.slots:
            groups.setdefault(id(slot.variable), []).append(slot)
        return [tuple(sorted(group, key=_rank)) for group in groups.values()]


def _rank(slot: FoundSlot) -> tuple[bool, bool]:
    return slot.view is not None, "@" in slot.path and _is_marked(slot.path)


def _is_marked(path: str) -> bool:
    return path.startswith("@") or "/@" in path


# Marks, control, invisible and direction characters, surrogates: a fixed list, whatever Unicode's version.
_ESCAPED = re.compile(r"[/%\\\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
_LEADING = tuple(".@#0123456789")


@functools.lru_cache(maxsize=4096)  # attributes have the same few names in thousands of layers
def escape(name: str) -> str:
    """One path segment for any name: injective, without `/`, control characters or a leading mark."""
    if name == "":
        return "%empty"
    text = _ESCAPED.sub(lambda found: quote(found[0], safe="", errors="surrogatepass"), name)
    return f"%{ord(text[0]):02X}{text[1:]}" if text.startswith(_LEADING) else text


def walk(roots: Mapping[str | None, Any]) -> Walk:
    """Walks the roots breadth first with an explicit queue; every object is looked into once.

    Args:
        roots: name → model; the name is `None` for a single model.

    Returns:
        The objects and slots, in a deterministic order.
    """
    order: dict[int, tuple[str, Any]] = {}
    paths: dict[int, list[str]] = {}
    holders: dict[int, list[tuple[str, tuple[Step, ...]]]] = {}
    slots: list[FoundSlot] = []
    queue: deque[tuple[str, Any]] = deque()

    for name, model in roots.items():
        path = "" if name is None else escape(name)
        if id(model) not in order:
            order[id(model)] = (path, model)
            paths[id(model)], holders[id(model)] = [path], []
            queue.append((path, model))
        else:
            paths[id(model)].append(path)
    while queue:
        owner_path, owner = queue.popleft()
        prefix = join(owner_path, "")
        for steps, segment, value in members(owner):
            path = prefix + segment
            if is_variable(value):
                slots.append(FoundSlot(path, owner_path, steps, *keras_api.viewed(value), value))
                continue
            if id(value) not in order:
                order[id(value)] = (path, value)
                paths[id(value)], holders[id(value)] = [], []
                queue.append((path, value))
            paths[id(value)].append(path)
            holders[id(value)].append((owner_path, steps))
    objects = tuple(
        FoundObject(path, value, tuple(paths[key]), tuple(holders[key])) for key, (path, value) in order.items()
    )
    return Walk(tuple(roots.items()), objects, tuple(slots))


def members(owner: Any) -> Iterator[Member]:
    """Everything with state that `owner` holds itself: variables and objects, in a deterministic order."""
    graph = keras_api.graph_of(owner)
    held: set[int] = set()
    for member in _graph_members(owner, graph):
        held.add(id(member.value))
        yield member
    mark = "." if isinstance(owner, (keras_api.Functional, keras_api.Sequential)) else ""
    looked_into: set[int] = set()
    attributes = _all_attributes(owner)
    for name in sorted(attributes.keys() - keras_api.bookkeeping_names(owner)):
        value = attributes.get(name)
        kind = classify(type(value))
        if kind in _ENDS:
            if kind != "skip":
                held.add(id(value))
                yield Member((("attribute", name),), mark + attribute_segment(owner, name), value)
            continue
        for steps, segments, leaf in leaves(value, looked_into):
            held.add(id(leaf))
            segment = "/".join((mark + attribute_segment(owner, name), *segments))
            yield Member((("attribute", name), *steps), segment, leaf)
    yield from _argument_members(graph)
    for store, values in keras_api.stores(owner).items():
        for position, value in enumerate(values):
            inner = store == "layers" and value is getattr(owner, "_functional", None)
            if id(value) not in held and not inner:
                held.add(id(value))
                yield Member((("store", store), ("index", position)), f"@{store}/{position}", value)


def own_attributes(owner: Any) -> dict[str, Any]:
    """The instance attributes of `owner` that are not Keras's or the backend's bookkeeping."""
    known = keras_api.bookkeeping_names(owner)
    return {name: value for name, value in _all_attributes(owner).items() if name not in known}


def _all_attributes(owner: Any) -> dict[str, Any]:
    return attributes_of(owner) if _slots_of(type(owner)) else vars(owner)


def _graph_members(owner: Any, graph: keras_api.Graph | None) -> Iterator[Member]:
    if isinstance(owner, keras_api.Sequential):
        seen: set[int] = set()
        for position, layer in enumerate(keras_api.sequential_layers(owner)):
            if id(layer) not in seen:
                seen.add(id(layer))
                yield Member((("layer", position),), escape(layer.name), layer)
        for position, operation in enumerate(graph.operations if graph is not None else ()):
            if not isinstance(operation, keras_api.Layer):  # what computes a mask
                yield Member((("operation", position),), f"@operation/{escape(operation.name)}", operation)
    elif graph is not None:
        for position, operation in enumerate(graph.operations):
            yield Member((("operation", position),), escape(operation.name), operation)


def _argument_members(graph: keras_api.Graph | None) -> Iterator[Member]:
    """Live variables that were passed as an argument to an operation of a functional graph."""
    calls: dict[int, int] = {}
    for position, node in enumerate(graph.nodes if graph is not None else ()):
        call = calls.get(id(node.operation), 0)
        calls[id(node.operation)] = call + 1
        for kind, value in (("args", node.arguments.args), ("kwargs", node.arguments.kwargs)):
            for steps, segments, leaf in leaves(value):
                if is_variable(leaf):
                    where = "/".join(("@node", escape(node.operation.name), str(call), kind, *segments))
                    yield Member((("node", position), ("attribute", kind), *steps), where, leaf)


def attribute_segment(owner: Any, name: str) -> str:
    """The part of a path that names an attribute."""
    # `_kernel` behind a property `kernel` is shown by the name that users know.
    if name.startswith("_") and isinstance(getattr(type(owner), name[1:], None), property):
        return escape(name[1:])
    return escape(name)


def leaves(value: Any, looked_into: set[int] | None = None) -> Iterator[tuple[tuple[Step, ...], tuple[str, ...], Any]]:
    """Variables and objects inside one attribute value, with the steps and segments that lead to each.

    Args:
        value: the value.
        looked_into: identities of plain objects that are done: each is looked into once, however many ways lead there.
    """
    done = set() if looked_into is None else looked_into
    stack: list[tuple[tuple[Step, ...], tuple[str, ...], Any, tuple[int, ...]]] = [((), (), value, ())]
    while stack:
        steps, segments, item, above = stack.pop()
        item = arrays.unwrapped(item)
        kind = classify(type(item))
        if kind in ("variable", "object"):
            yield steps, segments, item
        elif kind == "skip" or id(item) in above or id(item) in done:
            continue
        else:
            if kind == "plain":
                done.add(id(item))
            parts = list(_parts(kind, item))
            above = (*above, id(item))
            stack.extend(((*steps, step), (*segments, name), part, above) for step, name, part in reversed(parts))


def _parts(kind: str, item: Any) -> Iterator[tuple[Step, str, Any]]:
    if kind == "sequence":
        for index, part in enumerate(item):
            yield ("index", index), str(index), part
    elif kind == "mapping":
        named = sorted(((key_segment(key), key) for key in item), key=lambda pair: pair[0])
        yield from ((("key", key), name, item[key]) for name, key in _unique(named))
    elif kind == "set":
        objects = [(escape(part.name), part) for part in item if classify(type(part)) == "object"]
        named = sorted(objects, key=lambda pair: pair[0])
        yield from ((("member", part.name), name, part) for name, part in _unique(named))
    else:
        for name, part in sorted(attributes_of(item).items()):
            yield ("attribute", name), escape(name), part


def attributes_of(item: Any) -> dict[str, Any]:
    """The instance attributes of a plain object, those in `__slots__` included."""
    slotted = {name: getattr(item, name) for name in _slots_of(type(item)) if hasattr(item, name)}
    return slotted | dict(getattr(item, "__dict__", {}))


def _slot_names(kind: type) -> tuple[str, ...]:
    given = (vars(cls).get("__slots__", ()) for cls in kind.__mro__)
    names = (name for one in given for name in ((one,) if isinstance(one, str) else one))
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


_slots_of: Callable[[type], tuple[str, ...]] = functools.cache(_slot_names)


def _unique(named: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    for (first, _), (second, _) in itertools.pairwise(named):
        if first == second:
            raise ModelError(
                "two entries of a set or dict cannot be told apart by name",
                path=first,
                remedy="give them different names, or hold them in a list",
                expected="one name for each entry",
                found="the same name twice",
            )
    return named


def key_segment(key: Any) -> str:
    """The part of a path that names a key of a dict."""
    return escape(key) if isinstance(key, str) else f"#{escape(repr(key))}"


def _classify(kind: type[Any]) -> str:
    if arrays.is_wrapper(kind):
        return "wrapper"
    if issubclass(kind, keras_api.Variable):
        return "variable"
    if issubclass(kind, (keras_api.Operation, keras_api.Metric, keras_api.SeedGenerator)):
        return "object"
    if issubclass(kind, (str, bytes, int, float, complex, type(None), type, types.FunctionType, types.ModuleType)):
        return "skip"
    if issubclass(kind, (list, tuple, deque)):
        return "sequence"
    if issubclass(kind, Mapping):
        return "mapping"
    if issubclass(kind, (set, frozenset)):
        return "set"
    packages = [cls.__module__.partition(".")[0] for cls in kind.__mro__]
    if packages[0] in _FOREIGN or (packages[0] == "keras_hub" and "tensorflow" in packages):
        return "skip"  # the second: a cache of tokens
    return "plain" if kind.__dictoffset__ or _slots_of(kind) else "skip"


classify: Callable[[Any], str] = functools.cache(_classify)
"""What the walk does with a value of this type: `variable`, `object`, a container, `wrapper`, `plain`, or `skip`."""

_ENDS = frozenset({"variable", "object", "skip"})  # nothing further is to be found in these


def is_variable(value: Any) -> bool:
    """Whether `value` is a `keras.Variable`."""
    return classify(type(value)) == "variable"
