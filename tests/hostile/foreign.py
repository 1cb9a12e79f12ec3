"""Hostile files of the formats that Keras writes itself: `.keras` (a zip), `.h5` (HDF5), npz.

`tiedio.load` refuses them by what they begin with, whatever their names say; `tiedio.convert` and `tiedio.repair`,
which read these formats, refuse them for what is in them (test_foreign_conversion.py).
"""

from __future__ import annotations

import io
import json
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.hostile.configurations import LAMBDA, function, serialized

SECRET = "hostile-secret.bin"
"""A file beside the hostile one, which it tries to read or to write."""


def _archive(config: Any, members: dict[str, bytes] | None = None, weights: bytes | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-01"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", _hdf5(lambda _: None) if weights is None else weights)
        for name, raw in (members or {}).items():
            archive.writestr(name, raw)
    return buffer.getvalue()


def _model(*layers: Any) -> dict[str, Any]:
    return serialized("keras", "Sequential", {"name": "model", "layers": list(layers)})


def _layer(name: str, **config: Any) -> dict[str, Any]:
    return serialized("keras.layers", name, {"name": name.lower(), **config})


def _hdf5(fill: Callable[[h5py.File], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.h5"
        with h5py.File(path, "w") as file:
            fill(file)
        return path.read_bytes()


def _linked() -> bytes:
    """An archive with a symbolic link to a file outside."""
    buffer = io.BytesIO(_archive(_model()))
    with zipfile.ZipFile(buffer, "a") as archive:
        link = zipfile.ZipInfo("assets/vocabulary.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    return buffer.getvalue()


def _zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (64 << 20))
    return buffer.getvalue()


def _npz_bomb() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, zeros=np.zeros(8 << 20))
    return buffer.getvalue()


def _external(file: h5py.File) -> None:
    file.create_dataset("layers/dense/vars/0", (8,), "u1", external=[(SECRET, 0, 8)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((8,), "u1")
    layout[:] = h5py.VirtualSource(SECRET, "data", (8,))
    file.create_virtual_dataset("layers/dense/vars/0", layout)


def _huge(file: h5py.File) -> None:
    file.create_dataset("layers/dense/vars/0", (1 << 40,), "f8", chunks=(1 << 10,))


def _old(file: h5py.File) -> None:
    file.attrs["model_config"] = json.dumps(_model(_layer("Lambda", function=LAMBDA)))


def _link(file: h5py.File) -> None:
    file["layers"] = h5py.ExternalLink(SECRET, "/")


FOREIGN: dict[str, Callable[[], bytes]] = {
    "2024-3660 a lambda in an archive": lambda: _archive(_model(_layer("Lambda", function=LAMBDA))),
    "2025-1550 a function of any module in an archive": lambda: _archive(
        _model(_layer("Dense", units=1, activation=function("os", "system")))
    ),
    "2025-8747 a download in an archive": lambda: _archive(
        _model(_layer("Dense", units=1, activation=function("keras.utils", "get_file")))
    ),
    "2025-9905 a lambda in HDF5": lambda: _hdf5(_old),
    "2025-9906 safe mode switched off in an archive": lambda: _archive(
        _model(_layer("Lambda", function=function("keras.config", "enable_unsafe_deserialization")))
    ),
    "2025-49655 a torch module in an archive": lambda: _archive(_model(_layer("TorchModuleWrapper", module="gASV"))),
    "2025-12058 a vocabulary that is a path in an archive": lambda: _archive(
        _model(_layer("StringLookup", vocabulary="/etc/passwd"))
    ),
    "2025-12060 members that lead out of an archive": lambda: _archive(
        _model(), {"../pwned": b"x", "assets/../../pwned": b"x", "/tmp/pwned": b"x", "C:\\pwned": b"x"}
    ),
    "2026-0897 a shape without data in HDF5": lambda: _hdf5(_huge),
    "2026-0897 a shape without data in the weights of an archive": lambda: _archive(_model(), weights=_hdf5(_huge)),
    "2026-1462 a SavedModel elsewhere in an archive": lambda: _archive(_model(_layer("TFSMLayer", filepath="evil"))),
    "2026-1669 an external dataset": lambda: _hdf5(_external),
    "2026-1669 an external dataset in an archive": lambda: _archive(_model(), weights=_hdf5(_external)),
    "a virtual dataset": lambda: _hdf5(_virtual),
    "an external link": lambda: _hdf5(_link),
    "a symbolic link in an archive": _linked,
    "a zip bomb": _zip_bomb,
    "an npz bomb": _npz_bomb,
}
