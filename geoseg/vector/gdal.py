"""Record batches into a layer of GDAL's, through Arrow, and the two formats that need something first.

A GeoPackage's pragmas were tried: without fsync and without a journal it takes as long, since a new file is written in
one transaction; of the time 40 % is the R-tree, which GDAL builds on a second core while features are written.
It knows streams of features; not where the file will lie in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyogrio
from pyproj import CRS

from geoseg.vector.earth import EARTHLY, earth_transformer, on_earth
from geoseg.vector.shapefile import ShapefileFit
from geoseg.vector.stream import FeatureStream


def write_layer(
    path: Path,
    driver: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    *,
    layer: str,
    crs: CRS,
    geometry_type: str,
    dataset_options: dict[str, str] | None = None,
    layer_options: dict[str, str] | None = None,
) -> None:
    """Stream record batches into the only layer of a new file.

    Arrow's C interface turns every exception of the stream into one of its own, so the first one is kept and raised.
    Python's lock is held while GDAL writes (pyogrio 0.13, where rasterio lets other threads run): files that are
    written at the same time need a process each.

    Parameters
    ----------
    path : Path
        The file.
    driver : str
        GDAL's name of the format.
    schema : Schema
        Of the batches; ``geometry`` is WKB.
    batches : iterable of RecordBatch
        The features.
    layer : str
        Its name.
    crs : CRS
        Of the geometry.
    geometry_type : str
        Of the layer.
    dataset_options, layer_options : dict of str to str, optional
        Creation options of the driver.
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
            dataset_options=dataset_options,
            layer_options=layer_options,
        )
    except Exception as error:
        if errors:
            raise errors[0] from error
        raise


def write_shapefile(path: Path, stream: FeatureStream) -> None:
    """Write a Shapefile, and say what did not fit.

    Raises
    ------
    VectorError
        The file would be larger than the format allows.
    """
    fitting = ShapefileFit(path.name, stream.schema, stream.crs)
    write_layer(
        path,
        "ESRI Shapefile",
        fitting.schema,
        fitting.fit(stream.record_batches()),
        layer=path.stem,
        crs=stream.crs,
        geometry_type=stream.geometry_type,
    )
    fitting.warn()


def write_geojson(path: Path, stream: FeatureStream, layer: str) -> None:
    """Write GeoJSON as RFC 7946 has it: WGS 84, 7 decimals, exteriors counter-clockwise, cut at the antimeridian.

    Raises
    ------
    VectorError
        The CRS has no place on earth.
    """
    earth_transformer(stream.crs, "EPSG:4326", EARTHLY["GeoJSON"])
    write_layer(
        path,
        "GeoJSON",
        stream.schema,
        on_earth(stream.record_batches(), stream.crs, path.name),
        layer=layer,
        crs=CRS.from_epsg(4326),
        geometry_type="Unknown",
        layer_options={"RFC7946": "YES", "WRAPDATELINE": "NO"},
    )


def _remembering(batches: Iterable[pa.RecordBatch], errors: list[Exception]) -> Iterator[pa.RecordBatch]:
    """Pass batches on, and keep the exception that stops them."""
    try:
        yield from batches
    except Exception as error:
        errors.append(error)
        raise


def _crs_text(crs: CRS) -> str:
    """A CRS as GDAL understands it without loss."""
    authority = crs.to_authority(min_confidence=100)
    return ":".join(authority) if authority else crs.to_wkt()
