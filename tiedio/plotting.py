"""`plot`: a picture of a live model or of a file, with its ties."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiedio.limits import Limits
from tiedio.picture.dot import Show
from tiedio.picture.picture import Picture, checked_suffix, draw, read

if TYPE_CHECKING:
    from tiedio.manifest import Manifest


def plot(
    model_or_path: Any,
    to_file: str | os.PathLike[str] | None = "model.svg",
    *,
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "spline",
    fold: bool | int = True,
    limits: Limits | None = None,
) -> Picture:
    """Draws the parts of a model as `keras.utils.plot_model` does, and each tie in a color of its own.

    A box has the bytes and parameters that its part stores, and a row for each weight that is tied; lines join the
    slots of a tie, with the view that a slot holds. A layer that is called several times is one box with several
    edges. A file is read as `tiedio.inspect` reads it: without Keras, and nothing of it is made.

    Args:
        model_or_path: a built model, a dict `{name: model}` of several, or the path of a file that tiedio wrote.
        to_file: the file to write; its name ends in `.svg` or `.png`, which need the program `dot` of Graphviz, or in
            `.dot` or `.gv`, which need nothing. `None` writes none.
        show_shapes: whether to show the shapes of inputs and outputs; a file does not tell all of them.
        show_dtype: whether to show the dtype policy of each layer.
        show_layer_names: whether to show names beside classes.
        rankdir: `"TB"` draws from top to bottom, `"LR"` from left to right.
        expand_nested: whether models and layers inside of others are opened.
        dpi: resolution of a png, in dots per inch.
        show_layer_activations: whether to show the activation of each layer that has one.
        show_trainable: whether to say of each layer with weights whether it trains; frozen ones are marked anyway.
        splines: how edges are drawn: `"spline"`, `"ortho"`, `"curved"`, `"polyline"` or `"line"`.
        fold: how many boxes there may be before repeated blocks are folded into one; `True` for 48, `False` for any
            number.
        limits: what a file may ask for; the default grows with its size.

    Returns:
        The picture; notebooks show it, `dot` is its text, and `to_pydot()` makes a graph of pydot of it.

    Raises:
        PathError: if the name of the file ends otherwise, or nothing can be written there; nothing was drawn.
        BackendError: if Graphviz has to draw and is not installed.
        ModelError: if the model is not built.
        NoSuchFileError, FormatError, LimitError: if a file cannot be read.
        TiedioError: if Graphviz fails or takes longer than a minute.
        ValueError: if `rankdir`, `splines` or `fold` has a value that it cannot have.

    Example:
        >>> import keras, tiedio
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3), keras.layers.Dense(3)])
        >>> tiedio.tie(model.layers[1], model.layers[0], weights=["kernel"])
        >>> picture = tiedio.plot(model, "model.dot")
        >>> "<B>T1</B> kernel" in picture.dot
        True
    """
    if to_file is not None:
        checked_suffix(to_file)
    show = Show(
        shapes=show_shapes,
        dtype=show_dtype,
        layer_names=show_layer_names,
        layer_activations=show_layer_activations,
        trainable=show_trainable,
        rankdir=rankdir,
        splines=splines,
    )
    outputs: Mapping[int, str] = {}
    if isinstance(model_or_path, (str, os.PathLike)):
        where = os.fsdecode(model_or_path)
        manifest, structure = read(model_or_path, limits)
    else:
        where = "the model"
        manifest, structure, outputs = _live(model_or_path)
    picture = Picture(draw(manifest, structure, where, show, nested=expand_nested, fold=fold, outputs=outputs), dpi)
    if to_file is not None:
        picture.write(to_file)
    return picture


def _live(model: Any) -> tuple[Manifest, Any, Mapping[int, str]]:
    """Manifest, structure and shapes of live models; Keras is imported only here."""
    from tiedio.live_picture import describe_live

    return describe_live(model)
