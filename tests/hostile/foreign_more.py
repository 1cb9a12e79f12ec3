"""More hostile files in Keras's own formats: what an archive, an HDF5 file and a configuration can be twisted into."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import keras
import numpy as np

from tests.hostile.configurations import LAMBDA, serialized
from tests.hostile.foreign import SECRET, _archive, _hdf5, _layer, _model


def _good(**config: Any) -> dict[str, Any]:
    entry = _layer("Dense", **{"units": 2, **config})
    return _model(_layer("InputLayer", batch_shape=[None, 3]), {**entry, "build_config": {"input_shape": [None, 3]}})


def _numbers(file: h5py.File) -> None:
    file["a"] = np.ones(99)


def _soft(file: h5py.File) -> None:
    file["vars/0"] = np.zeros(3)
    file["layers"] = h5py.SoftLink("/vars")


def _circle(file: h5py.File) -> None:
    group = file.create_group("layers")
    group["layers"] = group


def _twice(file: h5py.File) -> None:
    file["layers/a"] = np.ones(3)
    file["layers/b"] = file["layers/a"]


def _references(file: h5py.File) -> None:
    file.create_group("layers").create_dataset("0", (3,), h5py.ref_dtype)


def _text(file: h5py.File) -> None:
    file.create_group("layers").create_dataset("0", (3,), h5py.string_dtype())


def _chunk(file: h5py.File) -> None:
    """25 numbers in a chunk of half a gigabyte."""
    chunks = {"chunks": (1 << 13, 1 << 14), "maxshape": (None, None)}
    file.create_dataset("layers/dense/vars/0", (3, 2), "f4", np.ones((3, 2)), compression="gzip", **chunks)


def _one_text_often() -> bytes:
    """A list of three thousand texts, all of which are one text of a megabyte."""
    size = 1 << 20
    texts = np.array(["x" * size] + ["y"] * 3000, dtype=object)
    raw = bytearray(_hdf5(lambda file: file.attrs.create("layer_names", texts, dtype=h5py.string_dtype())))
    start = raw.index(struct.pack("<L", size))
    while raw[start + 12 : start + 16] != struct.pack("<L", 1):
        start = raw.index(struct.pack("<L", size), start + 1)
    raw[start + 16 : start + 16 * 3001] = raw[start : start + 16] * 3000
    return bytes(raw)


def _names_often(file: h5py.File) -> None:
    """Two lists of three thousand names: nine million, if each of the one stands for all of the other."""
    file.attrs["layer_names"] = np.array([b"dense"] * 3000)
    file["dense/kernel"] = np.ones((3, 2), "float32")
    file["dense"].attrs["weight_names"] = np.array([b"kernel"] * 3000)


@keras.saving.register_keras_serializable("hostile")
class Harmless(keras.layers.Layer):
    """A class of the user, whose registered name a file may use."""


def _bare() -> bytes:
    """A layer that says to be one of the user's, and that Keras takes for its own by its bare name."""
    lookup = {"name": "lookup", "vocabulary": SECRET}
    entry = {"class_name": "StringLookup", "registered_name": "hostile>Harmless", "config": lookup}
    return _archive(_model(_layer("InputLayer", batch_shape=[None, 1], dtype="string"), entry))


def _elsewhere() -> bytes:
    """The end says that the directory stands where no file of this size has anything."""
    raw = bytearray(_archive(_good()))
    end = raw.rindex(b"PK\x05\x06")
    raw[end + 16 : end + 20] = b"\xff" * 4
    return bytes(raw)


def _other_method() -> bytes:
    raw = bytearray(_archive(_good()))
    raw[8] = zipfile.ZIP_DEFLATED
    return bytes(raw)


def _between() -> bytes:
    raw = _archive(_good())
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
            assert archive.fp is not None
            archive.fp.write(b"hidden")
            archive.start_dir = archive.fp.tell()
    return buffer.getvalue()


def _member_twice() -> bytes:
    buffer = io.BytesIO(_archive(_good()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr("config.json", json.dumps(_good()))
    return buffer.getvalue()


def _bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(_good()))
        archive.writestr("model.weights.h5", b"\0" * (96 << 20))
    return buffer.getvalue()


def _key_twice() -> bytes:
    text = json.dumps(_good())
    return _archive_of_text(text[:-1] + ', "class_name": "Functional"}')


def _deep() -> bytes:
    return _archive_of_text(
        '{"class_name": "Sequential", "module": "keras", "config": ' + "[" * 5000 + "]" * 5000 + "}"
    )


def _archive_of_text(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", _hdf5(lambda _: None))
    return buffer.getvalue()


def _call_without_tensor() -> bytes:
    zeros = {
        **serialized("keras.src.ops.numpy", "Zeros", {"shape": [1000, 1000]}),
        "name": "zeros",
        "inbound_nodes": [{"args": [[1000, 1000]], "kwargs": {}}],
    }
    graph = {"name": "model", "layers": [zeros], "input_layers": [], "output_layers": [["zeros", 0, 0]]}
    return _archive(serialized("keras.src.models.functional", "Functional", graph))


def _with(**beside: Any) -> bytes:
    return _archive({**_good(), **beside})


MORE: dict[str, Callable[[], bytes]] = {
    "a soft link": lambda: _hdf5(_soft),
    "a group in itself": lambda: _hdf5(_circle),
    "a dataset in two places": lambda: _hdf5(_twice),
    "references to objects": lambda: _hdf5(_references),
    "text of any length": lambda: _hdf5(_text),
    "a chunk far larger than its dataset": lambda: _hdf5(_chunk),
    "one text in a list for thousands of times": _one_text_often,
    "a list of names for each of a list of names": lambda: _hdf5(_names_often),
    "a layer that hides behind a name of the user's": _bare,
    "a directory that stands nowhere": _elsewhere,
    "a member whose header says another compression": _other_method,
    "bytes before an archive": lambda: b"#!/bin/sh\n" + _archive(_good()),
    "bytes after an archive": lambda: _archive(_good()) + b"more",
    "bytes between members": _between,
    "a member twice": _member_twice,
    "a zip bomb of a whole archive": _bomb,
    "an HDF5 file that is none": lambda: _archive(_good(), weights=b"\x89HDF\r\n\x1a\n" + b"\xff" * 3000),
    "an HDF5 file that is cut": lambda: _archive(_good(), weights=_hdf5(_numbers)[:1500]),
    "millions of units": lambda: _archive(_good(units=10**9)),
    "a wide layer without weights": lambda: _archive(_model(
        _layer("InputLayer", batch_shape=[None, 100_000]),
        {**_layer("Dense", units=100_000), "build_config": {"input_shape": [None, 100_000]}},
    )),
    "a call without a tensor": _call_without_tensor,
    "a typespec": lambda: _archive(_good(activation={
        "class_name": "__typespec__", "spec_name": "TensorSpec", "module": "tensorflow", "registered_name": None,
        "config": [[2], "float32"],
    })),
    "a lambda among the losses": lambda: _with(compile_config={"optimizer": "adam", "loss": LAMBDA}),
    "safe mode off in a nested configuration": lambda: _archive(_good(safe_mode=False)),
    "a key twice in the configuration": _key_twice,
    "very deep": _deep,
}  # fmt: skip
"""Files by what is wrong with them."""
