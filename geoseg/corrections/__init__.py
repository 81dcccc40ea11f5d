"""Corrections of a run's labels: polygons and points that a person has drawn, burnt into what a model has found.

It knows vector layers, labels and blocks, not where labels are kept.
"""

from geoseg.corrections.burning import Patch, Ranking
from geoseg.corrections.layer import DENIED, CorrectionLayer, corrections_text, read_corrections
from geoseg.corrections.segments import Segment, SegmentMap

__all__ = [
    "DENIED",
    "CorrectionLayer",
    "Patch",
    "Ranking",
    "Segment",
    "SegmentMap",
    "corrections_text",
    "read_corrections",
]
