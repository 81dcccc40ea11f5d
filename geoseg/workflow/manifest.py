"""Result of a run: the value that `run` returns, and the manifest in its folder."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd

from geoseg.engine import Outcome
from geoseg.errors import GeosegError, InputNotFoundError
from geoseg.files import plain, write_json
from geoseg.models.spec import class_attributes
from geoseg.options import Workflow
from geoseg.peak_memory import Peaks
from geoseg.planning import Plan
from geoseg.raster import is_sampled, unsigned
from geoseg.showing import card
from geoseg.store import RunFolder
from geoseg.workflow.model_card import model_card

if TYPE_CHECKING:
    import xarray as xr
    from PIL.Image import Image


@dataclass(frozen=True)
class RunResult:
    """Where the results are, and what became of the blocks; rasters as lazy arrays, polygons as a table.

    Attributes
    ----------
    output : Path
        The run's folder.
    labels_path : Path
        The label raster, a Cloud Optimized GeoTIFF.
    features_paths : tuple of Path
        The polygon files.
    run_file : Path
        The manifest.
    plan : Plan
        What ran.
    outcome : Outcome
        Blocks by stage; failed ones by name.
    seconds : dict
        Wall time by stage, s.
    instances_path : Path or None
        The raster of instances, where objects are told apart.
    peaks : Peaks or None
        Memory of the processes, as measured.
    report : Path or None
        The page that shows it all.
    products : tuple of Path
        Rasters that ``outputs`` names: ``confidence`` and ``probabilities``, each ``.tif`` or ``.zarr``, and
        ``labels.zarr``.
    is_unchanged : bool
        Everything was there already, and nothing was done.
    home : Path
        The directory that relative paths begin at: the current one when the run was made.
    """

    output: Path
    labels_path: Path
    features_paths: tuple[Path, ...]
    run_file: Path
    plan: Plan
    outcome: Outcome
    seconds: dict[str, float]
    instances_path: Path | None = None
    peaks: Peaks | None = None
    report: Path | None = None
    products: tuple[Path, ...] = ()
    is_unchanged: bool = False
    home: Path = field(default_factory=Path.cwd, compare=False)

    @property
    def folder(self) -> Path:
        """The run's folder, wherever the program is now."""
        return self.home / self.output

    @property
    def rasters(self) -> tuple[Path, ...]:
        """Files of labels, of instances where there are any, and `products`."""
        objects = () if self.instances_path is None else (self.instances_path,)
        return (self.labels_path, *objects, *self.products)

    @property
    def labels(self) -> xr.DataArray:
        """Labels, lazy: uint8 (y, x), 255 = nodata, with names and colours of the classes."""
        return _read(
            self.home / self.labels_path, "labels", class_attributes(replace(self.plan.spec, classes=self.plan.classes))
        )

    @property
    def instances(self) -> xr.DataArray | None:
        """Numbers of objects, lazy: uint32 (y, x), 0 = none; None where no objects are told apart."""
        return None if self.instances_path is None else _read(self.home / self.instances_path, "instances", {})

    @property
    def confidence(self) -> xr.DataArray:
        """How sure each label is, lazy: uint8 (y, x), 255 = 1.0, 0 = nodata; of a run with that output."""
        return self._output("confidence")

    @property
    def probabilities(self) -> xr.DataArray:
        """Probability of each class, lazy: float32 (class, y, x), NaN = nodata; of a run with that output."""
        return self._output("probabilities")

    def _output(self, name: str) -> xr.DataArray:
        files = (self.folder / f"{name}{ending}" for ending in (".tif", ".zarr"))
        written = (self.home / file for file in self.products if file.stem == name)
        path = next((file for file in files if file.exists()), next(written, None))
        if path is None:
            raise InputNotFoundError(
                f"{self.output} has no {name}; run it again with outputs=['{name}'], which writes it beside the labels."
            )
        return _read(path, name, {})

    @property
    def features(self) -> gpd.GeoDataFrame:
        """The polygons, read from the first file of them."""
        from geoseg.workflow.results import read_features

        return read_features([self.home / path for path in self.features_paths])

    def plot(self, path: str | os.PathLike[str] | None = None, *, width: int = 1200) -> Image:
        """Draw imagery, labels and outlines side by side.

        Parameters
        ----------
        path : path, optional
            A file of the picture too; its ending chooses the format.
        width : int
            Px.

        Returns
        -------
        PIL.Image.Image
            Which a notebook shows.
        """
        from geoseg.workflow.reporting import draw_result
        from geoseg.workflow.results import check_there

        check_there(self.home / self.run_file)
        return draw_result(self.folder, self.plan.raster, path, width=width)

    def explore(self) -> Any:
        """Return an interactive map of the polygons, by folium or lonboard where one of them is installed."""
        colors = {item.value: item.color for item in self.plan.classes}
        from geoseg.workflow.results import explore

        return explore(self.features, colors, "class")

    @property
    def _facts(self) -> list[tuple[str, str]]:
        height, width = self.plan.raster.shape
        failed = f", {len(self.outcome.failed)} blocks failed" if self.outcome.failed else ""
        return [
            ("map", f"{width:,} x {height:,} px by {self.plan.spec.name}{failed}"),
            ("files", ", ".join(path.name for path in (*self.rasters, *self.features_paths))),
            ("time", f"{self.seconds.get('total', 0.0):,.1f} s"),
            *([("report", str(self.report))] if self.report else []),
        ]

    def __repr__(self) -> str:
        return f"RunResult({str(self.output)!r}: {'; '.join(text for _, text in self._facts[:3])})"

    def _repr_html_(self) -> str:
        picture = io.BytesIO()
        with suppress(GeosegError):  # a card without a picture is still one
            self.plot(width=600).convert("RGB").save(picture, "JPEG", quality=85)
        return card(f"Run {self.output}", self._facts, picture=picture.getvalue(), kind="jpeg")


MEASURED = "seconds", "worker_seconds", "memory", "blocks"
"""Parts of the manifest that say what computing took."""


@dataclass(frozen=True)
class Manifest:
    """What ``run.json`` says."""

    workflow: Workflow
    plan: Plan
    folder: RunFolder
    inputs: list[dict[str, Any]]
    former: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, workflow: Workflow, plan: Plan, folder: RunFolder, inputs: list[dict[str, Any]]) -> Manifest:
        """The manifest of a run, beside the one that an earlier start may have left."""
        try:
            former = json.loads(folder.run_file.read_text())
        except (OSError, ValueError):
            former = {}
        return cls(workflow, plan, folder, inputs, former if isinstance(former, dict) else {})

    @property
    def edited(self) -> list[str]:
        """Large files that were written since the earlier start, and whose sampled parts are the same."""
        before = {item.get("absolute"): item for item in self.former.get("inputs") or []}
        items = ((item, before.get(item["absolute"], {})) for item in self.inputs if is_sampled(item))
        return [
            item["path"]
            for item, former in items
            if former.get("sha256") == item["sha256"] and former.get("mtime_ns") != item["mtime_ns"]
        ]

    def write(self, status: str, result: RunResult | None = None) -> None:
        """Write the manifest anew; where nothing was computed, timings of the earlier start stay."""
        made = self.plan
        content: dict[str, Any] = {
            "status": status,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "workflow": self.workflow.model_dump(mode="json"),
            "inputs": [{key: item[key] for key in item if key != "sources"} for item in self.inputs],
            "plan": made.summary(),
            "model": model_card(self.workflow, replace(made.spec, classes=made.classes)),
            "versions": {**made.versions, "geoseg": version("geoseg")},
        }
        if result is not None:
            content |= _results(result)
            if made.corrections is not None:
                content["corrections"] = made.corrections.summary() | (self.folder.correction_counts or {})
            if "predict" not in result.outcome.done and self.former.get("warnings"):
                content["warnings"] = list(dict.fromkeys([*self.former["warnings"], *content.get("warnings", ())]))
            if not result.outcome.done:
                content |= {key: self.former[key] for key in MEASURED if key in self.former}
        write_json(self.folder.run_file, json.loads(unsigned(json.dumps(plain(content)))))


def _read(path: Path, name: str, attributes: Mapping[str, Any]) -> xr.DataArray:
    """A raster of results; what reads it is loaded when it is asked for, since arrays of Dask slow down every start."""
    from geoseg.workflow.results import read_raster

    return read_raster(path, name, attributes)


def _results(result: RunResult) -> dict[str, Any]:
    """The part of the manifest that is known when blocks are done."""
    outcome, peaks = result.outcome, result.peaks
    return {
        "results": [_location(path, result.output) for path in (*result.rasters, *result.features_paths)],
        "seconds": {key: round(value, 3) for key, value in result.seconds.items()},
        "worker_seconds": {key: round(value, 3) for key, value in outcome.seconds.items()},
        "memory": None if peaks is None else {"client": peaks.own, "workers": dict(peaks.workers)},
        **({"warnings": sentences} if (sentences := outcome.warnings) else {}),
        "blocks": {"done": dict(outcome.done), "kept": dict(outcome.kept), "failed": outcome.failed},
    }


def _location(path: Path, folder: Path) -> str:
    """Where a result lies: from the run folder within it, elsewhere in full."""
    path, folder = (item.resolve() for item in (path, folder))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def feature_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """Files of polygons of a run, each of them once, however often and in whatever spelling it is named."""
    files = [folder / name for name in names]
    return list({os.path.realpath(file): file for file in reversed(files)}.values())[::-1]
