"""Which assets of a STAC item hold the bands that are wanted, and what the item says of them.

It reads items of STAC 1.1 (``bands``) and 1.0 (``eo:bands`` beside ``raster:bands``), with the projection extension of
either version. It opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError

from geoseg.errors import BandError, CatalogError
from geoseg.raster.bands import BandRequest, FileBand, find_bands, sensor_band, spoken
from geoseg.raster.calibration import Line
from geoseg.raster.products import SENTINEL_2, sensor_of, sentinel_2_unit

Json = Mapping[str, Any]

PICTURES = ("visual", "overview", "thumbnail", "preview", "rendered_preview", "tilejson", "tki", "tci", "true-color")
"""Keys and roles of assets that show an item and are not its data."""

IN_COLOURS = frozenset({"visual", "tci", "true-color"})
"""Those of them that show all of the item's pixels."""

REMOVED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""Properties of items that say that the offset is taken off the pixels already."""

_RASTERS = ("image/", "application/x-geotiff", "application/x-hdf", "application/netcdf", "application/vnd+zarr")
_TIFF = ("tiff", "geotiff")
_FAR = 1e9  # m; resolution of assets that say none


@dataclass(frozen=True)
class BandAsset:
    """One band that an item offers.

    Attributes
    ----------
    asset : str
        Key of the asset.
    index : int
        Number of the band in its file, counted from 1.
    name, common_name : str
        As the item has them; empty when it does not say.
    dtype : numpy dtype or None
        Type of the pixels.
    nodata : float or None
        Declared value.
    unit : Line or None
        What a digital number means, as far as the item says it.
    common : str
        The common name that the item, or the number of its sensor's band, says.
    rank : tuple
        Of several assets with one band, the lowest is taken: GeoTIFFs first, then the finest.
    """

    asset: str
    index: int
    name: str
    common_name: str
    dtype: np.dtype[Any] | None
    nodata: float | None
    unit: Line | None
    common: str
    rank: tuple[int, float, int]

    @property
    def label(self) -> str:
        """What the raster's band is called."""
        return self.name or self.common_name or self.asset


def list_band_assets(item: Json) -> list[BandAsset]:
    """List the bands of an item's data, of each asset in the order of its file.

    Items of drones, and of satellites that sell pictures, have nothing but a picture in colours: then it is the data.
    """
    assets: Json = item["assets"]
    data = {key: asset for key, asset in assets.items() if _is_data(key, asset)}
    data = data or {key: asset for key, asset in assets.items() if _is_data(key, asset, but=IN_COLOURS)}
    chosen = {key: asset for key, asset in data.items() if "data" in (asset.get("roles") or [])} or data
    return [
        entry for number, (key, asset) in enumerate(chosen.items()) for entry in _band_assets(item, key, asset, number)
    ]


def choose(item: Json, entries: Sequence[BandAsset], wanted: Sequence[BandRequest] | None) -> list[BandAsset]:
    """Find the wanted bands among those that an item offers.

    Parameters
    ----------
    item : mapping
        For the message.
    entries : sequence of BandAsset
        From `list_band_assets`.
    wanted : sequence, optional
        Names, numbers from 1, or bands of a model; everything when None.

    Raises
    ------
    BandError
        One of them is not there, or its name fits different bands.
    """
    if wanted is None:
        return list(entries)
    return [_choose_one(item, entries, request) for request in wanted]


def find_asset(item: Json, name: str) -> BandAsset:
    """Find the classification that a mask names: an asset by its key, or a band by its name.

    Raises
    ------
    BandError
        There is none.
    """
    assets: Json = item["assets"]
    if name in assets:
        return _band_assets(item, name, assets[name], 0)[0]
    return _choose_one(item, [entry for key in assets for entry in _band_assets(item, key, assets[key], 0)], name)


def grid_of(item: Json, key: str) -> GeoBox | None:
    """The grid of an asset's pixels, as the projection extension has it; None when it does not say.

    Raises
    ------
    CatalogError
        The item names a CRS that PROJ does not know.
    """
    asset, properties = item["assets"][key], item.get("properties") or {}

    def said(field: str) -> Any:
        return asset.get(field) if asset.get(field) is not None else properties.get(field)

    shape, transform = said("proj:shape"), said("proj:transform")
    code, epsg = said("proj:code"), said("proj:epsg")
    name = code or (f"EPSG:{epsg}" if epsg else None) or said("proj:wkt2") or said("proj:projjson")
    if not (shape and transform and name):
        return None
    try:
        crs = CRS(name)
    except (CRSError, ValueError) as error:
        raise CatalogError(
            f"item '{item.get('id')}' names a CRS that PROJ does not know ({name}); correct it."
        ) from error
    return GeoBox(tuple(shape), Affine(*transform[:6]), crs)


def _is_data(key: str, asset: Json, but: frozenset[str] = frozenset()) -> bool:
    words = {key.lower(), *(str(role).lower() for role in asset.get("roles") or [])} - but
    kind = str(asset.get("type") or "")
    return not words & set(PICTURES) and not words & {"metadata"} and (not kind or kind.startswith(_RASTERS))


def _band_assets(item: Json, key: str, asset: Json, number: int) -> list[BandAsset]:
    """The bands of one asset; one without a name where it lists none."""
    raster = asset.get("raster:bands") or []
    named = asset.get("bands") or asset.get("eo:bands") or [{}] * max(1, len(raster))
    rank = _rank(item, asset, [*named, *raster])
    return [
        _band_asset(item, key, {**(raster[index] if index < len(raster) else {}), **band}, index + 1, (*rank, number))
        for index, band in enumerate(named)
    ]


def _band_asset(item: Json, key: str, band: Json, index: int, rank: tuple[int, float, int]) -> BandAsset:
    asset: Json = item["assets"][key]
    properties: Json = item.get("properties") or {}

    def said(*fields: str) -> Any:
        places = (band, asset)
        return next((place[name] for place in places for name in fields if place.get(name) is not None), None)

    name = str(band.get("name") or "")
    common_name = str(band.get("eo:common_name") or band.get("common_name") or "")
    sensor = sensor_of(str(properties.get("platform") or ""), str(properties.get("constellation") or ""))
    return BandAsset(
        asset=key,
        index=index,
        name=name,
        common_name=common_name,
        dtype=_dtype(said("data_type")),
        nodata=_number(said("nodata")),
        unit=_unit(said("raster:scale", "scale"), said("raster:offset", "offset"), name or key, properties),
        common=common_name or sensor_band(sensor, name or key),
        rank=rank,
    )


def _unit(scale: Any, offset: Any, name: str, properties: Json) -> Line | None:
    """What digital numbers mean: as the item declares it, or as its processing baseline of Sentinel-2 does.

    Some catalogs keep Sentinel-2 as it is delivered, from baseline 04.00 on with 1,000 added, and say only the
    baseline.
    """
    removed = any(properties.get(field) is True for field in REMOVED)
    if scale is not None or offset is not None:
        return 1.0 if scale is None else float(scale), 0.0 if offset is None or removed else float(offset)
    baseline = properties.get("s2:processing_baseline")
    if baseline is None or _plain_number(name) not in SENTINEL_2:
        return None
    return sentinel_2_unit("" if removed else str(baseline))


def _plain_number(name: str) -> str:
    return re.sub(r"^b0", "b", name.lower())


def _rank(item: Json, asset: Json, bands: Sequence[Json]) -> tuple[int, float]:
    kind = str(asset.get("type") or "image/tiff")
    sizes = [band.get("raster:spatial_resolution") or band.get("spatial_resolution") for band in bands]
    own = [size for size in (asset.get("raster:spatial_resolution"), asset.get("gsd"), *sizes) if size]
    properties = item.get("properties") or {}
    return (0 if any(word in kind for word in _TIFF) else 1), float(own[0] if own else properties.get("gsd") or _FAR)


def _choose_one(item: Json, entries: Sequence[BandAsset], request: BandRequest) -> BandAsset:
    if isinstance(request, int):
        found = [entries[request - 1]] if 1 <= request <= len(entries) else []
    else:
        found = [entry for entry in entries if entry.asset == request] or _named(entries, request)
    different = {entry.label.lower() for entry in found}
    if len(different) == 1:
        return min(found, key=lambda entry: entry.rank)
    listed = ", ".join(f"{entry.label} ({entry.asset})" if entry.name else entry.asset for entry in entries[:24])
    problem = "has no band" if not found else f"has {len(different)} bands that are called"
    raise BandError(
        f"item '{item.get('id')}' {problem} {spoken(request)}: it has {listed or 'none'}; name the bands in the "
        "model's order, such as `bands: [blue, green, red, nir]`."
    )


def _named(entries: Sequence[BandAsset], request: Any) -> list[BandAsset]:
    """The bands that a name fits: the sensor's name, the common name, or the asset's key."""
    named = [
        FileBand(
            number,
            ", ".join(filter(None, (entry.name, entry.common_name))) or entry.asset,
            "undefined",
            entry.common,
        )
        for number, entry in enumerate(entries)
    ]
    found = find_bands(request, named)
    if not found:
        keys = [FileBand(number, entry.asset, "undefined", entry.common) for number, entry in enumerate(entries)]
        found = find_bands(request, keys)
    return [entries[number] for number in found]


def _dtype(name: Any) -> np.dtype[Any] | None:
    try:
        return None if name in (None, "other") else np.dtype(str(name))
    except TypeError:
        return None


def _number(value: Any) -> float | None:
    """A nodata value, which STAC may write as a word: nan, inf."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
