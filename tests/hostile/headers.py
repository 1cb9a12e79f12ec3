"""Hostile bytes and headers: lengths that lie, JSON that is not strict, tensors that overlap, other kinds of files."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from dataclasses import replace

import numpy as np

from tests.hostile.generators import hostile, of_parts, with_entry
from tests.hostile.good import Parts, compact, good, plain, seal
from tiedio.container.digests import KEY, blank
from tiedio.inspection import FORMAT_KEY, MANIFEST_KEY, STRUCTURE_KEY, TRAINING_KEY

NAME = "first/kernel"
ESC = "\x1b[2J\x1b]0;owned\x07"


def _text(change: str, instead: str) -> bytes:
    """The good file with a piece of its header replaced, sealed again."""
    parts = good().parts
    text = parts.header()
    assert change in text, change
    return seal(text.replace(change, instead, 1), parts.data, parts.digests())


def _length(length: int) -> bytes:
    raw = good().raw
    return length.to_bytes(8, "little") + raw[8:]


def _renamed(new: str) -> bytes:
    """The good file with another name for one tensor, in the header alone."""
    parts = good().parts
    return replace(parts, entries={new if n == NAME else n: entry for n, entry in parts.entries.items()}).built()


def _zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("config.json", json.dumps({"module": "os", "class_name": "system", "config": "id"}))
        archive.writestr("../../escaped.txt", "out of the folder")
    return packed.getvalue()


def _npz() -> bytes:
    packed = io.BytesIO()
    np.savez(packed, kernel=np.zeros(3))
    return packed.getvalue()


def _hdf5() -> bytes:
    import h5py

    packed = io.BytesIO()
    with h5py.File(packed, "w") as file:
        file["kernel"] = np.zeros(3)
    return packed.getvalue()


def _two_at_one_place(parts: Parts) -> Parts:
    same = parts.entries["first/bias"]["data_offsets"]
    return with_entry("second/bias", data_offsets=same)(parts)


# --- bytes ----------------------------------------------------------------------------------------------
hostile("an empty file", lambda: b"", "too short")
hostile("eight bytes", lambda: bytes(8), "not a safetensors file")
hostile("eight bytes that promise a header", lambda: (100).to_bytes(8, "little"), "truncated inside its header")
hostile("a length of nothing", lambda: _length(0), "not a safetensors file")
hostile("a length beyond the file", lambda: _length(99_999_999), "truncated inside its header")
hostile("a length beyond all bounds", lambda: _length(2**64 - 1), "not a safetensors file")
hostile("a length that ends inside the header", lambda: _length(100), "not JSON")
hostile("a length that reaches into the data", lambda: _length(len(good().raw) - 8), "not UTF-8|not JSON")
hostile("bytes after the last tensor", lambda: good().raw + b"!", "bytes follow")
hostile("a file that is also an archive, by bytes at its end", lambda: good().raw + _zip(), "bytes follow")
hostile("a file that lacks its last byte", lambda: good().raw[:-1], "truncated inside its data")
hostile("an archive of Keras", _zip, "not a safetensors file.*zip archive")
hostile("arrays of NumPy", _npz, "not a safetensors file.*zip archive")
hostile("an HDF5 file", _hdf5, "not a safetensors file.*HDF5")
hostile("a pickle", lambda: pickle.dumps({"kernel": [1.0] * 99}), "not a safetensors file")
hostile("random bytes", lambda: np.random.default_rng(1).bytes(5000), "not a safetensors file")

# --- JSON of the header -------------------------------------------------------------------------------------
hostile("a tensor that stands twice", lambda: _text('"first/bias":', '"first/kernel":'), "a key stands twice")
hostile(
    "a tensor that stands twice, once escaped",
    lambda: _text('"first/bias":', '"first\\u002fkernel":'),
    "a key stands twice.*'first/kernel'",
)
hostile("a field that stands twice", lambda: _text('"dtype":"F32"', '"dtype":"F32","dtype":"F32"'), "stands twice")
hostile(
    "a key of the metadata that stands twice",
    lambda: _text(f'"{FORMAT_KEY}":', f'"{FORMAT_KEY}":"4","{FORMAT_KEY}":'),
    "stands twice",
)
hostile(
    "metadata that stands twice",
    lambda: _text('{"__metadata__":', '{"__metadata__":{},"__metadata__":'),
    "stands twice.*'__metadata__'",
)
hostile("a field that is unknown", of_parts(with_entry(NAME, strides=[1])), "fields it should have.*'strides'")
hostile("a header that is no object", lambda: seal("[1,2]", b"", []), "begins with")
hostile("a header with a byte order mark", lambda: seal("\ufeff{}", b"", []), "begins with")
hostile("a header of half a surrogate pair", lambda: _renamed("\ud800"), "not UTF-8")
hostile("an escaped half of a surrogate pair as a name", lambda: _text('"first/bias":', '"\\ud800":'), "lone surrogate")
for _what, _number in {
    "NaN": "NaN", "infinity": "-Infinity", "a number too large for a float": "1e999", "a fraction": "2.0",
    "a negative number": "-2", "true": "true", "a number of 5,000 digits": "9" * 5000, "text": '"2"', "null": "null",
    "a list": "[2]", "2 to the power of 63": str(2**63),
}.items():  # fmt: skip
    hostile(
        f"a shape of {_what}",
        lambda number=_number: _text('"shape":[2]', f'"shape":[{number}]'),  # type: ignore[misc]
        "number in its header|a shape that is not one",
    )
    hostile(
        f"an offset of {_what}",
        lambda number=_number: _text('"data_offsets":[0,8]', f'"data_offsets":[0,{number}]'),  # type: ignore[misc]
        "number in its header|offsets that are not a range|does not fit its shape",
    )
hostile("lists nested without end", lambda: seal('{"a":' + "[" * 99_999 + "]" * 99_999 + "}", b"", []), "too deep")
hostile("objects nested without end", lambda: seal('{"a":' * 50_000 + "1" + "}" * 50_000, b"", []), "too deep")

# --- tensors ------------------------------------------------------------------------------------------------
hostile("two tensors in one place", of_parts(_two_at_one_place), "overlaps")
hostile("tensors that overlap", of_parts(with_entry("second/bias", data_offsets=[79, 87])), "overlaps|hole")
hostile("a hole between tensors", of_parts(with_entry("first/bias", shape=[1], data_offsets=[52, 56])), "hole")
hostile(
    "a tensor beyond the end",
    of_parts(with_entry("third/bias", shape=[2**40], data_offsets=[104, 104 + 2**42])),
    "trunc",
)
hostile("a size that wraps round", of_parts(with_entry(NAME, shape=[2**32, 2**32])), "within bounds")
hostile("a size that wraps round to what is there", of_parts(with_entry(NAME, shape=[2**62 + 6])), "out of bounds")
hostile(
    "an empty tensor with sides beyond all bounds",
    of_parts(with_entry(NAME, shape=[0, 2**40, 2**40], data_offsets=[56, 56])),
    "within bounds",
)
hostile("a tensor of 300,000 axes", of_parts(with_entry(NAME, shape=[1] * 300_000)), "within bounds")
hostile("a tensor of 65 axes", of_parts(with_entry(NAME, shape=[3, 2] + [1] * 63)), "within bounds")
hostile("a dtype that is unknown", of_parts(with_entry(NAME, dtype="F128")), "dtype that is not supported")
hostile("a dtype below a byte", of_parts(with_entry(NAME, dtype="F4")), "dtype that is not supported")
hostile("a dtype of a megabyte", of_parts(with_entry(NAME, dtype="F" * 1_000_000)), "dtype that is not supported")
hostile("a tensor of another dtype", of_parts(with_entry(NAME, dtype="I32")), "differs from the manifest")
hostile("a tensor of another shape", of_parts(with_entry(NAME, shape=[2, 3])), "differs from the manifest")
for _what, _name in {
    "no name": "", "a name that leads out": "../../etc/passwd", "a name with NUL": "first\0kernel",
    "a name that a terminal obeys": ESC, "a name that turns the text round": "\u202elenrek",
    "a name of a megabyte": "n" * 10**6, "a name in another Unicode form": "first/kernel\u0301",
}.items():  # fmt: skip
    hostile(f"a tensor with {_what}", lambda name=_name: _renamed(name), "a tensor is missing")  # type: ignore[misc]

# --- metadata and digests -----------------------------------------------------------------------------------
hostile("no metadata", of_parts(lambda parts: replace(parts, metadata={})), "no manifest of tiedio|no digests")
for _key in (FORMAT_KEY, MANIFEST_KEY, STRUCTURE_KEY, TRAINING_KEY):
    hostile(
        f"metadata without {_key}",
        of_parts(
            lambda parts, key=_key: replace(parts, metadata={k: v for k, v in parts.metadata.items() if k != key})  # type: ignore[misc]
        ),
        "no manifest of tiedio|format version" if _key in (FORMAT_KEY, MANIFEST_KEY) else "no manifest of tiedio",
        ("inspect", "verify", "load", "load_weights") if _key in (FORMAT_KEY, MANIFEST_KEY) else ("load",),
    )
for _what, _version in {
    "newer": "5", "zero": "0", "a fraction": "4.0", "with a sign": "+4", "in other digits": "\uff14", "empty": "",
    "of a megabyte": "4" * 10**6, "with a space": " 4",
}.items():  # fmt: skip
    hostile(
        f"a version that is {_what}",
        of_parts(lambda parts, version=_version: replace(parts, metadata={**parts.metadata, FORMAT_KEY: version})),  # type: ignore[misc]
        "version|newer format",
    )
hostile(
    "a key of the metadata that is unknown", of_parts(lambda p: replace(p, metadata={**p.metadata, "x": "y"})), None
)


def _digests(text: str) -> bytes:
    parts = good().parts
    header = compact({"__metadata__": {**parts.metadata, KEY: text}, **parts.entries})
    return plain(header, parts.data)


hostile("digests that are no JSON", lambda: _digests("{"), "digests is not JSON")
hostile("digests that are brackets", lambda: _digests("[" * 1_000_000), "digests is too long")
hostile("digests that nest", lambda: _digests("[" * 1_500 + "]" * 0), "digests is not JSON")
hostile("digests of a list", lambda: _digests("[]"), "keys they should have")
hostile("digests that are a number of many digits", lambda: _digests("9" * 1_600), "digests")
hostile(
    "digests with a key too many", lambda: _digests('{"algorithm":1,"header":1,"tensors":1,"x":1}'), "keys they should"
)
hostile(
    "digests with a key that stands twice",
    lambda: _digests(blank(10).replace('{"algorithm"', '{"algorithm":"xxh3-128","algorithm"')),
    "not compact",
)
hostile("digests of too few tensors", lambda: _digests(blank(9)), "one digest for each tensor")
hostile(
    "digests that are no digests", lambda: _digests(blank(10).replace("0" * 32, "z" * 32)), "one of its digests is none"
)
hostile("digests of another algorithm", lambda: _digests(blank(10).replace("xxh3-128", "crc32")), "unknown algorithm")
hostile(
    "digests that are wrong",
    lambda: seal(good().parts.header(), good().parts.data, ["0" * 32] * 10),
    "not those that were written",
    ("verify",),
    "DamagedError",
)


def _archive_inside(parts: Parts) -> bytes:
    """A legal file: one tensor's bytes are an archive, and it ends with them, as an archive does."""
    packed = _zip()
    size = -(-len(packed) // 4) * 4
    # An archive may start anywhere, but has to end at the end: the last tensor in the data takes it.
    data = parts.data[:104] + bytes(size - len(packed)) + packed
    entries = {**parts.entries, "third/bias": {"dtype": "F32", "shape": [size // 4], "data_offsets": [104, 104 + size]}}

    def grow(manifest: dict[str, object]) -> None:
        for variable in manifest["variables"]:  # type: ignore[attr-defined]
            if variable["path"] == "third/bias":
                variable["shape"] = [size // 4]

    return replace(parts, data=data, entries=entries).changed("manifest", grow).built()


# The header is whole, and no tool of ours looks for an archive: the model is refused only for its shape.
hostile(
    "a file that is also an archive, by a tensor",
    lambda: _archive_inside(good().parts),
    "shape|differ|fit",
    ("load", "load_weights"),
    "any",
)
