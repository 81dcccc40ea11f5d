"""A reader of vector tiles of its own, as Mapbox Vector Tile 2.1 describes them, with no validity mended."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pmtiles.reader import MmapSource, Reader, all_tiles

EXTENT = 4_096


def tiles_of(path: Path) -> Iterator[tuple[tuple[int, int, int], list[tuple[dict[str, Any], Any]]]]:
    """Zoom, column and row of each tile, and its features: what is said of them, and polygons in steps of the tile."""
    with path.open("rb") as file:
        for place, tile in all_tiles(MmapSource(file)):
            (layer,) = [value for number, value in _fields(gzip.decompress(tile)) if number == 3]
            yield place, _features(layer)


def about(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and metadata."""
    with path.open("rb") as file:
        reader = Reader(MmapSource(file))
        return reader.header(), reader.metadata()


def _features(layer: bytes) -> list[tuple[dict[str, Any], Any]]:
    parts = list(_fields(layer))
    names = [value.decode() for number, value in parts if number == 3]
    values = [_value(value) for number, value in parts if number == 4]
    assert [value for number, value in parts if number == 5] == [EXTENT]
    found = []
    for feature in (dict(_fields(value)) for number, value in parts if number == 2):
        tags = _integers(feature.get(2, b""))
        said = {names[key]: values[value] for key, value in zip(tags[::2], tags[1::2], strict=True)}
        assert feature[3] == 3, "a polygon"
        found.append((said, _polygons(_integers(feature[4]))))
    return found


def _polygons(commands: list[int]) -> Any:
    """Rings with a positive area in the tile, whose rows go down, are exteriors; the others are holes of the last."""
    rings, x, y, place = [], 0, 0, 0
    while place < len(commands):
        command, count = commands[place] & 7, commands[place] >> 3
        place += 1
        if command == 7:
            continue
        if command == 1:
            rings.append([])
        for _ in range(count):
            dx, dy = ((item >> 1) ^ -(item & 1) for item in commands[place : place + 2])
            x, y, place = x + dx, y + dy, place + 2
            rings[-1].append((x, y))
    polygons: list[tuple[Any, list[Any]]] = []
    for ring in rings:
        points = np.array(ring, np.int64)
        after = np.roll(points, -1, axis=0)
        if np.sum(points[:, 0] * after[:, 1] - after[:, 0] * points[:, 1]) > 0:
            polygons.append((ring, []))
        else:
            polygons[-1][1].append(ring)
    return shapely.MultiPolygon(polygons)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Fields of a protocol buffer: numbers and bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        if key & 7 == 0:
            value, place = _varint(message, place)
        else:
            size, place = (8, place) if key & 7 == 1 else (4, place) if key & 7 == 5 else _varint(message, place)
            value, place = message[place : place + size], place + size
        yield key >> 3, value


def _value(message: bytes) -> Any:
    ((number, value),) = _fields(message)
    if number == 1:
        return value.decode()
    if number in (2, 3):
        return float(np.frombuffer(value, np.float32 if number == 2 else np.float64)[0])
    return (value >> 1) ^ -(value & 1) if number == 6 else value


def _integers(packed: bytes) -> list[int]:
    found, place = [], 0
    while place < len(packed):
        value, place = _varint(packed, place)
        found.append(value)
    return found


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place
