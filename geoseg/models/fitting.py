"""Weights into a network that a library built: strictly, or one sentence about the first tensor that does not fit.

It knows state dicts and hyperparameters; which library built the network is not its matter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from geoseg.errors import ModelError, WeightsError, nearest
from geoseg.models.spec import ModelSpec
from geoseg.models.state_dicts import network_state, read_state
from geoseg.models.weights import find_source, resolve_weights


def load_weights(network: torch.nn.Module, spec: ModelSpec) -> None:
    """Read the weights file of a spec into a network.

    Raises
    ------
    WeightsError
        The weights are missing, damaged, unsafe, or do not fit.
    """
    path = resolve_weights(spec)
    fit(network, network_state(read_state(path), network.state_dict().keys(), path), spec, path)


def fit(network: torch.nn.Module, state: Mapping[str, torch.Tensor], spec: ModelSpec, path: Path) -> None:
    """Load a state dict strictly.

    Raises
    ------
    WeightsError
        A tensor is missing, unknown, or of another shape; names the first.
    """
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        found = f"lacks {missing[0]}" if missing else f"has {unknown[0]}"
        raise WeightsError(
            f"weights file '{path}' does not fit {spec.architecture} of model '{spec.name}' ({len(missing)} tensors "
            f"missing, {len(unknown)} unknown; it {found}); correct mlm:architecture and mlm:hyperparameters."
        )
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"weights file '{path}' does not fit model '{spec.name}': {name} has shape {tuple(tensor.shape)} where "
                f"{tuple(expected[name].shape)} is expected; correct its bands, classes or mlm:hyperparameters."
            )
    network.load_state_dict(dict(state), strict=True)


def build(spec: ModelSpec, builder: Callable[..., torch.nn.Module], **decided: Any) -> torch.nn.Module:
    """Call what builds a network with the hyperparameters that it takes.

    Parameters
    ----------
    spec : ModelSpec
        Its hyperparameters that the builder does not know describe the training and are left out.
    builder : callable
        A class or function of a library.
    **decided
        Arguments that bands, classes and weights decide; they win over hyperparameters.

    Raises
    ------
    ModelError
        Hyperparameters do not fit together, or name what lies elsewhere.
    """
    arguments = {name: value for name, value in spec.hyperparameters if name in _parameters(builder)} | decided
    if (source := find_source(arguments)) is not None:
        raise ModelError(
            f"model '{spec.name}' has the encoder '{source}', which would be read from elsewhere when its network is "
            "built; name one that timm has itself, such as tu-resnet50: its tensors are in the weights."
        )
    try:
        return builder(**arguments)
    except (ValueError, KeyError, TypeError, RuntimeError, AssertionError) as error:
        shown = {name: value for name, value in arguments.items() if name not in decided}
        raise ModelError(
            f"model '{spec.name}' cannot be built as {spec.architecture} with {shown}: {str(error).rstrip('.')}; "
            "correct mlm:hyperparameters in its entry."
        ) from error


def check_hyperparameters(
    spec: ModelSpec, builder: Callable[..., Any], prefixes: tuple[str, ...], also: Sequence[str] = ()
) -> None:
    """Refuse hyperparameters that are meant for the builder and misspelt.

    Parameters
    ----------
    spec, builder
        As in `build`.
    prefixes : tuple of str
        How names begin that can only be meant for it.
    also : sequence of str
        Further names that are known.
    """
    known = _parameters(builder)
    for name, _ in spec.hyperparameters:
        if name not in known and name not in also and name.startswith(prefixes):
            raise ModelError(
                f"model '{spec.name}' has the hyperparameter '{name}', which {spec.architecture} does not take; "
                f"{nearest(name, known)}."
            )


def find_architecture(spec: ModelSpec, known: Mapping[str, Any]) -> Any:
    """Return what an architecture's name stands for, by the part after the first dot.

    Raises
    ------
    ModelError
        There is none of that name.
    """
    name = spec.architecture.partition(".")[2]
    if name not in known:
        raise ModelError(
            f"model '{spec.name}' has the architecture '{spec.architecture}', which does not exist; "
            f"{nearest(name, list(known))}."
        )
    return known[name]


def _parameters(builder: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(builder).parameters)
