"""The command that evaluates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from geoseg.cli.command import Command, argument, given
from geoseg.cli.console import console, errors, say
from geoseg.files import local_path

if TYPE_CHECKING:
    from geoseg.evaluation.report import Cell, Table


@click.command(cls=Command, table="EvaluationOptions")
@argument("prediction", "PREDICTION", "Raster, vector file, or folder of a run.")
@argument("truth", "TRUTH", "Ground truth: a raster, a vector file, or the folder of a run.")
@click.option("--json", metavar="PATH", help="JSON file to write all numbers to.")
@click.option("--confusion", metavar="PATH", help="PNG to draw the confusion matrix of a semantic evaluation to.")
def evaluate(prediction: str, truth: str, json: str | None, confusion: str | None, **settings: Any) -> None:
    """Evaluate a prediction against ground truth: semantic, instance, panoptic or polygon metrics."""
    from geoseg.evaluation import evaluate as compare

    for option, path in (("json", json), ("confusion", confusion)):
        if path is not None:
            local_path(path, option)
    bar = Progress(
        TextColumn("reading"), BarColumn(), TextColumn("{task.completed} of {task.total} windows"),
        TimeRemainingColumn(), console=errors, transient=True, disable=not errors.is_terminal,
    )  # fmt: skip
    with bar:
        row = bar.add_task("windows", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(row, completed=done, total=total)

        result = compare(prediction, truth, progress=progress, **given(settings))
    say(f"{result.task}: {prediction} against {truth}")
    for table in result.tables():
        console.print(_drawn(table))
    for note in result.notes:
        say(f"note: {note}")
    if json is not None:
        result.write_json(json)
    if confusion is not None:
        result.write_confusion(confusion)


def _drawn(table: Table) -> RichTable:
    drawn = RichTable(
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title=Text(table.title),
        title_justify="left",
        show_header=any(table.columns),
    )
    for place, column in enumerate(table.columns):
        drawn.add_column(Text(column), justify="left" if place == 0 else "right", no_wrap=place == 0, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(_text(cell)) for cell in row))
    return drawn


def _text(cell: Cell) -> str:
    """A number as people read it; a dash where there is none."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.4f}" if abs(cell) < 100 else f"{cell:,.1f}"
