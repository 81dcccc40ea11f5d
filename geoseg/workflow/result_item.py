"""The results of a run as a STAC item, ``item.json``: the next tool finds them, and what they were made from."""

from __future__ import annotations

import json
import os
import re
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from geoseg.catalog import locate_model
from geoseg.errors import ReportWarning
from geoseg.export import PRODUCTS
from geoseg.files import plain, write_json
from geoseg.imagery.describing import PROJECTION, describe
from geoseg.models.spec import HUB, NODATA, ClassSpec
from geoseg.models.stac import VERSION
from geoseg.models.weights import hub_page
from geoseg.options import Workflow
from geoseg.planning import Plan
from geoseg.raster import unsigned
from geoseg.raster.handles import is_remote
from geoseg.raster.placing import crs_label
from geoseg.vector import FORMATS
from geoseg.workflow.manifest import RunResult

NAME = "item.json"

EXTENSIONS = (
    PROJECTION,
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
)
RASTER = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
ZARR = "application/vnd.zarr; version=3"
ITEM = "application/geo+json"


def try_result_item(wanted: Workflow, result: RunResult) -> Path | None:
    """Describe the results of a run beside them; what goes wrong is a warning, because the results are there."""
    try:
        return write_result_item(wanted, result)
    except Exception as error:  # noqa: BLE001 - no description is worth a run
        reason = (str(error) or type(error).__name__).rstrip(".")
        warnings.warn(
            ReportWarning(f"{result.output / NAME} was not written ({reason}); the results are whole."), stacklevel=2
        )
        return None


def write_result_item(wanted: Workflow, result: RunResult) -> Path:
    """Describe the results of a run beside them.

    Parameters
    ----------
    wanted : Workflow
        The run, as a person wrote it.
    result : RunResult
        What it has made.

    Returns
    -------
    Path
        The item's file.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    made = result.plan
    place = describe(made.raster.geobox, made.region.region if made.region else None)
    if place.geometry is None and not made.raster.is_plain:
        label = crs_label(made.raster.crs)
        warnings.warn(
            ReportWarning(
                f"{NAME} has no footprint, because {label} is not a CRS of the earth; the results are whole."
            ),
            stacklevel=3,
        )
    item = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [*EXTENSIONS, *([RASTER] if result.products else [])],
        "id": result.output.resolve().name or "run",
        "geometry": place.geometry,
        **({} if place.bbox is None else {"bbox": place.bbox}),
        "properties": {
            **_times(made),
            **place.properties,
            "processing:software": {"geoseg": version("geoseg")},
            **_attribution(wanted, made),
        },
        "assets": _assets(result),
        "links": [_near(link, result.output) for link in (*_sources(made), *_models(wanted))],
    }
    path = result.output / NAME
    write_json(path, json.loads(unsigned(json.dumps(plain(item)))))
    return path


def _times(made: Plan) -> dict[str, Any]:
    """When the imagery was taken, as far as it is known; else when the map was made."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    taken = sorted(scene.taken for scene in made.raster.scenes if scene.taken)
    if not taken:
        return {"datetime": now, "created": now}
    if taken[0] == taken[-1]:
        return {"datetime": taken[0], "created": now}
    return {"datetime": None, "start_datetime": taken[0], "end_datetime": taken[-1], "created": now}


def _attribution(wanted: Workflow, made: Plan) -> dict[str, str]:
    """Whose imagery was mapped, as a person or the imagery itself says."""
    declared = dict.fromkeys(source.attribution for source in made.raster.sources if source.attribution)
    text = wanted.attribution or "; ".join(declared)
    return {"attribution": text} if text else {}


def _assets(result: RunResult) -> dict[str, Any]:
    classes = [class_entry(item) for item in result.plan.classes]
    labels = {"name": "labels", "data_type": "uint8", "nodata": NODATA, "classification:classes": classes}
    assets: dict[str, Any] = {"labels": _asset(result.labels_path, COG, ["data", "labels"], bands=[labels])}
    if result.instances_path is not None:
        band = {"name": "instances", "data_type": "uint32", "nodata": 0}
        assets["instances"] = _asset(result.instances_path, COG, ["data", "labels"], bands=[band])
    for path in result.products:
        assets[path.stem if path.stem not in assets else path.name] = _product(path, result.plan)
    for path in result.features_paths:
        key = path.stem if path.stem not in assets else path.name
        assets[key] = _asset(path, FORMATS[path.suffix.lower()].media_type, ["data"])
    assets["run"] = _asset(result.run_file, "application/json", ["metadata"])
    if result.report is not None:
        assets["report"] = _asset(result.report, "text/html", ["metadata", "overview"])
    return {
        key: {**asset, "href": f"./{os.path.relpath(asset['href'], result.output)}"} for key, asset in assets.items()
    }


def _product(path: Path, made: Plan) -> dict[str, Any]:
    """A raster of numbers, with what they mean (STAC 1.1, section "Bands", and the raster extension 2.0)."""
    product = PRODUCTS[path.stem]
    names = product.bands(made) or (product.description,)
    common: dict[str, Any] = {"data_type": product.dtype, "nodata": product.nodata, "raster:scale": product.scale}
    if path.stem == "labels":
        common = {**common, "classification:classes": [class_entry(item) for item in made.classes]}
    bands = [{"name": name, **common} for name in names]
    return _asset(path, ZARR if path.suffix == ".zarr" else COG, ["data"], bands=bands)


def class_entry(item: ClassSpec) -> dict[str, Any]:
    """A class as the classification extension 2.0 has it: its name is one word of ASCII, its title the name itself."""
    word = re.sub("[^0-9A-Za-z_-]+", "_", item.name).strip("_") or f"class_{item.value}"
    return {
        "value": item.value,
        "name": word,
        "title": item.name,
        "description": item.description or item.name,
        "color_hint": item.color.lstrip("#").upper(),
    }


def _asset(path: Path, media: str, roles: list[str], **more: Any) -> dict[str, Any]:
    return {"href": str(path), "type": media, "roles": roles, **more}


def _sources(made: Plan) -> list[dict[str, Any]]:
    """What was mapped: items, and files that none describes."""
    described = dict.fromkeys(scene.href for scene in made.raster.scenes if scene.href)
    parts = [part for layer in made.raster.layers for part in layer.parts if getattr(part, "href", "") not in described]
    sources = [piece.source for part in parts for piece in part.all_pieces]
    files = dict.fromkeys(source.path for source in sources if source.is_file or is_remote(source.path))
    return [
        *(_derived(href, ITEM, "imagery") for href in described),
        *(_derived(path, "image/tiff; application=geotiff" if _is_tiff(path) else None, "imagery") for path in files),
    ]


def _models(wanted: Workflow) -> list[dict[str, Any]]:
    """By what it was mapped."""
    names = [name for name in (wanted.model, wanted.things) if isinstance(name, str)]
    sources = [locate_model(name) for name in names]
    paths = [_href(source) for source in sources]
    links = [_derived(path, ITEM if path.endswith(".json") else None, "model") for path in paths]
    if wanted.weights is not None and not wanted.weights.startswith(HUB):
        links.append(_derived(str(Path(wanted.weights).resolve()), None, "weights"))
    return links


def _href(source: str | Path) -> str:
    """The address of a model's entry; a repository of the hub is given by its page."""
    if isinstance(source, Path):
        return str(source.resolve())
    return hub_page(source) if source.startswith(HUB) else source


def _derived(href: str, media: str | None, title: str) -> dict[str, Any]:
    """A link to what was mapped, or by what: ``derived_from`` leads to STAC items alone, ``via`` to others."""
    rel = "derived_from" if media == ITEM else "via"
    return {"rel": rel, "href": href, **({} if media is None else {"type": media}), "title": title}


def _near(link: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A link whose file of this machine is found from the folder, wherever both are moved to."""
    if not Path(link["href"]).is_absolute() or link["href"].startswith("/vsi"):
        return link
    return {**link, "href": Path(os.path.relpath(link["href"], folder.resolve())).as_posix()}


def _is_tiff(path: str) -> bool:
    return path.lower().split("?")[0].endswith((".tif", ".tiff"))
