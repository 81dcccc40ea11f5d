"""Features to a file in one of five formats, streamed in batches, whole or not at all.

A file is written into a hidden folder beside its place and then renamed with all its companions. Batches are cut anew
to one size first, so that bytes do not depend on how the features came. It knows tables with a geometry column; it
does not know what the columns mean.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geoseg.errors import CrsError, GeosegError, OutputError, VectorError
from geoseg.vector.geoparquet import write_geoparquet
from geoseg.vector.shapefile import Fitting

FORMATS: Mapping[str, str] = {
    ".gpkg": "GPKG",
    ".parquet": "GeoParquet",
    ".fgb": "FlatGeobuf",
    ".shp": "ESRI Shapefile",
    ".geojson": "GeoJSON",
}
"""Known endings of vector files, and the format that each one stands for."""

COMPANIONS: Mapping[str, tuple[str, ...]] = {
    ".gpkg": (".gpkg-wal", ".gpkg-shm", ".gpkg-journal"),
    ".shp": (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".shp.xml"),
}
"""Endings of files that belong to a file, and must not outlive it."""

COLUMNS: Mapping[str, str] = {"class": "int32", "name": "str", "area_m2": "float64", "confidence": "float64"}
"""Columns of a layer of polygons and their NumPy types."""

BATCH = 32_768
"""Features written at once, and features in a row group of GeoParquet."""

EDGE = 1_000.0
"""Longest edge, m, that is projected to degrees by its ends alone; at 45 degrees it then strays by 2 cm."""

GeometryType = Literal["Polygon", "MultiPolygon"]


def check_format(path: Path) -> str:
    """Find the format of a file by its ending.

    Raises
    ------
    VectorError
        Names the known endings.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise VectorError(f"the ending '{path.suffix}' of '{path}' is no known vector format; use {', '.join(FORMATS)}")
    return FORMATS[ending]


def write_features(
    path: str | Path,
    batches: Iterable[gpd.GeoDataFrame],
    *,
    layer: str,
    crs: Any,
    columns: Mapping[str, str] = COLUMNS,
    geometry_type: GeometryType = "Polygon",
) -> int:
    """Write features to a file; a file that is there is replaced once the new one is whole.

    Parameters
    ----------
    path : str or Path
        Its ending chooses the format: .gpkg, .parquet, .fgb, .shp or .geojson (in WGS 84 degrees).
    batches : iterable of GeoDataFrame
        The features, in the order of the file; none at all gives an empty layer with its columns.
    layer : str
        Name of the layer, where the format has one.
    crs : anything pyproj takes
        CRS of every batch.
    columns : mapping of str to str
        Columns to write and their NumPy types.
    geometry_type : str
        ``"Polygon"``, or ``"MultiPolygon"``, to which polygons are promoted.

    Returns
    -------
    int
        Number of features.

    Raises
    ------
    VectorError
        The format is not known or cannot hold the features.
    CrsError
        There is no CRS.
    OutputError
        The file cannot be written.

    Warns
    -----
    FormatWarning
        The format could not hold something as it is; says what was changed.
    """
    path = Path(path)
    name = check_format(path)
    if crs is None:
        raise CrsError(f"'{path}' cannot be written without a CRS; give the raster one")
    table = _Table(batches, CRS.from_user_input(crs), columns, geometry_type)
    with _whole_or_not_at_all(path) as unfinished:
        if name == "GeoParquet":
            write_geoparquet(unfinished, table.schema, table.record_batches(), table.crs, geometry_type)
        elif name == "ESRI Shapefile":
            _write_shapefile(unfinished, table)
        elif name == "GeoJSON":
            _write_geojson(unfinished, table, layer)
        else:
            _write_gdal(unfinished, name, table.record_batches(), table.schema, layer=layer, crs=table.crs,
                        geometry_type=geometry_type)  # fmt: skip
    return table.count


class _Table:
    """A stream of features as Arrow record batches of one size."""

    def __init__(
        self, batches: Iterable[gpd.GeoDataFrame], crs: CRS, columns: Mapping[str, str], geometry_type: GeometryType
    ) -> None:
        self.batches, self.crs, self.columns, self.geometry_type = batches, crs, columns, geometry_type
        fields = [pa.field(name, _arrow_type(dtype)) for name, dtype in columns.items()]
        wkb = pa.field("geometry", pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
        self.schema = pa.schema([*fields, wkb])
        self.count = 0

    def record_batches(self) -> Iterator[pa.RecordBatch]:
        """Features in batches of `BATCH`, the last one smaller."""
        waiting = self.schema.empty_table()
        for frame in self.batches:
            for start in range(0, len(frame), BATCH):
                waiting = pa.concat_tables([waiting, self._arrow(frame.iloc[start : start + BATCH])])
                if len(waiting) >= BATCH:
                    yield self._counted(waiting.slice(0, BATCH))
                    waiting = waiting.slice(BATCH)
        if len(waiting):
            yield self._counted(waiting)

    def _counted(self, table: pa.Table) -> pa.RecordBatch:
        self.count += len(table)
        return table.combine_chunks().to_batches()[0]

    def _arrow(self, frame: gpd.GeoDataFrame) -> pa.Table:
        if frame.crs is not None and frame.crs != self.crs:
            raise VectorError(
                f"features in '{frame.crs.name}' do not fit a layer in '{self.crs.name}'; project them first"
            )
        missing = [name for name in self.columns if name not in frame]
        if missing:
            present = ", ".join(map(str, frame.columns))
            raise VectorError(f"the features have no column '{missing[0]}'; write some of the columns {present}")
        arrays = [
            pa.array(frame[name].to_numpy(), field.type, from_pandas=True)
            for name, field in zip(self.columns, self.schema, strict=False)
        ]
        geometry = _of_type(frame.geometry.to_numpy(), self.geometry_type)
        wkb = shapely.to_wkb(geometry, output_dimension=2, byte_order=1)
        return pa.Table.from_arrays([*arrays, pa.array(wkb, pa.binary())], schema=self.schema)


def _arrow_type(dtype: str) -> pa.DataType:
    return pa.string() if dtype == "str" else pa.from_numpy_dtype(np.dtype(dtype))


def _of_type(geometry: NDArray[np.object_], wanted: GeometryType) -> NDArray[np.object_]:
    """Check the type of geometries, and make multipolygons of polygons where they are wanted."""
    is_polygon = shapely.get_type_id(geometry) == shapely.GeometryType.POLYGON
    is_multi = shapely.get_type_id(geometry) == shapely.GeometryType.MULTIPOLYGON
    wrong = ~is_polygon & ~(is_multi & (wanted == "MultiPolygon"))
    if wrong.any():
        kind = "nothing" if geometry[wrong][0] is None else geometry[wrong][0].geom_type
        raise VectorError(f"a feature is a {kind} where the layer holds {wanted}s; choose geometry_type='MultiPolygon'")
    if wanted == "Polygon":
        return geometry
    promoted = geometry.copy()
    promoted[is_polygon] = [shapely.MultiPolygon([polygon]) for polygon in geometry[is_polygon]]
    return promoted


def _write_gdal(
    path: Path,
    driver: str,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    *,
    layer: str,
    crs: CRS,
    geometry_type: str,
    **options: str,
) -> None:
    """Stream record batches through Arrow into a layer of GDAL's.

    Arrow's C interface turns every exception of the stream into one of its own, so the first one is kept.
    """
    errors: list[Exception] = []
    reader = pa.RecordBatchReader.from_batches(schema, _remembering(batches, errors))
    try:
        pyogrio.write_arrow(
            reader,
            path,
            layer=layer,
            driver=driver,
            geometry_name="geometry",
            geometry_type=geometry_type,
            crs=_crs_text(crs),
            layer_options=options or None,
        )
    except Exception as error:
        if errors:
            raise errors[0] from error
        raise


def _remembering(batches: Iterable[pa.RecordBatch], errors: list[Exception]) -> Iterator[pa.RecordBatch]:
    """Pass batches on, and keep the exception that stops them."""
    try:
        yield from batches
    except Exception as error:
        errors.append(error)
        raise


def _write_shapefile(path: Path, table: _Table) -> None:
    """Write a Shapefile, and say what did not fit."""
    fitting = Fitting(path.name, table.schema)
    _write_gdal(
        path,
        "ESRI Shapefile",
        fitting.fit(table.record_batches()),
        fitting.schema,
        layer=path.stem,
        crs=table.crs,
        geometry_type=table.geometry_type,
    )
    fitting.warn()


def _write_geojson(path: Path, table: _Table, layer: str) -> None:
    """Write GeoJSON as RFC 7946 has it: WGS 84, 7 decimals, exteriors counter-clockwise, cut at the antimeridian."""
    try:
        Transformer.from_crs(table.crs, "EPSG:4326", always_xy=True)
    except ProjError as error:
        raise VectorError(
            f"GeoJSON holds longitude and latitude on earth, and '{table.crs.name}' has none ({error}); write .gpkg"
        ) from error
    batches = table.record_batches()
    if table.crs.is_projected:
        batches = _with_short_edges(batches, EDGE / table.crs.axis_info[0].unit_conversion_factor)
    _write_gdal(
        path, "GeoJSON", batches, table.schema, layer=layer, crs=table.crs, geometry_type="Unknown", RFC7946="YES"
    )


def _with_short_edges(batches: Iterable[pa.RecordBatch], longest: float) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        polygons = shapely.from_wkb(batch.column("geometry").to_numpy(zero_copy_only=False))
        wkb = shapely.to_wkb(shapely.segmentize(polygons, longest), byte_order=1)
        yield pa.RecordBatch.from_arrays([*batch.columns[:-1], pa.array(wkb, pa.binary())], schema=batch.schema)


def _crs_text(crs: CRS) -> str:
    """A CRS as GDAL understands it without loss."""
    authority = crs.to_authority(min_confidence=100)
    return ":".join(authority) if authority else crs.to_wkt()


@contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """Give a path to write to, in a hidden folder beside the file; when all went well, rename what is there."""
    if path.is_dir():
        raise OutputError(f"'{path}' is a folder; choose another name for the file")
    hidden: Path | None = None
    try:
        hidden = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        yield hidden / path.name
        _move_into_place(hidden, path)
    except GeosegError:
        raise
    except (OSError, RuntimeError, pa.ArrowException, pyogrio.errors.DataSourceError) as error:
        raise OutputError(f"'{path}' cannot be written ({error}); free the place or choose another one") from error
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)


def _move_into_place(hidden: Path, path: Path) -> None:
    """Rename all files, the main one last, and remove what belonged to the file that was there."""
    written = {file.name for file in hidden.iterdir()}
    for ending in COMPANIONS.get(path.suffix.lower(), ()):
        companion = path.with_name(path.stem + ending)
        if companion.name not in written:
            companion.unlink(missing_ok=True)
    for name in sorted(written, key=lambda name: name == path.name):
        os.replace(hidden / name, path.with_name(name))
