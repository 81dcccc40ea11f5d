"""The command that prints what a shell needs to complete commands, options and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from geoseg.cli.command import Command, argument
from geoseg.errors import WorkflowError, nearest

VARIABLE = "_GEOSEG_COMPLETE"
"""Environment variable by which a shell asks for completion."""

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Command)
@argument("shell", "bash|zsh|fish", "The shell.")
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell; in bash: eval "$(geoseg completion bash)"."""
    kind = get_completion_class(shell) if shell in SHELLS else None
    if kind is None:
        raise WorkflowError(f"there is no completion for '{shell}'; {nearest(shell, SHELLS)}")
    click.echo(kind(context.find_root().command, {}, "geoseg", VARIABLE).source())
