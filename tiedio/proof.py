"""The proof that the two pipelines undo each other: a model is rebuilt from its own description and compared."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tiedio import hooks, keras_api, moments, plain, session, strict_json, training, values
from tiedio.allowance import Allowance
from tiedio.container.single import as_bytes
from tiedio.custom import custom_objects_of, lambdas_of
from tiedio.dtypes import numpy_dtype
from tiedio.errors import FormatError, LimitError, ModelError, TiedioError
from tiedio.inspection import MANIFEST_KEY, STRUCTURE_KEY, TRAINING_KEY
from tiedio.limits import Limits
from tiedio.manifest import Manifest
from tiedio.pipeline import Parsed, Restored, Snapshot, fill, restore
from tiedio.slots import Walk
from tiedio.structure import hidden
from tiedio.structure.audit import Rules, audit_file
from tiedio.structure.table import tabulate

_MOST_FOR_EACH = 500  # bytes that a character of a text may take in memory, at the very most
_BY_HAND = "let the class's own code and get_config make what was set by hand"


class MovedError(Exception):
    """A value has changed: by code that the proof runs (a constructor that draws from the model's generator, say)."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class Proof:
    """What is looked at while the disk works.

    Args:
        snapshot: the living models.
        metadata: what the file will have of them.
        check: whether the models are rebuilt.
        alone: whether no other thread runs.
    """

    def __init__(self, snapshot: Snapshot, metadata: Mapping[str, str], check: bool, alone: bool) -> None:
        self.beyond: LimitError | None = None
        """What `load` will say unless its limits are raised; known once it has run."""
        self.restored: Restored | None = None
        """The models that it rebuilt, without values; known once it has run."""
        self._snapshot, self._metadata, self._check, self._alone = snapshot, metadata, check, alone

    def run(self) -> None:
        """Proves it.

        Raises:
            ModelError: if `load` would give another model.
            MovedError: if a variable has another value by now.
        """
        if self._check:
            self.restored = prove(self._snapshot, self._metadata)
            self.beyond = _beyond_limits(self._snapshot, self._metadata, self.restored)
        elif self._alone:
            return
        moved = moments.first_moved(self._snapshot.living, self._snapshot.sources)
        if moved is not None:
            raise MovedError(moved)


def _beyond_limits(snapshot: Snapshot, metadata: Mapping[str, str], restored: Restored) -> LimitError | None:
    manifest = snapshot.manifest
    size = sum(map(len, metadata.values()))
    size += sum(numpy_dtype(spec.dtype).itemsize * math.prod(spec.shape) for spec in manifest.tensors)
    limits = Limits().for_file(size)
    rules = Rules.of(manifest, custom_objects_of(snapshot.walk), safe_mode=False, limits=limits)
    try:
        _parse_within(limits, size, snapshot, metadata)
        audit_file(json.loads(metadata[STRUCTURE_KEY]), json.loads(metadata[TRAINING_KEY]), manifest, rules, "the file")
    except LimitError as error:
        return error
    assert restored.meter is not None
    return restored.meter.beyond(limits)


def _parse_within(limits: Limits, size: int, snapshot: Snapshot, metadata: Mapping[str, str]) -> None:
    """Raises `LimitError` if a reader of the file would not parse its texts without higher limits."""
    assert limits.memory is not None
    texts = sum(map(len, metadata.values()))
    stored = [one for one in snapshot.manifest.stored if one.hook == "vocabulary"]
    texts += sum(math.prod(one.shape) for one in stored)
    if texts * _MOST_FOR_EACH <= limits.memory:
        return
    table = {tensor.name: {"dtype": tensor.dtype, "shape": tensor.shape} for tensor in snapshot.manifest.tensors}
    header = strict_json.dumps({"__metadata__": dict(metadata), **table}).encode()
    allowance = Allowance.of(limits, size)
    allowance.take_header(header, "the file")
    allowance.taken = sum(map(sys.getsizeof, metadata.values()))
    manifest = Manifest.from_json(metadata[MANIFEST_KEY], "the file", allowance)
    Parsed.of(manifest, metadata[STRUCTURE_KEY], metadata[TRAINING_KEY], "the file", allowance)
    number = dict.fromkeys((one.object for one in stored), 0)
    hooks.vocabularies_of(stored, number, lambda one: snapshot.sources[one.tensor], Allowance.of(limits, 0))


def prove(snapshot: Snapshot, metadata: Mapping[str, str]) -> Restored:
    """Rebuilds the structure of a snapshot, without values, from the text of its metadata, and compares both.

    No random initializer runs, and random state and automatic names are left as they were.

    Returns:
        The rebuilt models.

    Raises:
        ModelError: if what `load` would give is not the same model.
    """

    def read(name: str) -> np.ndarray[Any, Any]:
        return as_bytes(values.array_of(snapshot.sources[name]))

    foreign = session.runs_foreign_code(metadata.values())
    try:
        with session.untouched_randomness(foreign), session.without_collections():
            return rebuild(snapshot, metadata, read, lambda restored: fill(restored, read, check=True))
    except ModelError:
        raise
    except TiedioError as error:
        raise ModelError(
            f"the model would not come back the same, so nothing was written: {error.what}",
            path=error.path or "the model",
            expected=error.expected,
            found=error.found,
            # A `FormatError` speaks of a damaged file, and there is none yet.
            remedy=_BY_HAND if isinstance(error, FormatError) else error.remedy or _BY_HAND,
        ) from error


def rebuild(
    snapshot: Snapshot,
    metadata: Mapping[str, str],
    read: Callable[[str], np.ndarray[Any, Any]],
    give: Callable[[Restored], None],
    *,
    drawn: bool = False,
    live: bool = False,
) -> Restored:
    """Rebuilds the models of a snapshot from the text of its metadata, and compares both; takes no automatic name.

    Args:
        snapshot: the living models.
        metadata: what a file would have of them.
        read: the bytes of a constant by its name.
        give: gives the rebuilt variables their values.
        drawn: as for `restore`.
        live: whether lambdas are the living ones, and not made from their code again.

    Raises:
        TiedioError: if the models cannot be rebuilt, or differ.
    """
    manifest = Manifest.from_json(metadata[MANIFEST_KEY])
    parsed = Parsed.of(manifest, metadata[STRUCTURE_KEY], metadata[TRAINING_KEY], "the model")
    custom = custom_objects_of(snapshot.walk)
    functions = lambdas_of(snapshot.walk) if live else []
    with session.untouched_names(), keras_api.living(functions), session.without_warnings():
        restored = restore(
            parsed,
            rules=Rules(custom, safe_mode=False, limits=Limits.off()),
            constant=read,
            compile=bool(snapshot.training["models"]),
            foreign={id(value): value for value in snapshot.parts()},
            drawn=drawn,
        )
        give(restored)
        compare_living(snapshot, restored)
        again = tabulate(restored.walk)
    _require_same(snapshot.structure, again.record, snapshot)
    _require_same(snapshot.training, restored.trained.record, snapshot)
    return restored


def compare_living(snapshot: Snapshot, restored: Restored) -> None:
    """Compares what no text tells: attributes, what functions hold, and storage.

    Raises:
        ModelError: if the rebuilt models differ from the living ones.
    """
    plain.compare(snapshot.walk, restored.walk)
    hidden.compare(snapshot.walk, restored.walk)
    if snapshot.training["models"]:
        training.compare(snapshot.walk, restored.walk)
    _require_same_storage(snapshot.walk, restored.walk)


def _require_same_storage(live: Walk, rebuilt: Walk) -> None:
    """Variables that share the backend's own variable must share it again: it is no tie, and no file says it."""
    if keras_api.keras.backend.backend() != "tensorflow":
        return  # elsewhere storage cannot be written to, and is nothing that variables could share
    shared: dict[int, list[str]] = {}
    for group in live.by_variable():
        shared.setdefault(id(keras_api.raw_value(group[0].variable)), []).append(group[0].path)
    found = {slot.path: slot.variable for slot in rebuilt.slots}
    for paths in shared.values():
        if len(paths) > 1 and len({id(keras_api.raw_value(found[path])) for path in paths}) > 1:
            raise ModelError(
                "two variables share the storage of one, set by hand, which would not come back",
                path=paths[0],
                expected="variables with a storage of their own, or one variable in both places",
                found=", ".join(paths),
                remedy="tie the layers: tiedio.tie(layer, source)",
            )


def _comparable(record: Any) -> Any:
    """A record as it is read back, without the order in which it is made: there may be more than one that does."""
    plainly = json.loads(strict_json.dumps(record))
    if "nodes" in plainly:
        plainly["steps"] = None
        for node in plainly["nodes"]:
            node["call"] = None
    return plainly


def _require_same(before: Any, after: Any, snapshot: Snapshot) -> None:
    """Raises `ModelError` with the first place where the table of the rebuild differs."""
    mine, theirs = _comparable(before), _comparable(after)
    difference = next(_differences(mine, theirs, ()), None)
    if difference is None:
        return
    where, old, new = difference
    path = ".".join(map(str, where))
    if len(where) > 1 and where[0] == "objects":
        path = f"{snapshot.manifest.objects[where[1]].path or 'the model'} ({'.'.join(map(str, where[2:]))})"
    raise ModelError(
        "the configuration would not come back the same",
        path=path,
        expected=old,
        found=new,
        remedy="check that get_config of this class returns what its constructor was given",
    )


def _differences(old: Any, new: Any, where: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str, str]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key, "nothing"), new.get(key, "nothing"), (*where, key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for position, (first, second) in enumerate(zip(old, new, strict=True)):
            yield from _differences(first, second, (*where, position))
    elif old != new or type(old) is not type(new):
        yield where, repr(old)[:200], repr(new)[:200]
