"""One block: what its tiles see, what the model says of them, and what becomes of it."""

from geoseg.segmentation.blocks import Prediction, finish_block, predict_block
from geoseg.segmentation.objects import detect_block, parse_block
from geoseg.segmentation.tiles import MaskSource, PixelSource, read_tile

__all__ = [
    "MaskSource",
    "PixelSource",
    "Prediction",
    "detect_block",
    "finish_block",
    "parse_block",
    "predict_block",
    "read_tile",
]
