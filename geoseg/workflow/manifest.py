"""What became of a run: for whoever called it, and for whoever opens its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from geoseg.engine import Outcome
from geoseg.engine.memory import Peaks
from geoseg.files import write_json
from geoseg.options import Workflow
from geoseg.planning import Plan
from geoseg.raster import is_sampled, unsigned
from geoseg.store import RunFolder
from geoseg.workflow.model_card import model_card


@dataclass(frozen=True)
class RunResult:
    """Where the results are, and what became of the blocks.

    Attributes
    ----------
    output : Path
        The run's folder.
    labels : Path
        The label raster, a Cloud Optimized GeoTIFF.
    features : tuple of Path
        The polygon files.
    run_file : Path
        The manifest.
    plan : Plan
        What ran.
    outcome : Outcome
        Blocks by stage; failed ones by name.
    seconds : dict
        Wall time by stage, s.
    instances : Path or None
        The raster of instances, where objects are told apart.
    peaks : Peaks or None
        Memory of the processes, as measured.
    report : Path or None
        The page that shows it all.
    is_unchanged : bool
        Everything was there already, and nothing was done.
    """

    output: Path
    labels: Path
    features: tuple[Path, ...]
    run_file: Path
    plan: Plan
    outcome: Outcome
    seconds: dict[str, float]
    instances: Path | None = None
    peaks: Peaks | None = None
    report: Path | None = None
    is_unchanged: bool = False

    @property
    def rasters(self) -> tuple[Path, ...]:
        """Labels, and instances where there are any."""
        return (self.labels,) if self.instances is None else (self.labels, self.instances)


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
        before = {item.get("absolute"): item.get("mtime_ns") for item in self.former.get("inputs") or []}
        items = (item for item in self.inputs if is_sampled(item) and item["absolute"] in before)
        return [item["path"] for item in items if before[item["absolute"]] != item["mtime_ns"]]

    def write(self, status: str, result: RunResult | None = None) -> None:
        """Write the manifest anew; where nothing was computed, timings of the earlier start stay."""
        made = self.plan
        content: dict[str, Any] = {
            "status": status,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "workflow": self.workflow.model_dump(mode="json"),
            "inputs": self.inputs,
            "plan": made.summary(),
            "model": model_card(self.workflow, made.spec),
            "versions": {**made.versions, "geoseg": version("geoseg")},
        }
        if result is not None:
            content |= _results(result)
            if "predict" not in result.outcome.done and self.former.get("warnings"):
                content["warnings"] = self.former["warnings"]
            if not result.outcome.done:
                content |= {key: self.former[key] for key in MEASURED if key in self.former}
        write_json(self.folder.run_file, json.loads(unsigned(json.dumps(content))))


def _results(result: RunResult) -> dict[str, Any]:
    """The part of the manifest that is known when blocks are done."""
    outcome, peaks = result.outcome, result.peaks
    return {
        "results": [_location(path, result.output) for path in (*result.rasters, *result.features)],
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
