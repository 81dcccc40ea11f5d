"""The minimum area, against the rule carried out pixel by pixel on the whole raster, for every layout of blocks."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.errors import BlockError, PlanError
from geoseg.grid import Window
from geoseg.mapping_unit import MappingUnit
from geoseg.vectorize.sieve import Fates, Survey, apply, merge, survey

Labels = NDArray[Any]
NODATA = 255


def naive(labels: Labels, unit: int | Mapping[int, int], keep: Collection[int] = (), nodata: int = NODATA) -> Labels:
    """The rule as it is written, with all faces found anew after each change."""
    labels = labels.copy()
    while small := sorted(small_faces(labels, unit, keep, nodata)):
        for _, _, pixels in small:
            lengths = borders(labels, np.array(pixels), nodata)
            if lengths:
                labels.flat[list(pixels)] = min(lengths, key=lambda label: (-lengths[label], label))
                break
        else:
            break
    return labels


def small_faces(
    labels: Labels, unit: int | Mapping[int, int], keep: Collection[int], nodata: int
) -> list[tuple[int, int, tuple[int, ...]]]:
    """Number of pixels, first pixel, and all pixels of each small face."""
    found = []
    for label in set(np.unique(labels).tolist()) - {nodata, *keep}:
        numbered, count = scipy.ndimage.label(labels == label)
        for number in range(1, count + 1):
            pixels = np.flatnonzero(numbered == number)
            if len(pixels) < (unit if isinstance(unit, int) else unit.get(label, 1)):
                found.append((len(pixels), int(pixels[0]), tuple(pixels.tolist())))
    return found


def borders(labels: Labels, pixels: NDArray[np.int64], nodata: int) -> dict[int, int]:
    """Edges of pixels between a face and each other label."""
    inside = set(pixels.tolist())
    lengths: dict[int, int] = {}
    height, width = labels.shape
    for y, x in zip(*np.divmod(pixels, width), strict=True):
        for row, col in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= row < height and 0 <= col < width and row * width + col not in inside:
                label = int(labels[row, col])
                if label != nodata:
                    lengths[label] = lengths.get(label, 0) + 1
    return lengths


def sieved(
    labels: Labels,
    unit: int | Mapping[int, int],
    rows: list[int],
    cols: list[int],
    *,
    fan: int = 2,
    keep: Collection[int] = (),
    nodata: int | None = NODATA,
    store: Callable[[Any], Any] = lambda item: item,
) -> Labels:
    """Survey blocks, merge ``fan`` x ``fan`` of them until one is left, and go back down."""
    cores = [[Window(y, x, bottom - y, right - x) for x, right in pairwise(cols)] for y, bottom in pairwise(rows)]
    least = unit_of(unit, keep)
    surveys: dict[tuple[int, int], Survey] = {}
    levels: list[dict[tuple[int, int], Fates]] = [{}]
    for row, windows in enumerate(cores):
        for col, core in enumerate(windows):
            one, fates = survey(labels[core.slices()], core, labels.shape, least, nodata=nodata)
            surveys[row, col], levels[0][row, col] = store(one), store(fates)
    while len(surveys) > 1:
        groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for row, col in surveys:
            groups.setdefault((row // fan, col // fan), []).append((row, col))
        merged, level = {}, {}
        for place, members in groups.items():
            merged[place], fates_of = merge([surveys[member] for member in members], hull(surveys, members))
            level.update(zip(members, map(store, fates_of), strict=True))
        surveys = {place: store(one) for place, one in merged.items()}
        levels.append(level)
    (whole,) = surveys.values()
    assert len(whole.faces) == 0
    settled = {(0, 0): np.empty(0, np.int64)}
    for level in reversed(levels[1:]):
        settled = {(row, col): fates.settled(settled[row // fan, col // fan]) for (row, col), fates in level.items()}
    result = labels.copy()
    for (row, col), fates in levels[0].items():
        core = cores[row][col].slices()
        upper = settled[row, col] if len(levels) > 1 else settled[0, 0]
        result[core] = apply(labels[core], fates, fates.settled(upper), nodata)
    return result


def hull(surveys: dict[tuple[int, int], Survey], members: list[tuple[int, int]]) -> Window:
    windows = [surveys[member].window for member in members]
    y, x = min(window.y for window in windows), min(window.x for window in windows)
    return Window(y, x, max(one.bottom for one in windows) - y, max(one.right for one in windows) - x)


def unit_of(unit: int | Mapping[int, int], keep: Collection[int] = ()) -> MappingUnit:
    by_class = {} if isinstance(unit, int) else dict(unit)
    others = unit if isinstance(unit, int) else 1
    return MappingUnit(others, tuple(sorted((by_class | dict.fromkeys(keep, 1)).items())))


def whole(labels: Labels, unit: int | Mapping[int, int], **options: Any) -> Labels:
    return sieved(labels, unit, [0, labels.shape[0]], [0, labels.shape[1]], **options)


def every(step: int, length: int) -> list[int]:
    return [*range(0, length, step), length]


def blobs(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    fields = [scipy.ndimage.gaussian_filter(rng.standard_normal(shape), 1.0) for _ in range(4)]
    return np.argmax(fields, axis=0).astype(np.uint8)


def noise(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    return rng.integers(0, rng.integers(1, 6), shape).astype(np.uint8)


def salted(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    labels = blobs(rng, shape)
    salt = rng.random(shape) < 0.1
    labels[salt] = rng.integers(0, 5, salt.sum())
    return labels


def stripes(rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    return (np.indices(shape).sum(axis=0) // rng.integers(1, 4) % 3).astype(np.uint8)


@st.composite
def label_maps(draw: st.DrawFn, longest: int = 16) -> Labels:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, longest)), draw(st.integers(1, longest)))
    labels = draw(st.sampled_from([blobs, noise, salted, stripes]))(rng, shape)
    labels[rng.random(shape) < draw(st.sampled_from([0, 0, 0.1, 0.4, 1]))] = NODATA
    return labels


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[int]:
    inner = draw(st.sets(st.integers(1, max(1, length - 1)), max_size=6))
    return sorted({0, length} | {cut for cut in inner if cut < length})


@given(label_maps(), st.integers(0, 30), st.sets(st.integers(0, 4), max_size=2))
def test_small_faces_go_where_the_rule_says(labels: Labels, min_pixels: int, keep: set[int]) -> None:
    np.testing.assert_array_equal(whole(labels, min_pixels, keep=keep), naive(labels, min_pixels, keep))


@given(st.data(), label_maps(), st.integers(2, 30), st.sets(st.integers(0, 4), max_size=2), st.integers(2, 4))
def test_blocks_of_any_layout_give_the_same(
    data: st.DataObject, labels: Labels, min_pixels: int, keep: set[int], fan: int
) -> None:
    rows, cols = data.draw(cuts(labels.shape[0])), data.draw(cuts(labels.shape[1]))
    given_in_blocks = sieved(labels, min_pixels, rows, cols, fan=fan, keep=keep)
    np.testing.assert_array_equal(given_in_blocks, naive(labels, min_pixels, keep))


@given(st.data(), label_maps(), st.dictionaries(st.integers(0, 4), st.integers(1, 30)), st.integers(2, 4))
def test_each_class_has_its_own_unit_in_every_layout(
    data: st.DataObject, labels: Labels, unit: dict[int, int], fan: int
) -> None:
    rows, cols = data.draw(cuts(labels.shape[0])), data.draw(cuts(labels.shape[1]))
    np.testing.assert_array_equal(sieved(labels, unit, rows, cols, fan=fan), naive(labels, unit))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [blobs, noise, salted, stripes])
@pytest.mark.parametrize("layout", [(1, 97), (61, 1), (7, 5), (16, 16), (1, 1)])
@pytest.mark.parametrize("min_pixels", [4, 40])
def test_larger_maps_are_the_same_in_blocks(
    kind: Callable[[np.random.Generator, tuple[int, int]], Labels], layout: tuple[int, int], min_pixels: int
) -> None:
    shape = (17, 23) if layout == (1, 1) else (61, 97)
    labels = kind(np.random.default_rng(7), shape)
    labels[9:12, 5:18] = NODATA
    expected = whole(labels, min_pixels)
    rows, cols = every(layout[0], shape[0]), every(layout[1], shape[1])
    np.testing.assert_array_equal(sieved(labels, min_pixels, rows, cols, fan=4), expected)


@given(label_maps(), st.integers(2, 12))
def test_nothing_small_is_left_but_what_stands_alone_in_nodata(labels: Labels, min_pixels: int) -> None:
    result = whole(labels, min_pixels)
    np.testing.assert_array_equal(result == NODATA, labels == NODATA)
    for _, _, pixels in small_faces(result, min_pixels, (), NODATA):
        assert borders(result, np.array(pixels), NODATA) == {}


@given(label_maps())
def test_one_pixel_is_always_enough_where_one_is_asked_for(labels: Labels) -> None:
    np.testing.assert_array_equal(whole(labels, 1), labels)


@pytest.mark.parametrize("label", [0, 3, NODATA])
def test_a_constant_stays_constant(label: int) -> None:
    labels = np.full((5, 7), label, np.uint8)
    np.testing.assert_array_equal(sieved(labels, 1_000, [0, 2, 5], [0, 3, 7]), labels)


def test_a_tie_goes_to_the_smaller_class() -> None:
    labels = np.repeat(np.array([[7, 5, 2]], np.uint8), [4, 1, 4], axis=1)
    assert whole(labels, 2).tolist() == [[7] * 4 + [2] * 5]
    assert sieved(labels, 2, [0, 1], [0, 4, 5, 9]).tolist() == [[7] * 4 + [2] * 5]


def test_the_whole_border_to_a_class_counts_not_the_longest_neighbour() -> None:
    labels = np.array([[1, 1, 1, 2, 2, 2], [0, 0, 4, 4, 0, 0], [2, 2, 2, 1, 1, 1], [2, 2, 2, 2, 2, 2]], np.uint8)
    labels[0], labels[2, 2:4] = 1, [2, 1]
    result = whole(labels, 3, keep=[0, 1, 2])
    assert result[1, 2:4].tolist() == [1, 1]


def test_the_smallest_face_goes_first_and_may_grow_into_one_that_stays() -> None:
    """The 3 joins the 2s first; together they are large, though neither was."""
    labels = np.array([[1, 1, 1, 1, 1], [2, 2, 3, 2, 2], [1, 1, 2, 1, 1]], np.uint8)
    assert whole(labels, 6, keep=[1]).tolist() == [[1, 1, 1, 1, 1], [2, 2, 2, 2, 2], [1, 1, 2, 1, 1]]


def test_a_united_face_comes_in_the_order_of_its_first_pixel() -> None:
    """Two faces of three pixels in the end, 3 and 0: which of them goes first decides."""
    labels = np.array([[2, 3, 1, 2], [3, 1, 0, 0]], np.uint8)
    np.testing.assert_array_equal(naive(labels, 5), np.zeros_like(labels))
    np.testing.assert_array_equal(whole(labels, 5), np.zeros_like(labels))


def test_a_face_is_measured_across_all_blocks() -> None:
    labels = np.zeros((3, 12), np.uint8)
    labels[1, 1:11] = 1
    np.testing.assert_array_equal(sieved(labels, 10, [0, 3], every(1, 12)), labels)
    np.testing.assert_array_equal(sieved(labels, 11, [0, 3], every(1, 12)), np.zeros_like(labels))


def test_classes_to_keep_stay_and_receive() -> None:
    labels = np.array([[1, 1, 1, 1], [1, 6, 5, 1], [1, 1, 1, 1]], np.uint8)
    labels[0, 2] = labels[2, 2] = labels[1, 3] = 6
    result = sieved(labels, 4, [0, 2, 3], [0, 2, 4], keep=[6])
    assert result[1, 2] == 6
    assert (result[labels == 6] == 6).all()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint32", "int64"])
def test_labels_of_any_integer_type_keep_their_type(dtype: str) -> None:
    labels = salted(np.random.default_rng(2), (20, 30))
    labels[3:5, 7:9] = 100
    expected = whole(labels, 9, nodata=100)
    result = sieved(labels.astype(dtype), 9, [0, 11, 20], [0, 13, 30], nodata=100)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)


def test_labels_beyond_32_bits_stay_apart() -> None:
    labels = salted(np.random.default_rng(2), (20, 30)).astype(np.int64)
    result = sieved(labels * 2**40 - 5, 9, [0, 11, 20], [0, 13, 30])
    np.testing.assert_array_equal(result, whole(labels, 9) * 2**40 - 5)


@pytest.mark.parametrize("nodata", [None, -1, 1_000])
def test_without_nodata_every_label_is_a_class(nodata: int | None) -> None:
    labels = salted(np.random.default_rng(4), (20, 30))
    labels[labels == 3] = 255
    expected = naive(labels, 7, nodata=-1)
    np.testing.assert_array_equal(sieved(labels, 7, [0, 8, 20], [0, 13, 30], nodata=nodata), expected)
    assert (expected == 255).any()


def test_labels_are_left_alone() -> None:
    labels = noise(np.random.default_rng(5), (12, 12))
    before = labels.copy()
    whole(labels, 9)
    np.testing.assert_array_equal(labels, before)


def test_surveys_and_fates_can_be_stored_as_arrays() -> None:
    def stored(item: Survey | Fates) -> Survey | Fates:
        arrays = item.to_arrays()
        assert all(array.dtype.kind == "i" for array in arrays.values())
        return type(item).from_arrays(pickle.loads(pickle.dumps(arrays)))

    labels = salted(np.random.default_rng(3), (40, 50))
    rows, cols = every(9, 40), every(11, 50)
    np.testing.assert_array_equal(sieved(labels, 12, rows, cols, store=stored), whole(labels, 12))


def test_an_inner_block_keeps_only_what_reaches_its_sides() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[4:6, 4:6], labels[0, 9], labels[9, 19] = 1, 2, 3
    one, fates = survey(labels, Window(20, 20, 20, 20), (60, 60), MappingUnit(9))
    assert sorted(one.faces.label.tolist()) == [0, 2, 3]
    assert sorted(one.faces.pixels.tolist()) == [1, 1, 9]
    assert sorted(one.faces.length.tolist()) == [3, 3]
    assert fates.which.tolist() == [1, 2, 3]
    assert (fates.face >= 0).tolist() == [True, False, True]
    assert fates.label[1] == 0


def test_what_is_large_already_is_decided_on_in_its_block() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[:, 5:] = 1
    one, fates = survey(labels, Window(10, 10, 10, 10), (30, 30), MappingUnit(50))
    assert one.faces.pixels.tolist() == [50, 50]
    assert len(one.faces.one) == len(fates.which) == 0


def test_nothing_is_united_across_a_block_that_is_missing() -> None:
    """A face beside the gap is as small as its own block says, and a face around it is whole."""
    labels = np.zeros((9, 9), np.uint8)
    labels[4, :] = 1
    cores = [Window(y, x, 3, 3) for y in (0, 3, 6) for x in (0, 3, 6) if (y, x) != (3, 3)]
    surveys, fates = zip(*(survey(labels[core.slices()], core, (9, 9), MappingUnit(4)) for core in cores), strict=True)
    merged, of_parts = merge(surveys, Window(0, 0, 9, 9))
    assert len(merged.faces) == 0
    for core, block, part in zip(cores, fates, of_parts, strict=True):
        settled = block.settled(part.settled(np.empty(0, np.int64)))
        assert not apply(labels[core.slices()], block, settled).any()


def test_a_graph_that_is_too_large_is_refused_with_a_remedy() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (64, 64)).astype(np.uint8)
    left, right = Window(0, 0, 64, 32), Window(0, 32, 64, 32)
    one, _ = survey(labels[left.slices()], left, (64, 64), MappingUnit(20))
    other, _ = survey(labels[right.slices()], right, (64, 64), MappingUnit(20))
    survey(labels[left.slices()], left, (64, 64), MappingUnit(20), max_bytes=one.nbytes)
    with pytest.raises(PlanError, match=r"smaller than min_area hang .* choose a smaller min_area"):
        survey(labels[left.slices()], left, (64, 64), MappingUnit(20), max_bytes=one.nbytes - 1)
    together = one.nbytes + other.nbytes
    merge([one, other], Window(0, 0, 64, 64), max_bytes=together)
    with pytest.raises(PlanError, match="filter the labels first"):
        merge([one, other], Window(0, 0, 64, 64), max_bytes=together - 1)


def test_surveys_that_do_not_fit_together_are_refused() -> None:
    def at(core: Window, shape: tuple[int, int] = (8, 8), min_pixels: int = 4) -> Survey:
        return survey(np.zeros(core.shape, np.uint8), core, shape, MappingUnit(min_pixels))[0]

    raster = Window(0, 0, 8, 8)
    with pytest.raises(BlockError, match="share a side"):
        merge([at(Window(0, 0, 8, 4)), at(Window(0, 4, 5, 4))], raster)
    with pytest.raises(BlockError, match="does not lie in"):
        merge([at(Window(0, 4, 8, 4))], Window(0, 0, 8, 4))
    with pytest.raises(BlockError, match="faces of 5 px"):
        merge([at(Window(0, 0, 8, 4)), at(Window(0, 4, 8, 4), min_pixels=5)], raster)
    with pytest.raises(BlockError, match=r"raster of \(8, 9\)"):
        merge([at(Window(0, 0, 8, 4)), at(Window(0, 4, 8, 4), (8, 9))], raster)
