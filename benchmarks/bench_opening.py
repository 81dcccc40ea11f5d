"""What opening costs: seconds and peak memory to the first tile of a U-Net, beside the library that wrote the file.

Each is a process of its own, imports included; geoseg opens the entry that ``geoseg models new --scaling 255`` writes.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from benchmarks.measure import measure, table
from benchmarks.opened_once import SIDE
from geoseg.models.packagings import write_new_item
from geoseg.models.packagings.gaps import Gaps

MIB = 2**20


def write_models(folder: Path) -> dict[str, Path]:
    """Write a U-Net of resnet34 in four ways; the path by kind."""
    network = smp.Unet("resnet34", encoder_weights=None, classes=4).eval()
    save_file(network.state_dict(), folder / "unet.safetensors")
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state, "hyper_parameters": {}}, folder / "unet.ckpt")
    network.save_pretrained(folder / "unet")
    torch.export.save(torch.export.export(network, (torch.zeros(1, 3, SIDE, SIDE),)), folder / "unet.pt2")
    names = {"safetensors": "unet.safetensors", "Lightning checkpoint": "unet.ckpt", "folder of smp": "unet"}
    return {kind: folder / name for kind, name in {**names, "torch.export": "unet.pt2"}.items()}


def opened(way: str, kind: str, path: Path) -> dict[str, Any]:
    """Seconds and peak bytes of one process."""
    arguments = ["-m", "benchmarks.opened_once", way, kind, str(path)]
    found: dict[str, Any] = json.loads(measure(arguments, memory=False).output.splitlines()[-1])
    return found


def main(runs: int = 3) -> None:
    """Print the table."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        for kind, path in write_models(Path(name)).items():
            entry, _ = write_new_item(path, Path(name) / f"{path.name}.json", gaps=Gaps(scaling="255"))
            ours, theirs = [], []
            for _ in range(runs):
                ours.append(opened("geoseg", kind, entry))
                theirs.append(opened("library", kind, path))
            cells = []
            for key, unit in (("seconds", 1), ("peak", MIB)):
                one, other = (statistics.median(item[key] for item in items) / unit for items in (ours, theirs))
                cells += [f"{one:,.1f}", f"{other:,.1f}", f"{one / other:.2f}"]
            lines.append([kind, *cells])
    header = ["", "geoseg s", "library s", "ratio", "geoseg MiB", "library MiB", "ratio"]
    table(f"opening: a U-Net of resnet34 to its first tile of {SIDE} px, medians of {runs}", header, lines)
