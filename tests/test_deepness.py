"""ONNX files of the QGIS plugin Deepness, mapped by the plugin itself in QGIS and by geoseg.

The plugin is in no package index of Python: ``DEEPNESS=FOLDER pytest tests/test_deepness.py`` runs these tests with
the folder that holds its package ``deepness`` (QGIS keeps it in ``python/plugins`` of the profile).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine

import geoseg
from tests.rasters import write_raster
from tests.test_packagings import DEVIATION, MEAN, NAMES, NOTE, save_onnx

PACKAGES = ("onnxruntime==1.17.0", "opencv-python-headless==4.9.0.80", "numpy<2")
"""As the plugin's own requirements, but for the CPU."""

QGIS = "/usr/bin/python3"
HALF_METRES = Affine(0.5, 0.0, 440_000.0, 0.0, -0.5, 4_200_000.0)
EDGE = 2
"""How many pixels the network sees around each: there the plugin's tiles reach beyond the scene."""

STANDARD = {"standardization_mean": MEAN, "standardization_std": DEVIATION}
HALF = {"standardization_mean": [0.5] * 3, "standardization_std": [0.25] * 3}
COMMON: dict[str, Any] = {"model_type": '"Segmentor"', "resolution": 50, "tile_size": 64, "tiles_overlap": 25}
MODELS: dict[str, tuple[dict[str, Any], int, torch.nn.Module]] = {
    "classes": (COMMON | STANDARD | {"class_names": NAMES, "seg_thresh": 0.5}, 3, torch.nn.Softmax(1)),
    "roof": (
        COMMON | HALF | {"class_names": [{0: "no roof", 1: "roof"}], "seg_thresh": 0.6}, 1, torch.nn.Sigmoid()
    ),
}  # fmt: skip
SIZES = {"one tile": (64, 64), "thirty tiles": (260, 310)}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(f"ignore:.*{NOTE}:geoseg.errors.GeosegWarning"),
    pytest.mark.skipif("DEEPNESS" not in os.environ, reason="needs the QGIS plugin Deepness: DEEPNESS=FOLDER"),
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the plugin imports besides QGIS."""
    if subprocess.run([QGIS, "-c", "import qgis.core"], capture_output=True, check=False).returncode:
        pytest.skip("needs QGIS")
    folder = tmp_path_factory.mktemp("packages")
    ask = [QGIS, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    wheels = ["--python-version", version, "--only-binary", ":all:", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wheels, *PACKAGES], check=True)
    return folder


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", MODELS)
def test_labels_are_those_of_the_plugin(packages: Path, tmp_path: Path, kind: str, size: str) -> None:
    height, width = SIZES[size]
    small = np.random.default_rng(3).integers(0, 256, (3, height // 4 + 1, width // 4 + 1), dtype=np.uint8)
    pixels = np.kron(small, np.ones((1, 4, 4), np.uint8))[:, :height, :width]
    scene = write_raster(tmp_path / "scene.tif", pixels, transform=HALF_METRES)
    metadata, scores, activation = MODELS[kind]
    model = save_onnx(tmp_path / "model.onnx", metadata, scores=scores, activation=activation)

    path = os.pathsep.join([os.environ["DEEPNESS"], str(packages)])
    ours = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    asking = [QGIS, str(Path(__file__).with_name("in_deepness.py")), str(scene), str(model), str(tmp_path / "map.npy")]
    environment = ours | {"PYTHONPATH": path, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(asking, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = np.load(tmp_path / "map.npy").astype(int) - 1

    labels = np.asarray(geoseg.segment(str(scene), str(model))).squeeze()
    assert labels.shape == expected.shape == (height, width)
    assert len(np.unique(expected)) == max(scores, 2)
    inner = (slice(EDGE, -EDGE),) * 2
    assert (labels[inner] == expected[inner]).mean() >= 0.999
