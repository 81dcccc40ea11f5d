"""From a workflow file to files on disk: YAML -> plan -> engine -> labels, polygons, manifest.

A workflow is what a person writes; its keys, the command line's options and the arguments of `run` are the same
words. This module joins the parts; it computes nothing of its own.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import yaml
from distributed import Client
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from geoseg import export
from geoseg.catalog import find_model, resolve_input, workflows_home
from geoseg.engine import Listener, Outcome, Started, Writing, connect, execute, ignore
from geoseg.errors import BandError, BlockError, InputNotFoundError, WorkflowError, nearest
from geoseg.grid import TileGrid, Tiling
from geoseg.models.spec import ModelSpec
from geoseg.planning import Plan, RegionMask, core_count, environment
from geoseg.raster import Raster, open_raster
from geoseg.store import STAGES, RunFolder, write_json
from geoseg.vector import check_region, read_region

Input = str | list[str] | dict[str, str]


class Workflow(BaseModel):
    """One run, as a person writes it.

    Attributes
    ----------
    model : str
        A name in the catalog, or the path of a STAC MLM item.
    weights : str or None
        A weights file that replaces the catalog's.
    input : str, list, dict or None
        A raster, several, a folder, a pattern, ``{band: file}``, or a name in the catalog's imagery.
    output : str
        The folder that receives the results.
    bands : list or None
        Names or 1-based numbers of the raster's bands, in the model's order.
    region : str or None
        A vector file, or ``minx,miny,maxx,maxy`` with an optional CRS.
    tile_size, halo, ramp : int or None
        Px; the model's own unless given.
    block_tiles : int or (int, int)
        Tiles of a block, down and across.
    batch_size : int
        Tiles per forward pass.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    workers : int or None
        Local worker processes; unless given one a core on a CPU, and one on a GPU.
    scheduler : str or None
        Address of a Dask scheduler to use instead.
    retries : int
        How often a failing block is tried again.
    features : list of str
        Polygon files by name; the ending chooses the format.
    layer : str
        Name of the polygon layer.
    overwrite : bool
        Start anew in a folder that holds another run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    weights: str | None = None
    input: Input | None = None
    output: str = "out"
    bands: list[str | int] | None = None
    region: str | None = None
    tile_size: PositiveInt | None = None
    halo: int | None = Field(default=None, ge=0)
    ramp: int = Field(default=32, ge=0)
    block_tiles: PositiveInt | tuple[PositiveInt, PositiveInt] = 2
    batch_size: PositiveInt = 1
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    workers: PositiveInt | None = None
    scheduler: str | None = None
    retries: int = Field(default=2, ge=0)
    features: list[str] = ["features.gpkg"]
    layer: str = "land_use"
    overwrite: bool = False


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
    """

    output: Path
    labels: Path
    features: tuple[Path, ...]
    run_file: Path
    plan: Plan
    outcome: Outcome
    seconds: dict[str, float]


def read_workflow(workflow: str | Path | Workflow | Mapping[str, Any], **settings: Any) -> Workflow:
    """Read a workflow and replace what is given besides.

    Parameters
    ----------
    workflow : path, Workflow or dict
        A YAML file; a file that does not exist here is looked for among the shipped ones.
    **settings
        Keys of `Workflow`; None leaves the workflow's own.

    Returns
    -------
    Workflow
        Checked.

    Raises
    ------
    WorkflowError
        Not YAML, an unknown key, or a value that cannot be used.
    InputNotFoundError
        No such file.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    if isinstance(workflow, Workflow):
        content, name = workflow.model_dump(), "the workflow"
    elif isinstance(workflow, Mapping):
        content, name = dict(workflow), "the workflow"
    else:
        path = _workflow_path(Path(workflow))
        content, name = _read_yaml(path), str(path)
    try:
        return Workflow(**{**content, **given})
    except ValidationError as error:
        raise WorkflowError(_sentence(error, name)) from error


def _workflow_path(path: Path) -> Path:
    """The file itself, or the shipped workflow of that name."""
    home = workflows_home()
    for candidate in (path, home / path.name, home / f"{path.name}.yaml"):
        if candidate.is_file():
            return candidate
    shipped = sorted(item.stem for item in home.glob("*.yaml"))
    raise InputNotFoundError(f"workflow {path} does not exist; {nearest(path.stem, shipped)}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f" at line {place.line + 1}" if place else ""
        raise WorkflowError(f"{path} is not YAML{line}; see workflows/land_use.yaml for the form.") from error
    if not isinstance(content, dict):
        raise WorkflowError(f"{path} holds no keys; see workflows/land_use.yaml for the form.")
    return content


def _sentence(error: ValidationError, name: str) -> str:
    """The first thing that is wrong, in one sentence."""
    first = error.errors()[0]
    key = str(first["loc"][0])
    known = list(Workflow.model_fields)
    if first["type"] == "extra_forbidden":
        close = get_close_matches(key, known, n=1)
        return f"{name} has an unknown key '{key}'; " + (
            f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}."
        )
    if first["type"] == "missing":
        return f"{name} does not say '{key}'; add that key."
    return f"{name} has {key}: {first.get('input')!r}, which cannot be used ({first['msg']}); give another value."


def plan(workflow: str | Path | Workflow | Mapping[str, Any], **settings: Any) -> Plan:
    """Say what would run; computes nothing.

    Parameters
    ----------
    workflow, **settings
        As in `read_workflow`.

    Returns
    -------
    Plan
        Blocks, tiles, memory, estimated time.

    Raises
    ------
    GeosegError
        One sentence on whatever does not fit: input, bands, region, model, memory.
    """
    wanted = read_workflow(workflow, **settings)
    spec = find_model(wanted.model)
    if wanted.weights is not None:
        spec = spec.with_weights(_existing(wanted.weights))
    raster = _open_input(wanted, spec)
    tiling = Tiling(
        size=wanted.tile_size or spec.tile_size,
        halo=spec.halo if wanted.halo is None else wanted.halo,
        ramp=wanted.ramp,
        multiple=spec.multiple,
    )
    device = _device(wanted.device)
    block_tiles = wanted.block_tiles if isinstance(wanted.block_tiles, tuple) else (wanted.block_tiles,) * 2
    made = Plan(
        raster=raster,
        spec=spec,
        grid=TileGrid(raster.shape, tiling.fitted(raster.shape), block_tiles),
        region=_open_region(wanted, raster),
        batch_size=wanted.batch_size,
        device=device,
        workers=wanted.workers or (core_count() if device == "cpu" else 1),
    )
    return replace(made, workers=min(made.workers, max(1, made.block_count)))


def _existing(path: str) -> str:
    if not Path(path).exists():
        raise InputNotFoundError(f"weights {path} do not exist; give the path of the model's weights file.")
    return str(Path(path).absolute())


def _open_input(wanted: Workflow, spec: ModelSpec) -> Raster:
    """Open the input at the model's resolution, with the model's bands."""
    if wanted.input is None:
        raise WorkflowError("the workflow names no input; give --input with a raster, a folder or a catalog name.")
    bands = wanted.bands or spec.bands
    if len(bands) != len(spec.bands):
        raise BandError(
            f"{len(bands)} bands are chosen ({', '.join(map(str, bands))}) and model {spec.name} needs "
            f"{len(spec.bands)} ({', '.join(spec.band_names)}); name as many, in that order."
        )
    return open_raster(resolve_input(wanted.input), bands=bands, resolution=spec.resolution)


def _open_region(wanted: Workflow, raster: Raster) -> RegionMask | None:
    if wanted.region is None:
        return None
    region = read_region(wanted.region).to_crs(raster.crs)
    check_region(region, raster.geobox)
    return RegionMask(region, raster.geobox)


def _device(wanted: str) -> str:
    """Resolve ``auto``; torch is loaded only where there may be something to find."""
    if wanted != "auto":
        return wanted
    if any(Path("/dev").glob("nvidia[0-9]*")):
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cpu"


def run(
    workflow: str | Path | Workflow | Mapping[str, Any],
    *,
    listen: Listener = ignore,
    client: Client | None = None,
    **settings: Any,
) -> RunResult:
    """Map a raster: labels, polygons and a manifest in the output folder.

    The same command continues a run that was interrupted: only blocks that are not on disk are repeated.

    Parameters
    ----------
    workflow, **settings
        As in `read_workflow`; any key of `Workflow`, such as ``input=`` and ``output=``.
    listen : callable, optional
        Called with `Started`, each block's `Event`, and `Writing`.
    client : distributed.Client, optional
        Workers that are already there.

    Returns
    -------
    RunResult
        Where the results are.

    Raises
    ------
    BlockError
        Some blocks failed after every retry; everything else is finished and written.
    GeosegError
        Something that a person wrote cannot be used.
    """
    wanted = read_workflow(workflow, **settings)
    made = plan(wanted)
    if wanted.scheduler is None and client is None:
        made.check_memory()
    export.check_formats(wanted.features)
    folder = RunFolder(Path(wanted.output))
    with folder.locked():
        started = time.perf_counter()
        fingerprint = made.fingerprint()
        resumed = folder.prepare(made.grid, fingerprint, overwrite=wanted.overwrite)
        manifest = _Manifest(wanted, made, folder, fingerprint)
        manifest.write("running")
        if client is not None:
            result = _run_on(client, wanted, made, folder, listen, resumed)
        else:
            with connect(wanted.scheduler, made.workers) as own:
                result = _run_on(own, wanted, made, folder, listen, resumed)
        result.seconds["total"] = time.perf_counter() - started
        manifest.write("incomplete" if result.outcome.failed else "finished", result)
    _raise_failures(result)
    return result


def _run_on(
    client: Client, wanted: Workflow, made: Plan, folder: RunFolder, listen: Listener, resumed: bool
) -> RunResult:
    """Run the blocks, then write the results."""
    listen(Started(made, client.dashboard_link or "", resumed))
    stages = STAGES if wanted.features else STAGES[:-1]
    shared = RunFolder(folder.path.absolute())  # a worker may have another current directory
    outcome = execute(made, shared, client, stages=stages, retries=wanted.retries, listen=listen)
    done = time.perf_counter()
    labels, *features = (folder.path / name for name in ("labels.tif", *wanted.features))
    for path in (labels, *features):
        listen(Writing(path))
    _write(client, made, shared, labels, features, wanted.layer)
    seconds = {**outcome.wall, "write": time.perf_counter() - done}
    return RunResult(folder.path, labels, tuple(features), folder.run_file, made, outcome, seconds)


def _write(client: Client, made: Plan, shared: RunFolder, labels: Path, features: list[Path], layer: str) -> None:
    """Write all results at the same time, each on a worker."""
    submit = partial(client.submit, pure=False)
    run = uuid.uuid4().hex[:8]
    futures = [submit(export.write_labels, made, shared, labels.absolute(), key=(f"write-{run}", "labels"))]
    for path in features:
        key = (f"write-{run}", path.name)
        futures.append(submit(export.write_polygons, made, shared, path.absolute(), layer, key=key))
    client.gather(futures)


def _raise_failures(result: RunResult) -> None:
    failed = result.outcome.failed
    if failed:
        reason = next(iter(failed.values())).rstrip(".")
        names = ", ".join(list(failed)[:8])
        raise BlockError(
            f"{len(failed)} of {result.plan.block_count} blocks failed ({names}), the first in {reason}; the rest is "
            f"in {result.output}; mend the cause and run the same command again."
        )


@dataclass(frozen=True)
class _Manifest:
    """What ``run.json`` says."""

    workflow: Workflow
    plan: Plan
    folder: RunFolder
    fingerprint: dict[str, Any]

    def write(self, status: str, result: RunResult | None = None) -> None:
        """Write the manifest anew."""
        made = self.plan
        content: dict[str, Any] = {
            "status": status,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "workflow": self.workflow.model_dump(mode="json"),
            "inputs": list(self.fingerprint["inputs"].values()),
            "plan": {
                "raster": made.raster.summary(),
                "model": made.spec.name,
                "tile_size": made.grid.tiling.size,
                "halo": made.grid.tiling.halo,
                "ramp": made.grid.tiling.ramp,
                "block_tiles": list(made.grid.block_tiles),
                "blocks": made.block_count,
                "tiles": made.tile_count,
                "batch_size": made.batch_size,
                "device": made.device,
                "workers": made.workers,
                "planned_bytes": made.total_bytes,
                "estimated_seconds": made.estimated_seconds,
            },
            "versions": {"geoseg": version("geoseg"), **environment()},
        }
        if result is not None:
            content |= _results(result)
        write_json(self.folder.run_file, content)


def _results(result: RunResult) -> dict[str, Any]:
    """The part of the manifest that is known when blocks are done."""
    outcome = result.outcome
    return {
        "results": [path.name for path in (result.labels, *result.features)],
        "seconds": {key: round(value, 3) for key, value in result.seconds.items()},
        "worker_seconds": {key: round(value, 3) for key, value in outcome.seconds.items()},
        "blocks": {"done": dict(outcome.done), "kept": dict(outcome.kept), "failed": outcome.failed},
    }
