"""What is given as prediction or truth: a raster, a vector file, or the folder of a run, which has both.

It finds files and reads headers, no pixel and no feature.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import geopandas as gpd

from geoseg.errors import EvaluationError, InputNotFoundError
from geoseg.files import given_path, read_json
from geoseg.raster import Raster, check_labels, open_raster, unsigned
from geoseg.raster.given import ImageryLike, named
from geoseg.vector import FORMATS

LABELS, INSTANCES, MANIFEST, ITEM = "labels.tif", "instances.tif", "run.json", "item.json"
"""Files of a run."""

HEAD = 4096
"""Bytes of a file within which a STAC item says that it is one."""

CONFIDENCES = "confidence.tif", "probabilities.tif"
"""Those that say how probable labels are; the first that is there counts."""

LAYERS = (*(ending for ending, item in FORMATS.items() if item.is_exact), ".json", ".gml", ".kml")
"""Endings of vector files that are read; PMTiles hold generalised copies, for the eye."""


class Mapped(Protocol):
    """A run that is finished; `geoseg.RunResult` is one."""

    @property
    def output(self) -> Path:
        """The run's folder."""


EvaluationInputLike: TypeAlias = "ImageryLike | gpd.GeoDataFrame | gpd.GeoSeries | Mapped"
"""What is taken as prediction or truth."""


@dataclass(frozen=True, eq=False)
class EvaluationInput:
    """Prediction or truth.

    Attributes
    ----------
    role : str
        ``"prediction"`` or ``"truth"``.
    path : str
        As it was given, for messages; without the signature of an address.
    labels, instances : Raster or None
        Classes and numbers of objects; one raster file is taken for either.
    layer : Path, str, GeoDataFrame or None
        Features; as text where GDAL alone opens the file.
    confidence : Raster or None
        Of a run: how probable the labels are, or all classes.
    """

    role: str
    path: str
    labels: Raster | None = None
    instances: Raster | None = None
    layer: Path | str | gpd.GeoDataFrame | None = None
    confidence: Raster | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return f"the {self.role} '{self.path}'"

    @property
    def is_layer(self) -> bool:
        """Whether there are features only."""
        return self.labels is None and self.instances is None

    @property
    def is_file(self) -> bool:
        """Whether one raster stands for labels or for instances."""
        return self.labels is self.instances and self.labels is not None

    @property
    def is_panoptic(self) -> bool:
        """Whether there are labels and instances."""
        return not self.is_file and self.labels is not None and self.instances is not None


def find_input(given: Any, role: str, instances: Any = None) -> EvaluationInput:
    """Find out what is given.

    Parameters
    ----------
    given : path, GeoDataFrame, GeoSeries, DataArray, ...
        A raster, a vector file, a folder of a run, features, or anything else that `open_raster` takes.
    role : str
        ``"prediction"`` or ``"truth"``.
    instances : path or DataArray, optional
        A raster of numbers of objects that goes with a raster of labels.

    Raises
    ------
    InputNotFoundError
        It does not exist.
    EvaluationError
        A raster holds other numbers than whole ones, or several bands.
    """
    side = _found(given, role)
    side = replace(side, path=unsigned(side.path))
    if instances is None:
        return side
    if side.labels is None:
        raise EvaluationError(
            f"{side.name} has no labels that the instances '{named(instances)}' go with; give a label raster"
        )
    return replace(side, instances=_open(instances, role))


def _found(given: Any, role: str) -> EvaluationInput:
    """Labels, instances and features of what is given."""
    if isinstance(given, gpd.GeoSeries):
        given = given.to_frame("geometry").set_geometry("geometry")
    if isinstance(given, gpd.GeoDataFrame):
        return EvaluationInput(role, named(given), layer=given)
    if isinstance(given, str | os.PathLike):
        place = given_path(given)
        path = _not_an_item(Path(place), role)
        if path.is_dir() and (found := _in_folder(path, str(given), role)):
            return found
        if path.name.lower().removesuffix(".gz").endswith(LAYERS):
            if isinstance(place, Path) and not path.exists():
                raise InputNotFoundError(f"the {role} '{given}' does not exist; correct the path")
            return EvaluationInput(role, str(given), layer=path if isinstance(place, Path) else place)
    raster = _open(given, role)
    return EvaluationInput(role, named(given), raster, raster)


def _not_an_item(path: Path, role: str) -> Path:
    """The folder of a run whose STAC item is given; any other path as it is.

    Raises
    ------
    EvaluationError
        It is an item of something else: its footprint is no map.
    """
    if path.suffix != ".json" or not path.is_file():
        return path
    with path.open("rb") as file:  # GeoJSON may be large, and items begin with it
        if b'"stac_version"' not in file.read(HEAD):
            return path
    if not (path.parent / MANIFEST).is_file():
        raise EvaluationError(
            f"the {role} '{path}' is a STAC item, which is no map; give the file of one of its assets"
        )
    return path.parent


def _in_folder(folder: Path, given: str, role: str) -> EvaluationInput | None:
    """The results in the folder of a run; None where there are none."""
    results = _results(folder)
    names = [name if not results or name in results else None for name in (LABELS, INSTANCES)]
    labels, instances = (
        _open(folder / name, role) if name is not None and (folder / name).is_file() else None for name in names
    )
    layer = next(iter(_layers(folder)), None)
    if not (labels or instances or layer):
        return None
    sure = (folder / name for name in CONFIDENCES if not results or name in results)
    confidence = next(
        (open_raster(path, resampling="nearest", require_crs=False) for path in sure if path.is_file()), None
    )
    return EvaluationInput(role, given, labels, instances, layer, confidence)


def _layers(folder: Path) -> list[Path]:
    """Vector files of a run: those that its manifest names, else those named features."""
    files = [folder / name for name in _results(folder)] or [folder / f"features{ending}" for ending in LAYERS]
    return [file for file in files if file.suffix.lower() in LAYERS and file.exists()]


def files_read(given: object) -> list[object]:
    """What is read of an input: itself, or the record and the results of the folder of a run."""
    place = given_path(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(place, Path) or not place.is_dir():
        return [given]
    return [place / name for name in (MANIFEST, ITEM, *_results(place))]


def _results(folder: Path) -> list[str]:
    """What the manifest of a folder names; what else lies there is none of the run's."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return []
    content = read_json(manifest)
    results = content.get("results", []) if isinstance(content, dict) else None
    if not isinstance(results, list):
        raise EvaluationError(f"{manifest} is damaged; 'geoseg resume {folder}' writes it anew, or name the files")
    return [str(name) for name in results]


def _open(given: Any, role: str) -> Raster:
    """Open a raster of classes or of numbers of objects."""
    raster = open_raster(given, resampling="nearest", require_crs=False)
    check_labels(raster, f"the {role} '{named(given)}'", EvaluationError)
    return raster
