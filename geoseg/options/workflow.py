"""Options of runs, and of polygons of label rasters: one class a panel of the help, one field an option."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, PositiveInt, ValidationError, model_validator

from geoseg.errors import WorkflowError
from geoseg.held import Held
from geoseg.options.legend import Legend
from geoseg.options.table import Options, sentence
from geoseg.options.values import (
    AreaByClass,
    CrsText,
    DateText,
    InputText,
    Names,
    OneOrMore,
    PathText,
    PathTexts,
    RegionText,
    Written,
    whole,
    words,
)

DASHBOARD = "127.0.0.1:8787"
"""Where the dashboard of local workers is served: local connections only."""


Mosaic = Literal["first", "newest", "least_cloudy", "median"]
"""Names of mosaic rules; `geoseg.imagery.opening` has the rules."""


class ImageryOptions(Options):
    """What is read, and how."""

    panel: ClassVar[str] = "Imagery"

    input: Annotated[InputText | Held, Written("ImageryLike", "PATH")] | None = None
    """Raster, several rasters, folder, glob pattern, name in the catalog, STAC item, collection, catalog or API, or
    tile service such as https://host/{z}/{x}/{y}.png. Of several dates NAME=PATH, once for each: before=a.tif. In YAML
    and Python also one file per band: {red: red.tif, nir: nir.tif}, and dates with options of their own: {before:
    {input: scenes, datetime: 2024-05}, after: b.tif}; in Python also arrays of xarray."""

    bands: OneOrMore | None = None
    """Bands in the model's order, by name or 1-based number, such as B04,B03,B02 or 3,2,1 (default: matched by
    name)."""

    crs: CrsText | None = None
    """CRS of rasters that declare none, such as EPSG:32618; local keeps pixel coordinates."""

    resolution: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Ground sampling distance in metres that imagery is resampled to (default: the model's)."""

    scale: FiniteFloat | None = Field(default=None, gt=0)
    """Scale in place of the declared one: pixels are read as scale * stored + offset, and 1 reads them as they are
    stored (default: as declared)."""

    offset: FiniteFloat | None = None
    """Offset in place of the declared one, such as -1000: pixels are read as scale * stored + offset (default: as
    declared)."""

    nodata: float | Literal["none"] | None = None
    """Value of pixels without data, in place of the declared one; none: every value is data (default: as declared)."""

    region: RegionText | None = None
    """Area to process: a vector file of polygons, or bounds minx,miny,maxx,maxy with an optional CRS as fifth part
    (default: all of the imagery)."""

    zoom: int | None = Field(default=None, ge=0, le=30)
    """Zoom of a tile service (default: the coarsest that is as fine as the resolution)."""

    collections: Names | None = None
    """Ids of the STAC collections to search (default: all)."""

    datetime: DateText | None = None
    """Acquisition date or interval of STAC scenes: 2024-06-15, 2024-06, or 2024-06-01/2024-08-31 (default: any)."""

    query: str | list[str] | dict[str, Any] | None = None
    """Condition on properties of STAC scenes, such as eo:cloud_cover<20; all conditions must hold. In YAML and Python
    also in the syntax of the STAC query extension."""

    mask: str | dict[str, Any] | None = None
    """QA mask: the classification band of a scene and its values that mark unusable pixels, such as scl:3,8,9,10; or a
    model that finds them, such as cloud-mask. In YAML and Python also {asset: scl, exclude: [3, 8]}, bits in place of
    exclude for bits of a quality band, or {model: cloud-mask, weights: FILE, exclude: [cloud]}."""

    mosaic: Mosaic = "first"
    """Valid pixel to use where scenes overlap: of the first, newest or least cloudy scene, or the median of all, band
    by band. Plain files know first and median."""

    remove_offset: bool = True
    """Remove the offset that STAC items declare and bring all scenes to the scale of the first, so that Sentinel-2
    from before and after 2022 agrees."""

    on_error: Literal["stop", "skip"] = "stop"
    """When one of several files or scenes cannot be opened or read: stop, or skip it and report it."""


class ModelOptions(Options):
    """What predicts, and what becomes a label or an object."""

    panel: ClassVar[str] = "Model"

    model: Annotated[str | Held, Written("ModelLike", "PATH")]
    """Name in the catalog (see: geoseg models), path or address of a STAC MLM item or an ONNX file, a save_pretrained
    folder, or hub:ORG/NAME; in Python also a network with its spec."""

    things: PathText | None = None
    """Second model, for instances; the map becomes panoptic."""

    weights: PathText | None = None
    """Weights file or folder in place of the catalog's, or hub:NAME."""

    trust_model: bool = False
    """Open TorchScript, which can read and write files: only from authors that you trust."""

    threshold: float | None = Field(default=None, ge=0, le=1)
    """Probability above which a binary or multi-label model assigns its label, 0 to 1; pixels below it are background
    (default: the model's)."""

    min_confidence: float | None = Field(default=None, ge=0, le=1)
    """Label pixels of a lower confidence as unknown, 0 to 1, where the model's classes exclude each other (default:
    every pixel has its best class)."""

    min_score: float | None = Field(default=None, ge=0, le=1)
    """Drop objects with a lower score, 0 to 1 (default: the model's)."""

    prompts: Annotated[str, Written("TableLike", "PATH")] | None = None
    """Vector file whose points, boxes and polygons mark the objects to segment; a point whose column positive is false
    marks background. Only tiles around prompts are read."""

    text: str | None = None
    """Objects to segment, in words, for models that understand them, such as solar panels."""

    refine: str | dict[str, Any] | None = None
    """Refine boundaries along edges in the imagery: crf, a fully connected CRF. In YAML and Python also its
    parameters: {window: 15}."""

    tta: bool | str | dict[str, Any] | None = None
    """Test-time augmentation: average the predictions of several views of a tile, any of flips,rotations,scales. In
    YAML and Python also true, or {scales: [0.5, 2]}."""


class TilingOptions(Options):
    """How a raster is divided."""

    panel: ClassVar[str] = "Tiling"

    tile_size: PositiveInt | None = None
    """Size in px of the tiles that the network sees (default: the model's)."""

    halo: int | None = Field(default=None, ge=0)
    """Context in px that is discarded on each side of a tile (default: the model's)."""

    ramp: int | None = Field(default=None, ge=0)
    """Overlap in px over which neighbouring tiles are blended (default: the model's, or 32)."""

    block_tiles: (
        Annotated[
            PositiveInt | tuple[PositiveInt, PositiveInt],
            BeforeValidator(
                lambda value: words(value) if isinstance(value, str) and "," in value else value,
                json_schema_input_type=PositiveInt | tuple[PositiveInt, PositiveInt] | str,
            ),
        ]
        | None
    ) = None
    """Tiles of a block, down and across: 2, or 2,3. Blocks are the unit of work and of continuing (default: 2, or 1
    for a raster of few tiles)."""

    batch_size: PositiveInt | Literal["auto"] = "auto"
    """Tiles per forward pass; auto: one on a CPU, those of a block as far as they fit on a GPU."""


class DeviceOptions(Options):
    """What the work is done on."""

    panel: ClassVar[str] = "Device"

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device of the network."""

    runtime: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the network; openvino (pip install "geoseg[openvino]") is faster on CPUs; auto: openvino where it is
    installed and the model's entry says that its 8-bit weights keep the labels; else torch."""

    precision: Literal["auto", "float32", "float16", "bfloat16", "int8"] = "auto"
    """Arithmetic of the network; auto: bfloat16 on CUDA devices that have it, and on CPUs that have it if the model's
    entry says that labels stay the same, int8 by openvino likewise; else float32."""

    compile: bool = False
    """Compile the network with torch.compile first: takes minutes, pays for long runs."""

    price_per_core_hour: float | None = Field(default=None, ge=0)
    """Price of a core for an hour, in any currency; geoseg plan then states what the run costs."""


class WorkerOptions(Options):
    """Where the work is done."""

    panel: ClassVar[str] = "Workers"

    workers: PositiveInt | None = None
    """Local worker processes (default: one per core on a CPU, one on a GPU)."""

    scheduler: str | None = None
    """Address of a Dask scheduler to use in place of local workers, such as tcp://host:8786."""

    dashboard: str = DASHBOARD
    """Dashboard address of local workers; the default accepts local connections only, 0.0.0.0:8787 all."""

    retries: int = Field(default=2, ge=0)
    """Times that a failed block is tried again."""


class ShapeOptions(Options):
    """What polygons of any labels look like."""

    panel: ClassVar[str] = "Polygons"

    min_area: AreaByClass = 0.0
    """Minimum mapping unit in m2: smaller polygons are merged into the neighbouring class with the longest shared
    border; smaller objects are dropped. Also by class, as 1000,water=500,4=5000, the first for all other classes."""

    simplify: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Maximum distance in CRS units between a simplified boundary and the pixels'; neighbours still share boundaries.
    0 keeps every corner."""

    simplify_method: Literal["douglas-peucker", "visvalingam-whyatt"] = "douglas-peucker"
    """Simplification method; visvalingam-whyatt looks smoother."""

    smooth: Literal["chaikin"] | None = None
    """Round the corners of boundaries after simplification (by 1 pixel unless given) and move them by at most as much
    again; neighbours still share boundaries. chaikin: where Chaikin's corner cutting ends."""

    connectivity: Annotated[Literal[4, 8], BeforeValidator(whole)] = 4
    """Pixels that touch at a corner only are two polygons (4) or one multipolygon (8)."""

    max_vertices: PositiveInt | None = 1_000_000
    """Cut polygons with more vertices along a fixed grid, so that memory stays flat."""


class OutlineOptions(ShapeOptions):
    """What polygons look like, and which are written."""

    panel: ClassVar[str] = "Polygons"

    classes: OneOrMore | None = None
    """Classes to write as polygons, by name or value, such as water,trees or 1,3 (default: all)."""

    keep_classes: OneOrMore | None = None
    """Classes whose polygons are kept whatever their size, by name or value."""

    fill_holes: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Fill holes of polygons below this area in m2, where nothing in them is written; min_area decides about polygons
    of other classes."""

    regularize: bool = False
    """Regularize outlines of buildings: straight walls, most at right angles, within simplify of the pixels (1.5
    pixels unless given)."""

    right_angles: bool = False
    """With regularize: right angles wherever they can be had, and walls of buildings that touch on common lines."""

    shortest_edge: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """With regularize: leave out walls that are shorter, in m."""

    preset: Literal["osm"] | None = None
    """Polygons as others expect them. osm: buildings for OpenStreetMap as GeoJSON, with regularize, right_angles,
    shortest_edge 0.5 and fill_holes 4 unless given otherwise, and with tags in place of columns."""

    layer: str = "land_use"
    """Name of the polygon layer."""

    partition: Literal["class", "quadkey"] | None = None
    """Write GeoParquet as a folder of Hive partitions: by value of the class, or by quadkey of the tile of zoom 9
    (78 km at the equator) that holds the middle of a polygon."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Let a preset say what is as it is by default."""
        preset = values.get("preset") if isinstance(values, dict) else None
        if not isinstance(preset, str) or preset not in PRESETS:
            return values
        fields = OutlineOptions.model_fields
        missing = {
            key: value for key, value in PRESETS[preset].items() if values.get(key) in (None, fields[key].default)
        }
        return values | missing


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "osm": {"regularize": True, "right_angles": True, "shortest_edge": 0.5, "fill_holes": 4.0},
}
"""What presets set unless another value is given."""


class OutputOptions(Options):
    """What is written, and where."""

    panel: ClassVar[str] = "Output"

    output: PathText = "out"
    """Folder of the results; the same command continues a run that was interrupted."""

    publish: str | None = None
    """Address that finished results are copied to, such as s3://bucket/map: whole files, item.json and run.json last,
    and nothing that is there already. The output folder keeps them and the state of the run."""

    features: PathTexts = Field(default=["features.gpkg"])
    """Polygon file to write, by name; the extension is the format: .gpkg, .parquet, .fgb, .geojson, .shp or
    .pmtiles."""

    outputs: Names = Field(default=[])
    """Rasters to write besides labels.tif: confidence (of the assigned label) and probabilities (one band per class),
    as GeoTIFF, or as Zarr store with the extension .zarr, such as confidence,probabilities.zarr; and labels.zarr."""

    legend: Legend | None = None
    """Names and colours of classes in the results, by the model's name or value, such as built=#c4281b,trees=Forest;
    classes with one name become one. Or a legend.yaml, which also sets order and values. In YAML and Python also
    {trees: {name: Forest, color: "#1b7837"}}, or the classes of a legend.yaml as a list."""

    corrections: Annotated[str, Written("TableLike", "PATH")] | None = None
    """Vector file of corrections to the labels: polygons and points with a class, by name or value, in a column class,
    or with the class that it is not in a column not. Points correct the whole segment that they lie in."""

    attribution: str | None = None
    """Whose imagery it is, and its terms, for run.json and item.json (default: as a tile service says)."""

    refresh: bool = False
    """In the folder of an earlier run whose imagery or region has changed, make only those blocks again that read what
    has changed; results are those of a new run."""

    overwrite: bool = False
    """Start anew in a folder that holds another run."""

    report: bool = True
    """Write report.html: the map, areas, timings and memory on one page."""

    performance_report: bool = False
    """Write performance.html, Dask's own report of every task."""


# Fields of the last base come first.
class Workflow(
    OutputOptions, OutlineOptions, WorkerOptions, DeviceOptions, TilingOptions, ImageryOptions, ModelOptions
):
    """A run from imagery to maps and polygons; each key is an option of geoseg run and an argument of geoseg.run."""

    panel: ClassVar[str] = ""

    if not TYPE_CHECKING:  # type checkers know the fields

        def __init__(self, **values: Any) -> None:
            """Check values; what is wrong is one sentence, as where they are read from a file."""
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise WorkflowError(sentence(error, "Workflow", Workflow)) from error


RECORD, RUN_FILE = "workflow.yaml", "run.json"
"""Files of an output folder: the workflow that it was made by, and what ran."""

RESUMABLE = (
    *("input", "workers", "scheduler", "dashboard", "retries"),
    *("report", "performance_report", "attribution", "publish"),
)
"""Keys of a workflow that may be others when a run is continued: they decide no label. Imagery is known by its content,
wherever it is now."""

OPENING = ("weights", "trust_model")
"""Keys of a workflow that concern how a model is opened."""


class Polygonizing(WorkerOptions, OutlineOptions):
    """Polygons of a label raster; each key is an option of geoseg polygonize and an argument of geoseg.polygonize."""

    panel: ClassVar[str] = "Raster"

    input: Annotated[str | list[str] | Held, Written("ImageryLike", "PATH")]
    """Classified raster, or several on one grid."""

    output: PathText
    """Polygon file to write; the extension is the format: .gpkg, .parquet, .fgb, .geojson, .shp or .pmtiles."""

    crs: CrsText | None = None
    """CRS of rasters that declare none, such as EPSG:32618; local keeps pixel coordinates."""

    nodata: FiniteFloat | Literal["none"] | None = None
    """Label of pixels without data, in place of the declared one; none: every label is a class (default: as
    declared)."""

    region: RegionText | None = None
    """Area to process: a vector file of polygons, or bounds minx,miny,maxx,maxy with an optional CRS as fifth part;
    polygons are clipped to it (default: all of the raster)."""

    block_size: PositiveInt = 2048
    """Size in px of the blocks: memory depends on it, the result does not."""

    layer: str = "polygons"
    """Name of the polygon layer."""


class SieveOptions(WorkerOptions):
    """A label raster's minimum mapping unit; each key is an option of geoseg sieve and an argument of geoseg.sieve."""

    panel: ClassVar[str] = "Sieve"

    min_area: AreaByClass
    """Minimum mapping unit in m2: smaller faces join the neighbouring class with the longest shared border. Also by
    class, as 1000,water=500,4=5000, the first for all other classes."""

    keep_classes: OneOrMore | None = None
    """Classes whose faces are kept whatever their size, by name or value."""

    connectivity: Annotated[Literal[4, 8], BeforeValidator(whole)] = 4
    """Pixels that touch at a corner only are two faces (4) or one (8)."""

    crs: CrsText | None = None
    """CRS of rasters that declare none, such as EPSG:32618; local keeps pixel coordinates."""

    nodata: FiniteFloat | Literal["none"] | None = None
    """Label of pixels without data, in place of the declared one; none: every label is a class (default: as
    declared)."""

    region: RegionText | None = None
    """Area to process: a vector file of polygons, or bounds minx,miny,maxx,maxy with an optional CRS as fifth part;
    what lies outside becomes nodata (default: all of the raster)."""

    block_size: PositiveInt = 2048
    """Size in px of the blocks: memory depends on it, the result does not."""

    overwrite: bool = False
    """Replace the output where it is there."""
