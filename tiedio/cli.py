"""The command line: `tiedio demo`, `tiedio inspect` and `tiedio verify`."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tiedio
from tiedio.errors import TiedioError

if TYPE_CHECKING:
    import click

    from tiedio.manifest import Manifest

PURPOSE = "Save and load Keras models so that every shared weight is still shared."
EXIT_CODES = "Exit codes: 0 done; 1 something failed, and the error says what; 2 wrong usage."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after the program's name; those of this process by default.

    Returns:
        1 after an error of tiedio, whose text goes to standard error without a traceback.

    Raises:
        SystemExit: with the exit code, in every other case.

    Example:
        >>> main(["inspect", "no-such-file.safetensors"])
        1
    """
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        _say_error(f"the command line is not installed ({error}). Remedy: pip install 'tiedio[cli]'.")
        return 1
    try:
        _app()(args=arguments, prog_name="tiedio")
    except TiedioError as error:
        from tiedio.demo.terminal import printable

        # An error quotes what a file says.
        _say_error("\n".join(map(printable, str(error).splitlines())))
        return 1
    return 0


def demo(keep: Path | None = None) -> None:
    """Compare .keras and tiedio on two models.

    Trains both, saves and loads them, and fine-tunes what comes back. Takes about a minute and no
    network. Needs: pip install 'tiedio[demo]'.
    """
    from tiedio.demo.show import show
    from tiedio.demo.terminal import plain_console

    show(plain_console(), keep)


def inspect(file: Path, as_json: bool = False, no_limits: bool = False) -> None:
    """Show the tensors and ties of a file.

    FILE is a .safetensors file that tiedio wrote. Reads the header only; neither Keras nor a backend is loaded.
    """
    found = summarize(tiedio.inspect(file, limits=_limits(no_limits)))
    if as_json:
        print(json.dumps({"path": str(file), **found}, indent=2))
    else:
        _print_summary(file, found)


def verify(file: Path, no_limits: bool = False) -> None:
    """Compare every byte of a file with the digests in it.

    FILE is a .safetensors file that tiedio wrote. Names the tensors that are damaged; neither Keras
    nor a backend is loaded.
    """
    from tiedio.demo.terminal import printable

    tiedio.verify(file, limits=_limits(no_limits))
    print(f"{printable(str(file))}: every byte is as it was written")


def _limits(no_limits: bool) -> tiedio.Limits | None:
    return tiedio.Limits.off() if no_limits else None


def _app() -> click.Group:
    import click

    app = click.Group(help=PURPOSE, epilog=EXIT_CODES, no_args_is_help=True)
    click.version_option(tiedio.__version__, message="%(version)s")(app)
    folder = click.option("--keep", type=click.Path(path_type=Path), metavar="FOLDER", help="Leave the files there.")
    file = click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
    json_wanted = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    trusted = click.option("--no-limits", is_flag=True, help="Allow it any memory: for a file that you trust.")
    for command, options in ((demo, [folder]), (inspect, [file, json_wanted, trusted]), (verify, [file, trusted])):
        for option in options:
            option(command)
        app.add_command(click.command(epilog=EXIT_CODES)(command))
    return app


def _say_error(text: str) -> None:
    print(f"tiedio: {text}", file=sys.stderr)


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
    from rich.text import Text

    from tiedio.demo.terminal import fold_path, plain_console, plain_table, printable, size_text

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
