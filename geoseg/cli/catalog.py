"""Commands about imagery that is known by name: what the catalogs have, and rasters of one's own."""

from __future__ import annotations

from typing import Annotated

import typer

from geoseg.cli.console import say
from geoseg.files import local_path

Folder = Annotated[str, typer.Argument(help="A folder of rasters, a pattern, or one raster; they stay where they are.")]
Name = Annotated[str | None, typer.Option(help="The name that finds them; that of the folder unless given.")]
Home = Annotated[str | None, typer.Option(help="The catalog's folder; your own (GEOSEG_CATALOG) unless given.")]
Taken = Annotated[str | None, typer.Option("--datetime", help="When all were taken: 2024-06-15T10:30:00Z.")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace imagery of the same name.")]

app = typer.Typer(
    help="Say which imagery the catalogs have; add yours.", invoke_without_command=True, pretty_exceptions_enable=False
)


@app.callback()
def catalog(context: typer.Context) -> None:
    """Say which imagery the catalogs have; add yours."""
    if context.invoked_subcommand is not None:
        return
    from geoseg.catalog import list_imagery

    for imagery in list_imagery():
        say(f"{imagery.name}: {len(imagery.paths)} file{'s' if len(imagery.paths) != 1 else ''}, {imagery.license}")
        say(f"    bands    {' '.join(imagery.bands) or 'not said'}")
        if imagery.description:
            say(f"    {imagery.description}")


@app.command()
def add(
    folder: Folder,
    name: Name = None,
    home: Home = None,
    datetime: Taken = None,
    overwrite: Replace = False,
) -> None:
    """Describe the rasters of a folder by STAC items in your own catalog."""
    from geoseg.imagery.adding import add_imagery

    own = None if home is None else local_path(home, "home")
    path = add_imagery(folder, name=name, home=own, datetime=datetime, overwrite=overwrite)
    say(str(path))
    say(f"added as {path.parent.name}; geoseg run WORKFLOW --input {path if home else path.parent.name} maps it")
