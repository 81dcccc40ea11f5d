"""Commands that map: run, plan and polygonize."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg.cli.console import console, say
from geoseg.cli.options import (
    OUTLINE_OPTIONS,
    RUN_OPTIONS,
    WORKER_OPTIONS,
    Crs,
    Json,
    Nodata,
    Quiet,
    Region,
    Source,
    takes,
    words,
)
from geoseg.cli.watching import told, watched
from geoseg.errors import PART_FAILED

if TYPE_CHECKING:
    from geoseg.monitor import Monitor
    from geoseg.planning import Plan
    from geoseg.workflow import RunResult

MIB = 2**20


@takes(RUN_OPTIONS)
def run(workflow: Source = None, *, quiet: Quiet = False, json: Json = False, **settings: Any) -> None:
    """Map a raster: labels, polygons, a manifest and a report in the output folder."""
    from geoseg import workflow as runs

    with watched(quiet=quiet, json=json) as monitor:
        result = runs.run(workflow, listen=monitor, **_settings(settings))
        _show(result, monitor)
    if result.plan.raster.skipped:
        raise typer.Exit(PART_FAILED)


@takes({key: RUN_OPTIONS[key] for key in ("input", *WORKER_OPTIONS, "report", "performance_report")})
def resume(
    folder: Annotated[str, typer.Argument(help="The output folder of a run.", metavar="RUN")],
    *,
    quiet: Quiet = False,
    json: Json = False,
    **settings: Any,
) -> None:
    """Continue a run by its folder alone; what is finished is not repeated."""
    from geoseg import workflow as runs

    with watched(quiet=quiet, json=json) as monitor:
        result = runs.resume(folder, listen=monitor, **_settings(settings))
        _show(result, monitor)
    if result.plan.raster.skipped:
        raise typer.Exit(PART_FAILED)


def _show(result: RunResult, monitor: Monitor) -> None:
    """Say where the results of a run are."""
    pages = [] if result.report is None else [result.report]
    files = (*result.rasters, *result.features, result.run_file, *pages)
    note = f"nothing to do: {result.output} is finished; checked" if result.is_unchanged else "done"
    monitor.result(files, result.seconds["total"], note)


@takes(RUN_OPTIONS)
def plan(workflow: Source = None, *, json: Json = False, **settings: Any) -> None:
    """Print what would run: blocks, tiles, memory, disk, estimated time. Computes nothing."""
    from geoseg import workflow as runs

    with told(json=json):
        plan = runs.plan(workflow, **_settings(settings))
        if json:
            console.print_json(data=plan.summary(), indent=None)
        else:
            for key, value in _plan_lines(plan):
                say(f"{key:12} {value}")
        if plan.is_local:
            plan.check_memory()


def _plan_lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """The plan for people: a heading and what stands beside it."""
    (height, width), tiling = plan.raster.shape, plan.grid.tiling
    rows, cols = plan.grid.rows, plan.grid.cols
    yield "raster", f"{width:,} x {height:,} px, {plan.raster.summary()['crs']}, bands {' '.join(plan.raster.bands)}"
    if plan.raster.skipped:
        yield "skipped", f"{len(plan.raster.skipped)} files or scenes that cannot be opened"
    yield "model", f"{plan.spec.name}: {len(plan.spec.classes)} classes"
    overlap = f"halo {tiling.halo}, ramp {tiling.ramp}, stride {tiling.stride}"
    yield "tiles", f"{plan.tile_count:,} of {tiling.size} px, {overlap}"
    down, across = plan.grid.block_tiles
    yield "blocks", f"{plan.block_count:,} of {rows.blocks} x {cols.blocks}, {down} x {across} tiles each"
    yield "workers", f"{plan.workers} on {plan.device}"
    yield "memory", f"{plan.total_bytes / MIB:,.0f} MiB at most; a worker's part:"
    for cause, size in plan.worker_bytes.items():
        yield f"  {size / MIB:6,.0f} MiB", cause
    state, results = plan.state_bytes / MIB, plan.result_bytes / MIB
    yield "disk", f"about {state:,.0f} MiB of state, {results:,.0f} MiB of results"
    estimate = plan.estimate
    if estimate is None:
        yield "time", "not known for this model"
    else:
        parts = (
            f"{estimate.start:,.0f} s to start, {estimate.blocks:,.0f} s of blocks, {estimate.report:,.0f} s of report"
        )
        yield "time", f"about {estimate.seconds:,.0f} s ({parts}), {estimate.core_hours:,.2f} core hours"


@takes({"crs": Crs, "nodata": Nodata, "region": Region, **WORKER_OPTIONS, **OUTLINE_OPTIONS})
def polygonize(
    input: Annotated[list[str], typer.Argument(help="A classified raster, or several on one grid.")],  # noqa: A002
    output: Annotated[str, typer.Argument(help="The polygon file; its ending chooses the format.")],
    *,
    block_size: Annotated[int | None, typer.Option(help="Px; memory depends on it, the result does not.")] = None,
    quiet: Quiet = False,
    json: Json = False,
    **settings: Any,
) -> None:
    """Turn a classified raster into polygons."""
    from geoseg import workflow as runs

    with watched(quiet=quiet, json=json) as monitor:
        result = runs.polygonize(
            **_settings({"input": input, "block_size": block_size, **settings}), output=output, listen=monitor
        )
        monitor.result([result.output], result.seconds["total"], f"{result.count:,} polygons")


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, in the workflow's form."""
    given = {key: value for key, value in options.items() if value is not None}
    for key in ("bands", "classes", "keep_classes", "collections"):
        if key in given:
            given[key] = words(given[key])
    if "input" in given and len(given["input"]) == 1:
        given["input"] = given["input"][0]
    return given
