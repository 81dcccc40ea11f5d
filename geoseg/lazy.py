"""The result as lazy arrays: rasters of labels and more, georeferenced and chunked, computed when they are asked for.

The graph is the engine's, without a run folder: ``predict`` of a block, then ``finish`` with three neighbours' strips;
where objects are told apart, ``unite`` those of all blocks, then ``number`` each block. Nothing but a few windows is
read, and no model is opened, until an array is computed, by any Dask scheduler; the model is opened once a process, and
goes when the computation has ended. The allocator's settings of `geoseg.engine.WORKER_ENVIRONMENT` are read when a
process starts, so they are set by the caller; large tiles gain 1.3 to 2 times the speed.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Unpack

import dask.array as da
import numpy as np
import torch
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from geoseg.blending import Sums
from geoseg.catalog import find_model
from geoseg.errors import ModelError, PlanError, WorkflowError, nearest
from geoseg.grid import TileGrid
from geoseg.imagery import open_imagery
from geoseg.imagery.checking import check_values
from geoseg.instances import InstanceTable, Meeting, MergedInstances, TileObjects, meet, paint_core, unite
from geoseg.models import load_model, require_trust, wrap
from geoseg.models.background import probable_classes, with_background
from geoseg.models.changing import changed
from geoseg.models.own import ModelLike, OwnModel, own_model
from geoseg.models.precision import Precision
from geoseg.models.runtimes import Runtime
from geoseg.models.spec import NODATA, ModelSpec, class_attributes
from geoseg.options import ImageryOptions, TilingOptions, read_options
from geoseg.planning import RegionMask, tiling_of
from geoseg.probabilities import as_floats
from geoseg.raster import LOCAL, Raster
from geoseg.raster.given import ImageryLike
from geoseg.raster.options import configured
from geoseg.segmentation import (
    Prediction,
    by_class,
    detect_block,
    finish_block,
    label_block,
    parse_block,
    predict_block,
)
from geoseg.signatures import ImageryArguments
from geoseg.store.label_store import as_levels
from geoseg.vector import RegionLike, is_bare, read_region

Network = torch.nn.Module | Callable[[torch.Tensor], torch.Tensor]

LARGEST = 400_000_000
"""Px of a raster whose objects are told apart in memory, about 12 bytes of each; a run has no such bound."""

Place = tuple[int, int]


@dataclass(frozen=True)
class Output:
    """A raster that `segment` gives.

    Attributes
    ----------
    dtype : numpy dtype
        Of its numbers.
    nodata : float
        The number of pixels without data, or without an object.
    of : str
        ``"stuff"``, ``"things"`` or ``"any"``: what the model has to tell for it.
    """

    dtype: str
    nodata: float
    of: str


MOST_BLOCKS = 100_000
"""Chunks of a lazy result: a graph holds all of them, a kilobyte and more each."""

OUTPUTS: Mapping[str, Output] = {
    "labels": Output("uint8", NODATA, "any"),
    "confidence": Output("uint8", 0, "any"),
    "instances": Output("uint32", 0, "things"),
    "probabilities": Output("float32", np.nan, "stuff"),
}
"""All rasters by name; `segment` and its graph read this table."""


def segment(
    raster: Raster | ImageryLike,
    model: ModelLike,
    *,
    outputs: str | Sequence[str] | None = None,
    spec: ModelSpec | None = None,
    bands: list[str | int] | None = None,
    crs: str | int | None = None,
    resolution: float | None = None,
    tile_size: int | None = None,
    halo: int | None = None,
    ramp: int | None = None,
    block_tiles: int | tuple[int, int] = 2,
    batch_size: int | Literal["auto"] = 1,
    device: str = "cpu",
    trust_model: bool = False,
    precision: Precision = "auto",
    compile: bool = False,  # noqa: A002 - the word of the option
    runtime: Runtime = "auto",
    region: RegionLike | None = None,
    weights: str | os.PathLike[str] | None = None,
    threshold: float | None = None,
    refine: str | Mapping[str, Any] | None = None,
    tta: bool | str | Mapping[str, Any] | None = None,
    **imagery: Unpack[ImageryArguments],
) -> Any:
    """Map a raster lazily.

    Parameters
    ----------
    raster : DataArray, Dataset, DatasetReader, path, list, dict or Raster
        As ``input`` of `geoseg.run`.
    model : str, path, ModelSpec, torch.nn.Module or callable
        A name in the catalog, the path of an MLM item, a spec, or a network of your own.
    outputs : str or sequence of str, optional
        What to give: ``"labels"``, ``"confidence"``, ``"instances"``, ``"probabilities"``. Labels unless given, and
        instances of a model that finds nothing but objects.
    spec : ModelSpec, optional
        What a network of your own promises; required with one.
    bands : list of str or int, optional
        The raster's bands, in the model's order.
    crs : str or int, optional
        CRS of rasters that have none: an EPSG code, or ``"local"`` for plain pixels.
    resolution : float, optional
        Metres on the ground per pixel at which the model looks; its own unless given.
    tile_size, halo, ramp : int, optional
        Px; the model's own unless given.
    block_tiles : int or tuple of int
        Tiles of a block, down and across; a block is a chunk of the result.
    batch_size : int
        Tiles per forward pass; ``"auto"`` is one.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"mps"``.
    trust_model : bool
        As in `geoseg.run`.
    region : str, path, GeoDataFrame, GeoSeries, shapely geometry or Region, optional
        Where to label; everything else is nodata. As of `geoseg.vector.read_region`.
    precision, compile, runtime
        As in `geoseg.run`.
    weights, threshold, refine, tta
        As in `geoseg.run`; the model's own unless given. A network of your own has its weights.
    **imagery
        More options of imagery (docs/options.md), such as ``mosaic=``; none beside a `Raster`, which is read as it is.

    Returns
    -------
    xarray.DataArray, or xarray.Dataset of several outputs
        With coordinates and CRS (none where pixels are plain), the same numbers as `geoseg.run` writes: ``labels``
        uint8 (y, x), 255 = nodata, with names and colours of the classes; ``confidence`` uint8, 255 = 1.0, 0 = nodata;
        ``instances`` uint32, 0 = none; ``probabilities`` float32 (class, y, x), of the integers that `geoseg.run`
        writes, NaN = nodata.

    Raises
    ------
    ModelError
        A network without a spec, or an output that the model does not have.
    PlanError
        Objects are wanted of a raster larger than `LARGEST`, or the result has more than `MOST_BLOCKS` chunks.
    WorkflowError
        An argument that is none of these, or has nothing to act on.
    GeosegError
        As `geoseg.run`, for whatever does not fit.
    """
    asked = {**imagery, "bands": bands, "crs": crs, "resolution": resolution}
    imagery_given = read_options(ImageryOptions, asked, "segment").model_dump(exclude_unset=True)
    changes = {"refine": refine, "tta": tta, "threshold": threshold, "trust_model": trust_model}
    tiled = {"tile_size": tile_size, "halo": halo, "ramp": ramp, "block_tiles": block_tiles, "batch_size": batch_size}
    division = read_options(TilingOptions, tiled, "segment")
    network, promised = _described(own_model(model, spec), weights, changes)
    wanted = _wanted(outputs, promised)
    opened = _opened(raster, promised, imagery_given, region)
    place = None if region is None else RegionMask.of(region, opened)
    grid = _grid(opened, promised, division)
    batch = 1 if division.batch_size == "auto" else division.batch_size
    settings = device, precision, compile, runtime
    key = tokenize(promised, *settings) if network is None else uuid.uuid4().hex
    keep = "probabilities" in wanted
    arrays = _arrays(_Recipe(opened, grid, batch, place, promised, settings, network, key, keep), wanted)
    return arrays[wanted[0]] if len(wanted) == 1 else xr.Dataset(arrays)


def _grid(raster: Raster, spec: ModelSpec, division: TilingOptions) -> TileGrid:
    """Divide a raster into tiles and chunks.

    Raises
    ------
    PlanError
        It has more chunks than a graph of Dask's can hold.
    """
    tiling = tiling_of(spec, raster.shape, tile_size=division.tile_size, halo=division.halo, ramp=division.ramp)
    tiles = division.block_tiles or 2
    grid = TileGrid(raster.shape, tiling, (tiles, tiles) if isinstance(tiles, int) else tiles)
    count = grid.rows.blocks * grid.cols.blocks
    if count > MOST_BLOCKS:
        height, width = raster.shape
        raise PlanError(
            f"the map of {width:,} x {height:,} px has {count:,} chunks, more than {MOST_BLOCKS:,}; check "
            "resolution, give a larger block_tiles, or use geoseg.run."
        )
    return grid


def _described(
    given: str | OwnModel, weights: str | os.PathLike[str] | None, changes: Mapping[str, Any]
) -> tuple[Network | None, ModelSpec]:
    """A network of one's own, and the spec of the model with its changes.

    Raises
    ------
    WorkflowError
        Weights for a network of one's own.
    ModelError
        The model has to be trusted first.
    """
    network = given.network if isinstance(given, OwnModel) else None
    if network is not None and weights is not None:
        raise WorkflowError("weights belong to a model of the catalog, and model is a network; load them into it.")
    spec = find_model(given) if isinstance(given, str) else given.spec
    spec = with_background(changed(spec, weights=None if weights is None else os.fspath(weights), **changes))
    if network is None:
        require_trust(spec)
    return network, spec


def _opened(
    raster: Raster | ImageryLike, spec: ModelSpec, imagery: Mapping[str, Any], region: RegionLike | None
) -> Raster:
    """Open imagery at the model's resolution, with its bands and in its units, unless said otherwise; check its values.

    Raises
    ------
    WorkflowError
        Options beside a raster that is opened already.
    """
    if isinstance(raster, Raster):
        _refuse(imagery)
        opened = raster
    else:
        near = None if region is None or is_bare(region) or imagery.get("crs") == LOCAL else read_region(region)
        own = {"bands": spec.bands, "resolution": spec.resolution}
        opened = open_imagery(raster, units=spec.units, dates=spec.dates, **{**own, **imagery, "region": near})
    check_values(opened, spec, is_given=raster is opened or "scale" in imagery or "offset" in imagery)
    return opened


def _wanted(outputs: str | Sequence[str] | None, spec: ModelSpec) -> list[str]:
    """Names of what is wanted of a model, each once.

    Raises
    ------
    WorkflowError
        There is no such output.
    ModelError
        The model does not have it.
    """
    if outputs is None:
        outputs = "labels" if spec.stuff else "instances"
    names = list(dict.fromkeys([outputs] if isinstance(outputs, str) else outputs))
    for name in names:
        if name not in OUTPUTS:
            raise WorkflowError(f"outputs has '{name}', which segment does not give; {nearest(name, list(OUTPUTS))}")
        if OUTPUTS[name].of == "things" and not spec.things:
            raise ModelError(f"model '{spec.name}' does {spec.task}, which tells no objects apart; leave '{name}' out.")
        if OUTPUTS[name].of == "stuff" and not spec.stuff:
            raise ModelError(f"model '{spec.name}' finds objects, and no pixel has {name}; leave '{name}' out.")
    if not names:
        raise WorkflowError("outputs is empty; name at least one, such as labels.")
    return names


def _refuse(imagery: Mapping[str, Any]) -> None:
    """Refuse what a raster that is opened cannot obey."""
    given = [name for name, value in imagery.items() if value is not None]
    if given:
        raise WorkflowError(
            f"{given[0]} cannot change a raster that is opened already; give it to geoseg.open_raster, or give "
            "geoseg.segment the path."
        )


def _labelled_grid(raster: Raster) -> GeoBox:
    """The raster's grid; without its CRS where that is a local one, which odc-geo has no names of axes for."""
    crs = raster.crs
    is_local = crs is not None and crs.proj.is_engineering
    return GeoBox(raster.shape, raster.transform, None) if is_local else raster.geobox


@dataclass(frozen=True)
class _Recipe:
    """What a computation begins with; a network of one's own stands here, and in no other task.

    ``settings`` are device, precision, whether to compile, and runtime; ``key`` names it: a network of one's own is
    like no other; ``keep_probabilities`` is as in `geoseg.segmentation.predict_block`.
    """

    raster: Raster
    grid: TileGrid
    batch_size: int
    region: RegionMask | None
    spec: ModelSpec
    settings: tuple[str, Precision, bool, Runtime]
    network: Network | None
    key: str
    keep_probabilities: bool


class _Source:
    """A recipe whose model is opened where it is first used, once; gone when the last block has used it."""

    def __init__(self, recipe: _Recipe) -> None:
        self.recipe = recipe
        self._lock = threading.Lock()
        self._model: Any = None

    def __reduce__(self) -> tuple[type[_Source], tuple[_Recipe]]:
        """Send the recipe, never the opened model."""
        return _Source, (self.recipe,)

    def open(self) -> Any:
        """Open the model."""
        with self._lock:
            if self._model is None:
                recipe, (device, precision, compiled, runtime) = self.recipe, self.recipe.settings
                opener = load_model if recipe.network is None else partial(wrap, recipe.network)
                self._model = opener(recipe.spec, device, precision=precision, compile=compiled, runtime=runtime)
            return self._model


def _arrays(recipe: _Recipe, wanted: Sequence[str]) -> dict[str, xr.DataArray]:
    """Each output with coordinates, CRS and names of classes."""
    name, tasks = _tasks(recipe)
    grid, spec, geobox = recipe.grid, recipe.spec, _labelled_grid(recipe.raster)
    chunks = tuple(
        tuple(end - start for start, end in map(axis.block_core, range(axis.blocks))) for axis in (grid.rows, grid.cols)
    )
    places, arrays = [(block.row, block.col) for block in grid.blocks()], {}
    for output in wanted:
        kind, layer = OUTPUTS[output], f"{output}-{name}"
        classes = [item.name for item in probable_classes(spec)] if output == "probabilities" else []
        bands = ((len(classes),),) if classes else ()
        parts = {(layer, *(0 for _ in bands), *place): (_part, (f"finish-{name}", *place), output) for place in places}
        graph = HighLevelGraph.from_collections(layer, tasks | parts)
        pixels = da.Array(graph, layer, bands + chunks, dtype=np.dtype(kind.dtype))
        attributes = class_attributes(spec) if output == "labels" else {}
        axes: dict[str, Any] = {"axis": 1, "dims": ("class", *geobox.dimensions)} if classes else {}
        arrays[output] = wrap_xr(pixels, geobox, nodata=kind.nodata, **axes, **attributes).rename(output)
        if classes:
            arrays[output] = arrays[output].assign_coords({"class": classes})
    return arrays


def _tasks(recipe: _Recipe) -> tuple[str, dict[Any, Any]]:
    """Build the graph: one task that holds what all need, and two a block, or four where objects are told apart."""
    grid, spec = recipe.grid, recipe.spec
    shape = None if recipe.region is None else recipe.region.region.geometry.wkb_hex
    keep = recipe.keep_probabilities
    name = f"segment-{tokenize(recipe.raster, recipe.key, grid, recipe.batch_size, shape, keep)}"
    source, united = f"source-{name}", f"unite-{name}"
    graph: dict[Any, Any] = {source: (_Source, recipe)}
    for block in grid.blocks():
        place = (block.row, block.col)
        sources = grid.sources_of(block)
        around = [(f"predict-{name}", *other) for other in (place, *sources.values())]
        strips = [(_strip, (f"predict-{name}", *other), strip) for strip, other in sources.items()]
        graph[(f"predict-{name}", *place)] = (_predict, source, place)
        if spec.things:
            graph[(f"meet-{name}", *place)] = (_meet, grid, place, around)
        things = (grid, place, united, around) if spec.things else ()
        graph[(f"finish-{name}", *place)] = (_finish, around[0], list(sources), strips, spec, keep, *things)
    if spec.things:
        _check_size(recipe)
        places = [(block.row, block.col) for block in grid.blocks()]
        columns = [(_columns, (f"predict-{name}", *place)) for place in places]
        graph[united] = (_unite, grid, columns, [(f"meet-{name}", *place) for place in places])
    return name, graph


def _check_size(recipe: _Recipe) -> None:
    height, width = recipe.raster.shape
    if height * width > LARGEST:
        raise PlanError(
            f"objects of a raster of {width:,} x {height:,} px are told apart in memory here, and {LARGEST:,} px are "
            "the most; map it with geoseg.run, which keeps them on disk."
        )


@dataclass(frozen=True, eq=False)
class _Predicted:
    """A block as its own tiles see it: labels of stuff, objects of tiles, or both."""

    stuff: Prediction | None
    tiles: dict[Place, TileObjects]


@configured()
def _predict(source: _Source, place: Place) -> _Predicted:
    recipe = source.recipe
    where = recipe.raster, source.open(), recipe.grid, recipe.grid.block(*place)
    how: dict[str, Any] = {"region": recipe.region, "batch_size": recipe.batch_size}
    if not recipe.spec.stuff:
        return _Predicted(None, detect_block(*where, **how))
    how["keep_probabilities"] = recipe.keep_probabilities
    if not recipe.spec.things:
        return _Predicted(predict_block(*where, **how), {})
    return _Predicted(*parse_block(*where, **how))


def _strip(predicted: _Predicted, name: str) -> Sums | None:
    strip: Sums | None = None if predicted.stuff is None else getattr(predicted.stuff.strips, name)
    return strip


def _columns(predicted: _Predicted) -> list[Any]:
    """Classes, scores and prompts of the objects of each tile."""
    return [(place, (item.classes, item.scores, item.prompts)) for place, item in predicted.tiles.items()]


def _look(around: list[_Predicted]) -> Callable[[int, int], TileObjects | None]:
    """Objects of the tiles around a block."""
    tiles = {place: item for predicted in around for place, item in predicted.tiles.items()}
    return lambda row, col: tiles.get((row, col))


def _meet(grid: TileGrid, place: Place, around: list[_Predicted]) -> Meeting:
    return meet(grid, grid.block(*place), _look(around))


def _unite(grid: TileGrid, columns: list[list[Any]], meetings: list[Meeting]) -> MergedInstances:
    table = InstanceTable.of(grid.cols.tiles, (item for block in columns for item in block))
    return unite(table, Meeting.of(meetings))


def _finish(
    predicted: _Predicted,
    names: list[str],
    strips: list[Any],
    spec: ModelSpec,
    keep_probabilities: bool,
    grid: TileGrid | None = None,
    place: Place = (0, 0),
    united: MergedInstances | None = None,
    around: list[_Predicted] | None = None,
) -> dict[str, NDArray[Any]]:
    """All outputs of a block by name; things lie over stuff."""
    parts: dict[str, NDArray[Any]] = {}
    if predicted.stuff is not None:
        pixels = finish_block(predicted.stuff, dict(zip(names, strips, strict=True)), spec)
        parts["labels"], parts["confidence"] = label_block(pixels, spec, len(predicted.stuff.strips.top))
        if keep_probabilities:
            parts["probabilities"] = as_floats(by_class(pixels, spec))
    if grid is None or united is None or around is None:
        return parts
    numbers = united.numbered(paint_core(grid, grid.block(*place), _look(around)))
    under = {
        "labels": np.full(numbers.shape, NODATA, np.uint8),
        "confidence": np.zeros(numbers.shape, np.uint8),
    } | parts
    is_thing, objects = numbers > 0, numbers[numbers > 0].astype(np.int64) - 1
    under["labels"][is_thing] = united.classes[objects]
    under["confidence"][is_thing] = as_levels(united.scores[objects])
    return under | {"instances": numbers}


def _part(parts: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    return parts[name]
