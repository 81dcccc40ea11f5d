"""The command that trains."""

from __future__ import annotations

from typing import Annotated

import typer

from geoseg.cli.console import console
from geoseg.cli.options import Output


def train(
    recipe: Annotated[str, typer.Argument(help="A training recipe.")],
    data: Annotated[str | None, typer.Option(help="Folder that the recipe's paths are relative to.")] = None,
    output: Output = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps; the recipe's when left out.")] = None,
    loaders: Annotated[int | None, typer.Option(min=0, help="Processes that draw windows ahead.")] = None,
) -> None:
    """Fine-tune a model on rasters with label rasters or polygons; the result is a catalog entry."""
    from geoseg.training import train as train_recipe

    train_recipe(recipe, data=data, output=output, device=device, loaders=loaders, console=console)
