"""PMTiles: one file of vector tiles that a browser reads by ranges, from the zoom where a pixel is seen to an overview.

GDAL projects, cuts and packs the tiles (https://gdal.org/drivers/vector/pmtiles.html); what it cannot know is which
zooms the features are worth. It knows streams of features, and finds their detail in the first ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from math import ceil, log2, pi
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.errors import FormatWarning, VectorError
from geoseg.vector.gdal import EARTHLY, earth_transformer, write_layer
from geoseg.vector.stream import FeatureStream
from geoseg.vector.wkb import decode

CIRCUMFERENCE = 2 * pi * 6_378_137
"""Width of zoom 0 in EPSG:3857, m."""

EXTENT = 4_096
"""Steps of the coordinates in a tile, along each axis."""

FINE = 4
"""Steps in the shortest edges at the largest zoom, at least."""

ZOOMS = 7
"""Number of zooms; at the smallest one an edge of a pixel is about a sixteenth of a step. Each costs the same time."""

LARGEST_ZOOM = 22
"""The last zoom that GDAL writes."""

SAMPLE = 1_000
"""Features whose edges are measured."""


def write_pmtiles(path: Path, stream: FeatureStream, layer: str) -> None:
    """Write vector tiles in EPSG:3857.

    Parameters
    ----------
    path : Path
        The file.
    stream : FeatureStream
        The features.
    layer : str
        Name of the layer in each tile.

    Raises
    ------
    VectorError
        There are no features, the CRS has no place on earth, or GDAL has no such driver.

    Warns
    -----
    FormatWarning
        A tile held more than GDAL's limit of 500 kB, as the overviews of large maps do.
    """
    if "w" not in pyogrio.list_drivers().get("PMTiles", ""):
        raise VectorError(
            f"'{path.name}' is refused: GDAL {pyogrio.__gdal_version_string__} cannot write PMTiles; "
            "install pyogrio from its wheel, or write .fgb"
        )
    transformer = earth_transformer(stream.crs, "EPSG:3857", EARTHLY["PMTiles"])
    batches = stream.record_batches()
    first = next(batches, None)
    if first is None:
        raise VectorError(f"'{path.name}' would have no features, which PMTiles cannot hold; write .fgb or .gpkg")
    smallest, largest = zooms(decode(first.column("geometry").slice(0, SAMPLE)), transformer)
    with _crowded_tiles_in_one_sentence(path.name):
        write_layer(
            path,
            "PMTiles",
            stream.schema,
            chain([first], batches),
            layer=layer,
            crs=stream.crs,
            geometry_type=stream.geometry_type,
            dataset_options={"MINZOOM": str(smallest), "MAXZOOM": str(largest)},
        )


def zooms(polygons: NDArray[np.object_], transformer: Transformer) -> tuple[int, int]:
    """Choose the zooms for features.

    The largest is the first whose steps, ``CIRCUMFERENCE / (EXTENT * 2**zoom)``, are at most a quarter of the short
    edges of the features; these are about a pixel long, where features were traced from a raster.

    Parameters
    ----------
    polygons : object, shape (feature,)
        Some of the features.
    transformer : Transformer
        To EPSG:3857.

    Returns
    -------
    tuple of int
        The smallest and the largest zoom.
    """
    moved = shapely.transform(polygons, transformer.transform, interleaved=False)
    xy, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(moved)), return_index=True)
    lengths = np.hypot(*np.diff(xy, axis=0).T)[ring[1:] == ring[:-1]]
    lengths = lengths[np.isfinite(lengths) & (lengths > 0)]
    # The shortest ones of all may be rests of cuts.
    detail = float(np.quantile(lengths, 0.05)) if len(lengths) else CIRCUMFERENCE
    largest = min(max(ceil(log2(FINE * CIRCUMFERENCE / (EXTENT * detail))), 0), LARGEST_ZOOM)
    return max(largest - ZOOMS + 1, 0), largest


@contextmanager
def _crowded_tiles_in_one_sentence(name: str) -> Iterator[None]:
    """Put GDAL's warning of tiles that are too large into words of ours, and pass on any other."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if "maximum tile size" in str(warning.message):
            warnings.warn(
                f"'{name}' shows crowded tiles coarser than they are, since a tile holds 500 kB; write .gpkg too for "
                "every detail",
                FormatWarning,
                stacklevel=3,
            )
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
