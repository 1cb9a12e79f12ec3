"""Walk two models side by side and pair their objects, place by place."""

from __future__ import annotations

from collections import deque
from types import MethodType
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tiedio.keras_api import LiveView

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# What is one object or several; the first kind that fits counts. A model is a layer, a layer an operation.
_KINDS = {
    "view": LiveView,
    "variable": keras.Variable,
    "layer": keras.Operation,
    "optimizer": keras.optimizers.Optimizer,
    "metric": keras.metrics.Metric,
    "seed generator": keras.random.SeedGenerator,
    "symbolic tensor": keras.KerasTensor,
}
# Arrays and tensors that are arguments in a functional graph; anywhere else, they are nothing that is saved.
_CONSTANT = "constant"
_LEAVES = ("view", "variable", "symbolic tensor", _CONSTANT)

# Whose objects are not opened: they hold no user's layers, or far too much.
_LIBRARIES = {"builtins", "functools", "inspect", "jax", "keras", "numpy", "tensorflow", "torch", "weakref"}

# Bookkeeping that leads out of the model (`_inbound_nodes` knows every model that a layer is in), or that
# a backend keeps beside the attributes it stands for.
_SKIPPED = {
    "_inbound_nodes", "_outbound_nodes", "_tracker", "_tracked", "_parent_path",
    "_self_name_based_restores", "_self_saveable_object_factories", "_self_setattr_tracking",
    "_self_unconditional_checkpoint_dependencies", "_self_unconditional_deferred_dependencies",
    "_self_unconditional_dependency_names", "_self_update_uid", "_self_tiedio_arguments", "_self_tiedio_order",
}  # fmt: skip
# Metrics that Keras made while it compiled: no format keeps how far they have counted.
_COMPILED = {"_metrics", "_loss_tracker", "_compile_metrics", "_compile_loss"}
# Lists of what other attributes hold too: they come last, so that a place is called by its attribute.
LISTS = frozenset(
    {
        "_layers",
        "_operations",
        "_seed_generators",
        "_trainable_variables",
        "_non_trainable_variables",
        "_variables",
    }
)


class Pairing:
    """Which object of one model stands where which object of the other stands.

    Args:
        sides: what sentences call the first and the second model.

    Attributes:
        objects: layers, seed generators, optimizers and metrics that are one object on one side only, as sentences
            that name places.
        ties: variables and views of which that holds, views that differ, and what is a variable on one side only.
        others: all other differences, such as places that only one side has.
    """

    def __init__(self, sides: tuple[str, str] = ("the original", "the loaded model")) -> None:
        self.sides = sides
        self.objects: list[str] = []
        self.ties: list[str] = []
        self.others: list[str] = []
        self._pairs: dict[str, dict[int, tuple[Any, Any, str]]] = {kind: {} for kind in (*_KINDS, _CONSTANT)}
        self._backward: dict[str, dict[int, tuple[Any, Any, str]]] = {kind: {} for kind in (*_KINDS, _CONSTANT)}

    @property
    def faults(self) -> list[str]:
        """What is not the same on both sides; what spoils the rest comes first: a layer that is two has two kernels.

        Returns:
            The sentences.
        """
        return [*self.objects, *self.ties, *self.others]

    def report(self, kinds: set[str | None], fault: str) -> None:
        """Note a fault.

        Args:
            kinds: the kinds of object that it is about.
            fault: a sentence that names the places.
        """
        if kinds & {"variable", "view"}:
            self.ties.append(fault)
        elif kinds & {"layer", "optimizer", "seed generator", "metric"}:
            self.objects.append(fault)
        else:
            self.others.append(fault)

    def items(self, kind: str) -> Iterator[tuple[Any, Any, str]]:
        """The pairs of a kind with their first place, in the order in which they were met.

        Args:
            kind: `"variable"`, `"view"`, `"layer"` (any operation), `"optimizer"`, `"metric"`, `"seed generator"`,
                `"symbolic tensor"` or `"constant"`.

        Returns:
            An iterator over (object of the first model, object of the second, place).
        """
        yield from self._pairs[kind].values()

    def firsts(self, kind: str) -> list[Any]:
        """The distinct objects of a kind in the first model.

        Args:
            kind: as for `items`.

        Returns:
            The objects, in the order in which they were met.
        """
        return [a for a, _, _ in self.items(kind)]

    def partner(self, kind: str, thing: Any) -> Any:
        """What stands in the second model where `thing` stands in the first.

        Args:
            kind: as for `items`.
            thing: an object of the first model.

        Returns:
            The object, or `None` where the walk did not reach `thing`.
        """
        found = self._pairs[kind].get(id(thing))
        return None if found is None else found[1]

    def place(self, kind: str, thing: Any) -> str:
        """The place at which the walk met `thing` first.

        Args:
            kind: as for `items`.
            thing: an object of the first model.

        Returns:
            The place, such as `model.layers[1]._kernel`.
        """
        found = self._pairs[kind].get(id(thing))
        return "an unreached place" if found is None else found[2]

    def add(self, kind: str, a: Any, b: Any, place: str) -> bool:
        """Pair two objects; a fault if either is paired with something else already.

        Args:
            kind: as for `items`.
            a: the first model's object at `place`.
            b: the second model's.
            place: where they stand.

        Returns:
            Whether the pair is new.
        """
        if kind == _CONSTANT:  # cannot change: whether two equal ones are one object makes no difference
            self._pairs[kind].setdefault(id(a), (a, b, place))
            return True
        forward, backward = self._pairs[kind].get(id(a)), self._backward[kind].get(id(b))
        one, other = self.sides
        if forward is not None and forward[1] is not b:
            self.report({kind}, f"{forward[2]} and {place} are one {kind} in {one}, but two in {other}")
        if backward is not None and backward[0] is not a:
            self.report({kind}, f"{backward[2]} and {place} are two {kind}s in {one}, but one in {other}")
        if forward is not None or backward is not None:
            return False
        self._pairs[kind][id(a)] = self._backward[kind][id(b)] = (a, b, place)
        return True


def pair(
    first: Any,
    second: Any,
    *,
    sides: tuple[str, str] = ("the original", "the loaded model"),
    without: Collection[str] = (),
) -> Pairing:
    """Walk two models, or two dicts of models, side by side.

    Args:
        first: the original.
        second: the one that should be like it; the same model for a list of its own objects.
        sides: what sentences call the two.
        without: kinds of objects, as for `Pairing.items`, that are passed by.

    Returns:
        The pairing; its faults say where one side shares an object and the other does not, and where only one
        side has anything.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> found = pair(model, model)
        >>> [place for _, _, place in found.items("variable")]
        ['model.layers[0]._kernel', 'model.layers[0].bias']
    """
    found = Pairing(sides)
    missing: list[str] = []
    queue: deque[tuple[Any, Any, str]] = deque()

    def meet(a: dict[str, Any], b: dict[str, Any], place: str) -> None:
        missing.extend(f"only {sides[label in b]} has anything at {place}{label}" for label in a.keys() ^ b.keys())
        for label in (label for label in a if label in b):
            _meet_one(found, queue, a[label], b[label], f"{place}{label}")

    def kept(flat: dict[str, Any]) -> dict[str, Any]:
        return {label: thing for label, thing in flat.items() if _kind(thing) not in without} if without else flat

    meet(_flat({"": first}), _flat({"": second}), "model")
    while queue:
        a, b, place = queue.popleft()
        meet(kept(_children(a)), kept(_children(b)), place)
    found.others += sorted(missing)
    return found


def lent(found: Pairing) -> list[str]:
    """What the second model has not got of its own.

    Args:
        found: a pairing of two models.

    Returns:
        A sentence for each layer, variable and view that is the first model's.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> lent(pair(model, model))[0]
        "model.layers[0]._kernel: the loaded model holds the original's own variable"
    """
    one, other = found.sides
    return [
        f"{place}: {other} holds {one}'s own {kind}"
        for kind in ("variable", "view", "layer")
        for a, b, place in found.items(kind)
        if a is b
    ]


def _meet_one(found: Pairing, queue: deque[tuple[Any, Any, str]], a: Any, b: Any, place: str) -> None:
    kind = _kind(a)
    if kind is None or kind != _kind(b):
        here, there = (f"a {one}" if one else "nothing of the kind" for one in (kind, _kind(b)))
        found.report({kind, _kind(b)}, f"{place} is {here} in {found.sides[0]}, but {there} in {found.sides[1]}")
    elif found.add(kind, a, b, place) and kind not in _LEAVES:
        queue.append((a, b, place))
    elif kind == "view":
        if a.view != b.view:
            one, other = found.sides
            found.report({kind}, f"{place} is the view {a.view} in {one}, but {b.view} in {other}")
        _meet_one(found, queue, a.source, b.source, f"{place}.source")


_kind_of: dict[type, str | None] = {}


def _kind(thing: Any) -> str | None:
    cls = type(thing)
    if cls not in _kind_of:  # a question of the class alone, and TensorFlow takes long to say what a tensor is
        found = next((kind for kind, base in _KINDS.items() if isinstance(thing, base)), None)
        is_array = found is None and (isinstance(thing, np.ndarray) or keras.ops.is_tensor(thing))
        _kind_of[cls] = _CONSTANT if is_array else found
    return _kind_of[cls]


def _children(thing: Any) -> dict[str, Any]:
    """What an object holds, by label; the public lists come first, so that places read well."""
    public = {name: getattr(thing, name) for name in ("layers", "operations") if hasattr(thing, name)}
    attributes = {
        name: value
        for name, value in sorted(vars(thing).items(), key=lambda item: (item[0] in LISTS, item[0]))
        if name not in _SKIPPED and not (name in _COMPILED and isinstance(thing, keras.layers.Layer))
    }
    return _flat({f".{name}": value for name, value in (public | attributes).items()})


def _is_plain(thing: Any) -> bool:
    """Whether this is an object of a user's class, or a namespace, that may hold anything."""
    package = type(thing).__module__.partition(".")[0]
    return hasattr(thing, "__dict__") and not isinstance(thing, type) and package not in _LIBRARIES


def _is_node(thing: Any) -> bool:
    """Whether this is a call in a functional graph."""
    return hasattr(thing, "arguments") and hasattr(thing, "operation")


def _flat(named: dict[str, Any]) -> dict[str, Any]:
    """Open containers, graph nodes and plain objects, and keep what is an object of some kind."""
    flat: dict[str, Any] = {}

    def open_up(label: str, value: Any, above: tuple[Any, ...]) -> None:
        if any(value is one for one in above):  # a list that holds itself
            return
        kind = _kind(value)
        if kind == _CONSTANT:
            if any(_is_node(one) for one in above):
                flat[label] = value
        elif kind is not None:
            flat[label] = value
        elif isinstance(value, dict):
            for key, item in value.items():
                open_up(f"{label}[{key!r}]", item, (*above, value))
        elif isinstance(value, (list, tuple, deque)):
            for index, item in enumerate(value):
                open_up(f"{label}[{index}]", item, (*above, value))
        elif isinstance(value, MethodType):
            open_up(f"{label}.__self__", value.__self__, (*above, value))
        elif _is_node(value):
            for name in ("operation", "outputs"):
                open_up(f"{label}.{name}", getattr(value, name), (*above, value))
            for name in ("args", "kwargs"):
                open_up(f"{label}.{name}", getattr(value.arguments, name), (*above, value))
        elif _is_plain(value):
            for name, item in sorted(vars(value).items()):
                open_up(f"{label}.{name}", item, (*above, value))

    for name, value in named.items():
        open_up(name, value, ())
    return flat
