"""`tiedio verify`."""

from __future__ import annotations

from pathlib import Path

import click

import tiedio
from tiedio.cli.options import EXIT_CODES, FILE, NO_LIMITS, limits
from tiedio.terminal import printable


@click.command(epilog=EXIT_CODES)
@FILE
@NO_LIMITS
def verify(file: Path, no_limits: bool) -> None:
    """Compare every byte of a file with the digests in it.

    FILE is a .safetensors file that tiedio wrote. Names the tensors that are damaged; neither Keras
    nor a backend is loaded.

    \b
    Examples:
      tiedio verify model.safetensors
      tiedio verify model.safetensors && cp model.* backup/
    """  # noqa: D301 - the mark is click's
    tiedio.verify(file, limits=limits(no_limits), progress=True)
    click.echo(f"{printable(str(file))}: every byte is as it was written")
