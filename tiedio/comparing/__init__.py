"""Compares two files of tiedio: structure, ties and values. Needs no Keras."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tiedio.comparing.difference import Change, Difference, ValueChange
from tiedio.comparing.facts import compare_facts
from tiedio.comparing.found import Found
from tiedio.comparing.sides import Match, Side
from tiedio.comparing.values import Pair, compare_values
from tiedio.comparing.variables import pairs_of_stored, pairs_of_variables
from tiedio.container.single import open_reader
from tiedio.limits import Limits
from tiedio.progress import Progress, observed

__all__ = ["Change", "Difference", "ValueChange", "diff"]

_MOST_CHANGES = 5_000


def diff(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    optimizer: bool = True,
    atol: float = 0.0,
    limits: Limits | None = None,
    progress: Progress = False,
) -> Difference:
    """Compares two files: structure, ties and shared objects, and every byte of their values.

    No model is made, and nothing that the files name is imported; neither Keras nor a backend is needed. Places are
    matched by path, and layers with automatic names (`dense_3`) by their order in the model, where their names do not
    tell. The memory that it takes does not grow with the tensors.

    Args:
        a: a file written by `tiedio.save` or `tiedio.save_weights`.
        b: another one.
        optimizer: whether compile settings and the state of optimizers are compared too.
        atol: values that differ by no more than this count as the same; with 0 they must be the same bit for bit.
        limits: what each of the files may ask for; the default grows with its size.
        progress: `True` for a bar in the terminal, if it takes more than a second; or a function, which is called with
            the bytes that are done and with all that there are.

    Returns:
        What differs; `print` shows it, and it is true if anything does.

    Raises:
        NoSuchFileError: if there is no such file.
        FormatError: if a file is not a safetensors file, has no manifest, or is damaged; a `LimitError` if it asks
            for more than its size allows.

    Example:
        >>> import keras, tiedio
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> tiedio.save(model, "before.safetensors")
        >>> _ = model.layers[0].bias.assign([0.5, 0])
        >>> tiedio.save(model, "after.safetensors")
        >>> difference = tiedio.diff("before.safetensors", "after.safetensors")
        >>> print(difference.values[0])
        dense/bias: 1 of 2 differ, by at most 0.5, first at [0]
    """
    names = os.fsdecode(a), os.fsdecode(b)
    with (
        observed(progress, f"comparing {os.path.basename(names[0])}") as observer,
        open_reader(names[0], mmap=False, limits=limits) as first,
        open_reader(names[1], mmap=False, limits=limits) as second,
    ):
        match = Match.of(Side.of(first, names[0]), Side.of(second, names[1]), optimizer)
        found = Found(_MOST_CHANGES)
        compare_facts(match, optimizer, found)
        pairs = list(_comparable(match, optimizer))
        values = compare_values(first, second, pairs, atol, observer)
        first.require_unchanged()
        second.require_unchanged()
    if len(pairs) > len(values):
        found.same["tensors"] = len(pairs) - len(values)
    return Difference(*names, tuple(found.changes), values, tuple(found.notes), found.same, found.omitted)


def _comparable(match: Match, optimizer: bool) -> Iterator[Pair]:
    """The tensors that both files have, alike in dtype and shape."""
    of_optimizers = tuple(f"{one.path}/" for one in match.a.manifest.optimizers)
    for path, one, other in pairs_of_variables(match):
        if (one.dtype, one.shape) == (other.dtype, other.shape) and (optimizer or not path.startswith(of_optimizers)):
            yield one.tensor, other.tensor.name
    stored, slots = pairs_of_stored(match, optimizer)
    for _, mine, theirs in stored:
        alike = mine is not None and theirs is not None and (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        if alike and mine is not None and theirs is not None and mine.tensor not in slots:
            yield mine.spec, theirs.tensor
    constants = {one.name: one for one in match.b.manifest.constants}
    for spec in match.a.manifest.constants:
        if constants.get(spec.name) == spec:
            yield spec, spec.name
