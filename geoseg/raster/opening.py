"""From what a person gives (a file, files, a folder, a pattern, files by band) to one raster.

It reads headers only; no pixel is touched here.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geoseg.errors import BandError, CrsError, InputNotFoundError, RasterError
from geoseg.raster.addresses import is_tile_template, is_wmts
from geoseg.raster.archives import archive_of, is_archive, members
from geoseg.raster.arrays import read_array_header
from geoseg.raster.attempts import Attempts, OnError
from geoseg.raster.bands import (
    BandRequest,
    FileBand,
    band_name,
    band_of_name,
    counts_as_sentinel,
    find_bands,
    match_bands,
    spoken,
)
from geoseg.raster.calibration import AS_STORED, Calibration
from geoseg.raster.given import given_imagery, is_array, named, with_stores
from geoseg.raster.header import Header, read_header
from geoseg.raster.layers import Layer, PlacedSource
from geoseg.raster.mosaic import Raster
from geoseg.raster.overlay import Order
from geoseg.raster.placing import UPRIGHT, at_resolution, covering, is_plain, named_crs
from geoseg.raster.products import bands_of_product, is_product_metadata
from geoseg.raster.resample import Resampling
from geoseg.raster.source import Source

RASTER_SUFFIXES = {".tif", ".tiff", ".jp2", ".vrt", ".img", ".png", ".jpg", ".jpeg", ".bil", ".ntf", ".asc"}
"""What is taken for a raster in a folder; a file that is named is opened whatever its suffix."""

Input = Any
"""A path, an open dataset, an array or Dataset of xarray, a list of these, or those of each band by its name."""

_PICTURES = {"tci", "pvi", "preview", "quicklook", "ql", "browse", "thumb", "thumbnail", "visual"}

# Names that only GDAL understands: /vsizip/..., s3://..., NETCDF:file:variable.
_GDAL_NAME = re.compile(r"/vsi|[a-z][a-z0-9+.-]+://|[a-z0-9_]{2,}:", re.IGNORECASE)


def open_raster(
    input: Input,  # noqa: A002  one word for the option, the key and the argument
    *,
    bands: Sequence[BandRequest] | None = None,
    resolution: float | None = None,
    geobox: GeoBox | None = None,
    resampling: Resampling = "auto",
    crs: str | int | None = None,
    mosaic: Order = "first",
    require_crs: bool = True,
    calibration: Calibration | None = None,
    on_error: OnError = "stop",
) -> Raster:
    """Open one or many raster files as one raster, on one grid.

    One file keeps its own grid: its pixels are read as they are, rotated and south-up ones too. Several are laid
    onto the grid of the first (its CRS, its pixels), extended to the bounds of all. Files on that grid are read as
    they are, others are resampled.

    Parameters
    ----------
    input : path, DatasetReader, DataArray, Dataset, list of these, or mapping of band name to them
        A file, a folder (its rasters, by name), a pattern such as ``"scenes/*.tif"``, an open dataset of rasterio, an
        array of xarray with a CRS and coordinates as rioxarray or odc-geo give it, in memory or lazy, or several of
        these; or those of each band, as the variables of a Dataset are. Files with one band each whose names contain
        the wanted bands (``T18_B02.jp2``, ``T18_B03.jp2``) are put together by band too.
    bands : sequence of str, int or named band, optional
        Which bands, in which order: numbers in the file from 1, names, or bands of a model; all but alpha when None.
    resolution : float, optional
        Metres on the ground per pixel; the raster's own when None. A raster that differs by more than 1 % is
        resampled: by area average when it is finer, bilinearly when it is coarser.
    geobox : GeoBox, optional
        Read onto this grid instead, such as the grid of another raster.
    resampling : str
        ``"nearest"`` for rasters of labels.
    crs : str or int, optional
        CRS of rasters that have none: an EPSG code, or ``"local"`` for plain pixels, which have no metres and so are
        read at their own resolution.
    mosaic : str
        What a pixel is where files overlap: ``"first"``, the first valid one, or ``"median"``, the median of all valid
        ones, band by band.
    require_crs : bool
        False also takes rasters that are not placed on the ground; their ``crs`` is None.
    calibration : Calibration, optional
        In which units pixels are read, and which are nodata; as they are stored and declared when None.
    on_error : str
        ``"skip"`` leaves out those of several files that cannot be opened, and warns.

    Returns
    -------
    Raster
        A recipe; nothing is read yet.

    Raises
    ------
    InputNotFoundError
        When a file, folder or pattern is not there.
    RasterError
        When something is not a raster, or holds values that no model takes.
    CrsError
        When a raster is not placed on the ground.
    BandError
        When a wanted band is not there.
    """
    if resolution is not None and not (np.isfinite(resolution) and resolution > 0):
        raise RasterError(f"a resolution of {resolution} is not a length; give metres per pixel, such as 10.")
    input = with_stores(given_imagery(input))  # noqa: A001
    default = None if crs is None else named_crs(crs)
    attempts = Attempts(on_error)
    names, groups = _choose(
        input, bands, lambda source, given: _header(source, given, default, require_crs=require_crs), attempts
    )
    for _, sources in groups:
        _check_apart(sources)
    if calibration is not None:
        groups = [
            (places, [source.calibrated(calibration, places) for source in _noted(sources, places, calibration)])
            for places, sources in groups
        ]
    dtype = np.result_type(*(source.dtype for _, sources in groups for source in sources))
    is_own_grid = geobox is None
    if geobox is None:
        geobox = _grid([source.geobox for _, sources in groups for source in sources], resolution)
    layers = []
    for positions, sources in groups:
        pieces = tuple(
            piece
            for source in sources
            for piece in PlacedSource.all_of(replace(source, dtype=dtype), geobox, resampling)
        )
        layers.append(Layer(positions, pieces, mosaic))
    raster = Raster(geobox, names, dtype, tuple(layers), skipped=tuple(attempts.skipped))
    if is_own_grid:
        raster.check_filled()
        raster.check_overlap()
    return raster


def _header(source: Any, given: str, crs: CRS | None, *, require_crs: bool) -> Header:
    if isinstance(source, Header):
        return source
    if is_array(source):
        return read_array_header(source, crs=crs, require_crs=require_crs)
    return read_header(source, given, crs=crs, require_crs=require_crs)


_Group = tuple[tuple[int, ...], list[Source]]
"""Positions of bands in the raster, and the files they are read from."""


def list_files(paths: Any) -> list[tuple[str, Any]]:
    """List the raster files and arrays that are meant.

    Returns
    -------
    list of (str, str or DataArray)
        Each as given and as it is opened; a folder's files sorted by name.

    Raises
    ------
    InputNotFoundError
        When something named is not there, or nothing is.
    RasterError
        When a folder holds no raster.
    """
    if is_array(paths):
        return [(named(paths), paths)]
    if isinstance(paths, Header):
        return [(paths.given, paths)]
    _refuse_tiles(paths)
    if not isinstance(paths, str | Path):
        if not paths:
            raise InputNotFoundError("the input is an empty list; name at least one raster file.")
        return [pair for item in paths for pair in list_files(item)]
    given = str(paths)
    path = Path(given).expanduser()
    if path.is_dir() or is_product_metadata(path):
        return _folder(path if path.is_dir() else path.parent)
    if path.exists():
        return _archive(given, path) if is_archive(path) else [(given, str(path.absolute()))]
    if _GDAL_NAME.match(given):
        return [(given, given)]
    if glob.has_magic(given):
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
        if found := sorted(Path(name) for name in names if _is_raster(Path(name))):
            return [(str(file), str(file.absolute())) for file in found]
        raise InputNotFoundError(f"no raster file matches '{given}'; correct the pattern.")
    raise InputNotFoundError(f"the input '{given}' does not exist; correct the path.")


def _refuse_tiles(given: Any) -> None:
    """Refuse the address of a tile service, of which only `geoseg.imagery` knows what to read."""
    if is_tile_template(given) or is_wmts(given):
        raise RasterError(
            f"'{given}' is a tile service, which is read in a region only; give both to a run, geoseg.segment or "
            "geoseg.open_imagery."
        )


def _folder(folder: Path) -> list[tuple[str, str]]:
    own = sorted(file for file in folder.iterdir() if _is_raster(file))
    names = [str(file) for file in own or sorted(filter(_is_raster, folder.rglob("*")))]
    found = [Path(name) for name in bands_of_product(names)] or own
    if not found:
        raise RasterError(
            f"the folder '{folder}' holds no raster file ({', '.join(sorted(RASTER_SUFFIXES))}); "
            "give another folder, or name the files."
        )
    return [(str(file), str(file.absolute())) for file in found]


def _archive(given: str, path: Path) -> list[tuple[str, str]]:
    """The bands of a product that was delivered in an archive; of another archive all rasters."""
    rasters = [name for name in members(path) if Path(name).suffix.lower() in RASTER_SUFFIXES]
    if not rasters:
        raise RasterError(f"the archive '{given}' holds no raster file; give the one of the product, or unpack it.")
    return [(f"{given}/{archive_of(name)[1]}", name) for name in bands_of_product(rasters) or rasters]


def _is_raster(path: Path) -> bool:
    return path.suffix.lower() in RASTER_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _choose(
    given: Input, bands: Sequence[BandRequest] | None, read: Callable[[Any, str], Header], attempts: Attempts
) -> tuple[tuple[str, ...], list[_Group]]:
    """Read the headers and decide which bands come from which files."""

    def headers(paths: Any) -> list[Header]:
        each = [paths] if isinstance(paths, str | os.PathLike | Header) or is_array(paths) else paths
        files = [pair for found in attempts.each(each, list_files, named) for pair in found] or list_files(paths)
        return attempts.each(files, lambda pair: read(pair[1], pair[0]), lambda pair: pair[0])

    if isinstance(given, Mapping):
        return _by_band({name: headers(paths) for name, paths in given.items()}, bands)
    files = headers(given)
    by_name = _split_by_name(files, bands)
    return _by_file(files, bands, attempts) if by_name is None else _by_band(by_name, bands)


def _by_file(
    files: list[Header], bands: Sequence[BandRequest] | None, attempts: Attempts
) -> tuple[tuple[str, ...], list[_Group]]:
    """Take all bands from every file; the first that has them says which they are."""
    names: tuple[str, ...] = ()
    example = ""

    def select(header: Header) -> Source:
        nonlocal names, example, bands
        source, own = header.select(bands)
        if not example:
            names, example = own, source.given
            bands = own if bands is None and any(band.is_named for band in header.bands) else bands
        elif len(own) != len(names):
            raise BandError(
                f"'{source.given}' has {len(own)} bands but '{example}' has {len(names)}; say which to read, such as "
                "`bands: [1, 2, 3]`."
            )
        return source

    sources = attempts.each(files, select, lambda header: header.given)
    return names, [(tuple(range(len(names))), sources)]


def _by_band(
    files: Mapping[str, list[Header]], bands: Sequence[BandRequest] | None
) -> tuple[tuple[str, ...], list[_Group]]:
    """Take each band from files of its own."""
    keys = list(files)
    listed = [FileBand(index, key, "undefined") for index, key in enumerate(keys, start=1)]
    wanted: Sequence[BandRequest] = keys if bands is None else bands
    chosen = match_bands(wanted, listed, file="the input") if bands is not None else tuple(range(1, len(keys) + 1))
    names = tuple(band_name(item, listed, index) for item, index in zip(wanted, chosen, strict=True))
    groups: list[_Group] = []
    for position, (item, index) in enumerate(zip(wanted, chosen, strict=True)):
        key = keys[index - 1]
        inner = key if isinstance(item, int) else item
        sources = [header.select([_only_band(header, inner)])[0] for header in files[key]]
        groups.append(((position,), sources))
    return names, groups


def _only_band(header: Header, item: BandRequest) -> BandRequest:
    """Return the number of a file's one band; of a file with several, the band that is asked for."""
    data = [band.index for band in header.bands if band.color != "alpha"]
    return data[0] if len(data) == 1 else item


def _split_by_name(files: list[Header], bands: Sequence[BandRequest] | None) -> dict[str, list[Header]] | None:
    """Sort files of one band each by the wanted band that is a word of their name; None when that does not apply."""
    if bands is None or any(isinstance(item, int) for item in bands):
        return None
    files = [header for header in files if not _is_picture(header)]
    if len(files) < 2 or any(sum(band.color != "alpha" for band in header.bands) != 1 for header in files):
        return None
    found: dict[str, list[Header]] = {}
    listed = [
        FileBand(index, Path(header.path).stem, "undefined", header.bands[0].common)
        for index, header in enumerate(files, start=1)
    ]
    for item in bands:
        name = item if isinstance(item, str) else str(getattr(item, "name", item))
        matches = [] if isinstance(item, int) else [files[index - 1] for index in find_bands(item, listed)]
        if not matches:
            _check_one_band(files, listed, item)
            return None
        if counts_as_sentinel(bands):
            matches[0].check_sensor(item, 1, Path(matches[0].path).stem)
        found[name] = matches
    return found


def _check_one_band(files: list[Header], listed: Sequence[FileBand], item: BandRequest) -> None:
    """Refuse files that are several bands of a scene, none of them the wanted one: a mosaic of them would be wrong."""
    names = {band.common or band_of_name(band.description) or _number_in(band.description) for band in listed} - {""}
    if len(names) > 1:
        raise BandError(
            f"none of {len(files)} files, such as '{files[0].given}', is the band {spoken(item)}, and by their names "
            f"they are the bands {', '.join(sorted(names))}; give the file of that band as input."
        )


def _number_in(stem: str) -> str:
    """The word of a file's name that numbers a band, such as ``band5``; empty without one."""
    found = re.search(r"(?<![a-z])b(?:and)?_?\d{1,2}a?(?![a-z0-9])", stem, re.IGNORECASE)
    return found[0] if found else ""


def _is_picture(header: Header) -> bool:
    """Say whether a file shows a scene and is not its data, as a product has them beside its bands."""
    return len(header.bands) > 1 and not _PICTURES.isdisjoint(re.split(r"[^a-z]+", Path(header.path).stem.lower()))


def _noted(sources: list[Source], positions: Sequence[int], calibration: Calibration) -> list[Source]:
    """Note files whose numbers may be in another unit than those of the first file that declares one."""
    wanted = [place < len(calibration.units) and calibration.units[place] is not None for place in positions]
    if calibration.override is not None:
        return sources
    if not any(wanted):
        return _noted_unlike(sources)
    declaring = [
        any(unit is not None and is_wanted for unit, is_wanted in zip(source.units, wanted, strict=False))
        for source in sources
    ]
    if all(declaring) or not any(declaring):
        return sources
    first = sources[declaring.index(True)].given
    note = f"declares no scale and is read as it is stored, unlike '{first}'; give files of one kind, or --scale."
    return [
        source if declares else replace(source, notes=(*source.notes, note))
        for source, declares in zip(sources, declaring, strict=True)
    ]


def _noted_unlike(sources: list[Source]) -> list[Source]:
    """Note files that declare another scale than the first one, where all are read as they are stored."""
    lines = [[unit or AS_STORED for unit in source.units or [None] * len(source.indexes)] for source in sources]
    note = (
        f"declares another scale than '{sources[0].given}', and the model declares none, so that both are read as they "
        "are stored; give files of one scale, or scale: 1 where it is meant so."
    )
    return [
        source if line == lines[0] else replace(source, notes=(*source.notes, note))
        for source, line in zip(sources, lines, strict=True)
    ]


def _check_apart(sources: list[Source]) -> None:
    """Refuse several rasters in pixel coordinates, which would overlap."""
    plain = [source for source in sources if is_plain(source.geobox) and source.geobox.transform == UPRIGHT]
    if len(plain) > 1:
        raise CrsError(
            f"{len(plain)} rasters are not georeferenced (such as '{plain[0].given}' and '{plain[1].given}') and would "
            "overlap at the same pixels; process each in its own run."
        )


def _grid(geoboxes: list[GeoBox], resolution: float | None) -> GeoBox:
    """Return the grid of the first raster, over all of them, at a resolution."""
    first = geoboxes[0]
    if any((other.crs is None) != (first.crs is None) for other in geoboxes):
        raise CrsError("some files have a coordinate reference system and some have none; assign the missing ones.")
    geobox = first if all(other == first for other in geoboxes) else covering(first, geoboxes[1:])
    return geobox if resolution is None or is_plain(geobox) else at_resolution(geobox, resolution)
