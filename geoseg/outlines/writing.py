"""The polygons of an outline to a file, in raster order, streamed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geoseg.outlines.merging import merge
from geoseg.outlines.plan import OutlinePlan
from geoseg.vector import StyledClass, write_features


def write_outlines(plan: OutlinePlan, path: Path, layer: str, style: Sequence[StyledClass] | None) -> int:
    """Write the features of all nodes.

    Parameters
    ----------
    plan : OutlinePlan
        Whose nodes are all on disk.
    path : Path
        The vector file; its ending chooses the format.
    layer : str
        Name of the layer.
    style : sequence of StyledClass, optional
        Colours and names of the classes.

    Returns
    -------
    int
        Number of features.
    """
    tables = list(plan.folder.read_features())
    return write_features(path, merge(tables), layer=layer, crs=plan.crs, style=style)
