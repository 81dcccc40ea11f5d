"""The command that prints the JSON schema of a file that a person writes."""

from __future__ import annotations

import click

from geoseg.cli.command import Command, argument
from geoseg.cli.console import say


@click.command(cls=Command)
@argument("kind", "workflow|recipe|legend", "Workflows, recipes of trainings, or legends.")
def schema(kind: str) -> None:
    """Print the JSON schema of workflows, training recipes or legends, for editors."""
    from geoseg.catalog import workflows_home
    from geoseg.errors import WorkflowError, nearest

    names = ["workflow", "recipe", "legend"]
    if kind not in names:
        raise WorkflowError(f"there is no schema of '{kind}'; {nearest(kind, names)}")
    say((workflows_home() / f"{kind}.schema.json").read_text(encoding="utf-8").rstrip())
