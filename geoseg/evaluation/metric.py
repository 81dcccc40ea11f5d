"""Features in metres: a local coordinate system in which lengths and areas are what they are on the ground.

It knows coordinate systems and features.
"""

from __future__ import annotations

from pyproj import CRS, Proj, Transformer
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import LambertAzimuthalEqualAreaConversion

from geoseg.errors import CrsError
from geoseg.evaluation.features import Features

TRUE = 0.003
"""A CRS whose unit is a metre on the ground within this share, where the features are, is kept: UTM is."""


def metric_features(truth: Features, prediction: Features) -> tuple[Features, Features]:
    """Bring features into one CRS in metres.

    Returns
    -------
    truth, prediction : Features
        Those in plain pixels as they are. Others in the truth's CRS where that is metres on the ground; else in
        Lambert's azimuthal equal-area projection around their middle, in which areas are exact, and lengths within
        0.1 % up to 500 km away (Snyder 1987, "Map projections: a working manual", page 185).
    """
    crs = _metric_crs(truth if len(truth) else prediction)
    return truth.to_crs(crs), prediction.to_crs(crs)


def _metric_crs(features: Features) -> CRS:
    """A CRS in metres for some features."""
    crs = features.crs
    if not len(features) or crs.is_engineering:
        return crs
    if crs.geodetic_crs is None:
        raise CrsError(f"'{crs.name}' is not a CRS of the earth, so lengths in metres cannot be measured; reproject it")
    left, bottom, right, top = features.bounds
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    longitude, latitude = to_degrees.transform((left + right) / 2, (bottom + top) / 2)
    if crs.is_projected and _is_true(crs, longitude, latitude):
        return crs
    return ProjectedCRS(LambertAzimuthalEqualAreaConversion(latitude, longitude), geodetic_crs=crs.geodetic_crs)


def _is_true(crs: CRS, longitude: float, latitude: float) -> bool:
    """Say whether a unit is a metre on the ground, in both directions, at a place."""
    unit = crs.axis_info[0].unit_conversion_factor
    factors = Proj(crs).get_factors(longitude, latitude)
    scales = factors.meridional_scale, factors.parallel_scale
    return unit == 1 and all(abs(scale - 1) <= TRUE for scale in scales)
