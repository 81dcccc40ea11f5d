"""What a Shapefile cannot hold: long names, long texts, long numbers, shifts to WGS 84, and more than 2 GiB.

Limits from the ESRI Shapefile Technical Description (1998) and dBASE III: a field name has 10 bytes, a text 254, and
file offsets are 16-bit words in 31 bits, of which readers rely on 2 GiB. It knows record batches, not features.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyproj import CRS

from geoseg.errors import FormatWarning, VectorError

NAME_BYTES = 10
TEXT_BYTES = 254
FILE_BYTES = 2**31 - 1
NUMBER_BYTES = 24
"""Width of a number in the .dbf, at most."""

NUMBER = pa.decimal128(19, 4)
"""Numbers that are not whole: GDAL's own choice, 24 letters with 15 decimals, leaves 9 for a thousand km2 in m2, which
PostGIS refuses."""

KNOWN: Mapping[str, str] = {"perimeter_m": "perim_m"}
"""Short names that are agreed, so that nobody has to be warned of them."""


def is_whole(path: Path) -> bool:
    """Say whether the files of a Shapefile are as long as their headers say; GDAL reads what is left of a cut one."""
    try:
        for file in (path, path.with_suffix(".shx")):
            (words,) = struct.unpack(">24xi", _head(file, 28))
            if file.stat().st_size != 2 * words:
                return False
        table = path.with_suffix(".dbf")
        records, head, width = struct.unpack("<4xIHH", _head(table, 12))
    except (OSError, struct.error):
        return False
    return bool(table.stat().st_size >= head + records * width)


def _head(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        return file.read(length)


class ShapefileFit:
    """Makes a stream of features fit, and remembers what it had to change.

    Parameters
    ----------
    name : str
        Of the .shp, for messages.
    schema : Schema
        Of the features; its last field is the geometry.
    crs : CRS
        Of the features.
    """

    def __init__(self, name: str, schema: pa.Schema, crs: CRS) -> None:
        self.name, self.crs = name, crs
        self.names = short_names(schema.names[:-1])
        self.schema = pa.schema(
            [_declared(field).with_name(self.names.get(field.name, field.name)) for field in schema], schema.metadata
        )
        self.shortened_texts = 0
        self.shp_bytes = self.dbf_bytes = 0

    def fit(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rename, shorten and round.

        Raises
        ------
        VectorError
            Before a file would grow beyond 2 GiB.
        """
        for batch in batches:
            self._weigh(batch)
            yield pa.RecordBatch.from_arrays([self._fit(column) for column in batch.columns], schema=self.schema)

    def warn(self) -> None:
        """Say in one sentence what was changed, if anything was."""
        changes = [
            f"'{name}' is called '{short}'"
            for name, short in self.names.items()
            if short not in (name, KNOWN.get(name))
        ]
        if self.shortened_texts:
            changes.append(f"{self.shortened_texts} texts are cut to {TEXT_BYTES} bytes")
        if self.crs.is_bound:
            changes.append(
                "its CRS loses the shift to WGS 84 (TOWGS84), so programs may place it some hundred metres off"
            )
        if changes:
            warnings.warn(
                f"the Shapefile '{self.name}' cannot hold everything: {', '.join(changes)}; "
                "write .gpkg to keep it as it is",
                FormatWarning,
                stacklevel=2,
            )

    def _weigh(self, batch: pa.RecordBatch) -> None:
        """Add an upper bound of what the batch takes in the .shp and the .dbf.

        A record of n rings and p points is 52 + 4 n + 16 p bytes, and its WKB at least 9 + 4 n + 16 p.
        """
        wkb = pc.sum(pc.binary_length(batch.column("geometry"))).as_py() or 0
        self.shp_bytes += 43 * len(batch) + wkb
        texts = sum(pa.types.is_string(column.type) for column in batch.columns)
        numbers = batch.num_columns - 1 - texts
        self.dbf_bytes += (1 + texts * TEXT_BYTES + numbers * NUMBER_BYTES) * len(batch)
        if max(self.shp_bytes, self.dbf_bytes) > FILE_BYTES - 4_096:
            raise VectorError(f"'{self.name}' would be larger than 2 GB, which a Shapefile cannot be; write .gpkg")

    def _fit(self, column: pa.Array) -> pa.Array:
        """A column as the format holds it."""
        if pa.types.is_floating(column.type):
            known = pc.if_else(pc.is_finite(column), pc.round(column.cast(pa.float64()), NUMBER.scale), None)
            return known.cast(NUMBER, safe=False)
        return self._shorten(column) if pa.types.is_string(column.type) else column

    def _shorten(self, texts: pa.Array) -> pa.Array:
        """Cut texts that are too long between two letters."""
        if (pc.max(pc.binary_length(texts)).as_py() or 0) <= TEXT_BYTES:
            return texts
        values = [None if text is None else _cut(text) for text in texts.to_pylist()]
        self.shortened_texts += sum(a != b for a, b in zip(texts.to_pylist(), values, strict=True))
        return pa.array(values, pa.string())


def _declared(field: pa.Field) -> pa.Field:
    """A field in the type that it is written in."""
    return field.with_type(NUMBER) if pa.types.is_floating(field.type) else field


def _cut(text: str) -> str:
    return text.encode()[:TEXT_BYTES].decode(errors="ignore")


def short_names(names: list[str]) -> dict[str, str]:
    """Give each name at most 10 bytes, and no two the same; the first ten unless a short name is known.

    Parameters
    ----------
    names : list of str
        Names of columns.

    Returns
    -------
    dict of str to str
        The short name of each.
    """
    short: dict[str, str] = {}
    for name in names:
        candidate, number = KNOWN.get(name, name.encode()[:NAME_BYTES].decode(errors="ignore")), 1
        while candidate.lower() in (taken.lower() for taken in short.values()):
            tail = f"_{number}"
            candidate = name.encode()[: NAME_BYTES - len(tail)].decode(errors="ignore") + tail
            number += 1
        short[name] = candidate
    return short
