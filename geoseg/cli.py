"""The command line: arguments in, exit code out.

Exit codes: 0 done, 1 some blocks failed and the rest is written, 2 something given cannot be used. Modules that
load torch or dask are imported by the commands that need them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from geoseg.errors import BlockError, GeosegError, GeosegWarning

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From imagery of any size to maps and polygons.",
)
MIB = 2**20

console = Console()
errors = Console(stderr=True)

WorkflowFile = Annotated[str, typer.Argument(help="A workflow file, or the name of a shipped one.")]
Model = Annotated[str | None, typer.Option(help="A name in the catalog, or the path of a STAC MLM item.")]
Weights = Annotated[str | None, typer.Option(help="A weights file that replaces the catalog's.")]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", help="A raster, folder, pattern or catalog name; may be repeated.")
]
Output = Annotated[str | None, typer.Option(help="The folder that receives the results.")]
Bands = Annotated[str | None, typer.Option(help="Names or numbers of bands, in the model's order: 3,2,1,4.")]
Region = Annotated[str | None, typer.Option(help="A vector file, or minx,miny,maxx,maxy with an optional CRS.")]
TileSize = Annotated[int | None, typer.Option(help="Px that the model reads at once.")]
Halo = Annotated[int | None, typer.Option(help="Px of context discarded on each side of a tile.")]
Ramp = Annotated[int | None, typer.Option(help="Px over which neighbouring tiles are blended.")]
BlockTiles = Annotated[int | None, typer.Option(help="Tiles of a block, down and across.")]
BatchSize = Annotated[int | None, typer.Option(help="Tiles per forward pass.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")]
Workers = Annotated[int | None, typer.Option(help="Local worker processes; one a core unless given.")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a Dask scheduler to use: tcp://host:8786.")]
Retries = Annotated[int | None, typer.Option(help="How often a failing block is tried again.")]
Features = Annotated[
    list[str] | None, typer.Option(help="A polygon file; its ending chooses the format; may be repeated.")
]
Simplify = Annotated[float | None, typer.Option(help="CRS units that a simplified boundary may stray; 0: not at all.")]
SimplifyMethod = Annotated[str | None, typer.Option(help="douglas-peucker or visvalingam-whyatt.")]
MinArea = Annotated[float | None, typer.Option(help="m2; smaller faces become part of a neighbouring class.")]
KeepClasses = Annotated[str | None, typer.Option(help="Values or names of classes whose small faces stay.")]
Classes = Annotated[str | None, typer.Option(help="Values or names of the only classes that become polygons: 1,3.")]
Connectivity = Annotated[int | None, typer.Option(help="4, or 8: what touches at a corner is one multipolygon.")]
MaxVertices = Annotated[int | None, typer.Option(help="Faces with a longer boundary are cut along a fixed grid.")]
Layer = Annotated[str | None, typer.Option(help="Name of the polygon layer.")]
Overwrite = Annotated[bool | None, typer.Option("--overwrite", help="Start anew in a folder that holds another run.")]


@app.command()
def run(
    workflow: WorkflowFile,
    model: Model = None,
    weights: Weights = None,
    input: Inputs = None,  # noqa: A002 - the same word as in the YAML
    output: Output = None,
    bands: Bands = None,
    region: Region = None,
    tile_size: TileSize = None,
    halo: Halo = None,
    ramp: Ramp = None,
    block_tiles: BlockTiles = None,
    batch_size: BatchSize = None,
    device: Device = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    retries: Retries = None,
    features: Features = None,
    simplify: Simplify = None,
    simplify_method: SimplifyMethod = None,
    min_area: MinArea = None,
    keep_classes: KeepClasses = None,
    classes: Classes = None,
    connectivity: Connectivity = None,
    max_vertices: MaxVertices = None,
    layer: Layer = None,
    overwrite: Overwrite = None,
) -> None:
    """Map a raster: labels, polygons and a manifest in the output folder."""
    settings = _settings(locals())
    from geoseg import workflow as runs
    from geoseg.monitor import Monitor

    with Monitor(console) as monitor:
        result = runs.run(workflow, listen=monitor, **settings)
    for path in (result.labels, *result.features, result.run_file):
        console.print(str(path), highlight=False, soft_wrap=True)
    console.print(f"done in {result.seconds['total']:.1f} s", highlight=False)


@app.command()
def plan(
    workflow: WorkflowFile,
    model: Model = None,
    weights: Weights = None,
    input: Inputs = None,  # noqa: A002 - the same word as in the YAML
    output: Output = None,
    bands: Bands = None,
    region: Region = None,
    tile_size: TileSize = None,
    halo: Halo = None,
    ramp: Ramp = None,
    block_tiles: BlockTiles = None,
    batch_size: BatchSize = None,
    device: Device = None,
    workers: Workers = None,
) -> None:
    """Say what would run: blocks, tiles, memory, estimated time. Computes nothing."""
    settings = _settings(locals())
    from geoseg import workflow as runs

    made = runs.plan(workflow, **settings)
    height, width = made.raster.shape
    rows, cols = made.grid.rows, made.grid.cols
    seconds = made.estimated_seconds
    for key, value in {
        "raster": f"{width:,} x {height:,} px, {made.raster.crs}, bands {' '.join(made.raster.bands)}",
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


@app.command()
def polygonize(
    input: Annotated[list[str], typer.Argument(help="A classified raster, or several on one grid.")],  # noqa: A002
    output: Annotated[str, typer.Argument(help="The polygon file; its ending chooses the format.")],
    simplify: Simplify = None,
    simplify_method: SimplifyMethod = None,
    min_area: MinArea = None,
    keep_classes: KeepClasses = None,
    classes: Classes = None,
    connectivity: Connectivity = None,
    max_vertices: MaxVertices = None,
    region: Region = None,
    block_size: Annotated[int | None, typer.Option(help="Px; memory depends on it, the result does not.")] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    retries: Retries = None,
    layer: Layer = None,
) -> None:
    """Turn a classified raster into polygons."""
    settings = _settings(locals())
    from geoseg import workflow as runs
    from geoseg.monitor import Monitor

    with Monitor(console) as monitor:
        result = runs.polygonize(listen=monitor, **settings)
    console.print(str(result.output), highlight=False, soft_wrap=True)
    console.print(f"{result.count:,} polygons in {result.seconds['total']:.1f} s", highlight=False)


@app.command()
def models() -> None:
    """Say what the catalog has."""
    from geoseg.catalog import list_models

    for spec in list_models():
        resolution = "any resolution" if spec.resolution is None else f"{spec.resolution:g} m"
        console.print(f"{spec.name}: {spec.task}, {resolution}, {spec.license or 'no licence given'}", soft_wrap=True)
        console.print(f"    bands    {' '.join(spec.band_names)}", highlight=False, soft_wrap=True)
        console.print(f"    classes  {', '.join(spec.class_names)}", highlight=False, soft_wrap=True)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A training recipe.")],
    data: Annotated[str | None, typer.Option(help="Folder that the recipe's paths are relative to.")] = None,
    output: Output = None,
) -> None:
    """Fine-tune a model on rasters with label rasters or polygons; the result is a catalog entry."""
    from geoseg.training import train as train_recipe

    train_recipe(recipe, data=data, output=output, console=console)


@app.command()
def probe(
    model: Annotated[str, typer.Argument(help="A name in the catalog, or the path of a STAC MLM item.")],
    weights: Weights = None,
) -> None:
    """Measure a model's halo, and what a forward pass costs; prints JSON."""
    from geoseg.catalog import find_model
    from geoseg.models import load_model
    from geoseg.models.probe import measure_cost, measure_halo

    spec = find_model(model)
    opened = load_model(spec if weights is None else spec.with_weights(weights))
    cost = measure_cost(opened)  # first, on a fresh model: memory that torch keeps would not be counted later
    console.print_json(json.dumps({**asdict(cost), "halo": measure_halo(opened)}))


def _settings(arguments: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, in the workflow's form."""
    given = {key: value for key, value in arguments.items() if key != "workflow" and value is not None}
    for key in ("bands", "classes", "keep_classes"):
        if key in given:
            words = [word.strip() for word in given[key].split(",")]
            given[key] = [int(word) if word.isdigit() else word for word in words]
    if "input" in given and len(given["input"]) == 1:
        given["input"] = given["input"][0]
    return given


def _warn(message: Warning | str, category: type[Warning], *_place: object, **_more: object) -> None:
    if issubclass(category, GeosegWarning):
        errors.print(f"note: {message}", style="yellow", highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; an error that geoseg knows is one sentence, not a traceback.

    Parameters
    ----------
    arguments : list of str, optional
        What stands behind ``geoseg``; the command line's own unless given.

    Returns
    -------
    int
        The exit code.
    """
    warnings.showwarning = _warn
    try:
        app(arguments)
    except SystemExit as done:  # typer's own word: help, or an option that does not exist
        return int(done.code or 0)
    except KeyboardInterrupt:
        _complain("interrupted; run the same command again to continue.")
        return 130
    except BlockError as error:
        _complain(str(error))
        return 1
    except GeosegError as error:
        _complain(str(error))
        return 2
    return 0


def _complain(sentence: str) -> None:
    errors.print(
        f"{sentence.rstrip('.')}{'' if sentence.endswith('?') else '.'}", style="red", highlight=False, soft_wrap=True
    )
