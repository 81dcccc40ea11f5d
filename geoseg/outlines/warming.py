"""Compile what is compiled ahead of the first block, where somebody watching can be told why nothing moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from affine import Affine

from geoseg.arcs import rings, scanning
from geoseg.files import has_machine_code
from geoseg.grid import Window
from geoseg.mapping_unit import MappingUnit
from geoseg.outlines.plan import OutlinePlan
from geoseg.outlines.regularizing import regularize
from geoseg.vectorize import Faces, Shaping, features, join, polygonize, reach_of, trace
from geoseg.vectorize.sieve import survey

SHAPE = (4, 8)

LABELS = np.array([[0, 1, 1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 1, 1, 0, 1]] * 2, np.uint8)
"""The few pixels."""


def is_compiled() -> bool:
    """Say whether an earlier start has left its machine code on disk."""
    return has_machine_code(scanning.scan_rows) and has_machine_code(rings._gather_rings)


def compile_loops(shaping: Shaping, is_sifted: bool) -> None:
    """Run every compiled loop once on a few pixels.

    Parameters
    ----------
    shaping : Shaping
        What will be asked for.
    is_sifted : bool
        Whether small faces will go.
    """
    if is_sifted:
        for x in (0, 4):
            core = Window(0, x, 4, 4)
            survey(LABELS[core.slices()], core, SHAPE, MappingUnit(3))
    features(run_loops(shaping), Affine(10, 0, 500_000, 0, -10, 1_000_000), "EPSG:32618", {})


def run_loops(shaping: Shaping) -> Faces:
    """Trace and join a few pixels.

    Parameters
    ----------
    shaping : Shaping
        What will be asked for.
    """
    pieces = []
    for x in (0, 4):
        core = Window(0, x, 4, 4)
        part = LABELS[reach_of(core).slices()]
        pieces.append(trace(part, part, core, SHAPE, shaping)[1])
    return join(pieces, Window(0, 0, *SHAPE), shaping)[0]


def compile_walls(plan: OutlinePlan) -> None:
    """Run every compiled loop of `footprints` once, on two houses with a common wall.

    Parameters
    ----------
    plan : OutlinePlan
        With a tolerance.
    """
    labels = np.zeros((20, 30), np.int64)
    labels[4:14, 4:12], labels[6:16, 12:24] = 1, 2
    table = features(polygonize(labels, nodata=0), plan.transform, plan.crs, {})
    list(regularize([table], replace(plan, rows=(0, 20), cols=(0, 30), region=None)))
