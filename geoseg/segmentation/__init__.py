"""One block: what its tiles see, what the model says of them, and what becomes of it."""

from geoseg.segmentation.blocks import Prediction, by_class, finish_block, label_block, predict_block
from geoseg.segmentation.objects import detect_block, parse_block
from geoseg.segmentation.tiles import MaskSource, PixelSource, read_tile

__all__ = [
    "MaskSource",
    "PixelSource",
    "Prediction",
    "by_class",
    "detect_block",
    "finish_block",
    "label_block",
    "parse_block",
    "predict_block",
    "read_tile",
]
