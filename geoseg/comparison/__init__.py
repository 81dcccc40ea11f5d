"""Two results of one place, of two dates or two models: what changed, in pixels, as polygons, and object by object.

Both are found, brought onto one grid and counted as an evaluation does it; a pair of classes is one label of the
pipeline that makes polygons of labels. It knows neither models nor runs.
"""

from geoseg.comparison.comparing import Comparison, check_output, compare

__all__ = ["Comparison", "check_output", "compare"]
