"""A model's catalog entry taken over into another folder, with its weights when they are files of this machine.

The entry stays as its author wrote it, but for its name and its relative addresses.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geoseg.errors import OutputError
from geoseg.files import move_into_place, working_folder
from geoseg.models.item_assets import INT8, find_assets
from geoseg.models.item_document import Document
from geoseg.models.spec import ModelSpec
from geoseg.models.stac import Json, absolute, link_to_collection, write_json
from geoseg.models.weight_files import list_files
from geoseg.models.weights import local_weights, resolve_quantized, weights_digest


def copy_model_item(document: Document, spec: ModelSpec, target: Path) -> Path:
    """Copy an item and its local weights.

    Parameters
    ----------
    document : Document
        Anyone's MLM item, or a packaging.
    spec : ModelSpec
        What it says.
    target : Path
        The copy's file; its stem becomes the model's name. Weights are put beside it.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    WeightsError
        When the weights should be on this machine and are not, or their checksum differs.
    OutputError
        When the copy cannot be written.
    """
    item = document.item
    assets = {key: _placed(asset, document.path) for key, asset in item["assets"].items()}
    for key, network in zip(find_assets(document), spec.networks, strict=True):
        weights = local_weights(network)
        if weights is not None:
            weights_digest(network)  # refuses what is missing or not what the checksum says
            copied_files = _copy_weights(weights, target.parent)
            assets[key]["href"] = f"./{weights.name}"
            for asset in assets.values():
                asset["href"] = copied_files.get(asset["href"], asset["href"])
    if spec.int8 is not None and local_weights(replace(spec, weights=spec.int8.graph)) is not None:
        assets[INT8]["href"] = f"./{_copy(resolve_quantized(spec), target.parent)}"
    copied = {
        **item,
        "id": target.stem,
        "properties": {"title": spec.name, **item["properties"], "mlm:name": target.stem},
        "assets": assets,
        "links": [link for link in item.get("links") or [] if len(urlsplit(str(link.get("href"))).scheme) > 1],
    }
    link_to_collection(target, copied)
    return write_json(target, copied)


def _placed(asset: Json, source: Path) -> dict[str, Any]:
    """An asset whose address works from anywhere."""
    return {**asset, "href": absolute(str(asset.get("href") or ""), source)}


def _copy_weights(weights: Path, folder: Path) -> dict[str, str]:
    """Copy weights, all files of them, into a folder; returns the new address of each by its path before."""
    if weights.is_dir():
        return {str(weights.resolve()): f"./{_copy(weights, folder)}"}
    files = list_files(weights)
    for name, file in files.items():
        _copy(file, (folder / name).parent)
    return {str(file.resolve()): f"./{name}" for name, file in files.items()}


def _copy(source: Path, folder: Path) -> str:
    """Copy a file or folder into a folder, where it appears when it is whole; returns its name."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / source.name
        with working_folder(target) as unfinished:
            copy = unfinished / source.name
            if source.is_dir():
                shutil.copytree(source, copy)
                shutil.rmtree(target, ignore_errors=True)
            else:
                shutil.copyfile(source, copy)
            move_into_place(copy, target)
    except OSError as error:
        raise OutputError(f"'{source}' cannot be copied to '{folder}' ({error}); choose a folder that can.") from error
    return source.name
