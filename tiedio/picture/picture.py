"""A picture: its text, what Graphviz makes of it, and where it is written."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from tiedio import strict_json
from tiedio.container.atomic import replace_file
from tiedio.container.header import read_header
from tiedio.errors import BackendError, PathError, TiedioError, shown
from tiedio.inspection import STRUCTURE_KEY, manifest_of
from tiedio.limits import Limits
from tiedio.manifest import Manifest
from tiedio.picture.dot import RANKDIRS, SPLINES, Show, dot_of
from tiedio.picture.folding import framed
from tiedio.picture.render import render
from tiedio.picture.scene import scene_of
from tiedio.picture.table import read_table

if TYPE_CHECKING:
    import pydot

TEXT_SUFFIXES = (".dot", ".gv")
DRAWN_SUFFIXES = (".svg", ".png")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a model, which notebooks show.

    Args:
        dot: its text in the DOT language of Graphviz.
        dpi: dots per inch of a png.

    Example:
        >>> from tiedio.picture.picture import Picture
        >>> Picture("digraph {}").dot
        'digraph {}'
    """

    dot: str
    dpi: int = 200

    def bytes_as(self, suffix: str) -> bytes:
        """The bytes of a file.

        Args:
            suffix: `".svg"`, `".png"`, `".dot"` or `".gv"`.

        Raises:
            BackendError: if Graphviz has to draw it and is not installed.
            TiedioError: if drawing takes too long or fails.
        """
        return self.dot.encode() if suffix in TEXT_SUFFIXES else render(self.dot, suffix[1:], dpi=self.dpi)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the file that a path names, whole or not at all.

        Args:
            path: a name that ends in `.svg`, `.png`, `.dot` or `.gv`.

        Raises:
            PathError: if the name ends otherwise, or nothing can be written there.
            BackendError: if Graphviz has to draw it and is not installed.
            TiedioError: if drawing takes too long or fails.
        """
        data = self.bytes_as(checked_suffix(path))
        replace_file(path, lambda file: _write(file, data))

    def to_pydot(self) -> pydot.Dot:
        """The graph as `keras.utils.model_to_dot` gives it, to be changed before it is drawn.

        Raises:
            BackendError: if pydot is not installed.
        """
        try:
            import pydot
        except ImportError as error:
            raise BackendError(
                "a graph of pydot needs pydot",
                path="the picture",
                expected="the package pydot",
                found="none",
                remedy="pip install 'tiedio[plot]'",
            ) from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pydot 4.0.1 calls pyparsing by its old names
            graphs = pydot.graph_from_dot_data(self.dot) or []
        return graphs[0]

    def _repr_svg_(self) -> str | None:
        """What a notebook shows; without Graphviz it shows the `repr`."""
        try:
            return self.bytes_as(".svg").decode()
        except TiedioError:
            return None

    def __repr__(self) -> str:
        return f"<Picture: {len(self.dot):,} characters of DOT>"


def _write(file: Any, data: bytes) -> None:
    file.write(data)


def checked_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a picture's name.

    Raises:
        PathError: if nothing can draw it.
    """
    suffix = PurePath(os.fsdecode(path)).suffix.lower()
    if suffix not in (*DRAWN_SUFFIXES, *TEXT_SUFFIXES):
        raise PathError(
            "not a kind of picture that can be drawn",
            path=os.fsdecode(path),
            expected=f"a name that ends in {', '.join((*DRAWN_SUFFIXES, *TEXT_SUFFIXES))}",
            found=repr(suffix) if suffix else "a name without a suffix",
            remedy="rename it: model.svg, say",
        )
    return suffix


def draw(
    manifest: Manifest,
    structure: Any,
    where: str,
    show: Show,
    *,
    nested: bool = False,
    fold: bool | int = True,
    outputs: Mapping[int, str] | None = None,
) -> str:
    """The text of a picture of a manifest and its structure.

    Args:
        manifest: the manifest.
        structure: the structure as JSON; `None` if there is none.
        where: the file, for errors.
        show: what is drawn of each part.
        nested: whether models and layers in others are opened.
        fold: how many boxes there may be before blocks are folded; `True` for 48, `False` for no limit.
        outputs: shapes of outputs by number of the object, where they are known.

    Raises:
        FormatError: if the structure is damaged.
        ValueError: if an argument has a value that it cannot have.
    """
    _check(show, fold)
    table = None if structure is None else read_table(structure, len(manifest.objects), where)
    scene = scene_of(manifest, table, outputs)
    return dot_of(scene, framed(scene, nested=nested, fold=fold), show)


def read(path: str | os.PathLike[str], limits: Limits | None = None) -> tuple[Manifest, Any]:
    """Manifest and structure of a file; the structure is `None` in a file of weights only.

    Raises:
        NoSuchFileError, FormatError, LimitError: as `tiedio.inspect`.
    """
    name = os.fsdecode(path)
    header = read_header(name, limits)
    manifest = manifest_of(header, name)
    text = header.metadata.get(STRUCTURE_KEY)
    return manifest, None if text is None else strict_json.loads(text, f"{name}: structure", header.allowance)


def _check(show: Show, fold: bool | int) -> None:
    for name, value, allowed in (("rankdir", show.rankdir, RANKDIRS), ("splines", show.splines, SPLINES)):
        if value not in allowed:
            raise ValueError(f"{name}={shown(value)}: expected one of {', '.join(map(repr, allowed))}")
    if isinstance(fold, bool):
        return
    if fold < 1:
        raise ValueError(f"fold={shown(fold)}: expected True, False or a number of boxes from 1")
