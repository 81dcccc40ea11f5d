"""The report and the picture of a run: made when it ends, and again whenever somebody asks.

It finds a run's imagery; what a report shows is the matter of `geoseg.report`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Unpack

from distributed import Client, performance_report
from PIL import Image

from geoseg.errors import GeosegError, ReportWarning, WorkflowError
from geoseg.files import local_path, refuse_read
from geoseg.options import PreviewOptions, read_options
from geoseg.raster import Raster
from geoseg.report import LAYOUTS_ONLY, UNIT, RunRecord, read_record, write_layout, write_preview, write_report
from geoseg.signatures import PreviewArguments
from geoseg.workflow.planning import make_plan
from geoseg.workflow.settings import plain_settings, read_workflow

if TYPE_CHECKING:
    from geoseg.workflow.manifest import RunResult


def try_report(folder: Path, raster: Raster) -> Path | None:
    """Write the report of a run that has just ended; what goes wrong is a warning, because the results are there.

    Parameters
    ----------
    folder : Path
        The run's folder.
    raster : Raster
        Its imagery.

    Returns
    -------
    Path or None
        The page; None when there is none.
    """
    try:
        return write_report(read_record(folder), lambda: raster)
    except Exception as error:  # noqa: BLE001 - no page is worth a run
        reason = (str(error) or type(error).__name__).rstrip(".")
        _warn(f"the report of {folder} was not made ({reason}); 'geoseg report {folder}' tries again.")
        return None


def make_report(folder: str | Path) -> Path:
    """Make the report of a run folder again.

    Raises
    ------
    InputNotFoundError
        The folder holds no run.
    ReportError
        Its results cannot be read.

    Warns
    -----
    ReportWarning
        The imagery is not there any more.
    """
    record = read_record(folder)
    return write_report(record, partial(_imagery, record))


def preview(
    run: str | os.PathLike[str] | RunResult, path: str | os.PathLike[str], **settings: Unpack[PreviewArguments]
) -> Path:
    """Draw imagery, labels and polygons of a run side by side, or one map on paper.

    Parameters
    ----------
    run : path or RunResult
        A run's folder, or what `geoseg.run` returned.
    path : path
        The picture; its ending chooses the format: .png, .jpg or .webp, and .pdf, .svg or .png for a layout.
    **settings
        Options of a picture (docs/options.md), such as ``layout="a4"``.

    Returns
    -------
    Path
        The picture.

    Raises
    ------
    InputNotFoundError
        The folder holds no run.
    WorkflowError
        An option is unknown or has a wrong value, or belongs to a picture of the other kind.
    ReportError
        The run's results cannot be read.
    OutputError
        The picture cannot be written, or a layout is asked for and Matplotlib is not installed.

    Warns
    -----
    ReportWarning
        The imagery is not there any more.
    """
    wanted = read_options(PreviewOptions, plain_settings(settings), "the picture")
    picture = local_path(path, "the picture")
    layout = wanted.layout or ("a4" if picture.suffix.lower() in LAYOUTS_ONLY else None)
    if layout is None and wanted.show is not None:
        raise WorkflowError(f"show: {wanted.show} is of layouts only; add layout: a4, or leave it out.")
    if layout is not None and wanted.width is not None:
        raise WorkflowError(f"a layout is as wide as its paper ({layout}); leave out width: {wanted.width}.")
    record = read_record(run if isinstance(run, str | os.PathLike) else run.output)
    refuse_read(picture, *(item.get("absolute") for item in record.content.get("inputs", ())))
    imagery, title, credit = partial(_imagery, record), wanted.title, wanted.credit
    if layout is None:
        return write_preview(record, imagery, picture, width=wanted.width or UNIT, title=title, credit=credit)
    return write_layout(record, imagery, picture, layout, show=wanted.show, title=title, credit=credit)


def draw_result(folder: Path, raster: Raster, path: str | os.PathLike[str] | None, *, width: int) -> Image.Image:
    """Draw a run whose imagery is at hand.

    Parameters
    ----------
    folder : Path
        The run's folder.
    raster : Raster
        Its imagery.
    path : path, optional
        Where the picture is written too.
    width : int
        Px.
    """
    with TemporaryDirectory() as spare:
        picture = Path(spare) / "map.png" if path is None else local_path(path, "the picture")
        write_preview(read_record(folder), lambda: raster, picture, width=width)
        with Image.open(picture) as drawn:
            drawn.load()
            return drawn.copy()


@contextmanager
def performance(client: Client, path: Path, *, is_wanted: bool) -> Iterator[None]:
    """Write Dask's own performance report of what runs within; it never costs a run either."""
    if not is_wanted:
        yield
        return
    with client.as_current():
        report = performance_report(
            filename=str(path), mode="inline"
        )  # with its scripts inside, for pages without a net
        report.__enter__()
        try:
            yield
        finally:
            try:
                report.__exit__(None, None, None)
            except Exception as error:  # noqa: BLE001 - no page is worth a run
                _warn(f"{path} was not made ({error}); the results are whole.")


def _imagery(record: RunRecord) -> Raster | None:
    """The imagery of a run, found as the run found it."""
    try:
        return make_plan(read_workflow(record.workflow)).raster
    except GeosegError as error:
        _warn(f"the imagery of {record.path} is not shown: {error}")
        return None


def _warn(sentence: str) -> None:
    warnings.warn(ReportWarning(sentence), stacklevel=3)
