"""The command that trains."""

from __future__ import annotations

from typing import Any

import click

from geoseg.cli.command import Command, argument, given
from geoseg.cli.console import console


@click.command(cls=Command, table="TrainOptions")
@argument("recipe", "RECIPE", "Training recipe: a YAML file, or the name of a shipped one.")
def train(recipe: str, **settings: Any) -> None:
    """Fine-tune a model on rasters with labels or polygons; the result is a catalog entry."""
    from geoseg.training import train as train_recipe

    result = train_recipe(recipe, console=console, **given(settings))
    if result.cross_validation is not None:
        from geoseg.cli.evaluation import print_tables

        print_tables([result.cross_validation.table()])
