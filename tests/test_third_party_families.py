"""A family of networks that another package adds: the example of its page, in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geoseg.models import Band, ClassSpec, Family, ModelSpec
from geoseg.versions import deciding_versions
from tests.rasters import write_raster
from tests.test_docs import blocks, commands


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The package of the page as pip leaves it, and imagery beside it."""
    project, (module, script) = tomllib.loads(blocks("families", "toml")[0])["project"], blocks("families", "python")
    (tmp_path / "acme_geoseg.py").write_text(module)
    (tmp_path / "make.py").write_text(script)
    about = tmp_path / "acme_geoseg-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((group, points),) = project["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    pixels = np.random.default_rng(0).integers(0, 4000, (4, 90, 120)).astype(np.uint16)
    write_raster(tmp_path / "scene.tif", pixels, descriptions=("B02", "B03", "B04", "B08"))
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_model_of_a_third_party_s_family_is_mapped_as_its_network_labels(installed: Path) -> None:
    assert run(installed, "make.py").returncode == 0
    for command in commands("families"):
        done = run(installed, "-m", *command.split())
        assert done.returncode == 0, done.stderr
    code = """
import torch, numpy as np, rasterio
from acme_geoseg import FieldNet
from safetensors.torch import load_file
network = FieldNet(4, 2, 8)
network.load_state_dict(load_file("fields/fields.safetensors"))
with rasterio.open("scene.tif") as source:
    pixels = np.pad(source.read().astype(np.float32) / 10_000, ((0, 0), (2, 2), (2, 2)), mode="reflect")
with torch.inference_mode():
    np.save("labels.npy", network(torch.from_numpy(pixels)[None])[0, :, 2:-2, 2:-2].argmax(0).numpy())
"""
    assert run(installed, "-c", code).returncode == 0
    with rasterio.open(installed / "out" / "fields" / "labels.tif") as source:
        assert (source.read(1) == np.load(installed / "labels.npy")).mean() > 0.999


def test_without_its_package_the_family_is_named_with_the_remedy(installed: Path) -> None:
    assert run(installed, "make.py").returncode == 0
    (installed / "acme_geoseg-1.0.dist-info" / "entry_points.txt").unlink()
    done = run(installed, "-m", "geoseg", "models", "check", "fields/fields.json")
    assert done.returncode == 3
    sentence = " ".join(done.stderr.split())
    assert "has the architecture 'acme.FieldNet', which no adapter knows" in sentence
    assert "install the package that adds its family" in sentence


def test_its_version_decides_labels_and_a_worker_may_lack_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "geoseg.models._installed_families", lambda: {"acme.*": Family("acme_geoseg", ("acme-geoseg",))}
    )
    spec = ModelSpec(
        "fields", "semantic-segmentation", (Band("a"),), (ClassSpec(0, "x"), ClassSpec(1, "y")), architecture="acme.Net"
    )
    assert deciding_versions(spec, is_resampled=False)["acme-geoseg"] == "not installed"
