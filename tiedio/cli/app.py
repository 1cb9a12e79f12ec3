"""The group of commands, which imports a command's module only when it is called or its help is asked for."""

from __future__ import annotations

from importlib import import_module

import click

import tiedio
from tiedio.cli.options import EXIT_CODES

PURPOSE = "Save and load Keras models so that every shared weight is still shared."
# In the order of the help. Each is the function of that name in the module of that name.
COMMANDS = (
    "demo", "inspect", "verify", "diff", "convert", "repair", "plot", "report", "completion",
)  # fmt: skip


class Commands(click.Group):
    """A group whose commands are the modules beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, or `None`."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"tiedio.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


EXAMPLES = """\b
Examples:
  tiedio demo
  tiedio inspect model.safetensors
  tiedio diff before.safetensors after.safetensors
"""
app = Commands(
    help=f"{PURPOSE}\n\n{EXAMPLES}",
    epilog=f"{EXIT_CODES[:-1]}; 3 of diff and repair: see their help.",
    no_args_is_help=True,
)
click.version_option(tiedio.__version__, message="%(version)s")(app)
