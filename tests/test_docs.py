"""Every command and every line of Python in the README and in docs/ works, and the site names everything public."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from shapely.geometry import Point, box

import geoseg
from geoseg.catalog import find_imagery
from geoseg.cli import app, main
from geoseg.models import probe
from geoseg.training import load_recipe
from tests.networks import save_sam
from tests.rasters import TEN_METRES, write_raster
from tests.test_sam import grounding_dino

ROOT = Path(__file__).parents[1]
PAGES = {path.stem: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}

PARSED = {
    "tiles": "a server, see test_tiles",
    "cluster": "a cluster of other machines",
    "families": "a package, see test_third_party_families",
    "training": "a recipe and data of one's own",
}
"""Pages whose commands and Python need what no test has: commands are parsed, Python is compiled."""
if find_spec("nncf") is None:
    PARSED["runtimes"] = "pip install 'geoseg[quantize]'"

BEFORE = {
    "continuing": "geoseg run land_use scene.tif --output out/land_use",
    "corrections": "geoseg run land_use scene.tif --output out/land_use",
    "outputs": "geoseg run land_use scene.tif --output out/land_use --outputs confidence,probabilities",
}
"""What a reader of a page has done before its commands."""

FENCE = re.compile(r"^```(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The code of a page in a language, top to bottom."""
    return [code for name, code in FENCE.findall(PAGES[page]) if name == language]


def commands(page: str) -> list[str]:
    """The commands of a page, without comments."""
    lines = "".join(blocks(page, "")).splitlines()
    return [line.partition(" #")[0].rstrip() for line in lines if line.startswith("geoseg ")]


COMMANDS = [(page, command) for page in PAGES for command in commands(page)]
EXECUTED = [item for item in COMMANDS if item[0] not in PARSED and "tcp://" not in item[1]]
PYTHON = [page for page in PAGES if blocks(page, "python")]


@pytest.fixture
def elsewhere(tmp_path: Path, empty_hub: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with imagery, a region, labels and prompts of the user's, as the commands expect them."""
    with rasterio.open(find_imagery("delmarva").paths[0]) as source:
        window = Window(100, 200, 300, 260)
        transform = source.window_transform(window)
        pixels, names = source.read(window=window), source.descriptions
    for name in ("scene", "other"):
        write_raster(tmp_path / f"{name}.tif", pixels, transform=transform, descriptions=names)
    left, top = transform.c, transform.f
    region = gpd.GeoDataFrame(geometry=[box(left + 500, top - 1500, left + 1500, top - 500)], crs="EPSG:32618")
    region.to_crs(4326).to_file(tmp_path / "aoi.geojson")
    classes = np.random.default_rng(0).integers(0, 4, (1, 30, 40)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    write_raster(tmp_path / "labels.tif", classes, transform=transform)
    write_raster(tmp_path / "truth.tif", np.roll(classes, 1, axis=2), transform=transform)
    at = [transform @ (4 * column + 2.5, 4 * row + 2.5) for row in range(0, 30, 2) for column in range(0, 40, 2)]
    found = gpd.GeoDataFrame({"reference": classes[0, 2::8, 2::8].ravel()}, geometry=[Point(xy) for xy in at])
    found.set_crs("EPSG:32618").to_file(tmp_path / "reference.gpkg")
    edits = gpd.GeoDataFrame({"class": ["crops"]}, geometry=[box(left + 200, top - 800, left + 700, top - 300)])
    edits.set_crs("EPSG:32618").to_file(tmp_path / "edits.gpkg")
    (tmp_path / "legend.yaml").write_text(blocks("outputs", "yaml")[0])
    for name, side in (("buildings", 100), ("surveyed", 110)):
        house = gpd.GeoDataFrame(geometry=[box(left, top - side, left + side, top)], crs="EPSG:32618")
        house.to_file(tmp_path / f"{name}.gpkg")
    pixels = np.random.default_rng(1).integers(0, 256, (3, 128, 128), dtype=np.uint8)
    write_raster(tmp_path / "aerial.tif", pixels, colorinterp=["red", "green", "blue"])
    at = rasterio.Affine(0.2, 0, 500_000, 0, -0.2, 4_200_000)
    write_raster(tmp_path / "drone.tif", pixels, transform=at, colorinterp=["red", "green", "blue"])
    points = gpd.GeoDataFrame({"positive": [1]}, geometry=[Point(TEN_METRES @ (50, 60))], crs="EPSG:32618")
    points.to_crs(4326).to_file(tmp_path / "points.gpkg")
    fill(empty_hub)
    for measure in (probe.measure_edge, probe.measure_cost):
        monkeypatch.setitem(measure.__kwdefaults__ or {}, "repeats", 1)  # a third of the time
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(hub: Path) -> None:
    """Tiny networks where the hub's own library keeps what it has fetched by name."""
    for name, save in (("facebook/sam-vit-base", save_sam), ("IDEA-Research/grounding-dino-tiny", grounding_dino)):
        folder = hub / f"models--{name.replace('/', '--')}"
        save(folder / "snapshots" / "0123")
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0123")


def run(command: str) -> int:
    return main(shlex.split(command)[1:])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", dict(EXECUTED))
def test_the_commands_of_the_page_work_as_they_stand(page: str, elsewhere: Path) -> None:
    before = [BEFORE[page]] if page in BEFORE else []
    failed = [command for command in (*before, *(item for name, item in EXECUTED if name == page)) if run(command) != 0]
    assert not failed
    assert (elsewhere / "scene.tif").is_file()


@pytest.mark.parametrize("command", [command for page, command in COMMANDS if (page, command) not in EXECUTED])
def test_the_command_can_be_parsed(command: str) -> None:
    name, *arguments = shlex.split(command)[1:]
    app.commands[name].make_context(name, arguments)


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON)
def test_the_python_works_as_it_stands(page: str, elsewhere: Path) -> None:
    names: dict[str, object] = {}
    assert page not in BEFORE or not blocks(page, "python") or run(BEFORE[page]) == 0
    for code in blocks(page, "python"):
        program = compile(code, f"{page}.md", "exec")
        if page not in PARSED:
            exec(program, names)  # noqa: S102 - our own documentation
    assert (elsewhere / "scene.tif").is_file()


@pytest.mark.slow
def test_the_readme_maps_as_the_documentation_says(elsewhere: Path) -> None:
    names: dict[str, object] = {}
    exec(blocks("README", "python")[0], names)  # noqa: S102 - our own documentation
    assert (elsewhere / "out" / "features.gpkg").is_file()
    with rasterio.open(elsewhere / "out" / "labels.tif") as source:
        assert (names["labels"].compute().to_numpy() == source.read(1)).all()  # type: ignore[attr-defined]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 75


def test_the_recipe_of_the_shipped_model_can_be_read() -> None:
    assert "geoseg train train_land_cover" in PAGES["models"]
    assert load_recipe(ROOT / "workflows" / "train_land_cover.yaml").name == "sentinel2-land-cover"


@pytest.mark.parametrize("name", geoseg.__all__)
def test_everything_public_stands_in_the_reference(name: str) -> None:
    reference = "".join(path.read_text() for path in sorted((ROOT / "docs" / "reference").glob("*.md")))
    assert re.search(rf":: geoseg\.{name}$", reference, re.MULTILINE)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_between_pages_lead_to_files(page: str) -> None:
    home = ROOT if page == "README" else ROOT / "docs"
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", PAGES[page])
    assert [link for link in links if not (home / link).exists()] == []
