"""From the address of a tile service to the zoom that is read of it: templates, TileJSON, capabilities of a WMTS.

It knows how services describe themselves, and chooses a zoom for a place; how tiles are fetched stands elsewhere.

Sources: TileJSON 3.0.0; OGC 07-057r7, WMTS 1.0.0, section 6.1 (pixels of 0.28 mm); the tiles of EPSG:3857 as
OpenStreetMap, Google and Bing number them.
"""

from __future__ import annotations

import html
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import numpy as np
import requests
from affine import Affine
from odc.geo.geobox import GeoBox

from geoseg.errors import CatalogError, RegionError, WorkflowError
from geoseg.grid import Window
from geoseg.imagery.gridding import window_of
from geoseg.raster.addresses import is_tile_template, is_wmts, unsigned
from geoseg.raster.bands import FileBand
from geoseg.raster.placing import SAME_RESOLUTION, ground_resolution, named_crs
from geoseg.raster.tile_cache import session
from geoseg.raster.tiles import CHANNELS, TileMatrix, TilesHeader
from geoseg.vector import Region

DEEPEST = 22
"""Zoom up to which one is chosen where a service does not say how far its zooms go."""

MOST_ZOOMS = 30
"""The largest zoom that TileJSON 3.0 knows; more is asked for by mistake."""

_SIDE = 256  # px of a tile, unless its pictures are larger
_PIXEL = 0.28e-3  # m, of a WMTS's scale denominators
_RADIUS = 6_378_137.0  # m, of EPSG:3857; also what a WMTS counts degrees by
_TIMEOUT = 30.0  # s


@dataclass(frozen=True)
class TileService:
    """A tile service as it describes itself.

    Attributes
    ----------
    given : str
        As a person wrote it.
    matrices : tuple of TileMatrix
        Its zooms, the coarsest first.
    attribution : str
        Whose imagery it is, and its terms; empty where it does not say.
    """

    given: str
    matrices: tuple[TileMatrix, ...]
    attribution: str = ""


@dataclass(frozen=True)
class TileRequest:
    """What is wanted of tile services: a region, at a zoom or a resolution in metres on the ground."""

    region: Region | None
    zoom: int | None
    resolution: float | None

    def open(self, service: TileService) -> TilesHeader:
        """Choose a zoom, and look whether the service has tiles there.

        Raises
        ------
        WorkflowError
            There is no region, or no such zoom.
        RegionError
            The region lies outside of the service, or none of five tiles of it is there.
        RasterReadError
            The service does not answer, or refuses.
        """
        if self.region is None:
            raise WorkflowError(
                f"'{service.given}' is a tile service without an end; give --region with the area to map."
            )
        matrix = self._choose(service, self.region)
        tile = _look(matrix, _window(self.region, matrix))
        if tile != matrix.tile:
            service = replace(service, matrices=tuple(other.sized(tile) for other in service.matrices))
            matrix = self._choose(service, self.region)
        window = _window(self.region, matrix)
        geobox = _part(matrix, window)
        kinds = np.dtype(np.uint8)
        return TilesHeader(
            given=service.given,
            path=matrix.template,
            geobox=geobox,
            bands=tuple(FileBand(index, name, name) for index, name in enumerate(CHANNELS, 1)),
            dtypes=(kinds,) * len(CHANNELS),
            nodata=(None,) * len(CHANNELS),
            masked=(False,) * len(CHANNELS),
            units=(None,) * len(CHANNELS),
            notes=(f"zoom {matrix.name} is read, {max(ground_resolution(geobox)):.3g} m on the ground",),
            matrix=matrix,
            origin=(window.y, window.x),
            attribution=service.attribution,
        )

    def _choose(self, service: TileService, region: Region) -> TileMatrix:
        """The zoom that is asked for; else the coarsest that is as fine as the resolution, or the finest there is."""
        if self.zoom is not None:
            named = [item for item in service.matrices if re.fullmatch(rf"(.*\D)?0*{self.zoom}", item.name)]
            if not named:
                names = ", ".join(matrix.name for matrix in service.matrices)
                raise WorkflowError(f"'{service.given}' has no zoom {self.zoom}; give one of {names}.")
            return named[0]
        if self.resolution is None:
            raise WorkflowError(
                f"no resolution says which zoom of '{service.given}' to read; give --zoom, or --resolution in metres."
            )
        for matrix in service.matrices:
            pixel = max(ground_resolution(_part(matrix, _window(region, matrix))))
            if pixel <= self.resolution * (1 + SAME_RESOLUTION):
                return matrix
        return service.matrices[-1]


def with_tiles(given: Any, request: TileRequest) -> Any:
    """The same input, with what is to be known of tile services in place of their addresses."""
    if isinstance(given, list):
        return [with_tiles(item, request) for item in given]
    if isinstance(given, Mapping):
        return {name: with_tiles(item, request) for name, item in given.items()}
    if is_tile_template(given):
        deepest = max(DEEPEST, min(request.zoom or 0, MOST_ZOOMS))
        return request.open(of_template(given, given, range(deepest + 1)))
    return request.open(_of_wmts(given)) if is_wmts(given) else given


def has_tiles(given: Any) -> bool:
    """Say whether `with_tiles` has found tile services in an input."""
    if isinstance(given, Mapping):
        return any(map(has_tiles, given.values()))
    return any(map(has_tiles, given)) if isinstance(given, list) else isinstance(given, TilesHeader)


def of_template(given: str, template: str, zooms: range = range(DEEPEST + 1), attribution: str = "") -> TileService:
    """The service whose tiles have the addresses of a template."""

    def matrix(zoom: int) -> TileMatrix:
        half, side = math.pi * _RADIUS, _SIDE * 2**zoom
        transform = Affine(2 * half / side, 0, -half, 0, -2 * half / side, half)
        return TileMatrix(given, template, str(zoom), GeoBox((side, side), transform, "EPSG:3857"), (_SIDE, _SIDE))

    return TileService(given, tuple(map(matrix, zooms)), attribution)


def of_tilejson(address: str, document: Mapping[str, Any]) -> TileService:
    """The service that a TileJSON document describes.

    Raises
    ------
    CatalogError
        It names no pictures at addresses.
    """
    tiles = [urljoin(address, str(tile)) for tile in document.get("tiles") or []]
    if not tiles or not is_tile_template(tiles[0]) or "vector_layers" in document:
        raise CatalogError(
            f"'{address}' is TileJSON without addresses of pictures, as of vector tiles; give a service of imagery."
        )
    template = tiles[0].replace("{y}", "{-y}") if document.get("scheme") == "tms" else tiles[0]
    zooms = range(_zoom(document, "minzoom", 0, address), _zoom(document, "maxzoom", DEEPEST, address) + 1)
    if not zooms:
        raise CatalogError(f"'{address}' is TileJSON whose minzoom is above its maxzoom; correct it.")
    return of_template(address, template, zooms, _plain(document.get("attribution")))


def _zoom(document: Mapping[str, Any], key: str, default: int, address: str) -> int:
    """A zoom of TileJSON; some servers write text or null."""
    value = document.get(key)
    try:
        zoom = default if value is None else int(float(value))
    except (TypeError, ValueError, OverflowError):
        zoom = -1
    if not 0 <= zoom <= MOST_ZOOMS:
        raise CatalogError(f"'{address}' is TileJSON whose {key} is {value!r}; it must be a number up to {MOST_ZOOMS}.")
    return zoom


def _of_wmts(given: str) -> TileService:
    """The layer of a WMTS that is named, as GDAL names it: ``WMTS:ADDRESS,layer=NAME,tilematrixset=NAME``."""
    address, *words = given[5:].split(",") if given[:5].upper() == "WMTS:" else [given]
    options = dict(word.partition("=")[::2] for word in words)
    if urlsplit(address).query and "request=" not in address.lower():
        address += "&request=GetCapabilities"
    try:
        answer = session(os.getpid()).get(address, timeout=_TIMEOUT)
        answer.raise_for_status()
        root = ElementTree.fromstring(answer.content)  # noqa: S314 - expat bounds what entities expand to
    except (requests.RequestException, ElementTree.ParseError) as error:
        raise CatalogError(
            f"the capabilities of '{given}' cannot be read ({unsigned(str(error))[:160]}); give the address of a "
            "GetCapabilities document."
        ) from error
    layer = _named(root.iterfind("{*}Contents/{*}Layer"), options.get("layer"), "layer", given)
    linked = {_text(link, "{*}TileMatrixSet") for link in layer.iterfind("{*}TileMatrixSetLink")}
    sets = (item for item in root.iterfind("{*}Contents/{*}TileMatrixSet") if _text(item) in linked)
    wanted = options.get("tilematrixset") or next(iter(sorted(linked)), None)
    matrix_set = _named(sets, wanted, "tilematrixset", given)
    template = _template(root, layer, urljoin(address, "."))
    values = {"TileMatrixSet": _text(matrix_set), "Style": options.get("style", _style(layer)), **_dimensions(layer)}
    template = re.sub(
        r"\{(\w+)\}", lambda word: {key.lower(): value for key, value in values.items()}.get(word[1].lower(), word[0]),
        template,
    )  # fmt: skip
    matrices = [_matrix(given, template, matrix_set, item) for item in matrix_set.iterfind("{*}TileMatrix")]
    coarsest_first = sorted(matrices, key=lambda matrix: -abs(matrix.geobox.transform.a))
    terms = [_text(root, path) for path in ("{*}ServiceProvider/{*}ProviderName", "*/{*}AccessConstraints")]
    return TileService(given, tuple(coarsest_first), _plain("; ".join(filter(None, terms))))


def _named(found: Iterator[Any], name: str | None, kind: str, given: str) -> Any:
    """The element with a name; the only one where none is given.

    Raises
    ------
    CatalogError
        There is none, or several.
    """
    each = {_text(element): element for element in found}
    if name in each or (name is None and len(each) == 1):
        return each[name] if name in each else next(iter(each.values()))
    names = ", ".join(list(each)[:8]) + (", ..." if len(each) > 8 else "")
    address = given if given[:5].upper() == "WMTS:" else f"WMTS:{given}"
    raise CatalogError(
        f"'{given}' has {f'no {kind} {name!r}' if name else f'{len(each)} {kind}s'}; name one of {names}, such as "
        f"'{address.partition(',')[0]},{kind}={next(iter(each), 'NAME')}'."
    )


def _template(root: Any, layer: Any, base: str) -> str:
    """The address of tiles of a layer: its own template, or a request with keys and values."""
    for resource in layer.iterfind("{*}ResourceURL"):
        if resource.get("resourceType") == "tile" and str(resource.get("format")).startswith("image/"):
            return urljoin(base, str(resource.get("template")))
    href = "{http://www.w3.org/1999/xlink}href"
    get = root.find("{*}OperationsMetadata/{*}Operation[@name='GetTile']//{*}Get")
    formats = [item.text for item in layer.iterfind("{*}Format") if str(item.text).startswith("image/")]
    if get is None or not formats:
        raise CatalogError(
            f"the WMTS at '{base}' says no address of tiles that are pictures; give the template of its tiles, such as "
            "https://host/{z}/{x}/{y}.png."
        )
    address = str(get.get(href)).rstrip("?&")
    words = {name: f"{{{name}}}" for name in _dimensions(layer)} | {
        "service": "WMTS", "request": "GetTile", "version": "1.0.0", "layer": _text(layer), "style": "{Style}",
        "format": formats[0], "tilematrixset": "{TileMatrixSet}", "tilematrix": "{TileMatrix}",
        "tilerow": "{TileRow}", "tilecol": "{TileCol}",
    }  # fmt: skip
    return f"{address}{'&' if '?' in address else '?'}{'&'.join(f'{key}={value}' for key, value in words.items())}"


def _style(layer: Any) -> str:
    styles = sorted(layer.iterfind("{*}Style"), key=lambda style: style.get("isDefault") != "true")
    return _text(styles[0]) if styles else "default"


def _dimensions(layer: Any) -> dict[str, str]:
    return {_text(item): _text(item, "{*}Default") for item in layer.iterfind("{*}Dimension")}


def _matrix(given: str, template: str, matrix_set: Any, element: Any) -> TileMatrix:
    """A zoom of a WMTS, in whatever CRS it is."""
    crs = named_crs(re.sub(r"urn:ogc:def:crs:(\w+):[^:]*:(\w+)", r"\1:\2", _text(matrix_set, "{*}SupportedCRS")))
    first = crs.proj.axis_info[0]
    unit = math.radians(_RADIUS) if crs.geographic else first.unit_conversion_factor
    pixel = float(_text(element, "{*}ScaleDenominator")) * _PIXEL / unit
    corner = [float(number) for number in _text(element, "{*}TopLeftCorner").split()]
    x, y = corner[::-1] if first.direction in ("north", "south") and "CRS84" not in str(crs) else corner
    size = {
        name: int(_text(element, f"{{*}}{name}")) for name in ("TileHeight", "TileWidth", "MatrixHeight", "MatrixWidth")
    }
    shape = size["TileHeight"] * size["MatrixHeight"], size["TileWidth"] * size["MatrixWidth"]
    geobox = GeoBox(shape, Affine(pixel, 0, x, 0, -pixel, y), crs)
    return TileMatrix(given, template, _text(element), geobox, (size["TileHeight"], size["TileWidth"]))


def _text(element: Any, path: str = "{*}Identifier") -> str:
    return (element.findtext(path) or "").strip()


def _plain(text: Any) -> str:
    """Text without markup, on one line."""
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", str(text or ""))).split())


def _window(region: Region, matrix: TileMatrix) -> Window:
    """The pixels of a matrix that a region touches.

    Raises
    ------
    RegionError
        There are none.
    """
    window = window_of(region, matrix.geobox).intersect(Window(0, 0, *matrix.geobox.shape))
    if not window.area:
        raise RegionError(f"the region lies outside of the tiles of '{matrix.given}'; give another region.")
    return window


def _part(matrix: TileMatrix, window: Window) -> GeoBox:
    shift = Affine.translation(window.x, window.y)
    return GeoBox(window.shape, matrix.geobox.transform @ shift, matrix.geobox.crs)


def _look(matrix: TileMatrix, window: Window) -> tuple[int, int]:
    """The size of the pictures, by the first of the tiles at the middle and the corners of a window that is there.

    Raises
    ------
    RegionError
        None of them is there.
    """
    (height, width), (bottom, right) = matrix.tile, (window.bottom - 1, window.right - 1)
    middle = (window.y + bottom) // 2, (window.x + right) // 2
    corners = [(y, x) for y in (window.y, bottom) for x in (window.x, right)]
    for row, column in dict.fromkeys((y // height, x // width) for y, x in (middle, *corners)):
        picture = matrix.read(row, column)
        if picture is not None:
            return int(picture.shape[1]), int(picture.shape[2])
    raise RegionError(
        f"'{matrix.given}' has no tile at zoom {matrix.name} in the middle of the region nor at its corners; give "
        "another --zoom or region, or correct the address."
    )
