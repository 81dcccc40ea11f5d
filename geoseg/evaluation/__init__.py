"""How good a result is: files (`evaluate`), and what it is made of, which arrays can be given to as well.

Pixels (`classes`), boundaries, objects (`matching`, `coco`), both (`panoptic`), outlines (`shapes`), and `seams` of
tiles know arrays and class names only; where they came from, and which pixels may be compared, is the caller's
business: pixels of value 255 are left out. Counts add up over windows, where the functions that count say how; scores
are taken of the sums. All else brings files onto one grid and hands windows of them to these.
"""

from geoseg.evaluation.boundaries import BoundaryScores, count_boundaries
from geoseg.evaluation.classes import IGNORE, Scores, confusion, score
from geoseg.evaluation.evaluating import Evaluation, evaluate
from geoseg.evaluation.matching import Matches, match_instances
from geoseg.evaluation.panoptic import PanopticScores, count_panoptic
from geoseg.evaluation.report import Cell, Table
from geoseg.evaluation.seams import seam_score
from geoseg.evaluation.shapes import hausdorff_distances, polis_distances

__all__ = [
    "IGNORE",
    "BoundaryScores",
    "Cell",
    "Evaluation",
    "Matches",
    "PanopticScores",
    "Scores",
    "Table",
    "confusion",
    "count_boundaries",
    "count_panoptic",
    "evaluate",
    "hausdorff_distances",
    "match_instances",
    "plain",
    "polis_distances",
    "score",
    "seam_score",
]
