"""How good a result is: pixels (`classes`), boundaries, objects (`matching`), both (`panoptic`), and `seams` of tiles.

It knows arrays and class names only; where they came from, and which pixels may be compared, is the caller's business:
pixels of value 255 are left out. Counts add up over windows, where the functions that count say how; scores are taken
of the sums.
"""

from geoseg.evaluation.boundaries import BoundaryScores, count_boundaries
from geoseg.evaluation.classes import IGNORE, Scores, confusion, score
from geoseg.evaluation.matching import Matches, match_instances
from geoseg.evaluation.panoptic import PanopticScores, count_panoptic
from geoseg.evaluation.seams import seam_score

__all__ = [
    "IGNORE",
    "BoundaryScores",
    "Matches",
    "PanopticScores",
    "Scores",
    "confusion",
    "count_boundaries",
    "count_panoptic",
    "match_instances",
    "score",
    "seam_score",
]
