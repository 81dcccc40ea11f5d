"""Binary and multi-label models: labels and confidence against plain float64, and what an entry must say of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import geoseg
from geoseg.blending import label, label_ramp, quantise
from geoseg.catalog import find_model
from geoseg.errors import CatalogError, GeosegWarning, ModelError, WorkflowError
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.models import Band, ClassSpec, Detections, ModelSpec, Scaling, load_model, wrap
from geoseg.models.background import background_of, scored_classes, with_background
from geoseg.models.combining import combine
from geoseg.models.item import read_model_item
from geoseg.models.item_writing import write_model_item
from geoseg.models.refinement import Refinement
from geoseg.models.together import Together
from geoseg.models.trial import try_model
from geoseg.models.tta import TestTimeAugmentation
from geoseg.probabilities import SCALE, Background, Pixels, apply_threshold
from geoseg.training.teacher import predict_image
from tests.rasters import write_raster
from tests.test_segmentation import ArrayRaster, run_blocks

NEAR = 2 / SCALE
"""How near to a threshold or to another class rounding decides."""

BUILDING, ROAD = ClassSpec(1, "building", "#C4281B"), ClassSpec(2, "road", "#5A5A5A")
GROUND = ClassSpec(0, "background", "#EEEEEE")
SPEC = ModelSpec(
    name="roofs",
    task="semantic-segmentation",
    bands=(Band("red"), Band("green"), Band("blue")),
    classes=(BUILDING,),
    scalings=(Scaling("scale", value=255),),
    tile_size=32,
    halo=0,
    multiple=1,
    activation="sigmoid",
)


def bright(scaled: torch.Tensor) -> torch.Tensor:
    """One logit a pixel, positive where its mean is above a half."""
    return (scaled.mean(1, keepdim=True) - 0.5) * 20


def both(scaled: torch.Tensor) -> torch.Tensor:
    """Logits of buildings and, independently, of roads: one where red is bright, the other where green is."""
    return (scaled[:, :2] - 0.5) * 20


def expected(
    scores: NDArray[np.float64], activation: str, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Position of the label (-1: background), its probability, and where rounding does not matter; in float64."""
    probabilities = scores if activation == "none" else 1 / (1 + np.exp(-scores))
    ranked = np.sort(probabilities, axis=0)
    best = ranked[-1]
    is_above = best > threshold
    is_clear = np.abs(best - threshold) > NEAR
    if len(scores) > 1:
        is_clear &= (best - ranked[-2] > NEAR) | ~is_above
    return np.where(is_above, probabilities.argmax(0), -1), np.where(is_above, best, 1 - best), is_clear


thresholds = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]))


@given(st.integers(1, 5), st.integers(0, 2**32 - 1), thresholds, st.sampled_from(["sigmoid", "none"]), st.booleans())
def test_labels_and_confidence_are_those_of_plain_float64(
    classes: int, seed: int, threshold: float, activation: str, is_last: bool
) -> None:
    rng = np.random.default_rng(seed)
    shape = classes, 9, 21
    scores = (rng.random(shape) if activation == "none" else rng.normal(0, 4, shape)).astype(np.float32)
    tensor = torch.from_numpy(scores)
    tensor = tensor[None].contiguous(memory_format=torch.channels_last)[0] if is_last else tensor
    values, below = np.arange(1, classes + 1, dtype=np.uint8), Background(77, threshold)
    pixels, everywhere = Pixels.empty(shape[1:]), np.ones(shape[1:], bool)
    label(tensor, activation, Window(0, 0, 9, 21), values, everywhere, pixels)
    labels, confidence = apply_threshold(pixels.labels, pixels.best, below)
    best, chance, is_clear = expected(scores.astype(np.float64), activation, threshold)
    np.testing.assert_array_equal(labels[is_clear], np.where(best < 0, 77, best + 1)[is_clear])
    np.testing.assert_allclose(confidence[is_clear], np.maximum(255 * chance[is_clear], 1), atol=0.52)
    # a ramp on which all tiles say the same is labelled alike, ties included
    sums = quantise(tensor, activation).astype(np.int32) * 65_536
    ramp = Pixels.empty(shape[1:])
    label_ramp(sums, values, everywhere, ramp)
    np.testing.assert_array_equal(ramp.labels, pixels.labels)
    np.testing.assert_array_equal(ramp.best, pixels.best)


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.98))
def test_one_class_is_labelled_as_two_with_a_softmax_whose_scores_are_even_at_the_threshold(
    seed: int, threshold: float
) -> None:
    scores = np.random.default_rng(seed).normal(0, 3, (1, 5, 33))
    pair = np.concatenate([np.zeros_like(scores), scores - np.log(threshold / (1 - threshold))])
    labels = labels_of(scores, threshold)
    is_clear = expected(scores, "sigmoid", threshold)[2]
    np.testing.assert_array_equal(labels[is_clear], pair.argmax(0)[is_clear])


def labels_of(scores: NDArray[np.float64], threshold: float) -> NDArray[np.uint8]:
    """Labels of one sigmoid class."""
    shape = scores.shape[1:]
    pixels, everywhere = Pixels.empty(shape), np.ones(shape, bool)
    window = Window(0, 0, *shape)
    label(torch.from_numpy(scores).float(), "sigmoid", window, np.array([1], np.uint8), everywhere, pixels)
    return apply_threshold(pixels.labels, pixels.best, Background(0, threshold))[0]


@pytest.mark.parametrize(("threshold", "found"), [(0.0, [0, 1, 1, 1]), (0.5, [0, 0, 0, 1]), (1.0, [0, 0, 0, 0])])
def test_ties_go_to_background_and_the_ends_of_the_scale_are_ordinary(threshold: float, found: list[int]) -> None:
    assert labels_of(np.array([[[-200.0, -5.0, 0.0, 200.0]]]), threshold).tolist() == [found]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**16), st.sampled_from([0.2, 0.5, 0.9]), st.booleans(), st.data())
def test_layouts_of_blocks_change_nothing(seed: int, threshold: float, one: bool, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(20, 90)), int(rng.integers(20, 90))
    raster = ArrayRaster(rng.integers(0, 256, (3, *shape), dtype=np.uint8), rng.random(shape) > 0.2)
    spec = replace(SPEC, classes=(BUILDING,) if one else (BUILDING, ROAD), threshold=threshold)
    model = wrap(uneven(bright if one else both), spec)
    tiling = Tiling(16, 0, 4)
    layouts = [(1, 1), (2, 2), (9, 9), (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))]
    first, *others = (run_blocks(raster, model, TileGrid(shape, tiling, layout)) for layout in layouts)
    assert set(np.unique(first[0])) <= {0, 1, 2, 255}
    for other in others:
        np.testing.assert_array_equal(first[0], other[0])
        np.testing.assert_array_equal(first[1], other[1])


def uneven(network: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A network that says something else of a pixel in every tile that sees it, so that ramps blend."""
    return lambda scaled: network(scaled) + 3 * torch.sin(torch.arange(scaled.shape[3]) / 2)


def test_a_block_in_which_nothing_is_predicted_and_its_neighbours_get_on() -> None:
    shape = (40, 40)
    mask = np.ones(shape, bool)
    mask[:, 20:] = False
    raster = ArrayRaster(np.full((3, *shape), 255, np.uint8), mask)
    labels, _ = run_blocks(raster, wrap(bright, SPEC), TileGrid(shape, Tiling(16, 0, 4), (1, 1)))
    np.testing.assert_array_equal(labels, np.where(mask, 1, 255))


def described(spec: ModelSpec, count: int) -> tuple[list[str], str | None]:
    """Names of the classes that so many scores belong to, and of background."""
    spec = with_background(spec)
    scored = scored_classes(spec, count)
    assert scored is not None
    below = background_of(spec, scored)
    return [item.name for item in scored], None if below is None else below[0].name


WATER = ClassSpec(0, "water")
NAMELESS = (ClassSpec(0, "no building"), BUILDING)


@pytest.mark.parametrize(
    ("changes", "count", "found"),
    [
        ({}, 1, (["building"], "background")),
        ({"activation": "none"}, 1, (["building"], "background")),
        ({"classes": (GROUND, BUILDING)}, 1, (["building"], "background")),
        ({"classes": (GROUND, BUILDING)}, 2, (["background", "building"], "background")),
        ({"classes": NAMELESS}, 1, (["building"], "no building")),
        ({"classes": NAMELESS, "activation": "none"}, 1, (["building"], "no building")),
        ({"classes": NAMELESS, "activation": "none"}, 2, (["no building", "building"], None)),
        ({"classes": NAMELESS, "activation": "softmax"}, 2, (["no building", "building"], None)),
        ({"classes": (BUILDING, ROAD)}, 2, (["building", "road"], "background")),
        ({"classes": (BUILDING, ROAD), "activation": "none"}, 2, (["building", "road"], None)),
        (
            {"classes": (BUILDING, ROAD), "activation": "none", "threshold": 0.3},
            2,
            (["building", "road"], "background"),
        ),
        ({"classes": (BUILDING, ROAD, ClassSpec(9, "Other"))}, 2, (["building", "road"], "Other")),
        ({"classes": (WATER, BUILDING, ROAD), "channels": 2}, 2, (["building", "road"], "water")),
        ({"classes": (ROAD, BUILDING), "channels": 1}, 1, (["building"], "road")),
    ],
)
def test_background_is_the_class_that_an_entry_describes_or_one_that_is_added(
    changes: dict[str, Any], count: int, found: tuple[list[str], str | None]
) -> None:
    spec = replace(SPEC, **changes)
    assert described(spec, count) == found
    assert with_background(with_background(spec)) == with_background(spec)


@pytest.mark.parametrize(
    ("changes", "count"),
    [({}, 2), ({"classes": (BUILDING, ROAD)}, 1), ({"classes": (ClassSpec(3, "sea"), BUILDING, ROAD)}, 2)],
)
def test_scores_that_fit_no_reading_of_the_entry_are_refused(changes: dict[str, Any], count: int) -> None:
    model = wrap(lambda scaled: torch.zeros(len(scaled), count, *scaled.shape[2:]), replace(SPEC, **changes))
    with pytest.raises(ModelError, match=r"returned shape .* is expected; "):
        model.predict(np.zeros((1, 3, 8, 8), np.uint8), np.ones((1, 8, 8), bool))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "softmax"}, "one class and the activation softmax, which gives every pixel to it; set"),
        ({"classes": (WATER,)}, "the class 'water' of value 0, which pixels below the threshold need; give 'water'"),
        ({"classes": (WATER, BUILDING, ROAD)}, "or name the class of those pixels 'background'"),
        ({"threshold": 1.5}, r"has the threshold 1\.5; give a probability from 0 to 1"),
        ({"threshold": float("nan")}, "has the threshold nan"),
        ({"classes": (GROUND, BUILDING), "activation": "softmax", "threshold": 0.5}, "leave threshold out"),
        ({"task": "instance-segmentation", "threshold": 0.5}, "finds objects and has a threshold"),
    ],
)
def test_what_a_model_cannot_mean_is_refused_in_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        wrap(bright, replace(SPEC, **changes))
    assert str(caught.value).count(". ") == 0


def test_two_sigmoids_of_which_one_is_nameless_and_has_the_value_of_background_are_refused() -> None:
    raster = ArrayRaster(np.zeros((3, 32, 32), np.uint8), np.ones((32, 32), bool))
    with pytest.raises(ModelError, match="'no building' another value, or name the class of those pixels 'background'"):
        run_blocks(raster, wrap(both, replace(SPEC, classes=NAMELESS)), TileGrid((32, 32), Tiling(32, 0, 0), (1, 1)))


def test_views_of_a_tile_are_averaged_before_the_threshold() -> None:
    spec = replace(SPEC, tta=TestTimeAugmentation(flips=True, rotations=False))
    pixels = np.zeros((1, 3, 8, 8), np.uint8)
    pixels[..., 4:] = 255
    left = wrap(lambda scaled: torch.where(torch.arange(8) < 4, 9.0, -9.0) + 0 * scaled[:, :1], spec)
    np.testing.assert_allclose(left.predict(pixels, np.ones((1, 8, 8), bool)), 0.5, atol=1e-4)


@pytest.mark.parametrize("activation", ["sigmoid", "none"])
@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_one_class_is_refined_as_two_that_are_alike_at_the_threshold(activation: str, threshold: float) -> None:
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(rng.normal(0, 2, (1, 1, 24, 20)).astype(np.float32))
    pixels = rng.integers(0, 256, (1, 3, 24, 20), dtype=np.uint8)
    mask = rng.random((1, 24, 20)) > 0.1
    settings_of = Refinement(iterations=3, window=5)
    one = replace(SPEC, activation=activation, threshold=threshold, refine=settings_of)
    scores = logits.sigmoid() if activation == "none" else logits
    found = wrap(lambda _: scores, one).predict(pixels, mask)[0, 0]
    even = float(np.log(threshold / (1 - threshold)))
    pair = torch.cat([torch.zeros_like(logits), logits - even], 1)
    two = replace(SPEC, classes=(GROUND, BUILDING), activation="softmax", refine=settings_of)
    above = wrap(lambda _: pair, two).predict(pixels, mask)[0, 1]
    np.testing.assert_allclose(found, torch.sigmoid(above.logit() + even), atol=1e-4)
    clear = (above - 0.5).abs() > 1e-4
    assert torch.equal((found > threshold)[clear], (above > 0.5)[clear])


def test_several_sigmoids_are_not_refined() -> None:
    with pytest.raises(ModelError, match="cannot be refined; leave refine out"):
        wrap(both, replace(SPEC, classes=(BUILDING, ROAD), refine=Refinement()))


def test_background_is_stuff_of_a_map_of_two_models() -> None:
    cars = replace(
        SPEC, name="cars", task="instance-segmentation", classes=(ClassSpec(0, "car"),), activation="softmax"
    )
    spec = combine(with_background(replace(SPEC, classes=(ROAD, BUILDING), threshold=0.4)), cars)
    assert [(item.name, item.isthing) for item in spec.classes] == [
        ("road", False),
        ("building", False),
        ("background", False),
        ("car", True),
    ]
    assert len({item.value for item in spec.classes}) == 4
    assert with_background(spec) == spec
    finder = wrap(lambda scaled, _: [Detections.of(np.zeros((0, *scaled.shape[2:]), bool), [], [])], spec.parts[1])
    scores, _ = Together(spec, wrap(both, spec.parts[0]), finder).predict(
        np.zeros((1, 3, 32, 32), np.uint8), np.ones((1, 32, 32), bool)
    )
    assert scores.shape == (1, 2, 32, 32)
    scored = scored_classes(spec, 2, spec.stuff)
    assert scored is not None
    assert [item.name for item in scored] == ["road", "building"]
    assert background_of(spec, scored) == (next(item for item in spec.classes if item.implied), 0.4)


def test_check_says_what_a_made_up_tile_becomes_background_included() -> None:
    assert "probabilities of 1 class (building 100%)" in said(lambda scaled: 9 + 0 * scaled[:, :1])
    assert "probabilities of 1 class (background 100%)" in said(lambda scaled: 0 * scaled[:, :1])


def said(network: Any) -> str:
    """What a trial gives, of which it warns that all is one class."""
    with pytest.warns(GeosegWarning, match=r"gives all of a synthetic tile the class '\w+'; .* geoseg:threshold"):
        return try_model(wrap(network, SPEC)).result


@pytest.mark.parametrize(("classes", "count"), [((BUILDING,), 1), ((GROUND, BUILDING), 1), ((GROUND, BUILDING), 2)])
def test_an_image_in_memory_is_labelled_by_position_among_the_classes(
    classes: tuple[ClassSpec, ...], count: int
) -> None:
    probability = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    planes = torch.from_numpy(np.stack([0 * probability, probability][-count:]))
    model = wrap(lambda _: planes[None], replace(SPEC, classes=classes, activation="none", threshold=0.6, tile_size=8))
    labels, confidence = predict_image(model, np.zeros((3, 8, 8), np.uint8), np.ones((8, 8), bool))
    names = np.array(model.spec.class_names)[labels]
    np.testing.assert_array_equal(names, np.where(probability > 0.6, "building", "background"))
    np.testing.assert_array_equal(confidence, np.where(probability > 0.6, probability, 1 - probability))


def test_a_softmax_of_probabilities_is_noticed() -> None:
    spec = replace(SPEC, classes=(GROUND, BUILDING), activation="softmax")
    shares = wrap(lambda scaled: torch.cat([-bright(scaled), bright(scaled)], 1).softmax(1), spec)
    with pytest.warns(GeosegWarning, match=r"those of each pixel sum to 1.*set geoseg:activation in its entry to none"):
        shares.predict(np.zeros((1, 3, 8, 8), np.uint8), np.ones((1, 8, 8), bool))
    with pytest.warns(GeosegWarning, match="sum to 1"):
        try_model(wrap(lambda scaled: torch.cat([-bright(scaled), bright(scaled)], 1).softmax(1), spec))


def test_a_sigmoid_of_probabilities_is_noticed() -> None:
    probability = torch.linspace(0.1, 0.9, 64).reshape(1, 1, 8, 8)
    model = wrap(lambda _: probability, replace(SPEC, classes=(BUILDING,), activation="sigmoid", tile_size=8))
    with pytest.warns(GeosegWarning, match=r"each becomes 0\.5 or more; set geoseg:activation in its entry to none"):
        model.predict(np.zeros((1, 3, 8, 8), np.uint8), np.ones((1, 8, 8), bool))


class Bright(torch.nn.Module):
    """`bright` as a program."""

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        return (scaled.mean(1, keepdim=True) - 0.5) * 20


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """The entry of a one-channel network, and an image of 4,800 bright pixels beside it."""
    program = torch.export.export(Bright(), (torch.zeros(1, 3, 96, 96),))
    torch.export.save(program, tmp_path / "roofs.pt2")
    pixels = np.full((3, 200, 200), 30, np.uint8)
    pixels[:, 60:120, 60:140] = 220
    pixels[:, 10:20, 10:20] = 115  # a probability of 0.27
    write_raster(tmp_path / "image.tif", pixels, crs="EPSG:32618", transform=rasterio.Affine(0.5, 0, 4e5, 0, -0.5, 4e6))
    spec = replace(
        SPEC, tile_size=96, halo=8, multiple=8, framework="torch.export", weights=str(tmp_path / "roofs.pt2")
    )
    return write_model_item(spec, tmp_path / "roofs.json")


def test_an_entry_of_one_class_reads_as_it_was_written_and_the_catalog_adds_background(entry: Path) -> None:
    assert read_model_item(entry).class_names == ["building"]
    spec = find_model(entry)
    assert (spec.class_names, spec.threshold) == (["building", "background"], 0.5)
    again = write_model_item(spec, entry.parent / "again.json")
    output = json.loads(again.read_text())["properties"]["mlm:output"][0]
    assert [item["name"] for item in output["classification:classes"]] == ["building"]
    assert output["result"]["shape"][1] == 1
    assert json.loads(again.read_text())["properties"]["geoseg:threshold"] == 0.5
    assert find_model(again) == spec


@pytest.mark.parametrize("shape", [1, 2])
def test_an_entry_of_two_classes_and_a_network_of_one_score_go_together(entry: Path, shape: int) -> None:
    document = json.loads(entry.read_text())
    output = document["properties"]["mlm:output"][0]
    output["classification:classes"].insert(0, {"value": 0, "name": "no building", "description": "The rest."})
    output["result"]["shape"][1] = shape
    entry.write_text(json.dumps(document))
    labels = geoseg.segment(str(entry.parent / "image.tif"), str(entry)).compute(scheduler="synchronous").values
    assert (labels == 1).sum() == 4800
    assert (labels == 0).sum() == 200 * 200 - 4800


def test_segment_takes_a_threshold_and_names_background(entry: Path) -> None:
    image = str(entry.parent / "image.tif")
    labels = geoseg.segment(image, bright, spec=replace(SPEC, tile_size=64), threshold=0.2)
    assert int((labels.values == 1).sum()) == 4900
    assert labels.attrs["flag_meanings"] == "building background"
    assert labels.attrs["flag_values"] == [1, 0]
    with pytest.raises(WorkflowError, match="leave threshold out"):
        geoseg.segment(
            image, bright, spec=replace(SPEC, classes=(GROUND, BUILDING), activation="softmax"), threshold=0.2
        )


@pytest.mark.slow
def test_a_run_writes_background_as_a_class_and_only_what_is_labelled_as_polygons(entry: Path, tmp_path: Path) -> None:
    workflow = {"model": str(entry), "input": str(tmp_path / "image.tif"), "workers": 1, "report": False}
    result = geoseg.run(workflow, output=str(tmp_path / "out"), threshold=0.2, features=["features.geojson"])
    with rasterio.open(tmp_path / "out" / "labels.tif") as file:
        labels = file.read(1)
        assert file.colormap(1)[0] == (0xD9, 0xD9, 0xD9, 255)
    assert [(labels == value).sum() for value in (0, 1, 255)] == [35100, 4900, 0]
    polygons = pyogrio.read_dataframe(tmp_path / "out" / "features.geojson")
    assert polygons["name"].tolist() == ["building", "building"]
    np.testing.assert_allclose(polygons["confidence"], [1 / (1 + np.exp(-20 * (115 / 255 - 0.5))), 1.0], atol=0.01)
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert "background" in json.dumps(manifest["model"]["classes"])
    assert result.plan.spec.threshold == 0.2
    later = geoseg.run(workflow, output=str(tmp_path / "out"), threshold=0.6, features=["features.geojson"])
    assert "predict" not in later.outcome.done
    with rasterio.open(tmp_path / "out" / "labels.tif") as file:
        assert (file.read(1) == 1).sum() == 4800
    geoseg.run(workflow, output=str(tmp_path / "all"), classes=["background"], features=["features.geojson"])
    assert set(pyogrio.read_dataframe(tmp_path / "all" / "features.geojson")["name"]) == {"background"}


def test_a_threshold_of_a_model_that_has_none_is_refused_by_the_workflow(entry: Path) -> None:
    workflow = {"model": "land-cover-aerial", "input": str(entry.parent / "image.tif")}
    with pytest.raises(WorkflowError, match=r"'land-cover-aerial' has the activation softmax.*leave threshold out"):
        geoseg.plan(workflow, threshold=0.5)
    with pytest.raises(WorkflowError, match="threshold: 5"):
        geoseg.plan(workflow, threshold=5)


def test_one_class_of_a_softmax_is_refused_when_its_entry_is_read(entry: Path) -> None:
    document = json.loads(entry.read_text())
    del document["properties"]["geoseg:activation"]  # softmax unless given
    entry.write_text(json.dumps(document))
    with pytest.raises(CatalogError, match="has one class and the activation softmax, which gives every pixel to it"):
        find_model(entry)


def test_a_network_of_a_library_is_built_with_one_score(tmp_path: Path) -> None:
    import segmentation_models_pytorch as smp
    from safetensors.torch import save_file

    network = smp.Unet("resnet18", encoder_weights=None, in_channels=3, classes=1)
    save_file(network.state_dict(), tmp_path / "unet.safetensors")
    built = (("encoder_name", "resnet18"),)
    spec = replace(SPEC, architecture="smp.Unet", hyperparameters=built, weights=str(tmp_path / "unet.safetensors"))
    found = load_model(spec).predict(np.zeros((1, 3, 32, 32), np.uint8), np.ones((1, 32, 32), bool))
    assert found.shape == (1, 1, 32, 32)
    stated = replace(spec, classes=(GROUND, BUILDING), channels=1)
    assert load_model(stated).spec.threshold == 0.5
