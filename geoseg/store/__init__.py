"""What a run keeps on disk: its folder with blocks, strips, objects and markers."""

from geoseg.store.files import UNFINISHED, write_file, write_json
from geoseg.store.objects import ObjectFolder
from geoseg.store.run import STAGES, RunFolder, Stage, differences

__all__ = ["STAGES", "UNFINISHED", "ObjectFolder", "RunFolder", "Stage", "differences", "write_file", "write_json"]
