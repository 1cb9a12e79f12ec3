"""`tiedio repair`."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.padding import Padding
from rich.text import Text

import tiedio
from tiedio.cli.options import FAILED, MODEL_FILE, NO_LIMITS, limits
from tiedio.terminal import fold_path, plain_console, printable, size_text

if TYPE_CHECKING:
    from tiedio import LostTie

NOTHING_CHOSEN = 3
_STATES = {"none": "no state", "waiting": "in the file, comes back with the ties"}
EXIT_CODES = (
    f"Exit codes: 0 done, or nothing to tie; {FAILED}; {NOTHING_CHOSEN} there are candidates and none was chosen, so "
    "that nothing was written."
)
EXAMPLES = """\b
Examples:
  tiedio repair model.keras
  tiedio repair model.keras model.safetensors --all
  tiedio repair model.keras model.safetensors \\
      --pairs decoder/kernel=embedding/embeddings
"""


@click.command(epilog=EXAMPLES + "\n" + EXIT_CODES)
@click.argument("source", type=MODEL_FILE, metavar="IN")
@click.argument("target", type=MODEL_FILE, metavar="[OUT]", required=False)
@click.option("--all", "every", is_flag=True, help="Tie all candidates but the weak ones.")
@click.option("--pairs", multiple=True, metavar="A=B", help="Tie these; repeat it, or separate pairs by commas.")
@click.option("--min-size", type=click.IntRange(min=1), metavar="N", help="Fewer equal elements are a weak sign (16).")
@click.option("--drop-optimizer", is_flag=True, help="Leave the optimizer and its state out.")
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="For weights alone: config.json or a .keras file."
)
@click.option("--json", "as_json", is_flag=True, help="Print the candidates as JSON; nothing is written.")
@NO_LIMITS
@click.pass_context
def repair(
    context: click.Context,
    source: Path,
    target: Path | None,
    every: bool,
    pairs: tuple[str, ...],
    min_size: int | None,
    drop_optimizer: bool,
    config: Path | None,
    as_json: bool,
    no_limits: bool,
) -> None:
    """Tie again what a format lost.

    Shows the weights of IN that agree bit by bit, as they are or transposed. With OUT, a .safetensors file, those
    that are chosen are tied: by --all, by --pairs, or one by one, where this runs on a terminal.
    """
    chosen: list[Any] = [pair for one in pairs for pair in one.split(",") if pair]
    sizes = {} if min_size is None else {"min_size": min_size}
    given: dict[str, Any] = {"config": config, "limits": limits(no_limits), **sizes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if as_json or target is None or not (every or chosen):
            found = tiedio.find_lost_ties(source, **given)
            if as_json:
                click.echo(json.dumps({"path": str(source), "candidates": [as_data(one) for one in found]}, indent=2))
            else:
                show(source, found)
            if not found:
                return
            if as_json or target is None or not _is_terminal():
                if not as_json:
                    out = "OUT.safetensors" if target is None else printable(str(target))
                    click.echo(f"to tie: tiedio repair {printable(str(source))} {out} --all (or --pairs A=B)", err=True)
                context.exit(0 if as_json else NOTHING_CHOSEN)
            chosen = asked(found)
            if not chosen:
                context.exit(NOTHING_CHOSEN)
        report = tiedio.repair(
            source, target, pairs=chosen, all=every, optimizer=not drop_optimizer, progress=True, **given
        )
    click.echo(report.told(plain_console(fold_when_piped=False).width))


def as_data(one: LostTie) -> dict[str, Any]:
    """A candidate as `--json` prints it."""
    return {
        "paths": list(one.paths),
        "transposed": [view is not None for view in one.views],
        "shape": list(one.shape),
        "dtype": one.dtype,
        "bytes_saved": one.bytes_saved,
        "elements": one.elements,
        "distinct": one.distinct,
        "strength": one.strength,
        "reason": one.reason,
        "optimizer": one.optimizer,
    }


def show(source: Path, found: Sequence[LostTie]) -> None:
    """Prints candidates, numbered, in lines that fit a narrow terminal."""
    console = plain_console(fold_when_piped=False)
    console.print(Text(printable(str(source)), style="bold"))
    if not found:
        console.print(Text("no weights look as if they had been tied"))
        return
    for n, one in enumerate(found, 1):
        console.print("")
        for k, (path, view) in enumerate(zip(one.paths, one.views, strict=True)):
            mark = f"{n:>3}  " if k == 0 else "   = "
            turned = "" if view is None else "  (transposed)"
            lines = fold_path(printable(path), console.width - len(mark) - len(turned)).splitlines()
            console.print(Text("\n".join([mark + lines[0] + turned, *(f"     {line}" for line in lines[1:])])))
        shape = " x ".join(map(str, one.shape)) or "scalar"
        console.print(Text(f"     {one.dtype}, {shape}; saves {size_text(one.bytes_saved)}"))
        console.print(Text(f"     {one.distinct:,} different values among {one.elements:,}"))
        why = f": {one.reason}" if one.reason else ""
        console.print(Padding(Text(f"{one.strength}{why}"), (0, 0, 0, 5), expand=False))
        state = _STATES.get(one.optimizer, f"its state {one.optimizer}")
        console.print(Text(f"     optimizer: {state}"))
    weak = sum(one.strength == "weak" for one in found)
    told = f", {weak} of them weak" if weak else ""
    console.print("", Text(f"{len(found)} candidate{'' if len(found) == 1 else 's'}{told}"), sep="\n")


def asked(found: Sequence[LostTie]) -> list[LostTie]:
    """The candidates that the user says yes to."""
    return [one for n, one in enumerate(found, 1) if click.confirm(f"tie {n}: {one.pair}?", default=False)]


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
