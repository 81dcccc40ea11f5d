"""Commands that show what a run has made: report and preview."""

from __future__ import annotations

import click

from geoseg.cli.command import Command, argument
from geoseg.cli.console import say


@click.command(cls=Command)
@argument("run", "RUN", "Output folder of a run.")
def report(run: str) -> None:
    """Write the report of a run again: report.html, one page that needs no network."""
    from geoseg.workflow import make_report

    say(str(make_report(run)))


@click.command(cls=Command)
@argument("run", "RUN", "Output folder of a run.")
@argument("picture", "PICTURE", "Picture to write: .png, .jpg or .webp.")
@click.option("--width", metavar="PX", default=1800, show_default=True, help="Width of the picture in px.")
@click.option("--title", metavar="TEXT", help="Title (default: the names of input and model).")
@click.option("--credit", metavar="TEXT", help="Attribution of the imagery (default: the catalog's).")
def preview(run: str, picture: str, width: int, title: str | None, credit: str | None) -> None:
    """Draw imagery, labels and polygons of a run side by side, with legend, scale bar and north arrow."""
    from geoseg.workflow import make_preview

    path = make_preview(run, picture, width=width, title=title, credit=credit)
    say(str(path))
