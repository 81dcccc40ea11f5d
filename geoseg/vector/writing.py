"""Features to a file in one of the formats of the table here, streamed in batches, whole or not at all.

A file is written into a hidden folder beside its place and then renamed with all its companions. It knows formats by
their endings and leaves each to a module; it does not know what the columns mean.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from pyproj import CRS

from geoseg.errors import CrsError, FormatError, GeosegError, LayerError, OutputError, VectorError
from geoseg.files import move_into_place, refuse_folder, swap_into_place, working_folder
from geoseg.vector import styles
from geoseg.vector.earth import EARTHLY, earth_transformer
from geoseg.vector.gdal import write_geojson, write_layer, write_shapefile
from geoseg.vector.geopackage import OWN, check_layer, holds_something, put_layer, refuse_edited, sign_layer
from geoseg.vector.geoparquet import check_partition, is_partitioned, is_parts_alone, parts_of, write_geoparquet
from geoseg.vector.pmtiles import write_pmtiles
from geoseg.vector.stream import FeatureStream, Overviews, Partition
from geoseg.vector.styles import StyledClass
from geoseg.vector.tables import check_name
from geoseg.vector.wkb import GeometryType

Writer = Callable[[Path, FeatureStream, str], None]
"""Writes features to a new file, into a layer of that name where the format has layers."""


@dataclass(frozen=True)
class Format:
    """One row of the table of formats.

    Attributes
    ----------
    name : str
        Of the format; GDAL's where GDAL writes it.
    media_type : str
        As STAC's best practices have it.
    write : callable
        Writes the file.
    is_exact : bool
        Whether features can be read again as they are; tiles hold generalised copies, for the eye.
    companions : tuple of str
        Endings of files that belong to a file, and must not outlive it; a .qml or .shp.xml may be a person's, and
        stays.
    """

    name: str
    media_type: str
    write: Writer
    is_exact: bool = True
    companions: tuple[str, ...] = ()


def by_gdal(driver: str, **dataset_options: str) -> Writer:
    """Let GDAL write a format that takes features as they are, with creation options of its driver."""

    def write(path: Path, stream: FeatureStream, layer: str) -> None:
        write_layer(
            path,
            driver,
            stream.schema,
            stream.record_batches(),
            layer=layer,
            crs=stream.crs,
            geometry_type=stream.geometry_type,
            dataset_options=dataset_options,
        )

    return write


FORMATS: Mapping[str, Format] = {
    ".gpkg": Format(
        "GPKG",
        "application/geopackage+sqlite3",
        by_gdal("GPKG", VERSION="1.2"),  # GDAL 3.6, as in QGIS 3.22, warns at each opening of a later one
        companions=(".gpkg-wal", ".gpkg-shm", ".gpkg-journal"),
    ),
    ".parquet": Format(
        "GeoParquet",
        "application/vnd.apache.parquet",
        lambda path, stream, _: write_geoparquet(path, stream),
    ),
    ".fgb": Format("FlatGeobuf", "application/vnd.flatgeobuf", by_gdal("FlatGeobuf")),
    ".shp": Format(
        "ESRI Shapefile",
        "application/octet-stream",
        lambda path, stream, _: write_shapefile(path, stream),
        companions=(".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx"),
    ),
    ".geojson": Format("GeoJSON", "application/geo+json", write_geojson),
    ".pmtiles": Format("PMTiles", "application/vnd.pmtiles", write_pmtiles, is_exact=False),
}
"""The table of formats, by the ending of a file; what reads polygons again prefers the first."""

COLUMNS: Mapping[str, str] = {
    "class": "int64",
    "name": "str",
    "area_m2": "float64",
    "perimeter_m": "float64",
    "pixels": "int64",
    "confidence": "float64",
}
"""Columns of a layer of polygons and their NumPy types."""


_HEAD = 2**16
"""Bytes of GeoJSON that are looked at."""

_KNOWN = frozenset({"class", "name", "area_m2"})
"""Columns by which polygons that geoseg wrote are known in a format whose files have one layer."""


def check_place(path: Path, layer: str, columns: Collection[str] = OWN) -> None:
    """Refuse to replace polygons that geoseg did not write, layers that somebody has edited, and other files.

    Parameters
    ----------
    path : Path
        The file; it need not be there.
    layer : str
        In formats with several.
    columns : collection of str
        What will be written.

    Raises
    ------
    LayerError
        Such a file, or such a layer, is there.
    """
    if path.suffix.lower() == ".gpkg":
        check_layer(path, layer, columns)
        refuse_edited(path, layer)
        return
    table = path.with_suffix(".dbf") if path.suffix.lower() == ".shp" else path  # which may lie there alone
    for file in (path, table):
        if file.exists() and not _columns_of(file) >= _KNOWN:
            raise LayerError(f"'{file}' is there and geoseg did not write it; choose another name for the file")


def _columns_of(path: Path) -> set[str]:
    """Columns of a file of polygons; none of what is no such file."""
    try:
        if path.suffix.lower() == ".parquet":
            part = next(iter(parts_of(path)), path)
            return {*pq.read_schema(part).names, *([part.parent.name.partition("=")[0]] if path.is_dir() else [])}
        if path.suffix.lower() == ".geojson":  # GDAL reads all of it first
            with path.open("rb") as file:
                return {name.decode() for name in re.findall(rb'"(\w+)"\s*:', file.read(_HEAD))}
        return set(pyogrio.read_info(path)["fields"])
    except (OSError, pa.ArrowInvalid, pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError):
        return set()


def check_format(path: Path, crs: Any = None) -> Format:
    """Find the format of a file by its ending.

    Parameters
    ----------
    path : Path
        The file; it need not be there.
    crs : anything pyproj takes, optional
        Of what will be written.

    Raises
    ------
    FormatError
        Names the known endings; or a list of files was given as one.
    VectorError
        The format holds places on earth, and the CRS has none.
    """
    ending = path.suffix.lower()
    several = [Path(name) for name in path.name.split(",")]
    if len(several) > 1 and all(name.suffix.lower() in FORMATS for name in several):
        raise FormatError(f"'{path.name}' are {len(several)} files in one name; give each by itself.")
    if ending not in FORMATS:
        raise FormatError(f"the ending '{path.suffix}' of '{path}' is not a vector format; use {', '.join(FORMATS)}")
    found = FORMATS[ending]
    if crs is not None and found.name in EARTHLY:
        earth_transformer(CRS.from_user_input(crs), "EPSG:4326", EARTHLY[found.name])
    return found


def write_features(
    path: str | Path,
    batches: Iterable[pa.Table],
    *,
    layer: str,
    crs: Any,
    columns: Mapping[str, str] = COLUMNS,
    geometry_type: GeometryType = "Polygon",
    style: Sequence[StyledClass] | None = None,
    partition: Partition | None = None,
    overviews: Overviews | None = None,
) -> int:
    """Write features to a file; a file that is there is replaced once the new one is whole.

    Of a GeoPackage that is there only the layer is replaced, in one transaction; all else that it holds stays. A
    folder is replaced where it holds the parts of a GeoParquet file and nothing else.

    Parameters
    ----------
    path : str or Path
        Its ending chooses the format: .gpkg, .parquet, .fgb, .shp, .geojson (in WGS 84 degrees) or .pmtiles (vector
        tiles in EPSG:3857, seven zooms up to the one that shows the shortest edges).
    batches : iterable of Table
        The features as Arrow tables with the columns and a column ``geometry`` of WKB, in the order of the file (those
        of .parquet and .fgb are sorted along a Hilbert curve); none at all gives an empty layer with its columns. A
        GeoDataFrame becomes one by ``pa.table(frame.to_arrow(index=False))``.
    layer : str
        Name of the layer, where the format has one.
    crs : anything pyproj takes
        CRS of every batch.
    columns : mapping of str to str
        Columns to write and their NumPy types.
    geometry_type : str
        ``"Polygon"``, or ``"MultiPolygon"``, to which polygons are promoted.
    style : sequence of StyledClass, optional
        Colours and names of the classes, for QGIS: within a GeoPackage, beside other files as .qml.
    partition : str, optional
        Write GeoParquet as a folder of Hive partitions.
    overviews : Overviews, optional
        What small zooms of .pmtiles show; without it that is the features that are large enough.

    Returns
    -------
    int
        Number of features.

    Raises
    ------
    VectorError
        The format is not known or cannot hold the features, or there is a style but no column ``class``.
    CrsError
        There is no CRS.
    OutputError
        The file cannot be written, or is a GeoPackage with a layer of that name that geoseg did not write.

    Warns
    -----
    FormatWarning
        The format could not hold something as it is; says what was changed. That a Shapefile calls ``perimeter_m``
        ``perim_m`` is not worth a warning.
    """
    path = Path(path)
    chosen = check_format(path)
    check_name(path, OutputError)
    if crs is None:
        raise CrsError(f"'{path}' cannot be written without a CRS; give the raster one")
    for item in style or ():
        if item.column not in columns:
            raise VectorError(f"the style of '{path}' needs the column '{item.column}'; write it, or omit the style")
    stream = FeatureStream(batches, CRS.from_user_input(crs), columns, geometry_type, partition, overviews)
    check_layer(path, layer, columns)
    check_partition(path, partition, stream.crs)
    if not (is_partitioned(path, partition) or is_parts_alone(path)):
        refuse_folder(path)
    with _whole_or_not_at_all(path, partial(put_layer, layer=layer, style=style)) as unfinished:
        chosen.write(unfinished, stream, layer)
        if chosen.name == "GPKG":
            sign_layer(unfinished, layer)
        if style is not None and chosen.name == "GPKG":
            with closing(sqlite3.connect(unfinished)) as connection, connection:
                styles.put_style(connection, layer, style)
        elif style is not None and styles.is_own(path.with_suffix(".qml")):
            styles.write_qml(unfinished.with_suffix(".qml"), style)
    return stream.count


@contextmanager
def _whole_or_not_at_all(path: Path, put: Callable[[Path, Path], None]) -> Iterator[Path]:
    """Give a path to write to, in a hidden folder beside the file; when all went well, rename or put what is there."""
    try:
        with working_folder(path) as hidden:
            yield hidden / path.name
            if holds_something(path):
                put(path, hidden / path.name)
            else:
                _move_into_place(hidden, path)
    except GeosegError:
        raise
    except (OSError, RuntimeError, sqlite3.Error, pa.ArrowException, pyogrio.errors.DataSourceError) as error:
        raise OutputError(f"'{path}' cannot be written ({error}); free some space, or choose another folder") from error


def _move_into_place(hidden: Path, path: Path) -> None:
    """Rename all files, the main one last, and remove what belonged to the file that was there."""
    written = {file.name for file in hidden.iterdir()}
    for ending in FORMATS[path.suffix.lower()].companions:
        companion = path.with_name(path.stem + ending)
        if companion.name not in written:
            companion.unlink(missing_ok=True)
    for name in sorted(written, key=lambda name: name == path.name):
        there = path.with_name(name)
        move = swap_into_place if (hidden / name).is_dir() or there.is_dir() else move_into_place
        move(hidden / name, there)
