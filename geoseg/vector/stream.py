"""Features on their way to a file: Arrow tables, checked and cut anew into batches of one size.

Batches depend on the features alone, not on how they came, so files have the same bytes and the same row groups for
every layout of blocks. It knows tables with a geometry column; not what the columns mean, nor where they go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from pyproj import CRS

from geoseg.errors import VectorError
from geoseg.vector.wkb import GeometryType, of_type

BATCH = 32_768
"""Features written at once, and features in a row group of GeoParquet, at most."""

BATCH_BYTES = 64 * 2**20
"""WKB written at once; a batch is full with the feature that reaches it, so memory is flat for giant polygons too."""

Partition = Literal["class", "quadkey"]
"""What the folders of a partitioned file are called after: values of classes, or tiles of the ground."""


class Overviews(Protocol):
    """Generalised copies of features that were traced from a raster."""

    @property
    def pixels(self) -> list[shapely.Polygon]:
        """Some pixels of the raster, in its CRS."""

    def tables(self, factor: int) -> Iterator[pa.Table]:
        """The copies for cells of so many pixels along each side, a power of two: ``class``, ``name``, ``geometry``."""


class FeatureStream:
    """A stream of features as Arrow record batches of one size.

    Parameters
    ----------
    tables : iterable of Table
        The features, in order.
    crs : CRS
        Of the layer.
    columns : mapping of str to str
        Columns to keep and their NumPy types.
    geometry_type : str
        Of the layer.
    partition : str, optional
        Of formats that can be partitioned.
    overviews : Overviews, optional
        For formats that show them at small scales.

    Attributes
    ----------
    schema : Schema
        Of every batch: the columns, then ``geometry`` as WKB.
    count : int
        Features that have passed.
    """

    def __init__(
        self,
        tables: Iterable[pa.Table],
        crs: CRS,
        columns: Mapping[str, str],
        geometry_type: GeometryType,
        partition: Partition | None = None,
        overviews: Overviews | None = None,
    ) -> None:
        self.tables, self.crs, self.geometry_type = tables, crs, geometry_type
        self.partition, self.overviews = partition, overviews
        fields = [pa.field(name, _arrow_type(dtype)) for name, dtype in columns.items()]
        wkb = pa.field("geometry", pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
        self.schema = pa.schema([*fields, wkb])
        self.count = 0

    def record_batches(self) -> Iterator[pa.RecordBatch]:
        """Features in full batches, the last one smaller.

        Raises
        ------
        VectorError
            A table does not fit the layer.
        """
        waiting = self.schema.empty_table()
        for table in self.tables:
            waiting = pa.concat_tables([waiting, self._fitted(table)])
            while count := _full(waiting):
                yield from self._counted(waiting.slice(0, count))
                waiting = waiting.slice(count)
        if len(waiting):
            yield from self._counted(waiting)

    def _counted(self, table: pa.Table) -> list[pa.RecordBatch]:
        self.count += len(table)
        return table.combine_chunks().to_batches()  # type: ignore[no-any-return]

    def _fitted(self, table: pa.Table) -> pa.Table:
        """The table with the layer's columns and types."""
        if not isinstance(table, pa.Table):
            raise VectorError(
                f"features are a {type(table).__name__} where a pyarrow Table is needed; "
                "turn a GeoDataFrame into one with pa.table(frame.to_arrow(index=False))"
            )
        missing = [name for name in self.schema.names if name not in table.column_names]
        if missing:
            present = ", ".join(table.column_names)
            raise VectorError(f"the features have no column '{missing[0]}'; write some of the columns {present}")
        self._check_crs(table.field("geometry"))
        columns = [_cast(table.column(field.name), field) for field in self.schema]
        columns[-1] = of_type(columns[-1], self.geometry_type)
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _check_crs(self, field: pa.Field) -> None:
        """Refuse a table that says that its CRS is another one, as GeoArrow does in metadata."""
        crs = _crs_of((field.metadata or {}).get(b"ARROW:extension:metadata", b"{}"))
        if crs is not None and crs != self.crs:
            raise VectorError(f"features in '{crs.name}' do not fit a layer in '{self.crs.name}'; project them first")


def _full(table: pa.Table) -> int:
    """Features of the first full batch, or 0."""
    ends = np.cumsum(pc.binary_length(table.column("geometry").slice(0, BATCH)).to_numpy(), dtype=np.int64)
    count = min(BATCH, int(np.searchsorted(ends, BATCH_BYTES)) + 1)
    return count if count <= len(table) else 0


def _arrow_type(dtype: str) -> pa.DataType:
    return pa.string() if dtype == "str" else pa.from_numpy_dtype(np.dtype(dtype))


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise VectorError(
            f"the column '{field.name}' is {column.type} and cannot be written as {field.type} ({error}); "
            "convert it, or name its type in columns"
        ) from error


@cache
def _crs_of(metadata: bytes) -> CRS | None:
    """The CRS in metadata of a GeoArrow column, https://geoarrow.org/extension-types."""
    crs = json.loads(metadata).get("crs")
    return None if crs is None else CRS.from_user_input(crs)
