"""What a run keeps on disk: its folder with blocks, strips, objects and markers."""

from geoseg.store.differences import differences
from geoseg.store.label_store import LabelStore
from geoseg.store.objects import ObjectFolder
from geoseg.store.run import RunFolder

__all__ = ["LabelStore", "ObjectFolder", "RunFolder", "differences"]
