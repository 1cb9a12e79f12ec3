"""`tiedio report`."""

from __future__ import annotations

from pathlib import Path

import click

from tiedio.cli.options import EXIT_CODES, FILE, NO_LIMITS, limits
from tiedio.terminal import printable


@click.command(epilog=EXIT_CODES)
@FILE
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PAGE",
    help="A name that ends in .html; FILE's name with .html, here, by default.",
)
@click.option("--verify", is_flag=True, help="Compare every byte with the digests first, and say so.")
@NO_LIMITS
def report(file: Path, output: Path | None, verify: bool, no_limits: bool) -> None:
    """Write one HTML page about a file.

    FILE is a .safetensors file that tiedio wrote. The page has a treemap of the bytes, ties, tensors,
    the manifest and a search; it needs no network. Neither Keras nor a backend is loaded.

    \b
    Examples:
      tiedio report model.safetensors
      tiedio report model.safetensors -o model.html --verify
    """  # noqa: D301 - the mark is click's
    from tiedio.page import write_page

    target = output if output is not None else Path(file.name).with_suffix(".html")
    write_page(file, target, verify=verify, limits=limits(no_limits), progress=True)
    click.echo(f"{printable(str(target))}: written")
