"""From labels to polygons: the pieces of blocks, how they join, and what is said about each face.

It knows arrays and where they lie in the raster and on earth; nothing of how labels are made, of files or of tasks.
"""

from geoseg.arcs.faces import Faces
from geoseg.arcs.metric import Metric
from geoseg.arcs.simplification import Simplification
from geoseg.vectorize.attributes import features, renamed
from geoseg.vectorize.joining import join
from geoseg.vectorize.least import Least
from geoseg.vectorize.pieces import Holes, Piece, Shaping
from geoseg.vectorize.tracing import polygonize, reach_of, trace

__all__ = [
    "Faces",
    "Holes",
    "Least",
    "Metric",
    "Piece",
    "Shaping",
    "Simplification",
    "features",
    "join",
    "polygonize",
    "reach_of",
    "renamed",
    "trace",
]
