"""Areas as a stratified sample of points corrects them, with their errors.

The estimator of Olofsson et al. 2014, "Good practices for estimating area and assessing accuracy of land change"
(Remote Sensing of Environment 148, equations 4 to 11): the classes of the map are the strata. It knows counts and
areas; nothing of rasters.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Estimates:
    """Areas and accuracies of classes; each array is float64 (class,).

    Attributes
    ----------
    area, area_error : NDArray
        Estimated area, and half the width of its confidence interval; the unit of the mapped areas.
    users, users_error : NDArray
        User's accuracy: of what is mapped as the class, the part that is it; NaN of classes that are not mapped.
    producers, producers_error : NDArray
        Producer's accuracy: of what is the class, the part that is mapped as it; NaN of classes that do not occur.
    overall, overall_error : float
        Overall accuracy.
    """

    area: Floats
    area_error: Floats
    users: Floats
    users_error: Floats
    producers: Floats
    producers_error: Floats
    overall: float
    overall_error: float


def estimate(mapped: Floats, counts: NDArray[np.int64], confidence: float = 0.95) -> Estimates:
    """Estimate areas.

    Parameters
    ----------
    mapped : NDArray
        float64 (class,): area of each class of the map; the strata.
    counts : NDArray
        int64 (class, class): points by class of the map (row) and class that was found (column); a class that is
        mapped has two or more.
    confidence : float
        Level of the intervals, 0 to 1.
    """
    total = mapped.sum()
    weights, points = mapped / total, counts.sum(axis=1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(points[:, None] > 0, counts / points[:, None], 0.0)
        spread = np.where(points[:, None] > 1, shares * (1 - shares) / (points[:, None] - 1), 0.0)
        found = weights @ shares  # equation 9
        error = np.sqrt(weights**2 @ spread)  # equation 10
        users = np.where(points > 0, np.diag(shares), np.nan)
        right = weights * np.diag(shares)
        producers = right / found
        ground = total * found  # pixels that are the class, in the unit of the map
        own = mapped**2 * (1 - producers) ** 2 * np.diag(spread)
        others = mapped[:, None] ** 2 * spread
        np.fill_diagonal(others, 0.0)
        producers_spread = (own + producers**2 * others.sum(axis=0)) / ground**2  # equation 7
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return Estimates(
        ground,
        z * total * error,
        users,
        z * np.sqrt(np.where(points > 0, np.diag(spread), np.nan)),  # equation 6
        producers,
        z * np.sqrt(producers_spread),
        float(right.sum()),
        float(z * np.sqrt((weights**2 * np.diag(spread)).sum())),  # equation 5
    )
