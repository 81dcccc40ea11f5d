"""The command that evaluates."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from geoseg.cli.console import console, errors, say
from geoseg.cli.options import Region, words
from geoseg.files import local_path

if TYPE_CHECKING:
    from geoseg.evaluation.report import Cell, Table

Prediction = Annotated[str, typer.Argument(help="A raster, a vector file, or the folder of a run.")]
Truth = Annotated[str, typer.Argument(help="The same of what is true.")]
Task = Annotated[
    str | None, typer.Option(help="semantic, instance, panoptic or polygons; found from what is given otherwise.")
]
Judged = Annotated[
    str | None,
    typer.Option(
        "--classes", help='The only classes judged, or names for values: 1=water,2=forest,"3=parks, gardens".'
    ),
]
Ignore = Annotated[str | None, typer.Option(help="Values or names of truth that is no class: 0,255.")]
Tolerance = Annotated[str | None, typer.Option(help="How far boundaries may be apart: 2px, or 5m.")]
ClassColumn = Annotated[str | None, typer.Option(help="Column of classes in vector files; class unless given.")]
ScoreColumn = Annotated[str | None, typer.Option(help="Column of scores; score unless given.")]
Scores = Annotated[str | None, typer.Option(help="A table with instance and score, for a raster of objects.")]
Instances = Annotated[str | None, typer.Option(help="The prediction's raster of objects, beside one of labels.")]
TruthInstances = Annotated[str | None, typer.Option(help="The truth's raster of objects, beside one of labels.")]
ThingClasses = Annotated[
    str | None, typer.Option(help="Values or names of the classes of a panoptic map with objects.")
]
Sizes = Annotated[str | None, typer.Option(help="Where medium and large objects begin, m2: 100,1000.")]
Background = Annotated[
    int | None, typer.Option(help="Value of pixels of no polygon, or that a prediction leaves empty.")
]
Resolution = Annotated[float | None, typer.Option(help="Metres per pixel, where two vector files are burnt.")]
Json = Annotated[str | None, typer.Option("--json", help="A file that receives every number.")]
Confusion = Annotated[str | None, typer.Option(help="A PNG that receives the confusion of classes as a picture.")]


def evaluate(
    prediction: Prediction,
    truth: Truth,
    task: Task = None,
    classes: Judged = None,
    ignore: Ignore = None,
    region: Region = None,
    tolerance: Tolerance = None,
    class_column: ClassColumn = None,
    score_column: ScoreColumn = None,
    scores: Scores = None,
    instances: Instances = None,
    truth_instances: TruthInstances = None,
    thing_classes: ThingClasses = None,
    sizes: Sizes = None,
    background: Background = None,
    resolution: Resolution = None,
    json: Json = None,
    confusion: Confusion = None,
) -> None:
    """Say how good a prediction is: classes, objects, both, or polygons, against what is true."""
    from geoseg.evaluation import evaluate as judge

    for option, path in (("json", json), ("confusion", confusion)):
        if path is not None:
            local_path(path, option)

    bar = Progress(
        TextColumn("reading"), BarColumn(), TextColumn("{task.completed} of {task.total} windows"),
        TimeRemainingColumn(), console=errors, transient=True, disable=not errors.is_terminal,
    )  # fmt: skip
    with bar:
        row = bar.add_task("windows", total=None)
        result = judge(
            prediction,
            truth,
            progress=lambda done, total: bar.update(row, completed=done, total=total),
            task=task,
            classes=_classes(classes),
            ignore=_entries(ignore),
            region=region,
            tolerance=tolerance,
            class_column=class_column,
            score_column=score_column,
            scores=scores,
            instances=instances,
            truth_instances=truth_instances,
            thing_classes=_entries(thing_classes),
            sizes=_sizes(sizes),
            background=background,
            resolution=resolution,
        )
    say(f"{result.task}: {prediction} against {truth}")
    for table in result.tables():
        console.print(_drawn(table))
    for note in result.notes:
        say(f"note: {note}")
    if json is not None:
        result.write_json(json)
    if confusion is not None:
        result.write_confusion(confusion)


def _entries(text: str | None) -> list[str | int] | None:
    """Values and names that stand in one word."""
    return None if text is None else words(text)


def _classes(text: str | None) -> list[str | int] | dict[int, str] | None:
    """Classes that are judged, or names of values."""
    if text is None or "=" not in text:
        return _entries(text)
    from geoseg.errors import WorkflowError

    pairs = [str(word).partition("=") for word in words(text)]
    for value, _, _ in pairs:
        if not re.fullmatch("[0-9]+", value.strip()):
            raise WorkflowError(f"'{value.strip()}' in --classes is no value; write values and names: 1=water,2=forest")
    return {int(value): name.strip() or value.strip() for value, _, name in pairs}


def _sizes(text: str | None) -> tuple[float, ...] | None:
    """Two areas."""
    if text is None:
        return None
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        return (math.nan,)  # no two areas: the settings say so


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
