"""What decides the pixels of a raster, besides the model: files, how each is read, and where it lies on the grid.

As JSON values, for fingerprints: of the raster as a whole, and of each of its parts with the window that it covers, so
that two rasters of one grid can be compared block by block.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from geoseg.raster.fingerprints import content
from geoseg.raster.scenes import Scene

if TYPE_CHECKING:
    from geoseg.grid import Window
    from geoseg.raster.layers import PlacedSource
    from geoseg.raster.mosaic import Raster

_PLACES = "given", "path", "stamp", "units", "geobox", "array", "classes", "matrix", "origin", "attribution"
"""Fields of a source that say where it is, or what its numbers mean; its grid counts where it is resampled."""

_SHOWN = 8  # values of a field that a fingerprint spells out


def readings(pieces: tuple[PlacedSource, ...]) -> dict[str, Any]:
    """How files are read: the values of each field, those that differ once each, and a digest of all in their order."""
    found = [_reading(piece) for piece in pieces]
    names = sorted({name for reading in found for name in reading})
    return {
        **{name: list(dict.fromkeys(reading.get(name, "") for reading in found))[:_SHOWN] for name in names},
        "placing": _digest(found, [_place(piece) for piece in pieces]),
    }


def parts(raster: Raster, inputs: Iterable[Mapping[str, Any]]) -> list[list[list[Any]]]:
    """What lies over one another, layer by layer: rows of y, x, height, width (px of the raster) and a digest.

    A window of the raster is what the parts that share pixels with it are, in their order.

    Parameters
    ----------
    raster : Raster
        The raster.
    inputs : iterable of mapping
        Its files, by `Raster.fingerprint`.
    """
    files: dict[int, list[Any]] = {}
    for item in inputs:
        for number in item["sources"]:
            files.setdefault(number, []).append(content(item))
    digests = [_digest(files.get(number), _reading(piece), _place(piece)) for number, piece in enumerate(raster.pieces)]
    layers: list[list[list[Any]]] = []
    begin = 0
    for layer in raster.layers:
        layers.append([])
        for part in layer.parts:
            own = digests[begin : (begin := begin + len(part.all_pieces))]
            facts = (part.positions, _screen(part), own) if isinstance(part, Scene) else (layer.positions, *own)
            layers[-1].append(_part(part.extent, *facts))
    return layers


def _screen(scene: Scene) -> Sequence[Any]:
    """Which pixels of a scene are not used."""
    return () if scene.qa_mask is None else (scene.qa_mask.exclude, scene.qa_mask.bits)


def _part(extent: Window, *facts: Any) -> list[Any]:
    return [extent.y, extent.x, extent.height, extent.width, _digest(*facts)]


def _reading(piece: PlacedSource) -> dict[str, str]:
    """The fields of a source that decide pixels; as text, because NaN equals nothing."""
    source = piece.source
    return {item.name: str(getattr(source, item.name)) for item in fields(source) if item.name not in _PLACES}


def _place(piece: PlacedSource) -> list[Any]:
    """Where a file lies on the raster's grid, or how it is brought onto it."""
    if piece.resampled is None:
        return [*piece.origin, *piece.source.geobox.shape]
    own, grid = piece.source.geobox, piece.resampled.geobox
    crs = [] if own.crs == grid.crs else [str(own.crs), str(grid.crs)]
    return [piece.resampled.resampling, *own.transform[:6], *own.shape, *crs]


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
