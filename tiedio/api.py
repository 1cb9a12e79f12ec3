"""`save`, `load`, `save_weights`, `load_weights`, `clone`, `find_ties`: the pipelines and nothing else."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Mapping
from typing import Any

from tiedio import configs, keras_api, moments, session, slots, ties
from tiedio.cloning import clones_of
from tiedio.container.header import Header
from tiedio.container.single import open_reader, write_tensors
from tiedio.errors import FormatError, ModelError
from tiedio.frozen import warn_of_frozen_ties
from tiedio.inspection import STRUCTURE_KEY, TRAINING_KEY, manifest_of, metadata_of
from tiedio.limits import Limits
from tiedio.loading import Options, load_into
from tiedio.manifest import Manifest, Tie
from tiedio.paths import checked_source, checked_target
from tiedio.pipeline import Parsed, fill, restore, take_snapshot
from tiedio.progress import Progress, observed
from tiedio.proof import MovedError, Proof
from tiedio.report import Report
from tiedio.roots import as_given, as_roots
from tiedio.structure.audit import Rules
from tiedio.weights import take_weights


def save(
    model: Any,
    path: str | os.PathLike[str],
    *,
    optimizer: bool = True,
    overwrite: bool = True,
    check: bool = True,
    progress: Progress = False,
) -> None:
    """Saves a model, or several that share layers, so that every tie survives.

    Each variable is stored once, whatever number of slots hold it. The file is written beside the target,
    synced and then put in its place: if anything fails, what stood at `path` is untouched.

    Args:
        model: a built `keras.Model`, or a dict `{name: model}` of roots that are saved together.
        path: the file; its name ends in `.safetensors`.
        optimizer: whether the compile configuration and the optimizers' state are saved too.
        overwrite: whether an existing file is replaced; `False` raises.
        check: whether the structure is rebuilt, without values, before the file is written, to prove that
            `load` will give the same model. Turning it off saves time and gives up the guarantee.
        progress: `True` for a bar in the terminal, if it takes more than a second; or a function, which is called with
            the bytes that are done and with all that there are. What it raises ends the call: nothing is replaced.

    Raises:
        PathError: if the name, the folder or an existing file forbids writing.
        ModelError: if the model would not come back the same, or if another thread changes it meanwhile; it says
            where, why and what to do.

    Warns:
        UserWarning: a constant in a graph looks like a tie and is none; see `tiedio.find_frozen_ties`. Or the file asks
            for more than others of its size may, so that `load` will have to be given `limits`.

    Example:
        >>> import keras, tiedio
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> tiedio.save(model, "model.safetensors")
    """
    target = checked_target(path, overwrite)
    alone = keras_api.is_alone()
    snapshot = take_snapshot(as_roots(model), optimizer)
    metadata = snapshot.metadata()
    if snapshot.manifest.constants:
        warn_of_frozen_ties(snapshot.walk, stacklevel=2)
    proof = Proof(snapshot, metadata, check, alone)
    with observed(progress, f"saving {os.path.basename(target)}") as observer:
        write = functools.partial(write_tensors, target, overwrite=overwrite, progress=observer)
        try:
            write(snapshot.tensors(), metadata, meanwhile=proof.run)
        except MovedError as error:
            if not check or keras_api.others_compute():  # it was another thread, or that cannot be told
                raise moments.changed(error.path) from None
            # What is proved does not depend on values, but the file has to have them as the caller will find them.
            snapshot = snapshot.renewed()
            still = functools.partial(moments.require_still, snapshot.living, snapshot.sources)
            write(snapshot.tensors(), metadata, meanwhile=still)
    if proof.beyond is not None:
        warnings.warn(f"tiedio.load will ask for raised limits. {proof.beyond}", UserWarning, stacklevel=2)


def load(
    path: str | os.PathLike[str],
    *,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    mmap: bool = True,
    verify: bool = False,
    limits: Limits | None = None,
    progress: Progress = False,
) -> Any:
    """Loads what `save` wrote: variables that were one object are one object again.

    Args:
        path: a file written by `tiedio.save`.
        custom_objects: classes and functions by registered name, beside those registered with Keras.
        compile: whether models that were compiled are compiled again, with their optimizers' state.
        safe_mode: whether Python code in the file (lambdas) is refused, and what would read other files.
        mmap: whether variables share the file's pages, copy on write, instead of copying them. Pass `False`
            for a file that others change in place.
        verify: whether every byte of the file is compared with the digests in it, before anything is made of it.
        limits: what the file may ask for; default: what fits its size, see `tiedio.Limits`.
        progress: `True` for a bar in the terminal, if it takes more than a second; or a function, which is called with
            the bytes that are done and with all that there are. What it raises ends the call: there is no model.

    Returns:
        The model, or a dict of models if `save` was given one.

    Raises:
        NoSuchFileError: if there is no file.
        FormatError: if the file is damaged, foreign or too new; a `DamagedError` if `verify` found it; a `LimitError`
            if it asks for more than its size allows.
        UnregisteredError: if it names classes that are not known here; all of them are told at once.
        UnsafeError: if it holds code and `safe_mode` is on.
        RebuildError: if a class can no longer be made from its config.
        MismatchError: if the rebuilt model is not the one that was saved.

    Example:
        >>> import keras, tiedio
        >>> dense = keras.layers.Dense(3)
        >>> tiedio.save(keras.Sequential([keras.Input((3,)), dense, dense]), "model.safetensors")
        >>> model = tiedio.load("model.safetensors")
        >>> model.layers[0] is model.layers[1]
        True
    """
    name = checked_source(path)
    with (
        observed(progress, f"loading {os.path.basename(name)}") as observer,
        open_reader(name, mmap=mmap, verify=verify, limits=limits, progress=observer) as reader,
    ):
        caps = (limits or Limits()).for_file(reader.header.file_size)
        manifest = manifest_of(reader.header, name)
        _require_structure(reader.header.metadata, name)
        parsed = Parsed.of(
            manifest,
            metadata_of(reader.header, STRUCTURE_KEY, name),
            metadata_of(reader.header, TRAINING_KEY, name),
            name,
            reader.header.allowance,
        )
        foreign = session.runs_foreign_code(reader.header.metadata.values())
        with session.untouched_randomness(foreign), session.without_collections():
            restored = restore(
                parsed,
                rules=Rules.of(manifest, custom_objects or {}, safe_mode, caps),
                constant=reader.bytes_of,
                compile=compile,
                read=reader.bytes_of,
                share=mmap,
            )
            fill(restored, reader.bytes_of, share=mmap)
        reader.require_unchanged()
    return as_given(restored.roots)


def save_weights(
    model: Any,
    path: str | os.PathLike[str],
    *,
    optimizer: bool = True,
    overwrite: bool = True,
    progress: Progress = False,
) -> None:
    """Saves the weights of a model that only its own code can make again, with every tie.

    The file is one of `save` without the configuration: no class has to be registered or to have a `get_config`.
    So nothing can make the model from it, and nothing is proved by a rebuild: `load_weights` fills a model that
    the same code has built. Regularizers, constraints and flags are the code's. The file is written beside the
    target, synced and then put in its place: if anything fails, what stood at `path` is untouched.

    Args:
        model: a built `keras.Model`, or a dict `{name: model}` of roots that are saved together.
        path: the file; its name ends in `.safetensors`.
        optimizer: whether the state of the optimizers that the models compile with is saved too.
        overwrite: whether an existing file is replaced; `False` raises.
        progress: `True` for a bar in the terminal, if it takes more than a second; or a function, which is called with
            the bytes that are done and with all that there are. What it raises ends the call: nothing is replaced.

    Raises:
        PathError: if the name, the folder or an existing file forbids writing.
        ModelError: if a value is in no place that tiedio can see, or of a dtype that cannot be stored, or if another
            thread changes the model meanwhile.

    Example:
        >>> import keras, numpy, tiedio
        >>> class Twice(keras.Model):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.dense = keras.layers.Dense(width)
        ...     def call(self, inputs):
        ...         return self.dense(self.dense(inputs))
        >>> model = Twice(3)
        >>> _ = model(numpy.zeros((1, 3)))
        >>> tiedio.save_weights(model, "weights.safetensors")
    """
    target = checked_target(path, overwrite)
    alone = keras_api.is_alone()
    taken = take_weights(as_roots(model), optimizer)
    still = None if alone else functools.partial(moments.require_still, taken.living, taken.held)
    with observed(progress, f"saving {os.path.basename(target)}") as observer:
        write_tensors(target, taken.tensors, taken.metadata, overwrite=overwrite, meanwhile=still, progress=observer)


def load_weights(
    model: Any,
    path: str | os.PathLike[str],
    *,
    strict: bool = True,
    ties: str = "match",
    optimizer: bool = True,
    prefix: str | None = None,
    mapping: Mapping[str, str] | None = None,
    mmap: bool = True,
    verify: bool = False,
    limits: Limits | None = None,
    progress: Progress = False,
) -> Report:
    """Loads the weights of a file into a model that code has built; all of them or, on any error, none.

    Places are matched by path; layers of a functional or sequential model that were given no name (`dense_3`) by
    their order, where names do not tell. No value is cast. The flags, regularizers and constraints of the model
    stay; the report says where a `trainable` flag is not the file's.

    Args:
        model: a built `keras.Model`, a layer or model inside one, or a dict `{name: model}`.
        path: a file written by `tiedio.save_weights` or `tiedio.save`.
        strict: whether model and file must have the same places, alike in shape and dtype. With `False` what fits
            is loaded, and the report lists the rest.
        ties: `"match"` refuses a model whose ties are not the file's. `"restore"` gives the model the file's ties,
            and a variable that is tied anew the file's `trainable` flag; pass the model that is trained, for
            others that share the layers are not known. `"model"` keeps the model's ties, where the values that
            become one agree bit for bit, and gives each of several slots a copy of a tied value.
        optimizer: whether the optimizers' state is loaded, where the file has it and the model is compiled.
            The optimizer is built if need be; its class, and that of those inside it, must be the same, or it is an
            error (`strict=False`: skipped and reported). So it is if the model trains what was frozen when the
            file's optimizer was built (`strict=False`: built for it too, without state of the file's).
        prefix: path of a layer or model in the file: only that part is loaded, as if it were the whole file.
        mapping: path in the file → path in the model, slots or whole layers, for places that have other names.
            A path that it names is matched in no other way.
        mmap: whether variables share the file's pages, copy on write, instead of copying them. Pass `False`
            for a file that others change in place.
        verify: whether every byte of the file is compared with the digests in it, before anything is made of it.
        limits: what the file may ask for; default: what fits its size, see `tiedio.Limits`.
        progress: `True` for a bar in the terminal, if it takes more than a second; or a function, which is called with
            the bytes that are done and with all that there are. What it raises ends the call: nothing is loaded.

    Returns:
        The report; `print` shows it.

    Raises:
        NoSuchFileError: if there is no file.
        FormatError: if the file is damaged, foreign or too new; a `DamagedError` if `verify` found it.
        ModelError: if the model is not built.
        MismatchError: if the file does not fit the model.
        RebuildError: if a loading hook of a class fails.

    Example:
        >>> import keras, tiedio
        >>> def build(classes):
        ...     return keras.Sequential([
        ...         keras.Input((4,)), keras.layers.Dense(3, name="body"), keras.layers.Dense(classes, name="head")
        ...     ])
        >>> tiedio.save_weights(build(10), "weights.safetensors")
        >>> print(tiedio.load_weights(build(2), "weights.safetensors", strict=False))
        weights.safetensors: 2 loaded, 2 mismatched
        mismatched (shape or dtype; left as they were):
          head/kernel: float32 (3, 10) in the file, float32 (3,
              2) in the model
          head/bias: float32 (10,) in the file, float32 (2,) in the
              model
    """
    if ties not in ("match", "restore", "model"):
        raise ModelError(
            "there is no such way to treat ties",
            path="ties",
            expected="'match', 'restore' or 'model'",
            found=repr(ties),
            remedy="see the documentation of tiedio.load_weights",
        )
    if prefix is not None and not isinstance(prefix, str):
        raise ModelError(
            "the prefix is no path",
            path="prefix",
            expected="str",
            found=repr(prefix),
            remedy='name a layer or model in the file: "encoder"',
        )
    name = checked_source(path)
    roots = as_roots(model, keras_api.Layer)
    options = Options(strict, ties, optimizer, (prefix or "").strip("/"), dict(mapping or {}))
    with (
        observed(progress, f"loading {os.path.basename(name)}") as observer,
        open_reader(name, mmap=mmap, verify=verify, limits=limits, progress=observer) as reader,
    ):
        manifest = manifest_of(reader.header, name)
        return load_into(roots, manifest, reader.bytes_of, name, options, _told(manifest, reader.header, name))


def clone(model: Any, weights: bool = True, optimizer: bool = False) -> Any:
    """Makes a second model like a living one, as `keras.models.clone_model` does, with every tie kept.

    Layers and variables that are one object in the model are one object in the clone, which shares none of them,
    and no memory, with the model: training one leaves the other as it is. Names and paths are the model's.
    No file is written, and the model is left as it was: its values, its compiled functions, its state of training.

    Args:
        model: a built `keras.Model`, or a dict `{name: model}` of models, which are cloned together with what
            they share.
        weights: whether the clone has the model's values, bit for bit; no random number is drawn then. With `False` the
            initializers of its layers draw new ones, one for variables that are tied, as when the model was built.
            Three things are no initializer's and stay: the value of a variable that no code of a class makes (one put
            into its place by hand), what was adapted (a vocabulary, the mean of a `Normalization`), and what a
            class stores by saving hooks of its own, unless it is the very value of a weight that trains.
        optimizer: whether the clone is compiled as the model is, with the optimizer's state. Otherwise it is not
            compiled.

    Returns:
        The clone, or a dict of clones by the same names.

    Raises:
        ModelError: if the model would not come back the same, as for `save`; it says where, why and what to do.
            Also for `optimizer=True` with `weights=False`: the state belongs to the weights.

    Example:
        >>> import keras, tiedio
        >>> first, second = keras.layers.Dense(3, name="first"), keras.layers.Dense(3, name="second")
        >>> first.build((None, 3))
        >>> second._kernel, second.bias, second.built = first.kernel, first.bias, True
        >>> model = keras.Sequential([keras.Input((3,)), first, second])
        >>> copy = tiedio.clone(model)
        >>> copy.layers[0].kernel is copy.layers[1].kernel, copy.layers[0].kernel is first.kernel
        (True, False)
    """
    return as_given(clones_of(as_roots(model), weights=weights, optimizer=optimizer))


def find_ties(model: Any) -> list[Tie]:
    """Finds every tie of a model: the slots that hold one and the same variable.

    Args:
        model: a `keras.Model`, or a dict `{name: model}`.

    Returns:
        One `Tie` for each variable that two or more slots hold. Equal values are not a tie.

    Raises:
        ModelError: if `model` is no model.

    Example:
        >>> import keras, tiedio
        >>> class Twins(keras.layers.Layer):
        ...     def build(self, input_shape):
        ...         self.first = self.second = self.add_weight(shape=(3,))
        ...     def call(self, inputs):
        ...         return self.first * inputs + self.second
        >>> model = keras.Sequential([keras.Input((3,)), Twins(name="twins"), keras.layers.Dense(3)])
        >>> [tie.slots for tie in tiedio.find_ties(model)]
        [('twins/first', 'twins/second')]
    """
    with session.without_collections():
        return ties.ties_of(slots.walk(as_roots(model)))


def _told(manifest: Manifest, header: Header, path: str) -> dict[str, dict[str, Any]]:
    """What configs in a file's structure say of vocabularies and boundaries, by object: `load_weights` compares it."""
    if STRUCTURE_KEY not in header.metadata or TRAINING_KEY not in header.metadata:
        return {}
    structure, training = (header.metadata[key] for key in (STRUCTURE_KEY, TRAINING_KEY))
    entries = Parsed.of(manifest, structure, training, path, header.allowance).structure["objects"]
    keys = ("vocabulary", "idf_weights", "bin_boundaries")
    return {
        record.path: {key: configs.decode(entry["config"].get(key), {}) for key in keys}
        for record, entry in zip(manifest.objects, entries, strict=True)
        if isinstance(entry.get("config"), dict)
    }


def _require_structure(metadata: Mapping[str, str], path: str) -> None:
    if STRUCTURE_KEY not in metadata and TRAINING_KEY not in metadata:
        raise FormatError(
            "the file holds weights only, and nothing to make a model of",
            path=path,
            expected="a file written by tiedio.save",
            found="a file written by tiedio.save_weights",
            remedy="build the model with its own code, and call tiedio.load_weights(model, path)",
        )
