"""Whether tiles can be seen in a map: steps across their borders, beside steps elsewhere.

It knows an array and where borders lie; nothing of how the map was made.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError


def seam_score(values: NDArray[Any], rows: Collection[int], cols: Collection[int]) -> float:
    """Compare steps across borders with steps elsewhere.

    ``mean |v(y, x) - v(y - 1, x)|`` over the rows y that begin a tile, and likewise over columns, divided by the same
    mean over all other rows and columns: 1.0 means that nothing is to be seen, 2.0 that steps are twice as large.

    Parameters
    ----------
    values : array
        Shape (..., y, x): probabilities, confidence, or anything else that should not know of tiles.
    rows, cols : collection of int
        First row and first column of each tile's core, px; 0 is no border.

    Returns
    -------
    float
        NaN when the values have no steps elsewhere.

    Raises
    ------
    EvaluationError
        There is no border within the array.
    """
    borders: list[NDArray[Any]] = []
    elsewhere: list[NDArray[Any]] = []
    for axis, starts in ((-2, rows), (-1, cols)):
        steps = np.abs(np.diff(values.astype(np.float64), axis=axis))
        starting = np.isin(np.arange(1, steps.shape[axis] + 1), list(starts))
        for taken, into in ((starting, borders), (~starting, elsewhere)):
            into.append(np.compress(taken, steps, axis).ravel())
    across, away = np.concatenate(borders), np.concatenate(elsewhere)
    if not across.size:
        raise EvaluationError(
            f"no border of {sorted({*rows, *cols})} lies within {values.shape[-2:]} px; give where tiles begin."
        )
    return float(across.mean() / away.mean()) if away.any() else float("nan")
