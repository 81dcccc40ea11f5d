"""Building footprints: outlines traced from pixels as few straight walls, most of them at right angles.

Pure geometry: it knows polygons that share vertices, a plane in which right angles are right, and a tolerance; nothing
of rasters, tables, files or tasks. `outlines.regularizing` brings it the features of a raster, strip by strip.
"""

from geoseg.footprints.forms import RIGHT_ANGLES, STAIRS, Decided, Forms, Rules
from geoseg.footprints.network import FIXED, LOOSE, ON_EDGE, Network
from geoseg.footprints.plane import Plane
from geoseg.footprints.scene import TracedFaces, bounds
from geoseg.footprints.settling import Settled, settle

__all__ = [
    "FIXED",
    "LOOSE",
    "ON_EDGE",
    "RIGHT_ANGLES",
    "STAIRS",
    "Decided",
    "Forms",
    "Network",
    "Plane",
    "Rules",
    "TracedFaces",
    "Settled",
    "bounds",
    "settle",
]
