"""Entries by name whose weights lie at an address: random weights of their networks label as their library does."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from affine import Affine
from numpy.typing import NDArray

import geoseg
from geoseg.catalog import find_model
from geoseg.errors import WeightsError
from geoseg.models.item import read_model_item
from geoseg.models.item_writing import write_model_item
from geoseg.models.weights import resolve_weights
from tests.rasters import TEN_METRES, write_raster
from tests.servers import serving

SIDE = 64
NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "fields": lambda: smp.Unet("efficientnet-b3", encoder_weights=None, in_channels=8, classes=3),
    "tree-canopy": lambda: smp.Unet("resnet50", encoder_weights=None, classes=2),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that stands for every host, by way of a server on loopback, and an empty cache."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    ask = urllib.request.urlopen
    with serving(folder) as traffic:

        def answer(address: str, **options: Any) -> Any:
            found = ask(traffic.url + urlsplit(address).path, **options)
            found.url = address
            return found

        monkeypatch.setattr("urllib.request.urlopen", answer)
        yield folder


def noise(path: Path, bands: list[str], most: int, seed: int, transform: Affine = TEN_METRES) -> NDArray[Any]:
    """Squares of 8 px of random numbers in a raster with named bands."""
    small = np.random.default_rng(seed).integers(1, most, (len(bands), SIDE // 8, SIDE // 8))
    pixels = np.kron(small, np.ones((1, 8, 8))).astype(np.uint16 if most > 255 else np.uint8)
    write_raster(path, pixels, transform=transform, descriptions=bands)
    return pixels.astype(np.float32)


def imagery(name: str, folder: Path) -> tuple[Any, NDArray[np.float32]]:
    """An input of a model, and what its network is to see of it."""
    if name == "tree-canopy":
        return str(folder / "rgb.tif"), noise(
            folder / "rgb.tif", ["red", "green", "blue"], 255, 1, TEN_METRES @ Affine.scale(0.01)
        )
    seen = [noise(folder / f"{at}.tif", ["B02", "B03", "B04", "B08"], 6000, seed) for seed, at in enumerate("ab")]
    a, b = (pixels[[2, 1, 0, 3]] / 3000 for pixels in seen)
    return {f"window_{at}": str(folder / f"{at}.tif") for at in "ab"}, np.concatenate([b, a])


@pytest.mark.parametrize("name", NETWORKS)
def test_random_weights_label_as_the_library_does(name: str, site: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, spec = NETWORKS[name](), find_model(name)
    assert spec.weights is not None
    assert spec.checksum is not None
    file = site / urlsplit(spec.weights).path.lstrip("/")
    file.parent.mkdir(parents=True)
    torch.save(network.state_dict(), file)
    assert file.stem.endswith(spec.checksum.removeprefix("sha256:"))  # as torch.hub checks it
    with pytest.raises(WeightsError, match="has the checksum"):
        resolve_weights(spec)
    spec = replace(spec, checksum=f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}")
    given, seen = imagery(name, tmp_path)
    labels = np.asarray(geoseg.segment(given, spec, tile_size=SIDE, halo=0, ramp=0))
    with torch.inference_mode():
        scores = network.eval()(torch.from_numpy(seen)[None])[0]
    close = scores.topk(2, dim=0).values.diff(dim=0).abs()[0] < 1e-4
    assert len(np.unique(labels)) > 1
    assert ((labels == scores.argmax(0).numpy()) | close.numpy()).all()


def test_a_checksum_of_the_first_bytes_is_kept(tmp_path: Path) -> None:
    spec = find_model("fields")
    assert spec.dates == ("window_b", "window_a")
    assert (
        read_model_item(write_model_item(spec, tmp_path / "fields.json")).checksum == spec.checksum == "sha256:5d591cbb"
    )
