"""Models as other libraries write them, and what those libraries find with them in one window.

This is run by `tests.test_libraries` in an environment that has the libraries: ``python -m tests.library_models
FOLDER``. For each of `KINDS` there is a folder in it with the window as ``scene.tif`` (uint8, red, green, blue); the
model is written beside it, and labels (y, x) or objects as ``expected.npz``.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray

from tests.rasters import write_raster
from tests.trained import GEOAI, MLM, TERRATORCH, TORCHGEO, build

Found = dict[str, NDArray[Any]]


def read(folder: Path) -> NDArray[np.uint8]:
    with rasterio.open(folder / "scene.tif") as scene:
        pixels: NDArray[np.uint8] = scene.read()
    return pixels


def scaled(folder: Path) -> torch.Tensor:
    """The window from 0 to 1: float32, shape (1, 3, y, x)."""
    return torch.from_numpy(read(folder) / np.float32(255))[None]


def save_checkpoint(task: Any, path: Path) -> None:
    """Let Lightning's own trainer write a checkpoint of a task."""
    from lightning.pytorch import Trainer

    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(path)


def labels(scores: torch.Tensor) -> Found:
    return {"labels": scores.detach()[0].argmax(0).numpy()}


def torchgeo(folder: Path) -> Found:
    from torchgeo.trainers import SemanticSegmentationTask

    given = {key: value for key, value in TORCHGEO.items() if value is not None}
    task = SemanticSegmentationTask(weights=None, **given).eval()
    task.model.load_state_dict(build().state_dict())
    save_checkpoint(task, folder / "model.ckpt")
    return labels(task.predict_step({"image": scaled(folder)}, 0))


def torchgeo_fcn(folder: Path) -> Found:
    from torchgeo.trainers import SemanticSegmentationTask

    torch.manual_seed(0)
    task = SemanticSegmentationTask("fcn", weights=None, in_channels=3, num_classes=4, num_filters=8).eval()
    for parameter in task.model.parameters():  # its own give one label
        torch.nn.init.normal_(parameter, std=0.3)
    save_checkpoint(task, folder / "model.ckpt")
    return labels(task.predict_step({"image": scaled(folder)}, 0))


def terratorch(folder: Path) -> Found:
    from terratorch.tasks import SemanticSegmentationTask

    task = SemanticSegmentationTask(**TERRATORCH).eval()
    task.model.smp_model.load_state_dict(build("FPN", decoder_segmentation_channels=32).state_dict())
    save_checkpoint(task, folder / "model.ckpt")
    return labels(task(scaled(folder)).output)


def geoai_task() -> Any:
    from geoai.timm_segment import TimmSegmentationModel

    task = TimmSegmentationModel("resnet18", "unet", num_classes=4, encoder_weights=None)
    task.model.load_state_dict(build().state_dict())
    return task


def by_geoai(folder: Path, path: Path) -> Found:
    from geoai.timm_segment import timm_semantic_segmentation

    timm_semantic_segmentation(
        str(folder / "scene.tif"), str(folder / "labels.tif"), str(path), "resnet18", "unet", num_classes=4,
        window_size=read(folder).shape[1], overlap=0, quiet=True,
    )  # fmt: skip
    with rasterio.open(folder / "labels.tif") as found:
        return {"labels": found.read(1)}


def geoai(folder: Path) -> Found:
    save_checkpoint(geoai_task(), folder / "model.ckpt")
    torch.save(geoai_task().model.state_dict(), folder / "state.pth")
    return by_geoai(folder, folder / "state.pth")


def geoai_pushed(folder: Path) -> Found:
    """As it pushes to a hub, which is a folder here."""
    import huggingface_hub
    from geoai.timm_segment import push_timm_model_to_hub

    class Api(huggingface_hub.HfApi):
        def upload_folder(self, *, folder_path: Any, **_: Any) -> Any:
            shutil.copytree(folder_path, folder / "model")

    huggingface_hub.HfApi, huggingface_hub.create_repo = Api, lambda *_, **__: None  # type: ignore[misc, assignment]
    torch.save(geoai_task().model.state_dict(), folder / "state.pth")
    told = {key: GEOAI[key] for key in ("encoder_name", "architecture", "num_channels", "num_classes")}
    push_timm_model_to_hub(str(folder / "state.pth"), "org/name", **told)
    return by_geoai(folder, folder / "model" / "model.pth")


def albumentations(folder: Path) -> Found:
    import albumentations as library

    network: Any = build()
    network.save_pretrained(folder / "model")
    library.Compose([library.Normalize(), library.ToTensorV2()]).save_pretrained(folder / "model", key="eval")
    transform = library.Compose.from_pretrained(folder / "model", key="eval")
    return labels(network(transform(image=np.moveaxis(read(folder), 0, -1))["image"][None]))


def stac_model(folder: Path) -> Found:
    import yaml
    from stac_model.schema import MLModelProperties
    from stac_model.torch.export import save

    document = yaml.safe_load(MLM)["properties"]
    document |= {
        "tasks": list(document["tasks"]),
        "output": [{**document["output"][0], "tasks": list(document["tasks"])}],
    }
    save(folder / "model.pt2", [1, 3, 64, 64], build(), metadata=MLModelProperties(**document))
    return {"labels": labels(torch.export.load(folder / "model.pt2").module()(scaled(folder)))["labels"] + 1}


def balance(network: Any, image: torch.Tensor) -> None:
    """Set the statistics of a network whose own random weights find nothing."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    network.train()(torch.cat([image.roll(16 * step, 3) for step in range(4)]))


def ultralytics(name: str) -> Callable[[Path], Found]:
    def write(folder: Path) -> Found:
        os.environ["YOLO_CONFIG_DIR"], os.environ["YOLO_AUTOINSTALL"] = str(folder), "false"
        from ultralytics import YOLO

        os.chdir(folder)
        torch.manual_seed(0)
        model = YOLO(f"{name}.yaml")
        head = model.model.model[-1]
        with torch.no_grad():
            balance(model.model, scaled(folder))
            for branches in (head.cv3, *([head.one2one_cv3] if hasattr(head, "one2one_cv3") else [])):
                for branch in branches:
                    torch.nn.init.normal_(branch[-1].weight, std=0.1)
                    branch[-1].bias.fill_(-1)
        side = read(folder).shape[1]
        path = Path(model.export(format="onnx", imgsz=side, simplify=False)).rename(folder / "model.onnx")
        picture = np.ascontiguousarray(np.moveaxis(read(folder)[::-1], 0, -1))  # it expects blue first
        (result,) = YOLO(path, task="segment").predict(picture, imgsz=side, verbose=False)
        return {
            "classes": result.boxes.cls.int().numpy(),
            "scores": result.boxes.conf.numpy(),
            "masks": result.masks.data.bool().numpy(),
        }

    return write


def yolov5(folder: Path) -> Found:
    """Its export to ONNX, and what it finds with that by the functions of its ``predict --retina-masks``."""
    import huggingface_hub.errors

    sys.modules["huggingface_hub.utils._errors"] = huggingface_hub.errors  # it asks for an older one
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    from yolov5 import export, models
    from yolov5.models.common import DetectMultiBackend
    from yolov5.models.yolo import SegmentationModel
    from yolov5.utils.general import non_max_suppression
    from yolov5.utils.segment.general import process_mask_native

    os.chdir(folder)
    torch.manual_seed(0)
    model = SegmentationModel(Path(models.__file__).parent / "segment" / "yolov5n-seg.yaml", nc=4)
    model.names, pixels = {number: f"class {number}" for number in range(4)}, scaled(folder)
    with torch.no_grad():
        balance(model, pixels)
        for layer in model.model[-1].m:  # of three anchors: box, whether it is an object, classes, coefficients
            torch.nn.init.normal_(layer.weight, std=0.1)
            layer.weight.view(3, -1, layer.in_channels)[:, :4] *= 0.1
            layer.bias.fill_(-0.6)
    torch.save({"model": model.eval()}, folder / "model.pt")
    side = pixels.shape[-1]
    export.run(weights=str(folder / "model.pt"), imgsz=(side, side), include=("onnx",), device="cpu")
    rows, prototypes = DetectMultiBackend(str(folder / "model.onnx"))(pixels)
    (found,) = non_max_suppression(rows, nm=32, max_det=1000)
    masks = process_mask_native(prototypes[0], found[:, 6:], found[:, :4], (side, side)).bool()
    found, masks = found[masks.any((1, 2))], masks[masks.any((1, 2))]
    return {"classes": found[:, 5].int().numpy(), "scores": found[:, 4].numpy(), "masks": masks.numpy()}


SPECTRA = {  # reflectance of blue, green, red, near and two short-wave infrareds
    "ground": (0.04, 0.06, 0.05, 0.30, 0.18, 0.09),
    "cloud": (0.62, 0.60, 0.60, 0.62, 0.45, 0.35),
}
TILE, FIRST, TAPER = 256, 153, 51
"""Px of a tile of ukis-csmask, where its second one begins, and over which its neighbours are blended into it."""


def clouds(side: int) -> NDArray[np.uint16]:
    """Reflectance x 10,000 of clouds with shadows over green ground: uint16, shape (6, y, x)."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / 256 * 2 * np.pi
    waves = (random.normal() * np.cos(a * y + b * x + random.uniform(0, 6)) for a in range(1, 6) for b in range(-5, 6))
    field: NDArray[np.float64] = sum(waves, np.zeros((side, side)))
    thick = np.clip((field - np.quantile(field, 0.7)) / field.std(), 0, 1)
    shade = np.roll(thick, (25, 25), (0, 1)) * (1 - thick)
    ground, cloud = (np.array(SPECTRA[name])[:, None, None] for name in ("ground", "cloud"))
    seen = ground * (1 - 0.7 * shade) * (1 - thick) + cloud * thick + 0.01 * random.normal(size=(6, side, side))
    return np.round(seen.clip(0, 1) * 10_000).astype(np.uint16)


def ukis_csmask(folder: Path) -> Found:
    """Its map of a larger image, where that is of one of its tiles alone; the window is that tile."""
    import ukis_csmask.mask as library

    image, names = clouds(2 * TILE), ["blue", "green", "red", "nir", "swir16", "swir22"]
    reflectance = np.moveaxis(image, 0, -1).astype(np.float32) / 10_000
    found = library.CSmask(reflectance, names, product_level="l2a", providers=["CPUExecutionProvider"])
    tile = slice(FIRST, FIRST + TILE)
    write_raster(folder / "scene.tif", image[:, tile, tile])
    (folder / "model.onnx").symlink_to(Path(library.__file__).with_name("model_6b_l2a.onnx"))
    return {"labels": found.csm[tile, tile, 0][TAPER:-TAPER, TAPER:-TAPER]}


KINDS: dict[str, Callable[[Path], Found]] = {
    "torchgeo": torchgeo,
    "torchgeo_fcn": torchgeo_fcn,
    "terratorch": terratorch,
    "geoai": geoai,
    "geoai_pushed": geoai_pushed,
    "albumentations": albumentations,
    "stac_model": stac_model,
    "ukis_csmask": ukis_csmask,
    "yolo11n-seg": ultralytics("yolo11n-seg"),
    "yolo26n-seg": ultralytics("yolo26n-seg"),
    "yolov5n-seg": yolov5,
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for kind, write in KINDS.items():
        folder = Path(sys.argv[1]).absolute() / kind
        sys.stdout.write(f"writing {kind}\n")
        np.savez(folder / "expected.npz", **write(folder))
