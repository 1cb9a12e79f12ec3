"""Bombs: files that ask for far more than their size, wherever a header, a manifest or a config has room for it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.hostile.good import good, plain
from tests.hostile.texts import NASTY
from tiedio import strict_json

SMALL, LARGE = 1_100_000, 6_000_000
"""Characters: what is just below the allowance of a file of its size, where it is nasty, and what is far above."""


def in_header(text: str) -> bytes:
    return plain(f'{{"a":{text}}}', b"")


def in_metadata(text: str) -> bytes:
    return plain(json.dumps({"__metadata__": {"tiedio.format": "4", "tiedio.manifest": text}}), b"")


def in_digests(text: str) -> bytes:
    metadata = {"tiedio.format": "4", "tiedio.manifest": "{}", "tiedio.digests": text}
    return plain(json.dumps({"__metadata__": metadata}), b"")


def in_manifest(text: str) -> bytes:
    return good().parts.with_text("manifest", f'{{"format":4,"x":{text}}}').built()


def in_regularizer(text: str) -> bytes:
    """Where a manifest takes any value, so that it passes."""
    document = good().parts.document("manifest")
    document["variables"][0]["regularizer"] = "@"
    whole = strict_json.dumps(document).replace('"@"', text)
    return good().parts.with_text("manifest", whole).built()


def in_structure(text: str) -> bytes:
    document = good().parts.document("structure")
    document["objects"][2]["build_config"] = "@"
    whole = strict_json.dumps(document).replace('"@"', text)
    return good().parts.with_text("structure", whole).built()


def in_training(text: str) -> bytes:
    document = good().parts.document("training")
    document["models"][0]["omitted"] = ["@"]
    whole = strict_json.dumps(document).replace('"@"', text)
    return good().parts.with_text("training", whole).built()


PLACES: dict[str, Callable[[str], bytes]] = {
    "header": in_header,
    "metadata": in_metadata,
    "digests": in_digests,
    "manifest": in_manifest,
    "regularizer": in_regularizer,
    "structure": in_structure,
    "training": in_training,
}


def _records(change: Callable[[Any], None]) -> Callable[[], bytes]:
    def made() -> bytes:
        document = good().parts.document("manifest")
        change(document)
        return good().parts.with_text("manifest", strict_json.dumps(document)).built()

    return made


def _many_entries(count: int) -> bytes:
    entry = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    return plain("{" + ",".join(f'"{n:x}":{entry}' for n in range(count)) + "}", b"")


OTHERS: dict[str, Callable[[], bytes]] = {
    "many small tensors": lambda: _many_entries(25_000),
    "very many small tensors": lambda: _many_entries(200_000),
    "many slots": _records(lambda m: m["variables"][0]["slots"].extend({"path": f"s{n}"} for n in range(90_000))),
    "many objects": _records(
        lambda m: m["objects"].extend({"path": f"o{n}", "class_name": "C", "paths": [f"o{n}"]} for n in range(30_000))
    ),
    "many places": _records(lambda m: m["objects"][1]["paths"].extend(f"p{n:x}" for n in range(400_000))),
    "long lists": _records(lambda m: m["objects"][2]["orders"].update(layers=["first"] * 500_000)),
    "a long list under a long name": _records(
        lambda m: m["objects"][2]["orders"].update({"n" * 1_000_000: ["first"] * 100_000})
    ),
    "unknown members under a long name": _records(
        lambda m: m["objects"][1].update(path="n" * 500_000, orders={"layers": ["m" * 90] * 20_000})
    ),
    "one long name, many times": _records(
        lambda m: m["optimizers"][0].update(models=["n" * 200_000], variables=["m" * 100] * 30_000)
    ),
    "views of many axes": _records(
        lambda m: m["variables"][0]["slots"][2].update(view={"name": "reshape", "shape": [1] * 500_000})
    ),
    "huge sizes": _records(
        lambda m: m["variables"][0]["slots"].extend(
            {"path": f"s{n}", "view": {"name": "reshape", "shape": [2**63 - 1] * 60}} for n in range(3_000)
        )
    ),
    "many deep assets": _records(
        lambda m: m.update(
            stored=[
                {
                    "object": "first",
                    "hook": "assets",
                    "key": "a/" * 30 + f"{n}",
                    "tensor": f"t{n}",
                    "dtype": "uint8",
                    "shape": [0],
                }
                for n in range(9_000)
            ]
        )
    ),
    "one very deep asset": _records(
        lambda m: m.update(
            stored=[
                {
                    "object": "first",
                    "hook": "assets",
                    "key": "a/" * 2_000_000 + "b",
                    "tensor": "t",
                    "dtype": "uint8",
                    "shape": [0],
                }
            ]
        )
    ),
    "a sparse header": lambda: (90_000_000).to_bytes(8, "little") + b"{" + b" " * 89_999_999,
}


def write_all(folder: Path, sizes: tuple[int, ...] = (SMALL, LARGE)) -> Iterator[Path]:
    """Writes every bomb, one after the other."""
    for size in sizes:
        for name, make in NASTY.items():
            text = make(size)
            for place, put in PLACES.items():
                path = folder / f"{name} in {place}, {size}.safetensors".replace(" ", "_")
                path.write_bytes(put(text))
                yield path
    for name, make_file in OTHERS.items():
        path = folder / f"{name}.safetensors".replace(" ", "_")
        path.write_bytes(make_file())
        yield path


def main() -> None:
    """Measures every bomb, and prints those that come closest to what their files may take, and the slowest."""
    import sys
    import tempfile

    from tests.hostile.measure import MIB, Measured, measure

    call = sys.argv[1] if len(sys.argv) > 1 else "parse"
    done: list[Measured] = []
    bounds: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm = folder / "good.safetensors"
        warm.write_bytes(good().raw)
        files = write_all(folder)
        while some := list(itertools.islice(files, 40)):
            bounds.update({str(path): 64 * MIB + 4 * path.stat().st_size for path in some})
            done += measure(some, call, warm=warm)
            for path in some:
                path.unlink()
    for key, title in ((lambda one: one.peak / bounds[one.path], "memory"), (lambda one: one.seconds, "time")):
        print(f"{len(done)} files, {title}:")
        for one in sorted(done, key=key, reverse=True)[:12]:
            share = one.peak / bounds[one.path]
            print(f"{share:5.0%} of its bound, {one.seconds:6.2f} s, {one.error}: {Path(one.path).name[:90]}")
    print(f"beyond the bound: {sum(one.peak > bounds[one.path] for one in done)}")
    print(f"errors of others: {sum(one.error is not None and not one.ours for one in done)}")


if __name__ == "__main__":
    main()
