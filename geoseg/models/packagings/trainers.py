"""What trainers write beside tensors: torchgeo, terratorch, geoai, and modules that name their arguments as smp does.

It knows their words, nothing of files and tensors. A trainer's task and the names of its arguments are its mark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from geoseg.models.architectures import read_architecture

ARCHITECTURE_KEYS = ("architecture", "arch", "model", "segmentation_model", "model_name")
ENCODER_KEYS = ("encoder_name", "backbone", "encoder")
"""What trainers call class and encoder."""

ENCODER = re.compile(r"[\w.-]+")

TORCHGEO = ({"model", "backbone", "in_channels", "num_filters"}, {"segmentation_model", "encoder_name", "ignore_index"})
"""Arguments of torchgeo's SemanticSegmentationTask, and of that before version 0.4."""

GEOAI = ({"architecture", "encoder_name", "use_timm_model"}, {"architecture", "encoder_name", "val_ious"})
"""Arguments of geoai's module and entries of its config.json, and of what its training loop saves."""

TERRATORCH = "SMPModelFactory"
"""The factory of terratorch whose networks are smp's."""

SEGFORMER = "Segformer"

INDEPENDENT = ("binary", "multilabel")
"""Tasks of torchgeo whose scores do not exclude each other."""


@dataclass(frozen=True)
class Hints:
    """What a trainer tells of its network.

    Attributes
    ----------
    architecture, encoder : str
        As segmentation-models-pytorch names them; empty where nothing is said.
    hyperparameters : mapping
        All that stands beside the tensors, further arguments of the class among it.
    is_complete : bool
        Whether all other arguments are known to be the library's defaults.
    class_names, bands : tuple of str
        In the network's order; empty where nothing is said.
    activation : str
        ``"softmax"`` or ``"sigmoid"``; empty where nothing is said.
    is_of_geoai : bool
        Whether geoai trained it, whose own inference divides pixels by 255 whatever they are.
    """

    architecture: str = ""
    encoder: str = ""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    is_complete: bool = False
    class_names: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    activation: str = ""
    is_of_geoai: bool = False


def read_hints(metadata: Mapping[str, Any]) -> Hints:
    """Read what stands beside tensors: hyperparameters of a module, or entries of a training loop."""
    arguments = metadata.get("model_args")
    is_of_terratorch = metadata.get("model_factory") == TERRATORCH and isinstance(arguments, Mapping)
    given = _without_smp(arguments) if is_of_terratorch and isinstance(arguments, Mapping) else metadata
    is_of_torchgeo = any(keys <= metadata.keys() for keys in TORCHGEO)
    is_of_geoai = any(keys <= metadata.keys() for keys in GEOAI)
    task = metadata.get("task")
    known = "sigmoid" if task in INDEPENDENT else "softmax"
    return Hints(
        architecture=next(filter(None, (_architecture(given.get(key)) for key in ARCHITECTURE_KEYS)), ""),
        encoder=next(filter(None, (_encoder(given.get(key)) for key in ENCODER_KEYS)), ""),
        hyperparameters=given,
        is_complete=is_of_terratorch or is_of_torchgeo or is_of_geoai,
        class_names=_words(metadata.get("class_names")),
        bands=_words(given.get("bands")) if is_of_terratorch else (),
        activation=known if is_of_terratorch or is_of_torchgeo or is_of_geoai else "",
        is_of_geoai=is_of_geoai,
    )


def _without_smp(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a factory of terratorch, those for smp's class without their prefix."""
    return {str(key).removeprefix("smp_"): value for key, value in arguments.items()}


def _architecture(word: Any) -> str:
    """The class of segmentation-models-pytorch that a word means, which of SegFormer is transformers' elsewhere."""
    library, _, kind = read_architecture(word).partition(".") if isinstance(word, str) else ("", "", "")
    return kind if library == "smp" else SEGFORMER if kind.startswith(SEGFORMER) else ""


def _encoder(word: Any) -> str:
    """A name of an encoder; ``hf-hub:...`` and ``local-dir:...`` would let timm read what lies elsewhere."""
    return word if isinstance(word, str) and ENCODER.fullmatch(word) else ""


def _words(names: Any) -> tuple[str, ...]:
    """Names, where a value is a list of nothing else."""
    is_list = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_list else ()
