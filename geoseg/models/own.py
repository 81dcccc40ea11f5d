"""Models that a program holds: a spec, or a network with its spec, and how a network reaches other processes.

Importing this loads no deep-learning library.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import cloudpickle

from geoseg.errors import InputTypeError, ModelError
from geoseg.models.spec import ModelSpec

ModelLike: TypeAlias = str | os.PathLike[str] | ModelSpec | Callable[..., Any]
"""A name in the catalog, the path of an MLM item, a spec, or a network."""

_SIMPLE = (bool, int, float, str, bytes, tuple, type(None))  # attributes of a module that may decide what it computes


@dataclass(frozen=True)
class OwnModel:
    """A spec, and the network that keeps its promises where a program holds that too.

    Attributes
    ----------
    spec : ModelSpec
        What the model promises.
    network : callable or None
        A ``torch.nn.Module`` or another callable on tensors; None where the spec names weights.
    """

    spec: ModelSpec
    network: Callable[..., Any] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.spec.name


def own_model(model: Any, spec: ModelSpec | None = None) -> str | OwnModel:
    """What a caller gives as model: a name or path as text, all else with its spec.

    Parameters
    ----------
    model : str, path, ModelSpec, torch.nn.Module or callable
        A name in the catalog, the path of an MLM item, a spec, or a network.
    spec : ModelSpec, optional
        What a network promises; required with one.

    Raises
    ------
    ModelError
        A network comes without a spec.
    InputTypeError
        It is another object.
    """
    if isinstance(model, str | os.PathLike):
        if spec is not None:
            raise ModelError(f"spec describes a network of your own, and model is '{model}'; leave spec out.")
        return os.fspath(model)
    if isinstance(model, OwnModel):
        return model
    if isinstance(model, ModelSpec):
        return OwnModel(model)
    if not callable(model):
        raise InputTypeError(
            f"a {type(model).__name__} is no model; give a name of the catalog, the path of an MLM item, a ModelSpec, "
            "or a torch.nn.Module with spec=ModelSpec(...)."
        )
    if spec is None:
        raise ModelError(f"model {_called(model)} comes without a description; give spec=ModelSpec(...) beside it.")
    return OwnModel(spec, model)


@dataclass(frozen=True)
class SentNetwork:
    """A network as it travels to other processes.

    Attributes
    ----------
    name : str
        Of its class or function.
    content : bytes
        Pickled.
    digest : str
        Of what it computes; see `digest_of`.
    """

    name: str
    content: bytes = field(repr=False)
    digest: str

    @classmethod
    def of(cls, network: Callable[..., Any]) -> SentNetwork:
        """Pickle a network.

        Raises
        ------
        ModelError
            It cannot be.
        """
        try:
            content = cloudpickle.dumps(network)
        except (pickle.PicklingError, TypeError, AttributeError, ValueError, RuntimeError, RecursionError) as error:
            raise ModelError(
                f"model {_called(network)} cannot be sent to worker processes ({_line(error)}); keep out of it what "
                "only this process has, use geoseg.segment, which computes here, or export it as ONNX or torch.export."
            ) from error
        return cls(_called(network), content, digest_of(network))

    def open(self) -> Callable[..., Any]:
        """Return the network.

        Raises
        ------
        ModelError
            What it is made of is not there.
        """
        try:
            network: Callable[..., Any] = pickle.loads(self.content)  # noqa: S301 - of the process that started this one
        except Exception as error:
            raise ModelError(
                f"model {self.name} cannot be opened on a worker ({_line(error)}); define it in the script itself, or "
                "in a module that workers can import."
            ) from error
        return network


def digest_of(network: Callable[..., Any]) -> str:
    """Say by 64 hex digits what a network computes.

    Of a ``torch.nn.Module``: its layers as printed, parameters and buffers, plain attributes and the source of the
    classes that are not torch's own. Of another callable: its pickle.
    """
    import torch

    digest = hashlib.sha256()
    parts = _parts(network) if isinstance(network, torch.nn.Module) else [cloudpickle.dumps(network)]
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _parts(network: Any) -> Iterator[bytes]:
    import torch

    yield repr(network).encode()
    for name, module in network.named_modules():
        attributes = {key: value for key, value in vars(module).items() if isinstance(value, _SIMPLE)}
        yield repr((name, type(module).__qualname__, sorted(attributes.items(), key=lambda item: item[0]))).encode()
    for kind in dict.fromkeys(type(module) for module in network.modules()):
        if not kind.__module__.startswith("torch."):
            with suppress(OSError, TypeError):  # what was typed in has no source
                yield inspect.getsource(kind).encode()
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
        yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _called(network: Any) -> str:
    return getattr(network, "__name__", type(network).__name__)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
