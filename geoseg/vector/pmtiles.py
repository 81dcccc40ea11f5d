"""PMTiles: one file of vector tiles that a browser reads by ranges, from the zoom where a pixel is seen to an overview.

GDAL projects, cuts and packs the tiles (https://gdal.org/drivers/vector/pmtiles.html); what it cannot know is which
zooms the features are worth, and what stands in place of those that are too small to be seen. It knows streams of
features, and finds their detail in the first ones.
"""

from __future__ import annotations

import gzip
import json
import struct
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from math import ceil, log2, pi
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray
from pmtiles.reader import Reader, all_tiles
from pmtiles.tile import zxy_to_tileid
from pmtiles.writer import Writer
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

WHOLE = 3
"""Zooms that show the features themselves: at the smallest of them edges of pixels are a step long, or longer."""

CELL = 8
"""Steps in a cell of the smaller zooms, at least: with 512 pixels a tile that is one of them."""

ALL = {"MAX_SIZE": "4000000", "MAX_FEATURES": "1000000"}
"""Limits of a tile, bytes and features, that its cells cannot reach: GDAL would leave features out of a fuller one."""

COARSE = {"class": "int64", "name": "str"}
"""Columns of the smaller zooms."""

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
    overviews = stream.overviews
    edges = np.empty(0) if overviews is None else _edges(np.array(overviews.pixels, object), transformer)
    middle = max(smallest, largest - WHOLE + 1) if len(edges) else smallest
    with (
        _crowded_tiles_in_one_sentence(path.name),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".zooms-") as folder,
    ):
        parts = [Path(folder) / f"{zoom}.pmtiles" for zoom in range(smallest, middle + 1)]
        _write_zooms(parts[-1], stream.schema, chain([first], placed), layer, (middle, largest))
        for zoom, part in zip(range(smallest, middle), parts[:-1], strict=True):
            factor = 2 ** max(1, ceil(log2(CELL * _step(zoom) / float(np.median(edges)))))
            _write_overview(part, stream, layer, zoom, factor)
        _unite([part for part in parts if part.exists()], path)


def _write_zooms(
    path: Path,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    layer: str,
    zooms: tuple[int, int],
    **limits: str,
) -> None:
    """Write features in degrees into the tiles of some zooms, with limits of GDAL's other than it has."""
    write_layer(
        path,
        "PMTiles",
        schema,
        batches,
        layer=layer,
        crs=CRS.from_epsg(4326),
        geometry_type="Unknown",
        dataset_options={"MINZOOM": str(zooms[0]), "MAXZOOM": str(zooms[1]), **limits},
    )


def _write_overview(path: Path, stream: FeatureStream, layer: str, zoom: int, factor: int) -> None:
    """Write the tiles of a zoom at which features are too small; no file where nothing is left."""
    tables = () if stream.overviews is None else stream.overviews.tables(factor)
    coarse = FeatureStream(tables, stream.crs, COARSE, stream.geometry_type)
    placed = on_earth(coarse.record_batches(), stream.crs, path.name, HIGHEST)
    first = next(placed, None)
    if first is not None:
        _write_zooms(path, coarse.schema, chain([first], placed), layer, (zoom, zoom), **ALL)


def _unite(parts: Sequence[Path], path: Path) -> None:
    """Make one file of the tiles of several, the smallest zooms first; what the last says of them holds for all."""
    if len(parts) == 1:
        parts[0].replace(path)
        return
    smallest = int(parts[0].stem)
    with path.open("wb") as file:
        writer = Writer(file)
        writer.tile_f.close()  # in the system's folder, which may be memory
        writer.tile_f = tempfile.TemporaryFile(dir=parts[0].parent)  # noqa: SIM115 - the writer closes it
        for part in parts:
            with part.open("rb") as source, mmap(source.fileno(), 0, access=ACCESS_READ) as content:
                read = partial(_part_of, content)
                for place, tile in all_tiles(read):
                    writer.write_tile(zxy_to_tileid(*place), tile)
                reader = Reader(read)
                header, metadata = reader.header(), reader.metadata()
        for item in (metadata, *metadata["vector_layers"]):
            if "minzoom" in item:
                item["minzoom"] = type(item["minzoom"])(smallest)
        writer.finalize(header, metadata)


def _part_of(content: mmap, offset: int, length: int) -> bytes:
    """Bytes of a file."""
    return content[offset : offset + length]


def _step(zoom: int) -> float:
    """A step of a tile's coordinates, m of EPSG:3857."""
    return CIRCUMFERENCE / (EXTENT * 2.0**zoom)


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
    lengths = _edges(polygons, transformer)
    # The shortest ones of all may be rests of cuts.
    detail = float(np.quantile(lengths, 0.05)) if len(lengths) else CIRCUMFERENCE
    largest = min(max(ceil(log2(FINE * CIRCUMFERENCE / (EXTENT * detail))), 0), LARGEST_ZOOM)
    return max(largest - ZOOMS + 1, 0), largest


def _edges(polygons: NDArray[np.object_], transformer: Transformer) -> NDArray[np.float64]:
    """Lengths of edges in EPSG:3857, m, of those that have one."""
    moved = shapely.transform(polygons, transformer.transform, interleaved=False)
    xy, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(moved)), return_index=True)
    with np.errstate(invalid="ignore"):  # a pole lies at infinity
        lengths: NDArray[np.float64] = np.hypot(*np.diff(xy, axis=0).T)[ring[1:] == ring[:-1]]
    return lengths[np.isfinite(lengths) & (lengths > 0)]


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
