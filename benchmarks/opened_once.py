"""One model opened in one way, up to its first tile: ``geoseg | library KIND PATH``; prints JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDE = 512
"""Px of the tile."""

STARTED = time.perf_counter()


def by_geoseg(path: Path) -> float:
    """Open an entry or a packaging, and predict a tile; the sum of its probabilities."""
    import numpy as np

    from geoseg.catalog import find_model
    from geoseg.models import load_model

    model = load_model(find_model(path))
    pixels = np.full((1, 3, SIDE, SIDE), 100, np.uint8)
    return float(model.predict(pixels, np.ones((1, SIDE, SIDE), np.bool_)).sum())


def _unet(state: Any) -> Any:
    import segmentation_models_pytorch as smp

    network = smp.Unet("resnet34", encoder_weights=None, classes=4)
    network.load_state_dict(state)
    return network


def from_safetensors(path: Path) -> Any:
    """Open a state dict as segmentation-models-pytorch's documentation does."""
    from safetensors.torch import load_file

    return _unet(load_file(path))


def from_checkpoint(path: Path) -> Any:
    """Open a Lightning checkpoint without Lightning."""
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return _unet({name.removeprefix("model."): tensor for name, tensor in state.items()})


def from_folder(path: Path) -> Any:
    """Open a folder of segmentation-models-pytorch."""
    import segmentation_models_pytorch as smp

    return smp.from_pretrained(path)


def from_program(path: Path) -> Any:
    """Open a program of torch.export."""
    import torch

    return torch.export.load(path).module()


LIBRARIES: dict[str, Callable[[Path], Any]] = {
    "safetensors": from_safetensors,
    "Lightning checkpoint": from_checkpoint,
    "folder of smp": from_folder,
    "torch.export": from_program,
}
"""How the library that wrote a file opens it."""


def by_library(kind: str, path: Path) -> float:
    """The same with the library alone."""
    import torch

    torch.set_num_threads(1)
    network = LIBRARIES[kind](path)
    if kind != "torch.export":
        network.eval()
    with torch.inference_mode():
        return float(network(torch.full((1, 3, SIDE, SIDE), 100 / 255)).softmax(1).sum())


if __name__ == "__main__":
    way, kind, path = sys.argv[1:]
    by_geoseg(Path(path)) if way == "geoseg" else by_library(kind, Path(path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": time.perf_counter() - STARTED, "peak": peak}))
