"""Models that a program holds: a spec, or a network with its spec, and how a network reaches other processes.

Importing this loads no deep-learning library.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import cloudpickle

from geoseg.errors import InputTypeError, ModelError
from geoseg.models.network_digest import digest_of
from geoseg.models.spec import ModelSpec

_REGISTERING = threading.Lock()

ModelLike: TypeAlias = str | os.PathLike[str] | ModelSpec | Callable[..., Any]
"""A name in the catalog, the path of an MLM item, a spec, or a network."""


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
        A network comes without a spec, or is a program of torch.export.
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
    refuse_program(model)
    if spec is None:
        raise ModelError(f"model {_called(model)} comes without a description; give spec=ModelSpec(...) beside it.")
    return OwnModel(spec, model)


def refuse_program(network: object) -> None:
    """Refuse a program of torch.export: it is not called itself, and its module travels to no other process.

    Raises
    ------
    ModelError
        It is one.
    """
    if type(network).__name__ == "ExportedProgram":  # known by its name, since torch is not loaded here
        raise ModelError(
            "model ExportedProgram is a program of torch.export, which is not called itself; write it to a file with "
            "torch.export.save(program, 'model.pt2'), and give ModelSpec(..., framework='torch.export', "
            "weights='model.pt2') as the model."
        )


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
            with _main_by_value():
                return cls(_called(network), cloudpickle.dumps(network), digest_of(network))
        except (pickle.PicklingError, TypeError, AttributeError, ValueError, RuntimeError, RecursionError) as error:
            raise ModelError(
                f"model {_called(network)} cannot be sent to worker processes ({_line(error)}); keep out of it what "
                "only this process has, use geoseg.segment, which computes here, or export it as ONNX or torch.export."
            ) from error

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


@contextmanager
def _main_by_value() -> Iterator[None]:
    """Pickle what the main module defines with its code in processes of multiprocessing too, where it has two names."""
    main = sys.modules.get("__mp_main__")
    if main is None:
        yield
        return
    with _REGISTERING:
        cloudpickle.register_pickle_by_value(main)
        try:
            yield
        finally:
            cloudpickle.unregister_pickle_by_value(main)


def _called(network: Any) -> str:
    return getattr(network, "__name__", type(network).__name__)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
