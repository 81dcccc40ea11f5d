"""Confusion counts and scores, against scikit-free oracles: sets of pixels, counted one class at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.errors import EvaluationError
from geoseg.evaluation import IGNORE, confusion, score

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
