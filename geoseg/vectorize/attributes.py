"""From faces in pixels to features on earth: coordinates, areas, names and mean confidence.

It knows a transform, a CRS and the names of classes; it does not know blocks or files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from affine import Affine
from pyproj import CRS

from geoseg.vectorize.areas import areas, placed
from geoseg.vectorize.faces import CERTAIN, Faces
from geoseg.vectorize.rings import reverse


def features(faces: Faces, transform: Affine, crs: Any, classes: Mapping[int, str]) -> gpd.GeoDataFrame:
    """Place faces on earth and describe them.

    Parameters
    ----------
    faces : Faces
        Polygons in pixels.
    transform : Affine
        From column and row of a pixel corner to CRS coordinates; rotated and south-up ones too.
    crs : anything pyproj takes
        The raster's CRS, on any body.
    classes : mapping of int to str
        Names by label; a label without a name is called by its number.

    Returns
    -------
    GeoDataFrame
        ``class`` (int32), ``name``, ``area_m2`` (float64, on the ellipsoid, NaN where the CRS has no place on it),
        ``confidence`` (float64, 0 to 1, mean over the pixels, 4 decimals) and the polygons, whose exteriors run
        counter-clockwise in the CRS.

    Raises
    ------
    CrsError
        The CRS has no horizontal coordinates.
    """
    crs = CRS.from_user_input(crs)
    # Canonical exteriors are counter-clockwise on a screen, whose rows go down.
    rings = reverse(faces.rings) if transform.determinant > 0 else faces.rings
    columns = {
        "class": faces.label.astype(np.int32),
        "name": _names(faces, classes),
        "area_m2": areas(rings, transform, crs),
        "confidence": np.round(faces.confidence_sum / (CERTAIN * faces.pixels), 4),
    }
    return gpd.GeoDataFrame(columns, geometry=rings.to_polygons(placed(rings.xy, transform)), crs=crs)


def _names(faces: Faces, classes: Mapping[int, str]) -> pd.Series[str]:
    """The name of each face's class."""
    labels, index = np.unique(faces.label, return_inverse=True)
    names = np.array([classes.get(int(label), str(label)) for label in labels], object)
    return pd.Series(names[index], dtype="str")
