"""`tiedio inspect`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

import tiedio
from tiedio.cli.options import AS_JSON, EXIT_CODES, FILE, NO_LIMITS, limits
from tiedio.terminal import fold_path, plain_console, plain_table, printable, size_text

if TYPE_CHECKING:
    from tiedio.manifest import Manifest


@click.command(epilog=EXIT_CODES)
@FILE
@AS_JSON
@NO_LIMITS
def inspect(file: Path, as_json: bool, no_limits: bool) -> None:
    """Show the tensors and ties of a file.

    FILE is a .safetensors file that tiedio wrote. Reads the header only; neither Keras nor a backend is loaded.
    """
    found = summarize(tiedio.inspect(file, limits=limits(no_limits)))
    if as_json:
        click.echo(json.dumps({"path": str(file), **found}, indent=2))
    else:
        _print_summary(file, found)


def summarize(manifest: Manifest) -> dict[str, Any]:
    """Turn a manifest into what `tiedio inspect --json` prints.

    Args:
        manifest: what `tiedio.inspect` returned.

    Returns:
        plain data: `format`, `versions`, `roots`, `tensors` (name, dtype, shape, bytes), `ties` (path, slots,
        dtype, shape, bytes_saved), `shared_objects` (class_name, paths), `custom`, `bytes` and `bytes_saved`.

    Example:
        >>> from tiedio.manifest import Manifest, Slot, Variable
        >>> kernel = Variable((Slot("a/kernel"), Slot("b/kernel")), (3, 4), "float32", "kernel", "a/kernel")
        >>> summarize(Manifest(1, {}, (), (), (kernel,)))["bytes_saved"]
        48
    """
    tensors = [
        {
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "bytes": _bytes(tensor.dtype, tensor.shape),
        }
        for tensor in manifest.tensors
    ]
    ties = [
        {
            "path": tie.path,
            "slots": list(tie.slots),
            "dtype": tie.dtype,
            "shape": list(tie.shape),
            "bytes_saved": (len(tie.slots) - 1) * _bytes(tie.dtype, tie.shape),
        }
        for tie in manifest.ties
    ]
    return {
        "format": manifest.format,
        "versions": dict(manifest.versions),
        "roots": [root.name for root in manifest.roots if root.name is not None],
        "tensors": tensors,
        "ties": ties,
        "shared_objects": [{"class_name": one.class_name, "paths": list(one.paths)} for one in manifest.shared_objects],
        "custom": list(manifest.custom),
        "bytes": sum(tensor["bytes"] for tensor in tensors),
        "bytes_saved": sum(tie["bytes_saved"] for tie in ties),
    }


def _bytes(dtype: str, shape: Sequence[int]) -> int:
    """Return the size of a tensor in bytes; the dtype's name says how many bits an item takes."""
    bits = re.search(r"\d+", dtype)
    return math.prod(shape) * (1 if bits is None else max(1, int(bits[0]) // 8))


def _print_summary(file: Path, found: dict[str, Any]) -> None:
    console = plain_console(fold_when_piped=False)
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    written = f", written with {versions}" if versions else ""
    console.print(Text(printable(str(file)), style="bold"))
    console.print(Text(printable(f"format {found['format']}{written}")))
    for name in ("roots", "custom"):
        if found[name]:
            label = {"roots": "models", "custom": "custom classes"}[name]
            console.print(Text(f"{label}: {', '.join(map(printable, found[name]))}"))
    rows = [(printable(one["dtype"]), _shape(one["shape"]), size_text(one["bytes"])) for one in found["tensors"]]
    gap = 3  # between the columns
    taken = sum(gap + max(map(len, column)) for column in zip(*rows, strict=True))
    table = plain_table("tensor", "dtype", "shape", "size")
    for one, row in zip(found["tensors"], rows, strict=True):
        table.add_row(*map(Text, (fold_path(printable(one["name"]), console.width - taken), *row)))
    console.print("", table)
    if found["ties"]:
        table = plain_table("tie", "shape", "saved")
        for one in found["ties"]:
            slots = "\n= ".join(map(printable, one["slots"]))
            table.add_row(*map(Text, (slots, _shape(one["shape"]), size_text(one["bytes_saved"]))))
        console.print("", table)
    if found["shared_objects"]:
        table = plain_table("shared object", "class")
        for one in found["shared_objects"]:
            places = "\n= ".join(map(printable, one["paths"]))
            table.add_row(*map(Text, (places, printable(one["class_name"]))))
        console.print("", table)
    tensors, ties = _count(found["tensors"], "tensor"), _count(found["ties"], "tie")
    size, saved = size_text(found["bytes"]), size_text(found["bytes_saved"])
    shared = f"; {_count(found['shared_objects'], 'shared object')}" if found["shared_objects"] else ""
    console.print("", Text(f"{tensors}, {size}{shared}; {ties}, {saved} saved by sharing"), sep="\n")


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) if shape else "scalar"
