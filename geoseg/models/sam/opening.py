"""Networks and tokenizers of transformers, from a folder that the library saved or from one file.

It knows how the library loads and what it says of weights that do not fit; nothing of what the networks do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from geoseg.errors import WeightsError
from geoseg.models import fitting
from geoseg.models.pretrained import LOCAL, load_network, opening
from geoseg.models.running import settle
from geoseg.models.spec import ModelSpec
from geoseg.models.state_dicts import read_state
from geoseg.models.weights import is_folder, resolve_folder, resolve_weights

WORDS = ("tokenizer.json", "vocab.json", "vocab.txt")
"""Files of which a tokenizer has at least one; without, the library makes one that knows no words."""


def open_weights(kind: Any, types: Sequence[str], spec: ModelSpec, device: torch.device) -> Any:
    """Open a network of a class of the library, on its device.

    Parameters
    ----------
    kind : type
        The class.
    types : sequence of str
        What folders that it can open say of themselves.
    spec : ModelSpec
        Its weights, and the hyperparameters of the library's configuration where these are one file.
    device : torch.device
        Where it runs.

    Raises
    ------
    ModelError
        Hyperparameters do not fit together.
    WeightsError
        The weights are missing, damaged, unsafe, or do not fit.
    """
    if is_folder(spec):
        folder = resolve_folder(spec)
        _check_type(read_configuration(folder).get("model_type"), types, spec)
        return open_folder(kind, folder, device)
    path = resolve_weights(spec)
    state, configuration = read_state(path), fitting.build(spec, kind.config_class)
    return _load(kind, path, device, None, config=configuration, state_dict=state)


def open_folder(kind: Any, folder: Path, device: torch.device) -> Any:
    """Open a network that the library saved.

    Raises
    ------
    WeightsError
        The folder is damaged, or holds another network.
    """
    return _load(kind, folder, device, folder, use_safetensors=True, **LOCAL)


def open_words(kind: Any, folder: Path) -> Any:
    """Open what the library saved beside a network for words: a tokenizer, or a processor that has one.

    Raises
    ------
    WeightsError
        It is not there, or damaged.
    """
    if not any((folder / name).is_file() for name in WORDS):
        raise WeightsError(
            f"weights folder '{folder}' has no tokenizer ({' or '.join(WORDS)}), so it understands no words; save the "
            "processor of the model beside it with save_pretrained."
        )
    with opening(folder, kind.__name__):
        return kind.from_pretrained(folder, **LOCAL)


def read_configuration(folder: Path) -> dict[str, Any]:
    """Read what a folder says of itself.

    Raises
    ------
    WeightsError
        The folder has no configuration.
    """
    try:
        content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"weights folder '{folder}' has no config.json that can be read; save the model again with save_pretrained."
        ) from error
    return content


def _load(kind: Any, path: Path, device: torch.device, *place: Any, **options: Any) -> Any:
    return settle(load_network(kind, path, kind.__name__, *place, **options), device)


def _check_type(found: Any, types: Sequence[str], spec: ModelSpec) -> None:
    """Refuse a folder of another family."""
    if found not in types:
        raise WeightsError(
            f"weights folder '{spec.weights}' holds a network of the type '{found}', which {spec.architecture} of "
            f"model '{spec.name}' cannot open; correct mlm:architecture, or give a folder of the type {types[0]}."
        )
