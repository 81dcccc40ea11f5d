"""The wheel, built from the checkout and installed elsewhere, is the whole product."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)], check=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_catalogs_workflows_pages_and_types_travel_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = [path for folder in ("catalogs", "workflows") for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in shipped:
        if not path.name.startswith(".") and path.suffix != ".xml":
            assert f"geoseg/{path.relative_to(ROOT)}" in names
    assert "geoseg/py.typed" in names
    pages = [path for path in (ROOT / "geoseg").rglob("*") if path.suffix in (".html", ".css", ".js")]
    assert {str(path.relative_to(ROOT)) for path in pages} <= set(names)
    assert wheel.stat().st_size < 80e6


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_wheel_in_an_environment_elsewhere_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    """What it depends on is lent: ``make demo`` installs that anew."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    (own / "lent.pth").write_text("\n".join(place for place in sys.path if place.endswith("site-packages")))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run([str(python.with_name("geoseg")), "run", "land_use"], check=True, cwd=tmp_path, env=clean)
    manifest = json.loads((tmp_path / "out" / "land_use" / "run.json").read_text())
    assert manifest["status"] == "finished"
    where = [str(python), "-c", "import geoseg; print(geoseg.__file__)"]
    found = subprocess.run(where, check=True, cwd=tmp_path, env=clean, capture_output=True, text=True).stdout
    assert Path(found.strip()).is_relative_to(own), "the demo ran from the wheel"
    assert (tmp_path / "out" / "land_use" / "labels.tif").is_file()
    assert (tmp_path / "out" / "land_use" / "features.gpkg").is_file()
