"""`tiedio diff`."""

from __future__ import annotations

import json
from pathlib import Path

import click

import tiedio
from tiedio.cli.options import AS_JSON, FAILED, MODEL_FILE, NO_LIMITS, limits
from tiedio.terminal import UNFOLDED_WIDTH, plain_console

DIFFERENT = 3
EXIT_CODES = f"Exit codes: 0 no difference; {FAILED}; {DIFFERENT} the files differ."


@click.command(epilog=EXIT_CODES)
@click.argument("a", type=MODEL_FILE, metavar="A")
@click.argument("b", type=MODEL_FILE, metavar="B")
@click.option("--ignore-optimizer", is_flag=True, help="Leave compile settings and optimizers out.")
@click.option(
    "--atol",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="NUMBER",
    help="Take values that differ by no more for the same; else every bit counts.",
)
@AS_JSON
@NO_LIMITS
@click.pass_context
def diff(
    ctx: click.Context, a: Path, b: Path, ignore_optimizer: bool, atol: float, as_json: bool, no_limits: bool
) -> None:
    """Compare two files: structure, ties and values.

    A and B are .safetensors files that tiedio wrote. Neither Keras nor a backend is loaded, and the
    memory that it takes does not grow with the tensors.

    \b
    Examples:
      tiedio diff before.safetensors after.safetensors
      tiedio diff --ignore-optimizer --atol 1e-6 A B
      tiedio diff A B --json | jq '.values[].path'
      tiedio diff A B > report.txt; test $? -ne 3
    """  # noqa: D301 - the mark is click's
    found = tiedio.diff(a, b, optimizer=not ignore_optimizer, atol=atol, limits=limits(no_limits), progress=True)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        width = plain_console(fold_when_piped=False).width
        click.echo(found.text(None if width >= UNFOLDED_WIDTH else width))
    ctx.exit(0 if found.identical else DIFFERENT)
