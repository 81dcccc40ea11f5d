"""GeoParquet 1.1: one file, or a folder of Hive partitions; row groups along a Hilbert curve, with a covering bbox.

So readers skip the row groups that a window does not touch, by their statistics. The metadata follows
https://geoparquet.org/releases/v1.1.0/. It knows streams of features.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import ExistingOutputError
from geoseg.vector.earth import earth_transformer
from geoseg.vector.hilbert import RowGroup, Spool, centres, read_groups, sort_features
from geoseg.vector.pmtiles import CIRCUMFERENCE
from geoseg.vector.stream import FeatureStream, Partition
from geoseg.vector.wkb import decode

ZOOM = 9
"""Of the tiles of quadkeys: 78 km wide at the equator, 55 km at 45 degrees."""

BBOX = pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])

PART = "part-0.parquet"
"""Name of the only file of a partition."""


def _class_values(batch: pa.RecordBatch, _: CRS) -> NDArray[np.int64]:
    return batch.column("class").to_numpy().copy()  # type: ignore[no-any-return] # not a part of the batch


def _tiles(batch: pa.RecordBatch, crs: CRS) -> NDArray[np.int64]:
    """Tiles that hold the middles of features: the quadkey as a number of base 4."""
    x, y = earth_transformer(crs, "EPSG:3857", "quadkeys are of places").transform(*centres(batch).T)
    place = np.nan_to_num(np.array([x, -np.asarray(y)]) / CIRCUMFERENCE + 0.5)
    column, row = np.clip(place * 2**ZOOM, 0, 2**ZOOM - 1).astype(np.int64)
    digits = (((column >> bit & 1) + 2 * (row >> bit & 1)) << 2 * bit for bit in range(ZOOM))
    return sum(digits, np.zeros(len(column), np.int64))


PARTITIONS: Mapping[str, tuple[Callable[[pa.RecordBatch, CRS], NDArray[np.int64]], Callable[[int], str]]] = {
    "class": (_class_values, str),
    "quadkey": (_tiles, lambda tile: np.base_repr(tile, 4).zfill(ZOOM)),
}
"""How features are partitioned: a number of each, and how it stands in the name of a folder."""


def check_partition(path: Path, partition: Partition | None, crs: CRS | None) -> None:
    """Refuse a partition of places that lie nowhere, and to replace a folder that holds something else.

    Raises
    ------
    VectorError
        The CRS has no place on earth.
    ExistingOutputError
        The folder is not a partitioned file as it is written here.
    """
    if not is_partitioned(path, partition):
        return
    if partition == "quadkey" and crs is not None:
        earth_transformer(crs, "EPSG:3857", "quadkeys are of places")
    if (other := _other_in(path)) is not None:
        raise ExistingOutputError(f"'{path}' is a folder that holds '{other.name}'; remove it, or choose another name")


def is_parts_alone(path: Path) -> bool:
    """Say whether a folder holds the parts of a GeoParquet file, and nothing else."""
    is_there = path.suffix.lower() == ".parquet" and path.is_dir()
    return is_there and bool(parts_of(path)) and _other_in(path) is None


def is_partitioned(path: Path, partition: Partition | None) -> bool:
    """Say whether a file is written as a folder of partitions."""
    return partition is not None and path.suffix.lower() == ".parquet"


def parts_of(path: Path) -> list[Path]:
    """The files of a GeoParquet file, which may be a folder of partitions."""
    return sorted(file for file in path.rglob(PART) if _is_part(file)) if path.is_dir() else [path]


def _other_in(folder: Path) -> Path | None:
    return next((file for file in sorted(folder.rglob("*")) if file.is_file() and not _is_part(file)), None)


def _is_part(file: Path) -> bool:
    folder = file.parent
    return file.name == PART and (folder.name.partition("=")[0] in PARTITIONS or folder.suffix.lower() == ".parquet")


def write_geoparquet(path: Path, stream: FeatureStream) -> None:
    """Write features along a Hilbert curve: a file, or a folder where the stream is partitioned.

    The column that partitions are called after stands in the names of their folders alone, as readers expect it.

    Parameters
    ----------
    path : Path
        The file or the folder; it is not there.
    stream : FeatureStream
        The features.
    """
    name = stream.partition
    fields = [field.remove_metadata() for field in stream.schema]
    schema = pa.schema([*fields, pa.field("bbox", BBOX)])
    with TemporaryDirectory(dir=path.parent) as spare:
        spool = Spool.of(Path(spare) / "features.arrow", schema, _with_bbox(stream.record_batches(), schema))
        pieces = Path(spare) / "pieces.arrow"
        if name is None:
            groups = sort_features(spool, lambda batch: np.zeros(len(batch), np.int64), pieces)
            _write_file(path, schema, pieces, groups, stream)
            return
        number_of, text_of = PARTITIONS[name]
        groups = sort_features(spool, lambda batch: number_of(batch, stream.crs), pieces)
        path.mkdir()
        if not groups:  # readers find columns and CRS in a file
            _write_file(path / PART, schema, pieces, groups, stream)
        if name in schema.names:
            schema = schema.remove(schema.get_field_index(name))
        for number, some in groupby(groups, attrgetter("partition")):
            part = path / f"{name}={text_of(number)}" / PART
            part.parent.mkdir()
            _write_file(part, schema, pieces, list(some), stream)


def _with_bbox(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        bounds = shapely.bounds(decode(batch.column("geometry")))
        bbox = pa.StructArray.from_arrays([pa.array(edge) for edge in bounds.T], fields=list(BBOX))
        yield pa.record_batch([*batch.columns, bbox], schema=schema)


def _write_file(path: Path, schema: pa.Schema, pieces: Path, groups: Sequence[RowGroup], stream: FeatureStream) -> None:
    """Write row groups to a file; what it says of itself is in its schema, where readers of folders look for it."""
    bounds = np.array([group.bounds for group in groups]).reshape(-1, 4)
    total = [*bounds[:, :2].min(axis=0, initial=np.inf), *bounds[:, 2:].max(axis=0, initial=-np.inf)]
    described = schema.with_metadata({"geo": json.dumps(_metadata(stream.crs, stream.geometry_type, total))})
    # Every geometry differs: a dictionary of them costs time and room.
    repeated = [name for name in schema.names if name not in ("geometry", "bbox")]
    with pq.ParquetWriter(path, described, compression="zstd", use_dictionary=repeated) as writer:
        for batch in read_groups(pieces, groups):
            writer.write_batch(batch.select(schema.names).replace_schema_metadata(described.metadata))


def _metadata(crs: CRS, geometry_type: str, bounds: Sequence[float]) -> dict[str, object]:
    """The ``geo`` entry of the file; the bbox is left out of an empty one, the orientation because nobody checks it."""
    column: dict[str, object] = {
        "encoding": "WKB",
        "geometry_types": [geometry_type],
        "crs": crs.to_json_dict(),
        "edges": "planar",
        "covering": {"bbox": {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if np.isfinite(bounds).all():
        column["bbox"] = [float(edge) for edge in bounds]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
