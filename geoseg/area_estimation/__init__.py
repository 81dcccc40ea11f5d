"""Areas of a map: by class and zone, exact to the fraction of a pixel, and as a sample of points corrects them.

It knows label rasters, zones and points; nothing of models, and of runs only their labels.
"""

from geoseg.area_estimation.accounting import Areas, areas, check_points, sample, write_points

__all__ = ["Areas", "areas", "check_points", "sample", "write_points"]
