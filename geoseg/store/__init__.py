"""What a run keeps on disk: its folder with blocks, strips, objects and markers."""

from geoseg.store.objects import ObjectFolder
from geoseg.store.run import STAGES, RunFolder, Stage, differences

__all__ = ["STAGES", "ObjectFolder", "RunFolder", "Stage", "differences"]
