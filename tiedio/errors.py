"""The errors of tiedio: each says what, where, what was expected, what was found, and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

DAMAGED = "the file is damaged or was edited; save the model again"
"""The remedy for a file that contradicts itself."""

_LONGEST_SHOWN = 80
_LONGEST_PART = 600


class TiedioError(Exception):
    """Base of every error that tiedio raises on purpose.

    Args:
        what: one clause that says what went wrong.
        path: the place, in the model or on disk, or `None`.
        expected: what should have been there, or `None`.
        found: what was there instead, or `None`.
        remedy: what the caller can do, or `None`.

    Example:
        >>> from tiedio.errors import TiedioError
        >>> print(TiedioError("cannot tie", path="decoder/kernel", expected=(2, 3), found=(3, 2),
        ...                   remedy="transpose it"))
        decoder/kernel: cannot tie; expected (2, 3), found (3, 2). Remedy: transpose it.
    """

    def __init__(
        self,
        what: str,
        *,
        path: str | None = None,
        expected: Any = None,
        found: Any = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.path = path
        self.expected = expected
        self.found = found
        self.remedy = remedy
        super().__init__(self._text())

    def _text(self) -> str:
        text = _cut(self.what) if self.path is None else f"{_cut(self.path)}: {_cut(self.what)}"
        sides = []
        if self.expected is not None:
            sides.append(f"expected {_cut(self.expected)}")
        if self.found is not None:
            sides.append(f"found {_cut(self.found)}")
        if sides:
            text += "; " + ", ".join(sides)
        if self.remedy is not None:
            text += f". Remedy: {self.remedy.rstrip('.')}."
        return text

    def __str__(self) -> str:
        return self._text()


def _cut(part: Any) -> str:
    """A part of an error's text: not longer than can be read, and nothing in it that a terminal would obey."""
    text = str(part)
    if len(text) > _LONGEST_PART:
        text = f"{text[: _LONGEST_PART // 2]} … {text[-_LONGEST_PART // 2 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def shown(value: Any) -> str:
    """The start of a value's `repr`, as part of an error: short and on one line, whatever a file claims."""
    text = ""
    for part in _parts_of(value):
        text += part
        if len(text) > _LONGEST_SHOWN:
            return text[: _LONGEST_SHOWN - 1] + "…"
    return text


def _parts_of(value: Any) -> Iterator[str]:
    """A `repr` piece by piece: that of a whole value could be as long as a file."""
    if isinstance(value, dict):
        yield "{"
        for n, (key, item) in enumerate(value.items()):
            yield from (", " if n else "", *_parts_of(key), ": ")
            yield from _parts_of(item)
        yield "}"
    elif isinstance(value, (list, tuple)):
        yield "[" if isinstance(value, list) else "("
        for n, item in enumerate(value):
            yield ", " if n else ""
            yield from _parts_of(item)
        yield "]" if isinstance(value, list) else ",)" if len(value) == 1 else ")"
    else:
        yield repr(value[: _LONGEST_SHOWN + 1]) if isinstance(value, str) else repr(value)


def one_line(error: BaseException) -> str:
    """The text of an error of someone else's, as part of a sentence of ours."""
    text = " ".join(str(error).split())
    # Keras wraps errors in errors; the cause comes last.
    text = text.rpartition("Exception encountered: ")[2].partition(" Example: class ")[0]  # nor its lessons
    return text if len(text) <= 300 else text[:149] + " … " + text[-149:]


class PathError(TiedioError, ValueError):
    """A path that cannot be written to or read from: wrong suffix, missing folder, existing file.

    Example:
        >>> import tiedio
        >>> try:
        ...     tiedio.load("model.h5")
        ... except tiedio.PathError as error:
        ...     print(error.expected)
        a name that ends in .safetensors
    """


class NoSuchFileError(PathError, FileNotFoundError):
    """There is no file at the path.

    Example:
        >>> import tiedio
        >>> try:
        ...     tiedio.load("nowhere.safetensors")
        ... except FileNotFoundError as error:
        ...     print(error.path, error.remedy)
        nowhere.safetensors check the path
    """


class FormatError(TiedioError, ValueError):
    """The file is not one that this version of tiedio can read: damaged, foreign or too new.

    Example:
        >>> import numpy, safetensors.numpy, tiedio
        >>> safetensors.numpy.save_file({"kernel": numpy.zeros(3)}, "foreign.safetensors")
        >>> try:
        ...     tiedio.inspect("foreign.safetensors")
        ... except tiedio.FormatError as error:
        ...     print(error.what)
        the file has no manifest of tiedio
    """


class LimitError(FormatError):
    """The file asks for more than a file of its size may; `limits=tiedio.Limits(...)` raises what is allowed.

    Example:
        >>> import tiedio
        >>> issubclass(tiedio.LimitError, tiedio.FormatError)
        True
    """


class DamagedError(FormatError):
    """Bytes of the file are not those that were written: its digests say so.

    Args:
        what, path, expected, found, remedy: see `TiedioError`.
        header: whether the header, with manifest and configuration, is damaged; then the digests of tensors, which
            stand in it, may be wrong themselves.
        tensors: the names of all tensors whose bytes do not agree with their digests.

    Example:
        >>> import keras, tiedio
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> tiedio.save(model, "model.safetensors")
        >>> with open("model.safetensors", "r+b") as file:
        ...     _ = file.seek(-1, 2), file.write(b"!")
        >>> try:
        ...     tiedio.verify("model.safetensors")
        ... except tiedio.DamagedError as error:
        ...     print(error.tensors)
        ('dense/kernel',)
    """

    def __init__(
        self,
        what: str,
        *,
        path: str | None = None,
        expected: Any = None,
        found: Any = None,
        remedy: str | None = None,
        header: bool = False,
        tensors: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, path=path, expected=expected, found=found, remedy=remedy)
        self.header = header
        self.tensors = tensors


class ModelError(TiedioError, ValueError):
    """The model cannot be saved so that it would come back the same; nothing was written.

    Example:
        >>> import keras, tiedio
        >>> try:
        ...     tiedio.save(keras.Sequential([keras.layers.Dense(2)]), "model.safetensors")
        ... except tiedio.ModelError as error:
        ...     print(error.remedy)
        call it on a batch of data, or call model.build(input_shape) first
    """


class RebuildError(TiedioError, ValueError):
    """The structure in the file cannot be turned into a model again.

    Example:
        >>> import tiedio
        >>> issubclass(tiedio.UnregisteredError, tiedio.RebuildError)
        True
    """


class UnregisteredError(RebuildError):
    """Classes or functions that the file names are not known here; `found` lists all of them.

    Example:
        >>> import keras, tiedio
        >>> class Twice(keras.layers.Layer):
        ...     def call(self, inputs):
        ...         return 2 * inputs
        >>> tiedio.save(keras.Sequential([keras.Input((3,)), Twice()]), "model.safetensors")
        >>> try:
        ...     tiedio.load("model.safetensors")
        ... except tiedio.UnregisteredError as error:
        ...     print(error.found)
        Twice
        >>> model = tiedio.load("model.safetensors", custom_objects={"Twice": Twice})
    """


class UnsafeError(RebuildError):
    """The file holds code that safe mode does not run.

    Example:
        >>> import tiedio
        >>> print(tiedio.UnsafeError("the file holds Python code", remedy="pass safe_mode=False if you trust it"))
        the file holds Python code. Remedy: pass safe_mode=False if you trust it.
    """


class MismatchError(TiedioError, ValueError):
    """The model that was rebuilt is not the one that the manifest describes.

    Example:
        >>> import tiedio
        >>> error = tiedio.MismatchError("the weights stand in another order", path="dense", expected=2, found=3)
        >>> (error.path, error.expected, error.found)
        ('dense', 2, 3)
    """


class BackendError(TiedioError, ImportError):
    """Something that is needed is not installed: Keras, its backend, or what draws pictures.

    Example:
        >>> import tiedio
        >>> issubclass(tiedio.BackendError, ImportError)
        True
    """


class TieError(TiedioError, ValueError):
    """Two weights cannot be tied, or a tie cannot be undone; the models are as they were.

    Example:
        >>> import keras, tiedio
        >>> a, b = keras.layers.Dense(2), keras.layers.Dense(2)
        >>> a.build((None, 3)), b.build((None, 4))
        (None, None)
        >>> try:
        ...     tiedio.tie(b, a, weights=["kernel"])
        ... except tiedio.TieError as error:
        ...     print(error.expected, error.found)
        (4, 2) (3, 2)
    """


class TiedLayerError(TieError, NotImplementedError):
    """A layer that shares a weight cannot be quantized or adapted alone; `model.quantize` leaves it out with a warning.

    Example:
        >>> import keras, tiedio
        >>> a, b = keras.layers.Dense(3), keras.layers.Dense(3)
        >>> model = keras.Sequential([keras.Input((3,)), a, b])
        >>> tiedio.tie(b, a)
        >>> try:
        ...     b.quantize("int8")
        ... except tiedio.TiedLayerError as error:
        ...     print(error.remedy)
        untie it first: tiedio.untie(layer); or leave the layer as it is
    """


class ViewError(TieError):
    """A view does not fit the weight that it is to be computed from, or is no view.

    Example:
        >>> import tiedio
        >>> try:
        ...     tiedio.reshape((2, 2)).result_shape((3, 3))
        ... except tiedio.ViewError as error:
        ...     print(error.expected)
        9 elements
    """
