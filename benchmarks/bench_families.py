"""How far a tile's edge reaches, and how fast a forward pass is: one row for each family of networks.

Networks have seeded random weights, which are written to a file or folder and opened like any model. Their statistics
and scores are spread as those of trained networks are, or nothing would reach anywhere. So halos tell families apart;
a trained model's own is for ``geoseg probe`` to measure. One CPU thread; speeds are medians of three passes. The seam
score is that of the confidence over a real scene, with tiles of 256 px, a halo of 32 and a ramp of 32.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.measure import table
from geoseg.catalog import find_imagery
from geoseg.evaluation import seam_score
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.models import FAMILIES as ADAPTERS
from geoseg.models import Band, ClassSpec, ModelSpec, Scaling, load_model
from geoseg.models.probe import TOLERANCE, made_up_pixels, measure_cost, measure_edge
from geoseg.probabilities import apply_threshold
from geoseg.segmentation import predict_block

CLASSES = 11
"""Few networks have another layer of so many outputs, or one more."""

LOGITS = 2.0
"""Standard deviation of the scores of a network that tells classes apart."""

PHOTO = (700, 700)
"""Height and width of what is mapped to look for seams, px."""

SHOWN = (0, 32, 128)
"""Distances from the edge, px, at which errors are printed."""


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes
    ----------
    architecture : str
        As in a model's entry.
    settings : dict
        Its hyperparameters.
    task : str
        What it does.
    configure : callable or None
        Makes the configuration of a network of transformers.
    tile_size : int
        Side of the tile, px.
    fixed : bool
        Whether its tiles have one size, so that none can be compared with a larger one.
    """

    architecture: str
    settings: dict[str, Any] = field(default_factory=dict)
    task: str = "semantic-segmentation"
    configure: Callable[[], Any] | None = None
    tile_size: int = 512
    fixed: bool = False

    @property
    def name(self) -> str:
        """The architecture within its library."""
        return self.architecture.partition(".")[2]

    @property
    def adapter(self) -> str:
        """The module that opens it."""
        return next(home for pattern, home in ADAPTERS.items() if fnmatchcase(self.architecture, pattern))

    @property
    def spec(self) -> ModelSpec:
        """The row as an entry of three bands would have it."""
        objects = self.task == "instance-segmentation"
        classes = 1 if self.fixed else CLASSES
        return ModelSpec(
            self.architecture,
            self.task,  # type: ignore[arg-type]
            tuple(Band(name) for name in ("red", "green", "blue")),
            tuple(ClassSpec(number, f"class {number}") for number in range(1, classes + 1)),
            scalings=(Scaling("z-score", mean=123.7, stddev=58.4),),
            activation="none" if objects else "softmax",
            tile_size=self.tile_size,
            architecture=self.architecture,
            hyperparameters=tuple(sorted(self.settings.items())),
            min_score=0.3,
        )


def segformer() -> Any:
    """SegFormer's smallest size (Xie et al. 2021, table 6)."""
    from transformers import SegformerConfig

    return SegformerConfig(depths=[2, 2, 2, 2], hidden_sizes=[32, 64, 160, 256], num_labels=CLASSES)


def mask2former() -> Any:
    """Mask2Former on Swin's smallest size (Cheng et al. 2022, table 1)."""
    from transformers import Mask2FormerConfig, SwinConfig

    stages = ["stage1", "stage2", "stage3", "stage4"]
    trunk = SwinConfig(embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, out_features=stages)
    return Mask2FormerConfig(backbone_config=trunk, num_labels=CLASSES)


def maskformer() -> Any:
    """MaskFormer on Swin's base size, as the library has it (Cheng et al. 2021, table 1)."""
    from transformers import MaskFormerConfig

    return MaskFormerConfig(num_labels=CLASSES)


def eomt() -> Any:
    """EoMT on the large size of DINOv2 (Kerssies et al. 2025, table 1)."""
    from transformers import EomtConfig

    return EomtConfig(num_labels=1)


def sam2() -> Any:
    """SAM 2 on the tiny size of Hiera (Ravi et al. 2024, appendix D)."""
    from transformers import Sam2Config

    return Sam2Config()


def sam() -> Any:
    """SAM on the base size of its transformer (Kirillov et al. 2023, appendix A)."""
    from transformers import SamConfig

    return SamConfig()


FAMILIES = (
    Family("smp.Unet", {"encoder_name": "resnet18", "encoder_depth": 3, "decoder_channels": (64, 32, 16)}),
    Family("smp.Unet", {"encoder_name": "resnet18"}),
    Family("smp.UnetPlusPlus", {"encoder_name": "resnet18"}),
    Family("smp.MAnet", {"encoder_name": "resnet18"}),
    Family("smp.Linknet", {"encoder_name": "resnet18"}),
    Family("smp.FPN", {"encoder_name": "resnet18"}),
    Family("smp.PSPNet", {"encoder_name": "resnet18"}),
    Family("smp.PAN", {"encoder_name": "resnet18"}),
    Family("smp.DeepLabV3", {"encoder_name": "resnet18"}),
    Family("smp.DeepLabV3Plus", {"encoder_name": "resnet18"}),
    Family("smp.UPerNet", {"encoder_name": "resnet18"}),
    Family("smp.Segformer", {"encoder_name": "mit_b0"}),
    Family("smp.DPT", {"encoder_name": "tu-vit_tiny_patch16_224"}),
    Family("torchvision.fcn_resnet50"),
    Family("torchvision.deeplabv3_mobilenet_v3_large"),
    Family("torchvision.lraspp_mobilenet_v3_large"),
    Family("geoseg.DeepLabV1"),
    Family("geoseg.DeepLabV2", {"backbone": "resnet50"}),
    Family("transformers.SegformerForSemanticSegmentation", configure=segformer),
    Family("transformers.Mask2FormerForUniversalSegmentation", configure=mask2former),
    Family("torchvision.maskrcnn_mobilenet_v3_large_fpn", task="instance-segmentation"),
    Family("transformers.MaskFormerForInstanceSegmentation", configure=maskformer),
    Family("transformers.EomtForUniversalSegmentation", {}, "semantic-segmentation", eomt, 640, fixed=True),
    Family("torchvision.maskrcnn_resnet50_fpn", task="instance-segmentation"),
    Family("torchvision.maskrcnn_resnet50_fpn_v2", task="instance-segmentation"),
    Family("transformers.SamModel", {"points_per_side": 4}, "instance-segmentation", sam, 1024, fixed=True),
    Family("transformers.Sam2Model", {"points_per_side": 4}, "instance-segmentation", sam2, 1024, fixed=True),
)
"""What is measured."""


def write(family: Family, folder: Path) -> tuple[ModelSpec, int]:
    """Write a network of random weights; returns the spec of what was written, and its number of parameters."""
    torch.manual_seed(0)
    spec, path = family.spec, folder
    if family.configure is not None:
        network = getattr(import_module("transformers"), family.name)(family.configure())
    else:
        network = import_module(family.adapter).build(spec)
    if not family.fixed:
        spread(network.eval(), spec)
    if family.configure is not None:
        network.save_pretrained(folder)
    else:
        path = folder / "weights.safetensors"
        save_file(network.state_dict(), path)
    return spec.with_weights(path), sum(tensor.numel() for tensor in network.parameters())


def spread(network: nn.Module, spec: ModelSpec) -> None:
    """Give a network statistics and scores of the size that a trained one has, from one pass over made-up pixels."""
    hooks = []
    for layer in network.modules():
        outputs = getattr(layer, "out_channels", getattr(layer, "out_features", None))
        if isinstance(layer, nn.BatchNorm2d):
            hooks.append(layer.register_forward_pre_hook(take_statistics))
        elif isinstance(layer, nn.Conv2d | nn.Linear) and outputs in (CLASSES, CLASSES + 1):
            hooks.append(layer.register_forward_hook(scale_scores))
    rng = np.random.default_rng(0)
    pixels = np.stack([made_up_pixels(spec, 256, rng) for _ in range(2)])
    scaled = torch.from_numpy((pixels - 123.7) / 58.4).float()
    with torch.no_grad():
        network(list(scaled) if spec.task == "instance-segmentation" else scaled)
    for hook in hooks:
        hook.remove()


def take_statistics(layer: Any, inputs: tuple[torch.Tensor]) -> None:
    """Set the statistics of batch normalisation to those of its input, float32 (n, channel, y, x)."""
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance.clamp(min=1e-2))


def scale_scores(layer: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
    """Scale a layer so that its output has the deviation of logits that tell classes apart."""
    factor = LOGITS / output.std()
    for tensor in layer.parameters():
        tensor.mul_(factor)
    return output * factor


class Photo:
    """A part of the shipped scene as natural colours of 8 bits, uint8 (band, y, x), all of it valid."""

    def __init__(self) -> None:
        with rasterio.open(find_imagery("delmarva").paths[0]) as source:
            pixels = source.read([3, 2, 1], window=rasterio.windows.Window(300, 300, *PHOTO)).astype(np.float64)
        self.pixels = (pixels / np.percentile(pixels, 99) * 255).clip(0, 255).astype(np.uint8)
        self.shape = PHOTO

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Pixels and mask of a window."""
        return self.pixels[(slice(None), *window.slices())], np.ones(window.shape, np.bool_)


def seams(model: Any) -> float:
    """Seam score of the confidence of a map of small tiles; 1.0 is invisible."""
    tiling = Tiling(256, 32, 32, 32)
    grid = TileGrid(PHOTO, tiling, (99, 99))
    pixels = predict_block(Photo(), model, grid, grid.block(0, 0)).pixels
    confidence = apply_threshold(pixels.labels, pixels.best)[1]
    starts = range(0, max(PHOTO), tiling.stride)
    return seam_score(confidence, starts, starts)


def row(family: Family) -> list[str]:
    """Measure one family."""
    with tempfile.TemporaryDirectory() as folder:
        spec, parameters = write(family, Path(folder))
        model = load_model(spec)
    speed = 1 / measure_cost(model).seconds_per_mpx
    settings = " ".join(str(value) for name, value in family.settings.items() if name != "decoder_channels")
    shown = [family.architecture, settings, f"{parameters / 1e6:.1f}", f"{speed:.3f}"]
    if family.fixed:
        return [*shown, "one size", *["" for _ in SHOWN], ""]
    edge = measure_edge(model, repeats=1)
    halo = "none found" if edge.halo is None else str(edge.halo)
    seam = f"{seams(model):.2f}" if family.task == "semantic-segmentation" else ""
    return [*shown, halo, *(f"{edge.errors[distance]:.4f}" for distance in SHOWN), seam]


def main(names: Sequence[str] = ()) -> None:
    """Print the table of all families, or of those whose architecture holds one of the names."""
    torch.set_num_threads(1)
    chosen = [item for item in FAMILIES if not names or any(name in item.architecture for name in names)]
    errors = [f"left by {distance} px" for distance in SHOWN]
    header = ["", "settings", "M parameters", "Mpx/s", f"halo px at {TOLERANCE}", *errors, "seam score"]
    title = f"families with random weights: three bands, {CLASSES} classes, tiles of 512 px (SAM 1024), one CPU thread"
    table(title, header, [row(item) for item in chosen])


if __name__ == "__main__":
    main(sys.argv[1:])
