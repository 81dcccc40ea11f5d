"""From settings to a frozen plan: opens headers, computes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.catalog import find_model, resolve_input
from geoseg.errors import BandError, InputNotFoundError, WorkflowError
from geoseg.grid import TileGrid, Tiling
from geoseg.models.spec import ModelSpec
from geoseg.planning import Plan, RegionMask, core_count
from geoseg.raster import Raster, open_raster
from geoseg.vector import check_region, read_region
from geoseg.workflow.settings import Workflow, read_workflow

MANY_TILES = 64
"""From so many tiles on a block has four of them, unless said otherwise."""


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
    fitted = tiling.fitted(raster.shape)
    made = Plan(
        raster=raster,
        spec=spec,
        grid=TileGrid(raster.shape, fitted, _block_tiles(wanted, raster.shape, fitted)),
        region=_open_region(wanted, raster),
        batch_size=wanted.batch_size,
        device=device,
        workers=wanted.workers or (core_count() if device == "cpu" else 1),
    )
    return replace(made, workers=min(made.workers, max(1, made.block_count)))


def _block_tiles(wanted: Workflow, shape: tuple[int, int], tiling: Tiling) -> tuple[int, int]:
    """Tiles of a block: single ones where few tiles are to be shared among the workers.

    Larger blocks read less of the raster twice. The number of workers must not decide, or a run could not be continued
    with another one.
    """
    if wanted.block_tiles is None:
        whole = TileGrid(shape, tiling, (1, 1))
        return (2, 2) if whole.rows.tiles * whole.cols.tiles >= MANY_TILES else (1, 1)
    return wanted.block_tiles if isinstance(wanted.block_tiles, tuple) else (wanted.block_tiles,) * 2


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
