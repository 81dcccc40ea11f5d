"""Entry point of a comparison: opens two maps, counts what changed, and writes it.

It knows inputs, options and files; what a change is stands in the modules beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import geopandas as gpd
import pandas as pd
from distributed import Client
from rasterio.errors import NotGeoreferencedWarning

from geoseg.comparison import object_maps as objects
from geoseg.comparison import pixels
from geoseg.comparison.object_maps import ObjectChanges, compare_objects
from geoseg.comparison.outlining import Outliner, write_objects
from geoseg.comparison.picture import ChangePanels
from geoseg.comparison.pixels import PixelChanges, count_changes
from geoseg.errors import EvaluationError, FormatError, OutputError
from geoseg.evaluation.evaluating import bare_crs, find_task
from geoseg.evaluation.inputs import EvaluationInput, EvaluationInputLike, find_input
from geoseg.evaluation.label_sources import NothingComparedError, pair_labels
from geoseg.evaluation.objects import Progress as Counting
from geoseg.evaluation.report import Table
from geoseg.files import local_path, plain, write_file
from geoseg.held import folder_of
from geoseg.monitor.watching import Progress, shown
from geoseg.options import CompareOptions, EvaluationOptions, read_options
from geoseg.raster.addresses import unsigned
from geoseg.raster.options import configured
from geoseg.report.preview import check_picture, write_sheet
from geoseg.showing import cards
from geoseg.signatures import CompareArguments
from geoseg.store import RunFolder
from geoseg.vector import check_layer, check_name, drop_layer, holds_something, read_region
from geoseg.workflow.outputs import refuse_folders
from geoseg.workflow.settings import plain_settings

ENDING = ".gpkg"
"""Of the file of changes: it has a layer for each kind."""


SHARED = "classes", "class_column", "background", "resolution"
"""Options that an evaluation has too."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What changed between two maps.

    Attributes
    ----------
    first, second : str
        The maps, as they were given.
    pixels : PixelChanges or None
        Classes of pixels, where those were compared.
    objects : ObjectChanges or None
        Objects, where those were compared.
    settings : CompareOptions
        Options.
    output : Path or None
        The GeoPackage, where one was written.
    """

    first: str
    second: str
    pixels: PixelChanges | None
    objects: ObjectChanges | None
    settings: CompareOptions
    output: Path | None = None

    def __repr__(self) -> str:
        return f"Comparison('{self.first}' to '{self.second}': {'; '.join(table.title for table in self.tables()[:1])})"

    def _repr_html_(self) -> str:
        tables = [((table.title, *table.columns[1:]), table.rows) for table in self.tables()]
        return cards(f"{self.first} to {self.second}", tables)

    @property
    def matrix(self) -> pd.DataFrame:
        """Area by class in the first map (rows) and in the second (columns), ha; px where there is no ground.

        Raises
        ------
        EvaluationError
            Only objects were compared.
        """
        return self._classes.matrix

    @property
    def _classes(self) -> PixelChanges:
        if self.pixels is None:
            raise EvaluationError(
                "only objects were compared, so there is no matrix of classes and no picture; give --task semantic"
            )
        return self.pixels

    @cached_property
    def features(self) -> gpd.GeoDataFrame:
        """Polygons of change, with ``from`` and ``to``; the objects where only those were compared."""
        return self.read_layer(objects.LAYER if self.pixels is None else pixels.LAYER)

    def read_layer(self, name: str) -> gpd.GeoDataFrame:
        """Read the layer ``"changes"`` or ``"objects"``, of a spare file where none was written."""
        if self.output is not None:
            return gpd.read_file(self.output, layer=name)
        with TemporaryDirectory(prefix="geoseg-") as spare:
            return self.write(Path(spare) / f"changes{ENDING}", progress=False).read_layer(name)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know beside the numbers."""
        if self.pixels is None:
            return ()
        is_bare = self.objects is not None and self.settings.background is None and any(self.pixels.nodata.values())
        bare = "where a map has no object it may have no class; --background 0 compares that as class 0"
        return (*self.pixels.notes, bare) if is_bare else self.pixels.notes

    def summary(self) -> dict[str, Any]:
        """Every number by name, as JSON can hold it: None where there is none."""
        head = {"first": self.first, "second": self.second, "geoseg": version("geoseg")}
        given = self.settings.model_dump(exclude_defaults=True)
        parts = {"pixels": self.pixels, "objects": self.objects}
        numbers = {name: part.summary() for name, part in parts.items() if part is not None}
        result: dict[str, Any] = plain({**head, "settings": given, "notes": self.notes, **numbers})
        return result

    def tables(self) -> list[Table]:
        """The numbers for people."""
        return [table for part in (self.pixels, self.objects) if part is not None for table in part.tables()]

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write `summary` to a file.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        text = unsigned(json.dumps(self.summary(), indent=2, allow_nan=False)) + "\n"
        write_file(local_path(path, "json"), lambda unfinished: unfinished.write_text(text))

    def write_matrix(self, path: str | os.PathLike[str]) -> None:
        """Write `matrix` to a CSV file, a row for each class of the first map.

        Raises
        ------
        EvaluationError
            Only objects were compared.
        OutputError
            The file cannot be written.
        """
        text = self.matrix.to_csv(index_label=f"from_to_{self._classes.unit}")
        write_file(local_path(path, "matrix"), lambda unfinished: unfinished.write_text(text, encoding="utf-8"))

    def draw(self, path: str | os.PathLike[str], *, width: int = 1800) -> None:
        """Draw both maps and what changed, side by side, with legend, scale bar and north.

        Parameters
        ----------
        path : path
            The picture: .png, .jpg or .webp.
        width : int
            Px.

        Raises
        ------
        EvaluationError
            Only objects were compared.
        OutputError
            The picture cannot be written, or nobody knows how.
        """
        picture, panels = local_path(path, "picture"), ChangePanels(self._classes)
        check_picture(picture, width)
        names = (Path(name).name for name in (self.first, self.second))
        write_sheet(picture, panels, width, " to ".join(names), f"{self._classes.unchanged:.1%} unchanged")

    @configured()
    def write(
        self, output: str | os.PathLike[str], *, progress: Progress = None, client: Client | None = None
    ) -> Comparison:
        """Write the layers of changes to a GeoPackage, in blocks on Dask; all else that it holds stays.

        Parameters
        ----------
        output : path
            The GeoPackage.
        progress : callable or bool, optional
            As in `geoseg.run`.
        client : distributed.Client, optional
            Workers that are already there.

        Returns
        -------
        Comparison
            The same, with its output.

        Raises
        ------
        BlockError
            Some blocks failed after every retry; the layer is not written.
        OutputError
            The file cannot be written, or has a layer of that name that is another program's.
        """
        path = check_output(output)
        with _working_folder(path) as folder, shown(progress) as callback:
            outliner = Outliner(self.settings, folder, callback, client)
            if self.pixels is not None:
                outliner.write_changes(self.pixels, path)
            if self.objects is not None:
                write_objects(self.objects, outliner, path)
            for layer, part in ((pixels.LAYER, self.pixels), (objects.LAYER, self.objects)):
                if part is None and holds_something(path):  # of an earlier comparison
                    drop_layer(path, layer)
        return replace(self, output=path)


@configured()
def compare(
    first: EvaluationInputLike,
    second: EvaluationInputLike,
    output: str | os.PathLike[str] | None = None,
    *,
    counting: Counting | None = None,
    progress: Progress = None,
    client: Client | None = None,
    **settings: Unpack[CompareArguments],
) -> Comparison:
    """Compare two maps of one place, of two dates or two models: what changed, counted and as polygons.

    Parameters
    ----------
    first, second : path, DataArray, DatasetReader, GeoDataFrame, GeoSeries or RunResult
        Rasters of classes or of numbers of objects, polygons, or runs or their folders. The second one is brought onto
        the first one's grid by the nearest pixel.
    output : path, optional
        GeoPackage that the layers of changes are written to; without one nothing is written.
    counting : callable, optional
        Called with the number of windows that are counted, and that of all.
    progress : callable or bool, optional
        As in `geoseg.run`, while polygons are made.
    client : distributed.Client, optional
        Workers that are already there.
    **settings
        Options of a comparison (docs/options.md), such as ``min_area=500`` and ``region="aoi.geojson"``.

    Returns
    -------
    Comparison
        The numbers, and the polygons.

    Raises
    ------
    GeosegError
        Something that was given cannot be used, or the two cannot be compared.
    """
    if output is not None:
        check_output(output)
    wanted = read_options(CompareOptions, plain_settings(settings), "the comparison")
    given = EvaluationOptions(**{key: getattr(wanted, key) for key in SHARED})
    classes, things = None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        first, second = map(folder_of, (first, second))
        maps = find_input(first, "first map"), find_input(second, "second map")
        region = None if wanted.region is None else read_region(wanted.region, crs=bare_crs(wanted.region, *maps))
        task = wanted.task or _task(*maps, wanted)
        if task != "instance":
            try:
                classes = count_changes(pair_labels(*maps, given, region, fills=(True, True)), counting)
            except NothingComparedError:  # of objects alone, none may lie where one was
                if wanted.task is not None or task != "panoptic":
                    raise
        if task != "semantic":
            things = compare_objects(*maps, wanted.iou, given, region, counting)
    result = Comparison(maps[0].path, maps[1].path, classes, things, wanted)
    return result if output is None else result.write(output, progress=progress, client=client)


def _task(first: EvaluationInput, second: EvaluationInput, wanted: CompareOptions) -> str:
    """What two maps are compared for, as an evaluation finds it; two layers have pixels where those have a size."""
    task = find_task(first, second)
    return task if task != "polygons" else "instance" if wanted.resolution is None else "panoptic"


def check_output(output: str | os.PathLike[str]) -> Path:
    """Refuse a file that changes cannot be written to.

    Raises
    ------
    FormatError
        It is no GeoPackage by its name.
    OutputError
        Its folder is not there, or it has a layer of that name that is another program's.
    """
    path = local_path(output, "output").absolute()
    if path.suffix.lower() != ENDING:
        raise FormatError(f"'{output}' is no GeoPackage by its name, and changes are layers of one; name it *{ENDING}")
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; create it, or choose another output.")
    check_name(path, OutputError)
    refuse_folders(path)
    for kind in (pixels, objects):
        check_layer(path, kind.LAYER, kind.COLUMNS)
    return path


@contextmanager
def _working_folder(path: Path) -> Iterator[RunFolder]:
    """A hidden folder beside a file, that of `geoseg.polygonize`, which is removed afterwards."""
    folder = RunFolder(path.with_name(f".{path.name}.geoseg"))
    with folder.locked():
        try:
            yield folder
        finally:
            shutil.rmtree(folder.path, ignore_errors=True)
