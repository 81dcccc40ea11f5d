"""The MLM item that a model's own file holds: `geoseg models export` writes it, and it opens such a file in one step.

An item lies in what each format has for notes: ``metadata_props`` of ONNX, the header of safetensors, a file below
``extra`` of a torch.export archive. Reading it runs nothing. Items of others are not looked for here.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from geoseg.errors import CatalogError
from geoseg.models.stac import Json
from geoseg.models.weight_files import read_graph

KEY = "mlm-item"
"""The item's name within a file."""

MODEL = "model.safetensors"
"""The file of a folder that may hold one, as `geoseg models push` writes it."""

OF_FILE = ("file:checksum", "file:size", "geoseg:obtain")
"""Fields of an asset that hold for one file only."""


def read_embedded(path: Path, address: str) -> dict[str, Any] | None:
    """Read the item that a file holds, with the file itself as its weights.

    Parameters
    ----------
    path : Path
        Any file or folder.
    address : str
        Where others find it.

    Returns
    -------
    dict or None
        None where it holds none.

    Raises
    ------
    CatalogError
        What it holds is no item.
    """
    read = READERS.get(path.suffix.lower())
    text = read(path) if read is not None and path.is_file() else None
    if text is None:
        return None
    try:
        item = json.loads(text)
        (key,) = item["assets"]
        asset = {**item["assets"][key], "href": address}
        return {**item, "assets": {key: asset}}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CatalogError(f"'{path}' holds a damaged MLM item ({error}); export the model again.") from error


def _of_onnx(path: Path) -> str | None:
    graph = read_graph(path)
    return None if graph is None else next((item.value for item in graph.metadata_props if item.key == KEY), None)


def _of_safetensors(path: Path) -> str | None:
    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError):
        return None


def _of_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.partition("/")[2] == f"extra/{KEY}"]
            return archive.read(names[0]).decode() if names else None
    except (zipfile.BadZipFile, OSError, ValueError):
        return None


READERS: Mapping[str, Callable[[Path], str | None]] = {
    ".onnx": _of_onnx,
    ".safetensors": _of_safetensors,
    ".pt2": _of_archive,
}
"""How the text of an item is found, by the ending of the file."""


def embedded(item: Json, key: str, artifact_type: str, changes: Json) -> str:
    """An item as it is written into its model's own file.

    Parameters
    ----------
    item : mapping
        Of the model, wherever its weights are.
    key : str
        Of its asset with the weights.
    artifact_type : str
        The extension's word for the file.
    changes : mapping
        Properties that are others for the file; None takes one out.
    """
    asset = {name: value for name, value in item["assets"][key].items() if name not in OF_FILE}
    asset |= {"href": "", "type": "application/octet-stream", "mlm:artifact_type": artifact_type}
    kept = {name: value for name, value in item["properties"].items() if name not in changes}
    properties = kept | {name: value for name, value in changes.items() if value is not None}
    return json.dumps({**item, "properties": properties, "assets": {key: asset}, "links": []})
