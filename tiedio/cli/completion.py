"""`tiedio completion`, and what shells ask when somebody presses the tab key."""

from __future__ import annotations

import os
from typing import ClassVar

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from tiedio.cli.options import EXIT_CODES
from tiedio.errors import TiedioError

_VARIABLE = "_TIEDIO_COMPLETE"


class FolderBash(BashComplete):
    """For bash: no space after a folder, so that one can go on into it; and names with a space as one word."""

    source_template: ClassVar[str] = BashComplete.source_template.replace(
        "COMPREPLY+=($value)",
        """[[ $value == */ ]] && compopt -o nospace
            [[ $value == *' '* ]] && printf -v value '%%q' "$value"
            COMPREPLY+=("$value")""",
    )


class FolderZsh(ZshComplete):
    """For zsh: the same."""

    source_template: ClassVar[str] = ZshComplete.source_template.replace(
        'completions+=("$key")', '[[ "$key" == */ ]] && compadd -U -S "" -- "$key" || completions+=("$key")'
    )


SHELLS: dict[str, type[ShellComplete]] = {"bash": FolderBash, "zsh": FolderZsh, "fish": FishComplete}


@click.command(epilog=EXIT_CODES)
@click.argument("shell", type=click.Choice(list(SHELLS)), required=False)
def completion(shell: str | None) -> None:
    """Print the script that lets a shell complete commands, options and files.

    Without SHELL it is the one that you use. The tab key then offers commands and options, and for a
    file folders, .safetensors, .keras and .h5.

    \b
    For bash, in ~/.bashrc:
      eval "$(tiedio completion bash)"
    For zsh, in ~/.zshrc after compinit:
      eval "$(tiedio completion zsh)"
    For fish, once:
      tiedio completion fish \\
        > ~/.config/fish/completions/tiedio.fish
    """  # noqa: D301 - the mark is click's
    from tiedio.cli.app import app

    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    if name not in SHELLS:
        raise TiedioError(
            "cannot tell which shell you use",
            path="completion",
            expected=", ".join(SHELLS),
            found=name or "nothing in SHELL",
            remedy="name it: tiedio completion bash",
        )
    click.echo(SHELLS[name](app, {}, "tiedio", _VARIABLE).source())
