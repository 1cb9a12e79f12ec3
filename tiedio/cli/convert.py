"""`tiedio convert`."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path

import click

import tiedio
from tiedio.cli.options import AS_JSON, EXIT_CODES, MODEL_FILE, NO_LIMITS, limits
from tiedio.terminal import plain_console

EXAMPLES = """\b
Examples:
  tiedio convert model.keras model.safetensors
  tiedio convert model.weights.h5 model.safetensors \\
      --config config.json
  tiedio convert model.safetensors model.keras
"""


@click.command(epilog=EXAMPLES + "\n" + EXIT_CODES)
@click.argument("source", type=MODEL_FILE, metavar="IN")
@click.argument("target", type=MODEL_FILE, metavar="OUT")
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="For weights alone: config.json or a .keras file."
)
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="NAME=SLOT",
    help="For plain safetensors: where it goes; repeat it.",
)
@click.option("--partial", is_flag=True, help="For plain safetensors: take what fits, and tell the rest.")
@click.option("--drop-optimizer", is_flag=True, help="Leave the optimizer and its state out.")
@AS_JSON
@NO_LIMITS
def convert(
    source: Path,
    target: Path,
    config: Path | None,
    mapping: tuple[str, ...],
    partial: bool,
    drop_optimizer: bool,
    as_json: bool,
    no_limits: bool,
) -> None:
    """Convert IN to OUT.

    IN is a .keras, .h5, .weights.h5 or .safetensors file, OUT a .safetensors or .keras file. Nothing in IN is
    trusted. Prints what came over, what did not, and which weights may have been tied.
    """
    if not all("=" in one for one in mapping):
        raise click.BadParameter("give NAME=SLOT", param_hint="--map")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the report has it
        report = tiedio.convert(
            source,
            target,
            config=config,
            mapping={one.rpartition("=")[0]: one.rpartition("=")[2] for one in mapping},
            strict=not partial,
            optimizer=not drop_optimizer,
            limits=limits(no_limits),
            progress=True,
        )
    click.echo(
        json.dumps(asdict(report), indent=2) if as_json else report.told(plain_console(fold_when_piped=False).width)
    )
