"""From an address to STAC items: an item, an item collection, a static catalog or collection, or an API that searches.

It fetches JSON, through pystac and pystac-client; what stands in an item is read elsewhere. Both are imported where
something is fetched: that takes a third of a second, and most runs map files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shapely.errors import ShapelyError

from geoseg.errors import CatalogError, GeosegError, WorkflowError
from geoseg.imagery.searching import Search
from geoseg.raster.tile_cache import AGENT

if TYPE_CHECKING:
    from pystac_client.stac_api_io import StacApiIO

TIMEOUT = 30.0
"""Seconds that a server has for an answer; it is asked up to 5 times."""

ROOTS = ("catalog.json", "collection.json")
"""Files that make a folder a static catalog."""

_ENDINGS = ("", ".json", ".geojson")
_KINDS = ("Feature", "FeatureCollection", "Catalog", "Collection")

Json = dict[str, Any]

ADDRESS = "geoseg:address"
"""Where an item was read, whatever it says of itself."""

REMOTE = ("http", "https", "s3", "gs", "az", "oss")
"""Schemes of addresses that a document from the network may name."""


def is_document(given: Any) -> bool:
    """Say whether an input is STAC: a JSON file, a folder with a catalog, or an address that names no raster file."""
    if is_read_item(given):
        return True
    if isinstance(given, list | tuple):
        return bool(given) and all(is_document(item) for item in given)
    if not isinstance(given, str | Path):
        return False
    parts = urlsplit(str(given))
    if parts.scheme in ("http", "https"):
        return Path(parts.path).suffix.lower() in _ENDINGS or _is_version(Path(parts.path).suffix)
    path = Path(given).expanduser()
    if path.is_dir():
        return any((path / name).is_file() for name in ROOTS)
    return path.suffix.lower() in _ENDINGS[1:] and path.is_file()


def is_read_item(given: Any) -> bool:
    """Say whether an input is an item itself, as `read_items` returns it."""
    return isinstance(given, Mapping) and ADDRESS in given


def is_remote(address: str) -> bool:
    """Say whether a document of this address comes from the network, and so may not name what lies on this machine."""
    return urlsplit(address).scheme in ("http", "https")


def refuse_local(address: str, named: str) -> None:
    """Refuse a file of this machine, or anything but an address, that a document from the network names.

    Raises
    ------
    CatalogError
        The document would have files of its reader opened.
    """
    if is_remote(address) and urlsplit(named).scheme not in REMOTE:
        raise CatalogError(
            f"'{address}' comes from the network and names '{named}', which is not an address; save that document as "
            "a file, and correct the name there if you trust it."
        )


def load_documents(given: Any) -> dict[str, Json]:
    """Load what `is_document` says yes to, by address.

    Raises
    ------
    CatalogError
        Something is not there, or is neither STAC nor TileJSON.
    """
    if is_read_item(given):
        return {str(given[ADDRESS]): dict(given)}
    return {str(address): _load(str(address)) for address in (given if isinstance(given, list | tuple) else [given])}


def read_items(documents: Mapping[str, Json], search: Search) -> list[Json]:
    """Read the items that are wanted.

    Parameters
    ----------
    documents : mapping of str to dict
        As `load_documents` returns them.
    search : Search
        What is wanted of it.

    Returns
    -------
    list of dict
        Items, each once, in the catalog's order; every address in them is absolute, and so is their ``self`` link.

    Raises
    ------
    CatalogError
        Something is no STAC, does not answer, or has no item that is wanted.
    WorkflowError
        A server is asked for its whole collection.
    """
    found: dict[tuple[str, str], Json] = {}
    for address, document in documents.items():
        with well_formed(f"'{address}'"):
            for item in _items(address, document, search):
                if search.accepts(item):
                    found.setdefault((str(item.get("collection")), str(item.get("id"))), item)
    if not found:
        wanted = f" with {_spoken(search)}" if not search.is_empty or search.region else ""
        raise CatalogError(
            f"'{next(iter(documents))}' has no item{wanted}; ask for other dates, collections or another region."
        )
    return list(found.values())


@contextmanager
def well_formed(name: str) -> Iterator[None]:
    """Tell in a sentence what goes wrong because a field of a STAC document has another type than STAC says.

    Raises
    ------
    CatalogError
        With the document's name.
    """
    try:
        yield
    except GeosegError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ShapelyError) as error:
        raise CatalogError(
            f"{name} has a field that is not valid STAC ({type(error).__name__}: {_reason(error)}); correct it, or "
            "give the files themselves as input."
        ) from error


def _items(address: str, document: Json, search: Search) -> Iterator[Json]:
    """The items of one document, wanted or not."""
    kind = document.get("type")
    if kind == "Feature":
        yield _absolute(document, address)
    elif kind == "FeatureCollection":
        for item in document.get("features") or []:
            yield _absolute(item, address)
    elif kind == "Catalog" and document.get("conformsTo"):
        yield from _searched(address, search)
    elif kind == "Collection" and (root := _api_of(document)) is not None:
        refuse_local(address, root)
        only = Search((str(document.get("id")),), search.datetime, search.query, search.region)
        yield from _searched(root, only)
    else:
        yield from _linked(document, address, {address})


def _load(address: str) -> Json:
    """Fetch a document.

    Raises
    ------
    CatalogError
        It is not there, or is no STAC.
    """
    path = Path(address).expanduser()
    if path.is_dir():
        return _load(str(_root_of(path)))
    from pystac_client.exceptions import APIError

    try:
        text = _client_io().read_text(address) if "://" in address else path.read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, APIError, ValueError) as error:
        raise CatalogError(
            f"'{address}' cannot be read as STAC ({_reason(error)}); give an item, an item collection, a catalog, the "
            "address of a STAC API, or a raster."
        ) from error
    if isinstance(document, dict) and "tilejson" in document:
        return document
    if not isinstance(document, dict) or document.get("type") not in _KINDS:
        raise CatalogError(
            f"'{address}' is JSON but no STAC; give an item, an item collection, a catalog or the address of an API."
        )
    if document["type"].startswith("Feature") and not _is_stac(document):
        raise CatalogError(
            f"'{address}' is GeoJSON but no STAC, so it holds no imagery; give rasters as input, polygons as region."
        )
    return document


def _client_io() -> StacApiIO:
    from pystac_client.stac_api_io import StacApiIO

    return StacApiIO(timeout=TIMEOUT, headers={"User-Agent": AGENT})


def _is_stac(document: Json) -> bool:
    features = [document] if document["type"] == "Feature" else document.get("features") or []
    return all("assets" in feature for feature in features) and (bool(features) or "stac_version" in document)


def _root_of(folder: Path) -> Path:
    return next(folder / name for name in ROOTS if (folder / name).is_file())


def _searched(root: str, search: Search) -> Iterator[Json]:
    """The items that a server finds."""
    if search.outline is None:
        raise WorkflowError(f"'{root}' would return every item without a region; give --region with the area to map.")
    import pystac
    from pystac_client import Client
    from pystac_client.exceptions import APIError

    try:
        client = Client.open(root, stac_io=_client_io())
        asked = search.parameters
        if not client.conforms_to("QUERY"):  # such servers answer conditions wrongly; what comes is looked at anyway
            asked = {key: value for key, value in asked.items() if key != "query"}
        for item in client.search(**asked).items_as_dicts():
            yield _absolute(item, root)
    except (APIError, NotImplementedError, pystac.STACError, OSError) as error:
        raise CatalogError(
            f"the STAC API '{root}' did not answer the search ({_reason(error)}); correct collections, datetime and "
            "query, or try again later."
        ) from error


def _api_of(collection: Json) -> str | None:
    """The address of the API that a collection belongs to; None for one whose items are files."""
    links = {link.get("rel"): link.get("href") for link in collection.get("links") or []}
    return str(links["root"]) if "items" in links and "root" in links else None


def _linked(document: Json, address: str, seen: set[str]) -> Iterator[Json]:
    """The items that a static catalog links, and those of the catalogs that it links, each document once."""
    from pystac.utils import make_absolute_href

    base = str(_root_of(Path(address).expanduser())) if Path(address).is_dir() else address
    for link in document.get("links") or []:
        if link.get("rel") in ("item", "child"):
            href = make_absolute_href(str(link.get("href")), base)
            refuse_local(base, href)
            if href in seen:
                continue
            seen.add(href)
            target = _load(href)
            if link["rel"] == "item":
                yield _absolute(target, href)
            else:
                yield from _linked(target, href, seen)


def _absolute(item: Json, address: str) -> Json:
    """The item with absolute addresses."""
    from pystac.utils import make_absolute_href

    links = item.get("links") or []
    own = next((str(link.get("href")) for link in links if link.get("rel") == "self"), None)
    home = make_absolute_href(own, address) if own else make_absolute_href(address, None)
    home = address if is_remote(address) and not is_remote(home) else home
    assets = {
        key: {**asset, "href": _file(make_absolute_href(str(asset.get("href")), home))}
        for key, asset in (item.get("assets") or {}).items()
    }
    others = [link for link in links if link.get("rel") != "self"]
    return {**item, "assets": assets, "links": [*others, {"rel": "self", "href": home}], ADDRESS: address}


def _file(href: str) -> str:
    return href.removeprefix("file://") if href.startswith("file:///") else href


def _is_version(suffix: str) -> bool:
    """Say whether what looks like an ending is a version, as in ``https://host/v1.0``."""
    return suffix[1:].isdigit()


def _spoken(search: Search) -> str:
    parts = {
        "collections": ", ".join(search.collections),
        "datetime": search.datetime,
        "query": "; ".join(f"{name} {tests}" for name, tests in (search.query or {}).items()),
        "a place in the region": "" if search.region is None else " ",
    }
    return ", ".join(f"{name} {value}".strip() for name, value in parts.items() if value)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160].rstrip(".")
