"""RF-DETR's segmentation networks find what the library finds in the whole image, at every size of a tile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from transformers.models.rf_detr.configuration_rf_detr import RfDetrDinov2Config

from geoseg.catalog import find_model
from geoseg.errors import ModelError
from geoseg.models import Detections, detr, load_model, wrap
from geoseg.models.prompts import Prompts

PATCH, WINDOWS, SIDE = 8, 2, 96
MULTIPLE = PATCH * WINDOWS
NAMES = {0: "building", 1: "pool", 2: "tree"}

pytestmark = pytest.mark.filterwarnings("ignore:.*does not name its bands:geoseg.errors.GeosegWarning")


def save_detr(folder: Path) -> tuple[Any, Any]:
    """Let transformers save a small network and what prepares images for it."""
    torch.manual_seed(3)
    backbone = RfDetrDinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=SIDE, patch_size=PATCH,
        num_windows=WINDOWS, out_features=["stage2", "stage4"],
    )  # fmt: skip
    configuration = transformers.RfDetrConfig(
        backbone_config=backbone, d_model=32, decoder_layers=2, decoder_ffn_dim=64, num_queries=12, group_detr=1,
        decoder_self_attention_heads=2, decoder_cross_attention_heads=2, c2f_num_blocks=1, id2label=NAMES,
    )  # fmt: skip
    network = transformers.RfDetrForInstanceSegmentation(configuration).eval()
    with torch.no_grad():  # its own random weights see no difference between pixels
        for tensor in network.parameters():
            if tensor.dim() > 1:
                torch.nn.init.normal_(tensor, std=0.15)
        network.model.class_embed.bias.zero_()
    processor = transformers.RfDetrImageProcessor()
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return network, processor


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    folder = tmp_path_factory.mktemp("detr") / "rf-detr"
    return folder, *save_detr(folder)


def image(side: int, seed: int = 0) -> NDArray[np.uint8]:
    """Patches of 8 px: uint8, shape (3, y, x)."""
    small = np.random.default_rng(seed).integers(0, 256, (3, SIDE // 8, SIDE // 8), dtype=np.uint8)
    return np.kron(small, np.ones((1, 8, 8), np.uint8))[:, :side, :side]


def find(folder: Path, pixels: NDArray[np.uint8]) -> Detections:
    with_batch = pixels[None]
    model = load_model(find_model(folder))
    (found,) = model.predict(with_batch, np.ones((1, *pixels.shape[1:]), np.bool_))
    assert isinstance(found, Detections)
    return found


def whole(found: Detections, side: int) -> NDArray[np.bool_]:
    """Masks of the whole tile, bool (object, y, x)."""
    masks = np.zeros((len(found), side, side), np.bool_)
    for mask, window, part in zip(masks, found.windows, found.masks, strict=True):
        mask[window.slices()] = part
    return masks


@pytest.mark.parametrize("side", [SIDE, 87, 63])
def test_objects_are_those_of_the_library_in_the_whole_image(saved: tuple[Path, Any, Any], side: int) -> None:
    folder, network, processor = saved
    padded = -(-side // MULTIPLE) * MULTIPLE
    pictures = [np.moveaxis(image(side), 0, -1), np.zeros((padded, padded, 3), np.uint8)]  # padded to the larger one
    with torch.no_grad():
        output = network(**processor(pictures, do_resize=False, return_tensors="pt"))
    expected = processor.post_process_instance_segmentation(
        output, threshold=0.5, target_sizes=[(padded, padded)] * 2, return_binary_maps=True
    )[0]
    masks = expected["segmentation"].numpy()[:, :side, :side]
    inside = masks.any((1, 2))
    found = find(folder, image(side))
    assert 2 < len(found)
    assert len(np.unique(found.classes)) > 1
    kept = [item for item, is_inside in zip(expected["segments_info"], inside, strict=True) if is_inside]
    assert found.classes.tolist() == [item["label_id"] for item in kept]
    np.testing.assert_allclose(found.scores, [item["score"] for item in kept], atol=1e-5)
    assert (whole(found, side) != masks[inside]).mean() < 1e-3


def test_pixels_beyond_the_last_whole_window_count(saved: tuple[Path, Any, Any]) -> None:
    folder, network, _ = saved
    side = SIDE + PATCH - 1
    pixels = np.pad(image(SIDE), ((0, 0), (0, side - SIDE), (0, side - SIDE)))
    changed = pixels.copy()
    changed[:, SIDE:, SIDE:] = 255
    with torch.no_grad():
        first, second = (network(torch.from_numpy(item[None] / np.float32(255))) for item in (pixels, changed))
    assert torch.equal(first.pred_masks, second.pred_masks)  # the library's own call never sees them
    one, other = find(folder, pixels), find(folder, changed)
    assert len(one) != len(other) or not np.allclose(one.scores, other.scores, atol=1e-6)


def test_the_folder_tells_its_tiles_and_classes(saved: tuple[Path, Any, Any]) -> None:
    spec = find_model(saved[0])
    assert (spec.task, spec.class_names) == ("instance-segmentation", list(NAMES.values()))
    assert [item.value for item in spec.classes] == [1, 2, 3]
    assert (spec.tile_size, spec.multiple, spec.halo, spec.ramp) == (SIDE, MULTIPLE, 0, 16)
    assert [item.type for item in spec.scalings] == ["z-score"] * 3


def test_what_it_cannot_do_is_a_sentence(saved: tuple[Path, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(find_model(saved[0]))
    pixels, mask = image(SIDE)[None], np.ones((1, SIDE, SIDE), np.bool_)
    with pytest.raises(ModelError, match=r"finds every object of its classes and takes no prompts"):
        model.predict(pixels, mask, [Prompts(text="roof")])
    monkeypatch.setattr(detr, "transformers", SimpleNamespace(__version__="5.0.0"))
    with pytest.raises(ModelError, match=r"RfDetrForInstanceSegmentation, which transformers 5.0.0 does not have"):
        load_model(find_model(saved[0]))


def test_scores_that_are_no_numbers_are_noticed(saved: tuple[Path, Any, Any]) -> None:
    spec = find_model(saved[0])
    network: Any = detr.open_network(spec, torch.device("cpu"))
    network.network.model.class_embed.bias.data[1] = torch.nan
    with pytest.raises(ModelError, match=r"gave objects a score that is not a number; check its weights"):
        wrap(network, spec).predict(image(SIDE)[None], np.ones((1, SIDE, SIDE), np.bool_))
