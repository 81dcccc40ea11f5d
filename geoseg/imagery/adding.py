"""A folder of rasters into the catalog: one STAC item a scene, with footprint, projection, bands and dates.

It reads headers; the items say all that a plan needs to know, so that a later run opens none of them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geoseg.catalog import COLLECTION, own_catalog_home
from geoseg.errors import CatalogError, WorkflowError
from geoseg.imagery.describing import PROJECTION, Place, describe
from geoseg.imagery.searching import read_moment
from geoseg.models.stac import read_json, write_collection, write_item, write_json
from geoseg.raster import ground_resolution, unsigned
from geoseg.raster.bands import band_of_name, common_name
from geoseg.raster.handles import dataset
from geoseg.raster.header import Header, read_header
from geoseg.raster.opening import list_files
from geoseg.raster.options import configured

EXTENSIONS = (
    PROJECTION,
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
)

_MEDIA = {
    ".tif": "image/tiff; application=geotiff", ".tiff": "image/tiff; application=geotiff", ".jp2": "image/jp2",
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".vrt": "application/xml",
}  # fmt: skip
_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")
_TAG = "TIFFTAG_DATETIME"


@dataclass(frozen=True)
class _File:
    """A raster, and which part of a scene it is."""

    header: Header
    scene: str
    band: str | None

    @property
    def key(self) -> str:
        """The asset's key."""
        return self.band or "data"


@configured()
def add_imagery(
    folder: str | Path,
    *,
    name: str | None = None,
    home: Path | None = None,
    datetime: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Describe the rasters of a folder in a catalog; they stay where they are.

    Files with one band each, whose names differ by the name of a band alone (``T18_B02.jp2``, ``T18_B03.jp2``), are
    one scene.

    Parameters
    ----------
    folder : path
        A folder, a pattern, or one raster.
    name : str, optional
        The name that finds them, that of the folder unless given.
    home : Path, optional
        The catalog's folder; a person's own by default.
    datetime : str, optional
        When all were taken, RFC 3339. Otherwise the date in a file's TIFF tag or name counts, or that of the file.
    overwrite : bool
        Whether a collection of that name is replaced.

    Returns
    -------
    Path
        The collection's file.

    Raises
    ------
    CatalogError
        The name is taken.
    GeosegError
        A raster cannot be read or has no place.
    """
    given = Path(folder).expanduser()
    label = re.sub(r"[^\w.-]+", "-", name or (given if given.is_dir() else given.parent).resolve().name).strip("-.")
    target = (home or own_catalog_home()) / "imagery" / (label or "imagery")
    if target.exists() and not overwrite:
        raise CatalogError(
            f"imagery '{label}' is in the catalog already ('{target}'); give another name, or --overwrite."
        )
    taken = None if datetime is None else _moment(datetime)
    scenes: dict[str, list[_File]] = {}
    for shown, path in list_files(str(folder)):
        file = _file(read_header(path, shown))
        scenes.setdefault(file.scene, []).append(file)
    _check_bands(scenes)
    described = {scene: _describe(files, taken) for scene, files in scenes.items()}
    shutil.rmtree(target, ignore_errors=True)
    collection = write_collection(target / COLLECTION, label, unsigned(f"Imagery of {given}."))
    for scene, (place, properties, assets) in described.items():
        write_item(
            target / scene / f"{scene}.json", scene, place.bbox or (), properties,
            geometry=place.geometry, extensions=EXTENSIONS, assets=assets,
        )  # fmt: skip
    _extend(collection, [place for place, _, _ in described.values()], [item[1] for item in described.values()])
    return collection


def _file(header: Header) -> _File:
    """Find out which scene and which band a file is, by its name."""
    stem = re.sub(r"[^\w.-]+", "-", Path(header.path).stem)
    data = [band for band in header.bands if band.color != "alpha"]
    found = band_of_name(stem) if len(data) == 1 else None
    if found is None:
        return _File(header, stem, None)
    scene = re.sub(r"[-_.]{2,}", "_", stem.replace(found, "", 1)).strip("-_.")
    return _File(header, scene or "scene", found)


def _check_bands(scenes: Mapping[str, list[_File]]) -> None:
    for scene, files in scenes.items():
        keys = [file.key for file in files]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise CatalogError(
                f"scene '{scene}' would have '{twice}' twice; rename the files, or put them into folders of their own."
            )


def _describe(files: list[_File], taken: datetime | None) -> tuple[Place, dict[str, Any], dict[str, Any]]:
    """Place, properties and assets of a scene."""
    finest = min((file.header for file in files), key=lambda header: max(ground_resolution(header.geobox)))
    place = describe(finest.geobox)
    moment = taken or min(map(_taken, files))
    properties = {
        "datetime": moment.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "gsd": round(max(ground_resolution(finest.geobox)), 4),
        **place.properties,
    }
    return place, properties, {file.key: _asset(file) for file in files}


def _asset(file: _File) -> dict[str, Any]:
    header, path = file.header, Path(file.header.path)
    place = {} if header.geobox.crs is None else describe(header.geobox).properties
    return {
        "href": unsigned(header.path),
        "type": _MEDIA.get(path.suffix.lower(), "application/octet-stream"),
        "roles": ["data"],
        "bands": _bands(file),
        **{key: value for key, value in place.items() if key != "proj:bbox"},
        "raster:spatial_resolution": round(max(ground_resolution(header.geobox)), 4),
        "file:size": path.stat().st_size if path.is_file() else None,
    }


def _bands(file: _File) -> list[dict[str, Any]]:
    """The bands of a file, in its order; alpha too, so that numbers stay what they are."""
    header = file.header
    bands = []
    for band in header.bands:
        name = file.band or band.label
        common = band.common or common_name(name) or common_name(band.description) or common_name(band.color)
        nodata, unit = header.nodata[band.index - 1], header.units[band.index - 1]
        bands.append(
            {
                "name": name,
                **({"eo:common_name": common} if common else {}),
                "data_type": str(header.dtypes[band.index - 1]),
                **({} if nodata is None else {"nodata": nodata}),
                **({} if unit is None else {"raster:scale": unit[0], "raster:offset": unit[1]}),
            }
        )
    return bands


def _taken(file: _File) -> datetime:
    """When a file was taken, as far as it says."""
    tag = dataset(file.header.path).tags().get(_TAG, "")
    try:
        return datetime.strptime(tag.strip(), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        pass
    path = Path(file.header.path)
    if found := _DATE.search(path.stem):
        year, month, day = map(int, found.groups())
        return datetime(year, month, day, tzinfo=UTC)
    return datetime.fromtimestamp(path.stat().st_mtime if path.is_file() else 0, tz=UTC)


def _moment(text: str) -> datetime:
    try:
        return read_moment(text)
    except ValueError as error:
        raise WorkflowError(f"datetime '{text}' cannot be read; write it like 2024-06-15T10:30:00Z.") from error


def _extend(path: Path, places: list[Place], properties: list[dict[str, Any]]) -> None:
    """Give the collection the extent of its items."""
    boxes = [place.bbox for place in places if place.bbox is not None]
    columns = list(zip(*boxes, strict=True))
    columns = columns or [(-180.0,), (-90.0,), (180.0,), (90.0,)]  # of rasters that have no place on the earth
    over = any(box[0] > box[2] for box in boxes)
    whole = (
        [-180.0, min(columns[1]), 180.0, max(columns[3])] if over else [*map(min, columns[:2]), *map(max, columns[2:])]
    )
    times = sorted(str(item["datetime"]) for item in properties)
    collection = read_json(path)
    extent = {"spatial": {"bbox": [whole]}, "temporal": {"interval": [[times[0], times[-1]]]}}
    write_json(path, {**collection, "extent": extent})
