"""Commands that show what a run has made: report and preview."""

from __future__ import annotations

from typing import Any

import click

from geoseg.cli.command import Command, argument, given
from geoseg.cli.console import say


@click.command(cls=Command)
@argument("run", "RUN", "Output folder of a run.")
def report(run: str) -> None:
    """Write the report of a run again: report.html, one page that needs no network."""
    from geoseg.workflow import make_report

    say(str(make_report(run)))


@click.command(cls=Command, table="PreviewOptions")
@argument("run", "RUN", "Output folder of a run.")
@argument("picture", "PICTURE", "Picture to write: .png, .jpg or .webp; layouts: .pdf, .svg or .png.")
def preview(run: str, picture: str, **settings: Any) -> None:
    """Draw imagery, labels and polygons of a run side by side, or one map on paper, with legend and scale bar."""
    from geoseg.workflow import preview

    say(str(preview(run, picture, **given(settings))))
