"""The options of the commands: one word, one meaning, one sentence of help each.

The same words as the keys of a workflow; what they do is the matter of `geoseg.workflow`. Which command takes which
option stands in the tables at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, TypeVar

import typer

Command = TypeVar("Command", bound=Callable[..., None])

Source = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="WORKFLOW|IMAGERY...",
        help="A workflow file, the name of a shipped one, or imagery (also --input), which needs --model.",
    ),
]
Model = Annotated[str | None, typer.Option(help="A name in the catalog, or the path of a STAC MLM item.")]
Things = Annotated[str | None, typer.Option(help="A second model, which finds instances: the map is panoptic then.")]
Weights = Annotated[str | None, typer.Option(help="A weights file or folder that replaces the catalog's, or hub:NAME.")]
TrustModel = Annotated[
    bool | None, typer.Option("--trust-model", help="Open TorchScript: it can read and write files when it runs.")
]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", help="A raster, folder, pattern or catalog name; may be repeated.")
]
Output = Annotated[str | None, typer.Option(help="The folder that receives the results.")]
Bands = Annotated[str | None, typer.Option(help="Names or numbers of bands, in the model's order: 3,2,1,4.")]
Crs = Annotated[str | None, typer.Option(help="CRS of rasters that have none: EPSG:32618, or local for plain pixels.")]
Resolution = Annotated[
    float | None, typer.Option(help="Metres per pixel at which the model looks; its own unless given.")
]
Scale = Annotated[
    float | None, typer.Option(help="A pixel is read times this, in place of what is declared: 10000 for reflectance.")
]
Offset = Annotated[float | None, typer.Option(help="What is added to a pixel times --scale: -1000.")]
Nodata = Annotated[
    str | None, typer.Option(help="Value of pixels without data, in place of what is declared; or none.")
]
Collections = Annotated[str | None, typer.Option(help="Ids of the collections of a STAC catalog that are wanted: a,b.")]
Datetime = Annotated[str | None, typer.Option(help="When scenes were taken: 2024-06, or 2024-06-01/2024-08-31.")]
Query = Annotated[list[str] | None, typer.Option(help="A condition on scenes: eo:cloud_cover<20; may be repeated.")]
Mosaic = Annotated[str | None, typer.Option(help="Where scenes overlap: first, newest, least_cloudy or median.")]
Mask = Annotated[str | None, typer.Option(help="Pixels not to use, by an asset that classifies them: scl:3,8,9,10.")]
RemoveOffset = Annotated[
    bool | None,
    typer.Option("--remove-offset/--keep-offset", help="Take off the offset of digital numbers that STAC declares."),
]
OnError = Annotated[
    str | None, typer.Option("--on-error", help="Of several scenes that cannot be opened: stop, or skip them.")
]
Region = Annotated[str | None, typer.Option(help="A vector file, or minx,miny,maxx,maxy with an optional CRS.")]
Prompts = Annotated[str | None, typer.Option(help="A vector file: points, boxes and polygons mark what is wanted.")]
Text = Annotated[str | None, typer.Option(help="What objects are to be, in words.")]
Threshold = Annotated[
    float | None, typer.Option(help="Probability above which a binary or multi-label model gives a label, 0 to 1.")
]
MinScore = Annotated[float | None, typer.Option(help="Objects with a lower score are left out, 0 to 1.")]
Refine = Annotated[str | None, typer.Option(help="crf: boundaries follow the imagery.")]
Tta = Annotated[str | None, typer.Option(help="Average several views of a tile: flips,rotations,scales.")]
TileSize = Annotated[int | None, typer.Option(help="Px that the model reads at once.")]
Halo = Annotated[int | None, typer.Option(help="Px of context discarded on each side of a tile.")]
Ramp = Annotated[int | None, typer.Option(help="Px over which neighbouring tiles are blended.")]
BlockTiles = Annotated[int | None, typer.Option(help="Tiles of a block, down and across.")]
BatchSize = Annotated[str | None, typer.Option(help="Tiles per forward pass, or auto: what a GPU's memory holds.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")]
Compile = Annotated[bool | None, typer.Option("--compile", help="Compile the network first: minutes, for long runs.")]
Workers = Annotated[int | None, typer.Option(help="Local worker processes; one a core unless given.")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a Dask scheduler to use: tcp://host:8786.")]
Dashboard = Annotated[str | None, typer.Option(help="Where the dashboard is served: 127.0.0.1:8787, for you alone.")]
Retries = Annotated[int | None, typer.Option(help="How often a failing block is tried again.")]
Features = Annotated[
    list[str] | None, typer.Option(help="A polygon file; its ending chooses the format; may be repeated.")
]
Simplify = Annotated[float | None, typer.Option(help="CRS units that a simplified boundary may stray; 0: not at all.")]
Regularize = Annotated[
    bool | None, typer.Option("--regularize", help="Straight walls, most at right angles: outlines of buildings.")
]
SimplifyMethod = Annotated[str | None, typer.Option(help="douglas-peucker or visvalingam-whyatt.")]
MinArea = Annotated[float | None, typer.Option(help="m2; smaller faces go to a neighbouring class, objects just go.")]
KeepClasses = Annotated[
    str | None, typer.Option(help="Values or names of classes whose small faces stay; as --classes.")
]
Classes = Annotated[
    str | None,
    typer.Option(help='Values or names of the only classes that become polygons: 1,3; quoted with a comma: "a, b",3.'),
]
Connectivity = Annotated[int | None, typer.Option(help="4, or 8: what touches at a corner is one multipolygon.")]
MaxVertices = Annotated[int | None, typer.Option(help="Faces with a longer boundary are cut along a fixed grid.")]
Layer = Annotated[str | None, typer.Option(help="Name of the polygon layer.")]
Overwrite = Annotated[bool | None, typer.Option("--overwrite", help="Start anew in a folder that holds another run.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but what goes wrong.")]
Json = Annotated[bool, typer.Option("--json", help="Say everything as JSON, an object a line.")]
Report = Annotated[bool | None, typer.Option("--report/--no-report", help="Write report.html when all is done.")]
PerformanceReport = Annotated[
    bool | None, typer.Option("--performance-report", help="Write Dask's own report of every task, performance.html.")
]

OUTLINE_OPTIONS: Mapping[str, Any] = {
    "simplify": Simplify,
    "regularize": Regularize,
    "simplify_method": SimplifyMethod,
    "min_area": MinArea,
    "keep_classes": KeepClasses,
    "classes": Classes,
    "connectivity": Connectivity,
    "max_vertices": MaxVertices,
    "layer": Layer,
}
"""What shapes polygons: of a run, and of a classified raster."""

WORKER_OPTIONS: Mapping[str, Any] = {
    "workers": Workers,
    "scheduler": Scheduler,
    "dashboard": Dashboard,
    "retries": Retries,
}
"""Where the work is done."""

RUN_OPTIONS: Mapping[str, Any] = {
    "model": Model,
    "things": Things,
    "weights": Weights,
    "trust_model": TrustModel,
    "input": Inputs,
    "output": Output,
    "bands": Bands,
    "crs": Crs,
    "resolution": Resolution,
    "collections": Collections,
    "datetime": Datetime,
    "query": Query,
    "mosaic": Mosaic,
    "mask": Mask,
    "scale": Scale,
    "offset": Offset,
    "nodata": Nodata,
    "remove_offset": RemoveOffset,
    "on_error": OnError,
    "region": Region,
    "prompts": Prompts,
    "text": Text,
    "threshold": Threshold,
    "min_score": MinScore,
    "refine": Refine,
    "tta": Tta,
    "tile_size": TileSize,
    "halo": Halo,
    "ramp": Ramp,
    "block_tiles": BlockTiles,
    "batch_size": BatchSize,
    "device": Device,
    "precision": Precision,
    "compile": Compile,
    **WORKER_OPTIONS,
    "features": Features,
    **OUTLINE_OPTIONS,
    "overwrite": Overwrite,
    "report": Report,
    "performance_report": PerformanceReport,
}
"""What a run may be told: every key of a workflow."""


def takes(options: Mapping[str, Any]) -> Callable[[Command], Command]:
    """Give a command that ends in ``**settings`` the options of a table, each of which may be left out."""

    def decorate(function: Command) -> Command:
        own = [item for item in signature(function, eval_str=True).parameters.values() if item.name != "settings"]
        shared = [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=options[name]) for name in options]
        function.__signature__ = Signature([*own, *shared])  # type: ignore[attr-defined]
        return function

    return decorate


def words(text: str) -> list[str | int]:
    """Take a list of names and numbers apart at its commas, but not in double quotes, where two quotes are one."""
    stripped = [_QUOTED.sub(lambda found: found[1].replace('""', '"'), word).strip() for word in _WORD.findall(text)]
    return [int(word) if re.fullmatch("-?[0-9]+", word) else word for word in stripped if word]


_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_WORD = re.compile(r'(?:"(?:[^"]|"")*"|[^,])+')
