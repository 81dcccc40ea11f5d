"""What a run's manifest says, typed: the one source of everything in a report that is not a pixel or a polygon.

It knows ``run.json`` and the names of a run folder's files. A manifest of a run that was interrupted, or of an earlier
version, lacks parts; then so does the report.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoseg.errors import InputNotFoundError, ReportError
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.options import RUN_FILE
from geoseg.store import RunFolder
from geoseg.vector import FORMATS

_BLOCK = re.compile(r"(\d+)-(\d+)")

READABLE = [ending for ending, item in FORMATS.items() if item.is_exact]
"""Endings of polygon files that can be read a part at a time, the best one first; tiles of PMTiles are cut."""


@dataclass(frozen=True)
class LegendClass:
    """A class as a legend shows it.

    Attributes
    ----------
    value : int
        The label.
    name : str
        For people: without underscores.
    color : str
        ``"#rrggbb"``.
    """

    value: int
    name: str
    color: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        red, green, blue = bytes.fromhex(self.color[1:])
        return red, green, blue


@dataclass(frozen=True)
class RunRecord:
    """A run folder and its manifest.

    Attributes
    ----------
    folder : RunFolder
        The folder.
    content : mapping
        ``run.json``.
    """

    folder: RunFolder
    content: Mapping[str, Any] = field(repr=False)

    @property
    def status(self) -> str:
        """``"finished"``, ``"incomplete"`` or ``"running"``, which an interrupted run is still called."""
        return str(self.content["status"])

    @property
    def workflow(self) -> dict[str, Any]:
        """Keys of the workflow, with defaults."""
        return dict(self.content["workflow"])

    @property
    def plan(self) -> dict[str, Any]:
        """What was to run."""
        return dict(self.content["plan"])

    @property
    def model(self) -> dict[str, Any]:
        """The model's card; only its name where the manifest has no more."""
        return {"name": self.plan["model"], **(self.content.get("model") or {})}

    @property
    def raster(self) -> dict[str, Any]:
        """Shape, CRS and transform of the map."""
        return dict(self.plan["raster"])

    @property
    def path(self) -> Path:
        """The folder's path."""
        return self.folder.path

    @property
    def labels(self) -> Path:
        """The label raster."""
        return self.path / "labels.tif"

    @property
    def instances(self) -> Path | None:
        """The raster of instances; None where objects are not told apart."""
        path = self.path / "instances.tif"
        return path if path.name in self.results and path.is_file() else None

    @property
    def results(self) -> list[str]:
        """Names of the result files."""
        return [str(name) for name in self.content.get("results") or []]

    @property
    def features(self) -> Path | None:
        """The polygon file that is read most easily; None when there is none that can be read in parts."""
        files = [self.path / name for name in self.results if Path(name).suffix.lower() in READABLE]
        found = sorted((path for path in files if path.exists()), key=lambda path: READABLE.index(path.suffix.lower()))
        return found[0] if found else None

    @property
    def failed(self) -> dict[str, str]:
        """Blocks and nodes that failed, with the stage and the reason."""
        return dict((self.content.get("blocks") or {}).get("failed") or {})

    @property
    def grid(self) -> TileGrid | None:
        """Tiles and blocks; None where the folder's state has been removed."""
        try:
            fingerprint = json.loads((self.folder.state / "fingerprint.json").read_text())["grid"]
        except (OSError, ValueError, KeyError):
            return None
        down, across = fingerprint["block_tiles"]
        height, width = fingerprint["shape"]
        return TileGrid((height, width), Tiling(**fingerprint["tiling"]), (down, across))

    def failed_windows(self) -> dict[str, Window]:
        """Pixels of the blocks that failed; nodes that join blocks have no place of their own."""
        grid = self.grid
        places = {name: _BLOCK.fullmatch(name) for name in self.failed}
        return {name: grid.block(int(place[1]), int(place[2])).core for name, place in places.items() if grid and place}


def read_record(folder: str | os.PathLike[str]) -> RunRecord:
    """Read the manifest of a run folder.

    Raises
    ------
    InputNotFoundError
        There is none.
    ReportError
        It is damaged.
    """
    path = Path(folder)
    try:
        content = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        record = RunRecord(RunFolder(path), content)
        _ = record.status, record.workflow, record.raster["shape"], record.raster["transform"]
    except OSError as error:
        raise InputNotFoundError(
            f"{path} holds no run.json; give the output folder of a run, such as out/land_use."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path / 'run.json'} is not a run manifest; run the same command again.") from error
    return record


def spoken(name: str) -> str:
    """A name as people say it: without underscores."""
    return str(name).replace("_", " ").strip()
