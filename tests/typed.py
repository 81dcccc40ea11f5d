"""Every public function with arguments of every kind, as mypy must take them; `tests.test_options` checks it."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import xarray as xr

import geoseg

field = gpd.GeoDataFrame()
names: list[str] = ["water", "trees"]

plan = geoseg.plan("land_use", input=Path("scene.tif"), tile_size=512, batch_size="auto", region=field)
result = geoseg.run(
    ["land_use", "a.tif"],
    bands=["B04", "B03"],
    classes=names,
    nodata="none",
    resolution=10,
    tta={"scales": [0.5]},
    block_tiles=(2, 3),
    mosaic="median",
    features=Path("map.gpkg"),
    min_score=None,
    overwrite=True,
)
again = geoseg.resume(result.output, workers=2, input=["a.tif", Path("b.tif")])
layer = geoseg.polygonize("labels.tif", "polygons.gpkg", simplify=10, connectivity=8, keep_classes=[1, "water"])
score = geoseg.evaluate("labels.tif", Path("truth.tif"), task="semantic", classes={1: "water"}, tolerance="2px")
change = geoseg.compare("a.tif", Path("b.tif"), "out.gpkg", task="semantic", min_area=500, region=field, iou=0.6)
trained = geoseg.train("train_land_cover", data=Path("data"), device="cuda:1", loaders=2)
labels = geoseg.segment("scene.tif", "sentinel2-land-cover", mosaic="newest", tile_size=512, region=field)
imagery = geoseg.open_imagery("scene.tif", bands=[1, 2], on_error="skip")
raster = geoseg.open_raster("scene.tif", resolution=10)
count: int = layer.count


def network(pixels: Any) -> Any:
    """Six bands in, one channel out."""
    return pixels[:, :1]


array, spec = xr.DataArray(), geoseg.ModelSpec("own", "semantic-segmentation", (geoseg.Band("a"),), ())
mapped = geoseg.run(array, model=network, spec=spec, output=Path("out"))
planned = geoseg.plan(input={"red": array, "nir": "nir.tif"}, model=spec)
continued = geoseg.resume("out", input=array, model=network, spec=spec)
maps = geoseg.segment(array, network, spec=spec, outputs=("labels", "confidence"))
polygons = geoseg.polygonize(mapped.labels)
sieved: Path = geoseg.sieve(mapped.labels, "sieved.tif", min_area=500)
scores = geoseg.evaluate(mapped, field)
changed: gpd.GeoDataFrame = geoseg.compare(mapped, field).features
picture: Path = geoseg.preview(mapped, "map.pdf", layout="a4")
ground: pd.DataFrame = geoseg.areas(mapped, zones=field, zone_column="name", unit="km2").table
drawn: gpd.GeoDataFrame = geoseg.sample(mapped, size=100)
known: list[str] = [item.name for item in geoseg.list_models()]
files: list[tuple[str, ...]] = [item.paths for item in geoseg.list_imagery()]
lazy: xr.DataArray = mapped.confidence
