"""The catalog: which models and which imagery are known by name, and where they lie.

A STAC catalog with two collections, ``models`` (MLM items) and ``imagery``, and a person's own beside the shipped one.
It reads JSON and resolves names to specs and paths; it opens no raster and no weights.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from geoseg.errors import CatalogError, InputNotFoundError, nearest
from geoseg.models.addresses import bring_here, is_address
from geoseg.models.background import with_background
from geoseg.models.embedding import MODEL
from geoseg.models.item import read_model_item
from geoseg.models.item_copying import copy_model_item
from geoseg.models.item_document import Document
from geoseg.models.item_writing import write_model_item
from geoseg.models.packagings import find_packaging
from geoseg.models.spec import ModelSpec
from geoseg.models.stac import absolute, read_json, write_collection
from geoseg.models.weights import is_folder, with_own_size
from geoseg.showing import cards

__all__ = [
    "COLLECTION",
    "Imagery",
    "add_model",
    "catalogs_home",
    "find_entry",
    "find_imagery",
    "find_model",
    "is_name",
    "list_imagery",
    "list_models",
    "locate_model",
    "locate_workflow",
    "own_catalog_home",
    "read_imagery_item",
    "read_model_item",
    "resolve_input",
    "workflow_names",
    "workflows_home",
    "write_model_item",
]


YAML_ENDINGS = ".yaml", ".yml"

Item = TypeVar("Item", "ModelSpec", "Imagery")

COLLECTION = "collection.json"
"""File of a STAC collection."""


@dataclass(frozen=True)
class Imagery:
    """Imagery of the catalog.

    Attributes
    ----------
    name : str
        The name in the catalog.
    paths : tuple of str
        Files or addresses of the rasters, in the item's order.
    bands : tuple of str
        Names of the bands, file after file; empty when the item does not say.
    description, license, attribution : str
        For people.
    """

    name: str
    paths: tuple[str, ...]
    bands: tuple[str, ...] = ()
    description: str = ""
    license: str = ""
    attribution: str = ""


class Entries(list[Item]):
    """What a catalog has, which a notebook shows as a table."""

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [_row(item) for item in self]

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {kind}, {bands}" for name, kind, bands, _ in self._rows()) or "nothing"

    def _repr_html_(self) -> str:
        return cards("Catalog", [(("name", "what", "bands", "licence"), self._rows())])


def _row(item: ModelSpec | Imagery) -> tuple[str, str, str, str]:
    """Name, kind, bands and licence of an entry."""
    if isinstance(item, ModelSpec):
        seen = "any resolution" if item.resolution is None else f"{item.resolution:g} m"
        return item.name, f"{item.task}, {seen}", " ".join(item.band_names), item.license
    count = len(item.paths)
    return item.name, f"{count} file{'s' if count != 1 else ''}", " ".join(item.bands) or "bands not said", item.license


def catalogs_home() -> Path:
    """The folder of the shipped catalog: inside an installed package, beside it in a checkout."""
    return _home("catalogs")


def workflows_home() -> Path:
    """The folder of the shipped workflows: inside an installed package, beside it in a checkout."""
    return _home("workflows")


def workflow_names() -> list[str]:
    """Names of the workflows that map, which come with geoseg."""
    return sorted(item.stem for item in workflows_home().glob("*.yaml") if not item.stem.startswith("train_"))


def locate_workflow(name: str | Path) -> Path | None:
    """Return the file of a workflow or recipe: a path that exists, or a shipped one by its bare name.

    Returns
    -------
    Path or None
        None for what is neither a YAML file nor the name of a shipped one: imagery.

    Raises
    ------
    InputNotFoundError
        A YAML file that does not exist: only a name without folder and ending stands for a shipped file.
    """
    path, text = Path(name), os.fspath(name)
    if path.suffix.lower() in YAML_ENDINGS:
        if path.is_file():
            return path
        shipped_names = [item.stem for item in workflows_home().glob("*.yaml")]
        raise InputNotFoundError(f"{text} does not exist; {nearest(path.stem, sorted(shipped_names))}")
    shipped = workflows_home() / f"{text}.yaml"
    return shipped if text == path.name and shipped.is_file() and not path.is_file() else None


def _home(name: str) -> Path:
    package = Path(__file__).resolve().parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


def own_catalog_home() -> Path:
    """The folder of a person's own catalog: ``GEOSEG_CATALOG``, else ``geoseg/catalog`` by the XDG convention."""
    if named := os.environ.get("GEOSEG_CATALOG"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "geoseg" / "catalog"


def list_models(home: Path | None = None) -> Entries[ModelSpec]:
    """Every model of the catalogs, by name.

    Parameters
    ----------
    home : Path, optional
        The folder of the only catalog to look into; the shipped one and a person's own by default.
    """
    return Entries(with_background(read_model_item(path)) for path in _items("models", home).values())


def list_imagery(home: Path | None = None) -> Entries[Imagery]:
    """All imagery of the catalog, by name."""
    return Entries(read_imagery_item(path) for path in _items("imagery", home).values())


def find_model(name: str | Path, home: Path | None = None) -> ModelSpec:
    """Return the model of a name, of an item's file, or of a folder that holds one item.

    Parameters
    ----------
    name : str or Path
        A name of the catalog, the path of an item (``.json``), the path of a folder with one, or a packaging: an ONNX
        file or a folder that a library saved (`geoseg.models.packagings`). An item or an ONNX file may lie at an
        address (``https://...``), a folder on the Hugging Face hub (``hub:ORG/NAME``).
    home : Path, optional
        As in `list_models`.

    Raises
    ------
    CatalogError
        When there is none; the message names the nearest known name.
    """
    return find_entry(name, home)[0]


def find_entry(name: str | Path, home: Path | None = None) -> tuple[ModelSpec, Document]:
    """Return the model of a name as `find_model` does, and the item that was read.

    Raises
    ------
    CatalogError
        As `find_model`.
    """
    document = Document(locate_model(name, home))
    source, spec = document.source, with_background(read_model_item(document))
    is_fetched = is_address(source) and not is_folder(spec)
    return with_own_size(spec, bring_here(source) if is_fetched else None), document


def locate_model(name: str | Path, home: Path | None = None) -> str | Path:
    """Return the item's file of a model, found as `find_model` finds it; an address as it is.

    Raises
    ------
    CatalogError
        As `find_model`.
    """
    return name if is_address(name) else _find("models", "model", name, home)


def add_model(item: str | Path, home: Path | None = None, *, overwrite: bool = False) -> Path:
    """Take a model over into a catalog: its item, and its weights when they are on this machine.

    Parameters
    ----------
    item : str or Path
        Anyone's MLM item, or a packaging.
    home : Path, optional
        The catalog's folder; a person's own by default.
    overwrite : bool
        Whether a model of the same name there is replaced.

    Returns
    -------
    Path
        The item's file in the catalog; its stem is the name that finds the model.

    Raises
    ------
    CatalogError
        When the item cannot be used, or the name is taken.
    WeightsError
        When its weights should be on this machine and are not, or their checksum differs.
    OutputError
        When the catalog cannot be written.
    """
    collection = (home or own_catalog_home()) / "models"
    document = Document(item)
    spec = read_model_item(document)
    name = re.sub(r"[^\w.-]+", "-", spec.name).strip("-.") or "model"
    known = _items("models", home)
    if name in known and not overwrite:
        raise CatalogError(
            f"model '{name}' is in the catalog already ('{known[name]}'); give it another mlm:name, or --overwrite."
        )
    target = collection / name / f"{name}.json"
    if target.resolve() == Path(item).resolve():
        raise CatalogError(f"model '{name}' lies in this catalog ('{target}'); there is nothing to add.")
    if not (collection / COLLECTION).is_file():
        write_collection(collection / COLLECTION, "models", "Models that were added here.")
    return copy_model_item(document, spec, target)


def find_imagery(name: str | Path, home: Path | None = None) -> Imagery:
    """Return the imagery of a name, of an item's file, or of a folder that holds one item.

    Raises
    ------
    CatalogError
        As `find_model`.
    """
    return read_imagery_item(_find("imagery", "imagery", name, home))


def resolve_input(source: Any) -> Any:
    """Replace a name of the catalog's imagery by its entry; anything else, and any file or folder, stays as it is.

    Parameters
    ----------
    source : path, list or dict
        As ``input`` of a workflow.

    Raises
    ------
    CatalogError
        A plain word that is neither a file nor a name of the catalog.
    """
    if not isinstance(source, str) or any(mark in source for mark in "/\\*?"):
        return source
    is_entry = is_name("imagery", source)
    if not is_entry and (Path(source).exists() or "." in source):
        return source
    return str(_find("imagery", "imagery", source, None))


def is_name(collection: Literal["models", "imagery"], value: str) -> bool:
    """Say whether a word means an entry of the catalogs, even where a file or folder has that name.

    Names of models come first. Imagery that lies here comes before entries, but the folder of a run is no imagery.
    """
    is_hidden = collection == "imagery" and Path(value).exists() and not (Path(value) / "state").is_dir()
    return value in _items(collection, None) and not is_hidden


def _items(collection: str, home: Path | None) -> dict[str, Path]:
    """Entries of a collection by name; a person's own goes before a shipped one of its name.

    An item is ``<name>/<name>.json``, a collection of items ``<name>/collection.json``.
    """
    homes = [catalogs_home(), own_catalog_home()] if home is None else [home]
    found = [path for folder in homes for path in (folder / collection).glob("*/*.json")]
    known = {path.parent.name: path for path in found if path.name in (COLLECTION, f"{path.parent.name}.json")}
    return {name: known[name] for name in sorted(known)}


def _find(collection: str, kind: str, name: str | Path, home: Path | None) -> Path:
    """The item that a name or path means; a name of the catalog comes first."""
    known = _items(collection, home)
    path = Path(name)
    if str(name) in known:
        return known[str(name)]
    if collection == "models" and find_packaging(path) is not None:
        return path
    if path.is_dir():
        inside = sorted(path.glob("*.json"))
        if not inside and (path / MODEL).is_file():
            return path
        if len(inside) != 1:
            raise CatalogError(f"folder '{path}' holds {len(inside)} .json files; give the path of one STAC item.")
        return inside[0]
    if path.suffix == ".json":
        return path
    raise CatalogError(f"{kind} '{name}' is not in the catalog; {nearest(str(name), sorted(known))}.")


def read_imagery_item(path: str | Path) -> Imagery:
    """Read an imagery item, its assets with the role ``data``, or all of them when none has it; or a collection.

    Raises
    ------
    CatalogError
        When the file is missing or is not an item with assets.
    """
    path = Path(path)
    item = read_json(path)
    if item.get("type") == "Collection":
        return _imagery_of_collection(item, path)
    properties = item.get("properties") or {}
    assets = list((item.get("assets") or {}).values())
    data = [asset for asset in assets if "data" in (asset.get("roles") or [])] or assets
    if item.get("type") != "Feature" or not data:
        raise CatalogError(f"catalog entry '{path}' is not a STAC item with assets; give one of imagery.")
    bands = [band for asset in data for band in asset.get("bands") or asset.get("eo:bands") or []]
    return Imagery(
        name=str(item.get("id")),
        paths=tuple(absolute(str(asset.get("href")), path) for asset in data),
        bands=tuple(str(band.get("name")) for band in bands),
        description=str(properties.get("description") or ""),
        license=str(properties.get("license") or ""),
        attribution=str(properties.get("attribution") or ""),
    )


def _imagery_of_collection(collection: Mapping[str, Any], path: Path) -> Imagery:
    """All imagery of a collection's items, with the bands of the first."""
    links = [link for link in collection.get("links") or [] if link.get("rel") == "item"]
    items = [read_imagery_item(absolute(str(link["href"]), path)) for link in links]
    if not items:
        raise CatalogError(f"catalog entry '{path}' has no items; add some with `geoseg catalog add FOLDER`.")
    return Imagery(
        name=str(collection.get("id")),
        paths=tuple(file for item in items for file in item.paths),
        bands=items[0].bands,
        description=str(collection.get("description") or ""),
        license=str(collection.get("license") or ""),
        attribution=items[0].attribution,
    )
