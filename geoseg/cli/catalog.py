"""Commands about imagery that is known by name: what the catalogs have, and rasters of one's own."""

from __future__ import annotations

import click

from geoseg.cli.command import Group, argument, home
from geoseg.cli.console import say
from geoseg.files import local_path


@click.group("catalog", cls=Group, invoke_without_command=True)
@click.pass_context
def app(context: click.Context) -> None:
    """List the imagery of the catalogs; add your own."""
    if context.invoked_subcommand is not None:
        return
    from geoseg.catalog import list_imagery

    for imagery in list_imagery():
        say(f"{imagery.name}: {len(imagery.paths)} file{'s' if len(imagery.paths) != 1 else ''}, {imagery.license}")
        say(f"    bands    {' '.join(imagery.bands) or 'not declared'}")
        if imagery.description:
            say(f"    {imagery.description}")


@app.command()
@argument("folder", "FOLDER", "Folder of rasters, glob pattern, or one raster; files stay where they are.")
@click.option("--name", metavar="TEXT", help="Name in the catalog (default: the folder's).")
@home
@click.option("--datetime", metavar="TEXT", help="Acquisition time of all rasters, such as 2024-06-15T10:30:00Z.")
@click.option("--overwrite", is_flag=True, help="Replace imagery of the same name.")
def add(folder: str, name: str | None, home: str | None, datetime: str | None, overwrite: bool) -> None:
    """Describe the rasters of a folder by STAC items in your own catalog."""
    from geoseg.imagery.adding import add_imagery

    own = None if home is None else local_path(home, "home")
    path = add_imagery(folder, name=name, home=own, datetime=datetime, overwrite=overwrite)
    say(str(path))
    say(f"added as {path.parent.name}; geoseg run WORKFLOW --input {path if home else path.parent.name} maps it")
