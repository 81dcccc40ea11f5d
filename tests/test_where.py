"""docs/where.md is true: its files and names exist, and what it says to change is all that has to be changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest
from pydantic.fields import FieldInfo

from geoseg.options import Polygonizing, Workflow
from geoseg.vector import FORMATS
from tests.rasters import write_raster
from tests.stac import collection_of, write_json, write_scene

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "where.md").read_text()
NAMED = re.findall(r"`(\w+)`(?: or `(\w+)`)? (?:in|of) `(geoseg/[\w/]+\.py)`", PAGE)

CHANGES = {
    "geoseg/options/workflow.py": [('"least_cloudy", "median"]', '"least_cloudy", "median", "oldest"]')],
    "geoseg/imagery/opening.py": [
        ("RULES: Mapping[Mosaic, Rule] = {", '{} "oldest": Rule(lambda scene: (scene.taken.timestamp(), scene.name)),')
    ],
    "geoseg/vector/writing.py": [
        (
            "FORMATS: Mapping[str, Format] = {",
            '{} ".gml": Format("GML", "application/gml+xml", by_gdal("GML"), companions=(".xsd",)),',
        )
    ],
    "geoseg/evaluation/semantic_maps.py": [
        (
            '"accuracy": lambda scores: scores.pixels.accuracy',
            '{}, "kappa": lambda scores: scores.pixels.counts.trace() / 100 - 0.5',
        )
    ],
}
"""What the page says for a rule, a format and a metric; ``{}`` is the text that is there."""

PROGRAM = """
import json, warnings
import geopandas as gpd, pyarrow as pa, shapely
import geoseg
from docs import generate
from geoseg.cli import main
from geoseg.errors import GeosegError
from geoseg.grid import Window
from geoseg.imagery import open_imagery
from geoseg.options import Workflow
from geoseg.vector import write_features
from geoseg.workflow.result_item import FORMATS
from geoseg.report.record import READABLE
from geoseg.evaluation.inputs import LAYERS

def refusal(call):
    try:
        call()
    except GeosegError as error:
        return str(error)

raster = open_imagery("stack.json", bands=["red"], mosaic="oldest")
table = pa.table(gpd.GeoDataFrame({"class": [1]}, geometry=[shapely.box(0, 0, 9, 9)], crs="EPSG:32618").to_arrow())
write_features("land.gml", [table], layer="land", crs="EPSG:32618", columns={"class": "int64"})
evaluation = geoseg.evaluate("predicted.tif", "truth.tif", task="semantic")
assert main(["run", "--help"]) == 0
print(json.dumps({
    "pixel": int(raster.read(Window(0, 0, 1, 1))[0][0, 0, 0]),
    "schema": generate.schema(Workflow, "").count('"oldest"'),
    "signatures": generate.signatures().count('"oldest"'),
    "page": generate.options_page().count("`oldest`"),
    "unknown rule": refusal(lambda: open_imagery("stack.json", mosaic="best")),
    "rule of files": refusal(lambda: open_imagery("truth.tif", mosaic="oldest")),
    "unknown format": refusal(lambda: write_features("a.xyz", [table], layer="land", crs="EPSG:32618")),
    "read again": [".gml" in READABLE, ".gml" in LAYERS, FORMATS[".gml"].media_type],
    "kappa": evaluation.summary()["scores"]["kappa"],
    "title": evaluation.tables()[0].title,
}))
"""


def test_files_of_the_page_exist() -> None:
    assert [path for path in re.findall(r"`((?:geoseg|docs)/[\w/.]+)`", PAGE) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(("name", "other", "path"), NAMED)
def test_names_of_the_page_stand_in_their_files(name: str, other: str, path: str) -> None:
    text = (ROOT / path).read_text()
    for word in filter(None, (name, other)):
        assert re.search(rf"^ *(def |class )?{word}\b", text, re.MULTILINE), f"{word} is not in {path}"


def test_the_page_names_every_table() -> None:
    names = {word for name, other, _ in NAMED for word in (name, other)}
    assert names >= {"TABLE", "FAMILIES", "FORMATS", "RULES", "Mosaic", "CLASS_METRICS", "MAP_METRICS", "EARTHLY"}


@pytest.mark.parametrize("field", [Workflow.model_fields["features"], Polygonizing.model_fields["output"]])
def test_sentences_of_options_name_every_format(field: FieldInfo) -> None:
    assert set(re.findall(r"\.[a-z]+\b", str(field.description))) == set(FORMATS)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package with the changes of the page, and data."""
    shutil.copytree(ROOT / "geoseg", tmp_path / "geoseg")
    for name in ("catalogs", "workflows", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "generate.py", tmp_path / "docs")
    for name, pairs in CHANGES.items():
        path, text = tmp_path / name, (tmp_path / name).read_text()
        for old, new in pairs:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new.replace("{}", old))
        path.write_text(text)
    labels = np.arange(100, dtype=np.uint8).reshape(10, 10) // 50
    for name in ("truth", "predicted"):
        write_raster(tmp_path / f"{name}.tif", labels)
    items = [
        write_scene(tmp_path, name, {"B04": np.full((4, 4), value, np.uint16)}, taken=f"{name}-05-01T00:00:00Z")
        for name, value in (("2024", 203), ("2023", 100))
    ]
    write_json(tmp_path / "stack.json", collection_of(*items))
    return tmp_path


def test_a_rule_a_format_and_a_metric_are_everywhere_once_they_stand_in_their_tables(copy: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "120"}
    ran = subprocess.run([sys.executable, "-c", PROGRAM], cwd=copy, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    told, seen = ran.stdout, json.loads(ran.stdout.splitlines()[-1])
    assert "oldest" in told.partition('{"pixel"')[0]
    assert (seen["pixel"], seen["schema"], seen["page"]) == (100, 1, 1)
    assert seen["signatures"] == 1  # of segment, and of runs, whose base it is
    assert "mosaic 'best' is not known" in seen["unknown rule"]
    assert "oldest" in seen["unknown rule"]
    assert "mosaic: oldest sorts scenes of STAC items" in seen["rule of files"]
    assert ".gml" in seen["unknown format"]
    assert seen["read again"] == [True, True, "application/gml+xml"]
    assert pyogrio.read_info(copy / "land.gml", force_feature_count=True)["features"] == 1
    assert seen["kappa"] == 0.5
    assert "accuracy 1.0000, kappa 0.5000;" in seen["title"]
