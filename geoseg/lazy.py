"""The result as a lazy array: labels of a raster, georeferenced and chunked, computed when they are asked for.

The graph is the engine's, without a run folder: ``predict`` of a block, then ``finish`` with three neighbours' strips.
Nothing but a few windows is read, and no model is opened, until the array is computed, by any Dask scheduler; the
model is opened once a process, and goes when the computation has ended. The allocator's settings of
`geoseg.engine.WORKER_ENVIRONMENT` are read when a process starts, so it is for whoever starts it to give them; large
tiles gain 1.3 to 2 times the speed.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import dask.array as da
import numpy as np
import torch
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from geoseg.blending import Labels, Sums
from geoseg.catalog import find_model
from geoseg.errors import ModelError
from geoseg.grid import TileGrid
from geoseg.imagery import open_imagery
from geoseg.imagery.checking import check_values
from geoseg.models import Model, load_model, require_trust, wrap
from geoseg.models.background import with_background
from geoseg.models.spec import NODATA, ModelSpec
from geoseg.options import ImageryOptions, read_options
from geoseg.planning import RegionMask, tiling_of
from geoseg.raster import LOCAL, Raster
from geoseg.raster.options import configured
from geoseg.segmentation import Prediction, finish_block, predict_block
from geoseg.signatures import ImageryArguments
from geoseg.vector import RegionLike, is_bare, read_region

Network = torch.nn.Module | Callable[[torch.Tensor], torch.Tensor]


def segment(
    raster: Raster | str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, str],
    model: str | os.PathLike[str] | ModelSpec | Network,
    *,
    spec: ModelSpec | None = None,
    bands: list[str | int] | None = None,
    crs: str | int | None = None,
    resolution: float | None = None,
    tile_size: int | None = None,
    halo: int | None = None,
    ramp: int | None = None,
    block_tiles: int = 2,
    batch_size: int = 1,
    device: str = "cpu",
    trust_model: bool = False,
    region: RegionLike | None = None,
    threshold: float | None = None,
    **imagery: Unpack[ImageryArguments],
) -> xr.DataArray:
    """Label a raster lazily.

    Parameters
    ----------
    raster : Raster, path, list or dict
        As ``input`` of `geoseg.run`.
    model : str, path, ModelSpec, torch.nn.Module or callable
        A name in the catalog, the path of an MLM item, a spec, or a network of your own.
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
    block_tiles : int
        Tiles of a block, down and across; a block is a chunk of the result.
    batch_size : int
        Tiles per forward pass.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"mps"``.
    trust_model : bool
        As in `geoseg.run`.
    region : str, path, GeoDataFrame, GeoSeries, shapely geometry or Region, optional
        Where to label; everything else is nodata. As of `geoseg.vector.read_region`.
    threshold : float, optional
        Probability above which a binary or multi-label model gives a label; its own unless given.
    **imagery
        More options of imagery (docs/options.md), such as ``mosaic=``.

    Returns
    -------
    xarray.DataArray
        uint8 (y, x), 255 = nodata, with coordinates, CRS and class names (no CRS where pixels are plain);
        the same labels as `geoseg.run` writes.

    Raises
    ------
    ModelError
        A network without a spec, or a model that finds objects.
    GeosegError
        As `geoseg.run`, for whatever does not fit.
    """
    model = os.fspath(model) if isinstance(model, os.PathLike) else model
    given: dict[str, Any] = read_options(ImageryOptions, dict(imagery), "segment").model_dump(exclude_unset=True)
    network = None if isinstance(model, str | ModelSpec) else model
    promised = spec or (model if isinstance(model, ModelSpec) else _found(model))
    promised = with_background(promised if threshold is None else replace(promised, threshold=threshold))
    if promised.task != "semantic-segmentation":
        raise ModelError(
            f"model '{promised.name}' does {promised.task}, and objects are numbered over the whole raster; map it "
            "with geoseg.run(), and open instances.tif."
        )
    promised = promised if network is not None else _trusted(promised, trust_model=trust_model)
    if not isinstance(raster, Raster):
        near = None if region is None or is_bare(region) or crs == LOCAL else read_region(region)
        given |= {"bands": bands, "crs": crs, "resolution": resolution, "region": near}
    opened = raster if isinstance(raster, Raster) else _open(raster, promised, given)
    is_given = raster is opened or "scale" in given or "offset" in given
    check_values(opened, promised, is_given=is_given)
    place = None if region is None else RegionMask.of(region, opened)
    tiling = tiling_of(promised, opened.shape, tile_size=tile_size, halo=halo, ramp=ramp)
    grid = TileGrid(opened.shape, tiling, (block_tiles, block_tiles))
    key = tokenize(promised, device) if network is None else uuid.uuid4().hex
    return _array(_Recipe(opened, grid, batch_size, place, promised, device, network, key))


def _array(recipe: _Recipe) -> xr.DataArray:
    """Labels with coordinates, CRS and names of classes."""
    classes = recipe.spec.classes
    attributes: dict[str, Any] = {
        "flag_values": [item.value for item in classes],
        "flag_meanings": " ".join(item.name.replace(" ", "_") for item in classes),
    }
    result: xr.DataArray = wrap_xr(_labels(recipe), _labelled_grid(recipe.raster), nodata=NODATA, **attributes)
    return result.rename("labels")


def _open(raster: Any, spec: ModelSpec, imagery: Mapping[str, Any]) -> Raster:
    """Open imagery at the model's resolution, with its bands and in its units, unless said otherwise."""
    chosen = {"bands": imagery["bands"] or spec.bands, "resolution": imagery["resolution"] or spec.resolution}
    return open_imagery(raster, units=spec.units, **{**imagery, **chosen})


def _trusted(spec: ModelSpec, *, trust_model: bool) -> ModelSpec:
    """The model, which may run code only where a person trusts it."""
    spec = replace(spec, trust_model=trust_model or spec.trust_model)
    require_trust(spec)
    return spec


def _labelled_grid(raster: Raster) -> GeoBox:
    """The raster's grid; without its CRS where that is a local one, which odc-geo has no names of axes for."""
    crs = raster.crs
    is_local = crs is not None and crs.proj.is_engineering
    return GeoBox(raster.shape, raster.transform, None) if is_local else raster.geobox


def _found(model: str | Network) -> ModelSpec:
    if isinstance(model, str):
        return find_model(model)
    raise ModelError(f"model {type(model).__name__} comes without a description; give spec=ModelSpec(...) beside it.")


@dataclass(frozen=True)
class _Recipe:
    """What a computation begins with; a network of one's own stands here, and in no other task.

    ``key`` names it: a network of one's own is like no other.
    """

    raster: Raster
    grid: TileGrid
    batch_size: int
    region: RegionMask | None
    spec: ModelSpec
    device: str
    network: Network | None
    key: str


class _Source:
    """A recipe whose model is opened where it is first used, once; gone when the last block has used it."""

    def __init__(self, recipe: _Recipe) -> None:
        self.recipe = recipe
        self._lock = threading.Lock()
        self._model: Model | None = None

    def __reduce__(self) -> tuple[type[_Source], tuple[_Recipe]]:
        """Send the recipe, never the opened model."""
        return _Source, (self.recipe,)

    def open(self) -> Model:
        """Open the model."""
        with self._lock:
            if self._model is None:
                network, where = self.recipe.network, (self.recipe.spec, self.recipe.device)
                self._model = load_model(*where) if network is None else wrap(network, *where)
            return self._model


def _labels(recipe: _Recipe) -> da.Array:
    """Build the graph: one task that holds what all need, and two a block, keyed by its row and column."""
    grid, spec = recipe.grid, recipe.spec
    shape = None if recipe.region is None else recipe.region.region.geometry.wkb_hex
    name = f"segment-{tokenize(recipe.raster, recipe.key, grid, recipe.batch_size, shape)}"
    predicted, source = f"predict-{name}", f"source-{name}"
    graph: dict[Any, Any] = {source: (_Source, recipe)}
    for block in grid.blocks():
        place = (block.row, block.col)
        graph[(predicted, *place)] = (_predict, source, place)
        sources = grid.sources_of(block)
        strips = [(_strip, (predicted, *other), strip) for strip, other in sources.items()]
        graph[(name, *place)] = (_finish, (predicted, *place), list(sources), strips, spec)
    chunks = tuple(
        tuple(end - start for start, end in map(axis.block_core, range(axis.blocks))) for axis in (grid.rows, grid.cols)
    )
    return da.Array(HighLevelGraph.from_collections(name, graph), name, chunks, dtype=np.uint8)


@configured()
def _predict(source: _Source, place: tuple[int, int]) -> Prediction:
    recipe = source.recipe
    grid = recipe.grid
    block = grid.block(*place)
    return predict_block(recipe.raster, source.open(), grid, block, region=recipe.region, batch_size=recipe.batch_size)


def _strip(prediction: Prediction, name: str) -> Sums:
    strip: Sums = getattr(prediction.strips, name)
    return strip


def _finish(prediction: Prediction, names: list[str], strips: list[Sums], spec: ModelSpec) -> Labels:
    return finish_block(prediction, dict(zip(names, strips, strict=True)), spec)[0]
