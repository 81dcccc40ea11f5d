"""Networks of transformers answer as the library does, from folders and files; one sentence for what does not fit."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers as library
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate

from geoseg.errors import ModelError, WeightsError
from geoseg.models import Band, ClassSpec, Detections, ModelSpec, Prompt, Prompts, load_model
from geoseg.models.running import settle
from geoseg.models.transformers import VARIANTS
from geoseg.models.universal import Queries

SPEC = ModelSpec(
    name="m",
    task="semantic-segmentation",
    bands=tuple(Band(name) for name in ("red", "green", "blue")),
    classes=tuple(ClassSpec(value, f"class {value}", isthing=value > 1) for value in range(4)),
    activation="softmax",
)
STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN = {
    "model_type": "swin",
    "embed_dim": 8,
    "depths": (1, 1, 1, 1),
    "num_heads": (1, 1, 2, 2),
    "window_size": 4,
    "image_size": 64,
    "out_features": STAGES,
}
PLAIN = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 64,
    "patch_size": 16,
}
SEGFORMER = {
    "depths": (1, 1, 1, 1),
    "hidden_sizes": (8, 16, 16, 32),
    "num_attention_heads": (1, 1, 2, 2),
    "decoder_hidden_size": 16,
}
SEMANTIC: dict[str, dict[str, Any]] = {
    "Segformer": SEGFORMER,
    "UperNet": {
        "backbone_config": SWIN,
        "hidden_size": 16,
        "auxiliary_in_channels": 32,
        "auxiliary_channels": 8,
    },
    "DPT": {
        **PLAIN,
        "backbone_out_indices": (0, 1, 2, 3),
        "neck_hidden_sizes": (8, 8, 16, 16),
        "fusion_hidden_size": 16,
    },
    "Beit": {**PLAIN, "out_indices": (0, 1, 2, 3)},
    "Data2VecVision": {**PLAIN, "out_indices": (0, 1, 2, 3)},
    "MobileNetV2": {"depth_multiplier": 0.35, "image_size": 64},
    "MobileViT": {
        "hidden_sizes": (16, 24, 32),
        "neck_hidden_sizes": (8, 8, 16, 16, 16, 16, 32),
        "num_attention_heads": 2,
        "image_size": 64,
        "aspp_out_channels": 16,
    },
    "MobileViTV2": {"width_multiplier": 0.25, "image_size": 64, "aspp_out_channels": 16},
}
WIDE = {"hidden_dim": 32, "encoder_feedforward_dim": 32, "dim_feedforward": 32, "num_attention_heads": 2}
LAYERS = {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 10}
EOMT = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 64, "patch_size": 8}
UNIVERSAL: dict[str, dict[str, Any]] = {
    "MaskFormerForInstanceSegmentation": {
        "backbone_config": SWIN,
        "fpn_feature_size": 32,
        "mask_feature_size": 32,
        "decoder_config": {
            "model_type": "detr",
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "num_queries": 10,
        },
    },
    "Mask2FormerForUniversalSegmentation": {
        **WIDE,
        **LAYERS,
        "backbone_config": SWIN,
        "feature_size": 32,
        "mask_feature_size": 32,
    },
    "OneFormerForUniversalSegmentation": {
        **WIDE,
        **LAYERS,
        "backbone_config": SWIN,
        "conv_dim": 32,
        "mask_dim": 32,
        "query_dec_layers": 1,
        "text_encoder_width": 64,
        "text_encoder_num_layers": 1,
    },
    "EomtForUniversalSegmentation": {**EOMT, "num_blocks": 2, "num_queries": 10},
    "EomtDinov3ForUniversalSegmentation": {**EOMT, "intermediate_size": 32, "num_blocks": 2, "num_queries": 10},
}
SIDE = 384
"""Px at which Mask2Former's processor resamples nothing."""


def specified(architecture: str, task: str = "semantic", **changes: Any) -> ModelSpec:
    return replace(SPEC, task=f"{task}-segmentation", architecture=f"transformers.{architecture}", **changes)


def make(architecture: str, settings: Mapping[str, Any], spread: float = 0.3, classes: int = 4) -> Any:
    """A network of the library with random weights that are large enough for clear answers."""
    torch.manual_seed(7)
    kind = getattr(library, architecture)
    backbone = {name: library.SwinConfig(**value) for name, value in settings.items() if name == "backbone_config"}
    network = kind(kind.config_class(**{**settings, **backbone}, num_labels=classes)).eval()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if tensor.dim() > 1:
                tensor.normal_(0, spread * (5 if "class_predictor" in name or "class_embed" in name else 1))
    return calibrate(network)


def calibrate(network: Any) -> Any:
    """Let batch normalisations learn what they see, or deep networks of random weights answer nothing at all."""
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in norms:
        layer.momentum = 1.0
        layer.train()
    if norms:
        with torch.no_grad():
            network(draw(bands=network.config.num_channels) if hasattr(network.config, "num_channels") else draw())
    return network.eval()


def save(network: Any, folder: Path) -> Path:
    """Save a network as its library does, OneFormer with a tokenizer that knows letters."""
    network.save_pretrained(folder)
    if isinstance(network, library.OneFormerForUniversalSegmentation):
        letters = "abcdefghijklmnopqrstuvwxyz"
        words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
        (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def draw(height: int = 64, width: int = 64, bands: int = 3) -> torch.Tensor:
    """Two tiles of smooth pixels."""
    coarse = torch.randn(2, bands, 8, 8, generator=torch.Generator().manual_seed(3))
    return interpolate(coarse, size=(height, width), mode="bicubic")


def ask(spec: ModelSpec, pixels: torch.Tensor) -> Any:
    """What an opened model predicts."""
    return load_model(spec).predict(pixels.numpy(), np.ones((len(pixels), *pixels.shape[2:]), bool))


@pytest.mark.parametrize("family", SEMANTIC)
def test_a_saved_folder_scores_as_the_library_does(family: str, tmp_path: Path) -> None:
    architecture = f"{family}ForSemanticSegmentation"
    network = make(architecture, SEMANTIC[family])
    pixels = draw()
    with torch.inference_mode():
        output = network(pixels)
    wanted = interpolate(output.logits, size=(64, 64), mode="bilinear", align_corners=False).softmax(1)
    labels = library.SegformerImageProcessor().post_process_semantic_segmentation(output, [(64, 64)] * 2)
    spec = specified(architecture, weights=str(save(network, tmp_path)))
    found = ask(spec, pixels)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert (found.argmax(1) == torch.stack(labels)).float().mean() > 0.999
    torch.testing.assert_close(
        ask(replace(spec, architecture=f"transformers.AutoModel{architecture[-23:]}"), pixels), found
    )


@pytest.mark.parametrize("family", SEMANTIC)
def test_one_file_and_hyperparameters_give_what_the_folder_gives(family: str, tmp_path: Path) -> None:
    architecture = f"{family}ForSemanticSegmentation"
    network, pixels = make(architecture, SEMANTIC[family]), draw()
    spec = specified(architecture, weights=str(save(network, tmp_path)))
    wanted = ask(spec, pixels)
    described = replace(spec, hyperparameters=(*sorted(SEMANTIC[family].items()), ("learning_rate", 0.1)))
    save_file(network.state_dict(), tmp_path / "state.safetensors")
    for file in ("model.safetensors", "state.safetensors"):
        torch.testing.assert_close(ask(replace(described, weights=str(tmp_path / file)), pixels), wanted)


def test_segformer_takes_tiles_of_any_shape_and_any_number_of_bands(tmp_path: Path) -> None:
    network = make("SegformerForSemanticSegmentation", {**SEGFORMER, "num_channels": 5})
    spec = specified(
        "SegformerForSemanticSegmentation",
        weights=str(save(network, tmp_path)),
        bands=tuple(Band(str(number)) for number in range(5)),
    )
    pixels = torch.rand(1, 5, 96, 160)
    with torch.inference_mode():
        wanted = interpolate(network(pixels).logits, size=(96, 160), mode="bilinear").softmax(1)
    torch.testing.assert_close(ask(spec, pixels), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("variant", "millions"), [("b0", 3.8), ("b1", 13.7), ("b2", 27.5), ("b3", 47.3), ("b4", 64.1), ("b5", 84.7)]
)
def test_variants_of_segformer_are_as_large_as_the_paper_says(variant: str, millions: float) -> None:
    with torch.device("meta"):
        network = library.SegformerForSemanticSegmentation(library.SegformerConfig(**VARIANTS[variant], num_labels=150))
    assert sum(tensor.numel() for tensor in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_a_variant_stands_for_its_hyperparameters(tmp_path: Path) -> None:
    network = make("SegformerForSemanticSegmentation", VARIANTS["b0"] | {"depths": (1, 1, 1, 1)}, spread=0.05)
    save_file(network.state_dict(), tmp_path / "b0.safetensors")
    said = (("depths", (1, 1, 1, 1)), ("variant", "b0"))
    spec = specified("SegformerForSemanticSegmentation", weights=str(tmp_path / "b0.safetensors"), hyperparameters=said)
    pixels = draw()
    with torch.inference_mode():
        wanted = interpolate(network(pixels).logits, size=(64, 64), mode="bilinear").softmax(1)
    torch.testing.assert_close(ask(spec, pixels), wanted, atol=1e-5, rtol=0)
    with pytest.raises(ModelError, match="variant 'b9', which SegFormer does not have"):
        load_model(replace(spec, hyperparameters=(("variant", "b9"),)))


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(make("SegformerForSemanticSegmentation", SEGFORMER), tmp_path_factory.mktemp("segformer"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": SPEC.classes[:3]}, "has 4 classes where the entry of model 'm' describes 3"),
        ({"bands": SPEC.bands[:2]}, "has 3 bands where the entry of model 'm' describes 2"),
        (
            {"architecture": "transformers.BeitForSemanticSegmentation"},
            "type 'segformer'.* set mlm:architecture to transformers.SegformerForSemanticSegmentation",
        ),
        ({"architecture": "transformers.Mask2FormerForUniversalSegmentation"}, "type 'segformer'.*--weights FOLDER"),
    ],
)
def test_a_folder_of_something_else_is_refused(changes: dict[str, Any], words: str, segformer: Path) -> None:
    spec = specified("SegformerForSemanticSegmentation", weights=str(segformer))
    with pytest.raises(WeightsError, match=words):
        load_model(replace(spec, **changes))


@pytest.mark.parametrize(
    ("hyperparameters", "changes", "words"),
    [
        ({**SEGFORMER, "depths": (1, 1, 1, 2)}, {}, "missing, 0 unknown; they lack .*; correct mlm:architecture"),
        ({**SEGFORMER, "depths": (1, 1, 1, 0)}, {}, "0 tensors missing, [1-9]"),
        ({**SEGFORMER, "decoder_hidden_size": 8}, {}, r"has shape \(.*\) where \(.*\) is expected"),
        (SEGFORMER, {"classes": SPEC.classes[:3]}, "is expected; correct its bands, classes"),
        (SEGFORMER, {"bands": SPEC.bands[:2]}, "is expected; correct its bands, classes"),
        ({**SEGFORMER, "hidden_sizes": "wide"}, {}, "does not take: .*hidden_sizes"),
        ({**SEGFORMER, "decoder_size": 8}, {}, "'decoder_size', which .* does not take"),
        ({**SEGFORMER, "hidden_act": "unknown"}, {}, "cannot be opened by transformers as .*unknown"),
        (SEGFORMER, {"architecture": "transformers.SegformrForSemanticSegmentation"}, "does not exist.*Segformer"),
        (
            SEGFORMER,
            {"architecture": "transformers.AutoModelForSemanticSegmentation"},
            "which its weights folder has to specify",
        ),
    ],
)
def test_a_file_that_the_entry_does_not_describe_is_refused(
    hyperparameters: dict[str, Any], changes: dict[str, Any], words: str, segformer: Path
) -> None:
    spec = specified("SegformerForSemanticSegmentation", weights=str(segformer / "model.safetensors"))
    with pytest.raises((ModelError, WeightsError), match=words) as caught:
        load_model(replace(spec, hyperparameters=tuple(sorted(hyperparameters.items())), **changes))
    assert "\n" not in str(caught.value)


def copy(segformer: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> ModelSpec:
    """A folder with other tensors."""
    state = load_file(segformer / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text((segformer / "config.json").read_text())
    return specified("SegformerForSemanticSegmentation", weights=str(folder))


def test_a_folder_that_lacks_a_tensor_is_refused_rather_than_filled_with_random_numbers(
    segformer: Path, tmp_path: Path
) -> None:
    spec = copy(segformer, tmp_path, lambda state: state.pop("decode_head.classifier.bias"))
    with pytest.raises(WeightsError, match=r"1 tensors missing.*classifier\.bias"):
        load_model(spec)


def test_a_folder_may_hold_tensors_that_older_versions_left_behind(segformer: Path, tmp_path: Path) -> None:
    spec = copy(segformer, tmp_path, lambda state: state.update(relative_position_index=torch.zeros(4)))
    pixels = draw()
    assert torch.equal(ask(spec, pixels), ask(replace(spec, weights=str(segformer)), pixels))


@pytest.mark.parametrize("damaged", ["model.safetensors", "config.json"])
def test_a_damaged_folder_is_refused(damaged: str, segformer: Path, tmp_path: Path) -> None:
    spec = copy(segformer, tmp_path, len)
    (tmp_path / damaged).write_bytes(b"{")
    with pytest.raises(WeightsError, match="cannot be opened by transformers"):
        load_model(spec)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_folder_of_pickles_is_refused_and_not_opened(segformer: Path, tmp_path: Path) -> None:
    spec, sprung = copy(segformer, tmp_path, len), tmp_path / "sprung"
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(sprung)))
    load_model(spec)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="save_pretrained, which writes safetensors"):
        load_model(spec)
    assert not sprung.exists()


def test_code_that_a_folder_brings_along_is_not_run(segformer: Path, tmp_path: Path) -> None:
    spec, sprung = copy(segformer, tmp_path, len), tmp_path / "sprung"
    (tmp_path / "own.py").write_text(f"open({str(sprung)!r}, 'w')\n")
    content = json.loads((segformer / "config.json").read_text())
    content["auto_map"] = {"AutoConfig": "own.Own", "AutoModelForSemanticSegmentation": "own.Own"}
    (tmp_path / "config.json").write_text(json.dumps(content))
    load_model(spec)
    (tmp_path / "config.json").write_text(json.dumps({**content, "model_type": "own"}))
    with pytest.raises(WeightsError):
        load_model(spec)
    assert not sprung.exists()


def test_opening_leaves_the_library_as_talkative_as_it_was(segformer: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logging: Any = library.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity_info()
    try:
        load_model(specified("SegformerForSemanticSegmentation", weights=str(segformer)))
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.INFO, True)
    finally:
        logging.set_verbosity(level)
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:
    """Each universal network, and the folder it was saved to."""
    made: dict[str, tuple[Any, Path]] = {}

    def get(architecture: str) -> tuple[Any, Path]:
        if architecture not in made:
            network = make(architecture, UNIVERSAL[architecture], spread=0.2)
            folder = save(network, tmp_path_factory.mktemp(architecture))
            made[architecture] = settle(network, torch.device("cpu")), folder  # the same bits need the same layout
        return made[architecture]

    return get


def is_eomt(architecture: str) -> bool:
    return architecture.startswith("Eomt")


def processor(architecture: str) -> Any:
    """The library's processor of a network's output."""
    if is_eomt(architecture):
        return library.EomtImageProcessor(size={"shortest_edge": 64, "longest_edge": 64})
    if architecture.startswith("Mask2Former"):
        return library.Mask2FormerImageProcessor()
    return library.MaskFormerImageProcessor()  # OneFormer's does the same, and needs a file from the hub to be made


def run(network: Any, pixels: torch.Tensor, folder: Path, task: str) -> Any:
    """The library's own output."""
    if not isinstance(network, library.OneFormerForUniversalSegmentation):
        more = []
    else:
        speaker = SimpleNamespace(tokenizer=library.CLIPTokenizer.from_pretrained(folder))
        told = library.OneFormerProcessor._preprocess_text(speaker, [f"the task is {task}"] * len(pixels), 77)
        more = [told]
    with torch.inference_mode():
        return network(pixels.to(memory_format=torch.channels_last), *more)


def pixels_for(architecture: str) -> torch.Tensor:
    return draw() if is_eomt(architecture) else draw(SIDE, SIDE)


@pytest.mark.parametrize("architecture", UNIVERSAL)
@pytest.mark.parametrize("activation", ["none", "softmax"])
def test_queries_give_the_labels_of_the_librarys_own_processor(
    architecture: str, activation: Any, saved: Callable[[str], tuple[Any, Path]]
) -> None:
    network, folder = saved(architecture)
    pixels = pixels_for(architecture)
    output = run(network, pixels, folder, "semantic")
    wanted = processor(architecture).post_process_semantic_segmentation(
        output, [tuple(pixels.shape[2:])] * 2, return_segmentation_scores=True
    )
    found = ask(specified(architecture, weights=str(folder), activation=activation), pixels)
    for probabilities, item in zip(found, wanted, strict=True):
        scores = item.segmentation_scores
        torch.testing.assert_close(probabilities, scores / scores.sum(0), atol=2e-5, rtol=0)
        assert torch.equal(probabilities.argmax(0), item.segmentation)
    torch.testing.assert_close(found.sum(1), torch.ones(2, *pixels.shape[2:]), atol=1e-5, rtol=0)


def paint(found: Detections, numbers: list[int], shape: tuple[int, ...]) -> torch.Tensor:
    """The numbers of objects in the order in which they cover each other; -1 = none."""
    painted = torch.full(shape, -1.0)
    for place, number in enumerate(numbers):
        painted[found.windows[number].slices()][torch.from_numpy(found.masks[number])] = place
    return painted


@pytest.mark.parametrize("architecture", UNIVERSAL)
def test_objects_are_those_of_the_librarys_own_processor(
    architecture: str, saved: Callable[[str], tuple[Any, Path]]
) -> None:
    network, folder = saved(architecture)
    pixels = pixels_for(architecture)
    size = tuple(pixels.shape[2:])
    judge: Any = processor(architecture) if is_eomt(architecture) else library.Mask2FormerImageProcessor()
    wanted = judge.post_process_instance_segmentation(
        run(network, pixels, folder, "instance"), threshold=0.5, target_sizes=[size] * 2
    )
    found = ask(specified(architecture, "instance", weights=str(folder), min_score=0.5), pixels)
    assert sum(map(len, found)) > 1
    for detections, item in zip(found, wanted, strict=True):
        segments = item["segments_info"]
        assert len(segments) == len(detections)
        order = [int(np.abs(detections.scores - segment["score"]).argmin()) for segment in segments]
        assert detections.classes[order].tolist() == [segment["label_id"] for segment in segments]
        assert detections.scores[order].tolist() == pytest.approx([segment["score"] for segment in segments], abs=1e-5)
        assert (paint(detections, order, size) == item["segmentation"]).float().mean() > 0.999


@pytest.mark.parametrize("architecture", UNIVERSAL)
def test_a_universal_network_from_one_file_is_that_of_its_folder(
    architecture: str, saved: Callable[[str], tuple[Any, Path]]
) -> None:
    _, folder = saved(architecture)
    spec = specified(architecture, weights=str(folder))
    wanted = ask(spec, draw())
    described = tuple(sorted(UNIVERSAL[architecture].items()))
    alone = replace(spec, weights=str(folder / "model.safetensors"), hyperparameters=described)
    assert torch.equal(ask(alone, draw()), wanted)
    assert torch.equal(
        ask(replace(spec, architecture="transformers.AutoModelForUniversalSegmentation"), draw()), wanted
    )


@pytest.mark.parametrize("architecture", [name for name in UNIVERSAL if not is_eomt(name)])
def test_tiles_of_any_multiple_of_32_px_are_taken(architecture: str, saved: Callable[[str], tuple[Any, Path]]) -> None:
    _, folder = saved(architecture)
    scores, things = ask(specified(architecture, "panoptic", weights=str(folder), activation="none"), draw(96, 160))
    assert scores.shape == (2, 2, 96, 160)
    assert len(things) == 2


@pytest.mark.parametrize("architecture", [name for name in UNIVERSAL if is_eomt(name)])
def test_eomt_refuses_tiles_of_another_size(architecture: str, saved: Callable[[str], tuple[Any, Path]]) -> None:
    _, folder = saved(architecture)
    with pytest.raises(ModelError, match="takes tiles of 64 x 64 px only, not of 64 x 96 px; set tile_size to 64"):
        ask(specified(architecture, weights=str(folder)), draw(64, 96))


def test_oneformer_is_told_its_task(saved: Callable[[str], tuple[Any, Path]], tmp_path: Path) -> None:
    network, folder = saved("OneFormerForUniversalSegmentation")
    spec = specified("OneFormerForUniversalSegmentation", "panoptic", weights=str(folder), activation="none")
    output = run(network, draw(), folder, "panoptic")
    scores = interpolate(
        torch.einsum(
            "nqc,nqyx->ncyx", output.class_queries_logits.softmax(-1)[..., :4], output.masks_queries_logits.sigmoid()
        ),
        size=(64, 64),
        mode="bilinear",
    )
    torch.testing.assert_close(ask(spec, draw())[0], (scores / scores.sum(1, keepdim=True))[:, :2], atol=2e-5, rtol=0)
    other = run(network, draw(), folder, "semantic")
    assert not torch.allclose(output.masks_queries_logits, other.masks_queries_logits, atol=1e-3)
    network.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"lacks the tokenizer .*; put tokenizer.json, or vocab.json and merges.txt"):
        load_model(replace(spec, weights=str(tmp_path)))


def test_oneformer_that_was_saved_while_it_trained_answers_as_one_that_does_not(
    saved: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    network, folder = saved("OneFormerForUniversalSegmentation")
    settings = {**UNIVERSAL["OneFormerForUniversalSegmentation"], "is_training": True, "dropout": 0.5}
    trained = make("OneFormerForUniversalSegmentation", settings)
    trained.load_state_dict(network.state_dict(), strict=False)
    spec = specified("OneFormerForUniversalSegmentation", weights=str(folder))
    assert torch.equal(ask(spec.with_weights(save(trained, tmp_path)), draw()), ask(spec, draw()))


class Answers(torch.nn.Module):
    """Stands for a network of the library with answers that a person can check.

    Parameters
    ----------
    chances
        Shape (query, class + 1).
    masks
        Bool, shape (query, 128, 128).
    """

    def __init__(self, kind: str, chances: list[list[float]], masks: torch.Tensor) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type=kind)
        small = interpolate(masks[None] * 18.0 - 9.0, scale_factor=0.25, mode="area")
        self.output = SimpleNamespace(class_queries_logits=torch.tensor([chances]).log(), masks_queries_logits=small)

    def forward(self, _pixels: torch.Tensor) -> Any:
        return self.output


CHANCES = [[0.9, 0.02, 0.03, 0.02, 0.03], [0.02, 0.02, 0.9, 0.03, 0.03], [0.02, 0.02, 0.03, 0.9, 0.03]]
MASKS = torch.zeros(3, 128, 128, dtype=torch.bool)
MASKS[1, 65:97, 9:61] = True
MASKS[2, 71:125, 69:121] = True
MASKS[0] = ~MASKS[1:].any(0)
"""Stuff around two things, whose edges do not lie on those of the small masks."""


@pytest.mark.parametrize("kind", ["MaskFormer", "Mask2Former"])
def test_things_and_stuff_are_those_of_the_librarys_panoptic_processor(kind: str) -> None:
    network = Answers(kind.lower(), CHANCES, MASKS)
    wanted = getattr(library, f"{kind}ImageProcessor")().post_process_panoptic_segmentation(
        network.output, label_ids_to_fuse={0, 1}, target_sizes=[(128, 128)]
    )[0]
    spec = specified(f"{kind}ForUniversalSegmentation", "panoptic", activation="none")
    scores, (things,) = Queries(network, spec)(torch.zeros(1, 3, 128, 128))
    assert [segment["label_id"] for segment in wanted["segments_info"]] == [0, 2, 3]
    assert things.classes.tolist() == [2, 3]
    regions = [(wanted["segmentation"] == segment["id"]).numpy() for segment in wanted["segments_info"]]
    for number, region in enumerate(regions[1:]):
        mask = (paint(things, [number], (128, 128)) == 0).numpy()
        assert (mask & region).sum() / (mask | region).sum() > 0.9
    assert things.scores.tolist() == pytest.approx([0.9, 0.9], abs=0.05)
    assert (scores[0].argmax(0).numpy() == 0)[regions[0]].all()


@pytest.mark.parametrize("kind", ["MaskFormer", "Mask2Former"])
def test_masks_and_scores_are_near_those_of_the_librarys_processor_at_other_sizes(kind: str) -> None:
    network = Answers(kind.lower(), CHANCES, MASKS)
    wanted = getattr(library, f"{kind}ImageProcessor")().post_process_instance_segmentation(
        network.output, target_sizes=[(128, 128)], return_binary_maps=True
    )[0]
    (found,) = Queries(network, specified(f"{kind}X", "instance"))(torch.zeros(1, 3, 128, 128))
    assert sorted(found.classes) == sorted(segment["label_id"] for segment in wanted["segments_info"]) == [0, 2, 3]
    for segment, region in zip(wanted["segments_info"], wanted["segmentation"].bool().numpy(), strict=True):
        number = found.classes.tolist().index(segment["label_id"])
        mask = (paint(found, [number], (128, 128)) == 0).numpy()
        assert (mask & region).sum() / (mask | region).sum() > 0.9
        assert found.scores[number] == pytest.approx(segment["score"], abs=0.03)


def test_queries_without_an_object_are_left_out_whatever_the_smallest_score() -> None:
    chances = [[0.3, 0.1, 0.1, 0.1, 0.4], [0.4, 0.1, 0.1, 0.1, 0.3], [0.1, 0.1, 0.4, 0.1, 0.3]]
    network = Answers("mask2former", chances, MASKS * torch.tensor([1, 1, 0])[:, None, None])
    (found,) = Queries(network, specified("X", "instance", min_score=0.0))(torch.zeros(1, 3, 128, 128))
    assert found.classes.tolist() == [0]
    assert found.boxes.tolist() == [[9, 65, 61, 97]]
    assert found.scores[0] == pytest.approx(0.4, abs=0.02)


def test_queries_that_are_no_numbers_are_handed_on_to_be_noticed() -> None:
    network = Answers("mask2former", [[np.nan] * 5, *CHANCES[1:]], MASKS)
    (found,) = Queries(network, specified("X", "instance"))(torch.zeros(1, 3, 128, 128))
    assert np.isnan(found.scores).sum() == 1


@pytest.mark.parametrize("kind", ["maskformer", "mask2former"])
def test_pixels_that_no_query_speaks_of_have_finite_scores(kind: str) -> None:
    network = Answers(kind, CHANCES, MASKS)
    network.output.masks_queries_logits = torch.full((1, 3, 32, 32), -1e4)
    for activation in ("none", "softmax"):
        spec = specified("X", activation=activation)
        scores = Queries(network, spec)(torch.zeros(1, 3, 128, 128))
        shares = scores.softmax(1) if activation == "softmax" else scores
        torch.testing.assert_close(shares, torch.full((1, 4, 128, 128), 0.25))


def test_many_queries_are_summed_as_few_are() -> None:
    generator = torch.Generator().manual_seed(1)
    network = Answers("mask2former", CHANCES, MASKS)
    classes, masks = (torch.randn(shape, generator=generator) for shape in ((1, 37, 5), (1, 37, 8, 8)))
    network.output = SimpleNamespace(class_queries_logits=classes, masks_queries_logits=masks)
    shapes = interpolate(masks, size=(32, 32), mode="bilinear").sigmoid()
    sums = (classes.softmax(-1)[0, :, :4, None, None] * shapes[0, :, None]).sum(0)
    found = Queries(network, specified("X", activation="none"))(torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(found[0], sums / sums.sum(0))


def test_prompts_and_independent_classes_are_refused(saved: Callable[[str], tuple[Any, Path]]) -> None:
    _, folder = saved("Mask2FormerForUniversalSegmentation")
    spec = specified("Mask2FormerForUniversalSegmentation", "instance", weights=str(folder))
    pixels, mask = draw().numpy(), np.ones((2, 64, 64), bool)
    asked = [Prompts((Prompt(1, box=(0, 0, 9, 9)),))] * 2
    with pytest.raises(ModelError, match="takes no prompts"):
        load_model(spec).predict(pixels, mask, asked)
    classes = tuple(replace(item, value=item.value + 1) for item in spec.classes)
    with pytest.raises(ModelError, match="activation 'sigmoid'"):
        load_model(replace(spec, task="semantic-segmentation", activation="sigmoid", classes=classes))
