"""Any file that can be converted → a model of its own, with what the file says of ties, values and optimizer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tiedio import api, cloning, inspection, keras_api, migration, slots, strict_json
from tiedio.allowance import Allowance
from tiedio.container.header import header_of, open_file
from tiedio.conversion import legacy, written
from tiedio.conversion.archives import CONFIG, METADATA, Archive
from tiedio.conversion.hdf5 import Tree
from tiedio.conversion.opening import Source, kind_of
from tiedio.conversion.state import State
from tiedio.conversion.tensors import Target, fill_from
from tiedio.errors import ModelError, PathError
from tiedio.limits import Limits
from tiedio.progress import observed

Mapped = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller asks for; see `tiedio.convert`."""

    model: Any = None
    config: Any = None
    mapping: Mapped = field(default_factory=dict)
    optimizer: bool = True
    custom_objects: Mapped = field(default_factory=dict)
    safe_mode: bool = True
    limits: Limits | None = None
    strict: bool = True
    bar: bool = False


@dataclass(slots=True)
class Opened:
    """A model made of a file, and what is left of the file.

    Args:
        model: the model, or a dict of models.
        kind: what the file is, in words.
        tensors: how many values it has.
        notes: what did not come over, or came over in another way.
        pending: gives an optimizer its state, where the file has one that the model had no place for.
        waiting: how many values that state has.
    """

    model: Any
    kind: str
    tensors: int = 0
    notes: list[str] = field(default_factory=list)
    pending: Any = None
    waiting: int = 0
    _open: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Lets the file go."""
        self._open.close()


def opened(path: str | os.PathLike[str], wanted: Wanted) -> Opened:
    """Reads a file; `close` what it returns.

    Raises:
        TiedioError: as `tiedio.convert` says.
    """
    name = os.fsdecode(path)
    kind = kind_of(name)
    _require_one(wanted)
    if kind == "safetensors":
        if _is_ours(name, wanted.limits):
            return _ours(name, wanted)
        return _plain(name, wanted)
    with ExitStack() as stack:
        with observed(wanted.bar, f"reading {os.path.basename(name)}") as observer:
            source = stack.enter_context(Source(name, observer))
            result = _keras(source, wanted, stack) if kind == "keras" else _hdf5(source, wanted, stack)
        source.tell_no_more()
        source.require_unchanged()
        result._open = stack.pop_all()
    return result


def _require_one(wanted: Wanted) -> None:
    if wanted.model is not None and wanted.config is not None:
        raise ModelError(
            "the model is told twice",
            path="model",
            expected="model= or config=",
            found="both",
            remedy="pass the one that the file was saved from",
        )
    if wanted.model is not None and not isinstance(wanted.model, keras_api.Model):
        raise ModelError(
            "this is no model",
            path="model",
            expected="a keras.Model",
            found=type(wanted.model).__name__,
            remedy="pass the model that the file was saved from",
        )


def _is_ours(name: str, limits: Limits | None) -> bool:
    with open_file(name) as file:
        return inspection.FORMAT_KEY in header_of(file, name, limits).metadata


def _ours(name: str, wanted: Wanted) -> Opened:
    if wanted.model is not None or wanted.config is not None:
        raise ModelError(
            "the file is tiedio's own, and says itself what the model is",
            path=name,
            expected="neither model= nor config=",
            found="one of them",
            remedy="leave it out, or call tiedio.load_weights(model, path)",
        )
    model = api.load(
        name,
        custom_objects=wanted.custom_objects,
        compile=wanted.optimizer,
        safe_mode=wanted.safe_mode,
        mmap=False,
        limits=wanted.limits,
        progress=wanted.bar,
    )
    return Opened(model, "a file of tiedio", len(inspection.inspect(name, limits=wanted.limits).tensors))


def _keras(source: Source, wanted: Wanted, stack: ExitStack) -> Opened:
    allowance = Allowance.of(wanted.limits, source.size)
    archive = Archive(source, wanted.limits)
    config = written.parse(archive.text(CONFIG, allowance), f"{source.path}: {CONFIG}", allowance)
    strict_json.loads(archive.text(METADATA, allowance), f"{source.path}: {METADATA}", allowance)
    tree = Tree(archive.weights(), source.size, f"{source.path}: model.weights.h5", wanted.limits)
    stack.callback(tree.close)
    state = State(tree, archive.assets())
    return _filled(state, _model(config, wanted, source, tree), "a .keras file", wanted)


def _hdf5(source: Source, wanted: Wanted, stack: ExitStack) -> Opened:
    tree = Tree(source.window(), source.size, source.path, wanted.limits)
    stack.callback(tree.close)
    if tree.attribute("", "model_config") is not None:
        sides = _sides(tree)
        rules = written.rules_for(wanted.custom_objects, wanted.safe_mode, wanted.limits, source.size, sides)
        allowance = Allowance.of(wanted.limits, source.size)
        config = legacy.config_of(tree, rules, allowance, wanted.optimizer)
        return _filled(legacy.Legacy(tree), _model(config, wanted, source, tree), "a whole model in HDF5", wanted)
    if wanted.model is None and wanted.config is None:
        raise _needs_a_model(source.path, "weights only")
    store: Any = State(tree)
    if tree.attribute("", "layer_names") is not None or tree.attribute("", "layer_names0") is not None:
        store = legacy.Legacy(tree)
    return _filled(store, _model(None, wanted, source, tree), "weights in HDF5", wanted)


def _needs_a_model(path: str, found: str) -> ModelError:
    return ModelError(
        "the file does not say what the model is",
        path=path,
        expected="model= (built by its code) or config= (its config.json, or a .keras file with it)",
        found=found,
        remedy="pass one of them; on the command line: --config FILE",
    )


def _sides(tree: Tree) -> frozenset[int]:
    return frozenset(side for one in tree.datasets.values() if 0 not in one.shape for side in one.shape)


def _model(config: Any, wanted: Wanted, source: Source, tree: Tree) -> tuple[Any, Any]:
    """The model that the values are for, and what finishes it: of the caller's model a clone, so that it stays."""
    if wanted.model is not None:
        return _clone(wanted), None
    if wanted.config is not None:
        config = config_from(wanted.config, wanted)
    rules = written.rules_for(wanted.custom_objects, wanted.safe_mode, wanted.limits, source.size, _sides(tree))
    making = written.Making(rules, [one.shape for one in tree.datasets.values()], source.path)
    config = config if wanted.optimizer else written.without_compiling(config)
    return making.make(config), (making, config)


def _clone(wanted: Wanted) -> Any:
    compiled = wanted.optimizer and bool(wanted.model.compiled)
    return cloning.clones_of({None: wanted.model}, weights=True, optimizer=compiled)[None]


def config_from(config: Any, wanted: Wanted) -> dict[str, Any]:
    """The configuration in a `config.json`, a `.keras` file or a dict.

    Raises:
        FormatError: if there is none.
    """
    if isinstance(config, Mapping):
        return dict(written.in_form(dict(config), wanted.custom_objects))
    name = os.fsdecode(config)
    if name.endswith(".json"):
        with open_file(name) as file:
            size = os.fstat(file.fileno()).st_size
            allowance = Allowance.of(wanted.limits, size)
            allowance.take(size, name)
            text = file.read(size).decode("utf-8", "replace")
        return dict(written.in_form(written.parse(text, name, allowance), wanted.custom_objects))
    if not name.endswith(".keras"):
        raise PathError(
            "the configuration is in no file that can be read",
            path=name,
            expected="a name that ends in .json or .keras",
            found=os.path.splitext(name)[1] or "no suffix",
            remedy="write model.to_json() to config.json, or pass a .keras file of the model",
        )
    with Source(name) as source:
        allowance = Allowance.of(wanted.limits, source.size)
        text = Archive(source, wanted.limits).text(CONFIG, allowance)
        return written.parse(text, f"{name}: {CONFIG}", allowance)


def _filled(store: Any, made: tuple[Any, Any], kind: str, wanted: Wanted) -> Opened:
    model, making = made
    unread = store.give(model)
    result = Opened(model, kind, len(store.tree.datasets))
    if making is not None:
        making[0].finish()
        if making[1].get("compile_config") and not model.compiled:
            result.notes.append("the model is not compiled: its class compiles in its own way, and Keras left it out")
    seeds = _seeds(model) if making is not None else 0
    if seeds:
        what = "one random generator is" if seeds == 1 else f"{seeds} random generators is"
        result.notes.append(f"the state of {what} not in the file: it begins anew")
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not store.has_optimizer:
        result.notes.append("the optimizer's state is not in the file: it is what it was when the model was made")
    if unread and wanted.optimizer and optimizer is not None and _was_unbuilt(optimizer, len(unread)):
        migration.start_again(optimizer, None, {}, "@optimizer")  # Keras builds it, whatever it was
        store.give_optimizer(optimizer)
        unread = []
    if unread:
        result.waiting = len(unread)
        if not wanted.optimizer:
            result.notes.append(f"the optimizer's state ({len(unread)} values) was left out, as asked")
        elif optimizer is None:
            result.notes.append(
                f"the optimizer's state ({len(unread)} values) did not come over: the model is not compiled"
            )
        else:
            result.pending = store
            result.notes.append(
                f"the optimizer's state did not come over: the file has {len(unread)} values, and"
                f" {type(optimizer).__name__} takes {len(list(optimizer.variables))} for this model, which may have"
                " lost ties: tiedio.repair brings them back"
            )
    return result


def _seeds(model: Any) -> int:
    """How many states of random generators a model has; Keras's formats leave them out."""
    found = slots.walk({None: model}).objects
    return sum(isinstance(one.value, keras_api.SeedGenerator) for one in found)


def _was_unbuilt(optimizer: Any, count: int) -> bool:
    """Whether a file has so many values of an optimizer because it had taken no step yet."""
    fresh = type(optimizer).from_config(optimizer.get_config())
    return not fresh.built and len(list(fresh.variables)) == count


def _plain(name: str, wanted: Wanted) -> Opened:
    if wanted.model is None and wanted.config is None:
        raise _needs_a_model(name, "tensors only")
    with fill_from(name, wanted.limits) as reader:
        making = None
        if wanted.model is not None:
            model = _clone(wanted)
        else:
            entries = reader.header.entries.values()
            sides = frozenset(side for one in entries if 0 not in one.shape for side in one.shape)
            size = reader.header.file_size
            rules = written.rules_for(wanted.custom_objects, wanted.safe_mode, wanted.limits, size, sides)
            making = written.Making(rules, [entry.shape for entry in entries], name)
            # An optimizer has no state in such a file.
            model = making.make(written.without_compiling(config_from(wanted.config, wanted)))
        notes = Target.of(model, name).fill(reader, wanted.mapping, wanted.strict)
        if making is not None:
            making.finish()
        reader.require_unchanged()
        return Opened(model, "plain safetensors", len(reader.header.entries), notes)
