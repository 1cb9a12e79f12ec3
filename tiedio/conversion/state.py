"""What an HDF5 file of Keras holds, given to a model by Keras's own loaders; then the model is asked for it again.

What the model would store has to be, bit for bit, what the file holds: so every value was used, every place filled,
nothing cast, and two copies of one weight were equal.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tiedio import keras_api, session, values
from tiedio.container.single import as_bytes
from tiedio.conversion.hdf5 import Tree, require_every
from tiedio.conversion.orders import swapped
from tiedio.errors import MismatchError, RebuildError, one_line, shown

OPTIMIZER = "optimizer"


@dataclass
class State:
    """The values in a file, by path, and which of them were asked for."""

    tree: Tree
    assets: Mapping[str, bytes] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    @property
    def has_optimizer(self) -> bool:
        """Whether the file has any state of an optimizer."""
        return any(map(_is_of_optimizer, self.tree.datasets))

    def give(self, model: Any) -> list[str]:
        """Gives a model all that is the file's, but for an optimizer's state that it has no place for.

        Returns:
            Paths of the optimizer's values that were not used.

        Raises:
            MismatchError: if anything else is left over, missing, different, or given twice in two ways.
            RebuildError: if a class's own code fails.
        """
        unused = set(self.assets)
        with ExitStack() as stack:
            stack.enter_context(session.without_old_warnings())
            folder_of = _folders(self.assets, unused, stack) if self.assets else None
            self._load(model, "", folder_of)
        if unused:
            require_every(sorted(f"assets/{name}" for name in unused), self.tree.path)
        unread = sorted(self.tree.datasets.keys() - self.read)
        require_every([path for path in unread if not _is_of_optimizer(path)], self.tree.path)
        left = sorted({path.rpartition("/vars/")[0] for path in unread})
        self._compare(model, "", skipped=set(left))
        return unread

    def give_optimizer(self, optimizer: Any) -> None:
        """Gives an optimizer its state, which `give` had no place for; all of it, or an error.

        Raises:
            MismatchError: if it does not fit, place by place.
        """
        mine = {path for path in self.tree.datasets if _is_of_optimizer(path)}
        self.read -= mine
        with session.without_old_warnings():
            self._load(optimizer, OPTIMIZER, None)
        unread = sorted(mine - self.read)
        if unread:
            wanted = len(list(optimizer.variables))
            raise MismatchError(
                "the optimizer's state in the file is of another number of weights",
                path=self.tree.path,
                expected=f"{len(mine)} values, as in the file",
                found=f"{wanted} in the {type(optimizer).__name__} of the model",
                remedy="tie all that was tied, or leave the state out: optimizer=False (--drop-optimizer)",
            )
        self._compare(optimizer, OPTIMIZER, skipped=set())

    def _load(self, saveable: Any, path: str, folder_of: Callable[[str], str | None] | None) -> None:
        def read(name: str) -> Any:
            if name not in self.tree.datasets:
                raise KeyError(name)
            self.read.add(name)
            return self.tree.read(name)

        failed = keras_api.load_state(saveable, self.tree.names(), frozenset(self.tree.groups), read, folder_of, path)
        if failed:
            owner, error = failed[0]
            raise (MismatchError if isinstance(error, (ValueError, KeyError)) else RebuildError)(
                "a layer does not take what the file has for it"
                + (f" ({len(failed)} layers)" if len(failed) > 1 else ""),
                path=f"{self.tree.path}: {getattr(owner, 'name', type(owner).__name__)}",
                expected="values of its shape, as many as it has weights",
                found=one_line(error),
                remedy="some files in which Keras loses sharing load no more; build the model by its code, pass model=",
            ) from error

    def _compare(self, saveable: Any, start: str, skipped: set[str]) -> None:
        wrong: list[str] = []
        names: dict[str, list[tuple[str, str]]] = {}

        def write(path: str, value: Any) -> None:
            if path.rpartition("/vars/")[0] in skipped or (not self.has_optimizer and _is_of_optimizer(path)):
                return
            if path not in self.tree.datasets:
                wrong.append(f"{path} is not in the file")
                return
            now, then = values.array_of(value), self.tree.read(path)
            if now.dtype.newbyteorder("=") != then.dtype.newbyteorder("=") or now.shape != then.shape:
                wrong.append(f"{path}: {then.dtype} {then.shape} in the file, {now.dtype} {now.shape} in the model")
            elif not np.array_equal(as_bytes(now), as_bytes(then)):
                wrong.append(f"{path}: another value than in the file")

        def named(path: str, name: str) -> None:
            holder = path.rpartition("/")[0]
            if holder.rpartition("/")[2] == "layers" and f"{path}/vars" in self.tree.groups:
                theirs = self.tree.attribute(f"{path}/vars", "name")
                if isinstance(theirs, str):
                    names.setdefault(holder, []).append((theirs, name))

        keras_api.save_state(saveable, write, start, named)
        self._require_order(names)
        if wrong:
            raise MismatchError(
                "the model would not hold what the file has",
                path=self.tree.path,
                expected="every value in its place, none cast, and copies of one weight alike",
                found="; ".join(map(shown, wrong[:6])) + (f"; and {len(wrong) - 6} more" if len(wrong) > 6 else ""),
                remedy="pass the model that the file was saved from, with the same ties, dtypes and compile arguments",
            )

    def _require_order(self, names: Mapping[str, list[tuple[str, str]]]) -> None:
        """Raises `MismatchError` if layers took each other's values: they stand in the file by their order."""
        for holder, pairs in names.items():
            found = swapped([one for one, _ in pairs], [other for _, other in pairs])
            if found:
                raise MismatchError(
                    "the file has the layers of the model in another order",
                    path=f"{self.tree.path}: {holder}",
                    expected=", ".join(shown(one) for one, _ in pairs[:8]),
                    found=found,
                    remedy="pass the model that the file was saved from, with the same layers in the same order",
                )


def _is_of_optimizer(path: str) -> bool:
    return path.startswith(f"{OPTIMIZER}/")


def _folders(assets: Mapping[str, bytes], unused: set[str], stack: ExitStack) -> Callable[[str], str | None]:
    """Gives folders with the assets of single objects; they are gone when the stack is left."""
    made: dict[str, str] = {}

    def folder_of(path: str) -> str | None:
        prefix = f"{path}/" if path else ""
        mine = {name.removeprefix(prefix): name for name in assets if name.startswith(prefix)}
        if not mine or not path:
            return None
        if path not in made:
            made[path] = stack.enter_context(tempfile.TemporaryDirectory(prefix="tiedio-"))
            for name, whole in mine.items():
                if "/" not in name:  # what is deeper belongs to what the object holds
                    with open(os.path.join(made[path], name), "xb") as file:
                        file.write(assets[whole])
                    unused.discard(whole)
        return made[path]

    return folder_of
