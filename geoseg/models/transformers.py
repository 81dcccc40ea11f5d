"""Adapter for the semantic models of transformers: ``"transformers.SegformerForSemanticSegmentation"`` and its kin.

It opens what the library's ``save_pretrained`` wrote, here or on the hub, or builds a network from hyperparameters and
reads one file; code that a folder brings along is never run. The library's other adapters open their networks here too
(`open_pretrained`); what those predict is theirs to know.

SegFormer comes in six sizes (Xie et al. 2021, arXiv:2105.15203, table 6), named by the hyperparameter ``variant``:

======= ================ ================== ===================
variant ``depths``       ``hidden_sizes``   decoder_hidden_size
======= ================ ================== ===================
``b0``  2, 2, 2, 2       32, 64, 160, 256   256
``b1``  2, 2, 2, 2       64, 128, 320, 512  256
``b2``  3, 4, 6, 3       64, 128, 320, 512  768
``b3``  3, 4, 18, 3      64, 128, 320, 512  768
``b4``  3, 8, 27, 3      64, 128, 320, 512  768
``b5``  3, 6, 40, 3      64, 128, 320, 512  768
======= ================ ================== ===================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

from geoseg.errors import ModelError, WeightsError, nearest
from geoseg.models import fitting
from geoseg.models.pretrained import LOCAL, load_network, opening
from geoseg.models.running import Network, settle
from geoseg.models.spec import ModelSpec
from geoseg.models.state_dicts import read_state
from geoseg.models.weights import is_folder, resolve_folder, resolve_weights

ANY = ""
"""The type of a network that its folder tells."""

ARCHITECTURES: dict[str, str] = {
    **{name: kind for kind, name in MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES.items()},
    "AutoModelForSemanticSegmentation": ANY,
}
"""What may be opened, by the name after ``transformers.``, and the type that the library's configurations give it."""

VARIANTS: dict[str, dict[str, Any]] = {
    "b0": {"depths": (2, 2, 2, 2), "hidden_sizes": (32, 64, 160, 256), "decoder_hidden_size": 256},
    "b1": {"depths": (2, 2, 2, 2), "hidden_sizes": (64, 128, 320, 512), "decoder_hidden_size": 256},
    "b2": {"depths": (3, 4, 6, 3), "hidden_sizes": (64, 128, 320, 512), "decoder_hidden_size": 768},
    "b3": {"depths": (3, 4, 18, 3), "hidden_sizes": (64, 128, 320, 512), "decoder_hidden_size": 768},
    "b4": {"depths": (3, 8, 27, 3), "hidden_sizes": (64, 128, 320, 512), "decoder_hidden_size": 768},
    "b5": {"depths": (3, 6, 40, 3), "hidden_sizes": (64, 128, 320, 512), "decoder_hidden_size": 768},
}
"""Hyperparameters of SegFormer's sizes."""

BACKBONE = ("out_indices", "out_features")
"""Arguments that every configuration of a backbone takes without naming them."""

PREFIXES = ("hidden_", "depth", "decoder_", "encoder_", "backbone_")
"""How hyperparameters begin that can only be meant for a configuration."""


class Scorer(nn.Module):
    """A semantic network of the library whose scores have the size of its input.

    Parameters
    ----------
    network : torch.nn.Module
        Its output has ``logits``, float (n, class, y, x), of any size.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Score scaled pixels, float32 (n, band, y, x); scores are float32 (n, class, y, x)."""
        return resample(self.network(pixel_values=pixels).logits.float(), pixels.shape[-2:])


def resample(maps: torch.Tensor, size: torch.Size | tuple[int, int]) -> torch.Tensor:
    """Resample maps (n, any, y, x) to a size (y, x) bilinearly, as the library does after its networks."""
    return nn.functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Open the network of a spec and put it on its device.

    Raises
    ------
    ModelError
        When the network cannot be built.
    WeightsError
        When the weights are missing, out of reach, damaged, unsafe, or do not fit the spec.
    """
    return settle(Scorer(open_pretrained(spec, ARCHITECTURES)), device)


def open_pretrained(spec: ModelSpec, known: Mapping[str, str]) -> Any:
    """Open a network of the library with its weights, from a folder, the hub, or one file.

    Parameters
    ----------
    spec : ModelSpec
        Its classes and bands must be as many as the weights have.
    known : mapping of str to str
        As `ARCHITECTURES`.

    Returns
    -------
    transformers.PreTrainedModel
        On the CPU, float32.

    Raises
    ------
    ModelError, WeightsError
        As `open_network`.
    """
    kind = fitting.find_architecture(spec, known)
    if is_folder(spec):
        return _open_folder(resolve_folder(spec), spec, known)
    if kind == ANY:
        raise ModelError(
            f"model '{spec.name}' has the architecture '{spec.architecture}', which its weights folder has to specify; "
            "give a folder as save_pretrained writes it with --weights FOLDER, or name the class, such as "
            f"transformers.{next(iter(known))}."
        )
    return _open_file(resolve_weights(spec), spec)


def _open_file(path: Path, spec: ModelSpec) -> Any:
    """Build the network that the hyperparameters describe, and let the library put a file's tensors into it."""
    architecture = getattr(transformers, spec.architecture.partition(".")[2])
    configuration = _resting(_configure(_expanded(spec), architecture.config_class))
    state = read_state(path)
    options = {"config": configuration, "state_dict": state, "refuse_unknown": True}
    return load_network(architecture, path, _called(spec), None, **options)


def _expanded(spec: ModelSpec) -> ModelSpec:
    """The same spec with the hyperparameters of its variant spelt out; those that it names itself win."""
    said = dict(spec.hyperparameters)
    variant = said.pop("variant", None)
    if variant is None or not spec.architecture.endswith(".SegformerForSemanticSegmentation"):
        return spec
    if variant not in VARIANTS:
        raise ModelError(
            f"model '{spec.name}' has the variant '{variant}', which SegFormer does not have; "
            f"{nearest(str(variant), list(VARIANTS))}."
        )
    return replace(spec, hyperparameters=tuple(sorted((VARIANTS[variant] | said).items())))


def _listed(value: Any) -> Any:
    """The same value with lists for tuples: the library is strict about them, and a spec can only hold tuples."""
    if isinstance(value, Mapping):
        return {name: _listed(item) for name, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _configure(spec: ModelSpec, configuration: Any) -> Any:
    """Make the library's configuration of a spec."""
    fitting.check_hyperparameters(spec, configuration, PREFIXES)
    said = _listed(dict(spec.hyperparameters))
    decided: dict[str, Any] = {"num_channels": len(spec.bands)}
    if "backbone_config" in said:
        decided = {"backbone_config": {**said["backbone_config"], **decided}}
    levels = {name: said[name] for name in BACKBONE if name in said}
    listed = replace(spec, hyperparameters=tuple(said.items()))
    try:
        return fitting.build(listed, configuration, num_labels=spec.score_count, **decided, **levels)
    except StrictDataclassError as error:
        raise ModelError(
            f"model '{spec.name}' has hyperparameters that {spec.architecture} does not take: "
            f"{' '.join(str(error).split())}; correct mlm:hyperparameters in its entry."
        ) from error


def _resting(configuration: Any) -> Any:
    """The configuration of a network that does not train; OneFormer's says so, whatever `eval` says."""
    if hasattr(configuration, "is_training"):
        configuration.is_training = False
    return configuration


def _open_folder(folder: Path, spec: ModelSpec, known: Mapping[str, str]) -> Any:
    """Let the library open what it saved, unless that is something else than the spec says."""
    with opening(folder, _called(spec)):
        configuration = transformers.AutoConfig.from_pretrained(folder, **LOCAL)
    architecture = getattr(transformers, _named(configuration, folder, spec, known))
    _check(configuration, folder, spec)
    options = {"config": _resting(configuration), "local_files_only": True, "use_safetensors": True}
    return load_network(architecture, folder, _called(spec), folder, **options)


def _called(spec: ModelSpec) -> str:
    return f"{spec.architecture} of model '{spec.name}'"


def _named(configuration: Any, folder: Path, spec: ModelSpec, known: Mapping[str, str]) -> str:
    """The class that opens a folder: the spec's, or the one that the folder tells."""
    name = spec.architecture.partition(".")[2]
    names = [item for item, kind in known.items() if kind == configuration.model_type]
    if not names or (known[name] != ANY and name not in names):
        remedy = f"set mlm:architecture to transformers.{names[0]}" if names else "give another with --weights FOLDER"
        raise WeightsError(
            f"weights folder '{folder}' holds a network of the type '{configuration.model_type}', which "
            f"{spec.architecture} of model '{spec.name}' cannot open; {remedy}."
        )
    return names[0]


def _check(configuration: Any, folder: Path, spec: ModelSpec) -> None:
    """Refuse a folder of other numbers of classes or bands."""
    backbone = getattr(configuration, "backbone_config", None) or configuration
    found = {"classes": configuration.num_labels, "bands": getattr(backbone, "num_channels", None)}
    for what, wanted in (("classes", spec.score_count), ("bands", len(spec.bands))):
        if found[what] not in (None, wanted):
            raise WeightsError(
                f"weights folder '{folder}' has {found[what]} {what} where the entry of model '{spec.name}' describes "
                f"{wanted}; correct its {what}, or give other weights with --weights FOLDER."
            )
