"""PMTiles: one file of vector tiles that a browser reads by ranges, from the zoom where a pixel is seen to an overview.

GDAL projects, cuts and packs the tiles (https://gdal.org/drivers/vector/pmtiles.html); what it cannot know is which
zooms the features are worth. It knows streams of features, and finds their detail in the first ones.
"""

from __future__ import annotations

import gzip
import json
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from math import ceil, log2, pi
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoseg.errors import FormatWarning, VectorError
from geoseg.vector.earth import EARTHLY, earth_transformer, on_earth
from geoseg.vector.gdal import write_layer
from geoseg.vector.stream import FeatureStream
from geoseg.vector.wkb import decode

CIRCUMFERENCE = 2 * pi * 6_378_137
"""Width of zoom 0 in EPSG:3857, m."""

EXTENT = 4_096
"""Steps of the coordinates in a tile, along each axis."""

HIGHEST = 85.0511287798066
"""Latitude, degrees, at which the square map of EPSG:3857 ends."""

FINE = 4
"""Steps in the shortest edges at the largest zoom, at least."""

ZOOMS = 7
"""Number of zooms; at the smallest one an edge of a pixel is about a sixteenth of a step. Each costs the same time."""

LARGEST_ZOOM = 22
"""The last zoom that GDAL writes."""

HEADER = 127
"""Bytes of the header."""

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
        The CRS has no place on earth, or GDAL has no such driver.

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
    own = list(islice(batches := stream.record_batches(), 1))
    placed = on_earth(chain(own, batches), stream.crs, path.name, HIGHEST)
    first = next(placed, None)
    if first is None:
        path.write_bytes(empty_tiles(layer, stream.schema.names[:-1]))
        return
    smallest, largest = zooms(decode(own[0].column("geometry").slice(0, SAMPLE)), transformer)
    with _crowded_tiles_in_one_sentence(path.name):
        write_layer(
            path,
            "PMTiles",
            stream.schema,
            chain([first], placed),
            layer=layer,
            crs=CRS.from_epsg(4326),
            geometry_type="Unknown",
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
    with np.errstate(invalid="ignore"):  # a pole lies at infinity
        lengths = np.hypot(*np.diff(xy, axis=0).T)[ring[1:] == ring[:-1]]
    lengths = lengths[np.isfinite(lengths) & (lengths > 0)]
    # The shortest ones of all may be rests of cuts.
    detail = float(np.quantile(lengths, 0.05)) if len(lengths) else CIRCUMFERENCE
    largest = min(max(ceil(log2(FINE * CIRCUMFERENCE / (EXTENT * detail))), 0), LARGEST_ZOOM)
    return max(largest - ZOOMS + 1, 0), largest


def empty_tiles(layer: str, columns: list[str]) -> bytes:
    """Tiles of a layer without features, which GDAL does not write: one tile of zoom 0 with an empty layer.

    PMTiles 3 (https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md), sections 3 to 5; Mapbox Vector Tile 2.1,
    section 4.

    Parameters
    ----------
    layer : str
        Its name.
    columns : list of str
        Its columns.

    Returns
    -------
    bytes
        The file.
    """
    fields = dict.fromkeys(columns, "String")
    layers = [{"id": layer, "fields": fields, "minzoom": 0, "maxzoom": 0}]
    metadata = gzip.compress(json.dumps({"name": layer, "vector_layers": layers}).encode(), mtime=0)
    message = _field(1, layer.encode()) + b"\x28\x80\x20\x78\x02"  # the layer: its name, extent 4,096, version 2
    tile = gzip.compress(_field(3, message), mtime=0)
    directory = gzip.compress(b"\x01\x00\x01" + _varint(len(tile)) + b"\x01", mtime=0)
    ends = np.cumsum([HEADER, len(directory), len(metadata)]).tolist()
    places = (ends[0], len(directory), ends[1], len(metadata), ends[2], 0, ends[2], len(tile))
    bounds = (-1_800_000_000, -850_000_000, 1_800_000_000, 850_000_000)
    header = struct.pack("<7sB11Q6B4iB2i", b"PMTiles", 3, *places, 1, 1, 1, 1, 2, 2, 1, 0, 0, *bounds, 0, 0, 0)
    return header + directory + metadata + tile


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, as protocol buffers have it."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


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
