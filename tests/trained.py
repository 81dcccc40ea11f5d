"""Weights files as libraries write them, of networks that are small and label in more than one class."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from geoseg.models.torchvision_hub import take_bands

SMALL: dict[str, Any] = {"encoder_name": "resnet18", "encoder_weights": None}
TORCHGEO: dict[str, Any] = {
    "model": "unet", "backbone": "resnet18", "in_channels": 3, "task": "multiclass", "num_classes": 4,
    "num_labels": None, "num_filters": 3, "loss": "ce", "class_weights": torch.ones(4), "ignore_index": None,
    "lr": 0.001, "patience": 10, "freeze_backbone": False, "freeze_decoder": False,
}  # fmt: skip
"""Hyperparameters that torchgeo's SemanticSegmentationTask saves, in version 0.8."""

TERRATORCH: dict[str, Any] = {
    "model_factory": "SMPModelFactory",
    "model_args": {
        "backbone": "resnet18", "model": "FPN", "bands": ["BLUE", "GREEN", "RED"], "num_classes": 4,
        "pretrained": False, "smp_decoder_segmentation_channels": 32,
    },
    "loss": "dice", "class_names": ["water", "field", "wood", "town"], "ignore_index": -1, "freeze_backbone": False,
}  # fmt: skip
"""Hyperparameters that terratorch's SemanticSegmentationTask saves, in version 1.2."""

GEOAI: dict[str, Any] = {
    "encoder_name": "resnet18", "architecture": "unet", "num_channels": 3, "num_classes": 4, "use_timm_model": False,
    "timm_model_name": None, "model_type": "timm_segmentation",
}  # fmt: skip
"""The config.json that geoai pushes to a hub beside model.pth, in version 0.40."""


MLM = """
$schema: https://stac-extensions.github.io/mlm/v1.6.0/schema.json
properties:
  architecture: x.Y
  framework: pytorch
  input:
  - bands: [red, green, blue]
    input: {data_type: float32, dim_order: [batch, bands, height, width], shape: [-1, 3, 64, 64]}
    name: pixels
    pre_processing_function: null
    value_scaling:
    - {mean: 0.0, stddev: 255.0, type: z-score}
    - {mean: 0.0, stddev: 255.0, type: z-score}
    - {mean: 0.0, stddev: 255.0, type: z-score}
  name: towns
  output:
  - classification:classes:
    - {color_hint: FF0000, description: roofs, name: town, value: 1}
    - {name: field, value: 2}
    - {name: wood, value: 3}
    - {name: water, value: 4}
    name: scores
    result: {data_type: float32, dim_order: [batch, class, height, width], shape: [-1, 4, 64, 64]}
    tasks: !!set {semantic-segmentation: null}
  tasks: !!set {semantic-segmentation: null}
"""
"""What stac-model 0.7 writes into an archive, with its sets."""


def build(kind: str = "Unet", *, bands: int = 3, classes: int = 4, **arguments: Any) -> torch.nn.Module:
    """A network of segmentation-models-pytorch whose classes are about as frequent on random pixels from 0 to 1."""
    torch.manual_seed(4)
    network: Any = getattr(smp, kind)(**{**SMALL, **arguments}, in_channels=bands, classes=classes).eval()
    with torch.no_grad():
        scores = network(torch.rand(1, bands, 64, 64))
        network.segmentation_head[0].bias -= scores.mean((0, 2, 3))
        for tensor in (network.segmentation_head[0].weight, network.segmentation_head[0].bias):
            tensor.mul_(2 / scores.std())
    module: torch.nn.Module = network
    return module


def build_torchvision(kind: str, *, bands: int = 3, classes: int = 4, **arguments: Any) -> torch.nn.Module:
    """The same of torchvision."""
    from torchvision.models import segmentation

    torch.manual_seed(4)
    network = getattr(segmentation, kind)(weights=None, weights_backbone=None, num_classes=classes, **arguments)
    take_bands(network, bands)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    lasts = [layer for name, layer in network.named_modules() if name in ("classifier.4", "classifier.low_classifier")]
    with torch.no_grad():
        network.train()(torch.rand(2, bands, 64, 64))
        scores = network.eval()(torch.rand(1, bands, 64, 64))["out"]
        lasts[0].bias -= scores.mean((0, 2, 3))
    module: torch.nn.Module = network
    return module


def under(prefix: str, network: torch.nn.Module, **beside: torch.Tensor) -> dict[str, torch.Tensor]:
    """The tensors of a network as a module has them that holds it, with others beside it."""
    named = {name.replace("__", "."): tensor for name, tensor in beside.items()}
    return {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()} | named


def save_state(path: Path, network: torch.nn.Module | None = None, **arguments: Any) -> Path:
    """The state dict of a network, a U-Net by default."""
    state = (network or build(**arguments)).state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def save_lightning(path: Path, state: Mapping[str, torch.Tensor], hyperparameters: Mapping[str, Any]) -> Path:
    """A checkpoint with the entries that the trainer of PyTorch Lightning 2.6 writes."""
    torch.save(
        {
            "epoch": 3,
            "global_step": 40,
            "pytorch-lightning_version": "2.6.6",
            "state_dict": dict(state),
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3, "completed": 3}}}},
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.3), "dirpath": "a"}},
            "optimizer_states": [{"state": {0: {"step": torch.tensor(40.0)}}, "param_groups": [{"lr": 0.001}]}],
            "lr_schedulers": [],
            "hparams_name": "kwargs",
            "hyper_parameters": dict(hyperparameters),
        },
        path,
    )
    return path


def save_program(path: Path, network: torch.nn.Module, metadata: str = "", *, side: int = 64, **more: Any) -> Path:
    """A program of torch.export with MLM metadata, as stac-model's ``package`` packs them."""
    from torch.export.pt2_archive._package import package_pt2

    program = torch.export.export(network, (torch.zeros(1, 3, side, side),))
    programs = {"model": program} | dict.fromkeys(more, program)
    package_pt2(str(path), exported_programs=programs, extra_files={"mlm-metadata": metadata} if metadata else {})
    return path


def save_script(path: Path, network: torch.nn.Module) -> Path:
    """A TorchScript program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, torch.zeros(1, 3, 64, 64)).save(str(path))
    return path


def save_geoai(folder: Path, network: torch.nn.Module) -> Path:
    """A folder as geoai pushes it to a hub."""
    folder.mkdir()
    torch.save(network.state_dict(), folder / "model.pth")
    (folder / "config.json").write_text(json.dumps(GEOAI, indent=2))
    return folder


def labels_by(network: torch.nn.Module, pixels: NDArray[Any]) -> NDArray[Any]:
    """Labels of pixels, shape (band, y, x), as the library gives them of numbers from 0 to 1."""
    with torch.no_grad():
        labels: NDArray[Any] = network(torch.from_numpy(pixels / np.float32(255))[None])[0].argmax(0).numpy()
    return labels
