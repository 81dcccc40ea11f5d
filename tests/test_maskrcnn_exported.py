"""Mask R-CNNs that torchvision exports as ONNX find what torchvision's own call finds."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from geoseg.catalog import find_model
from geoseg.errors import CatalogError, ModelError
from geoseg.models import load_model
from geoseg.models.maskrcnn_compact import build_mobilenet
from geoseg.models.packagings import write_new_item
from geoseg.models.packagings.gaps import Gaps
from geoseg.models.prompts import Prompts
from tests.test_item import check_schema
from tests.test_maskrcnn import SIDE, VALID, check_same, liven, made_up

pytestmark = pytest.mark.filterwarnings("ignore:.*does not name its bands:geoseg.errors.GeosegWarning")

OUTPUTS = ("boxes", "labels", "scores", "masks")


def save_maskrcnn(path: Path) -> Any:
    """Let torch export a network of torchvision's own class, with its own transform; returns the network."""
    torch.manual_seed(0)
    network = build_mobilenet(num_classes=4, min_size=SIDE, max_size=SIDE, box_detections_per_img=40)
    image = torch.from_numpy(made_up()[0]).float() / 255
    liven(network.eval())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, ([image],), str(path), input_names=["image"], output_names=OUTPUTS,
            opset_version=17, dynamo=False,
        )  # fmt: skip
    return network


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("exported") / "roofs.onnx"
    return path, save_maskrcnn(path)


@pytest.mark.slow
def test_objects_are_those_of_the_librarys_own_call(saved: tuple[Path, Any]) -> None:
    path, network = saved
    (found,) = load_model(replace(find_model(path), min_score=0.05)).predict(made_up(), VALID)
    with torch.inference_mode():
        (expected,) = network([torch.from_numpy(made_up()[0]).float() / 255])
    check_same(found, {key: value.numpy() for key, value in expected.items()}, expected["labels"].numpy() - 1)
    assert len(np.unique(found.classes)) > 1


def test_the_file_tells_its_bands_classes_and_tiles(saved: tuple[Path, Any], tmp_path: Path) -> None:
    spec = find_model(saved[0])
    assert (spec.name, spec.task, spec.class_names) == (
        "roofs", "instance-segmentation", ["class 1", "class 2", "class 3"],
    )  # fmt: skip
    assert (len(spec.bands), spec.tile_size, spec.fixed_size, spec.multiple) == (3, SIDE, True, 32)
    assert ([(item.type, item.value) for item in spec.scalings], spec.value_range) == ([("scale", 255)], ((0, 255),))
    item, unsaid = write_new_item(saved[0], tmp_path / "m.json", gaps=Gaps(classes=["hut", "house", "hall"]))
    assert unsaid == ["bands", "resolution"]
    check_schema(json.loads(item.read_text()))
    assert [(kind.value, kind.name) for kind in find_model(item).classes] == [(1, "hut"), (2, "house"), (3, "hall")]


def save_constants(path: Path, *outputs: np.ndarray, tensor: str = "roi_heads.box_predictor.cls_score.bias") -> Path:
    """A file that gives the same objects for every batch of one image."""
    nodes = [
        helper.make_node("Constant", [], [f"output{number}"], value=numpy_helper.from_array(output))
        for number, output in enumerate(outputs)
    ]
    infos = [
        helper.make_tensor_value_info(f"output{number}", helper.np_dtype_to_tensor_dtype(output.dtype), output.shape)
        for number, output in enumerate(outputs)
    ]
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, "y", "x"))
    graph = helper.make_graph(nodes, "constants", [given], infos, [numpy_helper.from_array(np.zeros(3), tensor)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def drawn(labels: tuple[int, ...] = (1, 2), size: int = 64) -> list[np.ndarray]:
    """Two objects of a tile: a square and nothing."""
    masks = np.zeros((2, 1, size, size), np.float32)
    masks[0, 0, 8:16, 8:24] = 0.6
    boxes = np.array([[8, 8, 24, 16], [0, 0, 1, 1]], np.float32)
    return [boxes, np.array(labels, np.int64), np.array([0.9, 0.8], np.float32), masks]


def test_a_batch_of_one_image_is_taken_and_objects_without_a_pixel_are_left_out(tmp_path: Path) -> None:
    spec = find_model(save_constants(tmp_path / "m.onnx", *drawn()))
    assert (spec.tile_size, spec.fixed_size) == (512, False)
    pixels, valid = np.zeros((2, 3, 64, 64), np.uint8), np.ones((2, 64, 64), np.bool_)
    found = load_model(spec).predict(pixels, valid)
    assert [(item.classes.tolist(), item.boxes.tolist()) for item in found] == [([0], [[8, 8, 24, 16]])] * 2
    with pytest.raises(ModelError, match=r"takes no prompts; leave them out"):
        load_model(spec).predict(pixels[:1], valid[:1], [Prompts(text="roof")])


def test_what_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"finds boxes and no masks, of which no map can be made; export a network"):
        find_model(save_constants(tmp_path / "boxes.onnx", *drawn()[:3]))
    with pytest.raises(CatalogError, match=r"does not tell how many bands and classes it has; export it with an input"):
        find_model(save_constants(tmp_path / "nameless.onnx", *drawn(), tensor="onnx::Gemm_7"))
    pixels, valid = np.zeros((1, 3, 64, 64), np.uint8), np.ones((1, 64, 64), np.bool_)
    model = load_model(find_model(save_constants(tmp_path / "m.onnx", *drawn((1, 3)))))
    with pytest.raises(ModelError, match=r"found an object of the class 3 and its entry has 2; correct its classes"):
        model.predict(pixels, valid)
    spec = find_model(save_constants(tmp_path / "other.onnx", *drawn()))
    save_constants(tmp_path / "other.onnx", *drawn()[:3])
    with pytest.raises(ModelError, match=r"gives output0 \[2, 4\], .* where labels, scores and masks \(object, 1, y"):
        load_model(spec)
