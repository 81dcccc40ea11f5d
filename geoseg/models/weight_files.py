"""Which files hold a model's weights, and what identifies them.

It knows files and folders on this machine, nothing of where they come from or who opens them.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from geoseg.errors import WeightsError

PARTS = (".json", ".safetensors", ".txt", ".model")
"""Suffixes of what belongs to a model in a folder: configuration, tensors, and the words of a tokenizer."""

OLD_GRAPH = "serialized_exported_program.json"
"""The graph in an archive of torch 2.6 or older, which has no folders."""

IMAGE_AXES = 4
"""Of a batch of images."""


def list_files(path: Path) -> dict[str, Path]:
    """Return the files of a model by their place: of a folder, of a file, or of an ONNX file and its external data.

    Raises
    ------
    WeightsError
        An ONNX file names data that is not beside it.
    """
    if path.is_dir():
        return {file.name: file for file in sorted(path.iterdir()) if file.suffix in PARTS and file.is_file()}
    return {path.name: path, **{name: path.parent / name for name in external_data(path)}}


def external_data(path: Path) -> tuple[str, ...]:
    """Name the files beside an ONNX file that hold its tensors, by their path from its folder; none for other files.

    Raises
    ------
    WeightsError
        A file lies outside of the folder.
    """
    names = _facts(path)[0]
    for name in names:
        if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise WeightsError(
                f"weights file '{path}' keeps tensors in '{name}', which is not beside it; export it again with its "
                "data in the same folder."
            )
    return names


def fixed_side(path: Path) -> int | None:
    """Return the height and width, px, of the only tiles that an ONNX or .pt2 file takes; None when it takes others."""
    return _facts(path)[1]


def _facts(path: Path) -> tuple[tuple[str, ...], int | None]:
    """External data and tile size of a file with a graph, which is read once; nothing of other files."""
    read = READERS.get(path.suffix.lower())
    if read is None or not path.is_file():
        return (), None
    status = path.stat()
    return read(path, (status.st_mtime_ns, status.st_size))


def read_graph(path: Path) -> Any:
    """Read an ONNX file without the numbers of its weights, as ``onnx.ModelProto``; None when it is no ONNX."""
    status = path.stat()
    return _read_graph(path.resolve(), (status.st_mtime_ns, status.st_size))


def last_step(path: Path, output: str) -> str | None:
    """Return the operator that an output of an ONNX file comes from; None when it is no ONNX or an input."""
    model = read_graph(path)
    nodes = [] if model is None else model.graph.node
    return next((str(node.op_type) for node in nodes if output in node.output), None)


@lru_cache(maxsize=4)
def _read_graph(path: Path, _version: tuple[int, int]) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model(path, load_external_data=False)
    except (DecodeError, ValueError):
        return None
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")  # what is kept has to be small
    return model


@lru_cache(maxsize=64)
def _read_onnx(path: Path, _version: tuple[int, int]) -> tuple[tuple[str, ...], int | None]:
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    model = read_graph(path)
    if model is None:  # what opens the model says so
        return (), None
    names = {ExternalDataInfo(item).location for item in _tensors(model) if uses_external_data(item)}
    constants = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in constants]
    lengths = [item.dim_value for item in inputs[0].type.tensor_type.shape.dim] if inputs else []
    return tuple(sorted(names)), _side(lengths)


@lru_cache(maxsize=64)
def _read_exported(path: Path, _version: tuple[int, int]) -> tuple[tuple[str, ...], int | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/models/model.json"))
            module = json.loads(archive.read(name))["graph_module"]
        (given,) = [item["user_input"] for item in module["signature"]["input_specs"] if "user_input" in item]
        sizes = module["graph"]["tensor_values"][given["arg"]["as_tensor"]["name"]]["sizes"]
        return (), _side([size.get("as_int", 0) for size in sizes])
    except (zipfile.BadZipFile, OSError, StopIteration, ValueError, LookupError, TypeError, AttributeError):
        return (), None  # of another form: what opens the model says so


READERS = {".onnx": _read_onnx, ".pt2": _read_exported}
"""How a file with a graph is read, by its suffix."""


def _side(lengths: Sequence[int]) -> int | None:
    """The side of an input (n, band, y, x) or (n, y, x, band) that takes no other; 0 is an axis that may vary."""
    if len(lengths) != IMAGE_AXES:
        return None
    sides = set(image_axes(lengths)) - {0}
    return sides.pop() if len(sides) == 1 else None


def image_axes(lengths: Sequence[int]) -> Sequence[int]:
    """Height and width of a shape (n, band, y, x) or (n, y, x, band); 0 is an axis that may vary."""
    return lengths[1:3] if has_bands_last(lengths) else lengths[2:]


def has_bands_last(lengths: Sequence[int]) -> bool:
    """Say whether a shape of four axes is (n, y, x, band)."""
    return bool(lengths[3]) and lengths[1] == lengths[2] != lengths[3]


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor of an ONNX message, at every depth: initializers, constants, subgraphs, functions."""
    from google.protobuf.message import Message
    from onnx import TensorProto

    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for item in [value] if isinstance(value, Message) else value:
                yield from [item] if isinstance(item, TensorProto) else _tensors(item)


def require_files(path: Path) -> None:
    """Refuse a model that lacks one of its files.

    Raises
    ------
    WeightsError
        External data is not there.
    """
    for name, file in list_files(path).items():
        if not file.is_file():
            raise WeightsError(
                f"weights file '{path}' keeps its tensors in '{name}', which is not beside it; put that file there, or "
                "export the network again."
            )


def archive_kind(path: Path) -> str | None:
    """Say which program an archive holds: ``"torch.export"`` or ``"TorchScript"``; None for anything else."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] or name for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return None
    if names & {"archive_format", OLD_GRAPH}:
        return "torch.export"
    return "TorchScript" if "constants.pkl" in names and any(name.startswith("code/") for name in names) else None


def second_program(path: Path, name: str) -> WeightsError:
    """Return what to raise of transforms beside a network: whether its pixels went through them, nothing says."""
    return WeightsError(
        f"weights file '{path}' holds the program '{name}' beside its network, which would be left out; save the "
        "network alone (torch.export.save), with its transforms inside or described by value_scaling in the entry."
    )


def digest(path: Path) -> str:
    """Return ``"sha256:<hex>"`` of a file, or of the list of all files of a model with theirs.

    Raises
    ------
    WeightsError
        A file of the model is not there.
    """
    require_files(path)
    files = list_files(path)
    if list(files.values()) == [path]:
        return sha256(path)
    listed = "".join(f"{name} {sha256(file)}\n" for name, file in files.items())
    return f"sha256:{hashlib.sha256(listed.encode()).hexdigest()}"


def size(path: Path) -> int:
    """Bytes of all files of a model that are there."""
    return sum(file.stat().st_size for file in list_files(path).values() if file.is_file())


def sha256(path: Path) -> str:
    """Return ``"sha256:<hex>"`` of a file; read again only when its size or time has changed."""
    status = path.stat()
    return _sha256(path.resolve(), (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=64)
def _sha256(path: Path, _version: tuple[int, int]) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
