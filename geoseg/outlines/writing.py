"""The polygons of an outline, in raster order, streamed; and to a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from geoseg.outlines.clipping import clip
from geoseg.outlines.merging import merge
from geoseg.outlines.objects import COLUMNS as OF_OBJECTS
from geoseg.outlines.overviews import overviews_of
from geoseg.outlines.plan import OutlinePlan
from geoseg.outlines.regularizing import regularize
from geoseg.tree import Place
from geoseg.vector import COLUMNS, Partition, StyledClass, write_features
from geoseg.vector.wkb import decode, encode
from geoseg.vectorize import renamed

TAGGED = ".geojson"
"""The format that takes tags: what editors of OpenStreetMap read."""


@dataclass(frozen=True)
class OutlineIndex:
    """Where the features of all blocks and nodes lie in raster order.

    Attributes
    ----------
    places : tuple of Place
        The blocks, then the nodes.
    keys : tuple of int64 array, shape (feature,)
        Of the features of each place.
    sizes : tuple of int32 array, shape (feature,)
        Bytes of their geometries.
    """

    places: tuple[Place, ...]
    keys: tuple[NDArray[np.int64], ...]
    sizes: tuple[NDArray[np.int32], ...]

    @classmethod
    def read(cls, plan: OutlinePlan) -> OutlineIndex:
        """Read the keys of a plan's features, and check every file as a whole.

        Raises
        ------
        DamagedError
            A file of the folder is missing or damaged.
        """
        places = (*plan.tree.blocks(), *plan.tree.nodes())
        keys, sizes = zip(*map(plan.folder.read_keys, places), strict=True) if places else ((), ())
        return cls(places, keys, sizes)


def read_outlines(
    plan: OutlinePlan,
    columns: Sequence[str] | None = None,
    *,
    min_area: float | None = None,
    index: OutlineIndex | None = None,
) -> Iterator[pa.Table]:
    """Read the features of all blocks and nodes as they are written to files, but for the names of classes.

    Parameters
    ----------
    plan : OutlinePlan
        Whose polygons are all on disk.
    columns : sequence of str, optional
        The only ones that are read besides ``key``, of a plan whose features are written as they were traced.
    min_area : float, optional
        Smallest ``area_m2``, of such a plan; it must be one of the columns.
    index : OutlineIndex, optional
        Read already.

    Yields
    ------
    Table
        Features in raster order, some ten thousand at once.

    Raises
    ------
    DamagedError
        A file of the folder is missing or damaged.
    """
    index = index or OutlineIndex.read(plan)
    chosen = None if columns is None else [*columns, "key"]
    read = partial(_read_large, plan, columns=chosen, min_area=min_area)
    bands = merge(index.keys, index.sizes, [partial(read, place) for place in index.places])
    if plan.tolerance is not None:
        bands = regularize(bands, plan)
        if plan.region is not None:
            bands = map(partial(clip, region=plan.region, transform=plan.transform, crs=plan.crs), bands)
    return bands if plan.objects is None else plan.objects.describe(bands, plan.names)


def write_outlines(
    plan: OutlinePlan,
    path: Path,
    layer: str,
    style: Sequence[StyledClass] | None,
    partition: Partition | None = None,
) -> int:
    """Write the features of all blocks and nodes.

    Parameters
    ----------
    plan : OutlinePlan
        Whose polygons are all on disk.
    path : Path
        The vector file; its ending chooses the format.
    layer : str
        Name of the layer.
    style : sequence of StyledClass, optional
        Colours and names of the classes.
    partition : str, optional
        How GeoParquet is partitioned.

    Returns
    -------
    int
        Number of features.
    """
    bands = read_outlines(plan)
    geometry: Literal["Polygon", "MultiPolygon"] = "Polygon" if plan.shaping.connectivity == 4 else "MultiPolygon"
    is_tagged = bool(plan.tags) and path.suffix.lower() == TAGGED
    write = partial(
        write_features,
        path,
        layer=layer,
        crs=plan.crs,
        style=None if is_tagged else style,
        partition=partition,
        overviews=overviews_of(plan),
    )
    if is_tagged:
        tagged = (_tagged(band, plan.tags) for band in bands)
        return write(batches=tagged, geometry_type="Polygon", columns=dict.fromkeys(plan.tags, "str"))
    if plan.objects is None:
        columns = {name: kind for name, kind in COLUMNS.items() if name != "confidence" or plan.source.has_confidence}
        named = (renamed(band, plan.names) for band in bands)
        return write(batches=named, geometry_type=geometry, columns=columns)
    return write(batches=bands, geometry_type="MultiPolygon", columns=OF_OBJECTS)


def _read_large(
    plan: OutlinePlan, place: Place, begin: int, end: int, *, columns: Sequence[str] | None, min_area: float | None
) -> pa.Table:
    """Read the features of a place that are not too small."""
    table = plan.folder.read_features(place, begin, end, columns=columns)
    return table if min_area is None else table.filter(pc.greater_equal(table.column("area_m2"), min_area))


def _tagged(table: pa.Table, tags: Mapping[str, str]) -> pa.Table:
    """Each part as a feature with tags alone."""
    parts = shapely.get_parts(decode(table.column("geometry")))
    columns = {key: pa.array([value] * len(parts), pa.string()) for key, value in tags.items()}
    return pa.table(columns | {"geometry": encode(parts)})
