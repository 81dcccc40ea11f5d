"""Adapter for a person's own network: a ``torch.nn.Module`` or any callable on tensors."""

from __future__ import annotations

import copy

import torch

from geoseg.errors import ModelError
from geoseg.models.own import SentNetwork, refuse_program
from geoseg.models.running import Network, Opener, settle
from geoseg.models.spec import ModelSpec


def opener(network: Network) -> Opener:
    """Return what opens a network that is already there.

    Raises
    ------
    ModelError
        When it cannot be called.
    """
    refuse_program(network)
    if not callable(network):
        raise ModelError(
            f"a {type(network).__name__} is not a model; give a torch.nn.Module or a callable that maps pixels "
            "(n, band, y, x) to what its task needs, such as scores (n, class, y, x)."
        )

    def open_network(_spec: ModelSpec, device: torch.device) -> Network:
        if not isinstance(network, torch.nn.Module):
            return network
        _require_values(network)
        return settle(network if _is_settled(network, device) else _copied(network), device)

    return open_network


def _require_values(network: torch.nn.Module) -> None:
    """Refuse parameters that have a shape at most."""
    for name, item in (*network.named_parameters(), *network.named_buffers()):
        if torch.nn.parameter.is_lazy(item) or item.is_meta:
            raise ModelError(
                f"'{name}' of model {type(network).__name__} has no values yet (a lazy layer, or device meta); load "
                "its weights, or run it on a tile first."
            )


def _copied(network: torch.nn.Module) -> torch.nn.Module:
    """A copy, of networks too whose weights are computed from others, which torch does not copy."""
    try:
        return copy.deepcopy(network)
    except RuntimeError:
        copied: torch.nn.Module = SentNetwork.of(network).open()  # type: ignore[assignment]
        return copied


def _is_settled(network: torch.nn.Module, device: torch.device) -> bool:
    """Whether labelling would leave a network as its owner has it, who may go on training it."""
    numbers = [*network.parameters(), *network.buffers()]
    is_still = not any(module.training for module in network.modules())
    return is_still and all(
        item.device == device and (item.dtype is torch.float32 or not item.is_floating_point()) for item in numbers
    )
