"""Polygons of a run, counted and measured as a stream: how many, how large, how sure, by class.

They are read in batches and only what is counted is kept, so memory does not depend on their number. It knows vector
files as geoseg writes them, and outlines before they are in one; nothing of pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyogrio
from numpy.typing import NDArray

from geoseg.outlines import OutlineIndex, OutlinePlan, read_outlines

BATCH = 32_768
"""Features that are read at once."""

MAX_GEOJSON = 64 * 2**20
"""Bytes of GeoJSON that are read; GDAL holds such a file in memory as a whole."""

DECADES = range(-6, 16)
"""Powers of ten of m2 between which sizes are counted."""

BINS_PER_DECADE = 60
"""A bin is 4 % wide: so exact are medians."""

EDGES: NDArray[np.float64] = np.logspace(DECADES.start, DECADES.stop - 1, (len(DECADES) - 1) * BINS_PER_DECADE + 1)


@dataclass
class ClassFeatures:
    """Polygons or objects of one class.

    Attributes
    ----------
    count : int
        How many.
    objects : int
        How many of them are objects that were told apart.
    area : float
        Sum, m2.
    smallest, largest : float
        m2.
    weighted : float
        Sum of confidence times pixels, or of objects' scores.
    weight : float
        Sum of pixels, or number of objects.
    sizes : int64 (bin,)
        Counts between `EDGES`.
    """

    count: int = 0
    objects: int = 0
    area: float = 0.0
    smallest: float = np.inf
    largest: float = 0.0
    weighted: float = 0.0
    weight: float = 0.0
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EDGES) - 1, np.int64))

    @property
    def confidence(self) -> float:
        """Mean confidence of pixels, or score of objects, 0 to 1."""
        return self.weighted / self.weight if self.weight else float("nan")

    @property
    def median(self) -> float:
        """Median area, m2, within 2 %."""
        return quantile(self.sizes, 0.5)

    def add(self, area: NDArray[np.float64], confidence: NDArray[np.float64], weight: NDArray[np.float64]) -> None:
        """Count features."""
        self.count += len(area)
        self.area += float(np.nansum(area))
        known = area[np.isfinite(area)]
        if len(known):
            self.smallest = min(self.smallest, float(known.min()))
            self.largest = max(self.largest, float(known.max()))
            self.sizes += np.histogram(known.clip(EDGES[0], EDGES[-1]), EDGES)[0]
        self.weighted += float(np.nansum(confidence * weight))
        self.weight += float(weight[np.isfinite(confidence)].sum())


Batch = dict[str, NDArray[Any]]
"""Features by column."""


class FeatureSource(Protocol):
    """Where polygons are read from."""

    @property
    def is_in_degrees(self) -> bool:
        """Whether its coordinates are longitude and latitude, whatever the run's CRS is."""

    def columns(self) -> list[str]:
        """Names of the columns but the geometry."""

    def batches(
        self, columns: Sequence[str], *, min_area: float | None = None, geometry: bool = False
    ) -> Iterator[Batch]:
        """Read columns, batch by batch.

        Parameters
        ----------
        columns : sequence of str
            Which.
        min_area : float, optional
            Leave out features with a smaller ``area_m2``.
        geometry : bool
            Whether to read ``geometry`` too, as WKB.

        Yields
        ------
        dict
            Columns by name.
        """


@dataclass(frozen=True)
class Outlines:
    """The polygons of a run before they are in a file; where none is straightened, which is not worth doing twice.

    Attributes
    ----------
    plan : OutlinePlan
        Whose polygons are all on disk.
    """

    plan: OutlinePlan
    is_in_degrees: ClassVar[bool] = False

    def columns(self) -> list[str]:
        """Names of the columns but the geometry."""
        of_objects = ["score", "instance"]
        return ["class", "area_m2", *(["confidence", "pixels"] if self.plan.objects is None else of_objects)]

    def batches(
        self, columns: Sequence[str], *, min_area: float | None = None, geometry: bool = False
    ) -> Iterator[Batch]:
        """Read columns, batch by batch; see `FeatureSource`."""
        names = [*columns, *(["geometry"] if geometry else [])]
        if self.plan.objects is None:
            tables, min_area = read_outlines(self.plan, names, min_area=min_area, index=self._index), None
        else:  # its columns are known when it is described
            tables = read_outlines(self.plan, index=self._index)
        for table in tables:
            yield from _large(table.select(names).combine_chunks().to_batches(), names, min_area)

    @cached_property
    def _index(self) -> OutlineIndex:
        """Read once, however often features are."""
        return OutlineIndex.read(self.plan)


@dataclass(frozen=True)
class FeatureFile:
    """A polygon file of a run.

    Attributes
    ----------
    path : Path
        The file.
    layer : str
        Its layer, where the format has several.
    """

    path: Path
    layer: str

    @property
    def is_readable(self) -> bool:
        """Whether it can be read in flat memory, and has columns rather than tags."""
        return self.path.suffix.lower() != ".geojson" or not (self.is_large or "class" not in self.columns())

    @property
    def is_large(self) -> bool:
        """Whether GDAL would need too much memory to read it, as it does at once."""
        return self.path.stat().st_size > MAX_GEOJSON

    @property
    def is_in_degrees(self) -> bool:
        """Whether its coordinates are longitude and latitude, whatever the run's CRS is."""
        return self.path.suffix.lower() == ".geojson"

    def columns(self) -> list[str]:
        """Names of the columns but the geometry."""
        if self.path.suffix.lower() == ".parquet":
            return [name for name in self._dataset.schema.names if name not in ("geometry", "bbox")]
        return [str(name) for name in pyogrio.read_info(self.path, layer=self._layer)["fields"]]

    def batches(
        self, columns: Sequence[str], *, min_area: float | None = None, geometry: bool = False
    ) -> Iterator[Batch]:
        """Read columns, batch by batch; see `FeatureSource`."""
        names = [*columns, *(["geometry"] if geometry else [])]
        if self.path.suffix.lower() == ".parquet":
            one_by_one = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
            yield from _large(self._dataset.to_batches(names, batch_size=BATCH, **one_by_one), names, min_area)
        else:
            yield from _large(self._ogr_batches(columns, min_area, geometry=geometry), names, None)

    def _ogr_batches(
        self, columns: Sequence[str], min_area: float | None, *, geometry: bool
    ) -> Iterator[pa.RecordBatch]:
        where = None if min_area is None else f"area_m2 >= {min_area!r}"
        options = {"columns": list(columns), "where": where, "read_geometry": geometry, "batch_size": BATCH}
        with pyogrio.raw.open_arrow(self.path, layer=self._layer, use_pyarrow=True, **options) as (meta, reader):
            name = meta["geometry_name"] or "wkb_geometry"
            for batch in reader:
                yield batch.rename_columns(["geometry" if item == name else item for item in batch.schema.names])

    @property
    def _dataset(self) -> ds.Dataset:
        """GeoParquet, which may be a folder of partitions; what lies above a file are none."""
        return ds.dataset(self.path, format="parquet", partitioning="hive" if self.path.is_dir() else None)

    @property
    def _layer(self) -> str | None:
        """Only GeoPackages have several: styles are layers too."""
        return self.layer if self.path.suffix.lower() == ".gpkg" else None


def _large(batches: Iterable[pa.RecordBatch], names: Sequence[str], min_area: float | None) -> Iterator[Batch]:
    """Columns of the features that are not too small."""
    for batch in batches:
        kept = batch if min_area is None else batch.filter(pc.greater_equal(batch.column("area_m2"), min_area))
        if len(kept):
            yield {name: kept.column(name).to_numpy(zero_copy_only=False) for name in names}


def count_features(file: FeatureSource) -> dict[int, ClassFeatures]:
    """Count and measure features, by the value of their class."""
    has_objects = "instance" in file.columns()
    columns = ["class", "area_m2", *(["score", "instance"] if has_objects else ["confidence", "pixels"])]
    totals: dict[int, ClassFeatures] = {}
    for batch in file.batches(columns):
        classes = batch["class"].astype(np.int64)
        weight = np.ones(len(classes)) if has_objects else batch["pixels"].astype(np.float64)
        confidence = batch["score" if has_objects else "confidence"]
        for value in np.unique(classes):
            of_class = classes == value
            found = totals.setdefault(int(value), ClassFeatures())
            found.add(batch["area_m2"][of_class], confidence[of_class], weight[of_class])
            found.objects += int((batch["instance"][of_class] > 0).sum()) if has_objects else 0
    return totals


def quantile(sizes: NDArray[np.int64], part: float) -> float:
    """Area below which a part of the counted features lies, m2; NaN of none."""
    total = int(sizes.sum())
    if not total:
        return float("nan")
    index = int(np.searchsorted(np.cumsum(sizes), part * total))
    return float(np.sqrt(EDGES[index] * EDGES[index + 1]))


def smallest_of_largest(sizes: NDArray[np.int64], count: int) -> float | None:
    """Area from which on there are about so many features; None when there are no more altogether."""
    if sizes.sum() <= count:
        return None
    larger = np.cumsum(sizes[::-1])[::-1]
    return float(EDGES[int(np.flatnonzero(larger >= count)[-1])])
