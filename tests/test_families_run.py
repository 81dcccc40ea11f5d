"""Every kind of network on real workers, from a raster and an entry to rasters and polygons: the same for all layouts.

What a network says of one tile that holds the whole raster is what the run makes of it; that this is what the network's
own library says is tested where its adapter is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import safetensors.torch
import torch
from distributed import Client
from numpy.typing import NDArray

import geoseg
from geoseg.catalog import find_imagery, write_model_item
from geoseg.engine import connect
from geoseg.models import Band, ModelSpec, load_model, maskrcnn, smp
from geoseg.models.separating import scoring_spec
from geoseg.models.spec import ClassSpec, Scaling
from geoseg.models.watershed import Watershed
from geoseg.store import RunFolder
from tests import test_maskrcnn, test_sam, test_transformers
from tests.killing import kill_in_the_middle
from tests.rasters import write_raster

BANDS = tuple(Band(name, name) for name in ("red", "green", "blue"))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 2) as client:
        yield client


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the shipped scene as natural colours of 8 bits."""
    with rasterio.open(find_imagery("delmarva").paths[0]) as source:
        window = rasterio.windows.Window(300, 300, 200, 176)
        pixels, transform = source.read([3, 2, 1], window=window), source.window_transform(window)
    natural = (pixels.astype(float) / pixels.max() * 255).astype(np.uint8)
    folder = tmp_path_factory.mktemp("photo")
    return write_raster(folder / "photo.tif", natural, transform=transform, colorinterp=["red", "green", "blue"])


def segformer(folder: Path) -> ModelSpec:
    network = test_transformers.make("SegformerForSemanticSegmentation", test_transformers.SEGFORMER)
    return replace(
        test_transformers.specified("SegformerForSemanticSegmentation"),
        weights=str(test_transformers.save(network, folder)),
    )


def mask2former(folder: Path, task: str = "panoptic") -> ModelSpec:
    name = "Mask2FormerForUniversalSegmentation"
    network = test_transformers.make(name, test_transformers.UNIVERSAL[name])
    weights = str(test_transformers.save(network, folder))
    return test_transformers.specified(name, task, weights=weights, min_score=0.2)


def mask_rcnn(folder: Path) -> ModelSpec:
    folder.mkdir(parents=True)
    network = test_maskrcnn.liven(maskrcnn.build(test_maskrcnn.SPEC))
    return test_maskrcnn.written(network, test_maskrcnn.SPEC, folder)


def unet_with_watershed(folder: Path) -> ModelSpec:
    folder.mkdir(parents=True)
    spec = ModelSpec(
        "network",
        "instance-segmentation",
        BANDS,
        (ClassSpec(1, "roof"), ClassSpec(2, "tree")),
        scalings=(Scaling("z-score", mean=60.0, stddev=30.0),),
        activation="sigmoid",
        architecture="smp.Unet",
        hyperparameters=(
            ("decoder_channels", (32, 16, 8)),
            ("encoder_depth", 3),
            ("encoder_name", "tu-resnet10t"),
        ),
        weights=str(folder / "network.safetensors"),
        min_score=0.0,
        watershed=Watershed(0.3, 0.2, 2, 4),
    )
    torch.manual_seed(3)
    network = smp.build(scoring_spec(spec))
    head = network.segmentation_head[0]
    torch.nn.init.normal_(head.weight, std=2.0)  # scores that say something, though nothing was learnt
    safetensors.torch.save_file(network.state_dict(), spec.weights)
    return spec


EVERYTHING = {"pred_iou_thresh": -1e6, "stability_score_thresh": -1e6}
"""What a network of random weights finds is worth keeping."""


def sam(folder: Path, **hyperparameters: Any) -> ModelSpec:
    test_sam.build("SamModel").save_pretrained(folder)
    return test_sam.describe("SamModel", folder, points_per_side=3, **EVERYTHING, **hyperparameters)


def sam_with_words(folder: Path) -> ModelSpec:
    words = str(test_sam.clipseg(folder / "words"))
    return sam(folder / "sam", text_model=words, text_threshold=0.5)


FAMILIES: dict[str, tuple[Callable[[Path], ModelSpec], dict[str, Any]]] = {
    "SegFormer": (segformer, {}),
    "SegFormer with CRF": (segformer, {"refine": {"iterations": 2, "window": 5, "contrast": 0.1}}),
    "Mask2Former": (mask2former, {}),
    "Mask R-CNN": (mask_rcnn, {}),
    "U-Net with watershed": (unet_with_watershed, {}),
    "U-Net with watershed, views averaged": (unet_with_watershed, {"tta": "flips"}),
    "SAM": (sam, {}),
    "SAM with words": (sam_with_words, {"text": "roof"}),
}


def entry(spec: ModelSpec, folder: Path) -> Path:
    """The entry of a network, as a person would bring it."""
    tiled = replace(spec, name="network", bands=BANDS, tile_size=128, halo=16, ramp=32, multiple=32)
    return write_model_item(tiled, folder)


def run(client: Client, photo: Path, item: Path, output: Path, **settings: Any) -> geoseg.RunResult:
    return geoseg.run({"model": str(item)}, input=str(photo), output=str(output), client=client, **settings)


def read(path: Path | None) -> NDArray[Any]:
    assert path is not None
    with rasterio.open(path) as source:
        return source.read(1)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_gives_the_same_for_every_layout_of_blocks(
    client: Client, photo: Path, tmp_path: Path, family: str
) -> None:
    make, settings = FAMILIES[family]
    item = entry(make(tmp_path / "weights"), tmp_path)
    results = [run(client, photo, item, tmp_path / f"out{blocks}", block_tiles=blocks, **settings) for blocks in (1, 2)]
    labels = [read(result.labels_path) for result in results]
    np.testing.assert_array_equal(labels[0], labels[1])
    assert len(np.unique(labels[0])) > 1
    if results[0].plan.has_things:
        instances = [read(result.instances_path) for result in results]
        np.testing.assert_array_equal(instances[0], instances[1])
        assert instances[0].max() > 0
    tables = [pyogrio.read_arrow(result.features_paths[0], layer="land_use")[1] for result in results]
    assert len(tables[0]) > 0
    assert tables[0].equals(tables[1])


def test_a_panoptic_run_of_one_tile_is_what_the_network_says_of_it(client: Client, photo: Path, tmp_path: Path) -> None:
    spec = replace(mask2former(tmp_path / "weights"), name="network", bands=BANDS, tile_size=256, halo=0, ramp=0)
    result = run(client, photo, write_model_item(spec, tmp_path), tmp_path / "out")
    size = result.plan.grid.tiling.size
    with rasterio.open(photo) as source:
        pixels = source.read()
    height, width = pixels.shape[1:]
    whole = np.pad(pixels, ((0, 0), (0, size - height), (0, size - width)), mode="reflect")
    scores, (found,) = load_model(spec).predict(whole[None], np.ones((1, size, size), np.bool_))
    stuff = np.array([item.value for item in spec.stuff])[scores[0].argmax(0).numpy()][:height, :width]
    instances, labels = read(result.instances_path), read(result.labels_path)
    assert (labels == stuff)[instances == 0].mean() > 0.999  # a worker computes on one thread, this process on several
    best = found.scores.argmax()
    mask = np.zeros((size, size), np.bool_)
    mask[found.windows[best].slices()] = found.masks[best]
    mask = mask[:height, :width]
    found_there = instances == np.bincount(instances[mask]).argmax()
    assert not found_there[instances == 0].any()
    assert (found_there & mask).sum() / (found_there | mask).sum() > 0.99


def test_a_raster_smaller_than_a_tile_of_fixed_size_is_mapped(client: Client, tmp_path: Path) -> None:
    name = "EomtForUniversalSegmentation"
    network = test_transformers.make(name, test_transformers.UNIVERSAL[name])
    weights = str(test_transformers.save(network, tmp_path / "weights"))
    spec = test_transformers.specified(name, weights=weights, bands=BANDS, tile_size=64, halo=0, ramp=16, multiple=8)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 20, 37), np.uint8)
    raster = write_raster(tmp_path / "small.tif", pixels, colorinterp=["red", "green", "blue"])
    item = write_model_item(replace(spec, name="network", fixed_size=True), tmp_path)
    result = run(client, raster, item, tmp_path / "out")
    whole = np.pad(pixels, ((0, 0), (0, 44), (0, 27)), mode="reflect")
    scores = load_model(spec).predict(whole[None], np.ones((1, 64, 64), np.bool_))
    assert (read(result.labels_path) == scores[0].argmax(0).numpy()[:20, :37]).mean() > 0.99


def test_two_models_together_are_the_map_of_one_and_the_objects_of_the_other(
    client: Client, photo: Path, tmp_path: Path
) -> None:
    stuff = write_model_item(
        replace(segformer(tmp_path / "stuff"), name="stuff", bands=BANDS, tile_size=96, halo=16, multiple=32), tmp_path
    )
    things = replace(mask_rcnn(tmp_path / "things"), name="things", bands=BANDS, tile_size=96, halo=16, multiple=32)
    things = replace(things, classes=tuple(ClassSpec(10 + item.value, item.name) for item in things.classes), ramp=32)
    item = write_model_item(things, tmp_path)
    alone = run(client, photo, item, tmp_path / "alone")
    cover = run(client, photo, stuff, tmp_path / "cover", halo=16, ramp=32)
    both = run(client, photo, stuff, tmp_path / "both", things=str(item))
    np.testing.assert_array_equal(read(both.instances_path), read(alone.instances_path))
    found = read(both.instances_path) > 0
    assert found.any()
    assert not found.all()
    np.testing.assert_array_equal(read(both.labels_path)[~found], read(cover.labels_path)[~found])
    np.testing.assert_array_equal(read(both.labels_path)[found], read(alone.labels_path)[found])
    features = gpd.read_file(both.features_paths[0], layer="land_use")
    assert features["pixels"].sum() == found.size
    assert set(features["isthing"].astype(bool)) == {True, False}


@pytest.mark.slow
def test_objects_are_the_same_after_kill_9_in_the_middle(client: Client, photo: Path, tmp_path: Path) -> None:
    item = entry(mask_rcnn(tmp_path / "weights"), tmp_path)
    whole = run(client, photo, item, tmp_path / "whole", block_tiles=1)
    settings = {
        "model": str(item),
        "input": str(photo),
        "output": str(tmp_path / "out"),
        "block_tiles": 1,
        "workers": 1,
    }
    folder = RunFolder(tmp_path / "out")
    kill_in_the_middle(settings, folder.state / "predict", 4)
    predicted = len(folder.journal("predict").places())
    assert 4 <= predicted < whole.plan.block_count, "the run was not interrupted in the middle"
    result = run(client, photo, item, tmp_path / "out", block_tiles=1)
    assert result.outcome.kept["predict"] == predicted
    np.testing.assert_array_equal(read(result.instances_path), read(whole.instances_path))
    tables = [pyogrio.read_arrow(item.features_paths[0], layer="land_use")[1] for item in (result, whole)]
    assert tables[0].equals(tables[1])


def same_objects(one: geoseg.RunResult, other: geoseg.RunResult) -> None:
    """Refuse runs whose rasters or polygons differ in anything."""
    for path, expected in zip(one.rasters, other.rasters, strict=True):
        np.testing.assert_array_equal(read(path), read(expected))
    tables = [pyogrio.read_arrow(item.features_paths[0], layer="land_use")[1] for item in (one, other)]
    assert tables[0].equals(tables[1])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Mask2Former", "Mask R-CNN", "U-Net with watershed"])
def test_another_min_score_of_a_family_gives_what_a_run_with_it_gives(
    client: Client, photo: Path, tmp_path: Path, family: str
) -> None:
    item = entry(FAMILIES[family][0](tmp_path / "weights"), tmp_path)
    first = run(client, photo, item, tmp_path / "out")
    scores = first.features["score"].dropna()
    min_score = float(scores.median())
    assert scores.min() < min_score, "no object is left out"
    later = run(client, photo, item, tmp_path / "out", min_score=min_score)
    assert not later.outcome.done["predict"]
    assert 0 < len(later.features["score"].dropna()) < len(scores)
    same_objects(later, run(client, photo, item, tmp_path / "fresh", min_score=min_score, block_tiles=2))


@pytest.mark.slow
def test_another_min_score_is_obeyed_after_kill_9_in_the_middle(client: Client, photo: Path, tmp_path: Path) -> None:
    item = entry(mask_rcnn(tmp_path / "weights"), tmp_path)
    first = run(client, photo, item, tmp_path / "out", block_tiles=1)
    min_score = float(first.features["score"].median())
    whole = run(client, photo, item, tmp_path / "whole", block_tiles=1, min_score=min_score)
    settings = {"model": str(item), "input": str(photo), "output": str(tmp_path / "out"), "workers": 1}
    for stage, count in (("overlap", 2), ("number", 2)):
        folder = RunFolder(tmp_path / "out")
        kill_in_the_middle({**settings, "block_tiles": 1, "min_score": min_score}, folder.state / stage, count)
        assert len(folder.journal(stage).places()) < first.plan.block_count, "the run was not interrupted in the middle"
    result = run(client, photo, item, tmp_path / "out", block_tiles=1, min_score=min_score)
    assert not result.outcome.done["predict"]
    same_objects(result, whole)
    same_objects(run(client, photo, item, tmp_path / "out", block_tiles=1), first)
