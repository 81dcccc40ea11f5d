"""Commands that measure maps: evaluate and compare, areas and the sample for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from geoseg.cli.command import Command, argument, given
from geoseg.cli.console import console, errors, say
from geoseg.errors import ExistingOutputError, WorkflowError
from geoseg.files import local_path, refuse_read

if TYPE_CHECKING:
    from geoseg.evaluation.report import Cell, Table


@click.command(cls=Command, table="EvaluationOptions")
@argument("prediction", "PREDICTION", "Raster, vector file, or folder of a run.")
@argument("truth", "TRUTH", "Ground truth: a raster, a vector file, or the folder of a run.")
@click.option("--json", metavar="PATH", help="JSON file to write all numbers to.")
@click.option("--confusion", metavar="PATH", help="PNG to draw the confusion matrix of a semantic evaluation to.")
def evaluate(prediction: str, truth: str, json: str | None, confusion: str | None, **settings: Any) -> None:
    """Evaluate a prediction against ground truth: semantic, instance, panoptic or polygon metrics."""
    from geoseg import evaluation

    _check_paths(prediction, truth, *settings.values(), json=json, confusion=confusion)
    with _counted() as progress:
        result = evaluation.evaluate(prediction, truth, progress=progress, **given(settings))
    say(f"{result.task}: {prediction} against {truth}")
    print_tables(result.tables(), result.notes)
    if json is not None:
        result.write_json(json)
    if confusion is not None:
        result.write_confusion(confusion)


@click.command(cls=Command, table="CompareOptions")
@argument("first", "FIRST", "Raster, vector file, or folder of a run.")
@argument("second", "SECOND", "The same of another date or model.")
@argument("output", "OUTPUT", "GeoPackage to write the layers of changes to.", required=False)
@click.option("--json", metavar="PATH", help="JSON file to write all numbers to.")
@click.option("--matrix", metavar="PATH", help="CSV file to write the areas to, by class before and after.")
@click.option("--picture", metavar="PATH", help="Picture to draw both maps and their changes to: .png, .jpg or .webp.")
def compare(
    first: str,
    second: str,
    output: str | None,
    json: str | None,
    matrix: str | None,
    picture: str | None,
    **settings: Any,
) -> None:
    """Compare two results, of two dates or models: from-to matrix, polygons of change, and objects."""
    from geoseg import comparison
    from geoseg.monitor import Monitor

    _check_paths(first, second, *settings.values(), output=output, json=json, matrix=matrix, picture=picture)
    path = None if output is None else comparison.check_output(output)
    with _counted() as progress:
        result = comparison.compare(first, second, counting=progress, **given(settings))
    say(f"{first} to {second}")
    print_tables(result.tables(), result.notes)
    if json is not None:
        result.write_json(json)
    if matrix is not None:
        result.write_matrix(matrix)
    if picture is not None:
        result.draw(picture)
    if path is not None:
        started = perf_counter()
        with Monitor(console) as monitor:
            result.write(path, progress=monitor)
            monitor.result([path], perf_counter() - started)


@click.command(cls=Command, table="AreaOptions")
@argument("given_map", "MAP", "Raster of classes, or folder of a run.")
@click.option("--csv", metavar="PATH", help="CSV file to write areas to, by zone and class.")
@click.option("--json", metavar="PATH", help="JSON file to write all numbers to.")
def areas(given_map: str, csv: str | None, json: str | None, **settings: Any) -> None:
    """Measure the classes of a map, by zone, and estimate their areas by a sample of points."""
    from geoseg import area_estimation

    _check_paths(given_map, *settings.values(), csv=csv, json=json)
    with _counted() as progress:
        result = area_estimation.areas(given_map, progress=progress, **given(settings))
    print_tables(result.tables(), result.notes)
    if csv is not None:
        result.write_csv(csv)
    if json is not None:
        result.write_json(json)


@click.command(cls=Command, table="SampleOptions")
@argument("given_map", "MAP", "Raster of classes, or folder of a run.")
@argument("points", "POINTS", "Vector file to write the points to; the extension is the format.")
def sample(given_map: str, points: str, **settings: Any) -> None:
    """Draw a stratified random sample of points of a map, to be labelled by what is really there."""
    from geoseg import area_estimation

    path = local_path(points, "points")
    area_estimation.check_points(path)
    with _counted() as progress:
        drawn = area_estimation.sample(given_map, progress=progress, **given(settings))
    area_estimation.write_points(drawn, path)
    say(f"{path}: {len(drawn)} points; write the class that is there into the column reference")


def _check_paths(*read: object, **paths: str | None) -> None:
    """Refuse addresses, files that are read, and one file for two things, before anything is counted.

    Parameters
    ----------
    *read
        What may be a file, or the folder of a run.
    **paths
        Options that name a file to write; ``output`` is an argument.
    """
    from geoseg.evaluation.inputs import files_read

    files, taken = [file for item in read for file in files_read(item)], dict[Path, str]()
    for option, text in paths.items():
        if text is not None:
            path, name = local_path(text, option), "OUTPUT" if option == "output" else f"--{option}"
            refuse_read(path, *files)
            _check_kind(path, option)
            other = taken.setdefault(path.resolve(), name)
            if other != name:
                raise WorkflowError(f"{other} and {name} are both {text}; give each a file of its own")


ENDINGS = {"json": ".json", "csv": ".csv", "matrix": ".csv", "confusion": ".png"}
"""Of files with numbers, and of the picture that is PNG whatever its name, by option."""


def _check_kind(path: Path, option: str) -> None:
    """Refuse to replace a file of another kind, such as a raster, by numbers."""
    ending = ENDINGS.get(option)
    if ending is not None and path.suffix.lower() != ending and path.is_file():
        raise ExistingOutputError(
            f"--{option} {path} is there already and no {ending} file; give a name with that ending"
        )


@contextmanager
def _counted() -> Iterator[Callable[[int, int], None]]:
    """Show how many windows are read."""
    bar = Progress(
        TextColumn("reading"), BarColumn(), TextColumn("{task.completed} of {task.total} windows"),
        TimeRemainingColumn(), console=errors, transient=True, disable=not errors.is_terminal,
    )  # fmt: skip
    with bar:
        row = bar.add_task("windows", total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)


def print_tables(tables: Iterable[Table], notes: Iterable[str] = ()) -> None:
    """Print tables, and notes below them."""
    for table in tables:
        console.print(_drawn(table))
    for note in notes:
        say(f"note: {note}")


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
