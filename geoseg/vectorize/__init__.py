"""From labels to polygons: faces of one array, traces of blocks, the stitch over their borders, and features.

The seam to whatever traces is `polygonize` and `trace`: labels and confidence in, faces with integer rings out.
Nothing here knows how labels are made, or which file the features go to.
"""

from geoseg.vectorize.attributes import features
from geoseg.vectorize.blocks import Trace, stitch, trace
from geoseg.vectorize.faces import Faces, polygonize

__all__ = ["Faces", "Trace", "features", "polygonize", "stitch", "trace"]
