"""Tiles of a person's imagery as a model sees them in a run: for what is measured on real pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import CrsError
from geoseg.raster import LOCAL
from geoseg.raster.options import configured
from geoseg.segmentation.tiles import read_tile
from geoseg.workflow.planning import make_plan
from geoseg.workflow.settings import read_workflow

TILES = 16
"""Tiles that are read: of a few million pixels each."""


@configured()
def sample_tiles(model: str, imagery: str, count: int = TILES) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Read tiles that are spread over a raster.

    Parameters
    ----------
    model : str
        Name or item of the model, which decides bands, resolution and size of tiles.
    imagery : str
        Any input of a run.
    count : int
        Tiles, at most; those without a valid pixel are left out.

    Yields
    ------
    tuple of array
        Digital numbers, shape (band, y, x), and bool, shape (y, x), True = valid.

    Raises
    ------
    GeosegError
        The imagery does not fit the model.
    """
    workflow = read_workflow(model=model, input=imagery, output="unused", features=[])
    try:
        plan = make_plan(workflow)
    except CrsError:  # pixels are the same wherever they lie
        plan = make_plan(workflow.model_copy(update={"crs": LOCAL}))
    down, across = plan.grid.rows.tiles, plan.grid.cols.tiles
    for number in np.unique(np.linspace(0, down * across - 1, count).astype(int)).tolist():
        tile = read_tile(plan.raster, plan.grid.tile(*divmod(number, across)))
        if tile.mask.any():
            yield tile.pixels, tile.mask
