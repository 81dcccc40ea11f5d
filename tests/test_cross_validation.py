"""Cross-validation: folds that part nothing, figures of each, what they choose, interruption, and workers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from shapely.geometry import box

from geoseg.catalog import find_model
from geoseg.cli import main
from geoseg.errors import GeosegWarning, TrainingError, VectorError, WorkflowError
from geoseg.evaluation import IGNORE
from geoseg.models.watershed import Watershed
from geoseg.training import Recipe, TrainResult, cross_validation, parse_recipe, train
from geoseg.training.cross_validation import RUIN, candidates, choose_setting, choose_steps
from geoseg.training.fitting import fit_recipe, make_spec, read_scenes
from geoseg.training.folds import split_folds
from geoseg.training.loop import Epoch
from geoseg.training.recipe_parts import Augmentation
from geoseg.training.sampling import Sampler
from geoseg.training.scenes import LabelledImage
from tests.test_training import CRS, recipe_content, write
from tests.test_training_objects import recipe_content as object_recipe
from tests.test_training_objects import town as town

SIDE = 96
NAMES = ("north", "south", "west")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of stripes of two classes, their label rasters and polygons; the last image is noise."""
    folder, rng = tmp_path_factory.mktemp("sites"), np.random.default_rng(5)
    labels = np.where(np.arange(SIDE) // 12 % 2, 10, 20).astype(np.uint8)[None, :].repeat(SIDE, 0)
    shapes = []
    for place, (name, noise) in enumerate(zip(NAMES, (20, 40, 0), strict=True)):
        at = from_origin(500_000 + 2000 * place, 5_000_000, 10, 10)
        image = np.stack([np.where(labels == 10, 300, 700), np.where(labels == 10, 700, 300)])
        noisy = image + rng.normal(0, noise, image.shape) if noise else rng.uniform(200, 800, image.shape)
        write(folder / f"{name}.tif", noisy.astype(np.uint16), transform=at)
        write(folder / f"{name}_labels.tif", labels[None], transform=at)
        left = 500_000 + 2000 * place
        for strip in range(0, SIDE, 12):
            corner = box(left + 10 * strip, 5_000_000 - 10 * SIDE, left + 10 * (strip + 12), 5_000_000)
            shapes.append((int(labels[0, strip]), f"owner {strip // 24}", corner))
    columns = {"code": [code for code, _, _ in shapes], "owner": [owner for _, owner, _ in shapes]}
    geopandas.GeoDataFrame(columns, geometry=[shape for _, _, shape in shapes], crs=CRS).to_file(folder / "strips.gpkg")
    return folder


def content(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe for `sites` that takes seconds."""
    made = recipe_content(
        folder,
        name="strips",
        images=[f"{name}.tif" for name in NAMES],
        labels=[{"raster": [f"{name}_labels.tif" for name in NAMES]}],
        classes=[{"value": 10, "name": "wheat"}, {"value": 20, "name": "wood"}],
        steps=16,
        steps_per_epoch=8,
        ema=0.5,
        batch_size=4,
        tile_size=160,
        cross_validate=True,
    )
    del made["validation"]
    return {**made, **changes}


def folds_of(recipe: Recipe) -> tuple[tuple[LabelledImage, ...], Any]:
    scenes, _ = read_scenes(recipe)
    return scenes, split_folds(recipe, scenes)


def split(recipe: Recipe) -> list[list[np.ndarray]]:
    """For each fold, what it holds out of each scene."""
    scenes, folds = folds_of(recipe)
    return [[item.held_out for item in folds.hold_out(scenes, number)] for number in range(len(folds.names))]


@pytest.mark.parametrize(("by", "count"), [("image", 3), ("block", 5), ("owner", 4)])
def test_every_pixel_is_held_out_once(sites: Path, by: str, count: int) -> None:
    layers = [{"polygons": "strips.gpkg", "column": "code"}]
    held_out = split(parse_recipe(content(sites, labels=layers, fold_by=by)))
    assert len(held_out) == count
    for scene in range(3):
        assert (np.sum([fold[scene] for fold in held_out], axis=0) == 1).all()


def test_an_image_is_never_parted_even_where_it_stands_twice(sites: Path) -> None:
    images, labels = (
        ["north.tif", "south.tif", "north.tif"],
        ["north_labels.tif", "south_labels.tif", "north_labels.tif"],
    )
    held_out = split(parse_recipe(content(sites, images=images, labels=[{"raster": labels}])))
    assert [[fold[scene].all() for scene in range(3)] for fold in held_out] == [
        [True, False, True],
        [False, True, False],
    ]


def test_polygons_of_one_value_are_in_one_fold(sites: Path) -> None:
    layers = [{"polygons": "strips.gpkg", "column": "code"}]
    scenes, folds = folds_of(parse_recipe(content(sites, labels=layers, fold_by="owner")))
    owners = np.arange(SIDE) // 24
    for place in folds.places:
        numbers = {int(owner): set(place[:, owners == owner].ravel().tolist()) for owner in range(4)}
        assert sorted(next(iter(found)) for found in numbers.values() if len(found) == 1) == [0, 1, 2, 3]
    assert folds.names == ("owner 0", "owner 1", "owner 2", "owner 3")
    assert len(scenes) == 3


def made_up(at: tuple[int, int], side: int = 80) -> LabelledImage:
    """A scene at an offset, px, all of it labelled."""
    geobox = GeoBox((side, side), from_origin(500_000 + 10 * at[0], 5_000_000 - 10 * at[1], 10, 10), CRS)
    blank = np.zeros((side, side), np.uint8)
    everywhere = np.ones((side, side), np.bool_)
    return LabelledImage("a", blank[None], everywhere, blank, blank, ~everywhere, geobox)


@given(st.integers(-60, 60), st.integers(-60, 60), st.integers(2, 5))
def test_ground_that_two_images_show_is_in_one_fold(x: int, y: int, count: int) -> None:
    recipe = parse_recipe(content(Path(), fold_by="block", folds=count, images=["a.tif", "b.tif"]))
    folds = split_folds(recipe, [made_up((0, 0)), made_up((x, y))])
    one, other = folds.places
    top, left = max(0, y), max(0, x)
    height, width = 80 - abs(y), 80 - abs(x)
    shared = one[top : top + height, left : left + width]
    beside = other[top - y : top - y + height, left - x : left - x + width]
    assert (shared == beside).all()


def test_nothing_of_a_fold_is_trained_on_while_it_is_held_out(sites: Path) -> None:
    recipe = parse_recipe(content(sites, fold_by="block", folds=3))
    scenes, folds = folds_of(recipe)
    told = [
        replace(scene, pixels=place[None].astype(np.float32) + 1)
        for scene, place in zip(scenes, folds.places, strict=True)
    ]
    plain = Augmentation(flips=False, rotations=False)
    for number in range(3):
        sampler = Sampler(folds.hold_out(told, number), 32, 0.5, plain, 0)
        batch = sampler.batch(0, 40)
        seen = set(np.unique(batch.pixels[:, 0][batch.mask]).tolist())
        assert seen == {1.0, 2.0, 3.0} - {number + 1.0}
        assert (batch.labels[batch.pixels[:, 0] == number + 1] == IGNORE).all()


@pytest.fixture(scope="module")
def crossed(sites: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainResult]:
    """An entry that was cross-validated by image."""
    folder = tmp_path_factory.mktemp("crossed")
    return folder, train(parse_recipe(content(sites)), output=folder / "entry")


@pytest.mark.slow
def test_a_fold_is_evaluated_as_if_its_image_were_for_validation(
    sites: Path, crossed: tuple[Path, TrainResult]
) -> None:
    result = crossed[1].cross_validation
    assert result is not None
    assert result.folds[0].name == "west"  # noise
    others = ["south.tif", "west.tif", "north.tif"]
    labels = [name.replace(".", "_labels.") for name in others]
    apart = content(sites, images=others[:2], validation={"images": others[2:]}, labels=[{"raster": labels}])
    once = parse_recipe({**apart, "cross_validate": False, "steps_per_epoch": 16})  # one epoch: it is the best
    wanted = fit_recipe(once).evaluation.scores.counts
    north = next(fold for fold in result.folds if fold.name == "north")
    assert north.evaluation.scores.counts.tolist() == wanted.tolist()


def test_the_entry_has_mean_spread_and_worst_fold(crossed: tuple[Path, TrainResult]) -> None:
    folder, result = crossed
    assert result.cross_validation is not None
    values = {fold.name: fold.evaluation.metrics["mean_iou"] for fold in result.cross_validation.folds}
    spread = result.cross_validation.metrics["mean_iou"]
    assert spread.mean == pytest.approx(np.mean([*values.values()]))
    assert spread.deviation == pytest.approx(np.std([*values.values()], ddof=1))
    assert (spread.worst, spread.fold) == (min(values.values()), "west")
    metrics = dict(find_model(folder / "entry" / "strips.json").metrics)
    assert metrics["mean_iou"] == round(spread.mean, 4)
    assert metrics["mean_iou_worst"] == round(spread.worst, 4)
    record = json.loads((folder / "entry" / "cross_validation.json").read_text())
    assert record["metrics"]["mean_iou"]["fold"] == "west"
    card = (folder / "entry" / "README.md").read_text()
    assert f"worst {spread.worst:.3f} (west)" in card
    assert [line.split(" | ")[0][2:] for line in card.splitlines() if line.startswith(("| west", "| mean |"))][:2] == [
        "west",
        "mean",
    ]
    assert not (folder / "entry" / "folds").exists()
    assert (result.cross_validation.evaluation.scores.pixels) == 3 * SIDE * SIDE


def test_the_table_is_printed(sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "strips.yaml"
    recipe.write_text(json.dumps({**content(sites), "cross_validate": False}))
    arguments = ["--cross-validate", "--folds", "2", "--steps", "2", "--output", str(tmp_path / "entry")]
    assert main(["train", str(recipe), *arguments]) == 0
    shown = capsys.readouterr().out
    assert "without north, west: step 2/2" in shown
    assert "2 folds by image" in shown
    assert "standard deviation" in shown


def weights(entry: Path) -> bytes:
    return (entry / "strips.safetensors").read_bytes()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_the_fold_and_epoch_that_are_not_done(
    sites: Path, tmp_path: Path, crossed: tuple[Path, TrainResult]
) -> None:
    recipe, seen = parse_recipe(content(sites)), list[tuple[str, int]]()

    def stop(epoch: Epoch) -> None:
        seen.append((epoch.fold, epoch.step))
        if seen[-1] in (("south", 8), ("", 8)) and seen.count(seen[-1]) == 1:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, output=tmp_path / "entry", progress=stop)
    train(recipe, output=tmp_path / "entry", progress=stop)
    each = [(fold, step) for fold in (*NAMES, "") for step in (8, 16)]
    assert seen == each
    assert weights(tmp_path / "entry") == weights(crossed[0] / "entry")


@pytest.mark.slow
def test_workers_train_the_same_folds_side_by_side(
    sites: Path, tmp_path: Path, crossed: tuple[Path, TrainResult]
) -> None:
    seen = list[str]()
    train(
        parse_recipe(content(sites)), output=tmp_path / "e", workers=2, progress=lambda epoch: seen.append(epoch.fold)
    )
    assert sorted(set(seen)) == ["", *NAMES]
    assert (tmp_path / "e" / "cross_validation.json").read_text() == (
        crossed[0] / "entry" / "cross_validation.json"
    ).read_text()
    assert weights(tmp_path / "e") == weights(crossed[0] / "entry")


def test_early_stopping_takes_the_steps_with_the_best_mean(sites: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(content(sites, early_stopping=1, folds=2, steps=4, steps_per_epoch=2))
    assert choose_steps(recipe, [{8: 0.5, 16: 0.7}, {8: 0.9, 16: 0.6}]) == 8
    result = train(recipe, output=tmp_path / "entry")
    assert result.cross_validation is not None
    assert result.log[-1].step == result.cross_validation.steps


def test_a_setting_that_ruins_a_fold_is_not_chosen() -> None:
    assert choose_setting([[0.5, 0.6, 0.9], [0.5, 0.55, 0.5 - 2 * RUIN]]) == 1
    assert choose_setting([[0.5, 0.4], [0.5, 0.5]]) == 0


@pytest.mark.slow
def test_thresholds_of_objects_are_chosen_by_the_folds(
    town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_validation, "SEEDS", (0.5,))
    monkeypatch.setattr(cross_validation, "SIZES", (1,))
    made = object_recipe(town, cross_validate=True, folds=2, steps=20, steps_per_epoch=20)
    recipe = parse_recipe({key: value for key, value in made.items() if key != "validation"})
    result = train(recipe, output=tmp_path / "entry")
    assert result.cross_validation is not None
    assert result.cross_validation.by == "block"
    chosen = find_model(tmp_path / "entry" / "houses.json").watershed
    assert chosen == result.cross_validation.watershed
    assert chosen in candidates(recipe, make_spec(recipe))
    assert {"f1", "f1_worst", "iou_house"} <= set(dict(result.spec.metrics))
    assert "chosen by the mean score of the folds" in (tmp_path / "entry" / "README.md").read_text()


def test_thresholds_that_a_recipe_names_stay(town: Path) -> None:
    recipe = parse_recipe(object_recipe(town, watershed={"threshold": 0.45}))
    assert candidates(recipe, make_spec(recipe)) == (Watershed(threshold=0.45),)


def test_options_are_checked_with_the_recipe_that_they_change(sites: Path) -> None:
    recipe = parse_recipe(content(sites, encoder_weights="imagenet"))
    assert recipe.changed({"freeze_encoder": True, "steps": 7}).freeze_encoder
    with pytest.raises(WorkflowError, match="'init' gives all weights and 'encoder_weights' those of an encoder"):
        recipe.changed({"init": "buildings"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"folds": 4}, "labels lie in 3 images, too few for 4 folds; give --folds 3, or --fold-by block"),
        ({"fold_by": "owner"}, "fold_by is 'owner', and no labels are polygons with columns; give image or block"),
        ({"fold_by": "block", "folds": 50}, "squares of ground, too few for 50 folds"),
        ({"cross_validate": False}, "the recipe has no key 'validation'; add it, or cross_validate: true"),
    ],
)
def test_what_cannot_be_parted_is_named(sites: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises((TrainingError, WorkflowError), match=words):
        folds_of(parse_recipe(content(sites, **changes)))


def test_a_column_that_is_missing_is_named(sites: Path) -> None:
    layers = [{"polygons": "strips.gpkg", "column": "code"}]
    with pytest.raises(VectorError, match=r"strips\.gpkg have no column 'ownr'; did you mean 'owner'"):
        folds_of(parse_recipe(content(sites, labels=layers, fold_by="ownr")))


def test_images_of_one_place_in_different_folds_are_named(sites: Path) -> None:
    (sites / "again.tif").write_bytes((sites / "north.tif").read_bytes())
    images, labels = ["north.tif", "again.tif"], ["north_labels.tif"] * 2
    with pytest.warns(GeosegWarning, match="north and again show the same ground and lie in different folds"):
        folds_of(parse_recipe(content(sites, images=images, labels=[{"raster": labels}])))


def test_folds_of_another_recipe_are_not_taken_over(sites: Path, tmp_path: Path) -> None:
    def stop(epoch: Epoch) -> None:
        if epoch.fold == "south":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(parse_recipe(content(sites)), output=tmp_path, progress=stop)
    with pytest.raises(TrainingError, match=r"trained\.json was left by a run of another recipe; give --overwrite"):
        train(parse_recipe(content(sites, seed=1)), output=tmp_path)
    with rasterio.open(sites / "north_labels.tif", "r+") as file:
        labels = file.read()
        file.write(labels.max() + labels.min() - labels)
    with pytest.raises(
        TrainingError, match=r"trained\.json was left by a run of other images or labels; give --overwrite"
    ):
        train(parse_recipe(content(sites)), output=tmp_path)
    (tmp_path / "folds" / "fold-1" / "log.csv").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        train(parse_recipe(content(sites, seed=1, steps=1)), output=tmp_path, progress=stop, overwrite=True)
    assert (tmp_path / "folds" / "fold-1" / "log.csv").read_text().count("\n") == 2
