"""Polygons of a label raster of any size: what is traced and joined, where it is kept, and how it is written.

Blocks are traced one by one, neighbours are joined in groups, groups in larger groups, up to the whole raster. It
knows labels that somebody stored; not how they came to be, nor on which cluster its tasks run.
"""

from geoseg.outlines.folder import OutlineFolder
from geoseg.outlines.job import OutlineJob
from geoseg.outlines.objects import RunObjects
from geoseg.outlines.plan import LabelSource, OutlinePlan
from geoseg.outlines.sources import LabelRaster, RunLabels
from geoseg.outlines.warming import is_compiled
from geoseg.outlines.writing import TAGGED, OutlineIndex, read_outlines, write_outlines

__all__ = [
    "TAGGED",
    "LabelSource",
    "OutlineFolder",
    "OutlineIndex",
    "OutlineJob",
    "OutlinePlan",
    "LabelRaster",
    "RunLabels",
    "RunObjects",
    "is_compiled",
    "read_outlines",
    "write_outlines",
]
