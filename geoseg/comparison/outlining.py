"""Polygons of what changed, made as those of any raster of labels: in blocks on Dask, with flat memory.

It knows options, outlines and files; what labels mean is the matter of the modules beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from distributed import Client
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geoseg.comparison import pixels
from geoseg.comparison.object_maps import ObjectChanges, ObjectMap, Shapes
from geoseg.comparison.pixels import ChangeLabels, PixelChanges, placed_grid, sent
from geoseg.engine import ProgressCallback
from geoseg.errors import EvaluationError, WorkflowError
from geoseg.evaluation.features import read_features
from geoseg.evaluation.grid import without_nodata
from geoseg.evaluation.overlaps import NOTHING
from geoseg.options import CompareOptions, OutlineOptions, ShapeOptions
from geoseg.outlines import LabelRaster, LabelSource, OutlineFolder, OutlinePlan, write_outlines
from geoseg.raster.sending import sendable
from geoseg.store import RunFolder
from geoseg.vectorize import Least
from geoseg.workflow.outlines import mapping_unit, shaping_of
from geoseg.workflow.polygons import Outlining, run_outline


@dataclass(frozen=True)
class Outliner:
    """How labels become polygons, and where that is done.

    Attributes
    ----------
    wanted : CompareOptions
        Options.
    folder : RunFolder
        Where pieces are kept.
    progress : callable
        Watches.
    client : Client or None
        Workers that are already there.
    """

    wanted: CompareOptions
    folder: RunFolder
    progress: ProgressCallback
    client: Client | None

    def write_changes(self, changes: PixelChanges, path: Path) -> None:
        """Write the polygons of pixels that changed."""
        with sent(changes.pair, self.folder.path / "arrays") as pair:
            source = ChangeLabels(pair, self.wanted.unchanged)
            chosen: dict[str, Any] = {} if source.keeps else {"classes": changes.changed_labels}
            if isinstance(self.wanted.min_area, dict):
                raise WorkflowError("a change is of two classes, so compare takes one min_area for all; give a number.")
            chosen["least"] = Least(*mapping_unit(self.wanted.min_area, None, changes.frame.raster, {}))
            write = partial(pixels.write_changes, path=path, classes=changes.classes)
            self._outline(source, changes.frame.raster, path, write, nodata=pixels.NODATA, **chosen)

    def outline_objects(self, item: ObjectMap) -> tuple[Shapes, CRS]:
        """Polygons of the objects of a raster, in the order of their ids, and their CRS."""
        raster = item.side.instances
        assert raster is not None  # noqa: S101 - the objects come from it
        path, geobox = self.folder.path / "objects.parquet", placed_grid(raster.geobox)
        with sendable(without_nodata(raster, NOTHING), self.folder.path / "arrays") as here:
            write = partial(write_outlines, path=path, layer="objects", style=None)
            self._outline(LabelRaster(here, NOTHING), geobox, path, write, nodata=NOTHING)
        table = gpd.read_parquet(path)
        return _gathered(table["class"].to_numpy(), table.geometry.to_numpy(), item), CRS.from_user_input(geobox.crs)

    def _outline(
        self,
        source: LabelSource,
        geobox: GeoBox,
        path: Path,
        write: Callable[[OutlinePlan], int],
        least: Least = Least(),  # noqa: B008 - frozen
        **more: Any,
    ) -> None:
        """Outline labels on a grid."""
        height, width = geobox.shape
        shapes = OutlineOptions(**{key: getattr(self.wanted, key) for key in ShapeOptions.model_fields})
        plan = OutlinePlan(
            source=source,
            folder=OutlineFolder(self.folder.outlines),
            rows=(*range(0, height, self.wanted.block_size), height),
            cols=(*range(0, width, self.wanted.block_size), width),
            transform=geobox.transform,
            crs=CRS.from_user_input(geobox.crs),
            shaping=shaping_of(shapes, geobox, least, is_clipped=False),
            unit=least.unit,
            areas=least.areas,
            **more,
        )
        plan.folder.prepare({"compared": time.time_ns()})  # nothing of an earlier start is taken on
        run_outline(Outlining(self.wanted, plan, path, write), self.progress, self.client)


def write_objects(changes: ObjectChanges, outliner: Outliner, path: Path) -> None:
    """Write the layer of objects, in the CRS of the first map."""
    (first, crs), (second, other) = (_shapes(item, outliner) for item in changes.maps)
    changes.write(path, (first, gpd.GeoSeries(second, crs=other).to_crs(crs).to_numpy()), crs)


def _shapes(item: ObjectMap, outliner: Outliner) -> tuple[Shapes, CRS]:
    """Polygons of objects: their own, those that the run of a raster has written, or outlines of it."""
    if item.features is not None:
        return item.features.shapes, item.features.crs
    if item.side.layer is not None:
        features = read_features(item.side.layer, item.side.role)
        order = np.argsort(features.numbers, kind="stable")
        place = np.searchsorted(features.numbers, item.ids, sorter=order)
        if len(order) and (features.numbers[order[place % len(order)]] == item.ids).all():
            return features.shapes[order[place]], features.crs
    return outliner.outline_objects(item)


def _gathered(numbers: Any, polygons: Shapes, item: ObjectMap) -> Shapes:
    """One geometry for each object."""
    order = np.argsort(numbers, kind="stable")
    begins = np.searchsorted(numbers[order], item.ids)
    ends = np.searchsorted(numbers[order], item.ids, side="right")
    if (ends == begins).any():
        raise EvaluationError(f"{item.side.name} has changed while it was compared; run the same command again")
    groups = [polygons[order[begin:end]] for begin, end in zip(begins, ends, strict=True)]
    return np.array([some[0] if len(some) == 1 else shapely.union_all(some) for some in groups], object)
