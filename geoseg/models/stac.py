"""STAC documents as files: read whole, written whole, an item linked with its collection.

It knows JSON and the frame that every item has, nothing of models or imagery.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from geoseg.errors import CatalogError
from geoseg.files import plain, write_file

Json = Mapping[str, Any]

VERSION = "1.1.0"
"""Version of STAC that is written."""


def write_item(
    path: str | Path,
    name: str,
    bbox: Sequence[float],
    properties: Json,
    *,
    geometry: Json | None = None,
    extensions: Sequence[str] = (),
    assets: Json,
) -> Path:
    """Write an item, and link it with the collection in the folder above its own, if there is one.

    Parameters
    ----------
    path : str or Path
        The item's file, from `item_path`.
    name : str
        Its id.
    bbox : sequence of float
        West, south, east, north, degrees.
    properties, assets : mapping
        As they stand in the item.
    geometry : mapping, optional
        GeoJSON; the rectangle of ``bbox`` by default.
    extensions : sequence of str
        Addresses of the extensions that it uses.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    path = Path(path)
    if geometry is None and bbox:
        west, south, east, north = bbox
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
    item = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": list(extensions),
        "id": name,
        "geometry": geometry,
        **({"bbox": list(bbox)} if bbox else {}),
        "properties": properties,
        "assets": assets,
        "links": [],
    }
    link_to_collection(path, item)
    return write_json(path, item)


def update_item(path: Path, properties: Json, assets: Mapping[str, Json] | None = None) -> Path:
    """Replace properties of an item in its file, where a value of None removes one, and assets.

    Raises
    ------
    CatalogError
        When the file cannot be read.
    OutputError
        When it cannot be written.
    """
    item = read_json(path)
    kept = {key: value for key, value in item.get("properties", {}).items() if key not in properties}
    new = {key: value for key, value in properties.items() if value is not None}
    return write_json(path, {**item, "properties": kept | new, "assets": {**item.get("assets", {}), **(assets or {})}})


def item_path(path: str | Path, name: str) -> Path:
    """The file of an item: the path itself when it is one, else ``<name>.json`` in that folder."""
    path = Path(path)
    return path if path.suffix == ".json" else path / f"{name}.json"


def absolute(href: str, item: Path) -> str:
    """An item's address as a path or address that works anywhere; relative ones begin at the item's folder."""
    parts = urlsplit(href)
    if parts.scheme == "file":
        return unquote(parts.path)
    return href if len(parts.scheme) > 1 else str((item.resolve().parent / href).resolve())


def relative(address: str, item: Path) -> str:
    """An address as it is written into an item: relative when it lies in the item's folder."""
    if len(urlsplit(address).scheme) > 1:
        return address
    path, folder = Path(address).resolve(), item.resolve().parent
    return f"./{path.relative_to(folder).as_posix()}" if path.is_relative_to(folder) else str(path)


def link_to_collection(path: Path, item: dict[str, Any]) -> None:
    """Link an item to the collection in the folder above its own, if there is one, and the collection to the item.

    Parameters
    ----------
    path : Path
        Where the item will be written.
    item : dict
        The item; links of its own to other collections are replaced.
    """
    collection_path = path.parent.parent / "collection.json"
    if not collection_path.is_file():
        return
    collection = read_json(collection_path)
    item["collection"] = collection.get("id")
    item["links"] = [
        {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        {"rel": "parent", "href": "../collection.json", "type": "application/json"},
        *(link for link in item["links"] if link.get("rel") not in ("collection", "parent")),
    ]
    href = f"./{path.parent.name}/{path.name}"
    if not any(link.get("href") == href for link in collection.get("links", [])):
        link = {"rel": "item", "href": href, "type": "application/geo+json"}
        write_json(collection_path, {**collection, "links": [*collection.get("links", []), link]})


def write_collection(path: Path, name: str, description: str) -> Path:
    """Write a collection that holds no item yet and sets no limits in place or time.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    extent = {"spatial": {"bbox": [[-180.0, -90.0, 180.0, 90.0]]}, "temporal": {"interval": [[None, None]]}}
    collection = {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": [],
        "id": name,
        "description": description,
        "license": "other",
        "extent": extent,
        "links": [],
    }
    return write_json(path, collection)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    CatalogError
        When the file is missing or holds anything else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CatalogError(f"catalog entry '{path}' does not exist; give the path of a STAC item (.json).") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CatalogError(f"catalog entry '{path}' is not JSON ({error}); give a STAC item.") from error
    if not isinstance(document, dict):
        raise CatalogError(f"catalog entry '{path}' is not a JSON object; give a STAC item.")
    return document


def write_json(path: Path, document: Json) -> Path:
    """Write a JSON object, whole or not at all.

    Raises
    ------
    OutputError
        When the folder cannot be written.
    """
    text = json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))
    return path


def texts(value: Any) -> Iterator[str]:
    """Give every text in a value of JSON, at every depth; keys are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from texts(item)
