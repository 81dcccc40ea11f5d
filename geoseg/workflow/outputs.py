"""Which results of a run are there, whole and up to date.

A record in the run folder says of each result what decided it and what its files held, so a start writes what is
missing, damaged or decided by other settings, and nothing else. Files that no run has recorded are a person's own.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyogrio.raw
import rasterio
from pyproj import CRS
from rasterio.errors import RasterioError

from geoseg.errors import ExistingOutputError, OutputError, WorkflowError
from geoseg.export import PRODUCTS
from geoseg.files import refuse_file, refuse_folder, refuse_read, remove, write_json
from geoseg.models.stac import texts
from geoseg.options import RECORD, RUN_FILE, Workflow
from geoseg.planning import Plan
from geoseg.raster import file_digest
from geoseg.store import RunFolder
from geoseg.vector import (
    FORMATS,
    Partition,
    check_format,
    check_layer,
    check_name,
    check_partition,
    is_partitioned,
    is_parts_alone,
    layer_state,
    parts_of,
)
from geoseg.vector.shapefile import is_whole as is_whole_shapefile
from geoseg.versions import source_digest
from geoseg.workflow.manifest import feature_files
from geoseg.workflow.outlines import check_preset, fingerprint_of, names_of, objects_of
from geoseg.workflow.result_item import NAME as ITEM
from geoseg.workflow.settings import output_file

LABELS, INSTANCES, REPORT, PERFORMANCE = "labels.tif", "instances.tif", "report.html", "performance.html"

_ENTRY = {"decided", "files", "layer"}
"""What is recorded of a result; besides ``begun``, while it is being written, and ``changed``, of a GeoPackage."""

_UNTOUCHED = ".aux.xml", ".qix", ".cpg", ".sbn", ".sbx"
"""Endings of files that other programs write where a result is only looked at."""


@dataclass(frozen=True)
class Outputs:
    """The results of a run, and what decides each.

    Attributes
    ----------
    folder : RunFolder
        Where they lie.
    rasters, features, pages : mapping of Path to str
        What is written of blocks, of polygons, and of all these; with a digest of all that decides each.
    current : frozenset of str
        Digests of all results that the run could have, also of those that it is not asked for.
    layer : str
        Of the features, where a format has layers.
    """

    folder: RunFolder
    rasters: Mapping[Path, str]
    features: Mapping[Path, str]
    pages: Mapping[Path, str]
    current: frozenset[str]
    layer: str

    @classmethod
    def of(cls, wanted: Workflow, made: Plan, folder: RunFolder, fingerprint: Mapping[str, Any]) -> Outputs:
        """The results that a workflow asks for; ``fingerprint`` is that of its predictions."""
        inputs = [{**item, "name": None} for item in fingerprint["inputs"]]
        pixels = _digest(
            *({**fingerprint, "inputs": inputs}, made.background, objects_of(made)),
            *(made.raster.crs, source_digest()),
        )
        corrected = None if made.corrections is None else [made.corrections.digest(), made.connectivity]
        classes = [[asdict(item) for item in made.classes], sorted(made.groups.items()), corrected, made.unknown]
        shown = {
            "labels": classes,
            "confidence": corrected and [corrected, sorted(made.groups.items())],
            "probabilities": PRODUCTS["probabilities"].bands(made),
        }
        decided = {name: _digest(pixels, name, shown.get(name)) for name in PRODUCTS}
        rasters = {folder.path / name: decided[Path(name).stem] for name in raster_files(wanted, made)}
        polygons = _digest(
            pixels, classes, fingerprint_of(wanted, made.raster, names_of(made)), wanted.layer, wanted.partition
        )
        features = dict.fromkeys(feature_files(folder.path, wanted.features), polygons)
        keys = [_key(folder, path) for path in (*rasters, *features)]
        pages = (ITEM, REPORT) if wanted.report else (ITEM,)
        summary = _digest(classes, list(rasters.values()), polygons, keys)
        current = frozenset((*decided.values(), polygons, summary))
        return cls(folder, rasters, features, {folder.path / name: summary for name in pages}, current, wanted.layer)

    @property
    def labels(self) -> Path:
        """The raster of labels."""
        return self.folder.path / LABELS

    @property
    def instances(self) -> Path | None:
        """The raster of instances, where objects are told apart."""
        path = self.folder.path / INSTANCES
        return path if path in self.rasters else None

    @property
    def products(self) -> tuple[Path, ...]:
        """Rasters besides labels and instances."""
        return tuple(path for path in self.rasters if path.name not in (LABELS, INSTANCES))

    @property
    def missing(self) -> set[Path]:
        """Results that are not there, or not as the run would write them now."""
        return {path for path, decided in self._deciding.items() if not self._is_current(path, decided)}

    @cached_property
    def _deciding(self) -> dict[Path, str]:
        return {**self.rasters, **self.features, **self.pages}

    def former_layers(self) -> dict[Path, str]:
        """Layers that an earlier start wrote under another name, of GeoPackages that nobody has changed since."""
        entries = ((path, self._read().get(_key(self.folder, path))) for path in self.features)
        return {
            path: entry["layer"]
            for path, entry in entries
            if path.suffix.lower() == ".gpkg"
            and entry is not None
            and entry["layer"].casefold() != self.layer.casefold()
            and entry["files"] == files_of(path)
        }

    def record(self, written: Iterable[Path]) -> None:
        """Record results that were written, and remove those of an earlier run that are none of this one."""
        entries = self._read()
        for path in (path for path in written if path.exists()):
            decided = self._deciding.get(path, self.pages[self.folder.path / ITEM])
            entries[_key(self.folder, path)] = {
                "decided": decided, "files": files_of(path), "layer": self.layer,
                "changed": layer_state(path, self.layer),
            }  # fmt: skip
        others = [
            key
            for key, entry in entries.items()
            if not (entry["decided"] in self.current or "begun" in entry or Path(key).is_absolute())
        ]
        for key in others:
            _remove(self.folder, key, entries.pop(key)["files"])
        write_json(self._path, entries)

    def check_edited(self, paths: Iterable[Path]) -> None:
        """Refuse to write over results that somebody has changed.

        Raises
        ------
        ExistingOutputError
            One of them is not as it was recorded.
        """
        entries = self._read()
        for path in sorted(paths):
            entry = entries.get(_key(self.folder, path))
            if entry is not None and "begun" not in entry and path.name != REPORT and is_edited(path, entry):
                raise ExistingOutputError(
                    f"{path} has been changed since this run wrote it; rename it to keep the changes, or delete it, "
                    "and run the same command again."
                )

    def begin(self, paths: Iterable[Path]) -> None:
        """Record results that are about to be written, so that after a kill what lies there is known as the run's."""
        entries = self._read()
        for path in paths:
            key = _key(self.folder, path)
            entries[key] = {"decided": "", "files": {}, "layer": self.layer, **entries.get(key, {}), "begun": True}
        write_json(self._path, entries)

    @property
    def _path(self) -> Path:
        return self.folder.state / "outputs.json"

    def _read(self) -> dict[str, Any]:
        return self.recorded(self.folder) or {}

    @staticmethod
    def recorded(folder: RunFolder) -> dict[str, Any] | None:
        """What is recorded of the results in a folder, by their places there; None where there is no record."""
        try:
            entries = json.loads((folder.state / "outputs.json").read_text())
        except (OSError, ValueError):  # without a record every result is written again
            return None
        if not isinstance(entries, dict):
            return None
        return {key: entry for key, entry in entries.items() if isinstance(entry, dict) and entry.keys() >= _ENTRY}

    def _is_current(self, path: Path, decided: str) -> bool:
        entry = self._read().get(_key(self.folder, path))
        return entry is not None and (entry["decided"], entry["files"]) == (decided, files_of(path))


def raster_files(wanted: Workflow, made: Plan) -> list[str]:
    """Names of the rasters of a run, each of them once."""
    own = [LABELS, INSTANCES] if made.has_things else [LABELS]
    return list(dict.fromkeys([*own, *map(output_file, wanted.outputs)]))


def check_places(wanted: Workflow, made: Plan) -> None:
    """Refuse a run before it computes anything whose results cannot be written where they are to be.

    Raises
    ------
    OutputError
        A folder has the name of one of its files, or of one beside them, or a file that of its folder; a layer of a
        GeoPackage is another program's.
    VectorError
        A polygon file has an ending of no format, or one that cannot hold the imagery's CRS.
    ExistingOutputError
        A result would replace what the run reads, or a file that no run has written there.
    """
    folder = Path(wanted.output)
    refuse_file(folder)
    check_preset(wanted, wanted.features)
    for name in wanted.features:
        check_format(Path(name), made.raster.crs)
        check_name((folder / name).absolute(), OutputError)
        check_layer(folder / name, wanted.layer)
        check_partition(folder / name, wanted.partition, CRS.from_user_input(made.raster.crs))
        if Path(name).parts[:1] == (RunFolder(folder).state.name,):
            raise OutputError(f"'{name}' is in the folder of what a run keeps for itself; choose another place")
        if Path(name).parent != Path() and not (folder / name).parent.is_dir():
            raise OutputError(f"the folder {(folder / name).parent} does not exist; create it, or choose another place")
    results = [folder / name for name in (*raster_files(wanted, made), ITEM, *([REPORT] if wanted.report else []))]
    results += [folder / PERFORMANCE] if wanted.performance_report else []
    _refuse_foreign(RunFolder(folder), [*results, *feature_files(folder, wanted.features)], wanted, made)
    rasters = (folder / name for name in raster_files(wanted, made) if not name.endswith(".zarr"))
    pages = [ITEM, RUN_FILE, RECORD, *([REPORT] if wanted.report else [])]
    if wanted.performance_report:
        pages.append(PERFORMANCE)
    check_partitioned(feature_files(folder, wanted.features), wanted.partition, RunFolder(folder))
    refuse_folders(*rasters, *(folder / name for name in pages))


def check_partitioned(files: Sequence[Path], partition: Partition | None, run: RunFolder | None = None) -> None:
    """Refuse folders in the place of files, and a partition where no file can have one.

    Parameters
    ----------
    files : sequence of Path
        What will be written.
    partition : str or None
        Of those that can have one.
    run : RunFolder, optional
        Whose partitioned files may become single ones, as long as nobody has changed them.

    Raises
    ------
    OutputError
        A folder has the name of a file that is not partitioned.
    WorkflowError
        None of the files is GeoParquet.
    """
    single = [file for file in files if not is_partitioned(file, partition)]
    if partition is not None and len(single) == len(files):
        raise WorkflowError(
            f"partition: {partition} is of GeoParquet, and '{files[0].name if files else 'features'}' is none; name a "
            "file with the extension .parquet."
        )
    refuse_folders(*(file for file in single if run is None or not _is_own_folder(file, run)))


def _is_own_folder(path: Path, run: RunFolder) -> bool:
    """Whether a folder is a partitioned file of a run, as it was written."""
    if not is_parts_alone(path):
        return False
    entry = (Outputs.recorded(run) or {}).get(_key(run, path))
    return entry is not None and ("begun" in entry or not is_edited(path, entry))


def _refuse_foreign(folder: RunFolder, results: Sequence[Path], wanted: Workflow, made: Plan) -> None:
    """Refuse to replace what the run reads, ever, and files that no run has written here, unless that is asked for."""
    read, own = list(_read_by(wanted, made)), [folder.run_file, folder.path / RECORD]
    for path in (*results, *(() if folder.state.is_dir() else own)):
        refuse_read(path, *read)
    is_run, recorded = folder.state.is_dir(), Outputs.recorded(folder)
    if wanted.overwrite or (is_run and recorded is None):  # the record is lost, or the first run has written nothing
        return
    partitioned = {path for path in results if is_partitioned(path, wanted.partition) and path.exists()}
    pages = {folder.path / ITEM, folder.path / REPORT}  # of a run folder they are the run's, by whichever command
    for path in (*(path for path in results if not (is_run and path in pages)), *(() if is_run else own)):
        there = next((file for file in _with_table(path) if file.is_file() or file in partitioned), None)
        if there is not None and path.suffix.lower() != ".gpkg" and _key(folder, path) not in (recorded or {}):
            raise ExistingOutputError(
                f"{there} is there and is no result of a run in {folder.path}; choose another output, or give "
                "--overwrite to replace it."
            )


def _with_table(path: Path) -> tuple[Path, ...]:
    """A result, and the table of a Shapefile, which may be a person's without one."""
    return (path, path.with_suffix(".dbf")) if path.suffix.lower() == ".shp" else (path,)


def _read_by(wanted: Workflow, made: Plan) -> Iterator[str]:
    """Local files that a run reads, and texts that are none."""
    yield from texts([wanted.input, wanted.region, wanted.prompts, wanted.corrections, wanted.mask])
    yield from texts([wanted.weights, wanted.model, wanted.things])
    yield from made.raster.files


def refuse_folders(*results: Path) -> None:
    """Refuse to write results where a folder has the name of one of them, or of a file beside it.

    Raises
    ------
    OutputError
        One has.
    """
    for path in results:
        for file in _places_of(path):
            refuse_folder(file)


def _key(folder: RunFolder, path: Path) -> str:
    """A result within the folder by its place there, so that the folder can be moved."""
    home, place = folder.path.resolve(), path.parent.resolve() / path.name
    return place.relative_to(home).as_posix() if place.is_relative_to(home) else str(place)


def files_of(path: Path) -> dict[str, str]:
    """The files of a result by name, each with the digest of its content."""
    return {file.name: _content(file) for file in _places_of(path) if file.exists()}


def _places_of(path: Path) -> tuple[Path, ...]:
    """The file of a result, and those that are written beside it, there or not."""
    endings = FORMATS[path.suffix.lower()].companions if path.suffix.lower() in FORMATS else ()
    companions = (path.with_name(path.stem + ending) for ending in endings)
    return path, path.with_name(f"{path.name}.aux.xml"), *companions


def is_edited(path: Path, entry: Mapping[str, Any]) -> bool:
    """Whether somebody has changed a result: what is gone or damaged is not, nor what was only looked at."""
    if path.suffix.lower() == ".gpkg":
        return path.exists() and layer_state(path, entry["layer"]) not in (None, entry.get("changed"))
    kept = {name: digest for name, digest in entry["files"].items() if not name.endswith(_UNTOUCHED)}
    files = [path.with_name(name) for name in kept]
    return any(file.exists() and _content(file) != kept[file.name] for file in files) and _is_whole(path)


def _is_whole(path: Path) -> bool:
    """Whether all of a raster or a polygon file can be read, and every part of one that is partitioned."""
    if path.is_dir():
        return path.suffix.lower() != ".parquet" or all(map(_is_whole, parts_of(path)))
    try:
        if path.suffix == ".tif":
            with rasterio.open(path) as source:
                for _, window in source.block_windows(1):
                    source.read(window=window)
        elif path.suffix.lower() == ".parquet":
            with closing(pq.ParquetFile(path)) as file:
                deque(file.iter_batches(), maxlen=0)
        elif path.suffix.lower() == ".shp" and not is_whole_shapefile(path):
            return False
        else:
            with pyogrio.raw.open_arrow(path, use_pyarrow=True) as (_, reader):
                deque(reader, maxlen=0)
    except (OSError, RasterioError, pa.ArrowInvalid, pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError):
        return False
    return True


def _content(path: Path) -> str:
    """The digest of a file, or of all files of a folder and their places."""
    if not path.is_dir():
        return file_digest(path)
    return _digest(
        *((file.relative_to(path).as_posix(), file_digest(file)) for file in sorted(path.rglob("*")) if file.is_file())
    )


def _remove(folder: RunFolder, key: str, recorded: Mapping[str, str]) -> None:
    """Remove the files of a result in the run folder, unless somebody has changed one or added to it."""
    path = folder.path / key
    if Path(key).is_absolute() or files_of(path) != recorded or _holds_more(path):
        return
    for name in recorded:
        with suppress(OSError):
            remove(path.with_name(name))


def _holds_more(path: Path) -> bool:
    """Whether a GeoPackage has layers besides one of polygons and its style."""
    return path.suffix.lower() == ".gpkg" and len(set(pyogrio.list_layers(path)[:, 0]) - {"layer_styles"}) > 1


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]
