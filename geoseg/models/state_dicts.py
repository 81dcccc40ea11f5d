"""State dicts: the tensors of a network by name, read without running code, and told from those of its training.

A pickle can run any code when it is opened, so tensors are read from safetensors, or from a ``torch.save`` file by
torch's restricted unpickler (``weights_only=True``), and from nothing else. Checkpoints of trainers hold a network
under a prefix such as ``model.``, with losses and metrics beside it; `network_state` finds it.
"""

from __future__ import annotations

import ast
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from geoseg.errors import GeosegWarning, WeightsError
from geoseg.models.weight_files import archive_kind

if TYPE_CHECKING:
    import torch

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
"""Suffixes of files that torch.save writes."""

STATES = ("state_dict", "model_state_dict", "model")
"""Keys of a checkpoint under which its tensors stand."""

HYPERPARAMETERS = "hyper_parameters"
"""Key of a Lightning checkpoint under which the arguments of its module stand."""

COMPILED = "_orig_mod."
"""What torch.compile puts into the names of tensors."""

TRAINING = re.compile(
    r"(.*\.)?((\w*_)?(loss|losses|criterion|metrics?)(_\w+)?|(train|val|valid|test)_\w+|classification_head)(\.|$)"
)
"""Names of tensors that predicting does not need: of losses, metrics, and a head for whole images."""

STATISTICS = re.compile(r"(mean|std)")
"""Names of tensors by which a trainer standardizes pixels before its network gets them; an entry says it by scaling."""

LONGEST = 10_000
"""Characters of a value of metadata, above which it stays a text."""

_Item = TypeVar("_Item")
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds.

    Attributes
    ----------
    shapes : dict
        Shape of each tensor by name, in the file's order.
    metadata : mapping
        What stands beside them: hyperparameters of a Lightning module, entries of a training loop, or the
        ``__metadata__`` of safetensors.
    """

    shapes: Shapes
    metadata: Mapping[str, Any]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read names and shapes of the tensors of a weights file, and what stands beside them; no numbers are read.

    Raises
    ------
    WeightsError
        As `read_state`.
    """
    if path.suffix.lower() == ".safetensors":
        return _read_header(path)
    content = _unpickle(path, is_mapped=zipfile.is_zipfile(path))
    state = _tensors(content, path)
    beside = content.get(HYPERPARAMETERS, content)
    plain = {} if state.keys() <= content.keys() or not isinstance(beside, Mapping) else beside
    metadata = {str(key): value for key, value in plain.items() if not isinstance(value, Mapping) or key not in STATES}
    return Checkpoint({name: tuple(item.shape) for name, item in state.items()}, metadata)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a weights file, by name, without running any code of it.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or one written by ``torch.save`` (`PICKLES`).

    Raises
    ------
    WeightsError
        When the file is of another kind, damaged, or a pickle that holds more than tensors.
    """
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return _read_safetensors(path)
    if suffix in PICKLES:
        return _tensors(_unpickle(path), path)
    raise WeightsError(
        f"weights file '{path}' has the unknown suffix '{suffix}'; save the state dict as .safetensors "
        "(safetensors.torch.save_file)."
    )


def network_state(items: Mapping[str, _Item], expected: Collection[str], path: Path) -> dict[str, _Item]:
    """Return the tensors of a network under its own names, without the prefix and the company that training gave them.

    Where no prefix has all of the names, everything stays, and loading says what is missing.

    Parameters
    ----------
    items : mapping
        Tensors, or their shapes, by name.
    expected : collection of str
        The network's names.
    path : Path
        The file, for the error.

    Raises
    ------
    WeightsError
        The file holds the network twice, or tensors beside it that may take part in predicting.

    Warns
    -----
    GeosegWarning
        A mean and a deviation stand beside the network.
    """
    plain = {name.replace(COMPILED, ""): item for name, item in items.items()}
    named = plain if len(plain) == len(items) else dict(items)
    prefixes = find_prefixes(named, expected)
    if not prefixes:
        return named
    if len(prefixes) > 1:
        raise WeightsError(
            f"weights file '{path}' holds the network {len(prefixes)} times, under {', '.join(map(repr, prefixes))}; "
            "save the tensors of one of them as .safetensors (safetensors.torch.save_file)."
        )
    (prefix,) = prefixes
    own = {prefix + name for name in expected}
    beside = [name for name in named if name not in own and TRAINING.match(name) is None]
    statistics = [name for name in beside if STATISTICS.fullmatch(name)]
    if statistics:
        warnings.warn(
            f"weights file '{path}' holds {' and '.join(statistics)} beside the network, by which its trainer may have "
            "standardized pixels: they are left out, and value_scaling of the entry has to say it.",
            GeosegWarning,
            stacklevel=3,
        )
    beside = [name for name in beside if name not in statistics]
    if beside and prefix:
        raise WeightsError(
            f"weights file '{path}' holds {len(beside)} tensors beside the network under {prefix!r}, such as "
            f"{beside[0]}, and nothing says whether its pixels go through them; save the tensors of the network alone "
            "as .safetensors (safetensors.torch.save_file), or export it with them as ONNX."
        )
    return {name.removeprefix(prefix): named[name] for name in named if name in own or name in beside}


def find_prefixes(names: Collection[str], expected: Collection[str]) -> list[str]:
    """List what stands before all of the expected names; the empty prefix goes before every other."""
    anchor = min(expected, key=len, default="")
    found = [name.removesuffix(anchor) for name in names if name == anchor or name.endswith(f".{anchor}")]
    whole = [prefix for prefix in found if all(prefix + name in names for name in expected)]
    return [""] if "" in whole else whole


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _read_header(path: Path) -> Checkpoint:
    """Shapes and metadata of safetensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no dict
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    return Checkpoint(shapes, {key: _value(text) for key, text in metadata.items()})


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"weights file '{path}' is not a safetensors file or is damaged ({error}); fetch it again, or save it with "
        "safetensors.torch.save_file."
    )


def _value(text: str) -> Any:
    """A value of metadata, which safetensors keeps as text: JSON, a literal of Python, or a word."""
    for read in (json.loads, ast.literal_eval) if len(text) < LONGEST else ():
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return text


def _unpickle(path: Path, *, is_mapped: bool = False) -> Any:
    """What torch.save wrote, by torch's restricted unpickler; numbers are read at once, or when they are used."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"weights file '{path}' is a pickle that holds more than tensors and could run code when opened; it was "
            f"not opened: convert it where you trust it with `{_conversion(path)}`."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, OSError, AttributeError, TypeError) as error:
        from geoseg.models.safety import other_kind

        if archive_kind(path) is not None:
            raise other_kind(path, "a state dict") from error
        raise WeightsError(
            f"weights file '{path}' is damaged or not written by torch.save; fetch it again, or save the state dict "
            "as .safetensors."
        ) from error


def _conversion(path: Path) -> str:
    """The command that makes safetensors of a pickle, with the hyperparameters that it holds as metadata."""
    return (
        f"python -c \"import torch, safetensors.torch as s; c = torch.load('{path}', 'cpu', weights_only=False); "
        "s.save_file({k: v.clone() for k, v in c.get('state_dict', c).items()}, "
        f"'{path.with_suffix('.safetensors')}', {{k: str(v) for k, v in c.get('{HYPERPARAMETERS}', {{}}).items()}})\""
    )


def _tensors(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint: the dict itself, or what stands under one of `STATES`."""
    import torch

    for key in STATES:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(item, torch.Tensor) for item in content.values()):
        raise WeightsError(
            f"weights file '{path}' holds a {type(content).__name__} that is not a state dict; "
            "save model.state_dict() as .safetensors."
        )
    return {str(key): item for key, item in content.items()}
