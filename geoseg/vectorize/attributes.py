"""From faces in pixels to features on earth: coordinates, areas, perimeters, names and mean confidence.

It knows a transform, a CRS and the names of classes; it does not know blocks or files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from affine import Affine
from numba import njit
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.arcs.chains import Integers, offsets_of
from geoseg.arcs.faces import CERTAIN, Faces
from geoseg.arcs.rings import Rings, reverse
from geoseg.errors import VectorError
from geoseg.vectorize.areas import Floats, measure, placed

SCHEMA = pa.schema(
    {
        "class": pa.int64(),
        "name": pa.string(),
        "area_m2": pa.float64(),
        "perimeter_m": pa.float64(),
        "pixels": pa.int64(),
        "confidence": pa.float64(),
        "geometry": pa.binary(),
        "key": pa.int64(),
    }
)
"""Columns of features; ``geometry`` is WKB, and ``key`` sorts features and is not written to files."""

LARGEST = 2**31 - 1
"""Bytes that one Arrow array of WKB can hold."""

Bytes = NDArray[np.uint8]


def features(faces: Faces, transform: Affine, crs: Any, classes: Mapping[int, str]) -> pa.Table:
    """Place faces on earth and describe them.

    Parameters
    ----------
    faces : Faces
        Polygons in pixels, simplified or not.
    transform : Affine
        From column and row of a pixel corner to CRS coordinates; rotated and south-up ones too.
    crs : anything pyproj takes
        The raster's CRS, on any body.
    classes : mapping of int to str
        Names by label; a label without a name is called by its number.

    Returns
    -------
    pyarrow.Table
        One row for each group of faces, in their order, with the columns of `SCHEMA`: ``class``, ``name``, ``area_m2``
        and ``perimeter_m`` (of the polygon as it is, holes included, on the ellipsoid; NaN where the CRS has no place
        on it), ``pixels`` (of the faces), ``confidence`` (0 to 1, mean over the pixels, 4 decimals), ``geometry``
        (little-endian WKB of polygons in the CRS whose exteriors run counter-clockwise, of multipolygons for groups of
        several) and ``key`` (raster index of the first pixel).

    Raises
    ------
    CrsError
        The CRS has no horizontal coordinates.
    VectorError
        A polygon is larger than Arrow can hold.
    """
    # Canonical exteriors are counter-clockwise on a screen, whose rows go down.
    rings = reverse(faces.rings) if transform.determinant > 0 else faces.rings
    sizes = measure(rings, transform, CRS.from_user_input(crs))
    polygons = pa.chunked_array(_wkb(rings, placed(rings.xy, transform)), pa.binary())
    first = np.flatnonzero(np.diff(faces.group, prepend=-1))
    pixels = _summed(faces.pixels, first)
    columns = {
        "class": faces.label[first],
        "name": _names(faces.label[first], classes),
        "area_m2": _summed(sizes.area, first),
        "perimeter_m": _summed(sizes.perimeter, first),
        "pixels": pixels,
        "confidence": np.round(_summed(faces.confidence_sum, first) / (CERTAIN * pixels), 4),
        "geometry": polygons if len(first) == len(faces) else _collected(polygons, first),
        "key": faces.group[first],
    }
    return pa.table(columns, schema=SCHEMA)


def renamed(table: pa.Table, classes: Mapping[int, str]) -> pa.Table:
    """The same features with other names of classes."""
    names = _names(table.column("class").to_numpy(), classes)
    return table.set_column(table.column_names.index("name"), SCHEMA.field("name"), names)


def _summed(values: NDArray[Any], first: Integers) -> NDArray[Any]:
    """Sum up what follows one another, from each first one to the next."""
    return np.add.reduceat(values, first) if len(first) < len(values) else values


def _collected(polygons: pa.ChunkedArray, first: Integers) -> pa.Array:
    """Multipolygons, as well-known binary, of polygons that follow one another; one alone stays a polygon."""
    wkb = polygons.to_pylist()
    found = []
    for begin, end in pairwise([*first.tolist(), len(wkb)]):
        count = end - begin
        found.append(wkb[begin] if count == 1 else struct.pack("<BII", 1, 6, count) + b"".join(wkb[begin:end]))
    return pa.array(found, pa.binary())


def _names(label: Integers, classes: Mapping[int, str]) -> pa.Array:
    """The name of each class."""
    labels, index = np.unique(label, return_inverse=True)
    return pa.array([classes.get(int(label), str(label)) for label in labels], pa.string()).take(pa.array(index))


def _wkb(rings: Rings, xy: Floats) -> Iterator[pa.Array]:
    """Polygons as well-known binary, in arrays that Arrow can hold.

    OGC 06-103r4, section 8: of a polygon 1 byte order, uint32 type, uint32 number of rings; of each ring uint32
    number of vertices, and those as pairs of float64.
    """
    sizes = 9 + 4 * np.diff(rings.polygons) + 16 * np.diff(rings.rings[rings.polygons])
    if len(sizes) and sizes.max() > LARGEST:
        raise VectorError(
            f"a polygon with {int(sizes.max()) // 16} vertices does not fit 2 GiB; set max_vertices, or simplify more"
        )
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        last = int(np.searchsorted(ends, LARGEST + ends[first] - sizes[first], side="right"))
        begins = offsets_of(sizes[first:last])
        data = np.empty(begins[-1], np.uint8)
        _fill(data, rings.rings, rings.polygons[first : last + 1], xy.view(np.uint8))
        yield pa.Array.from_buffers(
            pa.binary(), last - first, [None, pa.py_buffer(begins.astype(np.int32)), pa.py_buffer(data)]
        )
        first = last


@njit(cache=True, nogil=True)
def _fill(data: Bytes, rings: Integers, polygons: Integers, vertices: Bytes) -> None:
    """Write polygons one after another; ``vertices`` has a row of 16 bytes for each pair of coordinates."""
    place = 0
    for polygon in range(len(polygons) - 1):
        data[place] = 1
        place = _fill_number(data, place + 1, 3)
        place = _fill_number(data, place, polygons[polygon + 1] - polygons[polygon])
        for ring in range(polygons[polygon], polygons[polygon + 1]):
            place = _fill_number(data, place, rings[ring + 1] - rings[ring])
            for vertex in range(rings[ring], rings[ring + 1]):
                data[place : place + 16] = vertices[vertex]
                place += 16


@njit(cache=True, nogil=True)
def _fill_number(data: Bytes, place: int, number: int) -> int:
    """Write a little-endian uint32; returns the place after it."""
    for byte in range(4):
        data[place + byte] = (number >> (8 * byte)) & 255
    return place + 4
