"""A run as one picture: what is on it, where north is, how long the scale bar is, and how much memory it takes."""

from __future__ import annotations

import math
import re
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from geoseg.cli import main
from geoseg.errors import OutputError
from geoseg.raster import open_raster
from geoseg.report import write_preview
from geoseg.report.cartography import PAPER, draw_north, draw_polygons, draw_scale, length_name, nice_length
from geoseg.report.lettering import Lettering
from geoseg.report.record import RunRecord
from tests.folders import CLASSES, make_folder, smooth_labels

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "preview.jpg"

WATER, TREES, BUILT = (tuple(bytes.fromhex(color[1:])) for _, color in CLASSES.values())


def drawn(record: RunRecord, path: Path, **options: Any) -> NDArray[np.int64]:
    """The preview of a folder, int (y, x, 3)."""
    raster = open_raster(str(record.path / "scene.tif")) if (record.path / "scene.tif").exists() else None
    with Image.open(write_preview(record, lambda: raster, path, **options)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def is_color(picture: NDArray[np.int64], color: tuple[int, ...], within: int = 3) -> NDArray[np.bool_]:
    return (np.abs(picture - np.array(color)) <= within).all(axis=2)


def panels_of(picture: NDArray[np.int64]) -> list[tuple[slice, slice]]:
    """Where the panels are: the large regions that are not paper."""
    filled = ndimage.binary_closing(~is_color(picture, PAPER, 14), iterations=1)
    found = ndimage.find_objects(ndimage.label(filled)[0])
    least = picture.shape[0] * picture.shape[1] / 50
    return [place for place in found if (place[0].stop - place[0].start) * (place[1].stop - place[1].start) > least]


def test_a_preview_has_three_panels_of_one_size_at_the_width_that_is_chosen(tmp_path: Path) -> None:
    record = make_folder(tmp_path, smooth_labels((300, 400)))
    for width in (640, 1500):
        picture = drawn(record, tmp_path / "out.png", width=width)
        assert picture.shape[1] == width
        panels = panels_of(picture)
        assert len(panels) == 3
        sizes = {(place[0].stop - place[0].start, place[1].stop - place[1].start) for place in panels}
        assert len(sizes) == 1
        ((height, across),) = sizes
        assert height / across == pytest.approx(300 / 400, rel=0.02)


def test_labels_have_their_colours_where_they_lie_and_the_legend_has_them_too(tmp_path: Path) -> None:
    labels = smooth_labels((300, 400))
    picture = drawn(make_folder(tmp_path, labels), tmp_path / "out.png", width=1800)
    _, middle, _ = sorted(panels_of(picture), key=lambda place: place[1].start)
    panel = picture[middle]
    rows = (np.arange(300) + 0.5) / 300 * panel.shape[0]
    cols = (np.arange(400) + 0.5) / 400 * panel.shape[1]
    seen = panel[rows.astype(int)][:, cols.astype(int)]
    for value, color in enumerate((WATER, TREES, BUILT)):
        of_class = ndimage.binary_erosion(labels == value)
        assert is_color(seen, color)[of_class].all()
        below = is_color(picture, color)[middle[0].stop + 5 :]
        assert below.sum() > 150, "a spot in the legend"
    hole = ndimage.binary_erosion(labels == 255)
    assert not any(is_color(seen, color)[hole].any() for color in (WATER, TREES, BUILT))


def test_imagery_is_beside_the_labels_and_polygons_are_tinted_and_have_lines(tmp_path: Path) -> None:
    labels = smooth_labels((300, 400))
    picture = drawn(make_folder(tmp_path, labels), tmp_path / "out.png", width=1800)
    first, _, last = (picture[place] for place in sorted(panels_of(picture), key=lambda place: place[1].start))
    row, column = np.unravel_index(np.argmax(ndimage.distance_transform_edt(labels == 2)), labels.shape)
    place = int((row + 0.5) / 300 * first.shape[0]), int((column + 0.5) / 400 * first.shape[1])
    grey = first[place]
    assert len(set(grey)) == 1, "imagery of this folder is grey"
    np.testing.assert_allclose(last[place], 0.55 * grey + 0.45 * np.array(BUILT), atol=3)
    bright = ndimage.binary_erosion(first.min(axis=2) > 200)
    lines = bright & (last.sum(axis=2) < 300)
    assert 0.005 < lines.sum() / bright.sum() < 0.2, "boundaries are dark lines"


def test_a_raster_whose_rows_run_north_gives_the_same_picture(tmp_path: Path) -> None:
    labels = smooth_labels((300, 400))
    north_up = drawn(make_folder(tmp_path / "a", labels), tmp_path / "a.png")
    flipped = Affine(10, 0, 440_000, 0, 10, 4_200_000 - 3_000)
    south_up = drawn(make_folder(tmp_path / "b", labels[::-1].copy(), transform=flipped), tmp_path / "b.png")
    assert north_up.shape == south_up.shape
    assert (np.abs(north_up - south_up) > 30).any(axis=2).mean() < 0.005


@pytest.mark.parametrize("degrees", [0, 35, 90, 135, 180, 250, -60])
def test_the_arrow_points_north_and_its_letter_is_at_the_tip(degrees: float) -> None:
    picture = Image.new("RGB", (200, 200), PAPER)
    draw_north(picture, Lettering(picture, "N"), (100, 100), 120, degrees)
    with_letter = np.argwhere(np.asarray(picture)[..., 0] < 128)
    bare = Image.new("RGB", (200, 200), PAPER)
    draw_north(bare, _Silent(bare, "N"), (100, 100), 120, degrees)
    arrow = np.argwhere(np.asarray(bare)[..., 0] < 128)
    ahead = np.array([-math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])  # rows, columns
    along = (arrow - 100) @ ahead
    across = (arrow - 100) @ np.array([ahead[1], -ahead[0]])
    tip, tail = along > along.max() - 8, along < along.min() + 8
    assert np.ptp(across[tip]) < 0.5 * np.ptp(across[tail]), "narrow ahead, wide behind"
    letter = with_letter[((with_letter - 100) @ ahead) > along.max() + 2]
    assert len(letter) > 20
    assert abs(float(((letter - 100) @ np.array([ahead[1], -ahead[0]])).mean())) < 4


class _Places(Lettering):
    """Remembers where texts begin and end."""

    def __init__(self, picture: Image.Image, letters: str) -> None:
        super().__init__(picture, letters)
        self.spans: list[tuple[float, float]] = []

    def write(self, place: tuple[float, float], text: str, size: float, _color: Any, anchor: str = "ls") -> None:
        before = {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * self.width(text, size)
        self.spans.append((place[0] - before, place[0] - before + self.width(text, size)))


@given(room=st.floats(60, 500), pixel=st.floats(0.01, 1000), is_ground=st.booleans())
def test_lengths_beside_a_scale_bar_keep_apart(room: float, pixel: float, is_ground: bool) -> None:
    picture = Image.new("RGB", (1000, 100))
    places = _Places(picture, "0123456789 kmcpx.,")
    draw_scale(picture, places, 950, 20, room, pixel, is_ground=is_ground)
    spans = sorted(places.spans)
    space = places.width(" ", max(10.0, room / 14))
    if len(spans) > 2:
        assert all(after[0] - before[1] > 2 * space for before, after in pairwise(spans))


class _Silent(Lettering):
    def write(self, *_: Any, **__: Any) -> None:
        """Write nothing."""


@given(st.floats(1e-3, 1e7))
def test_a_nice_length_is_one_two_or_five_and_the_longest_that_fits(most: float) -> None:
    length = nice_length(most)
    mantissa = length / 10 ** math.floor(math.log10(length) + 1e-9)
    assert min(abs(mantissa - step) for step in (1, 2, 5)) < 1e-6
    assert 0.4 * most * (1 - 1e-6) <= length <= most * (1 + 1e-6)


@pytest.mark.parametrize(
    ("length", "name"), [(2000, "2 km"), (500, "500 m"), (0.2, "20 cm"), (1000, "1 km"), (1, "1 m")]
)
def test_lengths_are_written_in_a_unit_that_suits(length: float, name: str) -> None:
    assert length_name(length, is_ground=True) == name
    assert length_name(100, is_ground=False) == "100 px"


@given(st.floats(0.01, 5000), st.integers(120, 900))
def test_the_scale_bar_is_as_long_as_it_says(pixel: float, room: int) -> None:
    picture = Image.new("RGB", (1000, 120), PAPER)
    draw_scale(picture, Lettering(picture, "0123456789 kmc.,"), 950, 20, room, pixel, is_ground=True)
    dark = np.asarray(picture)[..., 0] < 60
    bar = np.flatnonzero(dark[-int(120 - 20 - max(10.0, room / 14) * 1.35) :].any(axis=0))
    long = int(bar[-1] - bar[0])
    assert bar[-1] == pytest.approx(950, abs=1.5)
    assert long * pixel == pytest.approx(nice_length(room * pixel), rel=3 / long)


def test_what_lies_in_a_hole_is_seen_whatever_is_drawn_first() -> None:
    ring = shapely.Polygon([(5, 5), (95, 5), (95, 95), (5, 95)], [[(10, 10), (90, 10), (90, 90), (10, 90)]])
    field = shapely.Polygon([(10, 10), (90, 10), (90, 90), (10, 90)])
    ground = Image.new("RGB", (100, 100), (128, 128, 128))
    for order in ([field, ring], [ring, field]):
        colors = [BUILT if polygon is field else WATER for polygon in order]
        picture = draw_polygons(ground, np.array(order), colors, (1, 1), line=1.0, tint=1.0)
        assert picture.getpixel((50, 50)) == BUILT
        assert picture.getpixel((7, 50)) == WATER
        assert picture.getpixel((2, 2)) == (128, 128, 128)


def test_turned_rasters_have_their_arrow_turned(tmp_path: Path) -> None:
    turned = Affine.translation(500_000, 4_200_000) @ Affine.rotation(90) @ Affine.scale(10, -10)
    labels = smooth_labels((300, 400))
    straight = drawn(make_folder(tmp_path / "a", labels, imagery=False), tmp_path / "a.png", width=1800)
    aside = drawn(make_folder(tmp_path / "b", labels, transform=turned, imagery=False), tmp_path / "b.png", width=1800)
    below = max(place[0].stop for place in panels_of(straight)) + 5
    marks = [(picture[below:, -120:].sum(axis=2) < 300) for picture in (straight, aside)]
    spans = [[np.ptp(axis) for axis in np.nonzero(ndimage.binary_opening(mark, iterations=1))] for mark in marks]
    assert spans[0][0] > 1.5 * spans[0][1], "upright"
    assert spans[1][1] > 1.5 * spans[1][0], "lying"


@pytest.mark.parametrize(("shape", "panels"), [((120, 900), 3), ((900, 60), 3), ((9, 11), 3)])
def test_rasters_of_every_shape_fit(shape: tuple[int, int], panels: int, tmp_path: Path) -> None:
    labels = np.arange(shape[0] * shape[1]).reshape(shape) // max(3, shape[1] // 3) % 3
    picture = drawn(make_folder(tmp_path, labels.astype(np.uint8)), tmp_path / "out.png", width=900)
    assert picture.shape[1] == 900
    assert picture.shape[0] < 2.2 * 900
    assert len(panels_of(picture)) == panels


def test_objects_have_edges_and_are_counted(tmp_path: Path) -> None:
    labels, instances = np.full((120, 160), 255, np.uint8), np.zeros((120, 160), np.uint32)
    for number in range(6):
        labels[20:100, 10 + number * 22 : 32 + number * 22], instances[20:100, 10 + number * 22 : 32 + number * 22] = (
            2,
            number + 1,
        )
    picture = drawn(make_folder(tmp_path, labels, instances=instances, imagery=False), tmp_path / "out.png", width=1600)
    panel = picture[sorted(panels_of(picture), key=lambda place: place[1].start)[0]]
    line = panel[panel.shape[0] // 2]
    assert ndimage.label(line.sum(axis=1) < 150)[1] >= 7, "six objects that touch have seven edges"


def test_without_imagery_or_polygons_there_are_fewer_panels(tmp_path: Path) -> None:
    labels = smooth_labels((300, 400))
    assert len(panels_of(drawn(make_folder(tmp_path / "a", labels, imagery=False), tmp_path / "a.png"))) == 2
    assert len(panels_of(drawn(make_folder(tmp_path / "b", labels, features=None), tmp_path / "b.png"))) == 2


def test_memory_depends_on_the_picture_and_not_on_the_raster(tmp_path: Path) -> None:
    peaks = []
    for name, side in (("small", 700), ("large", 5600)):
        labels = np.kron(smooth_labels((140, 140)), np.ones((side // 140,) * 2, np.uint8))
        record = make_folder(tmp_path / name, labels, imagery=False)
        drawn(record, tmp_path / "warm.png", width=600)
        tracemalloc.start()
        drawn(record, tmp_path / "out.png", width=600)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 2**20
    assert peaks[1] < 5600 * 5600 / 2, "less than half a byte a pixel"


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.webp"])
def test_a_picture_is_written_in_the_format_of_its_ending(name: str, tmp_path: Path) -> None:
    record = make_folder(tmp_path, smooth_labels((100, 130)))
    assert drawn(record, tmp_path / name, width=700, title="Käse 東", credit="© ESA").shape[1] == 700
    with Image.open(tmp_path / name) as picture:
        assert picture.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[name.split(".")[1]]


def test_a_picture_that_cannot_be_is_refused_in_one_sentence(tmp_path: Path) -> None:
    record = make_folder(tmp_path, smooth_labels((100, 130)), imagery=False)
    with pytest.raises(OutputError, match=r"ending '\.gif'.*\.png"):
        write_preview(record, lambda: None, tmp_path / "out.gif")
    with pytest.raises(OutputError, match=r"20 px wide.*from 400 to 8000"):
        write_preview(record, lambda: None, tmp_path / "out.png", width=20)
    with pytest.raises(OutputError, match="cannot be written"):
        write_preview(record, lambda: None, record.labels / "out.png", width=600)


@pytest.mark.filterwarnings("default::geoseg.errors.GeosegWarning")
def test_the_command_draws_a_run_and_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = make_folder(tmp_path, smooth_labels((100, 130)))
    assert main(["preview", str(record.path), str(tmp_path / "out.png"), "--width", "640"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "out.png")
    assert "note: the imagery of" in said.err, "the model of this folder is in no catalog"
    assert main(["preview", str(tmp_path / "nowhere"), str(tmp_path / "out.png")]) == 3


def test_words_that_are_too_long_are_shortened_in_the_middle() -> None:
    lettering = Lettering(Image.new("RGB", (1, 1)), "abcdefghijklmnopqrstuvwxyz ")
    text = "a very long name of a scene that nobody would read"
    short = lettering.fitted(text, 20, 200)
    assert lettering.width(short, 20) <= 200
    assert re.fullmatch(r"a very.*\.\.\..*read", short)
    assert lettering.fitted("short", 20, 200) == "short"


def test_the_readme_shows_the_picture_that_the_demo_draws() -> None:
    assert PICTURE.stat().st_size <= 400_000
    with Image.open(PICTURE) as picture:
        assert picture.size[0] == 1800
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    assert "docs/preview.jpg" in readme
    assert "contains modified Copernicus Sentinel data 2016" in readme
    assert re.search(r"^demo:.*(?:\n\t.*)*geoseg preview .*/land_use", makefile, re.MULTILINE)


def test_labels_of_the_picture_in_the_readme_are_those_of_the_shipped_scene() -> None:
    """Water in the east, woods and fields in the west, as the map of the Delmarva scene has it."""
    with Image.open(PICTURE) as opened:
        picture = np.asarray(opened.convert("RGB")).astype(int)
    panel = picture[sorted(panels_of(picture), key=lambda place: place[1].start)[1]]
    height, width = panel.shape[:2]
    blue = is_color(panel, (0x41, 0x9B, 0xDF), 25)
    assert blue[:, int(0.9 * width) :].mean() > 0.8
    assert blue[:, : int(0.3 * width)].mean() < 0.15
    assert height / width == pytest.approx(1216 / 1472, rel=0.01)
