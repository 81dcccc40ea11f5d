"""Models at an address or on the Hugging Face hub: brought to this machine once, as what they are here.

An item is kept as JSON with absolute addresses, a file as weights are kept, a repository of the hub where the hub's own
library keeps it. What comes from elsewhere may name nothing on this machine.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from geoseg.errors import CatalogError
from geoseg.models.spec import HUB, ModelSpec
from geoseg.models.stac import Json, texts, write_json
from geoseg.models.state_dicts import PICKLES
from geoseg.models.weights import TIMEOUT, cached_file, file_address, hub_name, resolve_folder, resolve_weights

FILES = (".onnx", ".pt2", ".safetensors", ".torchscript", ".pts", *PICKLES)
"""Suffixes of addresses of a model's file; any other address is that of an item."""

MOST_BYTES = 16 << 20
"""Bytes that an item may have."""

LOCAL = ("text_model",)
"""Hyperparameters that name a folder."""

PATHS = ("/", "\\", "~", ".", "file:")
"""How paths begin."""


def is_address(source: str | Path) -> bool:
    """Say whether a model lies elsewhere: ``https://...``, ``http://...`` or ``hub:ORG/NAME``."""
    return isinstance(source, str) and (source.startswith(HUB) or urlsplit(source).scheme in ("http", "https"))


def bring_here(source: str | Path) -> Path:
    """Return the item's file, the model's file or the folder on this machine; fetched unless it is there.

    Raises
    ------
    CatalogError
        An item that cannot be fetched, is none, or names what is not at an address.
    WeightsError
        A file or folder that cannot be fetched, or would come without encryption.
    """
    if not isinstance(source, str) or not is_address(source):
        return Path(source)
    name = hub_name(source) or source
    if name.startswith(HUB):
        return _bring_folder(name)
    address = file_address(source)
    path = PurePosixPath(unquote(urlsplit(address).path))
    if path.suffix.lower() in FILES:
        return resolve_weights(_weights(path.name, address, "fetch it and give its path."))
    here = cached_file(address).with_suffix(".json")
    return here if here.is_file() else _bring_item(address, here)


def public_address(source: str | Path, here: Path) -> str:
    """Return the address of what `bring_here` brought: a path, or where others find the same; of the hub its commit."""
    if not isinstance(source, str) or not is_address(source):
        return str(here.resolve())
    name = hub_name(source) or source
    return f"{name.partition('@')[0]}@{here.name}" if name.startswith(HUB) else file_address(source)


def public_name(source: str | Path, here: Path) -> str:
    """Return what a model is called that has no name: as its file, folder or repository."""
    here = here.resolve()
    name = (hub_name(source) or source) if isinstance(source, str) else ""
    if name.startswith(HUB):
        return name.partition("@")[0].rpartition("/")[2]
    return here.name if here.is_dir() else here.stem


def _weights(name: str, address: str, obtain: str = "") -> ModelSpec:
    """A model of which nothing is known but where its weights are."""
    return ModelSpec(name, "semantic-segmentation", (), (), weights=address, obtain=obtain)


def _bring_folder(name: str) -> Path:
    """Let the hub's own library fetch a repository."""
    repository = name.removeprefix(HUB)
    if "/" not in repository:
        raise CatalogError(f"model '{name}' has no owner; give hub:ORG/NAME.")
    return resolve_folder(_weights(repository, name))


def _bring_item(address: str, here: Path) -> Path:
    """Fetch an item and keep it, with addresses that are right wherever it lies."""
    content, place = _fetch(address)
    try:
        item = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"'{address}' is not JSON ({error}); give the address of a STAC item or a model.") from error
    if not isinstance(item, dict) or not isinstance(item.get("assets"), dict):
        raise CatalogError(f"'{address}' is no STAC item with assets; give the address of one, or of a model.")
    refuse_local(address, item)
    placed = {key: _placed(address, place, key, asset) for key, asset in item["assets"].items()}
    try:
        here.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(
            f"the cache folder '{here.parent}' cannot be written ({error}); set XDG_CACHE_HOME to one that can."
        ) from error
    return write_json(here, {**item, "assets": placed})


def _fetch(address: str) -> tuple[bytes, str]:
    """What an address answers, and where the answer is from."""
    _require_https(address, address)
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 - https only
            _require_https(address, answer.url)
            content, place = answer.read(MOST_BYTES + 1), str(answer.url)
    except (OSError, ValueError, HTTPException) as error:
        raise CatalogError(
            f"'{address}' cannot be fetched ({error}); check address and connection, or give the path of an item."
        ) from error
    if len(content) > MOST_BYTES:
        raise CatalogError(f"'{address}' has more than {MOST_BYTES >> 20} MiB, which no STAC item has; correct it.")
    return content, place


def _require_https(address: str, place: str) -> None:
    if urlsplit(place).scheme != "https":
        raise CatalogError(
            f"'{address}' would come without encryption (from {place}), so it could be replaced on the way; give "
            "https, or fetch it and give its path."
        )


def _placed(address: str, place: str, key: str, asset: Any) -> Json:
    """An asset with an absolute address, which must be one."""
    href = asset.get("href") if isinstance(asset, Mapping) else None
    if not isinstance(href, str):
        raise CatalogError(f"asset '{key}' of '{address}' has no href; correct the item.")
    found = href if href.startswith(HUB) else urljoin(place, href)
    if href.startswith("/vsi") or (urlsplit(found).scheme not in ("http", "https") and not found.startswith(HUB)):
        raise CatalogError(
            f"asset '{key}' of '{address}' has the href '{href}', and an item at an address may only name addresses; "
            "fetch it and give its path if you trust it."
        )
    return {**asset, "href": found}


def refuse_local(address: str, item: Json) -> None:
    """Refuse an item from an address whose hyperparameters name what is on this machine.

    Raises
    ------
    CatalogError
        One does.
    """
    properties = item.get("properties")
    said = properties.get("mlm:hyperparameters") if isinstance(properties, Mapping) else None
    for name, value in said.items() if isinstance(said, Mapping) else ():
        if any(_is_local(text, name) for text in texts(value)):
            raise CatalogError(
                f"'{address}' has the hyperparameter {name} {value!r}, and an item at an address may only name what is "
                "at one (hub:ORG/NAME); fetch it and give its path if you trust it."
            )


def _is_local(text: str, name: str) -> bool:
    """Whether a text may be a path of this machine; some hyperparameters are one unless they name the hub."""
    return (name in LOCAL and not text.startswith(HUB)) or text.startswith(PATHS) or "local-dir:" in text
