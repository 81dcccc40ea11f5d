"""Block layout and label reader that are handed to progress monitors."""

from __future__ import annotations

from collections.abc import Sequence

from geoseg.engine import Layout, stages_of_run
from geoseg.models.spec import NODATA
from geoseg.outlines import OutlinePlan
from geoseg.planning import Plan
from geoseg.store import RunFolder
from geoseg.vector import StyledClass


def layout_of_run(made: Plan, folder: RunFolder, classes: Sequence[StyledClass]) -> Layout:
    """Blocks of a run; their labels are final when they are finished, or numbered where objects are told apart.

    Parameters
    ----------
    made : Plan
        The run.
    folder : RunFolder
        Holds its labels.
    classes : sequence of StyledClass
        The model's.
    """
    axes = made.grid.rows, made.grid.cols
    rows, cols = ((*(axis.block_core(block)[0] for block in range(axis.blocks)), axis.length) for axis in axes)
    return Layout(
        rows=rows,
        cols=cols,
        places=made.places,
        classes=tuple(classes),
        nodata=NODATA,
        final=[stage.name for stage in stages_of_run(made, None) if stage.makes_labels][-1],
        read=lambda window: folder.blocks.read_labels(*window.slices()),
    )


def layout_of_labels(plan: OutlinePlan, classes: Sequence[StyledClass] | None) -> Layout:
    """Blocks of a raster that somebody has classified.

    Parameters
    ----------
    plan : OutlinePlan
        The outline.
    classes : sequence of StyledClass, optional
        Those that the raster names.
    """
    return Layout(
        rows=plan.rows,
        cols=plan.cols,
        places=plan.places,
        classes=tuple(classes or ()),
        nodata=plan.nodata,
        final=stages_of_run(None, plan)[0].name,
        read=lambda window: plan.source.read(window)[0],
    )
