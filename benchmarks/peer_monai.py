"""MONAI's sliding window over a GeoTIFF, as its documentation shows it: read, infer, write.

With ``logits`` it blends what the network gives, as most people do; with ``probabilities`` what geoseg blends.
Prints the seconds from opening the raster to the closed label GeoTIFF, imports left out.
"""

from __future__ import annotations

import sys
import time

import rasterio
import torch
from monai.inferers import SlidingWindowInferer


def main(raster: str, weights: str, output: str, blended: str = "logits") -> None:
    """Label one raster."""
    torch.set_num_threads(2)
    network = torch.jit.load(weights).eval()
    predictor = network if blended == "logits" else lambda pixels: network(pixels).softmax(1)
    started = time.perf_counter()
    with rasterio.open(raster) as source:
        image = torch.from_numpy(source.read())[None].float()
        profile = source.profile
    inferer = SlidingWindowInferer(roi_size=(512, 512), sw_batch_size=4, overlap=0.25, mode="constant")
    with torch.inference_mode():
        labels = inferer(image, predictor).argmax(1)[0].to(torch.uint8).numpy()
    profile.update(count=1, compress="deflate", photometric="minisblack", nodata=255, num_threads=2)
    with rasterio.open(output, "w", **profile) as target:
        target.write(labels, 1)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(*sys.argv[1:])
