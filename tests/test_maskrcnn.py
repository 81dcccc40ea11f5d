"""Mask R-CNN through geoseg, beside the library's own calls on the same pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import ndimage
from torchvision.models import detection
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes
from torchvision.ops import misc

from geoseg.errors import ModelError, WeightsError
from geoseg.models import Band, ClassSpec, Detections, ModelSpec, Prompt, Prompts, Scaling, load_model, maskrcnn

SIDE = 128
FEW = (("box_detections_per_img", 40), ("rpn_post_nms_top_n_test", 30))
SPEC = ModelSpec(
    "objects",
    "instance-segmentation",
    (Band("red"), Band("green"), Band("blue")),
    (ClassSpec(1, "car"), ClassSpec(2, "boat"), ClassSpec(3, "shed")),
    scalings=(Scaling("scale", value=255),),
    tile_size=SIDE,
    architecture="torchvision.maskrcnn_mobilenet_v3_large_fpn",
    hyperparameters=FEW,
    min_score=0.3,
)
SETTINGS = {**dict(FEW), "box_score_thresh": SPEC.min_score}
VALID = np.ones((1, SIDE, SIDE), np.bool_)


def made_up(bands: int = 3, count: int = 1) -> np.ndarray:
    """Blocks of colour under noise, uint8 (n, band, y, x)."""
    rng = np.random.default_rng(3)
    blocks = np.kron(rng.integers(0, 200, (count, bands, 8, 8)), np.ones((SIDE // 8, SIDE // 8)))
    return (blocks + rng.integers(0, 55, blocks.shape)).astype(np.uint8)


def liven(network: Any, bands: int = 3, scores: float = 3.0, variance: float = 1.0) -> Any:
    """Random statistics, and scores, boxes and masks that differ: what a trained network has.

    Logits of classes have the deviation ``scores``, and the first variances are about ``variance``.
    """
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
    next(item for name, item in network.state_dict().items() if name.endswith("running_var")).mul_(variance)
    heads = network.roi_heads
    spreads = {
        network.rpn.head.cls_logits: 2.0,
        network.rpn.head.bbox_pred: 0.3,
        heads.box_predictor.cls_score: scores,
        heads.box_predictor.bbox_pred: 1.0,
        heads.mask_predictor.mask_fcn_logits: 2.0,
    }
    hooks = [layer.register_forward_hook(partial(spread_out, spread)) for layer, spread in spreads.items()]
    with torch.no_grad(), unscaled(network) as library:
        library(list(torch.from_numpy(made_up(bands)).float() / 255))
    for hook in hooks:
        hook.remove()
    return network


def spread_out(spread: float, layer: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
    """Scale and shift a layer so that each of its channels has mean 0 and all together that deviation."""
    factor, centre = spread / output.std(), output.transpose(0, 1).flatten(1).mean(1)
    layer.weight.mul_(factor)
    layer.bias.copy_((layer.bias - centre) * factor)
    return (output - centre.reshape(1, -1, *[1] * (output.dim() - 2))) * factor


def written(network: Any, spec: ModelSpec, folder: Path) -> ModelSpec:
    """The spec of a network whose weights lie in a file."""
    path = folder / "weights.safetensors"
    save_file(network.state_dict(), path)
    return spec.with_weights(path)


@contextmanager
def unscaled(network: Any) -> Iterator[Any]:
    """The library's own transform, set so that it does nothing to a tile."""
    bands = next(layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)).in_channels
    ours, network.transform = (
        network.transform,
        detection.transform.GeneralizedRCNNTransform(SIDE, SIDE, [0.0] * bands, [1.0] * bands),
    )
    yield network.eval().to(memory_format=torch.channels_last)
    network.transform = ours
    network.to(memory_format=torch.contiguous_format)


def by_library(network: Any, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What the library's own call finds in pixels (band, y, x), but for its masks, which are pasted by SciPy."""
    raw: list[Any] = []
    hook = network.roi_heads.register_forward_hook(lambda _part, _inputs, output: raw.append(dict(output[0][0])))
    with unscaled(network) as library, torch.inference_mode():
        (found,) = library([torch.from_numpy(pixels).float() / 255])
    hook.remove()
    cells, boxes = (raw[0][key].numpy() for key in ("masks", "boxes"))
    masks = [pasted(mask[0], box) for mask, box in zip(cells, boxes, strict=True)]
    return {key: value.numpy() for key, value in found.items()} | {"masks": np.array(masks)[:, None]}


def pasted(cells: np.ndarray, box: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Probabilities of a mask (cell, cell) on the pixels of a tile: pixel i is the point i of the box's axes."""
    places = [(np.arange(side) - box[axis]) / (box[axis + 2] - box[axis]) * len(cells) - 0.5 for axis in (1, 0)]
    return ndimage.map_coordinates(cells, np.meshgrid(*places, indexing="ij"), order=1, mode="grid-constant")


def check_same(found: Detections, expected: dict[str, np.ndarray], classes: np.ndarray) -> None:
    """Objects are equal, in the library's order, of which those without a pixel are left out."""
    masks = expected["masks"][:, 0] > 0.5
    some = masks.any((1, 2))
    assert some.sum() > 5
    assert len(found) == some.sum()
    np.testing.assert_allclose(found.scores, expected["scores"][some], atol=1e-4)
    np.testing.assert_array_equal(found.classes, classes[some])
    for window, mask, probabilities in zip(found.windows, found.masks, expected["masks"][some, 0], strict=True):
        whole = np.zeros(probabilities.shape, np.bool_)
        whole[window.slices()] = mask
        sure = np.abs(probabilities - 0.5) > 1e-3
        np.testing.assert_array_equal(whole[sure], probabilities[sure] > 0.5)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ModelSpec]:
    """The smallest of the networks, and the spec of its file."""
    torch.manual_seed(0)
    network = liven(maskrcnn.build(SPEC))
    return network, written(network, SPEC, tmp_path_factory.mktemp("small"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"])
def test_a_network_finds_what_the_librarys_own_call_finds(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = getattr(detection, name)(weights_backbone=None, num_classes=4, **SETTINGS)
    liven(network)
    spec = written(network, replace(SPEC, architecture=f"torchvision.{name}"), tmp_path)
    expected = by_library(network, made_up()[0])
    (found,) = load_model(spec).predict(made_up(), VALID)
    check_same(found, expected, expected["labels"] - 1)


def test_the_small_trunk_finds_what_the_librarys_own_call_finds(small: tuple[Any, ModelSpec]) -> None:
    network, spec = small
    expected = by_library(network, made_up()[0])
    (found,) = load_model(spec).predict(made_up(), VALID)
    check_same(found, expected, expected["labels"] - 1)
    assert len(set(found.classes)) > 1
    corners = np.abs(found.boxes - expected["boxes"][(expected["masks"][:, 0] > 0.5).any((1, 2))])
    assert np.median(corners) < 2


def test_the_small_trunk_is_that_of_torchvisions_faster_rcnn() -> None:
    ours = maskrcnn.build(SPEC)
    theirs = detection.fasterrcnn_mobilenet_v3_large_fpn(weights_backbone=None, num_classes=4)
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items() if ".mask_" not in name}
    assert shapes == {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert ours.rpn.anchor_generator.sizes == theirs.rpn.anchor_generator.sizes
    assert ours.rpn.anchor_generator.aspect_ratios == theirs.rpn.anchor_generator.aspect_ratios


COMPACT = replace(
    SPEC,
    bands=(*SPEC.bands, Band("nir")),
    architecture="torchvision.MaskRCNN",
    hyperparameters=(
        ("anchor_sizes", (8, 16, 32)),
        *FEW,
        ("encoder_depth", 4),
        ("encoder_name", "tu-resnet10t"),
        ("fpn_channels", 24),
    ),
)
"""A network of a few layers, on four bands."""


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ModelSpec]:
    """A compact network, and the spec of its file."""
    torch.manual_seed(0)
    network = liven(maskrcnn.build(COMPACT), bands=4)
    return network, written(network, COMPACT, tmp_path_factory.mktemp("compact"))


def test_a_compact_network_finds_what_the_librarys_own_call_finds(compact: tuple[Any, ModelSpec]) -> None:
    network, spec = compact
    expected = by_library(network, made_up(4)[0])
    (found,) = load_model(spec).predict(made_up(4), VALID)
    check_same(found, expected, expected["labels"] - 1)


def test_a_compact_network_looks_for_objects_at_every_stride_from_four_px(compact: tuple[Any, ModelSpec]) -> None:
    network = compact[0]
    levels = network.backbone(torch.zeros(1, 4, SIDE, SIDE))
    assert [tuple(level.shape) for level in levels.values()] == [(1, 24, SIDE // s, SIDE // s) for s in (4, 8, 16)]
    assert network.rpn.anchor_generator.sizes == ((8,), (16,), (32,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fpn_chanels": 24}, r"'fpn_chanels', which .* did you mean 'fpn_channels'"),
        ({"box_detections_per_image": 5}, r"'box_detections_per_image', which torchvision.MaskRCNN does not take"),
        ({"anchor_sizes": (8, 16)}, r"anchor_sizes are \[8, 16\], give one size for each stride of 4, 8, 16 px"),
        ({"mask_channels": 0}, "mask_channels is 0, give a whole number of at least 1"),
        ({"encoder_name": "tu-resnet10"}, "cannot be built as torchvision.MaskRCNN"),
    ],
)
def test_a_compact_network_that_cannot_be_built_is_refused(changes: dict[str, Any], message: str) -> None:
    hyperparameters = {**dict(COMPACT.hyperparameters), **changes}
    with pytest.raises(ModelError, match=message) as caught:
        maskrcnn.build(replace(COMPACT, hyperparameters=tuple(hyperparameters.items())))
    assert "\n" not in str(caught.value)


def test_an_encoder_must_be_named() -> None:
    with pytest.raises(ModelError, match="encoder_name"):
        maskrcnn.build(replace(COMPACT, hyperparameters=()))


@pytest.mark.slow
def test_boxes_are_no_coarser_in_bfloat16(compact: tuple[Any, ModelSpec]) -> None:
    network = compact[0].eval()
    pixels = torch.from_numpy(np.tile(made_up(4)[0], (1, 3, 3))).float() / 255
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        (found,) = network([pixels])
    far = found["boxes"][found["boxes"] > 256]
    assert len(far) > 10
    assert found["boxes"].dtype == torch.float32
    assert (far % 2 != 0).float().mean() > 0.5  # numbers of 8 bits would be even there


def test_masks_come_back_as_the_library_cut_them() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(20):
        top, left = rng.uniform(20, 60, 2)
        height, width = rng.uniform(10, 24, 2)
        mask = ((y - top) / height) ** 2 + ((x - left) / width) ** 2 < 1
        rows, cols = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        box = torch.tensor([[cols[0], rows[0], cols[-1], rows[-1]]]) + torch.tensor([[-0.5, -0.5, 0.5, 0.5]])
        cells = project_masks_on_boxes(torch.from_numpy(mask[None]), box, torch.tensor([0]), 28)[:, None]
        (ours,) = maskrcnn._paste(cells, box, (SIDE, SIDE))
        theirs = paste_masks_in_image(cells, box, (SIDE, SIDE))[0, 0].numpy() > 0.5
        assert overlap(ours, mask) > max(0.985, overlap(theirs, mask))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((one & other).sum() / (one | other).sum())


def test_tiles_of_a_batch_are_looked_at_alone(small: tuple[Any, ModelSpec]) -> None:
    model, pixels = load_model(small[1]), made_up(count=2)
    together = model.predict(pixels, np.repeat(VALID, 2, 0))
    for number, found in enumerate(together):
        (alone,) = model.predict(pixels[number : number + 1], VALID)
        assert len(found) == len(alone) > 5
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-4)
        np.testing.assert_array_equal(found.classes, alone.classes)
        assert np.abs(found.boxes - alone.boxes).max() <= 1


def test_any_number_of_bands_can_be_seen(tmp_path: Path) -> None:
    spec = replace(SPEC, bands=tuple(Band(f"B{number}") for number in range(5)))
    torch.manual_seed(0)
    network = liven(maskrcnn.build(spec), 5)
    expected = by_library(network, made_up(5)[0])
    (found,) = load_model(written(network, spec, tmp_path)).predict(made_up(5), VALID)
    check_same(found, expected, expected["labels"] - 1)


def test_objects_below_the_smallest_score_are_left_out(small: tuple[Any, ModelSpec]) -> None:
    (found,) = load_model(small[1]).predict(made_up(), VALID)
    (best,) = load_model(replace(small[1], min_score=0.6)).predict(made_up(), VALID)
    assert 0 < len(best) < len(found)
    assert best.scores.min() >= 0.6
    assert found.scores.min() < 0.6


def test_a_hyperparameter_limits_the_objects_of_a_tile(small: tuple[Any, ModelSpec]) -> None:
    model = load_model(replace(small[1], hyperparameters=(("box_detections_per_img", 3),)))
    assert len(model.predict(made_up(), VALID)[0]) <= 3
    assert maskrcnn.build(replace(SPEC, hyperparameters=())).roi_heads.detections_per_img == maskrcnn.MOST


def freeze(module: torch.nn.Module) -> None:
    """Put the library's frozen layers, without epsilon, where it has them in networks of its own weights."""
    for name, layer in module.named_children():
        if isinstance(layer, torch.nn.BatchNorm2d):
            setattr(module, name, misc.FrozenBatchNorm2d(layer.num_features, eps=0.0))
        freeze(layer)


@pytest.fixture(scope="module")
def published() -> Any:
    """A network like those whose weights torchvision publishes: 91 categories, frozen statistics, no epsilon."""
    torch.manual_seed(0)
    network = detection.maskrcnn_resnet50_fpn(weights_backbone=None, num_classes=91, **SETTINGS)
    freeze(network)
    network.backbone.body.bn1.weight.mul_(2e-3)
    return liven(network, scores=6.0, variance=1e-5)


CATEGORIES = detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
WANTED = tuple(ClassSpec(number, name) for number, name in enumerate(sorted(set(CATEGORIES[1:]) - {"N/A"})[::2]))
OF_LIBRARY = replace(SPEC, classes=WANTED, architecture="torchvision.maskrcnn_resnet50_fpn")


def check_wanted(found: Detections, expected: dict[str, np.ndarray]) -> None:
    """Objects are those that the library finds and calls by the name of a class."""
    names = [CATEGORIES[label] for label in expected["labels"]]
    chosen = np.isin(names, OF_LIBRARY.class_names)
    assert not chosen.all()
    positions = np.array([OF_LIBRARY.class_names.index(name) for name in np.array(names)[chosen]])
    check_same(found, {key: value[chosen] for key, value in expected.items()}, positions)


def test_classes_of_the_librarys_weights_are_chosen_by_name(published: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: published.state_dict())
    (found,) = load_model(OF_LIBRARY.with_weights("hub:COCO_V1")).predict(made_up(), VALID)
    check_wanted(found, by_library(published, made_up()[0]))


def test_a_file_of_the_librarys_weights_is_as_good_as_their_name(published: Any, tmp_path: Path) -> None:
    (found,) = load_model(written(published, OF_LIBRARY, tmp_path)).predict(made_up(), VALID)
    check_wanted(found, by_library(published, made_up()[0]))


def test_frozen_weights_of_ones_own_classes_may_have_an_epsilon(small: tuple[Any, ModelSpec], tmp_path: Path) -> None:
    network, spec = small
    state = {name: item for name, item in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "frozen.safetensors")
    frozen = spec.with_weights(tmp_path / "frozen.safetensors")
    expected, found, other = (
        load_model(item).predict(made_up(), VALID)[0]
        for item in (spec, frozen, replace(frozen, hyperparameters=(*FEW, ("norm_eps", 1e-3))))
    )
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert not np.array_equal(other.scores, expected.scores)


def test_a_class_that_the_librarys_weights_do_not_know_is_refused(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: published.state_dict())
    spec = replace(OF_LIBRARY, classes=(ClassSpec(1, "car"), ClassSpec(2, "airplanes"))).with_weights("hub:COCO_V1")
    with pytest.raises(ModelError, match="'airplanes', which its weights do not know; did you mean 'airplane'"):
        load_model(spec)


def test_weights_that_the_library_does_not_have_are_refused() -> None:
    with pytest.raises(WeightsError, match="torchvision has none for maskrcnn_mobilenet_v3_large_fpn; give a file"):
        load_model(SPEC.with_weights("hub:COCO_V1"))
    with pytest.raises(WeightsError, match=r"'hub:COCO_V9'.*do not exist in torchvision for maskrcnn_resnet50_fpn"):
        load_model(OF_LIBRARY.with_weights("hub:COCO_V9"))


def test_weights_of_another_number_of_classes_are_refused(small: tuple[Any, ModelSpec]) -> None:
    with pytest.raises(WeightsError, match=r"has shape \(16,\) where \(12,\) is expected; correct its bands, classes"):
        load_model(replace(small[1], classes=SPEC.classes[:2]))


def test_an_architecture_or_a_hyperparameter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ModelError, match="did you mean 'maskrcnn_resnet50_fpn'"):
        load_model(replace(SPEC, architecture="torchvision.maskrcnn_resnet50_pfn"))
    with pytest.raises(ModelError, match=r"'box_detections_per_image'.* did you mean 'box_detections_per_img'"):
        maskrcnn.build(replace(SPEC, hyperparameters=(("box_detections_per_image", 5),)))


def test_other_tasks_are_refused() -> None:
    with pytest.raises(ModelError, match=r"does semantic-segmentation, which torchvision.maskrcnn_mobilenet.* cannot"):
        load_model(replace(SPEC, task="semantic-segmentation"))


def test_a_prompt_is_refused(small: tuple[Any, ModelSpec]) -> None:
    model = load_model(small[1])
    for prompts in (Prompts((Prompt(0, box=(1, 2, 30, 40)),)), Prompts(text="a boat")):
        with pytest.raises(ModelError, match="takes no prompts; leave them out"):
            model.predict(made_up(), VALID, [prompts])


def test_a_tile_without_objects_has_no_detections(small: tuple[Any, ModelSpec]) -> None:
    (found,) = load_model(replace(small[1], min_score=1.0)).predict(made_up(), VALID)
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
