"""A zoom of a tile service as a raster: windows are put together of its pictures.

It knows where tiles lie and what a picture must be; how a service says where its tiles are stands in
`geoseg.imagery.tile_services`, how they are fetched in `geoseg.raster.tile_cache`.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image

from geoseg.errors import RasterReadError, WorkflowError
from geoseg.grid import Window
from geoseg.raster.addresses import unsigned
from geoseg.raster.bands import BandRequest
from geoseg.raster.header import Header
from geoseg.raster.source import Source
from geoseg.raster.tile_cache import CONNECTIONS, fetch

CHANNELS = "red", "green", "blue", "alpha"
"""What the pixels of every picture are brought to, grey ones and those with a palette too."""

_FORMATS = "PNG", "JPEG", "WEBP"
_MODES = "1", "L", "LA", "P", "PA", "RGB", "RGBA"  # of 8 bits or less, which RGBA holds
_VARIABLE = re.compile(r"(\$?)\{([^{}]+)\}")
_SUBDOMAINS = re.compile(r"switch:([^,]+).*|([a-z0-9])-[a-z0-9]")


@dataclass(frozen=True)
class TileMatrix:
    """One zoom of a tile service.

    Attributes
    ----------
    given : str
        The service as a person wrote it.
    template : str
        Address of a tile, with variables such as ``{z}``.
    name : str
        Its zoom, or its identifier of a WMTS.
    geobox : GeoBox
        All of its pixels.
    tile : (int, int)
        Height and width of a tile, px.
    """

    given: str
    template: str
    name: str
    geobox: GeoBox
    tile: tuple[int, int]

    def sized(self, tile: tuple[int, int]) -> Self:
        """Return the matrix of the same tiles with another number of pixels."""
        tall, wide = (own / other for own, other in zip(self.tile, tile, strict=True))
        shape = round(self.geobox.shape[0] / tall), round(self.geobox.shape[1] / wide)
        geobox = GeoBox(shape, self.geobox.transform @ Affine.scale(wide, tall), self.geobox.crs)
        return type(self)(self.given, self.template, self.name, geobox, tile)

    def address(self, row: int, column: int) -> str:
        """The address of a tile; of several servers the first is asked, because they are one.

        Raises
        ------
        WorkflowError
            The template has a variable that is not known.
        """
        height, width = self.tile
        left, top = self.geobox.transform @ (column * width, row * height)
        right, bottom = self.geobox.transform @ ((column + 1) * width, (row + 1) * height)
        values: dict[str, Any] = {
            "z": self.name, "x": column, "y": row, "-y": self.geobox.shape[0] // height - 1 - row,
            "TileMatrix": self.name, "TileCol": column, "TileRow": row, "s": "a", "r": "",
            "bbox-epsg-3857": f"{left!r},{bottom!r},{right!r},{top!r}", "width": width, "height": height,
        }  # fmt: skip
        if "{q}" in self.template:
            digits = ((row >> bit & 1) * 2 + (column >> bit & 1) for bit in reversed(range(int(self.name))))
            values["q"] = "".join(map(str, digits))

        def value(variable: re.Match[str]) -> str:
            if variable[1] and variable[2] in os.environ:
                return os.environ[variable[2]]
            if server := _SUBDOMAINS.fullmatch(variable[2]):
                return server[1] or server[2]
            if variable[1] or variable[2] not in values:
                raise WorkflowError(
                    f"'{self.given}' has {variable[0]}, which is "
                    f"{'not set in the environment' if variable[1] else 'no variable of a tile'}; write its value, or "
                    "${NAME} for one of the environment."
                )
            return str(values[variable[2]])

        return _VARIABLE.sub(value, self.template)

    def read(self, row: int, column: int, tile: tuple[int, int] | None = None) -> NDArray[np.uint8] | None:
        """Read a tile: uint8 (4, y, x); None where the service has none.

        Parameters
        ----------
        row, column : int
            Its place, counted from the upper left corner.
        tile : (int, int), optional
            The size that it must have.

        Raises
        ------
        RasterReadError
            It cannot be fetched, or is no such picture.
        """
        service = hashlib.sha256(unsigned(self.template).encode()).hexdigest()[:16]
        name = f"tile {self.name}/{column}/{row} of '{unsigned(self.given)}'"
        return fetch(
            self.address(row, column),
            Path(service, re.sub(r"[^\w.-]", "_", self.name), str(column), str(row)),
            row + column,
            name,
            lambda content: _picture(content, tile, name) if content else None,
        )


@dataclass(frozen=True)
class TileSource(Source):
    """The chosen bands of a part of a tile matrix.

    Attributes
    ----------
    matrix : TileMatrix
        All tiles.
    origin : (int, int)
        Row and column of the matrix at which the source's pixel (0, 0) lies.
    """

    matrix: TileMatrix = field(default=None, repr=False)  # type: ignore[assignment]  # fields before it have defaults
    origin: tuple[int, int] = (0, 0)
    is_file: ClassVar[bool] = False

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window, as `Source.read`: nothing is valid where the service has no tile, or a transparent one.

        Raises
        ------
        RasterReadError
            A tile cannot be fetched, or is no picture of the size of the others.
        """
        height, width = self.matrix.tile
        whole = Window(window.y + self.origin[0], window.x + self.origin[1], *window.shape)
        layers = np.zeros((len(CHANNELS), *window.shape), np.uint8)

        def paste(place: tuple[int, int]) -> None:
            tile = Window(place[0] * height, place[1] * width, height, width)
            shared = tile.intersect(whole)
            picture = self.matrix.read(*place, self.matrix.tile)
            if picture is not None:
                layers[(..., *shared.relative_to(whole).slices())] = picture[(..., *shared.relative_to(tile).slices())]

        rows = range(whole.y // height, (whole.bottom - 1) // height + 1)
        columns = range(whole.x // width, (whole.right - 1) // width + 1)
        pool = ThreadPoolExecutor(CONNECTIONS)
        try:
            list(pool.map(paste, product(rows, columns)))
        finally:
            pool.shutdown(cancel_futures=True)
        bands = [*self.indexes, *([] if self.alpha is None else [self.alpha])]
        return self.finished(layers[[band - 1 for band in bands]].astype(self.dtype, copy=False), None)

    @property
    def chunk_bytes(self) -> int:
        """Memory of the pictures that are decoded at once, and of the window in RGBA."""
        height, width = self.matrix.tile
        return CONNECTIONS * len(CHANNELS) * height * width

    def identity(self) -> dict[str, Any]:
        """Identify what is read by where it comes from: nobody can compare the content of a service."""
        address = unsigned(self.matrix.template)
        place = {"address": address, "zoom": self.matrix.name, "origin": list(self.origin)}
        said = {"attribution": self.attribution} if self.attribution else {}
        return {"path": unsigned(self.given), "absolute": address, "mtime_ns": None, "tiles": place, **said}


@dataclass(frozen=True)
class TilesHeader(Header):
    """What is known of a part of a tile matrix.

    Attributes
    ----------
    matrix, origin
        As of `TileSource`.
    """

    matrix: TileMatrix = field(default=None, repr=False)  # type: ignore[assignment]  # fields before it have defaults
    origin: tuple[int, int] = (0, 0)

    def select(self, wanted: Sequence[BandRequest] | None) -> tuple[Source, tuple[str, ...]]:
        """Choose bands, as `Header.select`."""
        source, names = super().select(wanted)
        return TileSource(**vars(source), matrix=self.matrix, origin=self.origin), names


def _picture(content: bytes, tile: tuple[int, int] | None, name: str) -> NDArray[np.uint8]:
    """The pixels of a picture: uint8 (4, y, x)."""
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            width, height = image.size
            if tile is not None and (height, width) != tile:
                raise RasterReadError(
                    f"{name} has {width} x {height} px and the others {tile[1]} x {tile[0]}, so it stands for one that "
                    "is missing; give another --zoom, or a region that the service covers."
                )
            if image.mode not in _MODES:
                raise RasterReadError(
                    f"{name} holds pixels of the kind {image.mode}, and imagery is read from pictures of 8 bits; give "
                    "another layer or format of the service."
                )
            return np.ascontiguousarray(np.moveaxis(np.asarray(image.convert("RGBA")), -1, 0))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, RasterReadError):
            raise
        start = content[:40].decode("ascii", "replace")
        raise RasterReadError(
            f"{name} is no whole PNG, JPEG or WebP picture, it begins with {start!r}; open its address in a browser to "
            "see what the server says."
        ) from error
