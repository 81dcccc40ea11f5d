"""Which results of a run are there, whole and up to date.

A record in the run folder says of each result what decided it and what its files held, so a start writes what is
missing, damaged or decided by other settings, and nothing else. Files that no run has recorded are a person's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyogrio

from geoseg.files import write_json
from geoseg.options import Workflow
from geoseg.planning import Plan
from geoseg.raster import file_digest
from geoseg.store import RunFolder
from geoseg.vector.writing import COMPANIONS
from geoseg.versions import source_digest
from geoseg.workflow.manifest import feature_files
from geoseg.workflow.outlines import fingerprint_of, objects_of
from geoseg.workflow.result_item import NAME as ITEM

LABELS, INSTANCES, REPORT, PERFORMANCE = "labels.tif", "instances.tif", "report.html", "performance.html"

_ENTRY = {"decided", "files", "layer"}
"""What is recorded of a result."""


@dataclass(frozen=True)
class Outputs:
    """The results of a run, and what decides each.

    Attributes
    ----------
    folder : RunFolder
        Where they lie.
    rasters, features : tuple of Path
        What is written of blocks and polygons.
    pages : tuple of Path
        What is written of all these.
    labels, polygons, summary : str
        Digests of all that decides rasters, features and pages.
    layer : str
        Of the features, where a format has layers.
    """

    folder: RunFolder
    rasters: tuple[Path, ...]
    features: tuple[Path, ...]
    pages: tuple[Path, ...]
    labels: str
    polygons: str
    summary: str
    layer: str

    @classmethod
    def of(cls, wanted: Workflow, made: Plan, folder: RunFolder, fingerprint: Mapping[str, Any]) -> Outputs:
        """The results that a workflow asks for; ``fingerprint`` is that of its labels."""
        inputs = [{**item, "name": None} for item in fingerprint["inputs"]]
        classes = [asdict(item) for item in made.spec.classes]
        labels = _digest({**fingerprint, "inputs": inputs}, classes, objects_of(made), made.raster.crs, source_digest())
        polygons = _digest(labels, fingerprint_of(wanted, made.raster, classes), wanted.layer)
        features = feature_files(folder.path, wanted.features)
        return cls(
            folder,
            tuple(folder.path / name for name in ((LABELS, INSTANCES) if made.has_things else (LABELS,))),
            tuple(features),
            tuple(folder.path / name for name in ((ITEM, REPORT) if wanted.report else (ITEM,))),
            labels,
            polygons,
            _digest(labels, polygons, [_key(folder, path) for path in features]),
            wanted.layer,
        )

    @property
    def missing(self) -> set[Path]:
        """Results that are not there, or not as the run would write them now."""
        return {path for path, decided in self._deciding.items() if not self._is_current(path, decided)}

    @cached_property
    def _deciding(self) -> dict[Path, str]:
        kinds = (self.rasters, self.labels), (self.features, self.polygons), (self.pages, self.summary)
        return {path: decided for paths, decided in kinds for path in paths}

    def former_layers(self) -> dict[Path, str]:
        """Layers that an earlier start wrote under another name, of GeoPackages that nobody has changed since."""
        entries = ((path, self._read().get(_key(self.folder, path))) for path in self.features)
        return {
            path: entry["layer"]
            for path, entry in entries
            if path.suffix.lower() == ".gpkg"
            and entry is not None
            and entry["layer"].casefold() != self.layer.casefold()
            and entry["files"] == _files_of(path)
        }

    def record(self, written: Iterable[Path]) -> None:
        """Record results that were written, and remove those of an earlier run that are none of this one."""
        entries = self._read()
        for path in (path for path in written if path.is_file()):
            decided = self._deciding.get(path, self.summary)
            entries[_key(self.folder, path)] = {"decided": decided, "files": _files_of(path), "layer": self.layer}
        others = [key for key in entries if entries[key]["decided"] not in (self.labels, self.polygons, self.summary)]
        for key in others:
            _remove(self.folder, key, entries.pop(key)["files"])
        write_json(self._path, entries)

    @property
    def _path(self) -> Path:
        return self.folder.state / "outputs.json"

    def _read(self) -> dict[str, Any]:
        try:
            entries = json.loads(self._path.read_text())
        except (OSError, ValueError):  # without a record every result is written again
            return {}
        items = entries.items() if isinstance(entries, dict) else ()
        return {key: entry for key, entry in items if isinstance(entry, dict) and entry.keys() == _ENTRY}

    def _is_current(self, path: Path, decided: str) -> bool:
        entry = self._read().get(_key(self.folder, path))
        return entry is not None and (entry["decided"], entry["files"]) == (decided, _files_of(path))


def _key(folder: RunFolder, path: Path) -> str:
    """A result within the folder by its place there, so that the folder can be moved."""
    home, place = folder.path.resolve(), path.parent.resolve() / path.name
    return place.relative_to(home).as_posix() if place.is_relative_to(home) else str(place)


def _files_of(path: Path) -> dict[str, str]:
    """The files of a result by name, each with the digest of its content."""
    companions = (path.with_name(path.stem + ending) for ending in COMPANIONS.get(path.suffix.lower(), ()))
    files = path, path.with_name(f"{path.name}.aux.xml"), *companions
    return {file.name: file_digest(file) for file in files if file.is_file()}


def _remove(folder: RunFolder, key: str, recorded: Mapping[str, str]) -> None:
    """Remove the files of a result in the run folder, unless somebody has changed one or added to it."""
    path = folder.path / key
    if Path(key).is_absolute() or _files_of(path) != recorded or _holds_more(path):
        return
    for name in recorded:
        with suppress(OSError):
            path.with_name(name).unlink()


def _holds_more(path: Path) -> bool:
    """Whether a GeoPackage has layers besides one of polygons and its style."""
    return path.suffix.lower() == ".gpkg" and len(set(pyogrio.list_layers(path)[:, 0]) - {"layer_styles"}) > 1


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]
