"""Refinement against sums over all pairs of pixels, against the authors' program, and tiled against the whole image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from geoseg.blending import quantise
from geoseg.errors import ModelError, WorkflowError
from geoseg.evaluation import BoundaryScores, count_boundaries, score
from geoseg.grid import TileGrid, Tiling
from geoseg.models import Band, ClassSpec, Model, ModelSpec, Scaling, wrap
from geoseg.models.crf import Line, contrasts
from geoseg.models.probe import measure_cost
from geoseg.models.refinement import Refinement, read_refinement
from geoseg.models.spec import NODATA
from tests.test_segmentation import ArrayRaster, reflect, run_blocks

Floats = NDArray[np.float64]

SPEC = ModelSpec(
    name="refined",
    task="semantic-segmentation",
    bands=(Band("red"), Band("green"), Band("blue")),
    classes=(ClassSpec(0, "land"), ClassSpec(1, "water"), ClassSpec(2, "roads")),
    scalings=(Scaling("min-max", minimum=0, maximum=255),),
)
STRONG = Refinement(iterations=3, window=5, smoothness=2.0, smoothness_distance=1.5, appearance_distance=4.0)


def model_of(scores: torch.Tensor, settings: Refinement, **changes: object) -> Model:
    """A model that gives the same scores (n, class, y, x) whatever it sees, and refines them."""
    model: Model = wrap(lambda _: scores, replace(SPEC, refine=settings, **changes))
    return model


def made_up(
    shape: tuple[int, int], seed: int = 0, classes: int = 3
) -> tuple[torch.Tensor, NDArray[np.uint8], NDArray[np.bool_]]:
    """Scores, pixels of two colours with noise, and a mask with holes, of one tile."""
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(0, 2, (1, classes, *shape)).astype(np.float32))
    colours = np.array([[60, 90, 40], [120, 130, 110]])[rng.integers(0, 2, shape)]
    pixels = (colours + rng.normal(0, 8, (*shape, 3))).clip(0, 255).astype(np.uint8)
    return scores, pixels.transpose(2, 0, 1)[None], rng.random((1, *shape)) > 0.15


def over_all_pairs(scores: Floats, pixels: Floats, mask: NDArray[np.bool_], settings: Refinement) -> Floats:
    """Mean-field inference as its formulas read: dense arrays over all pairs of pixels, float64.

    Scores (class, y, x) are logits, pixels (band, y, x) digital numbers of 8 bits; returns probabilities.
    """
    classes, height, width = scores.shape
    rows, cols = (axis.ravel() for axis in np.indices((height, width)))
    distances = np.stack([np.abs(axis[:, None] - axis) for axis in (rows, cols)])
    together = (distances.max(0) <= settings.window // 2) & np.outer(mask.ravel(), mask.ravel())
    squares = (distances**2).sum(0)
    values = pixels.reshape(len(pixels), -1)
    colour = ((values[:, :, None] - values[:, None]) ** 2).sum(0) / 13**2
    pairwise = np.zeros_like(colour)
    for weight, exponent in (
        (settings.smoothness, squares / settings.smoothness_distance**2),
        (settings.appearance, squares / settings.appearance_distance**2 + colour),
    ):
        kernel = np.exp(-exponent / 2) * together
        norm = np.where(kernel.any(0), kernel.sum(0), 1)
        pairwise += weight * kernel / np.sqrt(np.outer(norm, norm))
    np.fill_diagonal(pairwise, 0)
    logits = scores.reshape(classes, -1)
    unary = logits - np.log(np.exp(logits).sum(0))
    beliefs = np.exp(unary)
    for _ in range(settings.iterations):
        unequal = (beliefs.sum(0) - beliefs) @ pairwise  # the Potts model: what is sent for other labels
        beliefs = np.exp(unary - unequal)
        beliefs /= beliefs.sum(0)
    return beliefs.reshape(scores.shape)


@pytest.mark.parametrize("shape", [(16, 13), (1, 9), (7, 2)])
@pytest.mark.parametrize("settings", [STRONG, Refinement(), Refinement(iterations=2, window=3, appearance=0.0)])
def test_probabilities_are_those_of_sums_over_all_pairs_of_pixels(settings: Refinement, shape: tuple[int, int]) -> None:
    scores, pixels, mask = made_up(shape)
    found = model_of(scores, settings).predict(pixels, mask)[0].numpy()
    expected = over_all_pairs(scores[0].double().numpy(), pixels[0].astype(float), mask[0], settings)
    assert np.abs(expected - scores[0].softmax(0).numpy()).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pieces_of_a_line_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, pixels, mask = made_up((30, 23))
    whole = model_of(scores, STRONG).predict(pixels, mask)
    monkeypatch.setattr("geoseg.models.crf.PIECE", 37)
    torch.testing.assert_close(model_of(scores, STRONG).predict(pixels, mask), whole, atol=1e-6, rtol=0)


def test_a_line_has_every_pair_of_pixels_of_a_window_once() -> None:
    offsets = Line(9, 8, 3, 100).offsets
    both = {*offsets, *((-dy, -dx) for dy, dx in offsets)}
    assert len(both) == 2 * len(offsets) == 7**2 - 1
    assert both == {(dy, dx) for dy in range(-3, 4) for dx in range(-3, 4)} - {(0, 0)}


def shapes(size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture (3, y, x) of a disk and a bar on a ground of their own colours, with noise, and its classes (y, x)."""
    rows, cols = np.indices((size, size)) / size
    truth = np.zeros((size, size), np.uint8)
    truth[(rows - 0.4) ** 2 + (cols - 0.35) ** 2 < 0.06] = 1
    truth[np.abs(rows + 0.6 * cols - 1.2) < 0.08] = 2
    colours = np.array([[70, 110, 60], [40, 60, 120], [150, 140, 130]])[truth]
    noise = np.random.default_rng(1).normal(0, 5, colours.shape)
    return (colours + noise).clip(0, 255).astype(np.uint8).transpose(2, 0, 1), truth


def coarse_scores(truth: NDArray[np.uint8], step: int) -> torch.Tensor:
    """What a network of a coarse output knows of the truth: averages over cells, resampled, with noise."""
    planes = torch.eye(3)[torch.from_numpy(truth).long()].permute(2, 0, 1)[None]
    cells = torch.nn.functional.avg_pool2d(planes, step)
    smooth = torch.nn.functional.interpolate(cells, size=truth.shape, mode="bilinear")
    return 6 * smooth + torch.randn(smooth.shape, generator=torch.Generator().manual_seed(2))


def test_refined_boundaries_lie_nearer_to_those_of_the_picture() -> None:
    scene, truth = shapes(96)
    scores = coarse_scores(truth, 8)
    valid = np.ones((1, *truth.shape), bool)
    raw = scores[0].argmax(0).numpy().astype(np.uint8)
    refined = model_of(scores, Refinement()).predict(scene[None], valid)[0].argmax(0).numpy().astype(np.uint8)
    names = ("ground", "disk", "bar")
    before, after = (BoundaryScores(count_boundaries(truth, labels, 3, 1.0), names) for labels in (raw, refined))
    assert after.mean_f1 > before.mean_f1 + 0.2
    assert score(truth, refined, names).mean_iou > score(truth, raw, names).mean_iou


class SmallNetwork(torch.nn.Module):
    """One convolution that sees a pixel's neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 3, padding=1)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.layer.parameters():
            parameter.data = 6 * torch.randn(parameter.shape, generator=generator)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layer(pixels)
        return scores


def whole_labels(raster: ArrayRaster, model: Model, halo: int) -> NDArray[np.uint8]:
    """Labels of a raster predicted at once, reflected by the halo; 255 = nodata."""
    rows, cols = (reflect(np.arange(-halo, length + halo), length) for length in raster.shape)
    valid = np.ones(raster.shape, bool) if raster.valid is None else raster.valid
    scores = model.score(raster.pixels[None, :, rows[:, None], cols], valid[None, rows[:, None], cols])[0]
    inner = tuple(slice(halo, halo + length) for length in raster.shape)
    labels = quantise(scores[:, *inner], "softmax").argmax(0).astype(np.uint8)
    return np.where(valid, labels, np.uint8(NODATA))


@pytest.mark.parametrize("holes", [False, True])
def test_tiles_give_the_labels_of_the_whole_image_when_the_halo_covers_the_reach(holes: bool) -> None:
    _, pixels, mask = made_up((100, 83), seed=3)
    raster = ArrayRaster(pixels[0], mask[0] if holes else None)
    settings = replace(STRONG, smoothness_distance=3.0)
    model = wrap(SmallNetwork(), replace(SPEC, refine=settings))
    halo = 1 + settings.reach
    expected = whole_labels(raster, model, halo)
    found, _ = run_blocks(raster, model, TileGrid(raster.shape, Tiling(44, halo, 4), (2, 2)))
    np.testing.assert_array_equal(found, expected)
    cut_short, _ = run_blocks(raster, model, TileGrid(raster.shape, Tiling(44, 1, 4), (2, 2)))
    assert (cut_short != expected).any()


@pytest.mark.parametrize(("iterations", "window"), [(1, 3), (1, 7), (2, 5), (4, 3)])
@pytest.mark.parametrize("what", ["colour", "score", "mask"])
def test_a_pixel_changes_others_up_to_the_reach_and_not_a_bit_beyond(iterations: int, window: int, what: str) -> None:
    settings = Refinement(iterations, window, smoothness_distance=9.0, contrast=1.0)
    scores, pixels, mask = made_up((33, 31), seed=5)
    mask[:] = True
    before = model_of(scores.clone(), settings).score(pixels, mask)
    row, col = 15, 16
    if what == "colour":
        pixels[..., row, col] = 255
    elif what == "score":
        scores[0, 0, row, col] += 9
    else:
        mask[:, row, col] = False
    after = model_of(scores, settings).score(pixels, mask)
    rows, cols = np.nonzero((before != after).any(1)[0].numpy())
    farthest = max(np.abs(rows - row).max(), np.abs(cols - col).max())
    own = iterations * (window // 2)  # of a score; a colour also counts in the sums of kernels
    assert farthest == (own if what == "score" else settings.reach)


def test_absent_pixels_neither_send_nor_receive() -> None:
    scores, pixels, mask = made_up((20, 24), seed=6)
    first = model_of(scores.clone(), STRONG).score(pixels, mask)
    absent = torch.from_numpy(~mask)[:, None].expand_as(scores)
    scores[absent] = torch.nan
    second = model_of(scores, STRONG).score(np.where(mask[:, None], pixels, 255 - pixels), mask)
    assert torch.equal(first[~absent], second[~absent])
    assert torch.isnan(second[absent]).all()


def test_absent_pixels_keep_their_probabilities() -> None:
    scores, pixels, mask = made_up((12, 12))
    absent = torch.from_numpy(~mask)[:, None].expand_as(scores)
    found = model_of(scores, STRONG).predict(pixels, mask)
    torch.testing.assert_close(found[absent], scores.softmax(1)[absent])


def test_beyond_the_tile_pixels_are_absent() -> None:
    scores, pixels, mask = made_up((18, 30))
    mask[..., 17:] = False
    wide = model_of(scores, STRONG).predict(pixels, mask)[..., :17]
    narrow = model_of(scores[..., :17], STRONG).predict(pixels[..., :17], mask[..., :17])
    torch.testing.assert_close(wide, narrow, atol=1e-6, rtol=0)


def test_tiles_of_a_batch_are_refined_one_by_one() -> None:
    tiles = [made_up((14, 17), seed) for seed in (1, 2)]
    scores, pixels, mask = (
        torch.cat([tile[0] for tile in tiles]),
        *(np.concatenate([tile[number] for tile in tiles]) for number in (1, 2)),
    )
    together = model_of(scores, STRONG).score(pixels, mask)
    for number, (own, seen, valid) in enumerate(tiles):
        assert torch.equal(together[number : number + 1], model_of(own, STRONG).score(seen, valid))


def test_scores_stay_what_the_activation_takes() -> None:
    scores, pixels, mask = made_up((14, 17))
    logs = model_of(scores, STRONG).score(pixels, mask)
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(1, 14, 17))
    probabilities = model_of(scores.softmax(1), STRONG, activation="none").score(pixels, mask)
    torch.testing.assert_close(probabilities, logs.exp(), atol=1e-5, rtol=0)


def test_probabilities_without_a_logarithm_are_refined_too() -> None:
    scores, pixels, mask = made_up((14, 17))
    probabilities = scores.softmax(1)
    probabilities[..., 3, 4] = 0
    probabilities[..., 5:, 6] = torch.tensor([0, 1 + 4e-4, -4e-4])[:, None]
    found = model_of(probabilities, STRONG, activation="none").predict(pixels, mask)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 14, 17))


def test_scores_that_are_not_finite_are_still_found() -> None:
    scores, pixels, mask = made_up((9, 9))
    scores[..., 4, 4], mask[..., 4, 4] = torch.nan, True
    with pytest.raises(ModelError, match="not finite"):
        model_of(scores, STRONG).predict(pixels, mask)


def test_min_max_and_z_score_refine_alike_when_they_tell_the_same_range() -> None:
    scores, pixels, mask = made_up((20, 20))
    expected = model_of(scores, STRONG).predict(pixels, mask)
    others = (
        (Scaling("scale", value=255.0),),
        (Scaling("z-score", mean=127.5, stddev=255 / 4),),
        (Scaling("clip", minimum=0, maximum=255),) * 3,
        (Scaling("z-score", mean=99.0, stddev=255 / 4), *(Scaling("min-max", minimum=0, maximum=255),) * 2),
    )
    for scalings in others:
        found = model_of(scores, STRONG, scalings=scalings).predict(pixels, mask)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    given = model_of(scores, replace(STRONG, contrast=13.0), scalings=()).predict(pixels, mask)
    torch.testing.assert_close(given, expected, atol=1e-4, rtol=0)


def test_a_contrast_means_the_same_for_any_number_of_bands() -> None:
    scores, pixels, mask = made_up((20, 20))
    expected = model_of(scores, STRONG).predict(pixels, mask)
    twice = model_of(scores, STRONG, bands=(*SPEC.bands, Band("a"), Band("b"), Band("c")))
    found = twice.predict(np.concatenate([pixels, pixels], 1), mask)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_each_band_has_its_own_contrast_unless_one_is_given() -> None:
    scalings = (
        Scaling("min-max", minimum=0, maximum=9),
        Scaling("z-score", mean=0, stddev=3),
        Scaling("scale", value=2),
    )
    spec = replace(SPEC, scalings=scalings)
    assert contrasts(spec, None) == pytest.approx([13 / 255, 4 * 13 / 255, 13 / 255])
    assert contrasts(spec, 0.3) == [0.3, 0.3, 0.3]


def test_an_expression_that_levels_off_tells_its_range() -> None:
    curve = Scaling("processing", expression="3 / (1 + exp(1 - A / 1000))")
    lowest = 3 / (1 + np.exp(1))
    assert contrasts(replace(SPEC, scalings=(curve,) * 3), None) == pytest.approx([(3 - lowest) * 13 / 255] * 3)


@pytest.mark.parametrize("scalings", [(), (Scaling("none"),), (Scaling("processing", expression="A*2"),) * 3])
def test_a_scaling_that_tells_no_range_needs_a_contrast(scalings: tuple[Scaling, ...]) -> None:
    with pytest.raises(ModelError, match=r"the contrast of colours cannot be derived; set refine\.contrast"):
        model_of(torch.zeros(1, 3, 4, 4), Refinement(), scalings=scalings)


def test_classes_that_do_not_exclude_each_other_are_refused() -> None:
    with pytest.raises(ModelError, match="'sigmoid', whose classes do not exclude each other"):
        classes = tuple(replace(item, value=item.value + 1) for item in SPEC.classes)
        model_of(torch.zeros(1, 3, 4, 4), Refinement(), activation="sigmoid", classes=classes)


def test_memory_is_what_the_refinement_says() -> None:
    def network(pixels: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(pixels), 3, *pixels.shape[2:])

    settings = Refinement(iterations=1)
    refined = measure_cost(wrap(network, replace(SPEC, refine=settings)), size=384, repeats=1).activation_bytes
    # A small pass alone is not measured: it may fit into memory that the process already holds.
    plain = 4 * 3 * 4  # float32 of 3 bands or classes: pixels, scaled pixels, scores, probabilities
    promised = settings.bytes_per_pixel(classes=3, bands=3)
    assert promised / 2 < refined <= plain + promised


def test_crf_and_its_keys_are_read() -> None:
    assert read_refinement(None) is None
    assert read_refinement("crf") == Refinement()
    read = read_refinement({"iterations": 3, "window": 7, "contrast": 0.2, "smoothness": 1})
    assert read == Refinement(iterations=3, window=7, contrast=0.2, smoothness=1)
    assert read.reach == 12


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("blur", "refine is 'blur'; write crf, or some of its keys iterations, window, "),
        (True, "refine is True; write crf"),
        ({"iteration": 3}, "refine has the unknown key 'iteration'; did you mean 'iterations'?"),
        ({"iterations": 0}, "refine.iterations is 0; give a whole number of at least 1."),
        ({"iterations": True}, "refine.iterations is True; give a whole number of at least 1."),
        ({"window": 8}, "refine.window is 8; give an odd number of px, at least 3."),
        ({"window": 1}, "refine.window is 1; give an odd number of px, at least 3."),
        ({"smoothness": -1}, "refine.smoothness is -1; give a number of at least 0."),
        ({"appearance": "strong"}, "refine.appearance is 'strong'; give a number of at least 0."),
        ({"appearance_distance": 0}, "refine.appearance_distance is 0; give a number above 0."),
        ({"contrast": float("nan")}, "refine.contrast is nan; give a number above 0."),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(value: object, sentence: str) -> None:
    with pytest.raises(WorkflowError) as error:
        read_refinement(value)
    assert str(error.value).startswith(sentence)
