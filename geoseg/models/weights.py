"""Weights files: where they are, whether they are the right ones, and how to read them without running code.

A pickle can run any code when it is opened, so tensors are read from safetensors, or from a ``torch.save`` file by
torch's restricted unpickler (``weights_only=True``), and from nothing else.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from geoseg.errors import WeightsError
from geoseg.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
"""Suffixes of files that torch.save writes."""

TIMEOUT = 60
"""Seconds without an answer after which a download is given up."""

CHUNK = 1 << 20
"""Bytes read at once."""


def resolve_weights(spec: ModelSpec) -> Path:
    """Return the local, verified weights file of a model; an address is downloaded once into the cache.

    Raises
    ------
    WeightsError
        When the spec names no weights, they cannot be found or fetched, or their checksum differs.
    """
    if spec.weights is None:
        remedy = spec.obtain or "give them with --weights FILE (Python: spec.with_weights(FILE))."
        raise WeightsError(f"model '{spec.name}' ships without weights; {remedy}")
    parts = urlsplit(spec.weights)
    if parts.scheme in ("http", "https"):
        return _download(spec)
    if parts.scheme not in ("", "file") and len(parts.scheme) > 1:
        raise WeightsError(
            f"weights address '{spec.weights}' of model '{spec.name}' cannot be fetched; "
            "download it and give the file with --weights FILE."
        )
    path = Path(unquote(parts.path) if parts.scheme == "file" else spec.weights).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"weights file '{path}' of model '{spec.name}' does not exist; give another with --weights FILE."
        )
    _verify(path, spec)
    return path


def weights_digest(spec: ModelSpec) -> str:
    """Return ``"sha256:<hex>"`` of a model's weights file, for the run's fingerprint.

    Raises
    ------
    WeightsError
        As `resolve_weights`.
    """
    return sha256(resolve_weights(spec))


def sha256(path: Path) -> str:
    """Return ``"sha256:<hex>"`` of a file; read again only when its size or time has changed."""
    status = path.stat()
    return _sha256(path.resolve(), (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=64)
def _sha256(path: Path, _version: tuple[int, int]) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


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
        return _read_pickle(path)
    raise WeightsError(
        f"weights file '{path}' has the unknown suffix '{suffix}'; save the state dict as .safetensors "
        "(safetensors.torch.save_file)."
    )


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"weights file '{path}' is not a safetensors file or is damaged ({error}); fetch it again, or save it with "
            "safetensors.torch.save_file."
        ) from error


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"weights file '{path}' is a pickle that holds more than tensors and could run code when opened; it was "
            "not opened: convert it where you trust it with safetensors.torch.save_file."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, OSError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"weights file '{path}' is damaged or not written by torch.save; fetch it again, or save the state dict "
            "as .safetensors."
        ) from error
    return _tensors(content, path)


def _tensors(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint: the dict itself, or its entry ``state_dict`` or ``model``."""
    import torch

    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(item, torch.Tensor) for item in content.values()):
        raise WeightsError(
            f"weights file '{path}' holds a {type(content).__name__} that is not a state dict; "
            "save model.state_dict() as .safetensors."
        )
    return {str(key): item for key, item in content.items()}


def _verify(path: Path, spec: ModelSpec) -> None:
    """Refuse a file whose checksum is not the entry's."""
    if spec.checksum is None:
        return
    found = sha256(path)
    if found != spec.checksum.lower():
        raise WeightsError(
            f"weights file '{path}' has the checksum {found}, but the entry of model '{spec.name}' says "
            f"{spec.checksum}; fetch the file again, or remove file:checksum from a copy of the entry to use this one."
        )


def cache_home() -> Path:
    """The folder of downloaded weights, by the XDG convention."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geoseg" / "weights"


def _download(spec: ModelSpec) -> Path:
    """Fetch an address into the cache, unless it is there; the file appears under its name only when verified."""
    address = str(spec.weights)
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    target = cache_home() / f"{key}-{Path(unquote(urlsplit(address).path)).name}"
    if target.is_file():
        _verify(target, spec)
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f"{key}-", suffix=".tmp")
    except OSError as error:
        raise WeightsError(
            f"the cache folder '{target.parent}' cannot be written ({error}); set XDG_CACHE_HOME to one that can."
        ) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            _fetch(address, file, spec)
        _verify(temporary, spec)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _fetch(address: str, file: IO[bytes], spec: ModelSpec) -> None:
    """Write what an address answers, all of it, to a file."""
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 - http(s) only, see resolve_weights
            length = answer.headers.get("Content-Length")
            received = 0
            while chunk := answer.read(CHUNK):
                received += file.write(chunk)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise WeightsError(
            f"weights of model '{spec.name}' cannot be fetched from {address} ({error}); check the connection, or give "
            "a local file with --weights FILE."
        ) from error
    if length is not None and received != int(length):
        raise WeightsError(f"the download of {address} ended after {received} of {length} bytes; run it again.")
