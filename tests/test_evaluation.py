"""Counts and scores against oracles: sets of pixels, distances of all pairs of pixels, and another package."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.errors import EvaluationError
from geoseg.evaluation import (
    IGNORE,
    BoundaryScores,
    Matches,
    PanopticScores,
    confusion,
    count_boundaries,
    count_panoptic,
    match_instances,
    score,
    seam_score,
)
from geoseg.grid import Window

LABELS = arrays(np.uint8, (7, 5), elements=st.sampled_from([0, 1, 2, IGNORE]))
NAMES = ("water", "trees", "built")


@given(LABELS, LABELS)
def test_confusion_counts_every_pair_of_known_labels_once(truth: np.ndarray, predicted: np.ndarray) -> None:
    counts = confusion(truth, predicted, 3)
    for true in range(3):
        for guess in range(3):
            assert counts[true, guess] == np.sum((truth == true) & (predicted == guess))


@given(LABELS, LABELS)
def test_iou_and_f1_are_those_of_the_sets_of_pixels(truth: np.ndarray, predicted: np.ndarray) -> None:
    scores = score(truth, predicted, NAMES)
    known = (truth != IGNORE) & (predicted != IGNORE)
    for index in range(3):
        here = set(np.flatnonzero(known & (truth == index)))
        there = set(np.flatnonzero(known & (predicted == index)))
        if not here | there:
            assert math.isnan(scores.iou[index])
            assert math.isnan(scores.f1[index])
            continue
        assert scores.iou[index] == pytest.approx(len(here & there) / len(here | there))
        assert scores.f1[index] == pytest.approx(2 * len(here & there) / (len(here) + len(there)))


@given(LABELS)
def test_a_map_agrees_with_itself(truth: np.ndarray) -> None:
    scores = score(truth, truth, NAMES)
    assert scores.pixels == np.sum(truth != IGNORE)
    if scores.pixels:
        assert scores.accuracy == 1
        assert scores.mean_iou == 1


@given(LABELS, LABELS)
def test_counts_of_two_halves_add_up_to_those_of_the_whole(truth: np.ndarray, predicted: np.ndarray) -> None:
    halves = confusion(truth[:3], predicted[:3], 3) + confusion(truth[3:], predicted[3:], 3)
    assert np.array_equal(halves, confusion(truth, predicted, 3))


def test_a_class_that_does_not_occur_is_left_out_of_the_mean_but_its_false_pixels_count() -> None:
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    predicted = np.array([[0, 2, 1, 1]], np.uint8)
    scores = score(truth, predicted, NAMES)
    assert scores.mean_iou == pytest.approx((1 / 2 + 1) / 2)
    assert list(scores.per_class()) == ["water", "trees"]


def test_nothing_to_compare_gives_nan() -> None:
    empty = np.full((2, 2), IGNORE, np.uint8)
    assert math.isnan(score(empty, empty, NAMES).accuracy)
    assert math.isnan(score(empty, empty, NAMES).mean_iou)


def test_a_label_that_is_no_class_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="label 3 is not one of 3 classes"):
        confusion(np.array([[3]], np.uint8), np.array([[0]], np.uint8), 3)


def test_maps_of_different_shape_are_an_error() -> None:
    with pytest.raises(EvaluationError, match=r"\(1, 2\)"):
        confusion(np.zeros((1, 2), np.uint8), np.zeros((2, 1), np.uint8), 3)


def edge_of(labels: np.ndarray, number: int) -> set[tuple[int, int]]:
    """Pixels of a class beside another class."""
    height, width = labels.shape
    edge = set()
    for y, x in np.argwhere(labels == number).tolist():
        beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        inside = [labels[place] for place in beside if 0 <= place[0] < height and 0 <= place[1] < width]
        if any(label not in (number, IGNORE) for label in inside):
            edge.add((y, x))
    return edge


@given(LABELS, LABELS, st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]))
def test_boundary_pixels_are_near_when_one_of_all_distances_is_short(
    truth: np.ndarray, predicted: np.ndarray, tolerance: float
) -> None:
    counts = count_boundaries(truth, predicted, 3, tolerance)
    known = (truth != IGNORE) & (predicted != IGNORE)
    for number in range(3):
        guess, true = (edge_of(np.where(known, side, IGNORE), number) for side in (predicted, truth))
        expected = []
        for own, other in ((guess, true), (true, guess)):
            expected += [sum(any(math.dist(a, b) <= tolerance for b in other) for a in own), len(own)]
        assert counts[number].tolist() == expected


@given(st.integers(0, 5), st.sampled_from([0.0, 1.0, 2.5]), st.integers(3, 11))
def test_boundary_counts_of_windows_with_context_add_up_to_those_of_the_whole(
    seed: int, tolerance: float, size: int
) -> None:
    truth, predicted = np.random.default_rng(seed).choice([0, 0, 0, 1, 2, IGNORE], (2, 23, 19)).astype(np.uint8)
    whole, total = Window(0, 0, 23, 19), np.zeros((3, 4), np.int64)
    margin = int(tolerance) + 1
    for y, x in product(range(0, 23, size), range(0, 19, size)):
        core = Window(y, x, size, size).intersect(whole)
        seen = Window(y - margin, x - margin, core.height + 2 * margin, core.width + 2 * margin).intersect(whole)
        sides = truth[seen.slices()], predicted[seen.slices()]
        total += count_boundaries(*sides, 3, tolerance, core.relative_to(seen))
    assert np.array_equal(total, count_boundaries(truth, predicted, 3, tolerance))


def test_a_boundary_that_is_moved_counts_from_the_tolerance_on() -> None:
    truth, predicted = np.zeros((2, 10, 12), np.uint8)
    truth[:, 5:], predicted[:, 7:] = 1, 1
    near, far = (BoundaryScores(count_boundaries(truth, predicted, 2, limit), NAMES[:2]) for limit in (2, 1.9))
    assert near.f1.tolist() == [1, 1]
    assert near.mean_f1 == 1
    assert far.f1.tolist() == [0, 0]


def test_boundary_f1_is_the_harmonic_mean_of_the_classes_that_truly_have_a_boundary() -> None:
    scores = BoundaryScores(np.array([[3, 4, 1, 2], [0, 5, 0, 0], [0, 0, 0, 0]]), NAMES)
    assert scores.precision[:2].tolist() == [3 / 4, 0]
    assert scores.recall[0] == 1 / 2
    assert scores.f1[:2].tolist() == [pytest.approx(2 * 0.75 * 0.5 / 1.25), 0]
    assert math.isnan(scores.f1[2])
    assert scores.mean_f1 == scores.f1[0]
    assert math.isnan(BoundaryScores(np.zeros((3, 4), np.int64), NAMES).mean_f1)


THINGS = (False, True, True, False)
PANOPTIC_NAMES = ("ground", "houses", "cars", "water")


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """True labels with void, objects, and a prediction of the same with moved, lost and misnamed segments."""
    rng = np.random.default_rng(seed)
    labels, objects = np.zeros((40, 44), np.uint8), np.zeros((40, 44), np.uint32)
    labels[:, 30:] = 3
    guess, found = labels.copy(), objects.copy()
    guess[:, 28:30] = 3
    for number in range(1, 15):
        y, x, height, width = *rng.integers(0, 36, 2), *rng.integers(3, 10, 2)
        place = slice(y, y + height), slice(x, x + width)
        labels[place], objects[place] = rng.integers(1, 3), number
        if rng.random() < 0.8:
            moved = tuple(slice(item.start + rng.integers(0, 3), item.stop) for item in place)
            guess[moved] = labels[place].flat[0] if rng.random() < 0.8 else rng.integers(1, 3)
            found[moved] = 100 + number
    objects[(labels == 3) & (rng.random(labels.shape) < 0.5)] = 99  # stuff has no objects
    labels[rng.integers(0, 30) :, : rng.integers(3, 9)] = IGNORE
    return labels, objects, guess, found


def quality_of(*scenes: tuple[np.ndarray, ...]) -> np.ndarray:
    """PQ, SQ and RQ (measure, class) of torchmetrics."""
    detection = pytest.importorskip("torchmetrics.detection")
    metric = detection.PanopticQuality(things={1, 2}, stuffs={0, 3}, return_sq_and_rq=True, return_per_class=True)
    for sides in scenes:
        truth, predicted = (
            torch.from_numpy(np.stack(pair, -1).astype(np.int64))[None] for pair in (sides[:2], sides[2:])
        )
        metric.update(predicted, truth)
    things_first = metric.compute().numpy().T
    return things_first[:, [2, 0, 1, 3]]


@pytest.mark.parametrize("seed", range(6))
def test_panoptic_quality_is_that_of_torchmetrics(seed: int) -> None:
    scenes = [scene(seed), scene(seed + 100)]
    counts = sum(count_panoptic(item[:2], item[2:], THINGS) for item in scenes)
    scores = PanopticScores(counts, PANOPTIC_NAMES, THINGS)
    expected = quality_of(*scenes)
    np.testing.assert_allclose([scores.pq, scores.sq, scores.rq], expected, atol=1e-6)
    assert scores.mean(scores.pq) == pytest.approx(expected[0].mean())
    assert scores.mean(scores.pq, isthing=True) == pytest.approx(expected[0][[1, 2]].mean())
    assert scores.mean(scores.pq, isthing=False) == pytest.approx(expected[0][[0, 3]].mean())
    assert 0.1 < scores.mean(scores.pq) < 0.95


def row_map(labels: list[int], objects: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([labels], np.uint8), np.array([objects], np.uint32)


def test_a_predicted_segment_that_lies_in_the_void_by_more_than_half_is_left_out() -> None:
    truth = row_map([IGNORE] * 5 + [0] * 5, [0] * 10)
    inside = row_map([1] * 7 + [0] * 3, [1] * 7 + [0] * 3)  # 5 of 7 px in the void
    half = row_map([0, 1, 1, 1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1, 1, 1, 1, 0])  # 4 of 8
    assert count_panoptic(truth, inside, THINGS)[1].tolist() == [0, 0, 0, 0]
    assert count_panoptic(truth, half, THINGS)[1].tolist() == [0, 0, 1, 0]


def test_the_void_is_no_part_of_a_union_and_a_pixel_without_prediction_is() -> None:
    truth = row_map([1] * 6 + [IGNORE] * 4, [7] * 6 + [0] * 4)
    predicted = row_map([IGNORE] * 2 + [1] * 8, [0] * 2 + [3] * 8)
    assert count_panoptic(truth, predicted, THINGS)[1].tolist() == [pytest.approx(4 / 6), 1, 0, 0]


def test_a_true_thing_without_an_object_is_void() -> None:
    truth = row_map([1] * 6 + [0] * 4, [0] * 6 + [0] * 4)
    predicted = row_map([1] * 6 + [0] * 4, [3] * 6 + [0] * 4)
    assert count_panoptic(truth, predicted, THINGS).tolist() == [[1, 1, 0, 0], [0] * 4, [0] * 4, [0] * 4]


def test_half_a_union_is_not_enough_and_neither_is_another_class() -> None:
    truth = row_map([1] * 4 + [2] * 4, [1] * 4 + [2] * 4)
    predicted = row_map([1, 1] + [1] * 6, [1, 1] + [2] * 6)
    counts = count_panoptic(truth, predicted, THINGS)
    assert counts[1].tolist() == [0, 0, 2, 1]
    assert counts[2].tolist() == [0, 0, 0, 1]
    scores = PanopticScores(counts, PANOPTIC_NAMES, THINGS)
    assert scores.pq[1:3].tolist() == [0, 0]
    assert math.isnan(scores.mean(scores.pq, isthing=False))


def test_objects_of_another_shape_are_an_error() -> None:
    truth = row_map([1], [1])
    with pytest.raises(EvaluationError, match="compare equal windows"):
        count_panoptic(truth, row_map([1, 1], [1, 1]), THINGS)
    with pytest.raises(EvaluationError, match="label 9 is not one of 4 classes"):
        count_panoptic(truth, row_map([9], [1]), THINGS)


OBJECTS = arrays(np.uint32, (6, 7), elements=st.sampled_from([0, 0, 2, 5, 2**31]))


@given(OBJECTS, OBJECTS)
def test_pairs_above_half_are_all_that_sets_of_pixels_have(truth: np.ndarray, predicted: np.ndarray) -> None:
    found = match_instances(truth, predicted, 0.51)
    trues, guesses = ([number for number in np.unique(side) if number] for side in (truth, predicted))
    assert found.truths == len(trues)
    for position, guess in enumerate(guesses):
        there = set(np.flatnonzero(predicted == guess))
        fits = {true: set(np.flatnonzero(truth == true)) for true in trues}
        shares = {true: len(here & there) / len(here | there) for true, here in fits.items()}
        best = max(shares, key=shares.__getitem__, default=0)
        if best and shares[best] >= 0.51:
            assert (found.partners[position], found.iou[position]) == (best, pytest.approx(shares[best]))
        else:
            assert (found.partners[position], found.iou[position]) == (0, 0)


def test_the_surer_object_chooses_first_and_else_the_one_that_fits_better() -> None:
    truth = np.array([[1] * 10], np.uint16)
    predicted = np.array([[1] * 4 + [2] * 6], np.uint16)
    assert match_instances(truth, predicted, 0.3).partners.tolist() == [0, 1]
    assert match_instances(truth, predicted, 0.3, np.array([0.9, 0.8])).partners.tolist() == [1, 0]
    assert match_instances(truth, predicted, 0.7).hits == 0


def test_an_object_over_two_true_ones_is_a_pair_with_one() -> None:
    found = match_instances(np.array([[1] * 4 + [2] * 5]), np.array([[1] * 9]), 0.3)
    assert found.partners.tolist() == [2]
    assert found.iou.tolist() == [pytest.approx(5 / 9)]


def test_precision_recall_and_f1_count_objects() -> None:
    truth, predicted = np.array([[1, 1, 2, 2, 3, 3]]), np.array([[1, 1, 0, 0, 4, 5]])
    found = match_instances(truth, predicted, 0.6)
    assert (found.precision, found.recall, found.f1) == (1 / 3, 1 / 3, 1 / 3)
    twice = found + match_instances(truth, truth, 0.6)
    assert (twice.precision, twice.recall, twice.f1) == (4 / 6, 4 / 6, 8 / 12)


@given(st.lists(st.booleans(), max_size=9), st.integers(0, 4), st.randoms(use_true_random=False))
def test_average_precision_is_the_mean_over_recalls_of_the_best_precision_there(
    hits: list[bool], missed: int, random: object
) -> None:
    scores = np.array(random.sample(range(100), len(hits))) / 100
    found = Matches(np.array(hits, np.int64), np.array(hits, float), scores, sum(hits) + missed)
    if not found.truths:
        assert math.isnan(found.average_precision)
        return
    accepted = [np.array(hits, bool)[scores >= lowest] for lowest in scores]
    best = [
        max((kept.mean() for kept in accepted if kept.sum() >= wanted), default=0)
        for wanted in range(1, found.truths + 1)
    ]
    assert found.average_precision == pytest.approx(np.mean(best))


def test_nothing_to_find_gives_nan() -> None:
    nothing = match_instances(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))
    assert all(math.isnan(value) for value in (nothing.precision, nothing.recall, nothing.f1))
    assert math.isnan(nothing.average_precision)


def test_each_object_needs_one_score() -> None:
    with pytest.raises(EvaluationError, match="2 objects have scores of shape"):
        match_instances(np.array([[1, 2]]), np.array([[1, 2]]), scores=np.array([0.5]))


def test_a_map_without_seams_has_a_score_of_one_and_steps_between_tiles_are_seen() -> None:
    values = np.random.default_rng(2).random((2, 300, 400))
    rows, cols = range(0, 300, 50), range(0, 400, 40)
    assert seam_score(values, rows, cols) == pytest.approx(1, abs=0.02)
    tiles = np.kron(np.random.default_rng(3).normal(0, 3, (6, 10)), np.ones((50, 40)))
    down, over = (np.abs(np.diff(values + tiles, axis=axis)) for axis in (1, 2))
    seen = down[:, 49::50].sum() + over[:, :, 39::40].sum()
    across = seen / (2 * (5 * 400 + 9 * 300))
    every = down.sum() + over.sum()
    away = (every - seen) / (2 * (299 * 400 + 399 * 300 - 5 * 400 - 9 * 300))
    assert seam_score(values + tiles, rows, cols) == pytest.approx(across / away)
    assert across / away > 5


def test_a_seam_score_needs_a_border_and_something_to_compare_it_with() -> None:
    assert math.isnan(seam_score(np.zeros((4, 4), np.uint8), [2], []))
    with pytest.raises(EvaluationError, match="no border of"):
        seam_score(np.zeros((4, 4)), [0, 9], [])
