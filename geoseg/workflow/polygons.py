"""Polygons of any classified raster: WorldCover, NLCD, or what a run has written."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack, overload

import geopandas as gpd
from distributed import Client
from pyproj import CRS

from geoseg.engine import (
    Outcome,
    ProgressCallback,
    Started,
    Writing,
    announced,
    attempt,
    connect,
    connected,
    hear,
    outline,
    results_of,
    stages_of_run,
    warn_here,
)
from geoseg.errors import BlockError, DamagedError, InputWarning, OutputError, WorkflowError
from geoseg.files import local_path, refuse_read
from geoseg.held import value_of
from geoseg.monitor.watching import Progress, shown
from geoseg.options import Polygonizing, WorkerOptions, read_options
from geoseg.outlines import LabelRaster, OutlineFolder, OutlinePlan, write_outlines
from geoseg.planning import RegionMask, core_count
from geoseg.raster import Raster, check_labels, common_nodata, content, open_raster, read_legend
from geoseg.raster.calibration import Calibration
from geoseg.raster.given import ImageryLike, named
from geoseg.raster.options import configured
from geoseg.raster.sending import sendable
from geoseg.signatures import PolygonizeArguments
from geoseg.stages import totals
from geoseg.store import RunFolder
from geoseg.vector import StyledClass, check_format, check_name, check_partition, check_place
from geoseg.vectorize import Least
from geoseg.workflow.layout import layout_of_labels
from geoseg.workflow.outlines import (
    check_preset,
    check_regularized,
    check_walls,
    fingerprint_of,
    mapping_unit,
    shaping_of,
    tags_of,
    tolerance_of,
    values_of,
)
from geoseg.workflow.outputs import check_partitioned
from geoseg.workflow.settings import plain_settings
from geoseg.workflow.written import note_written, refuse_edited, was_written

WIDE_NODATA = -(2**63)
"""The label of masked pixels where the raster declares none, or its files differ in what they declare."""


@dataclass(frozen=True)
class PolygonizeResult:
    """Where the polygons are.

    Attributes
    ----------
    output : Path
        The vector file.
    count : int
        Number of features.
    outcome : Outcome
        What ran.
    seconds : dict
        Wall time by stage, s.
    """

    output: Path
    count: int
    outcome: Outcome
    seconds: dict[str, float]


@overload
def polygonize(
    input: Any,
    output: None = None,
    *,
    progress: Progress = ...,
    client: Client | None = ...,
    **settings: Unpack[PolygonizeArguments],
) -> gpd.GeoDataFrame: ...


@overload
def polygonize(
    input: Any,
    output: str | os.PathLike[str],
    *,
    progress: Progress = ...,
    client: Client | None = ...,
    **settings: Unpack[PolygonizeArguments],
) -> PolygonizeResult: ...


@configured()
def polygonize(
    input: ImageryLike,  # noqa: A002
    output: str | os.PathLike[str] | None = None,
    *,
    progress: Progress = None,
    client: Client | None = None,
    **settings: Unpack[PolygonizeArguments],
) -> PolygonizeResult | gpd.GeoDataFrame:
    """Turn a classified raster into polygons, in blocks on Dask.

    The same command continues one that was interrupted: until the file is written, what was done is kept in a hidden
    folder beside it.

    Parameters
    ----------
    input : path, DatasetReader, DataArray, or list
        A raster of whole numbers in one band, or several that lie on one grid.
    output : path, optional
        The vector file; its ending chooses the format. Without one the polygons are returned.
    progress : callable or bool, optional
        As in `geoseg.run`.
    client : distributed.Client, optional
        Workers that are already there.
    **settings
        Options of `Polygonizing` (docs/options.md), such as ``simplify=`` and ``classes=``.

    Returns
    -------
    PolygonizeResult or GeoDataFrame
        Where the polygons are; or the polygons, in the raster's CRS.

    Raises
    ------
    BlockError
        Some blocks failed after every retry; no file is written, and what was done is kept for the next try.
    GeosegError
        Something that was given cannot be used.

    Warns
    -----
    InputWarning
        There is no polygon.
    """
    if output is None:
        with TemporaryDirectory(prefix="geoseg-") as spare:
            path = Path(spare) / "polygons.parquet"
            polygonize(input, path, progress=progress, client=client, **settings)
            from geoseg.workflow.results import read_features  # as in RunResult: loads arrays of Dask

            return read_features([path])
    values = plain_settings({"input": input, "output": output, **settings})
    wanted = read_options(Polygonizing, values, "polygonize")
    path = local_path(wanted.output, "output").absolute()
    check_format(path)
    check_name(path, OutputError)
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; create it, or choose another output.")
    check_preset(wanted, [path.name])
    check_partitioned([path], wanted.partition)
    given, calibration = value_of(wanted.input, "input"), Calibration(nodata=wanted.nodata)
    raster = open_raster(given, resampling="nearest", crs=wanted.crs, calibration=calibration)
    refuse_read(path, wanted.region, *raster.files)
    check_format(path, raster.crs)
    check_partition(path, wanted.partition, CRS.from_user_input(raster.crs))
    if not was_written(path):
        check_place(path, wanted.layer)
        refuse_edited(path)
    check_labels(raster, f"'{named(given)}'")
    folder = RunFolder(path.with_name(f".{path.name}.geoseg"))
    arrays = sendable(raster, folder.path / "arrays")
    with folder.locked(), kept_while_needed(folder), arrays as sent, shown(progress) as callback:
        plan, style, resumed = plan_outline(wanted, raster, sent, folder)
        write = partial(write_outlines, path=path, layer=wanted.layer, style=style, partition=wanted.partition)
        result = run_outline(Outlining(wanted, plan, path, write, style), callback, client, resumed=resumed)
    note_written(path)
    if not result.count:
        sentence = (
            "there is no polygon: no valid pixel of the labels has one of the classes, or all polygons are below "
            "min_area; choose others of the raster's values."
        )
        warnings.warn(InputWarning(sentence), stacklevel=2)
    return result


@contextmanager
def kept_while_needed(folder: RunFolder) -> Iterator[None]:
    """Remove the hidden folder when the file is written, and when nothing was done that the next try could use."""
    try:
        yield
    except BaseException:
        if is_worth_keeping(folder.outlines):
            raise
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    shutil.rmtree(folder.path, ignore_errors=True)


def is_worth_keeping(outlines: Path) -> bool:
    """Say whether an outline that has failed has done anything that the next try can use."""
    return any(outlines.glob("*/*"))


def plan_outline(
    wanted: Polygonizing, raster: Raster, sent: Raster, folder: RunFolder, *, classes: tuple[int, ...] | None = None
) -> tuple[OutlinePlan, list[StyledClass] | None, bool]:
    """Plan the outline and make its folder ready; the folder says what was made from what.

    ``sent`` is the raster as workers read it; ``classes`` are outlined in place of those that are wanted.
    """
    names, style = _legend(raster)
    check_walls(wanted)
    if wanted.regularize:
        _check_buildings(wanted, raster, names)
    declared = common_nodata(raster)
    nodata = WIDE_NODATA if declared is None else declared
    region = None if wanted.region is None else RegionMask.of(wanted.region, raster)
    height, width = raster.shape
    unit, areas = mapping_unit(wanted.min_area, wanted.keep_classes, raster.geobox, names)
    plan = OutlinePlan(
        source=LabelRaster(sent, nodata, region),
        folder=OutlineFolder(folder.outlines),
        rows=(*range(0, height, wanted.block_size), height),
        cols=(*range(0, width, wanted.block_size), width),
        transform=raster.transform,
        crs=CRS.from_user_input(raster.crs),
        shaping=shaping_of(wanted, raster.geobox, Least(unit, areas), is_clipped=region is not None),
        unit=unit,
        areas=areas,
        names=names,
        classes=values_of(wanted.classes, names) if classes is None else classes,
        nodata=nodata,
        region=region.region if region else None,
        tolerance=tolerance_of(wanted, raster.transform),
        right_angles=wanted.right_angles,
        shortest_edge=wanted.shortest_edge,
        tags=tags_of(wanted, raster),
    )
    if region is not None:
        rows, cols = [*pairwise(plan.rows)], [*pairwise(plan.cols)]
        touched = region.touched_blocks((len(rows), rows.__getitem__), (len(cols), cols.__getitem__))
        plan = replace(plan, places=frozenset(touched))
    resumed = plan.folder.prepare(
        fingerprint_of(wanted, raster, names)
        | {
            "inputs": [content(item) for item in raster.fingerprint()],
            "region": region and sha256(region.region.geometry.wkb).hexdigest(),
            "block_size": wanted.block_size,
            "nodata": nodata,
            "tags": dict(plan.tags),
        }
    )
    return plan, style, resumed


def _check_buildings(wanted: Polygonizing, raster: Raster, names: Mapping[int, str]) -> None:
    """Refuse to regularize classes that are no building, and the ground between numbered objects."""
    if wanted.classes is not None:
        check_regularized([str(item) for item in wanted.classes], [])
    elif names or raster.dtype.itemsize == 1:
        raise WorkflowError(
            f"regularize makes straight walls of all that is written, and '{wanted.input}' holds classes; choose what "
            "is a building, such as classes: [1]."
        )
    elif any(source.nodata[0] is None for source in raster.sources):
        raise WorkflowError(
            f"'{wanted.input}' declares no nodata, so the ground between its objects would be regularized too; declare "
            "the value of the ground as nodata."
        )


def _legend(raster: Raster) -> tuple[dict[int, str], list[StyledClass] | None]:
    """Names and colours of classes, as the first file has them."""
    legend = read_legend(raster)
    names, colors = legend.names, legend.colors
    shown = names or {value: str(value) for value, color in colors.items() if color != (0, 0, 0)}
    if not colors or not shown:
        return names, None
    style = [StyledClass(value, name, "#{:02x}{:02x}{:02x}".format(*colors[value])) for value, name in shown.items()]
    return names, style


@dataclass(frozen=True)
class Outlining:
    """What is outlined, and where it goes.

    Attributes
    ----------
    wanted : WorkerOptions
        Where the work is done.
    plan : OutlinePlan
        The labels, in a folder that is ready.
    path : Path
        The file.
    write : callable
        Writes it from the plan, on a worker, and returns the number of features.
    style : list of StyledClass, optional
        Names and colours of the labels, in the legend's order.
    """

    wanted: WorkerOptions
    plan: OutlinePlan
    path: Path
    write: Callable[[OutlinePlan], int]
    style: list[StyledClass] | None = None


def run_outline(
    work: Outlining, progress: ProgressCallback, client: Client | None = None, *, resumed: bool = False
) -> PolygonizeResult:
    """Outline labels, on workers that are already there or on those that its options name.

    Raises
    ------
    BlockError
        Some blocks failed after every retry.
    """
    started, wanted = time.perf_counter(), work.wanted
    if client is not None:
        result = _run_on(client, work, progress, resumed)
    else:
        count = min(wanted.workers or core_count(), work.plan.block_count)
        with connect(wanted.scheduler, max(1, count), wanted.dashboard, predicting=False) as own:
            result = _run_on(own, work, progress, resumed)
    result.seconds["total"] = time.perf_counter() - started
    return result


def _run_on(client: Client, work: Outlining, progress: ProgressCallback, resumed: bool) -> PolygonizeResult:
    """Say that an outline begins, and run it; what of an earlier start is damaged is removed, and made again, once."""
    plan, (height, width) = work.plan, work.plan.raster_shape
    title = f"{'continuing' if resumed else 'outlining'} {width:,} x {height:,} px, {plan.block_count} blocks"
    started = Started(
        title,
        client.dashboard_link or "",
        totals(stages_of_run(None, plan), plan.tree),
        layout=layout_of_labels(plan, work.style),
        client=client,
    )
    with announced(progress, started), connected(client):
        with suppress(DamagedError):
            return _outline(client, work, progress)
        return _outline(client, work, progress)


def _outline(client: Client, work: Outlining, progress: ProgressCallback) -> PolygonizeResult:
    """Trace and join, then write."""
    outcome = outline(work.plan, client, retries=work.wanted.retries, progress=progress)
    if outcome.failed:
        name, reason = next(iter(outcome.failed.items()))
        kind = DamagedError if outcome.is_damaged else BlockError
        note = outcome.trace_note if is_worth_keeping(work.plan.folder.path) else ""
        raise kind(
            f"{len(outcome.failed)} blocks failed, the first, {name}, in {reason.rstrip('.')}{note}; "
            "fix the cause and run the same command again."
        )
    done = time.perf_counter()
    progress(Writing(work.path))
    writing = attempt, hear, work.write, work.plan
    ((count, warned),) = results_of(client, [client.submit(*writing, pure=False, retries=work.wanted.retries)])
    warn_here(warned)
    seconds = {**outcome.wall, "write": time.perf_counter() - done}
    return PolygonizeResult(work.path, int(count), outcome, seconds)
