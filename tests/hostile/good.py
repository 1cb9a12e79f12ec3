"""Good files to start from: their parts, changed and sealed again as a hostile writer would."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xxhash import xxh3_128_hexdigest

from tiedio.container.digests import KEY, blank, sealed
from tiedio.inspection import FORMAT_KEY, MANIFEST_KEY, STRUCTURE_KEY, TRAINING_KEY

TEXTS = {"manifest": MANIFEST_KEY, "structure": STRUCTURE_KEY, "training": TRAINING_KEY}


def compact(value: Any) -> str:
    """JSON as a hostile writer writes it: NaN and lone surrogates too."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Parts:
    """A file taken apart: metadata, the entries of tensors, and the bytes of all of them."""

    metadata: dict[str, str]
    entries: dict[str, Any]
    data: bytes

    @staticmethod
    def of(raw: bytes) -> Parts:
        """The parts of a good file."""
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        return Parts(header.pop("__metadata__"), header, raw[8 + length :])

    def document(self, name: str) -> Any:
        """One of the three texts, parsed."""
        return json.loads(self.metadata[TEXTS[name]])

    def with_text(self, name: str, text: str) -> Parts:
        """The same with another text."""
        return replace(self, metadata={**self.metadata, TEXTS[name]: text})

    def changed(self, name: str, change: Callable[[Any], Any]) -> Parts:
        """The same with one of the texts changed in place."""
        value = self.document(name)
        change(value)
        return self.with_text(name, compact(value))

    def header(self) -> str:
        """The text of the header, with blank digests for as many tensors as there are."""
        metadata = {**self.metadata, KEY: blank(len(self.entries))}
        return compact({"__metadata__": metadata, **self.entries})

    def built(self) -> bytes:
        """The file, with digests that are right: they stop no forger."""
        return seal(self.header(), self.data, self.digests())

    def digests(self) -> list[str]:
        """The digest of each tensor, in the order of the data."""
        spans = sorted((entry["data_offsets"] for entry in self.entries.values()), key=tuple)
        return [xxh3_128_hexdigest(self.data[start:stop]) for start, stop in spans]


def plain(header: str, data: bytes) -> bytes:
    """A file of the text of a header as it is, and data."""
    raw = header.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "little") + raw + data


def seal(header: str, data: bytes, digests: list[str]) -> bytes:
    """A file of the text of a header, which holds blank digests, and data."""
    raw = header.encode("utf-8", "surrogatepass")
    head = len(raw).to_bytes(8, "little") + raw
    with contextlib.suppress(ValueError):  # no place for digests: it is refused for that, or for something else
        head = sealed(head, digests)
    return head + data


@dataclass(frozen=True)
class Good:
    """A good file and a model that it fits."""

    raw: bytes
    parts: Parts = field(repr=False)


def small_model() -> Any:
    """A model of layers with one kernel, one of them by a view, compiled: what `load_weights` is given."""
    import keras

    import tiedio

    inputs = keras.Input((3,), name="pixels")
    first, second, third = (keras.layers.Dense(n, name=name) for n, name in ((2, "first"), (2, "second"), (3, "third")))
    model = keras.Model([inputs], [third(first(inputs)), second(inputs)], name="model")
    tiedio.tie(second, first, weights=["kernel"])
    tiedio.tie(third, first, weights=["kernel"], view=tiedio.transpose())
    model.compile(keras.optimizers.SGD(0.125, momentum=0.5), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


@functools.cache
def good() -> Good:
    """A file of `small_model`."""
    import tiedio

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "good.safetensors"
        tiedio.save(small_model(), path)
        raw = path.read_bytes()
    return Good(raw, Parts.of(raw))


def weights_only() -> Parts:
    """The parts of the good file without structure and training record."""
    parts = good().parts
    kept = {key: text for key, text in parts.metadata.items() if key in (FORMAT_KEY, MANIFEST_KEY, KEY)}
    return replace(parts, metadata=kept)


def parse(path: str) -> None:
    """Everything that happens to a file before something is made of it."""
    from tiedio import strict_json
    from tiedio.container.single import open_reader
    from tiedio.inspection import manifest_of
    from tiedio.structure import shape

    with open_reader(path) as reader:
        metadata = reader.header.metadata
        manifest = manifest_of(reader.header, path)
        if STRUCTURE_KEY not in metadata or TRAINING_KEY not in metadata:
            return
        table = strict_json.loads(metadata[STRUCTURE_KEY], f"{path}: structure", reader.header.allowance)
        training = strict_json.loads(metadata[TRAINING_KEY], f"{path}: training", reader.header.allowance)
        shape.check(table, training, len(manifest.objects), len(manifest.optimizers), path, manifest.format)
