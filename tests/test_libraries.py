"""Files that other libraries write by themselves open here, and find in one window what their library finds.

The libraries are installed into an environment of their own, on top of the packages of this one; what they do there is
`tests.library_models`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geoseg
from geoseg.catalog import find_model
from geoseg.models import load_model
from geoseg.models.packagings import write_new_item
from tests.library_models import KINDS, TAPER
from tests.rasters import write_raster
from tests.test_checkpoints import BYTES
from tests.test_detr import whole
from tests.test_packagings import NOTE, SIDE, assert_same, filled, labels_of, patches

ROOT = Path(__file__).parents[1]
LIBRARIES = ("torchgeo<0.9", "lightning", "ultralytics", "albumentations", "python-box", "h5py", "setuptools<81")
ALONE = ("geoai-py", "terratorch", "ukis-csmask", "yolov5==7.0.14", "seaborn")
"""Packages that ask for more than what is used of them."""

KEPT = ("torch", "torchvision", "numpy", "timm", "segmentation-models-pytorch", "onnx", "onnxruntime", "rasterio")
"""Packages that have to stay as they are here."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings(f"ignore:.*{NOTE}:geoseg.errors.GeosegWarning"),
]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the libraries."""
    folder = tmp_path_factory.mktemp("libraries")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    found = folder / "bin" / "python"
    ask = [str(found), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    (own / "here.pth").write_text("\n".join(place for place in sys.path if place.endswith("site-packages")))
    (folder / "kept.txt").write_text("".join(f"{name}=={version(name)}\n" for name in KEPT))
    install = [str(found), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "-c", str(folder / "kept.txt"), *LIBRARIES], check=True)
    subprocess.run([*install, "--no-deps", *ALONE], check=True)
    return found


@pytest.fixture(scope="module")
def written(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each kind, in which a library has written its model beside a window."""
    folder = tmp_path_factory.mktemp("written")
    for kind in KINDS:
        (folder / kind).mkdir()
        write_raster(folder / kind / "scene.tif", patches(3))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    writing = [str(python), "-m", "tests.library_models", str(folder)]
    done = subprocess.run(writing, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-2000:]}"
    return folder


def found_by_library(folder: Path) -> dict[str, Any]:
    return dict(np.load(folder / "expected.npz"))


@pytest.mark.parametrize(
    ("kind", "name", "is_asked"),
    [
        ("torchgeo", "model.ckpt", True),
        ("torchgeo_fcn", "model.ckpt", True),
        ("terratorch", "model.ckpt", True),
        ("geoai", "model.ckpt", False),
        ("geoai_pushed", "model", False),
        ("albumentations", "model", False),
        ("stac_model", "model.pt2", False),
    ],
)
def test_a_model_that_a_library_wrote_labels_as_the_library_does(
    written: Path, kind: str, name: str, is_asked: bool, tmp_path: Path
) -> None:
    folder = written / kind
    model = folder / name
    if is_asked:  # how pixels are scaled, which the trainer leaves to its data
        model = filled(write_new_item(model, tmp_path / "item.json")[0], BYTES)
    labels = labels_of(str(folder / "scene.tif"), model, bands=[1, 2, 3])
    assert_same(labels, found_by_library(folder)["labels"])


def test_the_entry_for_clouds_labels_as_ukis_csmask_does_with_its_file(written: Path) -> None:
    folder = written / "ukis_csmask"
    given = {"weights": str(folder / "model.onnx"), "bands": [1, 2, 3, 4, 5, 6], "resolution": 10}
    labels = np.asarray(geoseg.segment(str(folder / "scene.tif"), "cloud-mask", halo=0, ramp=0, **given)).squeeze()
    assert set(np.unique(labels)) == {0, 1, 2}
    assert_same(labels[TAPER:-TAPER, TAPER:-TAPER], found_by_library(folder)["labels"])


@pytest.mark.parametrize("kind", ["yolo11n-seg", "yolo26n-seg", "yolov5n-seg"])
def test_a_network_of_yolo_finds_what_its_library_finds(written: Path, kind: str) -> None:
    expected = found_by_library(written / kind)
    model = load_model(find_model(written / kind / "model.onnx"))
    (found,) = model.predict(patches(3)[None], np.ones((1, SIDE, SIDE), np.bool_))
    assert len(found) > 10
    assert found.classes.tolist() == expected["classes"].tolist()
    np.testing.assert_allclose(found.scores, expected["scores"], atol=1e-4)
    assert (whole(found, SIDE) != expected["masks"]).mean() < 1e-3
