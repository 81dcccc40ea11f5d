"""From what a person names to one raster: items and searches here, files by `geoseg.raster.open_raster`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

from odc.geo.geobox import GeoBox

from geoseg.errors import CatalogError, RasterError, WorkflowError
from geoseg.imagery.dates import Date, Share, check_stacked, read_dates, share, stack, taken
from geoseg.imagery.qa_mask import QaMaskRule, read_qa_mask_rule
from geoseg.options import Mosaic
from geoseg.raster import Raster, open_raster
from geoseg.raster.attempts import Attempts, OnError
from geoseg.raster.bands import BandRequest
from geoseg.raster.calibration import Calibration, Line, NoData
from geoseg.raster.given import given_imagery, named, with_stores
from geoseg.raster.header import read_header
from geoseg.raster.layers import Layer, PlacedSource
from geoseg.raster.opening import list_files
from geoseg.raster.overlay import Order
from geoseg.raster.products import quality_of
from geoseg.raster.scenes import QaMask, Scene
from geoseg.vector import Region, RegionLike, read_region

if TYPE_CHECKING:
    from geoseg.imagery.item_reader import ItemReader, ItemScene


@dataclass(frozen=True)
class Rule:
    """Which pixel is taken where scenes overlap.

    Attributes
    ----------
    key : callable or None
        What scenes are sorted by, the first on top; in the order in which they are given when None. Files are no
        scenes of STAC items, so they know only rules without one.
    order : str
        What a pixel is where several scenes are valid.
    """

    key: Callable[[ItemScene], Any] | None = None
    order: Order = "first"


RULES: Mapping[Mosaic, Rule] = {
    "first": Rule(),
    "newest": Rule(lambda scene: (-scene.taken.timestamp(), scene.name)),
    "least_cloudy": Rule(lambda scene: (scene.cloud_cover, -scene.taken.timestamp(), scene.name)),
    "median": Rule(order="median"),
}
"""The table of mosaic rules, by the names that the option has."""


def open_imagery(
    input: Any,  # noqa: A002 - one word for the option, the key and the argument
    *,
    bands: Sequence[BandRequest] | None = None,
    resolution: float | None = None,
    region: RegionLike | None = None,
    zoom: int | None = None,
    crs: str | int | None = None,
    mosaic: Mosaic = "first",
    mask: QaMaskRule | str | Mapping[str, Any] | None = None,
    collections: Sequence[str] | str | None = None,
    datetime: str | None = None,
    query: Any = None,
    remove_offset: bool = True,
    scale: float | None = None,
    offset: float | None = None,
    nodata: NoData = None,
    units: Sequence[Line | None] = (),
    on_error: OnError = "stop",
    dates: Sequence[str] = (),
    geobox: GeoBox | None = None,
) -> Raster:
    """Open imagery of any kind as one raster.

    Parameters
    ----------
    input : path, address, DatasetReader, DataArray, Dataset, list or mapping
        As `geoseg.raster.open_raster` takes it, a name of the catalog, or STAC: a file or address of an item, an item
        collection, a catalog or a collection, or the address of a STAC API. Or several dates, which are stacked: a
        mapping of their names to imagery, or to mappings with ``"input"`` and options of that date's own.
    bands : sequence, optional
        Which bands, in which order: names, common names, keys of assets, numbers, or bands of a model.
    resolution : float, optional
        Metres on the ground per pixel; that of the imagery when None.
    region : Region, str, path, GeoDataFrame, GeoSeries or shapely geometry, optional
        With STAC only scenes that touch it are read, and the raster ends where it ends; as that of tiles does, which
        need one.
    zoom : int, optional
        Of a tile service; when None the coarsest that is as fine as the resolution.
    crs : str or int, optional
        CRS of rasters that have none; see `geoseg.raster.open_raster`.
    mosaic : str
        Name of a rule of `RULES`.
    mask : QaMaskRule, str or mapping, optional
        Which pixels of each scene are not used, by a classification: ``"scl:3,8,9,10"``.
    collections, datetime, query : optional
        What of a catalog is wanted; see `geoseg.imagery.searching`.
    remove_offset : bool
        Whether the offset that a catalog declares is taken off the digital numbers, and all scenes are brought to the
        scale of the first one. So Sentinel-2 of before and after 2022 mean the same.
    scale, offset : float, optional
        A stored pixel x is read as ``scale * x + offset``, whatever its file or catalog declares; 1 reads it as stored.
    nodata : float or "none", optional
        The value of pixels without data, in place of what is declared; ``"none"``: every value is data.
    units : sequence of (float, float) or None
        Units of the numbers that are wanted, one ``(scale, offset)`` a band, such as ``(0.0001, 0)`` for reflectance
        x 10,000: bands that declare what they mean are brought to them, each file by what it says itself.
    on_error : str
        ``"skip"`` leaves out those of several files or scenes that cannot be opened, and warns.
    dates : sequence of str
        Names of the dates that a model takes, in its order; without them dates are in the order in which they are
        given.
    geobox : GeoBox, optional
        Read onto this grid instead, such as the grid of another raster.

    Returns
    -------
    Raster
        A recipe; nothing is read yet.

    Raises
    ------
    CatalogError
        Something is no STAC, or nothing in it is wanted.
    WorkflowError
        Words that do not fit the input.
    GeosegError
        As `geoseg.raster.open_raster`.
    """
    near = region if region is None or isinstance(region, Region) else read_region(region)
    shared: dict[str, Any] = {
        "resolution": resolution, "region": near, "zoom": zoom, "crs": crs, "mosaic": mosaic, "mask": mask,
        "collections": collections, "datetime": datetime, "query": query, "remove_offset": remove_offset,
        "scale": scale, "offset": offset, "nodata": nodata, "on_error": on_error, "geobox": geobox,
    }  # fmt: skip
    if several := read_dates(input, bands, dates, len(units)):
        return _open_dates(several, share(several, bands, units), shared)
    if bands is not None and taken(bands, dates) > 1:  # numbers tell dates apart, and names do not
        return check_stacked(_open_one(input, bands=None, units=units, **shared), input, bands, dates)
    return _open_one(input, bands=bands, units=units, **shared)


def _open_dates(dates: Sequence[Date], shares: Sequence[Share], shared: Mapping[str, Any]) -> Raster:
    """Open each date as an input of its own, all on the grid of the first, and stack them."""
    rasters: list[Raster] = []
    for date, (bands, units) in zip(dates, shares, strict=True):
        options = {**shared, **date.options, "bands": bands, "units": units}
        rasters.append(_open_one(date.input, **options))
        shared = {**shared, "geobox": rasters[0].geobox}
    return stack(dates, rasters)


def _open_one(
    input: Any,  # noqa: A002 - one word for the option, the key and the argument
    *,
    bands: Sequence[BandRequest] | None,
    units: Sequence[Line | None],
    resolution: float | None,
    region: Region | None,
    zoom: int | None,
    crs: str | int | None,
    mosaic: Mosaic,
    mask: QaMaskRule | str | Mapping[str, Any] | None,
    collections: Sequence[str] | str | None,
    datetime: str | None,
    query: Any,
    remove_offset: bool,
    scale: float | None,
    offset: float | None,
    nodata: NoData,
    on_error: OnError,
    geobox: GeoBox | None,
) -> Raster:
    """Open imagery of one date, as `open_imagery` takes it."""
    from geoseg.catalog import resolve_input
    from geoseg.imagery.documents import is_document, is_read_item, load_documents, read_items, well_formed
    from geoseg.imagery.item_reader import ItemReader
    from geoseg.imagery.searching import Search, read_query
    from geoseg.imagery.tile_services import TileRequest, has_tiles, of_tilejson, with_tiles

    if mosaic not in RULES:
        raise WorkflowError(f"mosaic '{mosaic}' is not known; use {', '.join(RULES)}.")
    qa_rule = mask if mask is None or isinstance(mask, QaMaskRule) else read_qa_mask_rule(mask)
    wanted = [collections] if isinstance(collections, str) else list(collections or ())
    search = Search(tuple(wanted), datetime, read_query(query), region)
    calibration = Calibration(scale, offset, nodata, tuple(units))
    request = TileRequest(region, zoom, resolution)
    given = input if is_read_item(input) else with_tiles(with_stores(resolve_input(given_imagery(input))), request)
    documents = load_documents(given) if is_document(given) else {}
    if any("tilejson" in document for document in documents.values()):
        given, documents = [request.open(of_tilejson(*pair)) for pair in documents.items()], {}
    if zoom is not None and not has_tiles(given):
        raise WorkflowError(f"zoom belongs to tile services, and '{named(given)}' is none; leave it out.")
    if documents:
        reader = ItemReader(bands, qa_rule, remove_offset, calibration, Attempts(on_error))
        with well_formed(f"an item of '{next(iter(documents))}'"):
            return _open_items(read_items(documents, search), reader, resolution, region, mosaic, geobox)
    if not search.is_empty:
        raise WorkflowError(
            f"'{given}' is not a STAC catalog or API; give STAC, or leave collections, datetime and query out."
        )
    return _open_files(given, bands, resolution, crs, mosaic, qa_rule, calibration, on_error, geobox)


def _open_items(
    items: Sequence[Mapping[str, Any]],
    reader: ItemReader,
    resolution: float | None,
    region: Region | None,
    mosaic: Mosaic,
    geobox: GeoBox | None,
) -> Raster:
    """Lay the scenes of many items onto one grid."""
    from geoseg.imagery.gridding import common_grid

    item_scenes, qa_rule = reader.read(items), reader.qa_rule
    is_whole = geobox is None and region is None
    place = "the region" if geobox is None else "the area of the first date"
    if geobox is None:
        geobox = common_grid([file.geobox for item in item_scenes for file in item.files], resolution, region)
    rule = RULES[mosaic]
    if rule.key is not None:
        item_scenes.sort(key=rule.key)

    def scene(item: ItemScene) -> Scene:
        qa_mask = None
        if item.qa_mask is not None and qa_rule is not None:
            qa_mask = QaMask(PlacedSource.of(item.qa_mask, geobox, "nearest"), qa_rule.exclude, qa_rule.bit_mask)
        pieces = tuple(PlacedSource.of(file, geobox) for file in item.files)
        taken, document = _said(item.taken), dict(item.document)
        scene = Scene(item.name, pieces, item.positions, item.files[0].dtype, qa_mask, item.href, taken, document)
        if is_whole:
            scene.check_overlap()
        return scene

    placed = reader.attempts.each(item_scenes, scene, lambda item: item.name)
    scenes = tuple(found for found in placed if found.extent.area)
    if not scenes:
        raise CatalogError(f"no scene that was found has pixels in {place}; ask for other scenes or another region.")
    names, skipped = item_scenes[0].names, tuple(reader.attempts.skipped)
    raster = Raster(geobox, names, scenes[0].dtype, (Layer(tuple(range(len(names))), scenes, rule.order),), skipped)
    raster.check_filled()
    return raster


def _open_files(
    given: Any,
    bands: Sequence[BandRequest] | None,
    resolution: float | None,
    crs: str | int | None,
    mosaic: Mosaic,
    qa_rule: QaMaskRule | None,
    calibration: Calibration,
    on_error: OnError,
    geobox: GeoBox | None,
) -> Raster:
    """Open files, which have neither dates nor clouds; a classification only where each band has one file."""
    if RULES[mosaic].key is not None:
        of_files = [name for name, rule in RULES.items() if rule.key is None]
        raise WorkflowError(
            f"mosaic: {mosaic} sorts scenes of STAC items, and files are none; describe them first with "
            f"`geoseg catalog add`, or use {' or '.join(of_files)}."
        )
    files = dict(given) if isinstance(given, Mapping) else given
    if qa_rule is None:
        return open_raster(
            files,
            bands=bands,
            resolution=resolution,
            geobox=geobox,
            crs=crs,
            mosaic=RULES[mosaic].order,
            calibration=calibration,
            on_error=on_error,
        )
    order = RULES[mosaic].order
    if (of_product := _product_scenes(files, qa_rule, bands, resolution, crs, calibration, order, geobox)) is not None:
        return of_product
    if not isinstance(files, dict) or qa_rule.asset not in files:
        raise WorkflowError(
            f"mask names '{qa_rule.asset}', which the input does not have; give STAC items with that asset, or name "
            "its file among the bands: `input: {red: ..., scl: ...}`."
        )
    paths = list_files(files.pop(qa_rule.asset))
    raster = open_raster(files, bands=bands, resolution=resolution, crs=crs, calibration=calibration, geobox=geobox)
    if len(paths) != 1 or any(len(layer.pieces) != 1 for layer in raster.layers):
        raise WorkflowError("mask goes with one file a band; describe several scenes first with `geoseg catalog add`.")
    scene = replace(raster.by_scene().scenes[0], qa_mask=_qa_mask(*paths[0], raster, qa_rule))
    return raster.with_scenes([scene])


def _qa_mask(given: str, path: str, raster: Raster, qa_rule: QaMaskRule) -> QaMask:
    """A classification in the first band of a file, on the grid of a raster."""
    classes, _ = read_header(path, given).select([1])
    if classes.dtype.kind not in "iu":
        raise RasterError(f"'{given}' holds {classes.dtype} numbers, not classes; a mask needs whole numbers.")
    return QaMask(PlacedSource.all_of(classes, raster.geobox, "nearest")[0], qa_rule.exclude, qa_rule.bit_mask)


def _product_scenes(
    files: Any,
    qa_rule: QaMaskRule,
    bands: Sequence[BandRequest] | None,
    resolution: float | None,
    crs: str | int | None,
    calibration: Calibration,
    order: Order,
    geobox: GeoBox | None,
) -> Raster | None:
    """Products whose own quality files mask them, each of them a scene; None where some file is of no such product."""
    if isinstance(files, dict) or not (named_files := [pair for pair in list_files(files) if isinstance(pair[1], str)]):
        return None
    masks: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    for _, path in named_files:
        if (found := quality_of(path, qa_rule.asset)) is None:
            return None
        masks[found[0]] = found[1]
        members.setdefault(found[0], []).append(path)
    whole = open_raster(files, bands=bands, resolution=resolution, crs=crs, calibration=calibration, geobox=geobox)
    scenes = []
    for name, paths in members.items():
        one = open_raster(paths, bands=bands, geobox=whole.geobox, crs=crs, calibration=calibration)
        qa_mask = _qa_mask(masks[name], masks[name], whole, qa_rule)
        scenes.append(replace(one.by_scene().scenes[0], name=name, dtype=whole.dtype, qa_mask=qa_mask))
    return whole.with_scenes(scenes, order)


def _said(taken: Any) -> str:
    """A moment as STAC writes it; nothing where it is not known."""
    return "" if taken.year == 1 else taken.astimezone(UTC).isoformat().replace("+00:00", "Z")
