"""Commands that map: run, plan and polygonize."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from geoseg.cli.console import say
from geoseg.cli.options import (
    OUTLINE_OPTIONS,
    RUN_OPTIONS,
    WORKER_OPTIONS,
    Crs,
    Json,
    Quiet,
    Region,
    WorkflowFile,
    takes,
)
from geoseg.cli.watching import watched

MIB = 2**20


@takes(RUN_OPTIONS)
def run(workflow: WorkflowFile, *, quiet: Quiet = False, json: Json = False, **settings: Any) -> None:
    """Map a raster: labels, polygons, a manifest and a report in the output folder."""
    from geoseg import workflow as runs

    with watched(quiet=quiet, json=json) as monitor:
        result = runs.run(workflow, listen=monitor, **_settings(settings))
        pages = [] if result.report is None else [result.report]
        files = (*result.rasters, *result.features, result.run_file, *pages)
        monitor.result(files, result.seconds["total"])


@takes(RUN_OPTIONS)
def plan(workflow: WorkflowFile, **settings: Any) -> None:
    """Say what would run: blocks, tiles, memory, estimated time. Computes nothing."""
    from geoseg import workflow as runs
    from geoseg.raster.placing import crs_label

    made = runs.plan(workflow, **_settings(settings))
    height, width = made.raster.shape
    rows, cols = made.grid.rows, made.grid.cols
    seconds = made.estimated_seconds
    for key, value in {
        "raster": f"{width:,} x {height:,} px, {crs_label(made.raster.crs)}, bands {' '.join(made.raster.bands)}",
        "model": f"{made.spec.name}: {len(made.spec.classes)} classes",
        "tiles": f"{made.tile_count:,} of {made.grid.tiling.size} px, halo {made.grid.tiling.halo}, "
        f"ramp {made.grid.tiling.ramp}, stride {made.grid.tiling.stride}",
        "blocks": f"{made.block_count:,} of {rows.blocks} x {cols.blocks}, "
        f"{made.grid.block_tiles[0]} x {made.grid.block_tiles[1]} tiles each",
        "workers": f"{made.workers} on {made.device}",
        "memory": f"{made.total_bytes / MIB:,.0f} MiB at most; a worker's part:",
        **{f"  {size / MIB:6,.0f} MiB": cause for cause, size in made.worker_bytes.items()},
        "time": "not known for this model" if seconds is None else f"about {seconds:,.0f} s of prediction",
    }.items():
        say(f"{key:12} {value}")
    made.check_memory()


@takes({"crs": Crs, "region": Region, **WORKER_OPTIONS, **OUTLINE_OPTIONS})
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
            words = [word.strip() for word in given[key].split(",")]
            given[key] = [int(word) if word.isdigit() else word for word in words]
    if "input" in given and len(given["input"]) == 1:
        given["input"] = given["input"][0]
    return given
