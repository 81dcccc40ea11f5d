"""Commands that show what a run has made: report and preview."""

from __future__ import annotations

from typing import Annotated

import typer

from geoseg.cli.console import say

Run = Annotated[str, typer.Argument(help="The output folder of a run.")]
Picture = Annotated[str, typer.Argument(help="The picture: .png, .jpg or .webp.")]
Width = Annotated[int, typer.Option(help="Px.")]
Title = Annotated[str | None, typer.Option(help="Instead of the names of input and model.")]
Credit = Annotated[str | None, typer.Option(help="Whose imagery it is; as the catalog says unless given.")]


def report(run: Run) -> None:
    """Make the report of a run again: one page, report.html, that needs no network."""
    from geoseg.workflow import make_report

    say(str(make_report(run)))


def preview(run: Run, picture: Picture, width: Width = 1800, title: Title = None, credit: Credit = None) -> None:
    """Draw imagery, labels and outlines of a run side by side, with a legend, a scale bar and north."""
    from geoseg.workflow import make_preview

    path = make_preview(run, picture, width=width, title=title, credit=credit)
    say(str(path))
