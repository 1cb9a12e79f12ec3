"""Paths of files as callers give them: checked before any work is done."""

from __future__ import annotations

import os

from tiedio.errors import NoSuchFileError, PathError

SUFFIX = ".safetensors"
_FOREIGN = (".weights.h5", ".keras", ".h5", ".hdf5")  # what tiedio.convert reads


def checked_target(path: str | os.PathLike[str], overwrite: bool) -> str:
    """The path of a file that is to be written, as text.

    Raises:
        PathError: if its name, its folder or an existing file forbids it.
    """
    name = str(os.fspath(path))
    if not name.endswith(SUFFIX):
        other = f"; for {suffix} out of it: tiedio.convert" if (suffix := os.path.splitext(name)[1]) == ".keras" else ""
        raise _wrong_suffix(name, f"save to {_renamed(name)!r}{other}")
    folder = os.path.dirname(name) or "."
    if not os.path.isdir(folder):
        raise PathError(
            "the folder does not exist",
            path=name,
            expected="an existing folder",
            found=folder,
            remedy=f"create it first: os.makedirs({folder!r})",
        )
    require_free(name, overwrite)
    return name


def require_free(name: str, overwrite: bool) -> None:
    """Raises `PathError` if there is a file that is not to be replaced."""
    if not overwrite and os.path.lexists(name):
        raise PathError(
            "the file exists",
            path=name,
            remedy="pass overwrite=True, or another path",
            expected="no file at this path (overwrite=False)",
            found="a file",
        )


def checked_source(path: str | os.PathLike[str]) -> str:
    """The path of a file that is to be read, as text.

    Raises:
        PathError: if its name is not one of ours; a `NoSuchFileError` if nothing is there.
    """
    name = str(os.fspath(path))
    if not name.endswith(SUFFIX):
        remedy = "pass the path of a .safetensors file that tiedio wrote"
        if name.endswith(_FOREIGN):
            remedy = f"convert it first: tiedio.convert({name!r}, {_renamed(name)!r})"
        raise _wrong_suffix(name, remedy)
    if not os.path.exists(name):
        raise NoSuchFileError(
            "there is no such file",
            path=name,
            remedy="check the path",
            expected="a file written by tiedio.save",
            found="nothing",
        )
    return name


def _wrong_suffix(name: str, remedy: str) -> PathError:
    return PathError(
        "the file name has the wrong suffix",
        path=name,
        expected=f"a name that ends in {SUFFIX}",
        found=os.path.splitext(name)[1] or "no suffix",
        remedy=remedy,
    )


def _renamed(name: str) -> str:
    """The name with our suffix in the place of one of Keras's, or behind it."""
    stem = next((name[: -len(suffix)] for suffix in _FOREIGN if name.endswith(suffix)), name)
    return (stem if os.path.basename(stem) not in ("", ".", "..") else os.path.join(stem, "model")) + SUFFIX
