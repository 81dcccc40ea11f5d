"""Training: recipes, label layers, windows, losses, and whole runs on a raster that is learnt in seconds."""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas
import pytest
import rasterio
import timm
import torch
import yaml
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from segmentation_models_pytorch.encoders import get_encoder
from shapely.geometry import MultiPolygon, box

import geoseg
from geoseg.catalog import find_model
from geoseg.cli import main
from geoseg.errors import (
    CrsError,
    ExistingOutputError,
    GeosegWarning,
    InputNotFoundError,
    InputTypeError,
    OutputError,
    RasterError,
    RegionError,
    TrainingError,
    VectorError,
    WorkflowError,
)
from geoseg.evaluation import IGNORE
from geoseg.models import Band, ClassSpec, ModelSpec, load_model, smp
from geoseg.training import load_recipe, parse_recipe, train
from geoseg.training.augmentation import augment
from geoseg.training.conditions import holds
from geoseg.training.families import FAMILIES
from geoseg.training.fitting import fit_recipe, held_out_mask, make_network, read_scenes, reproducible
from geoseg.training.loop import learning_rate
from geoseg.training.losses import segmentation_loss, soft_dice
from geoseg.training.recipe import Recipe
from geoseg.training.recipe_parts import Augmentation, Loss, Validation
from geoseg.training.sampling import Sampler
from geoseg.training.scenes import BACKGROUND
from geoseg.training.teacher import predict_image, reflected, tiles

CRS = "EPSG:32633"
TRANSFORM = from_origin(500_000, 5_000_000, 10, 10)
SIDE = 192
SHIPPED = Path(__file__).parents[1] / "workflows" / "train_land_cover.yaml"


def write(path: Path, pixels: np.ndarray, **profile: Any) -> Path:
    """Write bands (band, y, x) as a GeoTIFF."""
    count, height, width = pixels.shape
    options = {"crs": CRS, "transform": TRANSFORM, "dtype": pixels.dtype, **profile}
    with rasterio.open(path, "w", driver="GTiff", count=count, height=height, width=width, **options) as file:
        file.write(pixels)
    return path


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """A folder with an image of three kinds of rectangles, their label raster (values 10, 20, 30) and polygons."""
    rng = np.random.default_rng(1)
    labels = np.full((SIDE, SIDE), 10, np.uint8)
    shapes = []
    for y in range(0, SIDE, 32):
        for x in range(0, SIDE, 32):
            value = int(rng.choice([10, 20, 30]))
            labels[y : y + 32, x : x + 32] = value
            left, top = 500_000 + 10 * x, 5_000_000 - 10 * y
            shapes.append((value, box(left, top - 320, left + 320, top)))
    colors = {10: (300, 900), 20: (900, 300), 30: (600, 600)}
    image = np.stack([np.select([labels == v for v in colors], [c[b] for c in colors.values()]) for b in range(2)])
    noisy = image + rng.normal(0, 60, image.shape)
    write(tmp_path / "image.tif", noisy.clip(0).astype(np.uint16))
    write(tmp_path / "labels.tif", labels[None])
    names = {10: "wheat", 20: "wood", 30: "pond"}
    frame = geopandas.GeoDataFrame(
        {"kind": [names[v] for v, _ in shapes], "code": [v for v, _ in shapes]},
        geometry=[s for _, s in shapes],
        crs=CRS,
    )
    frame.to_crs("EPSG:4326").to_file(tmp_path / "fields.gpkg")
    return tmp_path


def recipe_content(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe for `fields` that takes seconds."""
    return {
        "name": "fields",
        "data": str(folder),
        "images": ["image.tif"],
        "labels": [{"raster": "labels.tif"}],
        "classes": [
            {"value": 10, "name": "wheat"},
            {"value": 20, "name": "wood"},
            {"value": 30, "name": "pond", "color": "#0000ff"},
        ],
        "validation": {"east": 0.34},
        "hyperparameters": {"encoder_name": "tu-resnet10t", "encoder_depth": 3, "decoder_channels": [16, 8, 8]},
        "scaling": [{"type": "scale", "value": 1000.0}],
        "tile_size": 128,
        "window": 32,
        "batch_size": 8,
        "steps": 80,
        "steps_per_epoch": 40,
        "warm_up": 5,
        "learning_rate": 0.01,
        "ema": 0.9,
        **changes,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        {"raster": "labels.tif"},
        {"polygons": "fields.gpkg", "column": "kind"},
        {"polygons": "fields.gpkg", "column": "code"},
    ],
    ids=["label raster", "polygons by name", "polygons by value"],
)
def test_a_network_learns_from_a_persons_raster_and_labels(fields: Path, layer: dict[str, Any]) -> None:
    trained = fit_recipe(parse_recipe(recipe_content(fields, labels=[layer])))
    assert trained.evaluation.scores.mean_iou > 0.9
    assert trained.evaluation.scores.pixels == SIDE * round(0.34 * SIDE)


FEW = {"steps": 40, "steps_per_epoch": 40, "freeze_encoder": True}


def test_a_frozen_encoder_stays_as_it_was_loaded_and_the_rest_learns(fields: Path) -> None:
    torch.manual_seed(3)
    encoder = get_encoder("tu-resnet10t", in_channels=2, depth=3, weights=None)
    torch.save(encoder.state_dict(), fields / "encoder.pth")
    recipe = parse_recipe(recipe_content(fields, encoder_weights="encoder.pth", **FEW))
    trained = fit_recipe(recipe)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(trained.weights[f"encoder.{name}"], tensor), name
    before = make_network(recipe, trained.spec).state_dict()
    assert not torch.equal(trained.weights["segmentation_head.0.weight"], before["segmentation_head.0.weight"])
    assert trained.evaluation.scores.mean_iou > 0.6


def test_a_vision_transformer_starts_from_the_tensors_of_timm_and_maps(
    fields: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    vit = timm.create_model("vit_tiny_patch16_224")
    torch.save(vit.state_dict(), fields / "vit.pth")
    light = {"decoder_intermediate_channels": [8, 8, 16, 16], "decoder_fusion_channels": 8}
    changes: dict[str, Any] = {
        **FEW, "architecture": "smp.DPT", "hyperparameters": {"encoder_name": "tu-vit_tiny_patch16_224", **light},
        "encoder_weights": "vit.pth", "steps": 2, "window": 64, "batch_size": 2,
    }  # fmt: skip
    trained = fit_recipe(parse_recipe(recipe_content(fields, **changes)))
    own = {name.removeprefix("encoder.model."): tensor for name, tensor in trained.weights.items()}
    assert torch.equal(own["pos_embed"], vit.state_dict()["pos_embed"])
    assert torch.equal(own["blocks.11.mlp.fc2.weight"], vit.state_dict()["blocks.11.mlp.fc2.weight"])
    asked = []

    def fetch(name: str, **options: Any) -> torch.nn.Module:
        asked.append((name, options.get("pretrained")))
        return create(name, **{**options, "pretrained": False})

    create = timm.create_model
    monkeypatch.setattr("timm.create_model", fetch)
    make_network(parse_recipe(recipe_content(fields, **changes | {"encoder_weights": "imagenet"})), trained.spec)
    assert ("vit_tiny_patch16_224", True) in asked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "'freeze_encoder' would keep random weights; name 'encoder_weights' or 'init'"),
        (
            {"init": "sentinel2-land-cover", "bands": ["1", "2"]},
            "freeze_encoder would keep them random; give its bands and encoder",
        ),
    ],
)
def test_an_encoder_that_would_be_frozen_at_random_is_refused(
    fields: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((WorkflowError, TrainingError)) as caught:
        fit_recipe(parse_recipe(recipe_content(fields, **FEW, **changes)))
    assert message in str(caught.value)


def test_a_run_writes_its_model_into_one_file_too(fields: Path) -> None:
    (fields / "recipe.yaml").write_text(yaml.safe_dump(recipe_content(fields, steps=1)), encoding="utf-8")
    file = fields / "fields.safetensors"
    result = train(fields / "recipe.yaml", output=fields / "entry", export=file)
    maps = [np.asarray(geoseg.segment(str(fields / "image.tif"), str(item))) for item in (result.folder, file)]
    np.testing.assert_array_equal(*maps)
    with pytest.raises(OutputError, match=r"has the ending of no format for models; use "):
        train(fields / "recipe.yaml", output=fields / "other", export=fields / "fields.zip")
    assert not (fields / "other").exists()


@pytest.mark.slow
def test_a_run_leaves_an_entry_that_the_catalog_reads_and_that_maps_the_image(fields: Path) -> None:
    epochs = []
    (fields / "recipe.yaml").write_text(yaml.safe_dump(recipe_content(fields)), encoding="utf-8")
    result = train(fields / "recipe.yaml", output=fields / "entry", progress=epochs.append)
    spec = find_model(result.folder)
    assert spec.class_names == ["wheat", "wood", "pond"]
    assert [item.value for item in spec.classes] == [10, 20, 30]
    assert spec.multiple == 8
    assert spec.halo % 8 == 0
    with rasterio.open(fields / "image.tif") as file:
        pixels = file.read()
    with rasterio.open(fields / "labels.tif") as file:
        labels = file.read(1)
    classes, _ = predict_image(load_model(spec), pixels, np.ones(labels.shape, bool))
    assert np.mean(np.array([10, 20, 30])[classes] == labels) > 0.9
    with (result.folder / "log.csv").open(encoding="utf-8") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [epoch.step for epoch in epochs] == [40, 80]
    card = (result.folder / "README.md").read_text(encoding="utf-8")
    assert "| wood |" in card
    assert not list(result.folder.glob(".*"))


@pytest.mark.slow
def test_an_embedding_is_imagery_like_any_other(tmp_path: Path) -> None:
    rng, side = np.random.default_rng(0), 96
    labels = np.kron(rng.integers(1, 4, (6, 6)), np.ones((16, 16), int)).astype(np.uint8)
    vectors = np.moveaxis(rng.normal(size=(4, 64))[labels], -1, 0) + rng.normal(size=(64, side, side))
    vectors /= np.linalg.norm(vectors, axis=0)
    vectors[:, :8, :8] = np.nan
    raster = write(tmp_path / "embedding.tif", vectors.astype(np.float32), nodata=np.nan)
    names = [f"A{number:02d}" for number in range(64)]
    with rasterio.open(raster, "r+") as file:
        file.descriptions = names
    write(tmp_path / "labels.tif", labels[None])
    recipe = {
        "name": "crops", "data": ".", "images": ["embedding.tif"], "labels": [{"raster": "labels.tif"}],
        "classes": [{"value": value, "name": name} for value, name in enumerate(["water", "wood", "wheat"], 1)],
        "validation": {"east": 0.34}, "window": 32, "batch_size": 8, "steps": 40, "steps_per_epoch": 40,
        "learning_rate": 0.01, "ema": 0.9, "tile_size": 96,
        "hyperparameters": {"encoder_name": "tu-resnet10t", "encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["train", str(tmp_path / "recipe.yaml"), "--output", str(tmp_path / "entry")]) == 0
    spec = find_model(tmp_path / "entry" / "crops.json")
    assert (spec.band_names, spec.scalings) == (names, ())
    ((low, high),) = spec.value_range
    assert -0.5 < low < -0.2 < 0.2 < high < 0.5
    mapped = np.asarray(geoseg.segment(str(raster), str(tmp_path / "entry" / "crops.json"))).squeeze()
    assert (mapped[:8, :8] == 255).all()
    assert (mapped == labels)[mapped != 255].mean() > 0.9


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(fields: Path) -> None:
    first, second, other = (
        fit_recipe(parse_recipe(recipe_content(fields, steps=6, steps_per_epoch=3, seed=seed))).weights
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_random_numbers_of_the_program_go_on_after_a_training_as_before() -> None:
    states, drawn = (random.getstate(), torch.get_rng_state()), []
    for _ in range(2):
        with reproducible(Recipe.model_construct(seed=3, threads=1)):
            drawn.append((random.getstate(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    assert (random.getstate(), torch.equal(torch.get_rng_state(), states[1])) == (states[0], True)


@pytest.mark.slow
def test_training_can_start_from_a_model_of_the_catalog(fields: Path) -> None:
    start = train(parse_recipe(recipe_content(fields)), output=fields / "entry")
    item = next(start.folder.glob("*.json"))
    again = recipe_content(fields, init=str(item), steps=1, steps_per_epoch=1, learning_rate=1e-9)
    assert fit_recipe(parse_recipe(again)).evaluation.scores.mean_iou == pytest.approx(
        start.evaluation.scores.mean_iou, abs=0.02
    )


@pytest.mark.parametrize("changed", ["image.tif", "labels.tif"])
def test_an_interrupted_run_is_not_continued_on_other_data(fields: Path, tmp_path: Path, changed: str) -> None:
    """A person stops a training, mends labels, and starts it again: what was learnt and scored is of the old ones."""
    recipe = parse_recipe(recipe_content(fields, steps=4, steps_per_epoch=1))

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, output=tmp_path / "entry", progress=stop)
    kept = (tmp_path / "entry" / "state.pt").read_bytes()
    with rasterio.open(fields / changed, "r+") as file:
        pixels = file.read()
        pixels[:, 40:60, 40:60] = pixels[:, 0:1, 0:1]
        file.write(pixels)
    with pytest.raises(TrainingError, match=r"state\.pt was left by a run of other images or labels; give --overwrite"):
        train(recipe, output=tmp_path / "entry", progress=stop)
    assert (tmp_path / "entry" / "state.pt").read_bytes() == kept
    with pytest.raises(KeyboardInterrupt):
        train(recipe, output=tmp_path / "entry", progress=stop, overwrite=True)


def test_weights_that_a_training_starts_from_are_not_replaced_by_it(fields: Path, tmp_path: Path) -> None:
    entry = train(parse_recipe(recipe_content(fields, steps=1, steps_per_epoch=1)), output=tmp_path / "entry")
    weights = tmp_path / "entry" / "fields.safetensors"
    kept = weights.read_bytes()
    again = recipe_content(fields, init=str(weights.with_suffix(".json")), steps=1, steps_per_epoch=1)
    with pytest.raises(ExistingOutputError, match=r"fields\.safetensors is read and would be replaced; choose another"):
        train(parse_recipe(again), output=entry.folder, overwrite=True)
    assert weights.read_bytes() == kept


def test_a_file_that_is_there_is_not_replaced_by_an_export(
    fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.safetensors"
    mine.write_text("mine")
    with pytest.raises(
        ExistingOutputError, match=r"mine\.safetensors is there already; give another output, or --over"
    ):
        train(parse_recipe(recipe_content(fields)), output=tmp_path / "entry", export=str(mine))
    assert main(["models", "export", "sentinel2-land-cover", str(mine)]) != 0
    assert mine.read_text() == "mine"
    assert main(["models", "export", "sentinel2-land-cover", str(mine), "--overwrite"]) == 0
    with pytest.raises(ExistingOutputError, match=r"entry/fields\.safetensors is a file of the entry; choose another"):
        train(
            parse_recipe(recipe_content(fields)),
            output=tmp_path / "entry",
            export=tmp_path / "entry/fields.safetensors",
        )
    assert main(["models", "export", str(mine), str(mine), "--overwrite"]) == 2
    assert "mine.safetensors is read and would be replaced" in " ".join(capsys.readouterr().err.split())


def test_early_stopping_ends_a_run_that_no_longer_improves(fields: Path) -> None:
    content = recipe_content(fields, steps=40, steps_per_epoch=1, early_stopping=2, learning_rate=1e-12, warm_up=0)
    assert len(fit_recipe(parse_recipe(content)).log) < 40


def test_other_images_can_validate(fields: Path) -> None:
    shutil.copy(fields / "image.tif", fields / "other.tif")
    content = recipe_content(fields, validation={"images": ["other.tif"]}, labels=[{"raster": ["labels.tif"] * 2}])
    scenes, _ = read_scenes(parse_recipe(content))
    assert [bool(scene.held_out.all()) for scene in scenes] == [False, True]


@pytest.mark.filterwarnings("ignore:no labelled pixel")
def test_later_label_layers_override_earlier_ones_where_their_condition_holds(fields: Path) -> None:
    layers = [
        {"raster": "labels.tif"},
        {"polygons": "fields.gpkg", "class": "pond", "select": {"kind": "wood"}, "where": "B1 > 900"},
        {"polygons": "fields.gpkg", "class": "ignore", "select": {"kind": "wheat"}},
    ]
    image = {"B1": "b1.tif", "B2": "b2.tif"}
    with rasterio.open(fields / "image.tif") as file:
        pixels = file.read()
    for band, name in enumerate(image.values()):
        write(fields / name, pixels[band : band + 1])
    scenes, spec = read_scenes(parse_recipe(recipe_content(fields, labels=layers, images=[image])))
    with rasterio.open(fields / "labels.tif") as file:
        truth = file.read(1)
    expected = np.select([truth == 10, (truth == 20) & (pixels[0] > 900), truth == 20], [IGNORE, 2, 1], default=2)
    assert spec.band_names == ["B1", "B2"]
    assert np.array_equal(scenes[0].labels, expected)
    assert set(np.unique(scenes[0].layers)) == {0, 1, IGNORE}


def test_label_rasters_of_another_grid_are_read_by_nearest_neighbour(fields: Path) -> None:
    with rasterio.open(fields / "labels.tif") as file:
        coarse = file.read(1)[::2, ::2]
    write(fields / "coarse.tif", coarse[None], transform=from_origin(500_000, 5_000_000, 20, 20))
    scenes, _ = read_scenes(parse_recipe(recipe_content(fields, labels=[{"raster": "coarse.tif"}])))
    with rasterio.open(fields / "labels.tif") as file:
        assert np.array_equal(np.array([10, 20, 30])[scenes[0].labels], file.read(1))


def test_labels_beside_the_image_are_an_error(fields: Path) -> None:
    with rasterio.open(fields / "labels.tif") as file:
        labels = file.read()
    write(fields / "far.tif", labels, transform=from_origin(700_000, 5_000_000, 10, 10))
    with pytest.raises(TrainingError, match=r"far\.tif does not overlap image 1"):
        fit_recipe(parse_recipe(recipe_content(fields, labels=[{"raster": "far.tif"}])))


def test_masks_of_0_and_255_are_refused_until_the_recipe_says_what_255_is(fields: Path) -> None:
    with rasterio.open(fields / "labels.tif") as file:
        labels = file.read()
    write(fields / "mask.tif", np.where(labels == 10, 255, 20).astype(np.uint8))
    content = recipe_content(fields, labels=[{"raster": "mask.tif"}])
    content["classes"] = content["classes"][:2]
    with pytest.raises(
        TrainingError, match=r"no labelled pixel of wheat .*mask\.tif has pixels of 255.*\{255: wheat\}"
    ):
        read_scenes(parse_recipe(content))
    layer = {"raster": "mask.tif", "values": {255: "wheat"}}
    scenes, _ = read_scenes(parse_recipe({**content, "labels": [layer]}))
    assert np.array_equal(scenes[0].labels == 0, labels[0] == 10)
    with pytest.warns(GeosegWarning, match="no labelled pixel of wheat lies in the training part: the model will not"):
        read_scenes(parse_recipe({**content, "labels": [{"raster": "mask.tif", "ignore": [255]}]}))
    with pytest.raises(WorkflowError, match="'wheet' is not one of the recipe's classes; did you mean 'wheat'"):
        fit_recipe(parse_recipe({**content, "labels": [{"raster": "mask.tif", "values": {255: "wheet"}}]}))


def test_labels_painted_in_colours_or_not_whole_are_refused(fields: Path) -> None:
    write(fields / "painted.tif", np.zeros((3, SIDE, SIDE), np.uint8))
    with pytest.raises(TrainingError, match=r"painted\.tif' has 3 bands, so it looks like a picture"):
        read_scenes(parse_recipe(recipe_content(fields, labels=[{"raster": "painted.tif"}])))
    write(fields / "shares.tif", np.full((1, SIDE, SIDE), 0.5, np.float32))
    with pytest.raises(RasterError, match=r"shares\.tif' holds 0\.5, which is not a 63-bit integer"):
        read_scenes(parse_recipe(recipe_content(fields, labels=[{"raster": "shares.tif"}])))


def test_an_image_in_which_no_polygon_lies_gets_no_label_and_is_named(fields: Path) -> None:
    with rasterio.open(fields / "image.tif") as file:
        pixels = file.read()
    write(fields / "elsewhere.tif", pixels, transform=from_origin(700_000, 5_000_000, 10, 10))
    layers = [{"polygons": "fields.gpkg", "column": "kind"}]
    content = recipe_content(fields, images=["image.tif", "elsewhere.tif"], labels=layers)
    with pytest.warns(GeosegWarning, match=r"no polygon of fields\.gpkg lies in elsewhere: it gives no label there"):
        scenes, _ = read_scenes(parse_recipe(content))
    assert (scenes[1].labels == IGNORE).all()


def test_images_and_labels_lie_in_archives_and_at_urls_of_files(fields: Path) -> None:
    layers = [{"polygons": "fields.gpkg", "column": "kind"}]
    wanted = read_scenes(parse_recipe(recipe_content(fields, labels=layers)))[0][0]
    with zipfile.ZipFile(fields / "a.zip", "w") as archive:
        for name in ("image.tif", "fields.gpkg"):
            archive.write(fields / name, name)
    for home in (f"/vsizip/{fields}/a.zip", f"file://{fields}"):
        content = recipe_content(fields, images=[f"{home}/image.tif"])
        content["labels"] = [{"polygons": f"{home}/fields.gpkg", "column": "kind"}]
        found = read_scenes(parse_recipe(content))[0][0]
        np.testing.assert_array_equal(found.labels, wanted.labels)
        np.testing.assert_array_equal(found.pixels, wanted.pixels)
    content["labels"][0]["polygons"] = f"/vsizip/{fields}/a.zip/none.gpkg"
    with pytest.raises(VectorError, match=r"polygons /vsizip/.*none\.gpkg cannot be read .*does not exist"):
        read_scenes(parse_recipe(content))


def test_polygons_beside_the_image_are_an_error(fields: Path) -> None:
    frame = geopandas.GeoDataFrame({"kind": ["wood"]}, geometry=[box(0, 0, 1, 1)], crs="EPSG:4326")
    frame.to_file(fields / "far.gpkg")
    with pytest.raises(TrainingError, match=r"no polygon of .*far.gpkg overlaps"):
        fit_recipe(parse_recipe(recipe_content(fields, labels=[{"polygons": "far.gpkg", "column": "kind"}])))


def test_a_value_that_is_not_a_class_is_an_error_that_lists_the_classes(fields: Path) -> None:
    content = recipe_content(fields)
    content["classes"] = content["classes"][:2]
    with pytest.raises(TrainingError, match=r"has class 30, which is not in 'classes' \(10 wheat, 20 wood"):
        fit_recipe(parse_recipe(content))


def test_imagery_that_the_scaling_is_not_for_is_refused_and_a_scale_mends_it(fields: Path) -> None:
    with rasterio.open(fields / "image.tif") as file:
        numbers = file.read()
    write(fields / "image.tif", (numbers / 10_000).astype(np.float32))
    with pytest.raises(
        RasterError, match=r"image\.tif' lie between .* and model 'fields' is meant for 0 to 1,000.*`scale: "
    ):
        read_scenes(parse_recipe(recipe_content(fields)))
    (scene,), _ = read_scenes(parse_recipe(recipe_content(fields, scale=10_000, nodata="none")))
    np.testing.assert_allclose(scene.pixels, numbers, rtol=1e-5)


def test_classes_of_polygons_are_written_as_people_write_them(fields: Path) -> None:
    frame = geopandas.read_file(fields / "fields.gpkg")
    layer = {"polygons": "fields.gpkg", "column": "kind"}
    wanted = read_scenes(parse_recipe(recipe_content(fields, labels=[layer])))[0][0].labels
    shown = {"written.gpkg": frame["kind"].str.upper() + " ", "numbers.gpkg": frame["code"].astype(str)}
    shown["floats.gpkg"] = frame["code"].astype(float).astype(str)
    for name, column in shown.items():
        frame.assign(kind=column).to_file(fields / name)
        found = read_scenes(parse_recipe(recipe_content(fields, labels=[{**layer, "polygons": name}])))[0][0].labels
        np.testing.assert_array_equal(found, wanted)
    frame.loc[0, "kind"] = None
    frame.to_file(fields / "without.gpkg")
    with pytest.raises(TrainingError, match=r"without\.gpkg has polygons without a class; give them one of 10 wheat"):
        read_scenes(parse_recipe(recipe_content(fields, labels=[{**layer, "polygons": "without.gpkg"}])))


@pytest.mark.parametrize("step", [-1, 1], ids=["upper one last", "lower one last"])
def test_polygons_whose_edges_pass_through_centres_of_pixels_share_none(fields: Path, step: int) -> None:
    left, bottom = 500_105, 4_999_005
    thirds = [box(left, bottom + 200 * part, left + 1400, bottom + 200 * (part + 1)) for part in range(3)][::step]
    kinds = ["wheat", "wood", "pond"][::step]
    geopandas.GeoDataFrame({"kind": kinds}, geometry=thirds, crs=CRS).to_file(fields / "thirds.gpkg")
    layer = {"polygons": "thirds.gpkg", "column": "kind"}
    labels = read_scenes(parse_recipe(recipe_content(fields, labels=[layer])))[0][0].labels
    expected = np.full((SIDE, SIDE), IGNORE, np.uint8)
    expected[39:99, 10:150] = np.repeat([2, 1, 0], 20)[:, None]
    np.testing.assert_array_equal(labels, expected)


def test_corrections_of_a_run_are_labels_but_for_what_a_pixel_is_not(fields: Path) -> None:
    frame = geopandas.read_file(fields / "fields.gpkg")
    layer = {"polygons": "edits.gpkg", "column": "kind"}
    wanted = read_scenes(parse_recipe(recipe_content(fields, labels=[{**layer, "polygons": "fields.gpkg"}])))[0][0]
    denied = frame.assign(kind=None, **{"not": "wheat"})
    pandas.concat([frame, denied]).to_file(fields / "edits.gpkg")
    found = read_scenes(parse_recipe(recipe_content(fields, labels=[layer])))[0][0]
    np.testing.assert_array_equal(found.labels, wanted.labels)


def test_a_model_that_is_trained_further_keeps_what_its_numbers_mean(fields: Path) -> None:
    with rasterio.open(fields / "image.tif", "r+") as file:
        numbers = file.read()
        file.descriptions, file.scales, file.offsets = ("B02", "B08"), [0.0001] * 2, [-0.02] * 2
    changes = {"init": "sentinel2-land-cover", "scaling": [], "bands": ["B02", "B08"]}
    (scene,), spec = read_scenes(parse_recipe(recipe_content(fields, **changes)))
    assert [band.unit for band in spec.bands] == [(0.0001, 0.0)] * 2
    np.testing.assert_array_equal(scene.pixels, numbers - np.minimum(numbers, 200))


def test_no_labelled_pixel_is_an_error(fields: Path) -> None:
    write(fields / "none.tif", np.full((1, SIDE, SIDE), 255, np.uint8))
    with pytest.raises(TrainingError, match="no labelled pixel"):
        fit_recipe(parse_recipe(recipe_content(fields, labels=[{"raster": "none.tif"}])))


def test_an_unknown_column_is_an_error_that_names_the_nearest(fields: Path) -> None:
    with pytest.raises(VectorError, match="did you mean 'kind'"):
        fit_recipe(parse_recipe(recipe_content(fields, labels=[{"polygons": "fields.gpkg", "column": "kinds"}])))


def test_a_missing_image_is_an_error_that_says_where_it_was_looked_for(fields: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"nowhere\.tif is neither beside the recipe nor in the data folder"):
        fit_recipe(parse_recipe(recipe_content(fields, images=["nowhere.tif"])))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lerning_rate": 1}, "unknown key 'lerning_rate' in the recipe; did you mean 'learning_rate'"),
        ({"loss": {"dise": 1}}, "unknown key 'loss.dise' in the recipe; did you mean 'dice'"),
        ({"labels": [{"polygons": "a", "colum": "b"}]}, "did you mean 'column'"),
        ({"labels": [{"vector": "a"}]}, "exactly one of the keys teacher, raster, polygons, instances"),
        ({"labels": [{"polygons": "a"}]}, "name exactly one of the two"),
        ({"validation": {"east": 0.2, "west": 0.2}}, "'validation' takes exactly one of"),
        ({"steps": 0}, "recipe key 'steps' is 0"),
        ({"classes": [{"value": 1, "name": "a"}, {"value": 1, "name": "b"}]}, "class value 1 stands twice"),
        ({"labels": []}, "recipe key 'labels' is"),
        ({"images": ["a.tif"], "validation": {"images": ["a.tif"]}}, "a.tif stands in 'images' and in 'validation'"),
        ({"logit_adjustment": {"wod": 2}}, "'wod' is not one of the recipe's classes; did you mean 'wood'"),
        ({"logit_adjustment": {"wood": 2}, "task": "instance-segmentation"}, "for objects set 'watershed'"),
        ({"loss": {"class_weights": {"wod": 2}}}, "'wod' is not one of the recipe's classes; did you mean 'wood'"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_sentence(fields: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        fit_recipe(parse_recipe(recipe_content(fields, **changes)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_may_be_its_keys_in_python(fields: Path, tmp_path: Path) -> None:
    content = recipe_content(fields, steps_per_epoch=1, warm_up=0)
    result = geoseg.train(content, output=tmp_path / "models", steps=1)
    assert (result.spec.name, len(result.log)) == (content["name"], 1)
    with pytest.raises(WorkflowError, match="the recipe has no key 'classes'; add it"):
        geoseg.train({key: value for key, value in content.items() if key != "classes"})
    with pytest.raises(InputTypeError, match="a int is no recipe; give a path, a dict of its keys, or a Recipe"):
        geoseg.train(3)  # type: ignore[arg-type]


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match=r"cannot be read \(Is a directory\); name a YAML file"):
        load_recipe(tmp_path)


def test_the_shipped_recipe_is_valid_and_its_corrections_ship_beside_it() -> None:
    recipe = load_recipe(SHIPPED)
    assert recipe.bands == ("B02", "B03", "B04", "B08")
    assert recipe.find("land_cover_corrections.geojson").is_file()


def test_the_shipped_model_is_the_shipped_recipes() -> None:
    recipe, spec = load_recipe(SHIPPED), find_model("sentinel2-land-cover")
    assert tuple(spec.band_names) == recipe.bands
    assert spec.class_names == [item.name for item in recipe.classes]
    assert spec.scalings == recipe.scalings
    assert Path(str(spec.weights)).stat().st_size < 15e6


@pytest.mark.parametrize("condition", ["__import__('os')", "B1", "B1 >", "B1.max() > 1", "B1 ** 2 > 1", "B9 > 1"])
def test_a_condition_that_is_not_a_comparison_of_bands_is_refused(condition: str) -> None:
    with pytest.raises(WorkflowError, match="condition"):
        holds(condition, {"B1": np.zeros((2, 2))})


@given(st.integers(-5, 5), st.integers(-5, 5))
def test_a_condition_holds_where_python_says_so(a: int, b: int) -> None:
    bands = {"A": np.array([[a]], np.int16), "B": np.array([[b]], np.uint16 if b >= 0 else np.int16)}
    condition = "A > 2 * B and not A == 3 or -1 < B <= A - 0.5"
    assert bool(holds(condition, bands)[0, 0]) == ((a > 2 * b and a != 3) or -1 < b <= a - 0.5)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(8, 40), st.integers(0, 12), st.sampled_from([1, 2, 8]))
def test_the_kept_windows_of_tiles_cover_an_image_once(
    height: int, width: int, size: int, halo: int, multiple: int
) -> None:
    count = np.zeros((height, width), int)
    for tile, core in tiles(height, width, size, halo, multiple):
        count[core.slices()] += 1
        assert tile.contains(core)
        assert tile.height % multiple == 0
    assert (count == 1).all()


@given(st.integers(1, 9), st.integers(0, 30), st.integers(0, 30))
def test_reflection_is_that_of_numpy(length: int, before: int, after: int) -> None:
    expected = np.pad(np.arange(length), (before, after), mode="reflect" if length > 1 else "edge")
    assert np.array_equal(reflected(-before, before + length + after, length), expected)


def test_dice_is_zero_for_a_sure_and_right_network_and_one_for_a_wrong_one() -> None:
    labels = torch.tensor([[[0, 1], [1, IGNORE]]])
    right = torch.nn.functional.one_hot(labels.where(labels != IGNORE, torch.tensor(0)), 2).movedim(-1, 1) * 200.0
    assert float(soft_dice(right, labels)) == pytest.approx(0, abs=1e-6)
    assert float(soft_dice(-right, labels)) == pytest.approx(1, abs=1e-6)


def test_ignored_pixels_change_no_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 4, 4, generator=generator)
    labels = torch.randint(0, 3, (1, 4, 4), generator=generator)
    labels[0, 0] = IGNORE
    changed = logits.clone()
    changed[:, :, 0] = 50.0
    assert torch.equal(segmentation_loss(logits, labels), segmentation_loss(changed, labels))
    assert float(segmentation_loss(logits, torch.full_like(labels, IGNORE))) == 0


def test_windows_never_show_held_out_pixels(fields: Path) -> None:
    scenes, _ = read_scenes(parse_recipe(recipe_content(fields)))
    sampler = Sampler(scenes, 64, 0.5, Augmentation(flips=False, rotations=False), 0)
    shown = {tuple(column) for column in scenes[0].pixels[:, ~scenes[0].held_out].T.astype(float)}
    batch = sampler.batch(0, 16)
    assert (~batch.mask).any()
    assert (batch.labels[~batch.mask] == IGNORE).all()
    assert {tuple(column) for column in np.moveaxis(batch.pixels, 1, -1)[batch.mask].astype(float)} <= shown


def sampler_of(content: dict[str, Any], **changes: Any) -> Sampler:
    """A sampler of the scenes of a recipe."""
    recipe = parse_recipe(content)
    plain = Augmentation(flips=False, rotations=False)
    return Sampler(read_scenes(recipe)[0], recipe.window, 0.0, plain, 0, **changes)


def centres(sampler: Sampler, draws: int) -> np.ndarray:
    """Scene and class of the pixels that windows are drawn around, shape (draws, 2)."""
    rng = np.random.default_rng(0)
    found = [sampler._centre(rng) for _ in range(draws)]
    return np.array([(number, sampler.scenes[number].labels[y, x]) for number, y, x in found])


def test_windows_lie_around_pixels_of_a_class_as_often_as_there_are_such_pixels(
    fields: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoseg.training.sampling.INDEX_LIMIT", 500)  # fewer than there are of any class
    labels = np.full((1, SIDE, SIDE), 10, np.uint8)
    labels[0, :48, :48], labels[0, 100:124, :24] = 20, 30
    write(fields / "uneven.tif", labels)
    sampler = sampler_of(recipe_content(fields, labels=[{"raster": "uneven.tif"}]))
    usable = sampler.scenes[0].labels[~sampler.scenes[0].held_out]
    shares = np.bincount(usable, minlength=3) / usable.size
    drawn = np.bincount(centres(sampler, 4000)[:, 1], minlength=3) / 4000
    assert drawn == pytest.approx(shares, abs=4 * 0.5 / np.sqrt(4000))
    sampler.balance = 1.0
    drawn = np.bincount(centres(sampler, 4000)[:, 1], minlength=3) / 4000
    assert drawn == pytest.approx([1 / 3] * 3, abs=4 * 0.5 / np.sqrt(4000))


@pytest.mark.filterwarnings("ignore:no labelled pixel")
@pytest.mark.parametrize(("scene_balance", "share"), [(0.0, 1 / 10), (0.5, 1 / 4), (1.0, 1 / 2)])
def test_small_scenes_are_drawn_from_as_often_as_scene_balance_says(
    fields: Path, scene_balance: float, share: float
) -> None:
    few = np.full((1, SIDE, SIDE), 255, np.uint8)
    few[0, :4, :9], few[0, 4:8, :9] = 10, 20
    many = np.full((1, SIDE, SIDE), 255, np.uint8)
    many[0, :18, :9], many[0, 18:72, :9] = 10, 20
    for name, raster in (("few", few), ("many", many)):
        write(fields / f"{name}.tif", raster)
    shutil.copy(fields / "image.tif", fields / "other.tif")
    layers = [{"raster": ["few.tif", "many.tif", "labels.tif"], "ignore": [255]}]
    content = recipe_content(fields, images=["image.tif"] * 2, validation={"images": ["other.tif"]}, labels=layers)
    sampler = sampler_of(content, scene_balance=scene_balance)
    sampler.scenes = sampler.scenes[:2]
    sampler.classes = {value: entries[:2] for value, entries in sampler.classes.items() if value < 2}
    drawn = centres(sampler, 4000)
    assert np.mean(drawn[:, 0] == 0) == pytest.approx(share, abs=4 * 0.5 / np.sqrt(4000))


def test_processes_that_draw_ahead_change_no_weight(fields: Path) -> None:
    alone, beside = (
        fit_recipe(parse_recipe(recipe_content(fields, steps=6, steps_per_epoch=3, loaders=loaders)))
        for loaders in (0, 2)
    )
    assert [epoch.loss for epoch in alone.log] == [epoch.loss for epoch in beside.log]
    assert all(torch.equal(alone.weights[name], beside.weights[name]) for name in alone.weights)


def test_a_process_that_draws_ahead_and_dies_is_told_in_one_sentence(
    fields: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.getpid()

    def die(*_: object) -> None:
        assert os.getpid() != own
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(Sampler, "batch", die)
    with pytest.raises(TrainingError, match=r"one of 2 processes that draw windows has died.*give fewer loaders, or 0"):
        fit_recipe(parse_recipe(recipe_content(fields, loaders=2)))


def test_shifts_of_scores_are_refused_where_a_family_knows_none(fields: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "smp.*", replace(FAMILIES["smp.*"], shift_scores=None))
    with pytest.raises(TrainingError, match=r"'logit_adjustment' does not apply to smp\.Unet; leave it out"):
        fit_recipe(parse_recipe(recipe_content(fields, logit_adjustment={"wood": 1.0})))


def test_a_batch_depends_on_its_number_alone(fields: Path) -> None:
    one, other = (sampler_of(recipe_content(fields)) for _ in range(2))
    batches = [one.batch(number, 4) for number in range(3)]
    for number in (2, 0, 1):
        again = other.batch(number, 4)
        assert np.array_equal(again.pixels, batches[number].pixels)
        assert np.array_equal(again.labels, batches[number].labels)
    assert not np.array_equal(batches[0].pixels, batches[1].pixels)


def test_scores_are_shifted_when_training_is_done(fields: Path) -> None:
    plain, shifted = (
        fit_recipe(parse_recipe(recipe_content(fields, steps=40, steps_per_epoch=20, logit_adjustment=shifts)))
        for shifts in ({}, {"wood": -30.0})
    )
    assert [epoch.score for epoch in plain.log] == [epoch.score for epoch in shifted.log], "epochs are judged without"
    changed = [name for name in plain.weights if not torch.equal(plain.weights[name], shifted.weights[name])]
    assert changed == ["segmentation_head.0.bias"]
    difference = shifted.weights[changed[0]] - plain.weights[changed[0]]
    assert difference.tolist() == pytest.approx([0, -30, 0], abs=1e-5)
    assert plain.evaluation.scores.counts[:, 1].sum() > 0
    assert shifted.evaluation.scores.counts[:, 1].sum() == 0


@pytest.mark.parametrize("architecture", sorted({*smp.ARCHITECTURES} - {"DPT"}))
def test_the_scores_of_every_architecture_can_be_shifted(architecture: str) -> None:
    classes = tuple(ClassSpec(value, f"c{value}") for value in range(3))
    spec = ModelSpec(
        "x", "semantic-segmentation", (Band("a"), Band("b")), classes, architecture=f"smp.{architecture}",
        hyperparameters=(("encoder_name", "resnet18"),),
    )  # fmt: skip
    network, pixels = smp.build(spec).eval(), torch.randn(1, 2, 128, 128)
    shifts = torch.tensor([0.5, -2.0, 3.0])
    with torch.inference_mode():
        before = network(pixels)
        smp.shift_scores(network, shifts)
        torch.testing.assert_close(network(pixels), before + shifts[:, None, None], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("written", "terms"),
    [
        ({}, (1, 1, 0, 0)),
        ({"cross_entropy": 1}, (1, 0, 0, 0)),
        ({"dice": 2, "boundary": 0.5}, (0, 2, 0, 0.5)),
        ({"label_smoothing": 0.1}, (1, 1, 0, 0)),
    ],
)
def test_a_loss_has_the_terms_that_are_named(written: dict[str, float], terms: tuple[float, ...]) -> None:
    loss = Loss(**written)
    assert (loss.cross_entropy, loss.dice, loss.focal, loss.boundary) == terms


def test_the_rate_falls_to_zero_at_the_end_or_where_the_recipe_says(fields: Path) -> None:
    whole = parse_recipe(recipe_content(fields, steps=100, warm_up=10, learning_rate=0.5))
    half = parse_recipe(recipe_content(fields, steps=55, decay_steps=100, warm_up=10, learning_rate=0.5))
    assert learning_rate(9, whole) == learning_rate(10, whole) == 0.5
    assert learning_rate(55, whole) == pytest.approx(0.25)
    assert learning_rate(100, whole) == pytest.approx(0)
    assert [learning_rate(step, half) for step in range(55)] == [learning_rate(step, whole) for step in range(55)]


@given(st.integers(0, 2**32 - 1))
def test_flips_and_rotations_keep_pixels_and_labels_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (6, 6), dtype=np.uint8)
    pixels = np.stack([labels, labels * 10]).astype(np.float32)
    sample = pixels, labels > 0, labels, labels.astype(np.uint32)
    turned, mask, turned_labels, numbers = augment(sample, Augmentation(), rng)
    assert np.array_equal(numbers, turned_labels)
    assert np.array_equal(turned[0], turned_labels)
    assert np.array_equal(turned[1], turned_labels * 10.0)
    assert np.array_equal(mask, turned_labels > 0)


def test_images_that_are_not_placed_on_the_ground_are_taken_as_they_are(fields: Path) -> None:
    for name in ("image", "labels"):
        with rasterio.open(fields / f"{name}.tif") as file:
            write(fields / f"plain_{name}.tif", file.read(), crs=None, transform=rasterio.Affine.identity())
    content = recipe_content(fields, images=["plain_image.tif"], labels=[{"raster": "plain_labels.tif"}], resolution=3)
    plain, spec = read_scenes(parse_recipe(content))
    placed, _ = read_scenes(parse_recipe(recipe_content(fields)))
    assert spec.resolution == 3
    assert np.array_equal(plain[0].pixels, placed[0].pixels)
    assert np.array_equal(plain[0].labels, placed[0].labels)


def test_labels_of_other_pixels_than_an_image_that_is_not_placed_are_refused(fields: Path) -> None:
    with rasterio.open(fields / "image.tif") as file:
        write(fields / "plain.tif", file.read(), crs=None, transform=rasterio.Affine.identity())
    with rasterio.open(fields / "labels.tif") as file:
        write(fields / "half.tif", file.read()[:, ::2, ::2], crs=None, transform=rasterio.Affine.identity())
    for labels, size in (("half", f"{SIDE // 2} x {SIDE // 2} px"), ("labels", f"{SIDE} x {SIDE} px and {CRS}")):
        content = recipe_content(fields, images=["plain.tif"], labels=[{"raster": f"{labels}.tif"}], resolution=3)
        with pytest.raises(
            TrainingError, match=rf"{labels}\.tif has {size}.*, and image 1 has {SIDE} x {SIDE} px and no CRS"
        ):
            read_scenes(parse_recipe(content))


def test_a_mask_without_a_place_labels_its_image_pixel_by_pixel(fields: Path) -> None:
    with rasterio.open(fields / "labels.tif") as file:
        pixels = file.read()
    write(fields / "mask.tif", pixels, crs=None, transform=rasterio.Affine.identity())
    write(fields / "half.tif", pixels[:, ::2], crs=None, transform=rasterio.Affine.identity())
    read = {
        name: read_scenes(parse_recipe(recipe_content(fields, labels=[{"raster": name}])))[0][0].labels
        for name in ("labels.tif", "mask.tif")
    }
    assert np.array_equal(read["mask.tif"], read["labels.tif"])
    with pytest.raises(
        TrainingError, match=rf"half\.tif has {SIDE} x {SIDE // 2} px and no CRS, and image 1 has {SIDE}"
    ):
        read_scenes(parse_recipe(recipe_content(fields, labels=[{"raster": "half.tif"}])))


def test_lines_are_no_polygons_and_a_point_is_a_pixel(fields: Path) -> None:
    frame = geopandas.read_file(fields / "fields.gpkg").to_crs(CRS)
    frame.set_geometry(frame.boundary).to_file(fields / "lines.gpkg")
    frame.set_geometry(frame.representative_point()).to_file(fields / "points.gpkg")
    layer = {"polygons": "lines.gpkg", "column": "kind"}
    with pytest.raises(VectorError, match=r"lines\.gpkg have features of type (Multi)?LineString; give polygons, or"):
        read_scenes(parse_recipe(recipe_content(fields, labels=[layer])))
    (scene,), _ = read_scenes(parse_recipe(recipe_content(fields, labels=[{**layer, "polygons": "points.gpkg"}])))
    assert np.count_nonzero(scene.labels != IGNORE) == len(frame)


def test_polygons_in_plain_pixels_label_an_image_that_is_not_placed(fields: Path) -> None:
    with rasterio.open(fields / "image.tif") as file:
        write(fields / "plain.tif", file.read(), crs=None, transform=rasterio.Affine.identity())
    frame = geopandas.read_file(fields / "fields.gpkg").to_crs(CRS)
    to_pixels = (~TRANSFORM) @ rasterio.Affine.identity()
    frame = frame.set_crs(None, allow_override=True).affine_transform(to_pixels.to_shapely())
    pixels = geopandas.GeoDataFrame(
        {"kind": geopandas.read_file(fields / "fields.gpkg")["kind"]}, geometry=frame.scale(1, -1, origin=(0, 0))
    )
    pixels.to_file(fields / "pixels.gpkg")
    layer = {"polygons": "pixels.gpkg", "column": "kind"}
    plain, _ = read_scenes(parse_recipe(recipe_content(fields, images=["plain.tif"], labels=[layer], resolution=3)))
    placed, _ = read_scenes(parse_recipe(recipe_content(fields)))
    assert (plain[0].labels == placed[0].labels).mean() > 0.999
    with pytest.raises(CrsError, match="and the image has no CRS; georeference the image"):
        layer = {"polygons": "fields.gpkg", "column": "kind"}
        read_scenes(parse_recipe(recipe_content(fields, images=["plain.tif"], labels=[layer], resolution=3)))


@pytest.mark.parametrize("declared", [None, 0, 7])
def test_objects_have_a_background_whatever_is_declared_as_nodata(fields: Path, declared: int | None) -> None:
    objects = np.zeros((SIDE, SIDE), np.uint16)
    objects[10:30, 10:30], objects[50:70, 50:80], objects[30:34, 70:90] = 1, 2, 7
    write(fields / "objects.tif", objects[None], nodata=declared)
    recipe = recipe_content(
        fields,
        labels=[{"instances": "objects.tif", "class": "house"}],
        classes=[{"value": 1, "name": "house"}],
        task="instance-segmentation",
        hyperparameters={},
        validation={"west": 0.4},
    )
    wanted = np.select([objects == (declared or -1), objects > 0], [IGNORE, 0], BACKGROUND)
    if declared == 0:
        wanted = np.where(objects > 0, 0, BACKGROUND)
    np.testing.assert_array_equal(read_scenes(parse_recipe(recipe))[0][0].labels, wanted)


def test_values_below_zero_are_classes_or_are_named(fields: Path) -> None:
    with rasterio.open(fields / "labels.tif") as file:
        labels = file.read().astype(np.int16)
    write(fields / "below.tif", np.where(labels == 30, -1, labels).astype(np.int16))
    with pytest.raises(TrainingError, match="has class -1, which is not in 'classes'"):
        read_scenes(parse_recipe(recipe_content(fields, labels=[{"raster": "below.tif"}])))
    named = {"raster": "below.tif", "values": {-1: "pond"}}
    wanted = read_scenes(parse_recipe(recipe_content(fields)))[0][0].labels
    found = read_scenes(parse_recipe(recipe_content(fields, labels=[named])))[0][0].labels
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.filterwarnings("ignore:no labelled pixel")
def test_polygons_over_the_antimeridian_label_an_image_over_it(tmp_path: Path) -> None:
    place = rasterio.Affine(0.01, 0, 179.5, 0, -0.01, 10)
    image = np.random.default_rng(0).integers(1, 900, (2, 96, 96)).astype(np.uint16)
    write(tmp_path / "image.tif", image, crs="EPSG:4326", transform=place)
    halves = [box(179.5, 9.04, 180, 10), box(-180, 9.04, -179.54, 10)]
    geopandas.GeoDataFrame({"c": [10, 20]}, geometry=halves, crs=4326).to_file(tmp_path / "fields.gpkg")
    layer = {"polygons": "fields.gpkg", "column": "c"}
    classes = [{"value": 10, "name": "a"}, {"value": 20, "name": "b"}]
    geopandas.GeoDataFrame(geometry=halves[1:], crs=4326).to_file(tmp_path / "east.gpkg")
    content = recipe_content(tmp_path, labels=[layer], classes=classes, validation={"region": "east.gpkg"})
    (scene,), _ = read_scenes(parse_recipe(content))
    np.testing.assert_array_equal(scene.labels[0], np.repeat([0, 1], [50, 46]))
    np.testing.assert_array_equal(scene.held_out[0], np.repeat([False, True], [50, 46]))


def test_a_polygon_cut_at_the_antimeridian_is_one_object(tmp_path: Path) -> None:
    place = rasterio.Affine(0.01, 0, 179.5, 0, -0.01, 10)
    image = np.random.default_rng(0).integers(1, 900, (2, 96, 96)).astype(np.uint16)
    write(tmp_path / "image.tif", image, crs="EPSG:4326", transform=place)
    halves = MultiPolygon([box(179.8, 9.4, 180, 9.6), box(-180, 9.4, -179.8, 9.6)])
    west = box(179.5, 9.04, 179.6, 9.3)
    geopandas.GeoDataFrame(geometry=[halves, west], crs=4326).to_file(tmp_path / "houses.gpkg")
    recipe = recipe_content(
        tmp_path,
        labels=[{"polygons": "houses.gpkg", "class": "house"}],
        classes=[{"value": 1, "name": "house"}],
        task="instance-segmentation",
        hyperparameters={},
        validation={"west": 0.15},
    )
    (scene,), _ = read_scenes(parse_recipe(recipe))
    assert scene.instances is not None
    numbers = scene.instances[40:60, 30:70]
    assert (np.unique(numbers).tolist(), numbers.size) == ([1], 800)


@pytest.mark.parametrize("validation", [{"bounds": [0, -60, 70, 0]}, {"region": "part.gpkg"}])
def test_a_part_of_an_image_that_is_not_placed_is_given_in_its_pixels(fields: Path, validation: dict[str, Any]) -> None:
    for name in ("image", "labels"):
        with rasterio.open(fields / f"{name}.tif") as file:
            write(fields / f"plain_{name}.tif", file.read(), crs=None, transform=rasterio.Affine.identity())
    geopandas.GeoDataFrame(geometry=[box(0, -60, 70, 0)]).to_file(fields / "part.gpkg")
    given = {"images": ["plain_image.tif"], "labels": [{"raster": "plain_labels.tif"}], "validation": validation}
    (scene,), _ = read_scenes(parse_recipe(recipe_content(fields, resolution=3, **given)))
    expected = np.zeros((SIDE, SIDE), bool)
    expected[:60, :70] = True
    np.testing.assert_array_equal(scene.held_out, expected)


@pytest.mark.parametrize(
    ("turn", "held_out"),
    [
        (Affine.identity(), {"south": "last rows", "east": "last columns"}),
        (Affine.scale(1, -1), {"south": "first rows", "east": "last columns"}),
        (Affine.scale(-1, 1), {"north": "first rows", "west": "last columns"}),
        (Affine.rotation(90), {"south": "first columns", "east": "last rows"}),
        (Affine.rotation(30), {"north": "first rows", "east": "last columns"}),
    ],
)
def test_a_side_is_that_of_the_ground(turn: Affine, held_out: dict[str, str]) -> None:
    """Whatever way rows and columns run: the mean place of what is held out lies towards that side."""
    transform = Affine.translation(5e5, 5e6) @ turn @ Affine.scale(10, -10)
    rows, columns = np.mgrid[:40, :40] + 0.5
    x, y = transform @ (columns, rows)
    for side, wanted in held_out.items():
        geobox = GeoBox((40, 40), transform, CRS)
        mask = held_out_mask(parse_recipe(recipe_content(Path())), Validation(**{side: 0.25}), geobox)
        expected = np.zeros((40, 40), bool)
        {"first rows": expected[:10], "last rows": expected[30:]}.get(wanted, expected[:0])[:] = True
        {"first columns": expected[:, :10], "last columns": expected[:, 30:]}.get(wanted, expected[:0])[:] = True
        np.testing.assert_array_equal(mask, expected)
        along = {"north": y, "south": -y, "east": x, "west": -x}[side]
        assert along[mask].mean() > along[~mask].mean()


def test_a_validation_region_may_lie_in_one_image_of_several(fields: Path) -> None:
    with rasterio.open(fields / "image.tif") as file:
        pixels = file.read()
    far = rasterio.Affine.translation(50_000, 0) @ TRANSFORM
    write(fields / "far.tif", pixels, transform=far)
    with rasterio.open(fields / "labels.tif") as file:
        write(fields / "far_labels.tif", file.read(), transform=far)
    left, top = TRANSFORM @ (0, 0)
    region = geopandas.GeoDataFrame(geometry=[box(left, top - 400, left + 400, top)], crs=CRS)
    region.to_file(fields / "part.gpkg")
    content = recipe_content(
        fields,
        images=["image.tif", "far.tif"],
        labels=[{"raster": ["labels.tif", "far_labels.tif"]}],
        validation={"region": "part.gpkg"},
    )
    scenes, _ = read_scenes(parse_recipe(content))
    assert [int(scene.held_out.sum()) for scene in scenes] == [1600, 0]
    region.translate(0, 1e6).to_file(fields / "part.gpkg")
    with pytest.raises(RegionError, match="the validation part does not overlap the images"):
        read_scenes(parse_recipe(content))
    (fields / "part.gpkg").write_text("no layer")
    with pytest.raises(RegionError, match=r"part\.gpkg"):
        read_scenes(parse_recipe(content))


@pytest.mark.filterwarnings("ignore:no labelled pixel")
def test_values_that_are_ignored_are_no_labels(fields: Path) -> None:
    layer = {"raster": "labels.tif", "ignore": [20]}
    scenes, _ = read_scenes(parse_recipe(recipe_content(fields, labels=[layer])))
    assert set(np.unique(scenes[0].labels)) == {0, 2, IGNORE}
