"""Other formats in and out, and the ties that they lost: `convert`, `repair`, `find_lost_ties`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from tiedio import api, keras_api
from tiedio.conversion.candidates import MIN_SIZE, LostTie, candidates
from tiedio.conversion.foreign import Opened, Wanted, opened
from tiedio.conversion.keras_files import write_keras
from tiedio.conversion.mending import Order, bring_back_state, chosen_of, tie_pairs
from tiedio.conversion.report import Conversion, Repair
from tiedio.errors import ModelError, PathError
from tiedio.limits import Limits
from tiedio.paths import require_free
from tiedio.progress import Progress

__all__ = ["Conversion", "LostTie", "Repair", "convert", "find_lost_ties", "repair"]

Path = str | os.PathLike[str]


def convert(
    source: Path,
    target: Path,
    *,
    model: Any = None,
    config: Any = None,
    mapping: Mapping[str, Any] | None = None,
    strict: bool = True,
    optimizer: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
    safe_mode: bool = True,
    limits: Limits | None = None,
    overwrite: bool = True,
    progress: Progress = False,
) -> Conversion:
    """Converts a model file: `.keras`, `.weights.h5`, `.h5` or `.safetensors` in, `.safetensors` or `.keras` out.

    A source in another format is trusted as little as one of tiedio's own: its archive, its configuration and its
    datasets are judged before anything is made of them. Values come over bit for bit; every one is used, and every
    weight gets one. What a format lost, ties above all, does not come back by itself: the report names what may have
    been tied, and `tiedio.repair` ties it.

    Args:
        source: the file to read.
        target: the file to write; it is put into place once it is whole. A `.keras` file is loaded again first, and
            what it does not carry is warned of.
        model: for weights alone: a model as it was when they were saved. It is cloned, and stays as it is.
        config: for weights alone: a `config.json` or `.keras` file (or the dict in one) that says what the model is.
        mapping: for plain safetensors: name in the file → slot, or `(slot, tiedio.transpose())` to turn the tensor.
        strict: for plain safetensors: whether tensors and weights have to be the same; with `False`, what is left on
            either side is told in the report.
        optimizer: whether the compile configuration and the optimizer's state are taken over.
        custom_objects: classes and functions by registered name, beside those registered with Keras.
        safe_mode: whether Python code in the file (lambdas) is refused, and what would read other files.
        limits: what the file may ask for; default: what fits its size.
        overwrite: whether an existing target is replaced.
        progress: `True` for bars in the terminal, while the source is read and a `.safetensors` file is written, if
            that takes more than a second; or a function, as in `tiedio.save`, which is told of what is written.

    Returns:
        The report; `print` shows it.

    Raises:
        PathError: if a name has no known suffix, or the target cannot be written.
        FormatError: if the source is damaged, hostile or not what its name says; a `LimitError` if it asks for too
            much.
        UnsafeError, UnregisteredError, RebuildError: as `tiedio.load`.
        MismatchError: if values and model do not fit each other.
        ModelError: if the source says no model and none is passed, or if the target would not give the model back.

    Warns:
        UserWarning: an optimizer's state did not come over, or the target does not carry a tie; the report has it too.

    Example:
        >>> import keras, tiedio
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> model.save("model.keras")
        >>> print(tiedio.convert("model.keras", "model.safetensors"))
        model.keras → model.safetensors
        a .keras file: 2 values, 0 ties; optimizer: none
    """
    names = os.fsdecode(source), _checked_target(target, (".safetensors", ".keras"), overwrite, source)
    wanted = _wanted(model, config, mapping, strict, optimizer, custom_objects, safe_mode, limits, progress)
    found = opened(source, wanted)
    try:
        lost = tuple(candidates(found.model, waiting=found.pending is not None))
        state = _state_of(found)
        ties = tuple(api.find_ties(found.model))
        notes = [*found.notes]
        if names[1].endswith(".keras"):
            gone = write_keras(found.model, names[1], wanted, overwrite=overwrite)
            notes += [f".keras does not carry {one}" for one in gone]
        else:
            api.save(found.model, names[1], optimizer=optimizer, overwrite=overwrite, progress=progress)
    finally:
        found.close()
    for note in notes:
        if "did not come over" in note or note.startswith(".keras"):
            warnings.warn(f"{names[0]}: {note}", UserWarning, stacklevel=2)
    return Conversion(*names, found.kind, found.tensors, ties, state, tuple(notes), lost)


def repair(
    source: Path,
    target: Path,
    *,
    pairs: Iterable[Any] | None = None,
    all: bool = False,  # noqa: A002 - as the command line has it
    min_size: int = MIN_SIZE,
    model: Any = None,
    config: Any = None,
    optimizer: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
    safe_mode: bool = True,
    limits: Limits | None = None,
    overwrite: bool = True,
    progress: Progress = False,
) -> Repair:
    """Ties again what a format lost: weights that agree bit for bit, those that are chosen and no others.

    The optimizer's state comes back too. Where both copies have one, they have to agree. Where a `.keras` or `.h5` file
    has the state of the tied model, for which Keras finds no place, the optimizer gets it once the ties are there.

    Args:
        source: the file to read, as for `tiedio.convert`.
        target: the `.safetensors` file to write.
        pairs: which: `"a/kernel=b/kernel"`, pairs of paths, or what `tiedio.find_lost_ties` gave. A pair of one shape
            or of a shape and its transpose; its values have to agree.
        all: whether all candidates but the weak ones are tied.
        min_size: elements below which equality alone says too little.
        model: as for `tiedio.convert`.
        config: as for `tiedio.convert`.
        optimizer: whether the optimizer is kept; without its state, if that cannot be united, only with `False`.
        custom_objects: as for `tiedio.convert`.
        safe_mode: as for `tiedio.convert`.
        limits: as for `tiedio.convert`.
        overwrite: whether an existing target is replaced.
        progress: as for `tiedio.convert`.

    Returns:
        The report; `print` shows it.

    Raises:
        TieError: if two weights of a pair differ, or the optimizer's states of them.
        MismatchError: if the optimizer's state in the file does not fit the ties that were chosen.
        ModelError: if nothing is chosen, or nothing is found.
        PathError, FormatError, RebuildError: as `tiedio.convert`.

    Warns:
        UserWarning: two weights of a pair differ in regularizer, constraint or `trainable`; the report has it too.

    Example:
        >>> import keras, tiedio
        >>> a, b = keras.layers.Dense(5, name="a"), keras.layers.Dense(5, name="b")
        >>> model = keras.Sequential([keras.Input((5,)), a, b])
        >>> tiedio.tie(b, a, weights=["kernel"])
        >>> model.save("model.keras")
        >>> report = tiedio.repair("model.keras", "model.safetensors", all=True)
        >>> loaded = tiedio.load("model.safetensors")
        >>> loaded.layers[1].kernel is loaded.layers[0].kernel, loaded.layers[1].bias is loaded.layers[0].bias
        (True, False)
    """
    names = os.fsdecode(source), _checked_target(target, (".safetensors",), overwrite, source)
    chosen = [] if pairs is None else chosen_of([pairs] if isinstance(pairs, str) else pairs)
    if not chosen and not all:
        raise ModelError(
            "nothing is chosen to be tied",
            path="pairs",
            expected='pairs=["a/kernel=b/kernel"] or all=True',
            found="neither",
            remedy="look at tiedio.find_lost_ties(source) first",
        )
    wanted = _wanted(model, config, None, True, optimizer, custom_objects, safe_mode, limits, progress)
    found = opened(source, wanted)
    try:
        offered = candidates(found.model, min_size=min_size, waiting=found.pending is not None)
        taken = [one for one in offered if all and one.strength != "weak"]
        if all and not taken and not chosen:
            raise ModelError(
                "no weights of the file look as if they had been tied",
                path=names[0],
                expected="weights that agree bit for bit",
                found=f"{len(offered)} weak candidates",
                remedy="name them: pairs=[...]; or use tiedio.convert" if offered else "use tiedio.convert",
            )
        picked = [*chosen, *chosen_of(taken)]
        order = None if found.pending is None else Order(found.model)
        mended = tie_pairs(found.model, picked, check_state=found.pending is None)
        state = bring_back_state(found, order)
        api.save(found.model, names[1], optimizer=optimizer, overwrite=overwrite, progress=progress)
        left, made = _left(offered, found.model), _made([*offered, *mended.tied], found.model)
    finally:
        found.close()
    notes = tuple(note for note in found.notes if state != "brought back" or "optimizer's state" not in note)
    for note in mended.notes:
        warnings.warn(f"{names[0]}: {note}", UserWarning, stacklevel=2)
    return Repair(*names, made, left, state, (*mended.notes, *notes))


def find_lost_ties(
    model: Any,
    *,
    min_size: int = MIN_SIZE,
    like: Any = None,
    config: Any = None,
    custom_objects: Mapping[str, Any] | None = None,
    safe_mode: bool = True,
    limits: Limits | None = None,
) -> list[LostTie]:
    """Finds weights that may have been tied before a format lost that: they agree bit for bit, or transposed.

    Equal values are not a tie. Weights whose elements are all alike (zeros, ones) are left out; those with few elements
    or few different values are `weak`, unless all other weights of their layers are equal as well.

    Args:
        model: a built model, or the path of a file that `tiedio.convert` reads.
        min_size: elements below which equality alone says too little.
        like: for a file of weights alone: a model as it was when they were saved.
        config: for a file of weights alone, as for `tiedio.convert`.
        custom_objects: for a file, as for `tiedio.convert`.
        safe_mode: for a file, as for `tiedio.convert`.
        limits: for a file, as for `tiedio.convert`.

    Returns:
        The candidates, the surest first; pass those that you believe to `tiedio.repair(pairs=...)`.

    Raises:
        PathError, FormatError, RebuildError, MismatchError: as `tiedio.convert`.

    Example:
        >>> import keras, tiedio
        >>> a, b = keras.layers.Dense(5, name="a"), keras.layers.Dense(5, name="b")
        >>> model = keras.Sequential([keras.Input((5,)), a, b])
        >>> b.kernel.assign(a.kernel) is None
        False
        >>> [lost.pair for lost in tiedio.find_lost_ties(model) if lost.strength != "weak"]
        ['a/kernel = b/kernel']
    """
    if isinstance(model, (str, os.PathLike)):
        found = opened(model, _wanted(like, config, None, True, True, custom_objects, safe_mode, limits))
        try:
            return candidates(found.model, min_size=min_size, waiting=found.pending is not None)
        finally:
            found.close()
    roots = list(model.values()) if isinstance(model, Mapping) else [model]
    if not roots or not all(isinstance(one, keras_api.Model) for one in roots):
        raise ModelError(
            "this is neither a model nor a path",
            path="model",
            expected="a keras.Model, a dict of them, or the path of a file",
            found=type(model).__name__,
            remedy="pass the model that was loaded",
        )
    return candidates(model, min_size=min_size)


def _wanted(
    model: Any,
    config: Any,
    mapping: Mapping[str, Any] | None,
    strict: bool,
    optimizer: bool,
    custom_objects: Mapping[str, Any] | None,
    safe_mode: bool,
    limits: Limits | None,
    progress: Progress = False,
) -> Wanted:
    # A function of the caller's may raise, and what is raised while HDF5 reads comes out as another error.
    bar = progress is True
    customs = dict(custom_objects or {})
    return Wanted(model, config, dict(mapping or {}), optimizer, customs, safe_mode, limits, strict, bar)


def _state_of(found: Opened) -> str:
    models = list(found.model.values()) if isinstance(found.model, Mapping) else [found.model]
    optimizers = [one.optimizer for one in models if getattr(one, "optimizer", None) is not None]
    if not optimizers:
        return "none"
    return "no state" if found.waiting else "state"


def _is_tied(one: LostTie, model: Any) -> bool:
    return any(set(one.paths) <= {*tie.slots} for tie in api.find_ties(model))


def _left(offered: list[LostTie], model: Any) -> tuple[LostTie, ...]:
    return tuple(one for one in offered if not _is_tied(one, model))


def _made(offered: list[LostTie], model: Any) -> tuple[LostTie, ...]:
    """The candidates that are ties now, and those pairs that none of them has."""
    found: list[LostTie] = []
    for one in offered:
        if _is_tied(one, model) and not any(set(one.paths) <= set(other.paths) for other in found):
            found.append(one)
    return tuple(found)


def _checked_target(target: Path, suffixes: tuple[str, ...], overwrite: bool, source: Path) -> str:
    name = os.fsdecode(target)
    if not name.endswith(suffixes):
        raise PathError(
            "the file to write has the wrong suffix",
            path=name,
            expected=f"a name that ends in {' or '.join(suffixes)}",
            found=os.path.splitext(name)[1] or "no suffix",
            remedy=f"write to {os.path.splitext(name)[0] + suffixes[0]!r}",
        )
    suffix = os.path.splitext(name)[1]
    require_free(name, overwrite)
    if os.path.exists(name) and os.path.exists(source) and os.path.samefile(source, name):
        raise PathError(  # what does not come over would be gone
            "the file to write is the one that is read",
            path=name,
            expected="another file",
            found=os.fsdecode(source),
            remedy=f"write to {os.path.splitext(name)[0] + '-new' + suffix!r}",
        )
    return name
