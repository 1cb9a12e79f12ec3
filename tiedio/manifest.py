"""The manifest: the versioned record of objects, slots, variables and ties. Pure data; knows nothing of Keras."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiedio import naming, records, strict_json
from tiedio.allowance import Allowance
from tiedio.errors import DAMAGED, FormatError, ViewError, shown
from tiedio.views import NAMES, View

FORMAT = 4
"""The format version that this tiedio writes. The procedure for raising it stands in docs/format.md."""

READABLE_FORMATS = (1, 2, 3, 4)

HOOKS = ("variables", "assets", "vocabulary")
"""Where a `Stored` comes from: `save_own_variables`, `save_assets`, or the vocabulary of a lookup layer."""

_MOST_PROBLEMS = 10  # that an error tells of
_LONGEST_PROBLEM = 140
_NEW_KEYS = {"stored": 2}
_VIEWS_SINCE = 3

_OBJECT_LISTS = ("layers", "metrics", "seed_generators")
_VARIABLE_LISTS = ("trainable_variables", "non_trainable_variables", "variables")

VERSIONS = ("tiedio", "keras", "backend", "floatx", "image_data_format")

SAFETENSORS_CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint64": "U64",
    "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL", "complex64": "C64",
}  # fmt: skip
"""Keras dtype → dtype code of safetensors; other dtypes cannot be stored."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of the file: `name`, `dtype` as Keras names it, `shape`."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place that holds a variable, or a view of it: a weight that is computed from it at every use."""

    path: str
    view: View | None = None

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that the slot shows of a variable of this shape."""
        return shape if self.view is None else self.view.result_shape(shape)


@dataclass(frozen=True, slots=True)
class Tie:
    """Two or more slots that hold one variable, or views of it.

    Args:
        path: the canonical slot, whose path names the tensor in a file.
        slots: the paths of all slots, the canonical one first.
        shape: shape of the variable.
        dtype: dtype of the variable, such as `"float32"`.
        views: for each slot the view of the variable that stands there, `None` where it is the variable itself;
            empty if no slot holds a view.

    Example:
        >>> from tiedio import Tie
        >>> Tie("a/kernel", ("a/kernel", "b/kernel"), (2, 3), "float32").slots
        ('a/kernel', 'b/kernel')
    """

    path: str
    slots: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    views: tuple[View | None, ...] = ()

    @staticmethod
    def of(slots: Sequence[Slot], shape: tuple[int, ...], dtype: str) -> Tie:
        """The tie of these slots.

        Args:
            slots: the slots, the canonical one first.
            shape: shape of the variable.
            dtype: dtype of the variable.
        """
        views = tuple(slot.view for slot in slots) if any(slot.view for slot in slots) else ()
        return Tie(slots[0].path, tuple(slot.path for slot in slots), shape, dtype, views)


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the model or of its optimizer, and what belongs to the variable object itself.

    `created_trainable` is the flag that the backend's variable was made with: TensorFlow's gradient tape
    watches only variables that were made trainable, whatever `trainable` says afterwards.
    """

    slots: tuple[Slot, ...]
    shape: tuple[int, ...]
    dtype: str
    name: str
    path: str
    trainable: bool = True
    created_trainable: bool = True
    autocast: bool = True
    aggregation: str = "none"
    synchronization: str = "auto"
    overwrite_with_gradient: bool = False
    regularizer: Any = None
    constraint: Any = None

    @property
    def tensor(self) -> TensorSpec:
        """The tensor that holds the value, named by the canonical slot."""
        return TensorSpec(self.slots[0].path, self.dtype, self.shape)


@dataclass(frozen=True, slots=True)
class Object:
    """One layer, model, metric, seed generator or operation; `paths` are all places that hold it.

    `orders` gives, for each list that Keras keeps (`trainable_variables`, `layers`, …), the canonical
    paths of its members in order.
    """

    path: str
    class_name: str
    paths: tuple[str, ...]
    trainable: bool | None = None
    orders: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Optimizer:
    """One optimizer: the models that compile with it, and the variables that it was built for, in order."""

    path: str
    models: tuple[str, ...]
    class_name: str
    built: bool
    variables: tuple[str, ...] = ()
    excluded_from_weight_decay: tuple[str, ...] = ()
    excluded_names: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What an object's own saving hook gave under one key.

    `tensor` is a tensor of its own, or the canonical slot of the variable that the hook stored as it is; `key`
    is the key in the store of `save_own_variables`, or a file's path below the folder of `save_assets`.
    """

    object: str
    hook: str
    key: str
    tensor: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def spec(self) -> TensorSpec:
        """The tensor that holds the value."""
        return TensorSpec(self.tensor, self.dtype, self.shape)


@dataclass(frozen=True, slots=True)
class Root:
    """A model that was handed to `save`; `name` is `None` for a single model."""

    name: str | None
    path: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a file of tiedio holds, as written in its header.

    Example:
        >>> import keras, tiedio
        >>> tiedio.save(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), "model.safetensors")
        >>> manifest = tiedio.inspect("model.safetensors")
        >>> (manifest.format, manifest.ties, len(manifest.tensors))
        (4, (), 2)
    """

    format: int
    versions: dict[str, str]
    roots: tuple[Root, ...]
    objects: tuple[Object, ...]
    variables: tuple[Variable, ...]
    optimizers: tuple[Optimizer, ...] = ()
    constants: tuple[TensorSpec, ...] = ()
    custom: tuple[str, ...] = ()
    stored: tuple[Stored, ...] = ()

    @property
    def ties(self) -> tuple[Tie, ...]:
        """Every tie, in the order of the variables."""
        return tuple(Tie.of(v.slots, v.shape, v.dtype) for v in self.variables if len(v.slots) > 1)

    @property
    def shared_objects(self) -> tuple[Object, ...]:
        """Every layer or model that several paths reach."""
        return tuple(o for o in self.objects if len(o.paths) > 1)

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """Every tensor of the file."""
        slots = {v.slots[0].path for v in self.variables}
        own = tuple(one.spec for one in self.stored if one.tensor not in slots)
        return tuple(v.tensor for v in self.variables) + self.constants + own

    def to_json(self) -> str:
        """The manifest as one compact JSON text; what equals its default is left out."""
        return strict_json.dumps(records.encode(self))

    @staticmethod
    def from_json(text: str, where: str = "manifest", allowance: Allowance | None = None) -> Manifest:
        """Parses and validates a manifest.

        Args:
            text: the JSON text.
            where: the file, for errors.
            allowance: what the file may take in memory; `None` for a manifest that is no file's. The part of the
                manifest is taken.

        Raises:
            FormatError: if the text is no manifest, is of another format version, has unknown keys, or contradicts
                itself.
            LimitError: if it nests too deep, or would take too much memory.
        """
        allowed = Allowance() if allowance is None else allowance
        before = allowed.taken
        value = strict_json.loads(text, where, allowed)
        parsed = allowed.taken - before
        if not isinstance(value, dict) or "format" not in value:
            raise FormatError(
                "the manifest has no format version",
                path=where,
                expected="an object with the key format",
                found=type(value).__name__,
                remedy=DAMAGED,
            )
        check_version(value["format"], where)
        newer = [key for key, since in _NEW_KEYS.items() if key in value and since > value["format"]]
        if newer:
            raise FormatError(
                "unknown key",
                path=where,
                expected=f"only keys of format {value['format']}",
                found=", ".join(map(repr, newer)),
                remedy=DAMAGED,
            )
        # The value is used up on the way: what is made of a part of it is smaller than the part.
        manifest: Manifest = records.decode(Manifest, value, f"{where}: manifest", consume=True)
        del value
        allowed.give_back(parsed * 3 // 5)
        _require_known_views(manifest, where)
        problems = tuple(itertools.islice(_problems(manifest), _MOST_PROBLEMS + 1))
        if problems:
            rest = "; …" if len(problems) > _MOST_PROBLEMS else ""
            raise FormatError(
                "the manifest contradicts itself",
                path=where,
                found="; ".join(one[:_LONGEST_PROBLEM] for one in problems[:_MOST_PROBLEMS]) + rest,
                remedy="the file is damaged or was not written by tiedio; save the model again",
                expected="slots, tensors and objects that agree",
            )
        return manifest


def check_version(version: Any, where: str) -> None:
    """Raises `FormatError` unless this tiedio reads format `version`."""
    if isinstance(version, bool) or not isinstance(version, int):
        raise FormatError(
            "the format version is no integer",
            path=where,
            expected=f"one of the integers {', '.join(map(str, READABLE_FORMATS))}",
            found=shown(version),
            remedy=DAMAGED,
        )
    if version not in READABLE_FORMATS:
        newer = version > FORMAT
        raise FormatError(
            "the file has a newer format than this tiedio reads" if newer else "the format version is unknown",
            path=where,
            expected=f"format {', '.join(map(str, READABLE_FORMATS))}",
            found=f"format {version}",
            remedy="upgrade: pip install --upgrade tiedio" if newer else "save the model again with this tiedio",
        )


def _require_known_views(manifest: Manifest, where: str) -> None:
    known = NAMES if manifest.format >= _VIEWS_SINCE else ()
    for slot in (slot for variable in manifest.variables for slot in variable.slots):
        if slot.view is not None and slot.view.name not in known:
            raise FormatError(
                "unknown view",
                path=f"{where}: {slot.path[:200]}",
                expected=f"one of {', '.join(known)}" if known else f"none: format {manifest.format} has no views",
                found=shown(slot.view.name)[:60],
                remedy="upgrade: pip install --upgrade tiedio",
            )


def _view_problems(variable: Variable) -> Iterator[str]:
    if variable.slots[0].view is not None:
        yield f"canonical slot {shown(variable.slots[0].path)} holds a view"
    for slot in variable.slots:
        try:
            fits = slot.view is None or slot.view.resolved(variable.shape) == slot.view
        except ViewError:
            fits = False
        if not fits:
            yield f"the view in {shown(slot.path)} does not fit its variable"
        elif slot.view is not None and slot.view.is_identity(variable.shape):
            yield f"the view in {shown(slot.path)} is the variable itself"


def _problems(manifest: Manifest) -> Iterator[str]:
    """Every contradiction inside a manifest that is well formed."""
    yield from (f"version of {name!r} is missing" for name in VERSIONS if name not in manifest.versions)
    yield from _root_problems(manifest)
    slots: set[str] = set()
    for variable in manifest.variables:
        if not variable.slots:
            yield f"variable {shown(variable.path)} has no slot"
            continue
        for slot in variable.slots:
            if slot.path in slots:
                yield f"slot {shown(slot.path)} holds two variables"
            slots.add(slot.path)
        yield from _view_problems(variable)
    if all(variable.slots for variable in manifest.variables):
        yield from _tensor_problems(manifest)
    canonical = {v.slots[0].path for v in manifest.variables if v.slots}
    optimizers = {optimizer.path for optimizer in manifest.optimizers}
    objects: set[str] = set()
    places: set[str] = set()
    for record in manifest.objects:
        if record.path in objects:
            yield f"object {shown(record.path)} stands twice"
        objects.add(record.path)
        for path in record.paths:
            if path in places:
                yield f"place {shown(path)} holds two objects"
            places.add(path)
        if not record.paths or record.paths[0] != record.path:
            yield f"object {shown(record.path)} is not first among its places"
    yield from (f"{shown(path)} is no path" for paths in (slots, places) for path in paths if not naming.is_path(path))
    for path in slots:
        above, mark, _ = path.partition("@optimizer/")
        if mark and f"{above}@optimizer" not in optimizers:
            yield f"slot {shown(path)} is of no optimizer"
    for record in manifest.objects:
        for store, members in record.orders.items():
            if store not in _OBJECT_LISTS + _VARIABLE_LISTS:
                yield f"{shown(record.path)} has an unknown list {shown(store)}"
                continue
            known = objects if store in _OBJECT_LISTS else canonical
            yield from (f"{shown(record.path)} lists unknown {shown(m)} in {store}" for m in members if m not in known)
    yield from (f"root {shown(root.path)} is no object" for root in manifest.roots if root.path not in objects)
    yield from _optimizer_problems(manifest, canonical, objects, places)
    yield from _stored_problems(manifest, objects | optimizers)


def _optimizer_problems(
    manifest: Manifest, canonical: Collection[str], objects: Collection[str], places: Collection[str]
) -> Iterator[str]:
    seen: set[str] = set()
    for optimizer in manifest.optimizers:
        name = f"optimizer {shown(optimizer.path)}"
        if optimizer.path in seen or optimizer.path in places:
            yield f"{name} stands twice"
        seen.add(optimizer.path)
        if len({*optimizer.variables}) != len(optimizer.variables):
            yield f"{name} lists a variable twice"
        listed = (*optimizer.variables, *optimizer.excluded_from_weight_decay)
        yield from (f"{name} lists unknown {shown(m)}" for m in listed if m not in canonical)
        yield from (f"{name} is of no model {shown(m)}" for m in optimizer.models if m not in objects)


def _root_problems(manifest: Manifest) -> Iterator[str]:
    names = [root.name for root in manifest.roots]
    if not names or (len(names) > 1 and None in names):
        yield "the roots are not one model or several with names"
    if len(set(names)) != len(names):
        yield "two roots have one name"


def _tensor_problems(manifest: Manifest) -> Iterator[str]:
    names: set[str] = set()
    for tensor in manifest.tensors:
        if tensor.name in names:
            yield f"tensor {shown(tensor.name)} stands twice"
        names.add(tensor.name)
        if any(size < 0 for size in tensor.shape):
            yield f"tensor {shown(tensor.name)} has a negative size"
        if not naming.is_path(tensor.name):
            yield f"{shown(tensor.name)} is no path"


def _stored_problems(manifest: Manifest, owners: set[str]) -> Iterator[str]:
    """Contradictions in what hooks stored."""
    variables = {v.slots[0].path: v.tensor for v in manifest.variables if v.slots}
    keys = set()
    files: dict[str, list[str]] = {}
    for one in manifest.stored:
        name = f"key {shown(one.key)} of {shown(one.object)}"
        if one.object not in owners:
            yield f"what a hook stored is of no object {shown(one.object)}"
        if one.hook not in HOOKS:
            yield f"unknown hook {shown(one.hook)}"
        if (one.object, one.hook, one.key) in keys:
            yield f"{name} stands twice"
        keys.add((one.object, one.hook, one.key))
        if variables.get(one.tensor, one.spec) != one.spec:
            yield f"{name} differs from its variable {shown(one.tensor)}"
        if one.hook == "assets" and not naming.is_file_path(one.key):
            yield f"an asset has an unsafe name {shown(one.key)}"
        elif one.hook == "assets":
            files.setdefault(one.object, []).append(one.key)
    for names in files.values():
        yield from naming.collisions(names)
