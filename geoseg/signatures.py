"""Keyword arguments of the public functions as types, so that editors complete them and mypy checks them.

Made of `geoseg.options` by ``make options``; change it there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from geoseg.models.own import ModelLike
from geoseg.raster.given import ImageryLike
from geoseg.vector import RegionLike, TableLike


class WorkerArguments(TypedDict, total=False):
    """Of `geoseg.options.WorkerOptions`."""

    workers: int | None
    """Local worker processes (default: one per core on a CPU, one on a GPU)."""

    scheduler: str | None
    """Address of a Dask scheduler to use in place of local workers, such as tcp://host:8786."""

    dashboard: str | None
    """Dashboard address of local workers; the default accepts local connections only, 0.0.0.0:8787 all."""

    retries: int | None
    """Times that a failed block is tried again."""


class ShapeArguments(TypedDict, total=False):
    """Of `geoseg.options.ShapeOptions`."""

    min_area: float | str | Mapping[int | str, float] | None
    """Minimum mapping unit in m2: smaller polygons are merged into the neighbouring class with the longest shared
    border; smaller objects are dropped. Also by class, as 1000,water=500,4=5000, the first for all other classes."""

    simplify: float | None
    """Maximum distance in CRS units between a simplified boundary and the pixels'; neighbours still share boundaries. 0
    keeps every corner."""

    simplify_method: Literal["douglas-peucker", "visvalingam-whyatt"] | None
    """Simplification method; visvalingam-whyatt looks smoother."""

    smooth: Literal["chaikin"] | None
    """Round the corners of boundaries after simplification (by 1 pixel unless given) and move them by at most as much
    again; neighbours still share boundaries. chaikin: where Chaikin's corner cutting ends."""

    connectivity: Literal[4, 8] | None
    """Pixels that touch at a corner only are two polygons (4) or one multipolygon (8)."""

    max_vertices: int | None
    """Cut polygons with more vertices along a fixed grid, so that memory stays flat."""


class OutlineArguments(ShapeArguments, total=False):
    """Of `geoseg.options.OutlineOptions`."""

    classes: str | Sequence[int | str] | None
    """Classes to write as polygons, by name or value, such as water,trees or 1,3 (default: all)."""

    keep_classes: str | Sequence[int | str] | None
    """Classes whose polygons are kept whatever their size, by name or value."""

    fill_holes: float | None
    """Fill holes of polygons below this area in m2, where nothing in them is written; min_area decides about polygons
    of other classes."""

    regularize: bool | None
    """Regularize outlines of buildings: straight walls, most at right angles, within simplify of the pixels (1.5 pixels
    unless given)."""

    right_angles: bool | None
    """With regularize: right angles wherever they can be had, and walls of buildings that touch on common lines."""

    shortest_edge: float | None
    """With regularize: leave out walls that are shorter, in m."""

    preset: Literal["osm"] | None
    """Polygons as others expect them. osm: buildings for OpenStreetMap as GeoJSON, with regularize, right_angles,
    shortest_edge 0.5 and fill_holes 4 unless given otherwise, and with tags in place of columns."""

    layer: str | None
    """Name of the polygon layer."""

    partition: Literal["class", "quadkey"] | None
    """Write GeoParquet as a folder of Hive partitions: by value of the class, or by quadkey of the tile of zoom 9 (78
    km at the equator) that holds the middle of a polygon."""


class ImageryArguments(TypedDict, total=False):
    """Of `geoseg.options.ImageryOptions`."""

    scale: float | None
    """Scale in place of the declared one: pixels are read as scale * stored + offset, and 1 reads them as they are
    stored (default: as declared)."""

    offset: float | None
    """Offset in place of the declared one, such as -1000: pixels are read as scale * stored + offset (default: as
    declared)."""

    nodata: float | Literal["none"] | None
    """Value of pixels without data, in place of the declared one; none: every value is data (default: as declared)."""

    zoom: int | None
    """Zoom of a tile service (default: the coarsest that is as fine as the resolution)."""

    collections: str | Sequence[str] | None
    """Ids of the STAC collections to search (default: all)."""

    datetime: str | None
    """Acquisition date or interval of STAC scenes: 2024-06-15, 2024-06, or 2024-06-01/2024-08-31 (default: any)."""

    query: str | Sequence[str] | Mapping[str, Any] | None
    """Condition on properties of STAC scenes, such as eo:cloud_cover<20; all conditions must hold. In YAML and Python
    also in the syntax of the STAC query extension."""

    mask: str | Mapping[str, Any] | None
    """QA mask: the classification band of a scene and its values that mark unusable pixels, such as scl:3,8,9,10; or a
    model that finds them, such as cloud-mask. In YAML and Python also {asset: scl, exclude: [3, 8]}, bits in place of
    exclude for bits of a quality band, or {model: cloud-mask, weights: FILE, exclude: [cloud]}."""

    mosaic: Literal["first", "newest", "least_cloudy", "median"] | None
    """Valid pixel to use where scenes overlap: of the first, newest or least cloudy scene, or the median of all, band
    by band. Plain files know first and median."""

    remove_offset: bool | None
    """Remove the offset that STAC items declare and bring all scenes to the scale of the first, so that Sentinel-2 from
    before and after 2022 agrees."""

    on_error: Literal["stop", "skip"] | None
    """When one of several files or scenes cannot be opened or read: stop, or skip it and report it."""


class ResumeArguments(WorkerArguments, total=False):
    """Of `geoseg.options.Workflow`."""

    input: ImageryLike | None
    """Raster, several rasters, folder, glob pattern, name in the catalog, STAC item, collection, catalog or API, or
    tile service such as https://host/{z}/{x}/{y}.png. Of several dates NAME=PATH, once for each: before=a.tif. In YAML
    and Python also one file per band: {red: red.tif, nir: nir.tif}, and dates with options of their own: {before:
    {input: scenes, datetime: 2024-05}, after: b.tif}; in Python also arrays of xarray."""

    publish: str | None
    """Address that finished results are copied to, such as s3://bucket/map: whole files, item.json and run.json last,
    and nothing that is there already. The output folder keeps them and the state of the run."""

    attribution: str | None
    """Whose imagery it is, and its terms, for run.json and item.json (default: as a tile service says)."""

    report: bool | None
    """Write report.html: the map, areas, timings and memory on one page."""

    performance_report: bool | None
    """Write performance.html, Dask's own report of every task."""


class RunArguments(ResumeArguments, OutlineArguments, ImageryArguments, total=False):
    """Of `geoseg.options.Workflow`."""

    model: ModelLike | None
    """Name in the catalog (see: geoseg models), path or address of a STAC MLM item or an ONNX file, a save_pretrained
    folder, or hub:ORG/NAME; in Python also a network with its spec."""

    things: str | os.PathLike[str] | None
    """Second model, for instances; the map becomes panoptic."""

    weights: str | os.PathLike[str] | None
    """Weights file or folder in place of the catalog's, or hub:NAME."""

    trust_model: bool | None
    """Open TorchScript, which can read and write files: only from authors that you trust."""

    threshold: float | None
    """Probability above which a binary or multi-label model assigns its label, 0 to 1; pixels below it are background
    (default: the model's)."""

    min_confidence: float | None
    """Label pixels of a lower confidence as unknown, 0 to 1, where the model's classes exclude each other (default:
    every pixel has its best class)."""

    min_score: float | None
    """Drop objects with a lower score, 0 to 1 (default: the model's)."""

    prompts: TableLike | None
    """Vector file whose points, boxes and polygons mark the objects to segment; a point whose column positive is false
    marks background. Only tiles around prompts are read."""

    text: str | None
    """Objects to segment, in words, for models that understand them, such as solar panels."""

    refine: str | Mapping[str, Any] | None
    """Refine boundaries along edges in the imagery: crf, a fully connected CRF. In YAML and Python also its parameters:
    {window: 15}."""

    tta: bool | str | Mapping[str, Any] | None
    """Test-time augmentation: average the predictions of several views of a tile, any of flips,rotations,scales. In
    YAML and Python also true, or {scales: [0.5, 2]}."""

    bands: str | Sequence[int | str] | None
    """Bands in the model's order, by name or 1-based number, such as B04,B03,B02 or 3,2,1 (default: matched by
    name)."""

    crs: str | int | None
    """CRS of rasters that declare none, such as EPSG:32618; local keeps pixel coordinates."""

    resolution: float | None
    """Ground sampling distance in metres that imagery is resampled to (default: the model's)."""

    region: RegionLike | None
    """Area to process: a vector file of polygons, or bounds minx,miny,maxx,maxy with an optional CRS as fifth part
    (default: all of the imagery)."""

    tile_size: int | None
    """Size in px of the tiles that the network sees (default: the model's)."""

    halo: int | None
    """Context in px that is discarded on each side of a tile (default: the model's)."""

    ramp: int | None
    """Overlap in px over which neighbouring tiles are blended (default: the model's, or 32)."""

    block_tiles: int | tuple[int, int] | str | None
    """Tiles of a block, down and across: 2, or 2,3. Blocks are the unit of work and of continuing (default: 2, or 1 for
    a raster of few tiles)."""

    batch_size: int | Literal["auto"] | None
    """Tiles per forward pass; auto: one on a CPU, those of a block as far as they fit on a GPU."""

    device: Literal["auto", "cpu", "cuda", "mps"] | None
    """Device of the network."""

    runtime: Literal["auto", "torch", "openvino"] | None
    """What runs the network; openvino (pip install "geoseg[openvino]") is faster on CPUs; auto: openvino where it is
    installed and the model's entry says that its 8-bit weights keep the labels; else torch."""

    precision: Literal["auto", "float32", "float16", "bfloat16", "int8"] | None
    """Arithmetic of the network; auto: bfloat16 on CUDA devices that have it, and on CPUs that have it if the model's
    entry says that labels stay the same, int8 by openvino likewise; else float32."""

    compile: bool | None
    """Compile the network with torch.compile first: takes minutes, pays for long runs."""

    price_per_core_hour: float | None
    """Price of a core for an hour, in any currency; geoseg plan then states what the run costs."""

    output: str | os.PathLike[str] | None
    """Folder of the results; the same command continues a run that was interrupted."""

    features: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None
    """Polygon file to write, by name; the extension is the format: .gpkg, .parquet, .fgb, .geojson, .shp or
    .pmtiles."""

    outputs: str | Sequence[str] | None
    """Rasters to write besides labels.tif: confidence (of the assigned label) and probabilities (one band per class),
    as GeoTIFF, or as Zarr store with the extension .zarr, such as confidence,probabilities.zarr; and labels.zarr."""

    legend: str | os.PathLike[str] | Mapping[int | str, str | Mapping[str, str]] | Sequence[Mapping[str, Any]] | None
    """Names and colours of classes in the results, by the model's name or value, such as built=#c4281b,trees=Forest;
    classes with one name become one. Or a legend.yaml, which also sets order and values. In YAML and Python also
    {trees: {name: Forest, color: "#1b7837"}}, or the classes of a legend.yaml as a list."""

    corrections: TableLike | None
    """Vector file of corrections to the labels: polygons and points with a class, by name or value, in a column class,
    or with the class that it is not in a column not. Points correct the whole segment that they lie in."""

    refresh: bool | None
    """In the folder of an earlier run whose imagery or region has changed, make only those blocks again that read what
    has changed; results are those of a new run."""

    overwrite: bool | None
    """Start anew in a folder that holds another run."""


class PolygonizeArguments(WorkerArguments, OutlineArguments, total=False):
    """Of `geoseg.options.Polygonizing`."""

    crs: str | int | None
    """CRS of rasters that declare none, such as EPSG:32618; local keeps pixel coordinates."""

    nodata: float | Literal["none"] | None
    """Label of pixels without data, in place of the declared one; none: every label is a class (default: as
    declared)."""

    region: RegionLike | None
    """Area to process: a vector file of polygons, or bounds minx,miny,maxx,maxy with an optional CRS as fifth part;
    polygons are clipped to it (default: all of the raster)."""

    block_size: int | None
    """Size in px of the blocks: memory depends on it, the result does not."""


class SieveArguments(WorkerArguments, total=False):
    """Of `geoseg.options.SieveOptions`."""

    min_area: float | str | Mapping[int | str, float] | None
    """Minimum mapping unit in m2: smaller faces join the neighbouring class with the longest shared border. Also by
    class, as 1000,water=500,4=5000, the first for all other classes."""

    keep_classes: str | Sequence[int | str] | None
    """Classes whose faces are kept whatever their size, by name or value."""

    connectivity: Literal[4, 8] | None
    """Pixels that touch at a corner only are two faces (4) or one (8)."""

    crs: str | int | None
    """CRS of rasters that declare none, such as EPSG:32618; local keeps pixel coordinates."""

    nodata: float | Literal["none"] | None
    """Label of pixels without data, in place of the declared one; none: every label is a class (default: as
    declared)."""

    region: RegionLike | None
    """Area to process: a vector file of polygons, or bounds minx,miny,maxx,maxy with an optional CRS as fifth part;
    what lies outside becomes nodata (default: all of the raster)."""

    block_size: int | None
    """Size in px of the blocks: memory depends on it, the result does not."""

    overwrite: bool | None
    """Replace the output where it is there."""


class EvaluateArguments(TypedDict, total=False):
    """Of `geoseg.options.EvaluationOptions`."""

    task: Literal["semantic", "instance", "panoptic", "polygons"] | None
    """Metrics to compute: of pixels, objects, panoptic maps, or polygons (default: found from the inputs)."""

    classes: str | Sequence[int | str] | Mapping[int, str] | None
    """Classes to evaluate, by name or value, such as water,forest; or names for values: 1=water,2=forest (default:
    all)."""

    ignore: str | Sequence[int | str] | None
    """Classes of the ground truth to leave out, by name or value, such as 0,255."""

    region: RegionLike | None
    """Area to evaluate: a vector file of polygons, or bounds minx,miny,maxx,maxy with an optional CRS as fifth part
    (default: all of the ground truth)."""

    tolerance: str | float | None
    """Distance within which boundaries match, in pixels or metres: 2px or 5m."""

    class_column: str | None
    """Column of the classes in vector files (default: class)."""

    score_column: str | None
    """Column of the scores in vector files (default: score)."""

    scores: str | os.PathLike[str] | None
    """Table with the columns instance and score, for a raster of objects."""

    instances: str | os.PathLike[str] | None
    """Raster of the prediction's objects, beside its labels."""

    truth_instances: str | os.PathLike[str] | None
    """Raster of the ground truth's objects, beside its labels."""

    thing_classes: str | Sequence[int | str] | None
    """Classes of a panoptic map that have objects, by name or value (default: those with objects on most of their
    pixels)."""

    sizes: str | tuple[float, float] | None
    """Areas from which objects count as medium and as large, such as 100,1000: in m2, or in px without a CRS."""

    background: int | None
    """Value of pixels that no polygon covers, or that the prediction declares as nodata (default: 0 for polygons
    without classes)."""

    resolution: float | None
    """Ground sampling distance in metres at which two vector files are rasterized."""


class CompareArguments(WorkerArguments, ShapeArguments, total=False):
    """Of `geoseg.options.CompareOptions`."""

    task: Literal["semantic", "instance", "panoptic"] | None
    """What to compare: classes of pixels (semantic), objects (instance), or both (panoptic) (default: found from the
    inputs)."""

    classes: str | Sequence[int | str] | Mapping[int, str] | None
    """Classes of pixels to compare, by name or value, such as water,forest, all others as one; or names for values:
    1=water,2=forest (default: all)."""

    region: RegionLike | None
    """Area to compare: a vector file of polygons, or bounds minx,miny,maxx,maxy with an optional CRS as fifth part
    (default: all of the first map)."""

    unchanged: bool | None
    """Write polygons of pixels that kept their class too."""

    iou: float | None
    """Intersection over union from which an object counts as kept."""

    class_column: str | None
    """Column of the classes in vector files (default: class)."""

    background: int | None
    """Class of pixels that no polygon covers, or that a map declares as nodata (default: 0 for polygons without
    classes)."""

    resolution: float | None
    """Ground sampling distance in metres at which two vector files are rasterized to compare their classes."""

    block_size: int | None
    """Size in px of the blocks: memory depends on it, the result does not."""


class AreaArguments(TypedDict, total=False):
    """Of `geoseg.options.AreaOptions`."""

    zones: TableLike | None
    """Vector file of polygons, such as counties: areas by class within each."""

    zone_column: str | None
    """Column that names the zones (default: their numbers, from 1)."""

    sample: TableLike | None
    """Vector file of points with the class that was found there, of geoseg sample: areas are estimated by them, with
    their error."""

    reference_column: str | None
    """Column of the class of the points, by name or value."""

    unit: Literal["m2", "ha", "km2", "acres"] | None
    """Unit of areas."""

    confidence: float | None
    """Level of the confidence intervals of estimated areas, 0 to 1."""


class SampleArguments(TypedDict, total=False):
    """Of `geoseg.options.SampleOptions`."""

    size: int | None
    """Points of all classes, in proportion to their areas."""

    minimum: int | None
    """Points of a class at least, so that rare classes have an error too."""

    seed: int | None
    """Seed of all random numbers; the same one gives the same points."""


class PreviewArguments(TypedDict, total=False):
    """Of `geoseg.options.PreviewOptions`."""

    title: str | None
    """Title (default: the name of the imagery)."""

    credit: str | None
    """Attribution of the imagery (default: the catalog's)."""

    width: int | None
    """Width of the picture in px (default: 1800); a layout is as wide as its paper."""

    layout: Literal["a4", "a3", "letter"] | None
    """Paper of a layout with one map, legend, scale bar, north and graticule (default for .pdf and .svg: a4)."""

    show: Literal["imagery", "classes", "polygons"] | None
    """What the map of a layout shows (default: polygons where there are objects, else classes)."""


class TrainArguments(TypedDict, total=False):
    """Of `geoseg.options.TrainOptions`."""

    data: str | os.PathLike[str] | None
    """Folder of imagery and labels: where paths of a recipe are looked for that are not beside it."""

    output: str | os.PathLike[str] | None
    """Folder of the catalog entry to write (default: the recipe's output and name)."""

    export: str | os.PathLike[str] | None
    """Also write the model into one file, as geoseg models export does: .safetensors, .onnx or .pt2."""

    cross_validate: bool | None
    """Train once without each fold, evaluate each fold by the model that has not seen it, then train on everything."""

    folds: int | None
    """Number of folds (default: one an image, at most 10; else 5)."""

    fold_by: str | None
    """What stays together in a fold: image, block (squares of ground), or the name of a column of the label polygons
    (default: image where several have labels, else block)."""

    workers: int | None
    """Local worker processes that train folds side by side (default: one fold after another in this process)."""

    scheduler: str | None
    """Address of a Dask scheduler whose workers train the folds, such as tcp://host:8786."""

    init: str | None
    """Model of the catalog whose weights are the start."""

    freeze_encoder: bool | None
    """Keep the encoder as it was loaded, its statistics included, and train what follows it: for few labels."""

    steps: int | None
    """Steps of training."""

    early_stopping: int | None
    """Stop after so many epochs without a better score (default: never); with cross_validate, take the steps with the
    best mean score of the folds."""

    device: str | None
    """Device of the network: auto, cpu, cuda, cuda:1 or mps."""

    loaders: int | None
    """Processes that draw windows ahead of the network; they change no weight."""

    overwrite: bool | None
    """Train from the start, and replace the entry that is in the output folder."""
