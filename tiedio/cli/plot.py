"""`tiedio plot`."""

from __future__ import annotations

from pathlib import Path

import click

import tiedio
from tiedio.cli.options import EXIT_CODES, FILE, NO_LIMITS, limits
from tiedio.terminal import printable

_ALL = "all"


def _boxes(_ctx: click.Context, _param: click.Parameter, value: str | None) -> bool | int:
    """What `tiedio.plot` takes as `fold`."""
    if value is None:
        return True
    if value == _ALL:
        return False
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither a number from 1 nor {_ALL!r}")
    return int(value)


@click.command(epilog=EXIT_CODES)
@FILE
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PICTURE",
    help="A name that ends in .svg, .png or .dot; FILE's name with .svg, here, by default.",
)
@click.option("--shapes", is_flag=True, help="Show shapes of inputs and outputs, as far as the file tells them.")
@click.option("--nested", is_flag=True, help="Open models and layers inside of others.")
@click.option(
    "--boxes", callback=_boxes, metavar="N|all", help="How many there are before blocks are folded.  [default: 48]"
)
@click.option("--rankdir", type=click.Choice(["TB", "LR"]), default="TB", help="From top to bottom, or left to right.")
@click.option("--dpi", type=click.IntRange(10, 1200), default=200, show_default=True, help="Resolution of a png.")
@NO_LIMITS
def plot(
    file: Path,
    output: Path | None,
    shapes: bool,
    nested: bool,
    boxes: bool | int,
    rankdir: str,
    dpi: int,
    no_limits: bool,
) -> None:
    """Draw a file's models, each tie in its own color.

    FILE is a .safetensors file that tiedio wrote. Neither Keras nor a backend is loaded. A .svg or .png
    needs the program dot of Graphviz; a .dot needs nothing.

    \b
    Examples:
      tiedio plot model.safetensors
      tiedio plot model.safetensors -o model.png --shapes
      tiedio plot big.safetensors --boxes 100
    """  # noqa: D301 - the mark is click's
    target = output if output is not None else Path(file.name).with_suffix(".svg")
    tiedio.plot(
        file,
        target,
        show_shapes=shapes,
        expand_nested=nested,
        fold=boxes,
        rankdir=rankdir,
        dpi=dpi,
        limits=limits(no_limits),
    )
    click.echo(f"{printable(str(target))}: drawn")
