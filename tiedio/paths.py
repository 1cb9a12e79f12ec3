"""Paths of files as callers give them: checked before any work is done."""

from __future__ import annotations

import os

from tiedio.errors import NoSuchFileError, PathError

SUFFIX = ".safetensors"


def checked_target(path: str | os.PathLike[str], overwrite: bool) -> str:
    """The path of a file that is to be written, as text.

    Raises:
        PathError: if its name, its folder or an existing file forbids it.
    """
    name = checked_suffix(path)
    folder = os.path.dirname(name) or "."
    if not os.path.isdir(folder):
        raise PathError(
            "the folder does not exist",
            path=name,
            expected="an existing folder",
            found=folder,
            remedy="create it first: os.makedirs(...)",
        )
    if not overwrite and os.path.lexists(name):
        raise PathError(
            "the file exists",
            path=name,
            remedy="pass overwrite=True, or another path",
            expected="no file at this path (overwrite=False)",
            found="a file",
        )
    return name


def checked_source(path: str | os.PathLike[str]) -> str:
    """The path of a file that is to be read, as text.

    Raises:
        PathError: if its name is not one of ours; a `NoSuchFileError` if nothing is there.
    """
    name = checked_suffix(path)
    if not os.path.exists(name):
        raise NoSuchFileError(
            "there is no such file",
            path=name,
            remedy="check the path",
            expected="a file written by tiedio.save",
            found="nothing",
        )
    return name


def checked_suffix(path: str | os.PathLike[str]) -> str:
    """The path as text, if its name ends as ours do.

    Raises:
        PathError: if it does not.
    """
    name = str(os.fspath(path))
    if not name.endswith(SUFFIX):
        raise PathError(
            "the file name has the wrong suffix",
            path=name,
            expected=f"a name that ends in {SUFFIX}",
            found=os.path.splitext(name)[1] or "no suffix",
            remedy=f"save to 'model{SUFFIX}'",
        )
    return name
