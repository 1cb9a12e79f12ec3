"""Ways to save to a path, with two versions of a file; what a path holds after something struck."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import tiedio
from tests.durability.faults import Layer, under
from tiedio.container.digests import KEY
from tiedio.container.single import open_reader, write_tensors
from tiedio.container.writing import Tensor

NAME = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Version:
    """What a file of tiedio holds, to write it again without Keras: the same bytes."""

    tensors: tuple[Tensor, ...]
    metadata: dict[str, str]
    digest: str
    size: int

    @classmethod
    def of(cls, path: Path) -> Version:
        """Reads a file."""
        with open_reader(path, mmap=False) as reader:
            tensors = tuple(
                Tensor(one.name, one.dtype, one.shape, reader.bytes_of(one.name).copy)
                for one in reader.header.entries.values()
            )
            metadata = {key: text for key, text in reader.header.metadata.items() if key != KEY}
        return cls(tensors, metadata, digest_of(path), path.stat().st_size)

    def save(self, path: Path, *, overwrite: bool = True, meanwhile: Callable[[], None] | None = None) -> None:
        """Saves it as `tiedio.save` does; `meanwhile` stands for its proof."""
        write_tensors(path, self.tensors, self.metadata, overwrite=overwrite, meanwhile=meanwhile)


@dataclass(frozen=True, slots=True)
class Scene:
    """One way to save.

    Args:
        name: in words.
        old: whether a file is there before.
        overwrite: the argument of `save`.
        refused: calls that the file system does not have.
        link: whether the path is a symbolic link to a file in another folder.
    """

    name: str
    old: bool = False
    overwrite: bool = True
    refused: tuple[str, ...] = ()
    link: bool = False

    @property
    def allowed(self) -> tuple[str, ...]:
        """What may be found after a strike."""
        before = "old" if self.old else "nothing"
        # Where the system has no call that claims and fills a name at once, docs/durability.md says what may be there.
        return (before, "new", "empty") if "rename new" in self.refused else (before, "new")

    def prepare(self, folder: Path, old: Version) -> Path:
        """Makes an empty folder what it is before the save; returns the path to save to."""
        path = folder / NAME
        if self.link:
            (folder / "elsewhere").mkdir()
            path.symlink_to(Path("elsewhere") / NAME)
        if self.old:
            old.save(path)
        return path

    def layered(self, layer: Layer) -> AbstractContextManager[Layer]:
        """Puts a layer under the saves of this process."""
        return under(layer, self.refused, errno.EPERM)

    def save(self, path: Path, new: Version, layer: Layer) -> None:
        """Saves over a layer."""
        with self.layered(layer):
            new.save(path, overwrite=self.overwrite, meanwhile=layer.proof)


SCENES = (
    Scene("replace", old=True),
    Scene("replace through a symbolic link", old=True, link=True),
    Scene("first save"),
    Scene("overwrite=False", overwrite=False),
    Scene("overwrite=False, no hard links", overwrite=False, refused=("link",)),
    Scene("overwrite=False, no hard links, no exclusive rename", overwrite=False, refused=("link", "rename new")),
)


def digest_of(path: Path) -> str:
    """A digest of all bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state_of(path: Path, old: Version, new: Version) -> str:
    """What a path holds: `nothing`, `empty`, `old`, `new`, or a description of something that must never be.

    A whole version must pass `tiedio.verify`, too.
    """
    if not path.exists():
        return "nothing"
    found = digest_of(path)
    if found not in (old.digest, new.digest):
        size = path.stat().st_size
        return "empty" if size == 0 else f"neither version: {size} bytes"
    tiedio.verify(path)
    return "old" if found == old.digest else "new"


def litter_in(folder: Path) -> list[str]:
    """What lies in a folder, or in the one that its link leads to, beside the file itself."""
    found = [name for _, _, names in os.walk(folder) for name in names]
    return [name for name in found if name != NAME]
