"""Keras's own walk over what saves itself, with other stores: what it reads and writes is seen, one value at a time.

Read in Keras 3.15.1: `saving_lib._load_state` and `_save_state` go through every saveable object, and ask a store by
the object's path; they take only stores of Keras's own classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from keras.src.saving import saving_lib

Read = Callable[[str], Any]


class _Entry(Mapping[str, Any]):
    """What is stored for one object: read when it is asked for."""

    def __init__(self, names: tuple[str, ...], prefix: str, read: Read) -> None:
        self._names, self._prefix, self._read = names, prefix, read

    def __getitem__(self, key: str) -> Any:
        return self._read(f"{self._prefix}/{key}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Reading(saving_lib.H5IOStore):  # type: ignore[misc]
    def __init__(self, names: Mapping[str, tuple[str, ...]], groups: frozenset[str], read: Read) -> None:
        self._names_of, self._groups, self._read = names, groups, read

    def __bool__(self) -> bool:
        return True

    def get(self, path: str) -> _Entry:
        prefix = f"{path}/vars" if path else "vars"
        return _Entry(self._names_of.get(prefix, ()), prefix, self._read)

    def has_path(self, path: str) -> bool:
        return path in self._groups

    def close(self) -> None:
        pass


class _Sink(dict[str, Any]):
    def __init__(self, prefix: str, write: Callable[[str, Any], None]) -> None:
        super().__init__()
        self._prefix, self._write = prefix, write

    def __setitem__(self, key: str, value: Any) -> None:
        self._write(f"{self._prefix}/{key}", value)


class _Writing(saving_lib.H5IOStore):  # type: ignore[misc]
    def __init__(self, write: Callable[[str, Any], None], named: Callable[[str, str], None] | None) -> None:
        self._write, self._named = write, named

    def __bool__(self) -> bool:
        return True

    def make(self, path: str, metadata: Any = None) -> _Sink:
        if self._named is not None and metadata:
            self._named(path, metadata["name"])
        return _Sink(f"{path}/vars" if path else "vars", self._write)

    def close(self) -> None:
        pass


class _Assets(saving_lib.DiskIOStore):  # type: ignore[misc]
    def __init__(self, folder_of: Callable[[str], str | None]) -> None:
        self._folder_of = folder_of

    def __bool__(self) -> bool:
        return True

    def get(self, path: str) -> str | None:
        return self._folder_of(path)

    def has_path(self, path: str) -> bool:
        return self._folder_of(path) is not None

    def close(self) -> None:
        pass


def load_state(
    saveable: Any,
    names: Mapping[str, tuple[str, ...]],
    groups: frozenset[str],
    read: Read,
    folder_of: Callable[[str], str | None] | None = None,
    path: str = "",
) -> list[tuple[Any, Exception]]:
    """Lets an object and all that it holds load themselves, as Keras does.

    Args:
        saveable: a model or optimizer.
        names: names of the values under each `…/vars`.
        groups: every group.
        read: gives a value by its full path.
        folder_of: a folder with the assets of the object at a path, or `None` where it has none.
        path: where the object stands.

    Returns:
        The objects that raised, and what.
    """
    failed: set[int] = set()
    errors: dict[int, tuple[Any, Exception]] = {}
    saving_lib._load_state(
        saveable,
        weights_store=_Reading(names, groups, read),
        assets_store=None if folder_of is None else _Assets(folder_of),
        inner_path=path,
        visited_saveables=set(),
        failed_saveables=failed,
        error_msgs=errors,
    )
    return [errors[key] for key in errors if key in failed]


def save_state(
    saveable: Any,
    write: Callable[[str, Any], None],
    path: str = "",
    named: Callable[[str, str], None] | None = None,
) -> None:
    """Lets an object and all that it holds give what they store, as Keras does.

    Args:
        saveable: a model or optimizer.
        write: gets path and value of each.
        path: where the object stands.
        named: gets path and name of each object that has a name.
    """
    saving_lib._save_state(
        saveable, weights_store=_Writing(write, named), assets_store=None, inner_path=path, visited_saveables=set()
    )
