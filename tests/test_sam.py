"""The SAM family against transformers' own processors, networks and mask generation, with small random networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy import ndimage

from geoseg.errors import GeosegError, ModelError, WeightsError
from geoseg.models import Band, ClassSpec, Detections, ModelSpec, Prompt, Prompts, Scaling, load_model

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's."""

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    tf.utils.logging.set_verbosity_error()
    tf.utils.logging.disable_progress_bar()
    yield
    tf.utils.logging.enable_progress_bar()


def decoder(size: int, step: int) -> dict[str, Any]:
    """Prompt encoder and mask decoder of all families."""
    return {
        "prompt_encoder_config": {
            "hidden_size": 16, "image_size": size, "patch_size": step, "mask_input_channels": 8,
        },
        "mask_decoder_config": {
            "hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16,
        },
    }  # fmt: skip


PLAIN = {
    "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64,
    "patch_size": 8, "window_size": 4, "global_attn_indexes": [1], "num_pos_feats": 8,
}  # fmt: skip
"""The trunk of SAM and SAM-HQ."""

HIERARCHICAL = {
    "backbone_config": {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [128, 128],
        "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 1, 1], "window_size_per_stage": [8, 4, 4, 2],
        "global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4],
    },
    "backbone_channel_list": [64, 32, 16, 8], "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    "fpn_hidden_size": 16,
}  # fmt: skip
"""The trunk of SAM 2."""

ROTARY = {
    "backbone_config": {
        "model_type": "sam3_vit_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 112, "patch_size": 14, "window_size": 4, "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    },
    "fpn_hidden_size": 16, "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
}  # fmt: skip
"""The trunk of SAM 3."""

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_layers": 1}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "SamModel": {"vision_config": PLAIN, **decoder(64, 8)},
    "SamHQModel": {"vision_config": PLAIN, **decoder(64, 8)},
    "Sam2Model": {"vision_config": HIERARCHICAL, **decoder(128, 16)},
    "Sam3TrackerModel": {"vision_config": ROTARY, **decoder(112, 14)},
    "Sam3Model": {
        "vision_config": ROTARY,
        "text_config": {
            "model_type": "clip_text_model", "vocab_size": 54, "hidden_size": 16, "intermediate_size": 16,
            "projection_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32,
        },
        "geometry_encoder_config": SMALL, "detr_encoder_config": SMALL,
        "detr_decoder_config": {**SMALL, "num_queries": 8},
        "mask_decoder_config": {"hidden_size": 16, "num_attention_heads": 2},
    },
}  # fmt: skip
CONFIGURATIONS["SamHQModel"]["mask_decoder_config"]["vit_dim"] = 16

SQUARE: dict[str, int] = {"SamModel": 64, "SamHQModel": 64, "Sam2Model": 128, "Sam3TrackerModel": 112}
"""What networks that take points see, px."""

PROCESSORS = {
    "SamModel": (tf.SamProcessor, tf.SamImageProcessor),
    "SamHQModel": (tf.SamHQProcessor, tf.SamImageProcessor),
    "Sam2Model": (tf.Sam2Processor, tf.Sam2ImageProcessor),
    "Sam3TrackerModel": (tf.Sam3TrackerProcessor, tf.Sam3ImageProcessor),
}

Folders = Callable[[str], Path]


def shaken(network: Any, seed: int = 3, spread: float = 0.4) -> Any:
    """The same network with random weights that are large enough for masks of all kinds."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if tensor.dim() > 1 or name.endswith("bias"):
                tensor.normal_(0, spread, generator=generator)
    return network.eval()


def letters() -> Any:
    """A tokenizer of single letters."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *(f"{letter}</w>" for letter in alphabet), *alphabet]
    return tf.CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=32)


def build(name: str) -> Any:
    kind = getattr(tf, name)
    torch.manual_seed(0)
    return shaken(kind(kind.config_class(**CONFIGURATIONS[name])))


def reopened(folders: Folders, name: str) -> Any:
    """The network as the library opens it itself."""
    return getattr(tf, name).from_pretrained(folders(name)).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Networks on disk, saved by the library when they are first asked for."""
    home = tmp_path_factory.mktemp("networks")

    def folder(name: str) -> Path:
        if not (home / name).is_dir():
            build(name).save_pretrained(home / name)
            letters().save_pretrained(home / name) if name == "Sam3Model" else None
        return home / name

    return folder


def describe(name: str, weights: Path | None, **hyperparameters: Any) -> ModelSpec:
    """The entry of a network, with the scaling that the library has for it."""
    mean, deviation = ((0.5,) * 3, (0.5,) * 3) if "Sam3" in name else (MEAN, DEVIATION)
    return ModelSpec(
        "segmenter",
        "instance-segmentation",
        bands=tuple(Band(band) for band in ("red", "green", "blue")),
        classes=(ClassSpec(1, "object"),),
        scalings=tuple(
            Scaling("z-score", mean=255 * one, stddev=255 * other) for one, other in zip(mean, deviation, strict=True)
        ),
        architecture=f"transformers.{name}",
        hyperparameters=tuple(sorted(hyperparameters.items())),
        weights=None if weights is None else str(weights),
        min_score=0.0,
    )


def tile(height: int, width: int | None = None, seed: int = 0) -> NDArray[np.uint8]:
    """Coarse random fields, uint8 (3, y, x)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 6, 6)).astype(float)
    zoom = (1, height / 6, (width or height) / 6)
    fine = ndimage.zoom(coarse, zoom, order=1) + rng.normal(0, 12, (3, height, width or height))
    return fine.clip(0, 255).astype(np.uint8)


def find(spec: ModelSpec, pixels: NDArray[np.uint8], prompts: Prompts | None = None, device: str = "cpu") -> Detections:
    return ask(load_model(spec, device, precision="float32"), pixels, prompts)


def ask(model: Any, pixels: NDArray[np.uint8], prompts: Prompts | None = None) -> Detections:
    (found,) = model.predict(
        pixels[None], np.ones((1, *pixels.shape[1:]), bool), None if prompts is None else [prompts]
    )
    return found


def painted(found: Detections, number: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[found.windows[number].slices()] = found.masks[number]
    return mask


def spots(*places: tuple[float, float, bool]) -> dict[str, Any]:
    array = np.array([place[:2] for place in places], np.float32)
    return {"points": array, "positive": np.array([place[2] for place in places])}


def block(size: int) -> NDArray[np.bool_]:
    """A mask whose edges lie where pixels of the network's small masks begin."""
    step = size // 8
    mask = np.zeros((size, size), bool)
    mask[step : 4 * step, 2 * step : 6 * step] = True
    mask[4 * step : 5 * step, 2 * step : 3 * step] = True
    return mask


def forms(size: int) -> dict[str, Prompt]:
    part = size / 64
    one, two = (20.5 * part, 30.25 * part, True), (40 * part, 10 * part, False)
    box = (8 * part, 16.5 * part, 50 * part, 60 * part)
    return {
        "a point": Prompt(4, **spots(one)),
        "points": Prompt(4, **spots(one, two)),
        "a box": Prompt(4, box=box),
        "a box and points": Prompt(4, **spots(one, two), box=box),
        "a box and a mask": Prompt(4, box=box, mask=block(size)),
        "a point and a mask": Prompt(4, **spots(one), mask=block(size)),
    }


def library_answer(
    network: Any, name: str, colours: NDArray[np.float32] | torch.Tensor, prompt: Prompt
) -> tuple[NDArray[np.bool_], float]:
    """What the library's processor and network make of one prompt: the best mask and its predicted IoU.

    The library counts positions from the centre of the first pixel, and of the first pixel of the square.
    """
    whole, part = PROCESSORS[name]
    size = SQUARE[name]
    square = {"height": size, "width": size}
    sizes = {"size": {"longest_edge": size}, "pad_size": square} if part is tf.SamImageProcessor else {"size": square}
    processor = whole(part(**sizes, do_rescale=False))
    height, width = colours.shape[1:]
    scale = [size / max(height, width)] * 2 if part is tf.SamImageProcessor else [size / width, size / height]
    if part is tf.SamImageProcessor:
        scale = [round(width * scale[0]) / width, round(height * scale[1]) / height]
    shift = 0.5 / np.array(scale)
    asked: dict[str, Any] = {}
    if len(prompt.points):
        asked["input_points"] = [[(prompt.points - shift).tolist()]]
        asked["input_labels"] = [[prompt.positive.astype(int).tolist()]]
    if prompt.box is not None:
        asked["input_boxes"] = [[(np.array(prompt.box) - np.tile(shift, 2)).tolist()]]
    inputs = processor(images=torch.as_tensor(colours), **asked, return_tensors="pt")
    more: dict[str, Any] = {}
    if prompt.mask is not None:
        places = ((np.arange(32) + 0.5) * size / 32).astype(int)
        more["input_masks"] = torch.from_numpy(prompt.mask[np.ix_(places, places)] * 20.0 - 10.0).float()[None, None]
    rest = {key: inputs.pop(key) for key in ("original_sizes", "reshaped_input_sizes") if key in inputs}
    inputs = {key: value.float() if value.is_floating_point() else value for key, value in inputs.items()}
    several = len(prompt.points) == 1 and prompt.box is None and prompt.mask is None
    with torch.inference_mode():
        out = network(**inputs, **more, multimask_output=several)
    assert out.pred_masks.shape[2] == (3 if several else 1)
    masks = processor.post_process_masks(out.pred_masks, *rest.values())[0][0]
    best = int(out.iou_scores[0, 0].argmax())
    return masks[best].numpy(), float(out.iou_scores[0, 0, best].clamp(0, 1))


def natural(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).float() / 255


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", forms(64))
@pytest.mark.parametrize("name", SQUARE)
def test_each_form_of_prompt_finds_what_the_library_finds(folders: Folders, name: str, form: str, device: str) -> None:
    size = SQUARE[name]
    pixels, prompt = tile(size), forms(size)[form]
    expected, score = library_answer(reopened(folders, name), name, natural(pixels), prompt)
    assert 0 < expected.mean() < 1
    found = find(describe(name, folders(name)), pixels, Prompts((prompt,)), device)
    assert found.prompts.tolist() == [4]
    assert found.classes.tolist() == [0]
    assert found.scores[0] == pytest.approx(score, abs=1e-3)
    assert (painted(found, 0, expected.shape) != expected).mean() < 1e-3


@pytest.mark.parametrize("shape", [(96, 96), (160, 160), (90, 60), (50, 120)], ids=str)
@pytest.mark.parametrize("name", SQUARE)
def test_tiles_of_other_sizes_are_resampled_with_their_prompts(
    folders: Folders, name: str, shape: tuple[int, int]
) -> None:
    pixels = tile(*shape)
    prompt = Prompt(0, **spots((31.5, 22.25, True), (8, 40, False)), box=(10, 12, 44, 47))
    expected, score = library_answer(reopened(folders, name), name, natural(pixels), prompt)
    found = find(describe(name, folders(name)), pixels, Prompts((prompt,)))
    assert 0 < expected.mean() < 1
    assert found.scores[0] == pytest.approx(score, abs=1e-3)
    assert (painted(found, 0, shape) != expected).mean() < 2e-3


@pytest.mark.parametrize("name", SQUARE)
def test_what_is_found_for_a_prompt_does_not_depend_on_the_others(folders: Folders, name: str) -> None:
    size = SQUARE[name]
    model, pixels = load_model(describe(name, folders(name), points_per_batch=2)), tile(size)
    prompts = [replace(prompt, id=number) for number, prompt in enumerate(forms(size).values(), 10)]
    prompts += [Prompt(number, **spots((3.0 * number, 20, True))) for number in range(5)]
    together = ask(model, pixels, Prompts(tuple(prompts)))
    assert sorted(together.prompts) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15]
    for prompt in prompts:
        alone = ask(model, pixels, Prompts((prompt,)))
        place = together.prompts.tolist().index(prompt.id)
        assert alone.scores[0] == pytest.approx(together.scores[place], abs=1e-4)
        different = painted(alone, 0, (size, size)) != painted(together, place, (size, size))
        assert different.mean() < 1e-3


def test_tiles_of_a_batch_are_answered_each_on_its_own(folders: Folders) -> None:
    model = load_model(describe("SamModel", folders("SamModel")))
    tiles = [tile(64, seed=seed) for seed in range(2)]
    asked = [Prompts((Prompt(7, **spots((20, 20, True))),)), Prompts((Prompt(8, box=(4, 4, 60, 60)),))]
    found = model.predict(np.stack(tiles), np.ones((2, 64, 64), bool), asked)
    for pixels, prompts, item in zip(tiles, asked, found, strict=True):
        alone = find(model.spec, pixels, prompts)
        assert item.prompts.tolist() == [prompts.objects[0].id]
        np.testing.assert_array_equal(item.masks[0], alone.masks[0])


def test_a_mask_alone_is_given_with_the_box_around_it(folders: Folders) -> None:
    spec, pixels, mask = describe("Sam2Model", folders("Sam2Model")), tile(128), block(128)
    alone = find(spec, pixels, Prompts((Prompt(2, mask=mask),)))
    boxed = find(spec, pixels, Prompts((Prompt(2, box=(32, 16, 96, 80), mask=mask),)))
    np.testing.assert_array_equal(painted(alone, 0, (128, 128)), painted(boxed, 0, (128, 128)))


def generate(
    network: Any, name: str, pixels: NDArray[np.uint8], **options: float
) -> tuple[list[NDArray[np.bool_]], NDArray[Any]]:
    """The library's pipeline for mask generation."""
    size = SQUARE[name]
    part = PROCESSORS[name][1]
    square = {"height": size, "width": size}
    sizes = {"size": {"longest_edge": size}, "pad_size": square} if part is tf.SamImageProcessor else {"size": square}
    pipeline = tf.pipeline("mask-generation", model=network, image_processor=part(**sizes), device="cpu")
    found = pipeline(Image.fromarray(np.moveaxis(pixels, 0, -1)), points_per_crop=6, points_per_batch=10, **options)
    return [np.asarray(mask) for mask in found["masks"]], found["scores"].numpy()


@pytest.mark.parametrize("name", SQUARE)
def test_where_nothing_is_asked_everything_is_found_that_the_library_generates(folders: Folders, name: str) -> None:
    pixels = tile(SQUARE[name])
    loose = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "crops_nms_thresh": 1.0}
    masks, scores = generate(reopened(folders, name), name, pixels, **loose)
    assert len(masks) > 50
    found = find(describe(name, folders(name), points_per_side=6, points_per_batch=10, **loose), pixels)
    assert found.scores == pytest.approx(scores.clip(0, 1), abs=1e-3)
    assert set(found.prompts) == {-1}
    expected = np.sort([mask.sum() for mask in masks])
    np.testing.assert_allclose(np.sort([mask.sum() for mask in found.masks]), expected, atol=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", SQUARE)
def test_what_is_unsure_unstable_or_found_twice_is_left_out_as_the_library_does(folders: Folders, name: str) -> None:
    pixels = tile(SQUARE[name])
    loose = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "crops_nms_thresh": 1.0}
    network = reopened(folders, name)
    _, scores = generate(network, name, pixels, **loose)
    counts = [len(scores)]
    for change in (
        {"pred_iou_thresh": float(np.quantile(scores, 0.6).clip(1e-3))},
        {"stability_score_thresh": 0.97, "stability_score_offset": 1.0},
        {"crops_nms_thresh": 0.8},
    ):
        masks, scores = generate(network, name, pixels, **loose | change)
        found = find(describe(name, folders(name), points_per_side=6, points_per_batch=7, **loose | change), pixels)
        assert abs(len(found) - len(masks)) <= 1  # one mask may lie right at a threshold
        np.testing.assert_allclose(found.scores[:5], scores.clip(0, 1)[:5], atol=1e-3)
        counts.append(len(found))
    assert max(counts[1:]) < counts[0]


@pytest.mark.parametrize("name", SQUARE)
def test_where_the_network_is_sure_of_nothing_there_is_nothing(folders: Folders, name: str) -> None:
    spec = describe(name, folders(name), points_per_side=3, points_per_batch=2, pred_iou_thresh=1e6)
    assert len(find(spec, tile(SQUARE[name]))) == 0


def test_one_file_and_its_configuration_are_the_same_as_the_folder(folders: Folders) -> None:
    pixels, prompts = tile(64), Prompts((Prompt(0, box=(4, 4, 50, 40)),))
    file = folders("SamModel") / "model.safetensors"
    from_file = find(describe("SamModel", file, **CONFIGURATIONS["SamModel"]), pixels, prompts)
    from_folder = find(describe("SamModel", folders("SamModel")), pixels, prompts)
    np.testing.assert_array_equal(from_file.masks[0], from_folder.masks[0])
    assert from_file.scores == from_folder.scores


def grounding_dino(folder: Path) -> Path:
    """A small Grounding DINO that knows three words."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "tree", "roof", "."]
    configuration = tf.GroundingDinoConfig(
        backbone_config={
            "model_type": "swin", "image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2], "window_size": 4, "out_indices": [2, 3, 4],
        },
        text_config={
            "model_type": "bert", "vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 64,
        },
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=6, max_text_len=16, num_feature_levels=3,
    )  # fmt: skip
    network = shaken(tf.GroundingDinoForObjectDetection(configuration), spread=0.2)
    network.save_pretrained(folder)
    tokenizer = tf.BertTokenizer(vocab={word: number for number, word in enumerate(words)}, do_lower_case=False)
    images = tf.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    tf.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def clipseg(folder: Path) -> Path:
    """A small CLIPSeg that knows letters."""
    trunk = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    configuration = tf.CLIPSegConfig(
        text_config={**trunk, "vocab_size": 54, "max_position_embeddings": 32},
        vision_config={**trunk, "image_size": 64, "patch_size": 16},
        projection_dim=16, extract_layers=[0, 1], reduce_dim=16, decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )  # fmt: skip
    shaken(tf.CLIPSegForImageSegmentation(configuration), spread=0.3).save_pretrained(folder)
    tf.CLIPSegProcessor(tf.ViTImageProcessor(size={"height": 64, "width": 64}), letters()).save_pretrained(folder)
    return folder


def test_words_find_what_the_boxes_of_grounding_dino_find(folders: Folders, tmp_path: Path) -> None:
    dino, pixels = grounding_dino(tmp_path / "dino"), tile(64)
    network = tf.GroundingDinoForObjectDetection.from_pretrained(dino).eval()
    processor = tf.AutoProcessor.from_pretrained(dino)
    image = torch.from_numpy(pixels)
    inputs = processor(images=image, text="a tree.", return_tensors="pt")
    with torch.inference_mode():
        out = network(**inputs)
    threshold = float(out.logits.sigmoid().max(-1).values.quantile(0.5))
    boxes = processor.post_process_grounded_object_detection(
        out, inputs["input_ids"], threshold, threshold, target_sizes=[(64, 64)]
    )[0]["boxes"]
    assert 1 < len(boxes) < 6
    spec = describe("SamModel", folders("SamModel"), text_model=str(dino), text_threshold=threshold)
    found = find(spec, pixels, Prompts(text="  A Tree "))  # lower case and a full stop are made of it
    objects = tuple(Prompt(-1, box=tuple(box)) for box in boxes.clamp(0, 64).tolist())
    expected = find(spec, pixels, Prompts(objects))
    assert len(found) == len(boxes)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    for number in range(len(found)):
        assert (painted(found, number, (64, 64)) != painted(expected, number, (64, 64))).mean() < 1e-2
    assert set(found.prompts) == {-1}


def test_words_find_what_the_parts_of_the_map_of_clipseg_find(folders: Folders, tmp_path: Path) -> None:
    folder, pixels = clipseg(tmp_path / "clipseg"), tile(128)
    network = tf.CLIPSegForImageSegmentation.from_pretrained(folder).eval()
    processor = tf.AutoProcessor.from_pretrained(folder)
    inputs = processor(images=natural(pixels), text="roof", return_tensors="pt", do_rescale=False)
    with torch.inference_mode():
        logits = network(**inputs).logits.reshape(64, 64)
    heat = ndimage.zoom(logits.sigmoid().numpy(), 2, order=1, mode="nearest", grid_mode=True)
    threshold = float(np.quantile(heat, 0.995))
    parts, count = ndimage.label(heat > threshold)
    assert 1 < count < 100
    objects = []
    for number in range(1, count + 1):
        rows, cols = np.nonzero(parts == number)
        box = (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
        objects.append(Prompt(-1, box=tuple(float(side) for side in box), mask=parts == number))
    spec = describe("Sam2Model", folders("Sam2Model"), text_model=str(folder), text_threshold=threshold)
    found, expected = find(spec, pixels, Prompts(text="roof")), find(spec, pixels, Prompts(tuple(objects)))
    assert len(found) == len(expected) > 1
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-2)
    areas, others = ([int(mask.sum()) for mask in item.masks] for item in (found, expected))
    np.testing.assert_allclose(areas, others, rtol=0.1, atol=30)


def test_words_and_other_prompts_are_both_answered(folders: Folders, tmp_path: Path) -> None:
    spec = describe(
        "SamModel", folders("SamModel"), text_model=str(grounding_dino(tmp_path / "dino")), text_threshold=0.0
    )
    found = find(spec, tile(64), Prompts((Prompt(3, **spots((20, 20, True))),), "a tree"))
    assert sorted(found.prompts) == [-1] * 6 + [3]


def test_words_that_are_nowhere_find_nothing(folders: Folders, tmp_path: Path) -> None:
    spec = describe(
        "SamModel", folders("SamModel"), text_model=str(grounding_dino(tmp_path / "dino")), text_threshold=1.0
    )
    assert len(find(spec, tile(64), Prompts(text="a tree"))) == 0


@pytest.mark.parametrize("size", [112, 90])
def test_sam_3_finds_by_itself_what_words_mean(folders: Folders, size: int) -> None:
    pixels = tile(size)
    images = tf.Sam3ImageProcessor(size={"height": 112, "width": 112}, do_rescale=False)
    processor = tf.Sam3Processor(images, letters())
    inputs = processor(images=natural(pixels), text="a roof", return_tensors="pt")
    inputs.pop("original_sizes")
    with torch.inference_mode():
        out = reopened(folders, "Sam3Model")(**inputs)
    chances = out.pred_logits.sigmoid() * out.presence_logits.sigmoid()
    least = float(chances.quantile(0.4))
    (expected,) = processor.post_process_instance_segmentation(out, least, target_sizes=[(size, size)])
    found = find(replace(describe("Sam3Model", folders("Sam3Model")), min_score=least), pixels, Prompts(text="a roof"))
    kept = expected["masks"].flatten(1).any(1)
    assert 1 < len(found) == int(kept.sum()) < 8
    np.testing.assert_allclose(found.scores, expected["scores"][kept], atol=1e-3)
    for number, mask in enumerate(expected["masks"][kept].bool().numpy()):
        assert (painted(found, number, (size, size)) != mask).mean() < 2e-3


def refusal(kind: type[GeosegError], spec: ModelSpec, prompts: Prompts | None = None) -> str:
    with pytest.raises(kind) as caught:
        find(spec, tile(64)[: len(spec.bands)], prompts)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("prompts", [Prompts(), Prompts((Prompt(0, box=(1, 1, 9, 9)),))], ids=["nothing", "a box"])
def test_sam_3_for_words_refuses_anything_else(folders: Folders, prompts: Prompts) -> None:
    assert "Sam3TrackerModel" in refusal(ModelError, describe("Sam3Model", folders("Sam3Model")), prompts)


def test_words_need_a_model_that_understands_them(folders: Folders) -> None:
    message = refusal(ModelError, describe("SamModel", folders("SamModel")), Prompts(text="a tree"))
    assert "text_model" in message


def test_the_model_of_words_is_opened_when_words_are_asked(folders: Folders, tmp_path: Path) -> None:
    spec = describe("SamModel", folders("SamModel"), text_model=str(tmp_path / "none"))
    assert len(find(spec, tile(64), Prompts((Prompt(0, box=(1, 1, 60, 60)),)))) == 1
    assert "none" in refusal(WeightsError, spec, Prompts(text="a tree"))


def test_a_model_of_words_of_another_class_is_refused(folders: Folders) -> None:
    spec = describe("SamModel", folders("SamModel"), text_model=str(folders("Sam2Model")))
    message = refusal(WeightsError, spec, Prompts(text="a tree"))
    assert "'Sam2Model'" in message
    assert "GroundingDinoForObjectDetection" in message


@pytest.mark.parametrize("prompt", [Prompt(5), Prompt(5, mask=np.zeros((64, 64), bool))], ids=["empty", "empty mask"])
def test_a_prompt_that_marks_nothing_is_refused(folders: Folders, prompt: Prompt) -> None:
    assert "prompt 5 marks nothing" in refusal(
        ModelError, describe("SamModel", folders("SamModel")), Prompts((prompt,))
    )


def test_other_bands_and_classes_are_refused(folders: Folders) -> None:
    spec = describe("SamModel", folders("SamModel"))
    two = replace(spec, bands=spec.bands[:2], scalings=spec.scalings[:2])
    assert "2 bands and 1 classes" in refusal(ModelError, two)
    many = replace(spec, classes=(ClassSpec(1, "tree"), ClassSpec(2, "roof")))
    assert "3 bands and 2 classes" in refusal(ModelError, many)


def test_an_unknown_architecture_and_hyperparameter_are_named(folders: Folders) -> None:
    assert "did you mean 'Sam2Model'" in refusal(ModelError, describe("Sam2ModelX", folders("SamModel")))
    misspelt = describe("SamModel", folders("SamModel"), points_per_sides=8)
    assert "did you mean 'points_per_side'" in refusal(ModelError, misspelt)


@pytest.mark.parametrize("chosen", [{"points_per_batch": 0}, {"points_per_side": 0}], ids=str)
def test_numbers_that_ask_for_nothing_are_refused(folders: Folders, chosen: dict[str, int]) -> None:
    assert "counted from 1" in refusal(ModelError, describe("SamModel", folders("SamModel"), **chosen))


def test_a_folder_of_another_family_is_refused(folders: Folders) -> None:
    assert "of the type 'sam2'" in refusal(WeightsError, describe("SamModel", folders("Sam2Model")))


MEMORY = {
    "memory_attention_hidden_size": 16, "memory_attention_num_layers": 1, "memory_attention_num_attention_heads": 1,
    "memory_attention_feed_forward_hidden_size": 16, "memory_attention_rope_feat_sizes": [8, 8],
    "memory_encoder_hidden_size": 16, "memory_encoder_output_channels": 8, "mask_downsampler_embed_dim": 16,
    "memory_fuser_num_layers": 1, "memory_fuser_embed_dim": 16, "memory_fuser_intermediate_dim": 16,
}  # fmt: skip
"""What networks for films have besides."""


def test_sam_2_is_found_in_a_network_for_films(tmp_path: Path) -> None:
    configuration = tf.Sam2VideoConfig(**CONFIGURATIONS["Sam2Model"], **MEMORY, image_size=128)
    shaken(tf.Sam2VideoModel(configuration)).save_pretrained(tmp_path)
    pixels, prompt = tile(128), forms(128)["a box"]
    expected, score = library_answer(
        tf.Sam2Model.from_pretrained(tmp_path).eval(), "Sam2Model", natural(pixels), prompt
    )
    found = find(describe("Sam2Model", tmp_path), pixels, Prompts((prompt,)))
    assert found.scores[0] == pytest.approx(score, abs=1e-3)
    assert (painted(found, 0, expected.shape) != expected).mean() < 1e-3


def test_both_networks_of_sam_3_are_found_in_a_network_for_films(tmp_path: Path) -> None:
    configuration = tf.Sam3VideoConfig(
        detector_config={**CONFIGURATIONS["Sam3Model"], "model_type": "sam3"},
        tracker_config={
            **CONFIGURATIONS["Sam3TrackerModel"], **MEMORY, "image_size": 112, "model_type": "sam3_tracker_video",
        },
    )  # fmt: skip
    shaken(tf.Sam3VideoModel(configuration)).save_pretrained(tmp_path)
    letters().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    state = {
        key.replace("tracker_model.tracker_model.", "tracker_model."): item for key, item in load_file(file).items()
    }
    save_file(state, file, metadata={"format": "pt"})  # the library doubles the name; published files do not
    pixels = tile(112)
    assert len(find(describe("Sam3Model", tmp_path), pixels, Prompts(text="a roof"))) > 0
    assert len(find(describe("Sam3TrackerModel", tmp_path), pixels, Prompts((forms(112)["a box"],)))) == 1


def test_weights_that_lack_a_tensor_are_refused(folders: Folders, tmp_path: Path) -> None:
    state = load_file(folders("SamModel") / "model.safetensors")
    del state["mask_decoder.iou_token.weight"]
    save_file(state, tmp_path / "model.safetensors")
    spec = describe("SamModel", tmp_path / "model.safetensors", **CONFIGURATIONS["SamModel"])
    assert "lack mask_decoder.iou_token.weight" in refusal(WeightsError, spec)


def test_weights_of_another_width_are_refused(folders: Folders) -> None:
    wide = {**CONFIGURATIONS["SamModel"], "vision_config": {**PLAIN, "num_hidden_layers": 2, "output_channels": 32}}
    spec = describe("SamModel", folders("SamModel") / "model.safetensors", **wide)
    assert "has shape" in refusal(WeightsError, spec)


def test_a_damaged_folder_and_a_missing_tokenizer_are_refused(tmp_path: Path) -> None:
    build("SamModel").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "no config.json that can be read" in refusal(WeightsError, describe("SamModel", tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "sam", "vision_config": 3}')
    assert "cannot be opened" in refusal(WeightsError, describe("SamModel", tmp_path))
    build("Sam3Model").save_pretrained(tmp_path / "wordless")
    assert "tokenizer" in refusal(WeightsError, describe("Sam3Model", tmp_path / "wordless"), Prompts(text="a roof"))
