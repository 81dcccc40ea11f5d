"""Folders that a library's ``save_pretrained`` wrote: segmentation-models-pytorch's and transformers'.

Their config.json tells the network, and what lies beside it how pixels are scaled: transformers' processor, or the
transform of albumentations that smp's own models are published with. Of tensors only safetensors are ever opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geoseg.errors import CatalogError
from geoseg.models.packagings.contents import BYTES, Contents, numbered_classes, object_tiles, scaled, tiles
from geoseg.models.stac import Json, read_json

CONFIG, PREPROCESSOR, TRANSFORM = "config.json", "preprocessor_config.json", "albumentations_config_eval.json"

SHAPING = ("Resize", "LongestMaxSize", "SmallestMaxSize", "PadIfNeeded", "CenterCrop", "ToTensorV2", "NoOp")
"""Transforms of albumentations that change no pixel's number; tiles need none of them."""

ACTIVATIONS = {None: None, "identity": None, "sigmoid": "sigmoid", "softmax": "softmax", "softmax2d": "softmax"}
"""What segmentation-models-pytorch lets follow a network, and our word; None leaves it to the number of scores."""

SEMANTIC = "ForSemanticSegmentation"
"""How the names of transformers' classes end that give a map of classes."""

SMALLEST_TILE = 32
"""Px below which a size is none of tiles."""

OBJECTS = ("RfDetrForInstanceSegmentation",)
"""transformers' classes that find objects."""

OBJECT_TILE = 512
"""Px of the tiles of such a network where nothing beside it tells them."""

ONE_SIZE = ("beit", "data2vec-vision", "dpt")
"""Types of transformers' networks that take tiles of one size."""


def read_config(path: Path) -> dict[str, Any]:
    """The config.json of a folder; empty where there is none.

    Raises
    ------
    CatalogError
        It is not JSON.
    """
    return read_json(path / CONFIG) if (path / CONFIG).is_file() else {}


def read_smp(path: Path) -> Contents:
    """What a folder of segmentation-models-pytorch tells; scaling only where a transform lies beside it.

    Raises
    ------
    CatalogError
        A field is missing or of the wrong type.
    """
    config = read_config(path)
    activation, scores = config.get("activation"), _count(path, config, "classes")
    if activation not in ACTIVATIONS:
        raise CatalogError(
            f"'{path / CONFIG}' has the activation {activation!r}, which cannot be used; save the network with one of "
            f"{', '.join(str(item) for item in ACTIVATIONS)}."
        )
    ours = ("in_channels", "classes", "activation", "aux_params", "encoder_weights")
    word = ACTIVATIONS[activation] or ("sigmoid" if scores == 1 else "softmax")
    names, transform = numbered_classes(scores), _normalization(path)
    return Contents(
        architecture=f"smp.{config['_model_class']}",
        framework="PyTorch",
        bands=_count(path, config, "in_channels"),
        classes=[(value + 1, f"class {value + 1}") for value in range(scores)] if word == "sigmoid" else names,
        scores=scores,
        scaling=None if transform is None else scaled(*transform),
        properties={
            "geoseg:activation": word,
            **({"geoseg:value_range": [0, BYTES]} if transform is not None and transform[0] == 1 / BYTES else {}),
            "mlm:hyperparameters": {
                key: value for key, value in config.items() if key not in ours and not key.startswith("_")
            },
        },
        unsaid=("classes", "resolution"),
    )


def _normalization(path: Path) -> tuple[float, list[float], list[float]] | None:
    """Factor, mean and deviation of a saved transform; None where it does anything else, or there is none."""
    if not (path / TRANSFORM).is_file():
        return None
    steps = (read_json(path / TRANSFORM).get("transform") or {}).get("transforms") or []
    kinds = [str(step.get("__class_fullname__")).rpartition(".")[2] for step in steps]
    changing = [(kind, step) for kind, step in zip(kinds, steps, strict=True) if kind not in SHAPING]
    if [kind for kind, _ in changing] != ["Normalize"] or changing[0][1].get("normalization", "standard") != "standard":
        return None
    (_, step) = changing[0]
    mean, deviation, highest = step.get("mean"), step.get("std"), step.get("max_pixel_value")
    if not isinstance(mean, list) or not isinstance(deviation, list) or len(mean) != len(deviation) or not mean:
        return None
    return (1 / highest, mean, deviation) if isinstance(highest, int | float) and highest > 0 else None


def read_transformers(path: Path) -> Contents:
    """What a folder of transformers tells.

    Raises
    ------
    CatalogError
        It maps no classes, or a field is missing or of the wrong type.
    """
    config = read_config(path)
    architecture = str((config.get("architectures") or [""])[0])
    finds_objects = architecture in OBJECTS
    if not architecture.endswith(SEMANTIC) and not finds_objects:
        raise CatalogError(
            f"'{path}' holds a network of the class '{architecture}', which does not tell that it maps classes; give a "
            f"folder of one whose name ends with {SEMANTIC}, of {', '.join(OBJECTS)}, or a STAC MLM item."
        )
    names = _labels(path, config)
    backbone = config.get("backbone_config") or config
    processor = read_json(path / PREPROCESSOR) if (path / PREPROCESSOR).is_file() else None
    one_size = config.get("model_type") in ONE_SIZE
    size = _side(config.get("image_size")) if one_size else _side((processor or {}).get("size"))
    return Contents(
        architecture=f"transformers.{architecture}",
        framework="Hugging Face",
        bands=_count(path, {"num_channels": 3} | backbone, "num_channels"),
        task="instance-segmentation" if finds_objects else "semantic-segmentation",
        classes=list(enumerate(names, 1 if finds_objects or len(names) == 1 else 0)),
        scores=-1 if finds_objects else len(names),
        scaling=None if processor is None else _scaling(processor),
        sides=(size, size) if size else (-1, -1),
        blue_first=processor is not None and _is_blue_first(processor),
        properties={
            "geoseg:activation": "none" if finds_objects else "sigmoid" if len(names) == 1 else "softmax",
            **(_windows(backbone, size) if finds_objects else tiles(size) if size else {}),
            **({"geoseg:fixed_size": True} if size and one_size else {}),
            **({"geoseg:value_range": [0, BYTES]} if _takes_bytes(processor or {}) else {}),
        },
        unsaid=("resolution",) if "id2label" in config else ("classes", "resolution"),
    )


def _windows(backbone: Json, size: int) -> Json:
    """Tiles of whole windows of whole patches; RF-DETR's backbone has both."""
    side = size or _side(backbone.get("image_size")) or OBJECT_TILE
    return object_tiles(side, int(backbone["patch_size"]) * int(backbone["num_windows"]))


def _labels(path: Path, config: Json) -> list[str]:
    """Names of the classes, in the network's order; two unless the configuration says more."""
    labels = config.get("id2label") or {str(value): f"class {value}" for value in range(config.get("num_labels") or 2)}
    if not isinstance(labels, dict) or {*labels} != {str(value) for value in range(len(labels))}:
        raise CatalogError(f"'{path / CONFIG}' has the id2label {labels}; number its classes from 0 on.")
    return [str(labels[str(value)]) for value in range(len(labels))]


def _scaling(processor: Json) -> list[Json] | None:
    """How a processor of images scales them; None where it does not say it, or does what a scaling cannot."""
    normalises = processor.get("do_normalize", False if _is_of_mobilevit(processor) else None)
    factor = processor.get("rescale_factor", 1 / BYTES) if processor.get("do_rescale", True) else 1
    mean, deviation = processor.get("image_mean"), processor.get("image_std")
    if normalises is None or processor.get("rescale_offset") or not isinstance(factor, int | float) or not factor:
        return None
    if not normalises:
        return scaled(factor)
    if isinstance(mean, list) and isinstance(deviation, list) and len(mean) == len(deviation) > 0:
        return scaled(factor, mean, deviation)
    return None


def _takes_bytes(processor: Json) -> bool:
    """Whether pixels are divided by 255, as bytes are."""
    factor = processor.get("rescale_factor", 1 / BYTES)
    return bool(processor.get("do_rescale", True)) and isinstance(factor, int | float) and round(factor * BYTES, 3) == 1


def _is_blue_first(processor: Json) -> bool:
    """Whether the bands are reversed, as MobileViT's are unless its processor says otherwise."""
    return bool(processor.get("do_flip_channel_order", _is_of_mobilevit(processor)))


def _is_of_mobilevit(processor: Json) -> bool:
    kind = processor.get("image_processor_type") or processor.get("feature_extractor_type")
    return str(kind).startswith("MobileViT")


def _side(size: Any) -> int:
    """The side of a square that a configuration gives, px; 0 where it gives none that tiles can have."""
    sides = {size.get("height"), size.get("width")} if isinstance(size, dict) else {size}
    side = sides.pop() if len(sides) == 1 else None
    return side if isinstance(side, int) and side >= SMALLEST_TILE else 0


def _count(path: Path, config: Json, key: str) -> int:
    """A number of bands or classes."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 255:
        raise CatalogError(f"'{path / CONFIG}' has the {key} {value!r}; give a whole number from 1 to 254.")
    return value
