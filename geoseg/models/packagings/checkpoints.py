"""Weights files of segmentation-models-pytorch and torchvision: safetensors, torch.save, and Lightning's checkpoints.

Their tensors tell the network (`smp_networks`, `torchvision_networks`), and what a trainer wrote beside them helps
(`trainers`). A trainer scales pixels before its network gets them, so that only geoai tells how.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.errors import CatalogError
from geoseg.models.packagings.contents import BYTES, Contents, numbered_classes, scaled
from geoseg.models.packagings.folders import read_config
from geoseg.models.packagings.trainers import Hints, read_hints
from geoseg.models.state_dicts import PICKLES, STATISTICS, Checkpoint, read_checkpoint

if TYPE_CHECKING:
    from geoseg.models.smp_networks import LibraryNetwork

GEOAI = "timm_segmentation"
"""``model_type`` of a config.json that geoai writes."""

GEOAI_WEIGHTS = "model.pth"
"""The weights beside it."""


def read_weights(path: Path) -> Contents:
    """What a weights file tells of its model.

    Raises
    ------
    CatalogError
        It is not there, or its tensors are those of no network, or of several.
    WeightsError
        It is damaged, or could run code when opened.
    """
    if not path.is_file():
        raise CatalogError(f"model '{path}' does not exist; give the path of a weights file, or a name of the catalog.")
    status = path.stat()
    return _read_weights(path, (status.st_mtime_ns, status.st_size))


def read_geoai(path: Path) -> Contents:
    """What a folder of geoai tells: ``model.pth`` and its config.json.

    Raises
    ------
    CatalogError
        As `read_weights`.
    WeightsError
        As `read_weights`.
    """
    return replace(read_weights(path / GEOAI_WEIGHTS), weights=GEOAI_WEIGHTS)


@lru_cache(maxsize=4)
def _read_weights(path: Path, _version: tuple[int, int]) -> Contents:
    checkpoint, config = read_checkpoint(path), read_config(path.parent)
    is_geoai = config.get("model_type") == GEOAI and path.name == GEOAI_WEIGHTS
    hints = read_hints(config if is_geoai else checkpoint.metadata)
    network = _find_network(path, checkpoint, hints)
    activation = hints.activation or ("sigmoid" if network.scores == 1 else "softmax")
    has_names = len(hints.class_names) == network.scores
    return Contents(
        architecture=f"{network.library}.{network.architecture}",
        framework="PyTorch",
        artifact="torch.save" if path.suffix.lower() in PICKLES else "safetensors.torch.save_file",
        bands=network.bands,
        named_bands=hints.bands if len(hints.bands) == network.bands else (),
        classes=_classes(hints if has_names else Hints(), network.scores, activation),
        scores=network.scores,
        scaling=scaled(1 / BYTES) if hints.is_of_geoai else None,
        properties={
            "geoseg:activation": activation,
            "mlm:hyperparameters": network.hyperparameters,
            **({"geoseg:value_range": [0, BYTES]} if hints.is_of_geoai else {}),
        },
        unsaid=(
            *(() if has_names else ("classes",)),
            "resolution",
            *(() if hints.activation or network.scores == 1 else ("geoseg:activation",)),
            *(() if hints.is_complete else network.unsaid),
        ),
        notes=_notes(checkpoint),
    )


def _classes(hints: Hints, scores: int, activation: str) -> list[tuple[int, str]]:
    """Values and names; where scores do not exclude each other, 0 is left to background."""
    names = hints.class_names or [name for _, name in numbered_classes(scores)]
    first = 1 if activation == "sigmoid" else 0
    if hints.class_names or not first:
        return list(enumerate(names, first))
    return [(value, f"class {value}") for value in range(1, scores + 1)]


def _notes(checkpoint: Checkpoint) -> list[str]:
    """What a person should know of tensors beside the network."""
    found = [name for name in checkpoint.shapes if STATISTICS.fullmatch(name)]
    if not found:
        return []
    return [f"holds {' and '.join(found)}, by which its trainer may have standardized pixels: value_scaling says it"]


def _find_network(path: Path, checkpoint: Checkpoint, hints: Hints) -> LibraryNetwork:
    """The only network that has the tensors of a file."""
    from geoseg.models.smp_networks import find_heads, find_networks, is_of_timm
    from geoseg.models.torchgeo import find_fcn
    from geoseg.models.torchvision_networks import find_torchvision

    heads = find_heads(checkpoint.shapes)
    if len(heads) > 1:
        raise CatalogError(
            f"'{path}' holds {len(heads)} networks, under {', '.join(map(repr, heads))}; save the tensors of one of "
            "them as .safetensors (safetensors.torch.save_file)."
        )
    found = find_networks(checkpoint.shapes, hints.architecture, hints.encoder, hints.hyperparameters) if heads else []
    if heads and not found:  # words of another library
        found = find_networks(checkpoint.shapes, told=hints.hyperparameters)
    found = found or find_torchvision(checkpoint.shapes) or find_fcn(checkpoint.shapes)
    if len(found) == 1:
        return found[0]
    if found:
        raise CatalogError(f"'{path}' has tensors that fit {_told_apart(found)}; {_metadata('encoder_depth', '5')}.")
    if heads and is_of_timm(checkpoint.shapes):
        raise CatalogError(
            f"'{path}' has an encoder of timm, and its tensors do not tell which of a thousand; "
            f"{_metadata('encoder_name', 'tu-resnet50')}."
        )
    raise _unknown(path, checkpoint)


def _told_apart(found: list[LibraryNetwork]) -> str:
    """Several networks in words, by the arguments in which they differ."""
    arguments = [{"": network.architecture, **network.hyperparameters} for network in found]
    differing = [key for key in arguments[0] if len({str(item.get(key)) for item in arguments}) > 1]
    shown = (", ".join(f"{key} {item.get(key)}".strip() for key in differing) for item in arguments)
    return f"smp.{found[0].architecture} with {' and with '.join(shown)}"


def _metadata(key: str, value: str) -> str:
    """How a person says what tensors do not."""
    return f'save them with safetensors.torch.save_file(state_dict, FILE, {{"{key}": "{value}"}}), which says it'


def _unknown(path: Path, checkpoint: Checkpoint) -> CatalogError:
    """What to raise of tensors of no known network."""
    if "architectures" in read_config(path.parent):
        return CatalogError(f"'{path}' is a part of the folder '{path.parent}', which tells its network; give that.")
    factory: Any = checkpoint.metadata.get("model_factory")
    first = next(iter(checkpoint.shapes), "none")
    return CatalogError(
        f"'{path}' holds {len(checkpoint.shapes)} tensors (the first is {first}) of no network of "
        f"segmentation-models-pytorch or torchvision{f', but of the {factory} of terratorch' if factory else ''}; "
        "write a STAC MLM item with its mlm:architecture, or export the network as ONNX or torch.export."
    )
