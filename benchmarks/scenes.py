"""Rasters and models for the benchmarks, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from rasterio.windows import Window

from tests.networks import write_item

CLASSES = 7


def write_rgb(path: Path, side: int) -> Path:
    """Write a uint8 RGB GeoTIFF, ``side`` px square: smooth fields with a little noise, tiled 512, uncompressed."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (3, 66, 66)).astype(np.float32)
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 3,
        "height": side,
        "width": side,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "interleave": "pixel",
        "photometric": "RGB",
        "crs": "EPSG:32618",
        "transform": from_origin(400_000, 4_200_000, 0.5, 0.5),
        "bigtiff": "if_safer",
    }
    with rasterio.open(path, "w", **profile) as target:
        for y in range(0, side, 512):
            for x in range(0, side, 512):
                place = Window(x, y, 512, 512)
                part = coarse[
                    :, (y // 512) % 32 * 2 : (y // 512) % 32 * 2 + 3, (x // 512) % 32 * 2 : (x // 512) % 32 * 2 + 3
                ]
                grown = torch.nn.functional.interpolate(
                    torch.from_numpy(part)[None], size=(512, 512), mode="bilinear", align_corners=True
                )[0].numpy()
                noisy = grown + rng.integers(-2, 3, grown.shape)
                target.write(noisy.clip(0, 255).astype(np.uint8), window=place)
    return path


def write_null_model(folder: Path, tile_size: int = 1024) -> Path:
    """Write a 1 x 1 convolution to seven classes as TorchScript beside its item; returns the item's path."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, CLASSES, 1)
    network.weight.data.mul_(0.05)
    weights = folder / "null.pt"
    torch.jit.trace(network.eval(), torch.zeros(1, 3, 32, 32)).save(str(weights))
    return write_item(
        folder / "null.json",
        weights,
        halo=0,
        tile_size=tile_size,
        bands=["red", "green", "blue"],
        framework="TorchScript",
        classes=CLASSES,
    )
