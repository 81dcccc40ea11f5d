"""Which assets of an item hold the model: of several the one that is surest to open, or all members of an ensemble.

It knows the JSON of assets; it fetches and opens nothing.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from geoseg.errors import GeosegWarning
from geoseg.models import find_family
from geoseg.models.architectures import LIBRARIES, is_word, read_architecture
from geoseg.models.item_document import Document
from geoseg.models.stac import Json, absolute
from geoseg.models.weights import file_address, hub_name

MULTIHASH = "1220"
"""Prefix of a whole SHA-256 in ``file:checksum``: code 0x12, 0x20 bytes (https://github.com/multiformats/multihash)."""

TORCH = (*LIBRARIES, "smp", "", "pytorch", "torch", "pytorch lightning", "lightning", "hugging face", "timm")
"""Words of ``mlm:framework`` for a network that torch runs, in lower case and before the first dot."""

MODEL, WEIGHTS = "mlm:model", "mlm:weights"
"""Roles of assets that hold a model."""

CODE = {"code", "mlm:source_code"}
"""Roles of assets that hold the source of a model."""

UNSAFE = ("pickle", "joblib", "dill", "cloudpickle")
"""Artifacts that could run code when they are opened."""

ENSEMBLE = "geoseg:ensemble"
"""Property with the keys of the assets whose probabilities are averaged."""

INT8 = "int8"
"""Key of the asset with 8-bit weights, and part of the names of its role and of what was measured of it."""

DOUBTS: dict[str, tuple[int, str]] = {
    "onnx": (0, ""),
    "torch.export": (0, ""),
    "torchscript": (2, "TorchScript is opened only for authors who are trusted"),
}
"""How doubtful it is that a program can be opened, and why, by framework."""


def find_assets(document: Document) -> list[str]:
    """Return the keys of the assets that hold a model: one, or those of the members of an ensemble.

    Raises
    ------
    CatalogError
        There is none, or an ensemble that does not say its members.

    Warns
    -----
    GeosegWarning
        Which one of several is taken, and why.
    """
    assets = document.need(document.item, "assets", dict)
    document.objects("assets", list(assets.values()))
    members = document.need(document.properties, ENSEMBLE, list, [])
    if members:
        return _members(document, members, assets)
    keys = _candidates(assets)
    if not keys:
        raise document.error("assets", f"has no asset with the role '{MODEL}'; add one")
    if len(keys) == 1:
        return keys
    if "ensemble" in str(document.properties.get("mlm:architecture")).casefold():
        raise document.error(ENSEMBLE, f"is missing, and {_quoted(keys)} may be its members; list those that are")
    return [_surest(document, keys)]


def _members(document: Document, members: Sequence[Any], assets: Json) -> list[str]:
    """The members of an ensemble, each of which must be an asset."""
    unknown = [key for key in members if not isinstance(key, str) or key not in assets]
    if unknown or len(set(members)) != len(members):
        raise document.error(
            ENSEMBLE, f"has the value {list(members)}; give keys of assets, each once: {_quoted(list(assets))}"
        )
    return list(members)


def _candidates(assets: Mapping[str, Json]) -> list[str]:
    """Assets that hold a model, those with weights first; the code beside them only where there is nothing else."""
    roles = {key: set(asset.get("roles") or []) for key, asset in assets.items()}
    models = [key for key in assets if MODEL in roles[key]]
    found = (
        [key for key in models if not CODE & roles[key]] or models or [key for key in assets if WEIGHTS in roles[key]]
    )
    return sorted(found, key=lambda key: WEIGHTS not in roles[key])


def _surest(document: Document, keys: Sequence[str]) -> str:
    """Of several forms of a model the first against which least is to be said."""
    doubts = {key: _doubt(document, document.item["assets"][key]) for key in keys}
    chosen = min(keys, key=lambda key: doubts[key][0])
    others = ", ".join(f"not '{key}' ({doubts[key][1] or 'it is listed later'})" for key in keys if key != chosen)
    warnings.warn(
        f"'{document.source}' has {len(keys)} models: '{chosen}' is opened, {others}.", GeosegWarning, stacklevel=5
    )
    return chosen


def _doubt(document: Document, asset: Json) -> tuple[int, str]:
    """How doubtful it is that an asset can be opened, 0 (surely) to 3 (surely not), and why."""
    framework, said = read_framework(document, asset), str(document.properties.get("mlm:architecture"))
    artifact = str(asset.get("mlm:artifact_type") or framework).lower()
    if framework in DOUBTS:
        return DOUBTS[framework]
    if framework != "pytorch" or artifact in UNSAFE:
        return 3, f"{artifact} cannot be opened"
    if find_family(read_architecture(said)) is None:
        return 3, f"no adapter knows the architecture '{said}'"
    return (1, f"the architecture '{said}' names no library's class") if is_word(said) else (0, "")


def _quoted(keys: Sequence[str]) -> str:
    return ", ".join(f"'{key}'" for key in keys)


def read_framework(document: Document, asset: Json) -> str:
    """The adapter's word for framework and artifact; what an asset says of itself goes before what the item says."""
    framework = str(document.properties.get("mlm:framework") or "").lower()
    artifact = str(asset.get("mlm:artifact_type") or "").lower()
    suffix = Path(urlsplit(str(asset.get("href"))).path).suffix.lower()
    is_state = artifact == "torch.save" or suffix in (".safetensors", ".pth", ".ckpt")
    if artifact == "onnx" or suffix == ".onnx" or (framework == "onnx" and not is_state):
        return "onnx"
    if "jit" in artifact or "torchscript" in artifact or suffix in (".torchscript", ".pts"):
        return "torchscript"
    if artifact.startswith("torch.export") or suffix == ".pt2":
        return "torch.export"
    plain = framework.partition(".")[0].replace("-", " ").replace("huggingface", "hugging face")
    return "pytorch" if plain in TORCH else framework


def read_weights(document: Document, asset: Json) -> str | None:
    """A path, an address, or ``hub:NAME``; None when a person must get them."""
    href = document.need(asset, "href", str)
    if asset.get("geoseg:obtain") is not None:
        return None
    return hub_name(href) or absolute(file_address(href), document.path)


def read_checksum(document: Document, asset: Json) -> str | None:
    """``sha256:<hex>`` of a multihash, which may be that of the first bytes alone: its second byte counts them."""
    found = asset.get("file:checksum") or document.properties.get("file:checksum")
    if found is None:
        return None
    text = str(found).lower()
    if (parts := re.fullmatch(r"12([0-9a-f]{2})([0-9a-f]{8,64})", text)) and len(parts[2]) == 2 * int(parts[1], 16):
        return f"sha256:{parts[2]}"
    raise document.error("file:checksum", f"has the value {found!r}; give a SHA-256 as multihash ({MULTIHASH}...)")


def read_weights_bytes(document: Document, asset: Json) -> int | None:
    """The size of the weights: as it stands there, or four bytes a parameter."""
    size = document.need(asset, "file:size", int, 0) or document.optional("file:size", int)
    parameters = document.optional("mlm:total_parameters", int)
    for name, value in (("file:size", size), ("mlm:total_parameters", parameters)):
        if value is not None and value < 0:
            raise document.error(name, f"is {value}; give a number of 0 or more")
    return cast("int | None", size or (4 * parameters if parameters else None))
