"""Small networks on disk, each described by a STAC MLM item written by hand: what a person would bring."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import torch

CLASSES = [
    ("water", "#419bdf"),
    ("trees", "#397d49"),
    ("crops", "#e49635"),
    ("grass", "#88b053"),
    ("built", "#c4281b"),
    ("bare", "#a59b8f"),
    ("snow", "#b39fe1"),
]


class Box(torch.nn.Module):
    """Means over ``2 * reach + 1`` px of each band, and of both; integer sums, so its floats are exact."""

    def __init__(self, reach: int) -> None:
        super().__init__()
        self.reach = reach

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        size = 2 * self.reach + 1
        sums = torch.nn.functional.avg_pool2d(pixels, size, 1, self.reach, divisor_override=1)
        scores = torch.cat([sums, sums[:, :1] * 0.5 + sums[:, 1:] * 0.5], 1)
        return scores / (64 * size * size)


class Constant(torch.nn.Module):
    """The same scores everywhere."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scores = torch.tensor([0.1, 0.7, 0.3])[None, :, None, None]
        return scores + 0 * pixels[:, :1]


def write_item(
    path: Path, weights: Path, *, halo: int, tile_size: int, bands: list[str], framework: str, classes: int = 3
) -> Path:
    """Write the item of a model; returns its path."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else "0" * 64
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/mlm/v1.5.0/schema.json"],
        "id": path.stem,
        "geometry": None,
        "properties": {
            "datetime": "2026-01-01T00:00:00Z",
            "mlm:name": path.stem,
            "mlm:architecture": "box filter",
            "mlm:framework": framework,
            "mlm:tasks": ["semantic-segmentation"],
            "mlm:input": [
                {
                    "name": "pixels",
                    "bands": bands,
                    "input": {"shape": [-1, len(bands), -1, -1], "dim_order": ["batch", "bands", "height", "width"]},
                }
            ],
            "mlm:output": [
                {
                    "name": "classes",
                    "tasks": ["semantic-segmentation"],
                    "result": {"shape": [-1, classes, -1, -1], "dim_order": ["batch", "class", "height", "width"]},
                    "classification:classes": [
                        {"value": value, "name": name, "color_hint": color.lstrip("#")}
                        for value, (name, color) in enumerate(CLASSES[:classes])
                    ],
                }
            ],
            "geoseg:halo": halo,
            "geoseg:tile_size": tile_size,
            "geoseg:multiple": 1,
            "geoseg:activation": "softmax",
        },
        "links": [],
        "assets": {
            "model": {"href": weights.name, "roles": ["mlm:model"], "file:checksum": f"1220{digest}"},
        },
    }
    path.write_text(json.dumps(item))
    return path


def write_model(
    folder: Path, network: Box | Constant, *, name: str, halo: int = 0, tile_size: int = 64, bands: int = 2
) -> Path:
    """Write a network as ONNX beside its item; returns the item's path."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{name}.onnx"
    onnx.save(onnx_model(network, bands), weights)
    names = [f"b{number}" for number in range(1, bands + 1)]
    return write_item(folder / f"{name}.json", weights, halo=halo, tile_size=tile_size, bands=names, framework="ONNX")


def onnx_model(network: Box | Constant, bands: int) -> onnx.ModelProto:
    """The same network as one convolution and one more step, floats and all."""
    if isinstance(network, Box):
        size = 2 * network.reach + 1
        weight = np.concatenate([np.eye(bands), [[0.5, 0.5]]])[..., None, None] * np.ones((size, size))
        step, constant = "Div", np.float32(64 * size * size)
    else:
        size = 1
        weight = np.zeros((3, bands, 1, 1))
        step, constant = "Add", np.array([0.1, 0.7, 0.3])[:, None, None]
    tensors = {"weight": weight, "constant": np.asarray(constant)}
    shape = ["n", bands, "y", "x"]
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["pixels", "weight"], ["sums"], pads=[size // 2] * 4),
            onnx.helper.make_node(step, ["sums", "constant"], ["scores"]),
        ],
        "network",
        [onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", len(weight), "y", "x"])],
        [onnx.numpy_helper.from_array(value.astype(np.float32), key) for key, value in tensors.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)


def save_divided(path: Path) -> Path:
    """Write a convolution of one band as ONNX, its tensors in ``data/net.bin`` beside it, one of them in a node."""
    values = onnx.numpy_helper.from_array(np.ones((2, 1, 1, 1), np.float32), "weight")
    shift = onnx.helper.make_node("Constant", [], ["shift"], value=onnx.numpy_helper.from_array(np.ones(2, np.float32)))
    layer = onnx.helper.make_node("Conv", ["pixels", "weight", "shift"], ["scores"])
    shape = ["n", None, "y", "x"]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("pixels", "scores")]
    graph = onnx.helper.make_graph([shift, layer], "net", ends[:1], ends[1:], [values])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    path.parent.joinpath("data").mkdir(exist_ok=True)
    onnx.save_model(
        model, path, save_as_external_data=True, location="data/net.bin", size_threshold=0, convert_attribute=True
    )
    return path


def save_sam(folder: Path) -> Path:
    """Save a tiny SAM as its library does; it trusts every mask it gives."""
    import transformers

    torch.manual_seed(5)
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 128, "patch_size": 16,
            "output_channels": 16, "mlp_dim": 32, "global_attn_indexes": [0], "window_size": 0, "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 128, "patch_size": 16, "mask_input_channels": 8},
        mask_decoder_config={**decoder, "iou_head_hidden_dim": 16},
    )  # fmt: skip
    network = transformers.SamModel(config).eval()
    torch.nn.init.normal_(network.mask_decoder.iou_prediction_head.proj_out.bias, 0.8, 0.01)
    network.save_pretrained(folder)
    return folder
