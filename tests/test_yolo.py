"""ONNX files of YOLO's segmentation networks find the objects that their numbers describe, in each layout."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from geoseg.catalog import find_model
from geoseg.cli import main
from geoseg.errors import CatalogError, ModelError
from geoseg.models import Detections, load_model
from geoseg.models.packagings import write_new_item
from geoseg.models.prompts import Prompts
from geoseg.models.spec import ModelSpec
from tests.rasters import write_raster
from tests.test_item import check_schema

SIDE, COEFFICIENTS, BOXES = 64, 32, 90
NAMES = {0: "building", 1: "pool", 2: "tree"}
ULTRALYTICS = {
    "task": "segment",
    "stride": "32",
    "imgsz": f"[{SIDE}, {SIDE}]",
    "names": str(NAMES),
    "channels": "3",
    "args": "{'batch': 1, 'quantize': None, 'nms': None, 'dynamic': False}",
}
"""Metadata as Ultralytics writes it: literals of Python."""

END_TO_END = ULTRALYTICS | {"end2end": "True"}
EARLY = {"stride": "32", "names": str(list(NAMES.values()))}
"""Metadata as YOLOv5 writes it."""

DEEPNESS = {
    "model_type": '"Detector"',
    "det_type": '"YOLO_Ultralytics_segmentation"',
    "det_conf": "0.4",
    "det_iou_thresh": "0.6",
    "class_names": '{"0": "building", "1": "pool", "2": "tree"}',
    "resolution": "30",
}

pytestmark = pytest.mark.filterwarnings("ignore:.*does not name its bands:geoseg.errors.GeosegWarning")


def save_constants(
    path: Path, metadata: Mapping[str, str], *outputs: NDArray[np.float32], shape: tuple[int, ...] = (1, 3, SIDE, SIDE)
) -> Path:
    """A file that gives the same numbers for every image."""
    nodes = [
        helper.make_node("Constant", [], [f"output{number}"], value=numpy_helper.from_array(output))
        for number, output in enumerate(outputs)
    ]
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    infos = [
        helper.make_tensor_value_info(f"output{number}", TensorProto.FLOAT, output.shape)
        for number, output in enumerate(outputs)
    ]
    graph = helper.make_graph(nodes, "constants", [given], infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)
    return path


class Drawn:
    """Random objects: boxes in clusters, a score for each class, coefficients; and prototypes."""

    def __init__(self, seed: int = 0, classes: int = 3) -> None:
        random = np.random.default_rng(seed)
        centres = np.repeat(random.uniform(-4, SIDE + 4, (BOXES // 3, 2)), 3, 0) + random.uniform(-4, 4, (BOXES, 2))
        self.boxes = np.concatenate([centres, random.uniform(4, 40, (BOXES, 2))], 1).astype(np.float32)
        self.scores = random.uniform(0, 1, (BOXES, classes)).astype(np.float32) ** 2
        self.sureness = random.uniform(0.5, 1, (BOXES, 1)).astype(np.float32)
        self.coefficients = random.normal(size=(BOXES, COEFFICIENTS)).astype(np.float32)
        self.prototypes = random.normal(size=(1, COEFFICIENTS, SIDE // 4, SIDE // 4)).astype(np.float32)

    @property
    def corners(self) -> NDArray[np.float32]:
        half = self.boxes[:, 2:] / 2
        return np.concatenate([self.boxes[:, :2] - half, self.boxes[:, :2] + half], 1)

    def rows(self, layout: str) -> NDArray[np.float32]:
        """The numbers of each object, as a file lists them."""
        best = self.scores.argmax(1)[:, None]
        parts = {
            "v8": (self.boxes, self.scores),
            "v5": (self.boxes, self.sureness, self.scores),
            "end2end": (self.corners, self.scores.max(1)[:, None], best.astype(np.float32)),
        }[layout]
        return np.concatenate([*parts, self.coefficients], 1)[None]

    def expected(self, layout: str, iou: float, least: float) -> list[tuple[int, float, NDArray[np.bool_]]]:
        """Class, score and mask of what is kept: greedily by score, within each class; masks of the whole tile."""
        scores = self.scores * self.sureness if layout == "v5" else self.scores
        kept: list[int] = []
        for number in np.argsort(-scores.max(1), kind="stable"):
            rivals = [other for other in kept if scores[other].argmax() == scores[number].argmax()]
            is_apart = all(overlap(self.corners[number], self.corners[other]) <= iou for other in rivals)
            if scores[number].max() >= least and (is_apart or layout == "end2end"):
                kept.append(int(number))
        weights = self.coefficients * (self.sureness if layout == "v5" else 1)
        cells = torch.from_numpy(np.einsum("oc,ncyx->oyx", weights, self.prototypes))[None]
        cells = cells.sigmoid() - 0.5 if layout == "v5" else cells
        fine = torch.nn.functional.interpolate(cells, (SIDE, SIDE), mode="bilinear")[0].numpy()
        y, x = np.mgrid[:SIDE, :SIDE]
        found = []
        for number in kept:
            left, top, right, bottom = self.corners[number]
            mask = (fine[number] > 0) & (x >= left) & (x < right) & (y >= top) & (y < bottom)
            if mask.any():
                found.append((int(scores[number].argmax()), float(scores[number].max()), mask))
        return found


def overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    areas = [np.prod(box[2:] - box[:2]) for box in (one, other)]
    return float(shared / (sum(areas) - shared))


def find(spec: ModelSpec, tiles: int = 1) -> list[Detections]:
    pixels = np.zeros((tiles, 3, SIDE, SIDE), np.uint8)
    found: list[Detections] = load_model(spec).predict(pixels, np.ones((tiles, SIDE, SIDE), np.bool_))
    return found


LAYOUTS = {
    "v8": (ULTRALYTICS, "v8", True),
    "v8, transposed": (ULTRALYTICS, "v8", False),
    "v8 of Deepness": (DEEPNESS, "v8", True),
    "v5": (EARLY, "v5", False),
    "its own choice": (END_TO_END, "end2end", False),
    "suppressed in the file": (ULTRALYTICS | {"args": "{'nms': True}"}, "end2end", False),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_objects_of_each_layout_are_those_that_its_numbers_describe(tmp_path: Path, case: str) -> None:
    metadata, layout, is_columns = LAYOUTS[case]
    drawn, iou, least = Drawn(), {"v5": 0.45, "v8": 0.7}.get(layout, 1), 0.25
    if metadata is DEEPNESS:
        iou, least = 0.6, 0.4
    rows = drawn.rows(layout)
    spec = find_model(
        save_constants(tmp_path / "m.onnx", metadata, rows.swapaxes(1, 2) if is_columns else rows, drawn.prototypes)
    )
    first, second = find(spec, 2)  # the file takes one at a time
    expected = drawn.expected(layout, iou, least)
    assert 10 < len(expected) < BOXES
    assert first.classes.tolist() == second.classes.tolist() == [item[0] for item in expected]
    np.testing.assert_allclose(first.scores, [item[1] for item in expected], rtol=1e-6)
    for window, mask, (_, _, whole) in zip(first.windows, first.masks, expected, strict=True):
        np.testing.assert_array_equal(mask, whole[window.slices()])
        assert mask.sum() == whole.sum()


def test_the_file_tells_its_classes_tiles_and_scaling(tmp_path: Path) -> None:
    drawn = Drawn()
    columns = drawn.rows("v8").swapaxes(1, 2)
    spec = find_model(save_constants(tmp_path / "best.onnx", ULTRALYTICS, columns, drawn.prototypes))
    assert (spec.name, spec.task, spec.class_names) == ("best", "instance-segmentation", list(NAMES.values()))
    assert [item.value for item in spec.classes] == [1, 2, 3]
    assert (spec.tile_size, spec.fixed_size, spec.min_score, spec.resolution) == (SIDE, True, 0.25, None)
    assert [(item.type, item.value) for item in spec.scalings] == [("scale", 255)]
    assert spec.value_range == ((0, 255),)
    sized = ULTRALYTICS | {"imgsz": "[480, 640]", "stride": "64"}
    path = save_constants(tmp_path / "free.onnx", sized, columns, drawn.prototypes, shape=(0, 3, 0, 0))
    spec = find_model(path)
    assert (spec.tile_size, spec.fixed_size, spec.ramp, spec.multiple) == (640, False, 128, 64)
    free = save_constants(tmp_path / "any.onnx", EARLY, columns, drawn.prototypes, shape=(0, 3, 0, 0))
    assert find_model(free).tile_size == 640
    spec = find_model(save_constants(tmp_path / "deepness.onnx", DEEPNESS, columns, drawn.prototypes))
    assert (spec.resolution, spec.min_score, dict(spec.hyperparameters)["iou"]) == (0.3, 0.4, 0.6)


def test_the_written_item_is_the_same_model(tmp_path: Path) -> None:
    drawn = Drawn()
    path = save_constants(tmp_path / "best.onnx", EARLY, drawn.rows("v5"), drawn.prototypes)
    item, unsaid = write_new_item(path, tmp_path / "item.json")
    assert unsaid == ["bands", "resolution"]
    check_schema(json.loads(item.read_text()))
    assert find_model(item) == find_model(path)


@pytest.mark.parametrize(
    ("metadata", "outputs", "sentence"),
    [
        (ULTRALYTICS | {"task": "detect"}, 1, r"is a YOLO network of the task 'detect' with 1 output\(s\), and only"),
        (
            ULTRALYTICS | {"task": "pose"},
            2,
            r"of the task 'pose' with 2 output\(s\), and only one of the task 'segment'",
        ),
        (EARLY, 1, r"with 1 output\(s\), and only one of the task 'segment' gives masks"),
        (EARLY | {"names": "{1: 'a'}"}, 2, r"has the names \{1: 'a'\}; name its classes by number from 0 on"),
        (EARLY | {"names": "open('x')"}, 2, r"has the names \"open\('x'\)\", which is not JSON; correct it"),
        (EARLY | {"stride": "fine"}, 2, r"has the stride 'fine', which is not JSON; correct it"),
        (ULTRALYTICS | {"args": "[1]"}, 2, r"does not describe itself as its library does"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(
    tmp_path: Path, metadata: Mapping[str, str], outputs: int, sentence: str
) -> None:
    drawn = Drawn()
    with pytest.raises(CatalogError, match=sentence):
        find_model(save_constants(tmp_path / "m.onnx", metadata, *[drawn.rows("v5"), drawn.prototypes][:outputs]))


def changed(spec: ModelSpec, **settings: Any) -> ModelSpec:
    return replace(spec, hyperparameters=tuple(sorted(settings.items())))


def test_outputs_that_do_not_fit_are_named(tmp_path: Path) -> None:
    drawn = Drawn(classes=1)
    one = EARLY | {"names": "['building']"}
    spec = find_model(save_constants(tmp_path / "one.onnx", one, drawn.rows("v5"), drawn.prototypes))
    assert len(find(changed(spec, layout="v5"))[0]) > 10
    with pytest.raises(ModelError, match=r"shape \(90, 38\), which may be v5 or end2end.*the hyperparameter layout"):
        find(changed(spec))
    with pytest.raises(ModelError, match=r"which fits none: 1 class\(es\) and 32 coefficients are 37 \(v8\) numbers"):
        find(changed(spec, layout="v8"))
    with pytest.raises(ModelError, match=r"has the layout 'v4'; known: v8, v5, end2end"):
        find(changed(spec, layout="v4"))
    with pytest.raises(ModelError, match=r"has the iou 2; give a number from 0 to 1"):
        find(changed(spec, iou=2))
    with pytest.raises(ModelError, match=r"has the max_det 0; give a whole number"):
        find(changed(spec, max_det=0))
    with pytest.raises(ModelError, match=r"takes no prompts; leave them out"):
        load_model(spec).predict(
            np.zeros((1, 3, SIDE, SIDE), np.uint8), np.ones((1, SIDE, SIDE), np.bool_), [Prompts(text="roof")]
        )


def test_numbers_that_are_none_are_noticed(tmp_path: Path) -> None:
    for number, value in enumerate((np.nan, 7.0)):
        drawn = Drawn()
        drawn.scores[5] = value
        path = save_constants(tmp_path / f"{number}.onnx", ULTRALYTICS, drawn.rows("v8"), drawn.prototypes)
        with pytest.raises(ModelError, match=r"are no numbers, or scores above 1; check its scaling"):
            find(find_model(path))
    odd = Drawn().prototypes[:, :, :15]
    path = save_constants(tmp_path / "odd.onnx", ULTRALYTICS, Drawn().rows("v8"), np.ascontiguousarray(odd))
    with pytest.raises(ModelError, match=r"prototypes of 15 x 16 cells for a tile of 64 x 64 px"):
        find(find_model(path))


class Squares(torch.nn.Module):
    """Objects of a class for each band: boxes of 40 px around bright cells, and masks where pixels are bright.

    Resampled, a corner inside a square is 0.39 bright, and a pixel beside its side 0.375.
    """

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = torch.nn.functional.avg_pool2d(pixels, 8)
        scores = torch.sigmoid(20 * (means - 0.5)).flatten(2)
        y, x = torch.meshgrid(torch.arange(SIDE // 8), torch.arange(SIDE // 8), indexing="ij")
        centres = torch.stack([8 * x + 4.0, 8 * y + 4.0]).flatten(1)[None]
        boxes = torch.cat([centres, torch.full_like(centres, 40.0)], 1)
        return torch.cat([boxes, scores, scores], 1), torch.nn.functional.avg_pool2d(pixels, 4) - 0.38


def save_squares(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Squares(), (torch.zeros(1, 3, SIDE, SIDE),), str(path), input_names=["images"],
            output_names=["output0", "output1"], dynamo=False,
        )  # fmt: skip
    model = onnx.load(path)
    helper.set_model_props(model, ULTRALYTICS)
    onnx.save(model, path)
    return path


def test_a_run_gives_the_objects_of_a_scene_across_tiles(tmp_path: Path) -> None:
    pixels = np.zeros((3, 160, 160), np.uint8)
    truth = np.zeros((160, 160), np.uint8)
    corners = [(8, 8), (8, 56), (40, 40), (64, 96), (96, 32), (104, 104), (136, 136)]
    for number, (top, left) in enumerate(corners):
        square = (slice(top, top + 16), slice(left, left + 16))
        pixels[number % 3][square], truth[square] = 255, number % 3 + 1
    scene = write_raster(tmp_path / "scene.tif", pixels)
    path = save_squares(tmp_path / "best.onnx")
    arguments = [
        "run",
        "--input",
        str(scene),
        "--model",
        str(path),
        "--output",
        str(tmp_path / "out"),
        "--workers",
        "1",
    ]
    assert main(arguments) == 0
    with rasterio.open(tmp_path / "out" / "instances.tif") as instances:
        found = instances.read(1)
    np.testing.assert_array_equal(found > 0, truth > 0)
    assert len(np.unique(found[found > 0])) == len(corners)
    for top, left in corners:
        assert len(np.unique(found[top : top + 16, left : left + 16])) == 1
    with rasterio.open(tmp_path / "out" / "labels.tif") as labels:
        np.testing.assert_array_equal(np.where(truth > 0, labels.read(1), 0), truth)
