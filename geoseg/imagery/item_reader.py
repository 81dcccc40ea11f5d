"""Item reader: georeferenced sources of the assets of STAC items, unopened where the item describes them.

It joins descriptions and headers; on which grid they are read is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import numpy as np

from geoseg.errors import CatalogError
from geoseg.imagery.assets import BandAsset, choose, find_asset, grid_of, list_band_assets
from geoseg.imagery.documents import ADDRESS, refuse_local
from geoseg.imagery.qa_mask import QaMaskRule
from geoseg.imagery.searching import read_moment
from geoseg.raster.asset import Asset
from geoseg.raster.attempts import Attempts
from geoseg.raster.bands import BandRequest, is_alpha
from geoseg.raster.calibration import Calibration, Line
from geoseg.raster.facts import usable_nodata
from geoseg.raster.header import Header, read_header

Json = Mapping[str, Any]

_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)
_STAMPS = ("file:checksum", "file:size", "updated")
_SIGNED = ".blob.core.windows.net"
_SIGNING = "planetarycomputer.microsoft.com"


@dataclass(frozen=True)
class ItemScene:
    """What one item describes.

    Attributes
    ----------
    name : str
        Its id.
    href : str
        Where it stands.
    taken : datetime
        When.
    cloud_cover : float
        Percent; infinite when it is not known.
    files : tuple of Asset
        What is read.
    positions : tuple of tuple of int
        Which bands of the raster each file has.
    names : tuple of str
        Names of the raster's bands.
    document : mapping
        The item.
    qa_mask : Asset or None
        The classification that says which pixels are not used.
    """

    name: str
    href: str
    taken: datetime
    cloud_cover: float
    files: tuple[Asset, ...]
    positions: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    document: Json
    qa_mask: Asset | None = None


@dataclass
class ItemReader:
    """How items are read: the same way for all of them, so that what one says holds for those that say nothing.

    Attributes
    ----------
    bands : sequence or None
        Which bands are wanted, in the raster's order; all of the first item when None.
    qa_rule : QaMaskRule or None
        What is not used.
    remove_offset : bool
        Whether digital numbers are brought to one unit: that of the calibration, or the first item's without an offset.
    calibration : Calibration
        In which units pixels are read, and which are nodata.
    attempts : Attempts
        What happens to items that cannot be used.
    """

    bands: Sequence[BandRequest] | None = None
    qa_rule: QaMaskRule | None = None
    remove_offset: bool = True
    calibration: Calibration = field(default_factory=Calibration)
    attempts: Attempts = field(default_factory=Attempts)
    _headers: dict[str, Header] = field(default_factory=dict)
    _types: dict[tuple[str, int], np.dtype[Any]] = field(default_factory=dict)
    _units: dict[int, Line] = field(default_factory=dict)

    def read(self, items: Sequence[Json]) -> list[ItemScene]:
        """Read items; all files get the common type of their pixels.

        Raises
        ------
        BandError
            An item lacks a band.
        CatalogError, RasterError
            A file has no place.
        """
        scenes = self.attempts.each(items, self._scene, lambda item: str(item.get("id")))
        dtype = reduce(np.promote_types, (file.dtype for scene in scenes for file in scene.files))
        return [replace(scene, files=tuple(replace(file, dtype=dtype) for file in scene.files)) for scene in scenes]

    def _scene(self, item: Json) -> ItemScene:
        entries = self._band_assets(item)
        chosen = choose(item, entries, self.bands)
        if not chosen:
            raise CatalogError(f"item '{item.get('id')}' has no asset with pixels; give an item of imagery.")
        if self.bands is None:
            self.bands = [entry.label for entry in chosen]
        keys = list(dict.fromkeys(entry.asset for entry in chosen))
        groups = [[place for place, entry in enumerate(chosen) if entry.asset == key] for key in keys]
        properties = item.get("properties") or {}
        cloud_cover = properties.get("eo:cloud_cover")
        qa_mask = None if self.qa_rule is None else self._qa_mask(item, self.qa_rule)
        return ItemScene(
            name=str(item.get("id")),
            href=next((str(link["href"]) for link in item.get("links") or [] if link.get("rel") == "self"), ""),
            taken=_taken(properties),
            cloud_cover=np.inf if cloud_cover is None else float(cloud_cover),
            files=tuple(self._file(item, [chosen[place] for place in group], group) for group in groups),
            positions=tuple(map(tuple, groups)),
            names=tuple(_name(request, entry) for request, entry in zip(self.bands, chosen, strict=True)),
            document=item,
            qa_mask=qa_mask,
        )

    def _band_assets(self, item: Json) -> list[BandAsset]:
        """The bands of an item; those of a single file that it does not list, by the file's header."""
        entries = list_band_assets(item)
        if len(entries) != 1 or entries[0].name or entries[0].common_name:
            return entries
        only = entries[0]
        bands = [band for band in self._header(item, only.asset).bands if band.color != "alpha"]
        return [replace(only, index=band.index, name="" if len(bands) == 1 else band.label) for band in bands]

    def _qa_mask(self, item: Json, qa_rule: QaMaskRule) -> Asset:
        return self._file(item, [find_asset(item, qa_rule.asset)], None)

    def _file(self, item: Json, entries: Sequence[BandAsset], places: Sequence[int] | None) -> Asset:
        """A file with some of its bands; opened only where neither its item nor one before says what it is."""
        key = entries[0].asset
        asset, grid = item["assets"][key], grid_of(item, key)
        dtypes = [self._dtype(item, entry) for entry in entries]
        file = Asset(
            given=str(asset["href"]),
            path=_openable(item, str(asset["href"])),
            geobox=self._header(item, key).geobox if grid is None else grid,
            indexes=tuple(entry.index for entry in entries),
            dtype=reduce(np.promote_types, dtypes),
            nodata=tuple(usable_nodata(entry.nodata, dtype) for entry, dtype in zip(entries, dtypes, strict=True)),
            alpha=None,
            masked=(),
            units=tuple(entry.unit for entry in entries) if any(entry.unit for entry in entries) else (),
            named=tuple(entry.index for entry in list_band_assets(item) if entry.asset == key and _is_named(entry)),
            stamp=tuple((name, str(value)) for name in _STAMPS if (value := _said(item, asset, name)) is not None),
        )
        return file if places is None else file.calibrated(self._calibration_at(entries, places), places)

    def _dtype(self, item: Json, entry: BandAsset) -> np.dtype[Any]:
        """The type of a band; as that of the same band of an item before, when the item does not say."""
        place = entry.asset, entry.index
        if entry.dtype is not None:
            self._types.setdefault(place, entry.dtype)
            return entry.dtype
        if place not in self._types:
            self._types[place] = self._header(item, entry.asset).dtypes[entry.index - 1]
        return self._types[place]

    def _calibration_at(self, entries: Sequence[BandAsset], places: Sequence[int]) -> Calibration:
        """How a file's bands are read: in the units that are asked for, or in those of the first item that has some."""
        if not self.remove_offset:
            return replace(self.calibration, units=())
        for place, entry in zip(places, entries, strict=True):
            if entry.unit is not None:
                self._units.setdefault(place, (entry.unit[0], 0.0))
        asked = self.calibration.units
        count = max((*places, len(asked) - 1, *self._units)) + 1
        units = tuple(
            (asked[place] if place < len(asked) else None) or self._units.get(place) for place in range(count)
        )
        return replace(self.calibration, units=units)

    def _header(self, item: Json, key: str) -> Header:
        href = str(item["assets"][key]["href"])
        if href not in self._headers:
            self._headers[href] = read_header(_openable(item, href), href)
        return self._headers[href]


def _is_named(entry: BandAsset) -> bool:
    """Say whether an item says what a band of a file shows; a number, or alpha, says nothing."""
    name = entry.name or entry.common_name
    return bool(name) and not is_alpha("alpha", name)


def _name(request: BandRequest, entry: BandAsset) -> str:
    if isinstance(request, int):
        return entry.label
    return request if isinstance(request, str) else request.name


def _taken(properties: Json) -> datetime:
    text = properties.get("datetime") or properties.get("start_datetime")
    return _LONG_AGO if text is None else read_moment(str(text))


def _said(item: Json, asset: Json, name: str) -> Any:
    return asset.get(name) if name.startswith("file:") else (item.get("properties") or {}).get(name)


def _openable(item: Json, href: str) -> str:
    """The name by which GDAL opens an asset; it signs addresses of the Planetary Computer itself, again and again."""
    refuse_local(str(item.get(ADDRESS) or ""), href)
    own = next((str(link.get("href")) for link in item.get("links") or [] if link.get("rel") == "self"), "")
    if _SIGNING in own and _SIGNED in href:
        return f"/vsicurl?pc_url_signing=yes&pc_collection={item.get('collection')}&url={href}"
    return href
