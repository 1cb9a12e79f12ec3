"""One file for a backup: the weights and the record of the training that belongs to them, put in place in one step."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tiedio import keras_api, moments, strict_json
from tiedio.callbacks.plain_values import Plain, describe, revive
from tiedio.container.single import Reader, as_bytes, open_reader, write_tensors
from tiedio.container.writing import Tensor
from tiedio.errors import FormatError, PathError, shown
from tiedio.inspection import FORMAT_KEY, MANIFEST_KEY, metadata_of
from tiedio.loading import Options, load_into
from tiedio.manifest import Manifest, check_version
from tiedio.roots import as_roots
from tiedio.weights import Taken, take_weights

KEY = "tiedio.backup"
VERSION = 1
"""Version of the record; a backup is read by the version that wrote it, and by no other."""

_RECORD = "@backup"


def take(model: Any) -> Taken:
    """What a backup holds of a model.

    Raises:
        ModelError: if a value would not be in it.
    """
    return take_weights(as_roots(model), optimizer=True)


def write(path: Path, model: Any, record: dict[str, Any]) -> None:
    """Writes a backup in one step: at any moment there is the old one or the new one at the path.

    Args:
        path: the file; folders are made.
        model: the model; its optimizer's state goes with it.
        record: plain values and arrays.

    Raises:
        ModelError: if a value of the model would not be in it.
        PathError, TiedioError: if it cannot be written.
    """
    _make_folder(path.parent)
    alone = keras_api.is_alone()
    taken = take(model)
    plain = describe(record)
    still = None if alone else functools.partial(moments.require_still, taken.living, taken.held)
    write_tensors(
        path, [*taken.tensors, *_tensors(plain)], taken.metadata | {KEY: str(VERSION)}, overwrite=True, meanwhile=still
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PathError(
            "the folder for backups cannot be made",
            path=str(folder),
            expected="a folder, or a place where one can be made",
            found=str(error),
            remedy="pass another folder",
        ) from error


def _tensors(plain: Plain) -> Iterator[Tensor]:
    """The record as bytes: as JSON, and one tensor for each of its arrays."""
    raws = [np.frombuffer(strict_json.dumps(plain.json).encode(), np.uint8), *map(as_bytes, plain.arrays)]
    for number, raw in enumerate(raws):
        yield Tensor(f"{_RECORD}/{number}", "U8", (raw.size,), functools.partial(_given, raw))


def _given(raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return raw


class Backup:
    """A backup that is open to be read: all its bytes were compared with their digests.

    Args:
        reader: the open file.
        path: its path.
    """

    def __init__(self, reader: Reader, path: Path) -> None:
        self.path = path
        self._reader = reader
        header = reader.header
        version = header.metadata.get(KEY)
        if version != str(VERSION):
            raise FormatError(
                "this is no backup that this version of tiedio reads",
                path=str(path),
                expected=f"a file of BackupAndRestore, version {VERSION}",
                found="no backup" if version is None else f"version {shown(version)}",
                remedy="go on with the version of tiedio that wrote it, or remove the file to begin anew",
            )
        check_version(int(metadata_of(header, FORMAT_KEY, str(path))), str(path))
        self._manifest = Manifest.from_json(metadata_of(header, MANIFEST_KEY, str(path)), str(path))
        text = bytes(reader.bytes_of(f"{_RECORD}/0")).decode()
        self.record: dict[str, Any] = revive(
            strict_json.loads(text, str(path)), lambda number: reader.bytes_of(f"{_RECORD}/{number + 1}")
        )

    def load_into(self, model: Any) -> None:
        """Gives a model that the same code has built, and its optimizer, the values of the backup; all or none.

        Raises:
            MismatchError: if the model has other places, ties or another optimizer.
        """
        options = Options(strict=True, ties="match", optimizer=True)
        load_into(as_roots(model), self._manifest, self._reader.bytes_of, str(self.path), options)
        self._reader.require_unchanged()

    def close(self) -> None:
        """Lets go of the file; the model keeps what it shares with it."""
        self._reader.close()


@contextmanager
def _closed_on_error(reader: Reader) -> Iterator[None]:
    try:
        yield
    except BaseException:
        reader.close()
        raise


def read(path: Path) -> Backup:
    """Opens a backup, and checks every byte of it.

    Raises:
        NoSuchFileError: if there is none.
        FormatError: if it is damaged, or no backup.
    """
    reader = open_reader(path, verify=True)
    with _closed_on_error(reader):
        return Backup(reader, path)
