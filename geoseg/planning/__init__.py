"""The frozen run: what will be read, by which model, in which blocks; how much memory, time and disk it takes."""

from geoseg.planning.estimate import Estimate
from geoseg.planning.memory import MIB
from geoseg.planning.plan import Plan, core_count, tiling_of
from geoseg.planning.region import RegionMask

__all__ = ["MIB", "Estimate", "Plan", "RegionMask", "core_count", "tiling_of"]
