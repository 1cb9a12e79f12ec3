"""`tiedio inspect`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

import tiedio
from tiedio.cli.options import AS_JSON, EXIT_CODES, FILE, NO_LIMITS, limits
from tiedio.picture.scene import bytes_of
from tiedio.terminal import fold_path, plain_console, plain_table, printable, size_text

if TYPE_CHECKING:
    from rich.console import Console

    from tiedio.manifest import Manifest, Tie

MOST_ROWS = 40
"""Tensors, or ties, that a terminal is shown one by one."""


@click.command(epilog=EXIT_CODES)
@FILE
@click.option("--all", "every", is_flag=True, help="List every tensor, also in a terminal.")
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="Add up what is below N names of a path.")
@AS_JSON
@NO_LIMITS
def inspect(file: Path, every: bool, depth: int | None, as_json: bool, no_limits: bool) -> None:
    """Show the tensors and ties of a file.

    FILE is a .safetensors file that tiedio wrote. Reads the header only; neither Keras nor a backend is loaded.
    A terminal is shown a large model in sums; a pipe gets one line a tensor.

    \b
    Examples:
      tiedio inspect model.safetensors
      tiedio inspect model.safetensors --depth 1
      tiedio inspect model.safetensors | grep kernel
      tiedio inspect model.safetensors --json | jq .ties
    """  # noqa: D301 - the mark is click's
    found = summarize(tiedio.inspect(file, limits=limits(no_limits)))
    if as_json:
        click.echo(json.dumps({"path": str(file), **found}, indent=2))
        return
    console = plain_console(fold_when_piped=False)
    most = MOST_ROWS if console.is_terminal and not every else None
    _print_summary(console, file, found, depth, most)


def summarize(manifest: Manifest) -> dict[str, Any]:
    """Turn a manifest into what `tiedio inspect --json` prints.

    Args:
        manifest: what `tiedio.inspect` returned.

    Returns:
        plain data: `format`, `versions`, `roots`, `tensors` (name, dtype, shape, bytes, trainable), `ties` (path,
        slots, views, dtype, shape, bytes_saved), `shared_objects` (class_name, paths), `optimizers` (path, class_name,
        models, built, variables), `objects`, `custom`, `bytes` and `bytes_saved`. `trainable` is `None` for what is no
        variable, and a view is what `str` makes of it, `None` where a slot holds the variable itself.

    Example:
        >>> from tiedio.manifest import Manifest, Slot, Variable
        >>> kernel = Variable((Slot("a/kernel"), Slot("b/kernel")), (3, 4), "float32", "kernel", "a/kernel")
        >>> summarize(Manifest(1, {}, (), (), (kernel,)))["bytes_saved"]
        48
    """
    flags = {variable.slots[0].path: variable.trainable for variable in manifest.variables}
    tensors = [
        {
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "bytes": bytes_of(tensor.dtype, tensor.shape),
            "trainable": flags.get(tensor.name),
        }
        for tensor in manifest.tensors
    ]
    ties = [
        {
            "path": tie.path,
            "slots": list(tie.slots),
            "views": [None if view is None else str(view) for view in tie.views or (None,) * len(tie.slots)],
            "dtype": tie.dtype,
            "shape": list(tie.shape),
            "bytes_saved": _saved(tie),
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
        "optimizers": [
            {
                "path": one.path,
                "class_name": one.class_name,
                "models": list(one.models),
                "built": one.built,
                "variables": len(one.variables),
            }
            for one in manifest.optimizers
        ],
        "objects": len(manifest.objects),
        "custom": list(manifest.custom),
        "bytes": sum(tensor["bytes"] for tensor in tensors),
        "bytes_saved": sum(tie["bytes_saved"] for tie in ties),
    }


def _saved(tie: Tie) -> int:
    """What the other slots would take: a view of a part would take that part."""
    views = tie.views or (None,) * len(tie.slots)
    shapes = (tie.shape if view is None else view.result_shape(tie.shape) for view in views[1:])
    return sum(bytes_of(tie.dtype, shape) for shape in shapes)


def _print_summary(console: Console, file: Path, found: dict[str, Any], depth: int | None, most: int | None) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    written = f", written with {versions}" if versions else ""
    console.print(Text(printable(str(file)), style="bold"))
    console.print(Text(printable(f"format {found['format']}{written}")))
    for name in ("roots", "custom"):
        if found[name]:
            label = {"roots": "models", "custom": "custom classes"}[name]
            console.print(Text(f"{label}: {', '.join(map(printable, found[name]))}"))
    for one in found["optimizers"]:
        built = f"built for {_count(one['variables'], 'variable')}" if one["built"] else "not built yet"
        console.print(Text(f"optimizer: {printable(one['class_name'])}, {built}"))
    tensors = found["tensors"]
    if depth is None and most is not None and len(tensors) > most:
        depth = _depth_for(tensors, most)
    rows = _summed(tensors, depth) if depth is not None else [_row(one) for one in tensors]
    _print_rows(console, rows if most is None else rows[:most])
    if most is not None:
        _print_rest(console, len(rows) - len(rows[:most]))
    if depth is not None and most is not None:
        console.print(Text(f"in sums; each of the {_count(tensors, 'tensor')}: --all"))
    listed = found["ties"] if most is None else found["ties"][:most]
    if listed:
        table = plain_table("tie", "shape", "saved")
        for one in listed:
            slots = zip(one["slots"], one["views"], strict=True)
            lines = "\n= ".join(
                printable(slot) if view is None else f"{printable(slot)} ({printable(view)})" for slot, view in slots
            )
            table.add_row(*map(Text, (lines, _shape(one["shape"]), size_text(one["bytes_saved"]))))
        console.print("", table)
        _print_rest(console, len(found["ties"]) - len(listed))
    shared_objects = found["shared_objects"] if most is None else found["shared_objects"][:most]
    if shared_objects:
        table = plain_table("shared object", "class")
        for one in shared_objects:
            places = "\n= ".join(map(printable, one["paths"]))
            table.add_row(*map(Text, (places, printable(one["class_name"]))))
        console.print("", table)
        _print_rest(console, len(found["shared_objects"]) - len(shared_objects))
    size, saved = size_text(found["bytes"]), size_text(found["bytes_saved"])
    shared = f"; {_count(found['shared_objects'], 'shared object')}" if found["shared_objects"] else ""
    ties = _count(found["ties"], "tie")
    last = f"{_count(tensors, 'tensor')}, {size}{shared}; {ties}, {saved} saved by sharing"
    console.print("", Text(last), sep="\n")


Row = tuple[str, str, str, str]
"""Path, dtype, shape and size."""


def _row(one: dict[str, Any]) -> Row:
    return printable(one["name"]), printable(one["dtype"]), _shape(one["shape"]), size_text(one["bytes"])


def _print_rows(console: Console, rows: Sequence[Row]) -> None:
    gap = 3  # between the columns
    taken = sum(gap + max(map(len, column)) for column in list(zip(*rows, strict=True))[1:])
    table = plain_table("tensor", "dtype", "shape", "size")
    for path, *row in rows:
        table.add_row(*map(Text, (fold_path(path, console.width - taken), *row)))
    console.print("", table)


def _print_rest(console: Console, count: int) -> None:
    if count:
        console.print(Text(f"and {count} more: --all"))


def _depth_for(tensors: Sequence[dict[str, Any]], most: int) -> int:
    """How many names of a path are told, if there are to be at most so many rows; 0 where one is too many."""
    depth = 0
    while len({_start(one["name"], depth + 1) for one in tensors}) <= most:
        depth += 1
    return depth


def _start(path: str, depth: int) -> str:
    if depth == 0:  # names that differ in numbers only
        return re.sub(r"[0-9]+", "*", path.split("/", 1)[0])
    return "/".join(path.split("/", depth)[:depth])


def _summed(tensors: Sequence[dict[str, Any]], depth: int) -> list[Row]:
    """A row for all tensors whose paths begin alike; one that is alone stays as it is."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in tensors:
        groups.setdefault(_start(one["name"], depth), []).append(one)
    rows = []
    for start, members in groups.items():
        if len(members) == 1:
            rows.append(_row(members[0]))
            continue
        dtypes = Counter(one["dtype"] for one in members)
        size = size_text(sum(one["bytes"] for one in members))
        dtype = printable(next(iter(dtypes))) if len(dtypes) == 1 else f"{len(dtypes)} dtypes"
        rows.append((f"{printable(start)}/…", dtype, _count(members, "tensor"), size))
    return rows


def _count(things: Sequence[object] | int, noun: str) -> str:
    count = things if isinstance(things, int) else len(things)
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) if shape else "scalar"
