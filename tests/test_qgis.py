"""The QGIS plugin: its command by itself, and all of it in a real QGIS without a window, where one is installed."""

from __future__ import annotations

import configparser
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
from PIL import Image

from geoseg.catalog import find_model
from geoseg.vector import StyledClass, write_features
from tests.test_vector import UTM, arrow, squares

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "qgis" / "geoseg_processing"
SCENE = ROOT / "catalogs" / "imagery" / "delmarva" / "delmarva.tif"
PYTHON = Path("/usr/bin/python3")
"""The Python of the system's packages, which QGIS' bindings belong to."""


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


command = module(PLUGIN / "command.py")


def script(folder: Path, text: str) -> Path:
    """A command of its own that Python runs."""
    path = folder / "geoseg"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return path


def test_only_what_was_changed_is_given_to_the_command() -> None:
    options = command.commands()["run"]["options"]
    defaults = {option["name"]: option["default"] for option in options}
    assert command.words_of(options, defaults) == []
    changed = {"min_area": 500.0, "report": False, "regularize": True, "features": "a.gpkg\n b.fgb\n", "text": ""}
    words = command.words_of(options, {**defaults, **changed})
    assert sorted(words) == sorted(
        ["--min-area", "500", "--no-report", "--regularize", "--features", "a.gpkg", "--features", "b.fgb"]
    )
    assert words.index("--no-report") > words.index("--min-area")


def test_the_command_is_found_where_it_was_chosen_or_on_the_path(tmp_path: Path) -> None:
    path = script(tmp_path, "")
    assert command.find_command(str(path), {}) == str(path)
    assert command.find_command("", {"GEOSEG_COMMAND": str(path)}) == str(path)
    assert command.find_command("", {"PATH": str(tmp_path)}) == str(path)
    with pytest.raises(command.CommandError, match=r"'/nowhere/geoseg' does not exist or cannot be run; choose"):
        command.find_command("/nowhere/geoseg", {})


def test_the_command_runs_without_what_qgis_sets_for_its_own_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/usr/lib/qgis")
    monkeypatch.setenv("GDAL_DATA", "/usr/share/qgis/gdal")
    told: list[str] = []
    words = [sys.executable, "-c", "import os; print(sorted({'PYTHONHOME', 'GDAL_DATA'} & set(os.environ)))"]
    command.run_command(words, tell=lambda line: told.append(line.text))
    assert told == ["[]"]


def test_lines_and_events_are_told_and_an_error_is_what_the_command_said(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        'import sys\nprint(\'plain\')\nprint(\'{"event": "progress", "share": 0.5}\')\n'
        "print('{broken')\nprint('warning: odd', file=sys.stderr)\nprint('it failed; mend it.', file=sys.stderr)\n"
        "sys.exit(3)",
    )
    told: list[Any] = []
    events: list[dict[str, Any]] = []
    with pytest.raises(command.CommandError, match=r"^warning: odd it failed; mend it\.$"):
        command.run_command([str(path)], tell=told.append, hear=events.append)
    assert events == [{"event": "progress", "share": 0.5}]
    assert [line.text for line in told if not line.is_error] == ["plain", "{broken"]


@pytest.mark.parametrize("is_deaf", [False, True])
def test_a_cancelled_command_is_interrupted_and_killed_if_it_does_not_end(
    tmp_path: Path, is_deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "PATIENCE", 1.0)
    handler = "signal.SIG_IGN" if is_deaf else f"lambda *_: (open({str(tmp_path / 'heard')!r}, 'w'), sys.exit(130))"
    path = script(
        tmp_path,
        f"import os, signal, sys, time\nsignal.signal(signal.SIGINT, {handler})\n"
        "print(os.getpid(), flush=True)\ntime.sleep(60)",
    )
    told: list[Any] = []
    begun = time.monotonic()
    with pytest.raises(command.CancelledError):
        command.run_command([str(path)], tell=told.append, is_cancelled=lambda: bool(told))
    assert time.monotonic() - begun < 30
    assert (tmp_path / "heard").exists() is not is_deaf
    with pytest.raises(ProcessLookupError):
        os.kill(int(told[0].text), signal.SIG_DFL)


def test_the_packed_plugin_has_what_the_plugin_manager_asks_for(tmp_path: Path) -> None:
    packed = subprocess.run(
        [sys.executable, "qgis/package.py", str(tmp_path / "plugin.zip")], cwd=ROOT, capture_output=True, check=True
    )
    assert packed.stdout.decode().strip() == str(tmp_path / "plugin.zip")
    with zipfile.ZipFile(tmp_path / "plugin.zip") as archive:
        names = archive.namelist()
        metadata = configparser.ConfigParser()
        metadata.read_string(archive.read("geoseg_processing/metadata.txt").decode())
    assert {name.partition("/")[0] for name in names} == {"geoseg_processing"}
    assert {"geoseg_processing/__init__.py", "geoseg_processing/LICENSE", "geoseg_processing/icon.svg"} <= set(names)
    general = metadata["general"]
    wanted = (
        "name",
        "description",
        "about",
        "version",
        "qgisMinimumVersion",
        "author",
        "email",
        "hasProcessingProvider",
    )
    assert all(general[key] for key in wanted)
    assert general["version"] == command.version_of(str(Path(sys.executable).with_name("geoseg")))
    assert f"geoseg_processing/{general['icon']}" in names


BEGINNING = """
from qgis.core import QgsApplication, QgsProviderRegistry
application = QgsApplication([], False)
application.initQgis()
from processing.core.Processing import Processing
Processing.initialize()
assert {"gdal", "ogr", "wms"} <= set(QgsProviderRegistry.instance().providerList())
"""
"""What a QGIS that is whole can do."""


def has_qgis() -> bool:
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-c", BEGINNING], capture_output=True, env=qgis_environment()).returncode == 0


def qgis_environment() -> dict[str, str]:
    """Without the environment's own Python; Qt draws without a screen."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "COV"))}
    return {
        **kept,
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONPATH": "/usr/share/qgis/python/plugins",
        "GEOSEG_COMMAND": str(Path(sys.executable).with_name("geoseg")),
    }


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a person has seen in QGIS; ``folder`` has the files."""
    if not has_qgis():
        pytest.skip("QGIS is not installed: apt-get install python3-qgis python3-gdal")
    folder = tmp_path_factory.mktemp("qgis")
    module(ROOT / "qgis" / "package.py").pack(folder / "plugin.zip")
    with zipfile.ZipFile(folder / "plugin.zip") as archive:
        archive.extractall(folder / "plugins")
    environment = qgis_environment() | {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    done = subprocess.run(
        [PYTHON, ROOT / "tests" / "in_qgis.py", SCENE, folder], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return {**found, "folder": folder}


in_qgis = pytest.mark.slow

LINES = """
import sys
from qgis.core import QgsApplication, QgsVectorLayer
application = QgsApplication([], False)
application.initQgis()
layer = QgsVectorLayer(sys.argv[1] + "|layername=houses", "houses", "ogr")
for category in layer.renderer().categories():
    fill = category.symbol().symbolLayer(0)
    print(category.label(), fill.color().name(), fill.strokeColor().name())
"""


@in_qgis
@pytest.mark.parametrize("ending", [".gpkg", ".fgb"])
def test_objects_that_touch_are_told_apart_in_qgis(tmp_path: Path, ending: str) -> None:
    if not has_qgis():
        pytest.skip("QGIS is not installed: apt-get install python3-qgis python3-gdal")
    style = [StyledClass(0, "house", "#c4281b", is_thing=True), StyledClass(1, "field", "#1a9850")]
    path = tmp_path / f"houses{ending}"
    write_features(path, [arrow(squares(2))], layer="houses", crs=UTM, style=style)
    done = subprocess.run([PYTHON, "-c", LINES, str(path)], capture_output=True, text=True, env=qgis_environment())
    assert done.stdout.split() == ["house", "#c4281b", "#62140d", "field", "#1a9850", "#1a9850"], done.stderr


@in_qgis
def test_qgis_loads_and_unloads_the_plugin(told: dict[str, Any]) -> None:
    assert (told["loaded"], told["started"], told["left"]) == (True, True, False)
    assert told["metadata"] == {"name": "geoseg", "version": "0.1.0", "qgisMinimumVersion": "3.22"}
    assert told["algorithms"] == sorted(command.commands())


@in_qgis
def test_a_run_comes_into_the_project_in_a_group_with_a_legend_of_its_classes(told: dict[str, Any]) -> None:
    folder, spec = told["folder"], find_model("sentinel2-land-cover")
    results = told["run"]["results"]
    assert results["LABELS"] == str(folder / "first" / "labels.tif")
    assert results["FEATURES"] == str(folder / "first" / "features.gpkg")
    assert results["REPORT"] == str(folder / "first" / "report.html")
    assert told["run"]["share"] == 100
    assert told["tree"] == [["first", ["land_use", "labels"]], "scene"]
    legend = [[item.name, item.color.lower()] for item in spec.classes]
    assert told["raster legend"] == legend
    assert told["polygon legend"] == legend
    frame = geopandas.read_file(results["FEATURES"], layer="land_use")
    assert len(frame) == told["features"] > 0
    assert frame.area.min() >= 500
    assert not [line for line in told["run"]["lines"] if "partially supported" in line]


@in_qgis
@pytest.mark.parametrize("name", ["labels.png", "polygons.png"])
def test_what_qgis_draws_are_the_labels(told: dict[str, Any], name: str) -> None:
    folder, spec = told["folder"], find_model("sentinel2-land-cover")
    drawn = np.asarray(Image.open(folder / name).convert("RGB")).astype(int)
    colors = {item.value: tuple(bytes.fromhex(item.color[1:])) for item in spec.classes}
    with rasterio.open(folder / "first" / "labels.tif") as file:
        left, bottom = file.bounds.left, file.bounds.bottom
        row, col = file.index(left + 1000, bottom + 4000)
        labels = file.read(1)[row : row + 300, col : col + 300]
    wanted = np.array([colors.get(value, (255, 255, 255)) for value in range(256)])[labels]
    same = (drawn == wanted).all(axis=2)
    if name == "labels.png":
        assert same.all()
    else:  # small polygons have joined their neighbours
        assert same.mean() > 0.8


@in_qgis
def test_other_algorithms_go_on_from_the_labels(told: dict[str, Any]) -> None:
    half = geopandas.read_file(told["polygonize"]["OUTPUT"], layer="half")
    assert half.total_bounds[2] <= told["half"][2] + 1e-6
    assert len(half) > 0
    scores = json.loads(Path(told["evaluate"]["OUTPUT"]).read_text())
    assert 0.8 < scores["scores"]["accuracy"] < 1  # of polygons from which small ones are gone
    assert pyogrio.list_layers(told["compare"]["OUTPUT"]).shape[0] > 0
    assert "100.00% unchanged" in told["compare"]["TEXT"]
    with rasterio.open(told["sieve"]["OUTPUT"]) as sieved, rasterio.open(told["run"]["results"]["LABELS"]) as labels:
        assert 0.5 < (sieved.read(1) == labels.read(1)).mean() < 1
    table = pd.read_csv(told["areas"]["OUTPUT"])
    assert set(table["zone"]) == {"1", "2", "map"}
    assert table[table["zone"] == "2"]["area_km2"].sum() == pytest.approx(9, rel=0.02)
    assert len(geopandas.read_file(told["sample"]["OUTPUT"])) >= 40
    assert Image.open(told["preview"]["OUTPUT"]).size[0] == 1800
    assert "sentinel2-land-cover: semantic-segmentation, 10 m" in told["models"]
    assert "tiles" in told["plan"]


@in_qgis
def test_what_is_wrong_is_said_in_qgis_as_in_a_terminal(told: dict[str, Any]) -> None:
    assert "give a model, such as sentinel2-land-cover, or a workflow" in told["no model"]
    assert "did you mean 'sentinel2-land-cover'" in told["wrong model"]
    assert "'/nowhere/geoseg' does not exist or cannot be run; choose another one in Settings" in told["no command"]
    assert told["tiles"] == "https://host.invalid/{z}/{x}/{y}.png"


@in_qgis
def test_a_cancelled_run_keeps_its_folder_and_the_next_one_ends_it(told: dict[str, Any]) -> None:
    results, lines = told["cancelled"]
    assert results == {}
    assert lines[-1].startswith(("cancelled; finished blocks stay", "Results:"))
    results, _ = told["continued"]
    assert Path(results["LABELS"]).is_file()
    assert json.loads((told["folder"] / "cancelled" / "run.json").read_text())["status"] == "finished"
