"""Scenes on disk with the STAC items that describe them, and a STAC API that serves such items."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.affinity import translate

from tests.rasters import write_raster
from tests.servers import serving

COMMON = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "SCL": None}


def ground(crs: str, transform: Affine, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Longitudes and latitudes of pixel centres, shape (2, y, x)."""
    columns, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    x, y = transform @ (columns, rows)
    return np.stack(Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y))


def write_scene(
    folder: Path,
    name: str,
    bands: Mapping[str, NDArray[Any]],
    *,
    crs: str = "EPSG:32618",
    corner: tuple[float, float] = (440_000.0, 4_200_000.0),
    size: float = 10.0,
    taken: str = "2024-06-01T00:00:00Z",
    version: str = "1.1.0",
    cloud_cover: float | None = None,
    nodata: float | None = 0,
    properties: Mapping[str, Any] | None = None,
    collection: str = "scenes",
    **creation: Any,
) -> dict[str, Any]:
    """Write one file a band, and return the item that describes them.

    Parameters
    ----------
    bands : mapping of name to ndarray (y, x)
        Bands of fewer pixels have larger ones: all cover the same ground.
    version : str
        ``"1.1.0"`` describes bands by ``bands``, ``"1.0.0"`` by ``eo:bands`` and ``raster:bands``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    height = max(band.shape[0] for band in bands.values())
    width = max(band.shape[1] for band in bands.values())
    assets: dict[str, Any] = {}
    for band, pixels in bands.items():
        pixel = size * height / pixels.shape[0]
        transform = Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
        path = folder / f"{name}_{band}.tif"
        write_raster(path, pixels, crs=crs, transform=transform, nodata=nodata, **creation)
        place = {"proj:shape": list(pixels.shape), "proj:transform": list(transform)[:6]}
        common = COMMON.get(band)
        if version == "1.1.0":
            described: dict[str, Any] = {"name": band, "data_type": pixels.dtype.name, "nodata": nodata}
            stated = {"bands": [described | ({"eo:common_name": common} if common else {})]}
        else:
            stated = {
                "eo:bands": [{"name": band} | ({"common_name": common} if common else {})],
                "raster:bands": [{"data_type": pixels.dtype.name, "nodata": nodata, "spatial_resolution": pixel}],
            }
        assets[band.lower()] = {
            "href": str(path),
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            **place,
            **stated,
        }
    left, top = corner
    right, bottom = left + width * size, top - height * size
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    xs, ys = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*zip(*ring, strict=True))
    geometry = _cut(list(zip(xs, ys, strict=True)))
    code = {"proj:code": crs} if version == "1.1.0" else {"proj:epsg": int(crs.removeprefix("EPSG:"))}
    clouds = {} if cloud_cover is None else {"eo:cloud_cover": cloud_cover}
    return {
        "type": "Feature",
        "stac_version": version,
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "geometry": geometry,
        "bbox": [min(xs), min(ys), max(xs), max(ys)],
        "properties": {"datetime": taken, **code, **clouds, **(properties or {})},
        "links": [],
        "assets": assets,
    }


def _cut(ring: list[tuple[float, float]]) -> Any:
    """A polygon in degrees as GeoJSON, in two parts where it lies over the antimeridian."""
    if max(x for x, _ in ring) - min(x for x, _ in ring) < 180:
        return {"type": "Polygon", "coordinates": [ring]}
    around = shapely.Polygon([(x % 360, y) for x, y in ring])
    west = around.intersection(shapely.box(0, -90, 180, 90))
    east = translate(around.intersection(shapely.box(180, -90, 360, 90)), -360)
    return shapely.geometry.mapping(shapely.MultiPolygon([west, east]))


def write_json(path: Path, document: Any) -> Path:
    """Write a document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def collection_of(*items: dict[str, Any]) -> dict[str, Any]:
    """An item collection."""
    return {"type": "FeatureCollection", "features": list(items)}


def write_static(folder: Path, *items: dict[str, Any]) -> Path:
    """Write a static catalog with one collection a collection's id, links relative to each file."""
    catalog = {"type": "Catalog", "stac_version": "1.1.0", "id": "static", "description": "Static."}
    names = sorted({item["collection"] for item in items})
    links = [{"rel": "child", "href": f"./{name}/collection.json"} for name in names]
    for name in names:
        mine = [item for item in items if item["collection"] == name]
        write_json(
            folder / name / "collection.json",
            {
                "type": "Collection",
                "stac_version": "1.1.0",
                "id": name,
                "description": name,
                "license": "other",
                "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
                "links": [{"rel": "item", "href": f"./{item['id']}/{item['id']}.json"} for item in mine],
            },
        )
        for item in mine:
            write_json(folder / name / item["id"] / f"{item['id']}.json", item)
    return write_json(folder / "catalog.json", catalog | {"links": links})


@contextmanager
def serving_api(folder: Path, *items: dict[str, Any]) -> Iterator[str]:
    """Run a STAC API over items on the loopback interface, and a server of their files; gives the API's address."""
    hrefs = [asset["href"] for item in items for asset in item["assets"].values()]
    home = Path(os.path.commonpath([Path(href).parent for href in hrefs]))
    with serving(home) as files:
        path = write_json(folder / "served.json", collection_of(*(_moved(item, home, files.url) for item in items)))
        with _serving_items(path) as api:
            yield api


def _moved(item: dict[str, Any], home: Path, url: str) -> dict[str, Any]:
    """An item whose files are served over HTTP: a document from the network may not name local ones."""
    assets = {
        key: {**asset, "href": f"{url}/{Path(asset['href']).relative_to(home).as_posix()}"}
        for key, asset in item["assets"].items()
    }
    return {**item, "assets": assets}


@contextmanager
def _serving_items(path: Path) -> Iterator[str]:
    """Run a STAC API over an item collection."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = shutil.which("rustac", path=str(Path(sys.executable).parent)) or "rustac"
    address = f"127.0.0.1:{port}"
    process = subprocess.Popen(
        [program, "serve", str(path), "--create-collections", "--addr", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"http://{address}/", process)
        yield f"http://{address}/"
    finally:
        process.kill()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url):  # noqa: S310 - our own server
                return
        except OSError:
            assert process.poll() is None, "the STAC API did not start"
            time.sleep(0.1)
    raise AssertionError("the STAC API does not answer")
