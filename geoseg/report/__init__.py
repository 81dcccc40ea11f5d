"""What a run has made, on one page and as one picture; whatever its size, in memory that does not depend on it.

It reads a run folder, and imagery in overviews. It knows nothing of how a run goes, nor of Dask.
"""

from geoseg.report.layout import LAYOUTS_ONLY, write_layout
from geoseg.report.measures import keep_features, keep_measures, measure_outlines
from geoseg.report.page import write_report
from geoseg.report.preview import UNIT, write_preview
from geoseg.report.record import RunRecord, read_record

__all__ = [
    "LAYOUTS_ONLY",
    "UNIT",
    "RunRecord",
    "keep_features",
    "keep_measures",
    "measure_outlines",
    "read_record",
    "write_layout",
    "write_preview",
    "write_report",
]
