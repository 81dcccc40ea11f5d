"""Programs of torch: torch.export (``.pt2``), with MLM metadata where stac-model packed it, and TorchScript.

A ``.pt2`` file is an archive whose graph is JSON, which tells shapes without torch; nothing of it is run. TorchScript
tells nothing unless it runs, so that a person has to trust its author first.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from geoseg.errors import CatalogError
from geoseg.models.packagings.contents import Contents, numbered_classes, result_of
from geoseg.models.packagings.graph import contents_of_shapes
from geoseg.models.weight_files import IMAGE_AXES, OLD_GRAPH, archive_kind, second_program

GRAPHS = ("models/model.json", OLD_GRAPH)
"""The graph in an archive, in its folder, and as torch 2.6 and older have it."""

MLM = "extra/mlm-metadata"
"""Where stac-model puts the properties of an item, as YAML."""

PROGRAM = re.compile(r"models/\w+\.json")
"""Names of graphs in an archive."""

LONGEST, MOST_VALUES = 1 << 20, 10_000
"""Bytes of metadata that are read, and values in them."""

SIDES, MOST_BANDS, NEARLY = (256, 512, 224, 128), 33, 1e-4
"""Sizes, px, and bands below which a TorchScript program is tried, and how far probabilities are from 1 in sum."""

SCRIPTS = (".pt", ".pth", ".pts", ".torchscript", ".jit")
"""Suffixes of TorchScript programs."""

BYTE = 1
"""The number of uint8 in torch's ``ScalarType``."""

PROBABILITIES = ("softmax", "sigmoid")
"""What is in the name of the last operator of a graph that gives probabilities."""

Document = Mapping[str, Any]


def read_exported(path: Path) -> Contents:
    """What a program of torch.export tells of its model.

    Raises
    ------
    CatalogError
        It is not there, is none, holds another program beside its network, or does not map classes.
    """
    if not path.is_file():
        raise CatalogError(f"model '{path}' does not exist; give the path of a .pt2 file, or a name of the catalog.")
    module, metadata = _read_archive(path)
    taken, is_bytes = _tensor(module, "input_specs", "user_input")
    given, _ = _tensor(module, "output_specs", "user_output")
    contents = replace(
        contents_of_shapes(path, taken, given, gives_probabilities=_gives_probabilities(module)),
        architecture="torch.export",
        framework="PyTorch",
        artifact="torch.export.save",
        scaling=[] if is_bytes else None,
    )
    return _described(contents, metadata) if metadata else contents


def is_torchscript(path: Path) -> bool:
    """Say whether a file is a TorchScript program."""
    return path.suffix.lower() in SCRIPTS and archive_kind(path) == "TorchScript"


def read_torchscript(path: Path) -> Contents:
    """Refuse what tells nothing unless it runs.

    Raises
    ------
    CatalogError
        Always; it names what to do.
    """
    raise CatalogError(
        f"'{path}' is a TorchScript program, which tells its bands and classes only when it runs, and can read and "
        f"write files then; write its entry with `geoseg models new {path} --trust-model` if you trust its author, or "
        "export the network again as ONNX or torch.export."
    )


def run_torchscript(path: Path) -> Contents:
    """What a TorchScript program tells when it runs on noise; only for a program whose author a person trusts.

    Raises
    ------
    CatalogError
        It cannot be opened, or maps no batch of images to scores.
    """
    import torch

    try:
        network = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise CatalogError(f"'{path}' is a damaged TorchScript program; fetch it again, or export it again.") from error
    first = [tensor.shape[1] for tensor in network.parameters() if tensor.dim() == IMAGE_AXES][:1]
    for side in SIDES:
        for bands in [*first, *range(1, MOST_BANDS)]:
            scores = _scores(network, torch.rand(1, bands, side, side))
            if scores is not None:
                return _tried(bands, scores)
    raise CatalogError(
        f"'{path}' maps no noise of 1 to {MOST_BANDS - 1} bands to scores (n, class, y, x); export the network so that "
        "it does, as ONNX or torch.export."
    )


def _scores(network: Any, pixels: Any) -> Any:
    """Scores of pixels, of the same height and width; None where a program takes no such pixels."""
    import torch

    try:
        with torch.inference_mode():
            scores = network(pixels)
    except RuntimeError:
        return None
    is_image = isinstance(scores, torch.Tensor) and scores.dim() == IMAGE_AXES
    return scores if is_image and scores.shape[2:] == pixels.shape[2:] else None


def _tried(bands: int, scores: Any) -> Contents:
    """What scores of noise tell."""
    count = scores.shape[1]
    is_probability = count > 1 and scores.min() >= 0 and bool((abs(scores.sum(1) - 1) < NEARLY).all())
    logits = "sigmoid" if count == 1 else "softmax"
    return Contents(
        architecture="TorchScript",
        framework="PyTorch",
        artifact="torch.jit.save",
        bands=bands,
        classes=numbered_classes(count),
        scores=count,
        scaling=None,
        properties={"geoseg:activation": "none" if is_probability else logits},
        unsaid=("classes", "resolution", "geoseg:activation"),
    )


def _read_archive(path: Path) -> tuple[Document, Document]:
    """The module of the graph, and the properties of stac-model."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] or name: name for name in archive.namelist()}
            graph = next(names[name] for name in GRAPHS if name in names)
            module = json.loads(archive.read(graph))["graph_module"]
            with archive.open(names[MLM]) if MLM in names else io.BytesIO() as file:
                metadata = file.read(LONGEST)
    except (zipfile.BadZipFile, OSError, StopIteration, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CatalogError(
            f"'{path}' is not a torch.export program or is damaged; save the network with torch.export.save."
        ) from error
    others = [name for name in names if PROGRAM.fullmatch(name) and name != GRAPHS[0]]
    if others:
        raise second_program(path, Path(others[0]).stem)
    return module, _read_metadata(path, metadata)


def _tensor(module: Document, specs: str, kind: str) -> tuple[list[int], bool]:
    """Lengths of the only input or output, 0 where they may vary, and whether it is of bytes."""
    items = [item[kind] for item in module["signature"][specs] if kind in item]
    name = items[0]["arg"].get("as_tensor", {}).get("name") if len(items) == 1 else None
    if name is None:
        return [], False
    value = module["graph"]["tensor_values"][name]
    return [size.get("as_int", 0) for size in value["sizes"]], value["dtype"] == BYTE


def _gives_probabilities(module: Document) -> bool:
    """Whether the last operator makes probabilities."""
    return any(word in str(module["graph"]["nodes"][-1]["target"]) for word in PROBABILITIES)


def _read_metadata(path: Path, text: bytes) -> Document:
    """Properties as stac-model writes them, without the prefix of an item; empty where there are none."""
    try:
        document = _plain(yaml.safe_load(text), iter(range(MOST_VALUES)))
        properties = (document or {}).get("properties") or {}
        return {str(key).removeprefix("mlm:"): value for key, value in properties.items()}
    except (yaml.YAMLError, AttributeError, StopIteration, RecursionError) as error:
        raise CatalogError(
            f"'{path}' has MLM metadata that are not properties of an item; pack them again with stac-model, or leave "
            "them out and write a STAC MLM item."
        ) from error


def _plain(value: Any, budget: Iterator[int]) -> Any:
    """The same value as JSON has it: sets become lists; what refers to itself too often runs out of its budget."""
    next(budget)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, budget) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_plain(item, budget) for item in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def _described(contents: Contents, metadata: Document) -> Contents:
    """The same with what MLM metadata say: names of bands, scaling, classes, tasks and the model's name."""
    taken: Document = next(iter(metadata.get("input") or []), {})
    given: Document = next(iter(metadata.get("output") or []), {})
    classes = given.get("classification:classes") or given.get("classes")
    bands = [str(band.get("name")) if isinstance(band, dict) else str(band) for band in taken.get("bands") or []]
    described = {"mlm:name": metadata.get("name"), "mlm:tasks": metadata.get("tasks"), "mlm:output": None}
    if classes:
        described["mlm:output"] = [{**given, "classification:classes": classes, "result": result_of(contents)}]
    return replace(
        contents,
        named_bands=bands,
        scaling=taken.get("value_scaling") or contents.scaling,
        properties={**contents.properties, **{key: value for key, value in described.items() if value}},
        unsaid=("resolution",) if classes else contents.unsaid,
    )
