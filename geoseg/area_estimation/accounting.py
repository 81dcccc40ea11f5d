"""Entry points: areas of a map as a table, and a sample of points of it.

It opens what a person gives, and brings classes, zones and points together.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyogrio.errors import FeatureError

from geoseg.area_estimation.counting import VALUES, Progress, count_areas, on_grid
from geoseg.area_estimation.estimation import Estimates, estimate
from geoseg.area_estimation.sampling import draw
from geoseg.errors import (
    EvaluationError,
    ExistingOutputError,
    FormatError,
    GeosegError,
    OutputError,
    RegionError,
    nearest,
)
from geoseg.evaluation.inputs import EvaluationInputLike, find_input
from geoseg.evaluation.report import Table
from geoseg.files import local_path, plain, write_file
from geoseg.grid import Window
from geoseg.held import folder_of
from geoseg.options import AreaOptions, SampleOptions, read_options
from geoseg.options.values import whole
from geoseg.raster import Raster, read_labels, unsigned
from geoseg.raster.legend import read_legend
from geoseg.raster.options import configured
from geoseg.signatures import AreaArguments, SampleArguments
from geoseg.vector.regions import Region, place_region, polygons_of
from geoseg.vector.tables import check_edges, check_name, read_table, table_text
from geoseg.workflow.settings import plain_settings

SQUARE_METRES = {"m2": 1.0, "ha": 1e4, "km2": 1e6, "acres": 4046.8564224}
"""Units of area; an acre is the international one."""

POINTS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".fgb": "FlatGeobuf"}
"""Formats of points, each of one file, by the ending."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Areas:
    """Areas of a map.

    Attributes
    ----------
    name : str
        The map, as it was given.
    names : dict of int to str
        Classes that occur in the map or the sample, by value.
    zones : tuple of str or None
        Names of the zones; None where the layer has none.
    square_metres : NDArray
        float64 (zone + 1, class), m2 by zone and class in the order of ``names``; the whole map comes last.
    settings : AreaOptions
        Options.
    estimates : Estimates or None
        As a sample corrects the map's areas, in m2, in the order of ``names``.
    notes : tuple of str
        What a person should know beside the numbers.
    """

    name: str
    names: dict[int, str]
    zones: tuple[str | None, ...]
    square_metres: Floats
    settings: AreaOptions
    estimates: Estimates | None
    notes: tuple[str, ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each zone and class that occurs there, the whole map last: area in the unit, and its share.

        Zones have their number in the layer too, from 1, since their names may be missing, alike, or ``map``.
        """
        rows, numbers = [], list[int | None]()
        for number, (zone, areas) in enumerate(zip((*self.zones, "map"), self.square_metres, strict=True)):
            total = areas.sum()
            own = [
                (zone, value, name, area / self._unit, area / total)
                for (value, name), area in zip(self.names.items(), areas, strict=True)
                if area
            ]
            rows += own
            numbers += [number + 1 if number < len(self.zones) else None] * len(own)
        table = pd.DataFrame(rows, columns=["zone", "class", "name", f"area_{self.settings.unit}", "share"])
        if self.zones:
            table.insert(1, "zone_number", pd.Series(numbers, dtype=object))
        return table

    @cached_property
    def estimated(self) -> pd.DataFrame:
        """A row a class: mapped and estimated area with the half width of its interval, and accuracies.

        Raises
        ------
        EvaluationError
            No sample was given.
        """
        if self.estimates is None:
            raise EvaluationError("areas are estimated by points of known class; give a sample, as geoseg sample draws")
        found, unit = self.estimates, self.settings.unit
        return pd.DataFrame(
            {
                "class": list(self.names),
                "name": list(self.names.values()),
                f"mapped_{unit}": self.square_metres[-1] / self._unit,
                f"area_{unit}": found.area / self._unit,
                f"error_{unit}": found.area_error / self._unit,
                "users_accuracy": found.users,
                "users_error": found.users_error,
                "producers_accuracy": found.producers,
                "producers_error": found.producers_error,
            }
        )

    @property
    def _unit(self) -> float:
        return SQUARE_METRES[self.settings.unit]

    def __repr__(self) -> str:
        return f"Areas('{self.name}': {len(self.names)} classes, {len(self.zones)} zones)"

    def _repr_html_(self) -> str:
        return (self.table if self.estimates is None else self.estimated).to_html(index=False)

    def tables(self) -> list[Table]:
        """The numbers for people."""
        unit = self.settings.unit
        classes, whole = list(self.names), self.square_metres / self._unit
        shown = [place for place in range(len(classes)) if whole[:, place].any()]
        rows = zip((*self.zones, "map"), whole[:, shown].tolist(), strict=True)
        columns = ("zone", *(self.names[classes[place]] for place in shown))
        found = [Table(f"areas, {unit}", columns, tuple((zone, *row) for zone, row in rows))]
        if self.estimates is not None:
            told = self.estimated
            rows = zip(told["name"], told.drop(columns=["class", "name"]).to_numpy(np.float64).tolist(), strict=True)
            level = f"{100 * self.settings.confidence:.4g} %"
            found.append(
                Table(
                    f"estimated areas, {unit}, and errors at {level}; overall accuracy "
                    f"{self.estimates.overall:.3f} ± {self.estimates.overall_error:.3f}",
                    ("class", "mapped", "estimated", "±", "user's", "±", "producer's", "±"),
                    tuple((str(name), *row) for name, row in rows),
                )
            )
        return found

    def summary(self) -> dict[str, Any]:
        """Every number by name, as JSON can hold it: None where there is none."""
        parts: dict[str, Any] = {"areas": self.table.to_dict("records")}
        if self.estimates is not None:
            parts["estimated"] = self.estimated.to_dict("records")
            parts["overall_accuracy"] = self.estimates.overall
            parts["overall_error"] = self.estimates.overall_error
        given = self.settings.model_dump(exclude_defaults=True)
        result: dict[str, Any] = plain({"map": self.name, "settings": given, "notes": self.notes, **parts})
        return result

    def write_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write areas by zone and class, or the estimated ones where a sample was given and no zones.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        table = self.table if self.zones or self.estimates is None else self.estimated
        path = local_path(path, "csv")
        write_file(path, lambda unfinished: table.to_csv(unfinished, index=False))
        return path

    def write_json(self, path: str | os.PathLike[str]) -> Path:
        """Write every number.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        path = local_path(path, "json")
        text = unsigned(json.dumps(self.summary(), indent=2, ensure_ascii=False, allow_nan=False)) + "\n"
        write_file(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))
        return path


@configured()
def areas(given: EvaluationInputLike, *, progress: Progress | None = None, **settings: Unpack[AreaArguments]) -> Areas:
    """Measure the classes of a map, by zone where zones are given, and estimate them where a sample is.

    Parameters
    ----------
    given : path, DataArray, DatasetReader or RunResult
        A raster of classes, or a run or its folder.
    progress : callable, optional
        Called with the number of windows that are read, and that of all.
    **settings
        Options of areas (docs/options.md), such as ``zones="counties.gpkg"`` and ``unit="km2"``.

    Returns
    -------
    Areas
        The numbers: pixels are measured on the ellipsoid, and those on the edge of a zone count by the part that lies
        in it. Estimates follow Olofsson et al. 2014, with the classes of the map as strata.

    Raises
    ------
    GeosegError
        Something that was given cannot be used; or a class of the map has fewer than two points of the sample.
    """
    told = {**settings, **_texts(settings)}
    wanted = read_options(AreaOptions, plain_settings(told), "the areas")
    raster, name = _open(given)
    notes: list[str] = []
    zones, shapes = _read_zones(wanted, raster, notes)
    values, counted = count_areas(raster, name, shapes, progress)
    legend = read_legend(raster).names
    occurs = {value for value, area in zip(values, counted[-1], strict=True) if area}
    known = legend | {value: str(value) for value in sorted(occurs - legend.keys())}
    points = None if wanted.sample is None else _read_sample(wanted, raster, known, name, notes)
    classes = sorted(occurs if points is None else occurs.union(*map(np.ndarray.tolist, points)))
    names = {value: known.get(value, str(value)) for value in classes}
    found = np.zeros((len(counted), len(classes)))
    found[:, [classes.index(value) for value in values if value in occurs]] = counted[:, counted[-1] > 0]
    estimates = None if points is None else _estimate(found[-1], points, names, wanted)
    return Areas(name, names, zones, found, wanted, estimates, tuple(notes))


@configured()
def sample(
    given: EvaluationInputLike, *, progress: Progress | None = None, **settings: Unpack[SampleArguments]
) -> gpd.GeoDataFrame:
    """Draw a stratified random sample of points of a map, to be labelled by what is really there.

    Parameters
    ----------
    given : path, DataArray, DatasetReader or RunResult
        A raster of classes, or a run or its folder.
    progress : callable, optional
        Called with the number of windows that are read, and that of all.
    **settings
        Options of a sample (docs/options.md), such as ``size=800``.

    Returns
    -------
    GeoDataFrame
        Centres of pixels in the map's CRS, in random order: ``id``, and ``reference``, which is empty; the class of the
        map is left out, so that it does not sway who labels them.

    Raises
    ------
    GeosegError
        What was given cannot be used.
    """
    wanted = read_options(SampleOptions, plain_settings(settings), "the sample")
    raster, name = _open(given)
    rows, columns = draw(raster, name, **wanted.model_dump(), progress=progress)
    if not len(rows):
        raise EvaluationError(f"{name} has no pixel with a class; give a map that has one")
    transform: Any = raster.transform
    x, y = transform @ (columns + 0.5, rows + 0.5)
    empty = pd.array([None] * len(rows), dtype="string")
    return gpd.GeoDataFrame(
        {"id": np.arange(1, len(rows) + 1), "reference": empty},
        geometry=gpd.points_from_xy(x, y),
        crs=str(raster.crs),
    )


def check_points(path: Path) -> None:
    """Refuse a file that points cannot be written to.

    Raises
    ------
    ExistingOutputError
        There is a file already, whose points may be labelled.
    FormatError
        The ending stands for no vector format.
    OutputError
        Its name is one that pyogrio takes apart.
    """
    if path.suffix.lower() not in POINTS:
        raise FormatError(f"'{path}' is none of the formats that points are written in; give {' or '.join(POINTS)}")
    check_name(path.absolute(), OutputError)
    if path.exists():
        raise ExistingOutputError(f"{path} is there already, and its points may be labelled; give another file")


def write_points(points: gpd.GeoDataFrame, path: Path) -> None:
    """Write points to a vector file, by its ending; it raises what `check_points` does.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    check_points(path)

    def write(unfinished: Path) -> None:
        try:
            points.to_file(unfinished, layer=path.stem, driver=POINTS[path.suffix.lower()])
        except (RuntimeError, FeatureError) as error:  # of a full disk too, which GDAL does not name
            raise OSError(str(error)) from error

    write_file(path, write)


def _open(given: Any) -> tuple[Raster, str]:
    """The labels of what is given, and its name."""
    found = find_input(folder_of(given), "map")
    if found.labels is None:
        raise EvaluationError(f"{found.name} has no raster of classes; give one, such as the labels.tif of a run")
    if found.labels.crs is None or found.labels.is_plain:
        raise EvaluationError(f"{found.name} has no CRS, so its pixels have no area; give the raster one")
    return found.labels, found.name


def _texts(settings: AreaArguments) -> dict[str, str]:
    """Zones and sample as text, those in memory with the column that names them."""
    found = {}
    zones, sample = settings.get("zones"), settings.get("sample")
    if zones is not None:
        column = settings.get("zone_column")
        _check_column(zones, column, "the layer of zones", RegionError)
        found["zones"] = table_text(zones, "the zones", [] if column is None else [column], RegionError)
    if sample is not None:
        column = settings.get("reference_column") or AreaOptions().reference_column
        _check_column(sample, column, "the sample", EvaluationError)
        found["sample"] = table_text(sample, "the sample", [column], EvaluationError)
    return found


def _check_column(table: Any, column: str | None, what: str, error: type[GeosegError]) -> None:
    """Refuse a table without a column; what is no table is read later."""
    if isinstance(table, gpd.GeoDataFrame) and column is not None and column not in table.columns:
        known = [str(name) for name in table.columns if name != table.geometry.name]
        raise error(f"{what} has no column '{column}'; {nearest(column, known)}")


def _read_zones(
    wanted: AreaOptions, raster: Raster, notes: list[str]
) -> tuple[tuple[str | None, ...], NDArray[np.object_]]:
    """Names of the zones, and their polygons in the map's CRS."""
    if wanted.zones is None:
        return (), np.empty(0, object)
    table = read_table(wanted.zones, "the zones", "polygons", RegionError, crs=raster.crs)
    kinds = set(table.geom_type) - {"Polygon", "MultiPolygon"}
    if kinds:
        raise RegionError(f"the zones hold a {sorted(kinds)[0]}; give polygons")
    check_edges(table.geometry.to_numpy(), table.crs, "one of the zones", RegionError)
    column = wanted.zone_column
    _check_column(table, column, "the layer of zones", RegionError)
    names = [str(number + 1) if column is None else _text(table[column].iloc[number]) for number in range(len(table))]
    shapes, outside = np.empty(len(table), object), 0
    for number, shape in enumerate(table.geometry):
        try:
            zone = shape if shape.is_valid else polygons_of(shapely.make_valid(shape))
            shapes[number] = polygons_of(place_region(Region(zone, table.crs), raster.geobox).geometry)
        except RegionError:
            shapes[number], outside = shapely.Polygon(), outside + 1
    if outside == len(table):
        raise RegionError("no zone overlaps the map; give zones of the same place")
    if outside:
        notes.append(f"{outside} of {len(table)} zones lie outside of the map")
    if unnamed := names.count(None):
        notes.append(f"{unnamed} of {len(table)} zones have no {column}; zone_number tells which they are")
    return tuple(names), shapes


def _text(value: Any) -> str | None:
    """What stands in a cell; None in a blank one. Whole numbers, which are floats beside blanks, have no point."""
    if np.ndim(value) == 0 and pd.isna(value):
        return None
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return (str(int(value)) if is_whole else str(value).strip()) or None


def _read_sample(
    wanted: AreaOptions, raster: Raster, names: dict[int, str], name: str, notes: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each point the class of the map and the class that was found, int64 (point,)."""
    table = read_table(wanted.sample or "", "the sample", "points", EvaluationError, crs=raster.crs)
    column = wanted.reference_column
    _check_column(table, column, "the sample", EvaluationError)
    told = [_text(value) for value in table[column]]
    is_told = np.array([text is not None for text in told], np.bool_)
    if not is_told.any():
        raise EvaluationError(f"no point of the sample has a class in its column '{column}'; write down what is there")
    if not is_told.all():
        notes.append(f"{int((~is_told).sum())} of {len(table)} points have no {column} and are left out")
    table = table[is_told]
    reference = np.array([_class_of(text, names) for text in told if text is not None], np.int64)
    points = table.geometry if table.crs is None or raster.crs is None else table.to_crs(str(raster.crs)).geometry
    at = on_grid(shapely.centroid(points.to_numpy()), raster)
    columns, rows = np.floor(shapely.get_x(at)).astype(np.int64), np.floor(-shapely.get_y(at)).astype(np.int64)
    mapped = _classes_at(raster, rows, columns)
    if (mapped < 0).any():
        count = int((mapped < 0).sum())
        raise EvaluationError(
            f"{count} of {len(table)} points of the sample lie where {name} has no class; draw a sample of this map"
        )
    return mapped, reference


def _class_of(text: str, names: dict[int, str]) -> int:
    """The class that a person has written, by name or value."""
    for number, name in names.items():
        if text == name:
            return number
    value = whole(text)
    if isinstance(value, int) and 0 <= value < VALUES:
        return value
    raise EvaluationError(
        f"the sample has the class '{text}', which the map does not; {nearest(text, [*names.values()])}"
    )


def _classes_at(raster: Raster, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Class of pixels, int64 (point,); -1 where there is none. Points in one block of the file are read at once."""
    height, width = raster.shape
    found = np.full(len(rows), -1, np.int64)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    blocks = np.where(inside, rows // 512 * (width // 512 + 1) + columns // 512, -1)
    for block in np.unique(blocks[inside]):
        own = np.flatnonzero(blocks == block)
        top, left = int(rows[own].min()), int(columns[own].min())
        window = Window(top, left, int(rows[own].max()) - top + 1, int(columns[own].max()) - left + 1)
        labels, mask = read_labels(raster, window)
        at = rows[own] - top, columns[own] - left
        found[own] = np.where(mask[at], labels[at].astype(np.int64), -1)
    return found


def _estimate(
    areas: Floats, points: tuple[NDArray[np.int64], NDArray[np.int64]], names: dict[int, str], wanted: AreaOptions
) -> Estimates:
    """Estimate areas of the classes that occur."""
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, tuple(np.searchsorted(list(names), side) for side in points), 1)
    few = [name for name, area, row in zip(names.values(), areas, counts, strict=True) if area > 0 and row.sum() < 2]
    if few:
        raise EvaluationError(
            f"the sample has fewer than two points where the map shows {', '.join(few)}; draw one with geoseg sample, "
            "or label more points there"
        )
    return estimate(areas, counts, wanted.confidence)
