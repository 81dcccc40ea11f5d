"""What is given as prediction or truth: a raster, a vector file, or the folder of a run, which has both.

It finds files and reads headers, no pixel and no feature.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import EvaluationError, InputNotFoundError
from geoseg.raster import Raster, check_labels, open_raster
from geoseg.vector import FORMATS

LABELS, INSTANCES, MANIFEST = "labels.tif", "instances.tif", "run.json"
"""Files of a run."""

LAYERS = (*(ending for ending in FORMATS if ending != ".pmtiles"), ".json", ".gml", ".kml")
"""Endings of vector files that are read; PMTiles hold generalised copies, for the eye."""


@dataclass(frozen=True, eq=False)
class Side:
    """Prediction or truth.

    Attributes
    ----------
    role : str
        ``"prediction"`` or ``"truth"``.
    path : str
        As it was given, for messages.
    labels, instances : Raster or None
        Classes and numbers of objects; one raster file is taken for either.
    layer : Path or None
        Features.
    """

    role: str
    path: str
    labels: Raster | None = None
    instances: Raster | None = None
    layer: Path | None = None

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


def find_side(path: str | Path, role: str, instances: str | Path | None = None) -> Side:
    """Find out what is given.

    Parameters
    ----------
    path : path
        A raster, a vector file, a folder of a run, or anything else that `open_raster` takes.
    role : str
        ``"prediction"`` or ``"truth"``.
    instances : path, optional
        A raster of numbers of objects that goes with a raster of labels.

    Raises
    ------
    InputNotFoundError
        It does not exist.
    EvaluationError
        A raster holds other numbers than whole ones, or several bands.
    """
    given = Path(path).expanduser()
    if given.is_dir() and (found := _in_folder(given, str(path), role)):
        side = found
    elif given.suffix.lower() in LAYERS:
        if not given.exists():
            raise InputNotFoundError(f"the {role} '{path}' does not exist; correct the path")
        side = Side(role, str(path), layer=given)
    else:
        raster = _open(path, role)
        side = Side(role, str(path), raster, raster)
    if instances is None:
        return side
    if side.labels is None:
        raise EvaluationError(
            f"{side.name} has no labels that the instances '{instances}' go with; give a label raster"
        )
    return Side(role, str(path), side.labels, _open(instances, role), side.layer)


def _in_folder(folder: Path, given: str, role: str) -> Side | None:
    """The results in the folder of a run; None where there are none."""
    results = _results(folder)
    names = [name if not results or name in results else None for name in (LABELS, INSTANCES)]
    labels, instances = (
        _open(folder / name, role) if name is not None and (folder / name).is_file() else None for name in names
    )
    layer = next(iter(_layers(folder)), None)
    return Side(role, given, labels, instances, layer) if labels or instances or layer else None


def _layers(folder: Path) -> list[Path]:
    """Vector files of a run: those that its manifest names, else those named features."""
    files = [folder / name for name in _results(folder)] or [folder / f"features{ending}" for ending in LAYERS]
    return [file for file in files if file.suffix.lower() in LAYERS and file.is_file()]


def _results(folder: Path) -> list[str]:
    """What the manifest of a folder names; what else lies there is none of the run's."""
    manifest = folder / MANIFEST
    return list(json.loads(manifest.read_text()).get("results", [])) if manifest.is_file() else []


def _open(path: str | Path, role: str) -> Raster:
    """Open a raster of classes or of numbers of objects."""
    raster = open_raster(path, resampling="nearest", require_crs=False)
    check_labels(raster, f"the {role} '{path}'", EvaluationError)
    return raster
