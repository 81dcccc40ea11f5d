"""Commands that map: run, plan and polygonize."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from geoseg.cli.console import console
from geoseg.cli.options import (
    Bands,
    BatchSize,
    BlockTiles,
    Classes,
    Collections,
    Compile,
    Connectivity,
    Crs,
    Dashboard,
    Datetime,
    Device,
    Features,
    Halo,
    Inputs,
    Json,
    KeepClasses,
    Layer,
    Mask,
    MaxVertices,
    MinArea,
    MinScore,
    Model,
    Mosaic,
    Output,
    Overwrite,
    PerformanceReport,
    Precision,
    Prompts,
    Query,
    Quiet,
    Ramp,
    Refine,
    Region,
    Regularize,
    RemoveOffset,
    Report,
    Resolution,
    Retries,
    Scheduler,
    Simplify,
    SimplifyMethod,
    Text,
    Things,
    TileSize,
    Tta,
    Weights,
    Workers,
    WorkflowFile,
)
from geoseg.cli.watching import watched

MIB = 2**20

NO_SETTINGS = ("workflow", "quiet", "json")
"""Arguments of commands that are no keys of a workflow."""


def run(
    workflow: WorkflowFile,
    model: Model = None,
    things: Things = None,
    weights: Weights = None,
    input: Inputs = None,  # noqa: A002 - the same word as in the YAML
    output: Output = None,
    bands: Bands = None,
    crs: Crs = None,
    resolution: Resolution = None,
    collections: Collections = None,
    datetime: Datetime = None,
    query: Query = None,
    mosaic: Mosaic = None,
    mask: Mask = None,
    remove_offset: RemoveOffset = None,
    region: Region = None,
    prompts: Prompts = None,
    text: Text = None,
    min_score: MinScore = None,
    refine: Refine = None,
    tta: Tta = None,
    tile_size: TileSize = None,
    halo: Halo = None,
    ramp: Ramp = None,
    block_tiles: BlockTiles = None,
    batch_size: BatchSize = None,
    device: Device = None,
    precision: Precision = None,
    compile: Compile = None,  # noqa: A002
    workers: Workers = None,
    scheduler: Scheduler = None,
    dashboard: Dashboard = None,
    retries: Retries = None,
    features: Features = None,
    simplify: Simplify = None,
    regularize: Regularize = None,
    simplify_method: SimplifyMethod = None,
    min_area: MinArea = None,
    keep_classes: KeepClasses = None,
    classes: Classes = None,
    connectivity: Connectivity = None,
    max_vertices: MaxVertices = None,
    layer: Layer = None,
    overwrite: Overwrite = None,
    report: Report = None,
    performance_report: PerformanceReport = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Map a raster: labels, polygons, a manifest and a report in the output folder."""
    settings = _settings(locals())
    from geoseg import workflow as runs

    with watched(quiet=quiet, json=json) as monitor:
        result = runs.run(workflow, listen=monitor, **settings)
        pages = [] if result.report is None else [result.report]
        files = (*result.rasters, *result.features, result.run_file, *pages)
        monitor.result(files, result.seconds["total"])


def plan(
    workflow: WorkflowFile,
    model: Model = None,
    things: Things = None,
    weights: Weights = None,
    input: Inputs = None,  # noqa: A002 - the same word as in the YAML
    output: Output = None,
    bands: Bands = None,
    crs: Crs = None,
    resolution: Resolution = None,
    collections: Collections = None,
    datetime: Datetime = None,
    query: Query = None,
    mosaic: Mosaic = None,
    mask: Mask = None,
    remove_offset: RemoveOffset = None,
    region: Region = None,
    prompts: Prompts = None,
    text: Text = None,
    min_score: MinScore = None,
    refine: Refine = None,
    tta: Tta = None,
    tile_size: TileSize = None,
    halo: Halo = None,
    ramp: Ramp = None,
    block_tiles: BlockTiles = None,
    batch_size: BatchSize = None,
    device: Device = None,
    precision: Precision = None,
    compile: Compile = None,  # noqa: A002
    workers: Workers = None,
) -> None:
    """Say what would run: blocks, tiles, memory, estimated time. Computes nothing."""
    settings = _settings(locals())
    from geoseg import workflow as runs
    from geoseg.raster.placing import crs_label

    made = runs.plan(workflow, **settings)
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
        console.print(f"{key:12} {value}", highlight=False, soft_wrap=True)
    made.check_memory()


def polygonize(
    input: Annotated[list[str], typer.Argument(help="A classified raster, or several on one grid.")],  # noqa: A002
    output: Annotated[str, typer.Argument(help="The polygon file; its ending chooses the format.")],
    simplify: Simplify = None,
    regularize: Regularize = None,
    simplify_method: SimplifyMethod = None,
    min_area: MinArea = None,
    keep_classes: KeepClasses = None,
    classes: Classes = None,
    connectivity: Connectivity = None,
    max_vertices: MaxVertices = None,
    crs: Crs = None,
    region: Region = None,
    block_size: Annotated[int | None, typer.Option(help="Px; memory depends on it, the result does not.")] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    dashboard: Dashboard = None,
    retries: Retries = None,
    layer: Layer = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Turn a classified raster into polygons."""
    settings = _settings(locals())
    from geoseg import workflow as runs

    with watched(quiet=quiet, json=json) as monitor:
        result = runs.polygonize(listen=monitor, **settings)
        monitor.result([result.output], result.seconds["total"], f"{result.count:,} polygons")


def _settings(arguments: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, in the workflow's form."""
    given = {key: value for key, value in arguments.items() if key not in NO_SETTINGS and value is not None}
    for key in ("bands", "classes", "keep_classes", "collections"):
        if key in given:
            words = [word.strip() for word in given[key].split(",")]
            given[key] = [int(word) if word.isdigit() else word for word in words]
    if "input" in given and len(given["input"]) == 1:
        given["input"] = given["input"][0]
    return given
