"""`tiedio demo`."""

from __future__ import annotations

from pathlib import Path

import click

from tiedio.cli.options import EXIT_CODES


@click.command(epilog=EXIT_CODES)
@click.option("--keep", type=click.Path(path_type=Path), metavar="FOLDER", help="Leave the files there.")
def demo(keep: Path | None) -> None:
    """Compare .keras and tiedio on two models.

    Trains both, saves and loads them, and fine-tunes what comes back. Takes about a minute and no
    network. Needs: pip install 'tiedio[demo]'.

    \b
    Examples:
      tiedio demo
      mkdir files && tiedio demo --keep files
    """  # noqa: D301 - the mark is click's
    from tiedio.demo.show import show
    from tiedio.terminal import plain_console

    show(plain_console(), keep)
