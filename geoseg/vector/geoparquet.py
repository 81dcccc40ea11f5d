"""GeoParquet 1.1 as a stream: row groups with a covering bbox, so that readers can skip what they do not need.

The metadata follows https://geoparquet.org/releases/v1.1.0/. It knows Arrow record batches with a WKB column.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from geoseg.vector.wkb import decode

BBOX = pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])


def write_geoparquet(
    path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], crs: CRS, geometry_type: str
) -> None:
    """Write features, one row group for each batch.

    Parameters
    ----------
    path : Path
        The file.
    schema : Schema
        Of the batches; its last field, ``geometry``, is WKB.
    batches : iterable of RecordBatch
        The features.
    crs : CRS
        Of the geometry.
    geometry_type : str
        ``"Polygon"`` or ``"MultiPolygon"``.
    """
    plain = pa.schema([*list(schema)[:-1], pa.field("geometry", pa.binary()), pa.field("bbox", BBOX)])
    total = np.array([np.inf, np.inf, -np.inf, -np.inf])
    # Every geometry differs: a dictionary of them costs time and room.
    repeated = [name for name in schema.names if name != "geometry"]
    with pq.ParquetWriter(path, plain, compression="zstd", use_dictionary=repeated) as writer:
        for batch in batches:
            bounds = shapely.bounds(decode(batch.column("geometry")))
            total[:2] = np.minimum(total[:2], bounds[:, :2].min(axis=0))
            total[2:] = np.maximum(total[2:], bounds[:, 2:].max(axis=0))
            bbox = pa.StructArray.from_arrays([pa.array(edge) for edge in bounds.T], fields=list(BBOX))
            writer.write_batch(pa.record_batch([*batch.columns, bbox], schema=plain))
        writer.add_key_value_metadata({"geo": json.dumps(_metadata(crs, geometry_type, total))})


def _metadata(crs: CRS, geometry_type: str, bounds: np.ndarray) -> dict[str, object]:
    """The ``geo`` entry of the file; the bbox is left out of an empty one, the orientation because nobody checks it."""
    column: dict[str, object] = {
        "encoding": "WKB",
        "geometry_types": [geometry_type],
        "crs": crs.to_json_dict(),
        "edges": "planar",
        "covering": {"bbox": {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if np.isfinite(bounds).all():
        column["bbox"] = bounds.tolist()
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
