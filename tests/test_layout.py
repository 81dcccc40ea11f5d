"""A run as a map on paper: what PDF and SVG hold by other readers, its scale, its graticule, and what is refused."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from pyproj import CRS, Transformer
from scipy import ndimage

from geoseg.cli import main
from geoseg.raster import open_raster
from geoseg.report import write_layout
from geoseg.report.framing import Frame
from geoseg.report.graticule import MINUTE, SECOND, Graticule, name_degrees
from geoseg.report.layout import DPI
from geoseg.report.record import RunRecord
from tests.folders import CLASSES, make_folder, smooth_labels

COLORS = np.array([tuple(bytes.fromhex(color[1:])) for _, color in CLASSES.values()])


def laid_out(record: RunRecord, path: Path, layout: str = "a4", **options: Any) -> Path:
    scene = record.path / "scene.tif"
    return write_layout(record, lambda: open_raster(str(scene)) if scene.exists() else None, path, layout, **options)


def rendered(path: Path) -> np.ndarray:
    """The page of a PDF as pdfium draws it with `DPI` px an inch, int (y, x, 3)."""
    with pypdfium2.PdfDocument(path) as document:
        assert len(document) == 1
        return np.asarray(document[0].render(scale=DPI / 72).to_pil().convert("RGB")).astype(int)


def text_of(path: Path) -> str:
    with pypdfium2.PdfDocument(path) as document:
        return str(document[0].get_textpage().get_text_range())


def map_on(page: np.ndarray) -> tuple[slice, slice]:
    """Where the map is: the largest region that is not paper."""
    found = ndimage.find_objects(ndimage.label(page.min(axis=2) < 240)[0])
    return max(found, key=lambda place: (place[0].stop - place[0].start) * (place[1].stop - place[1].start))


@pytest.mark.parametrize("shape", [(300, 400), (400, 260)])
def test_a_layout_in_pdf_has_every_pixel_in_its_place_and_says_its_scale(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    labels = smooth_labels(shape)
    record = make_folder(tmp_path / "run", labels)
    path = laid_out(record, tmp_path / "map.pdf", credit="Imagery by Example", title="Wetlands")
    page = rendered(path)
    assert sorted(page.shape[:2]) == pytest.approx([2480, 3508], abs=1), "A4"
    assert (page.shape[0] > page.shape[1]) == (shape[0] > shape[1]), "upright or across as the raster is"

    rows, columns = map_on(page)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    assert height / width == pytest.approx(shape[0] / shape[1], rel=0.01)
    at = np.ix_(
        rows.start + ((np.arange(shape[0]) + 0.5) / shape[0] * height).astype(int),
        columns.start + ((np.arange(shape[1]) + 0.5) / shape[1] * width).astype(int),
    )
    seen = page[at]
    for value, color in enumerate(COLORS):
        inside = ndimage.binary_erosion(labels == value, iterations=2)
        alike = (np.abs(seen - color) <= 4).all(axis=2)[inside]
        assert alike.mean() > 0.97, "all but the lines of the graticule"
        assert not alike.all() or not inside.any(), "lines there are"

    text = text_of(path)
    for expected in (
        "Wetlands",
        "Imagery by Example",
        "open water",
        "WGS 84 / UTM zone 18N (EPSG:32618)",
        "Mapped with",
    ):
        assert expected in text
    scale = float(re.search(r"Scale about 1:([\d,]+) on A4", text)[1].replace(",", ""))
    assert scale == pytest.approx(shape[1] * 10 / (width / DPI * 0.0254), rel=0.01)


def test_a_layout_in_svg_keeps_text_and_its_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    record = make_folder(tmp_path / "run", smooth_labels((120, 160)))
    for name in ("a.svg", "b.pdf"):
        path = tmp_path / name
        first = laid_out(record, path, layout="a3").read_bytes()
        assert laid_out(record, path, layout="a3").read_bytes() == first
    svg = (tmp_path / "a.svg").read_text()
    words = re.findall(r"<text[^>]*>([^<]+)</text>", svg)
    assert {"open water", "trees", "built", "N"} <= {word.strip() for word in words}
    assert any(
        re.fullmatch(rf"75°\d\d{MINUTE}\d\d{SECOND}W", word) or re.fullmatch(rf"75°\d\d{MINUTE}W", word)
        for word in words
    ), words


def test_a_layout_of_classes_reads_no_imagery(tmp_path: Path) -> None:
    record = make_folder(tmp_path / "run", smooth_labels((60, 80)))
    write_layout(record, lambda: pytest.fail("the imagery is read"), tmp_path / "map.svg", "a4")


@pytest.mark.slow
def test_a_layout_in_png_is_as_large_as_its_paper_and_shows_what_is_asked_for(tmp_path: Path) -> None:
    record = make_folder(tmp_path / "run", smooth_labels((120, 160)))
    shown = {}
    for show in ("classes", "imagery", "polygons"):
        with Image.open(laid_out(record, tmp_path / "map.png", layout="letter", show=show)) as picture:
            assert picture.size == (3300, 2550)
            shown[show] = np.asarray(picture.convert("RGB")).astype(int)
    places = {show: map_on(page) for show, page in shown.items()}
    assert places["classes"] == places["imagery"] == places["polygons"]
    assert len({page[places["classes"]].tobytes() for page in shown.values()}) == 3


def test_objects_are_shown_as_polygons_and_a_long_legend_says_how_many_are_left_out(tmp_path: Path) -> None:
    instances = np.zeros((120, 160), np.uint32)
    instances[30:60, 40:90], instances[80:100, 40:90] = 1, 2
    labels = np.where(instances, 2, 0).astype(np.uint8)
    record = make_folder(tmp_path / "objects", labels, instances=instances)
    chosen = laid_out(record, tmp_path / "objects.png", layout="a4").read_bytes()
    assert chosen == laid_out(record, tmp_path / "again.png", layout="a4", show="polygons").read_bytes()

    classes = {value: (f"class {value}", f"#{value * 6:02x}8040") for value in range(30)}
    many = np.repeat(np.repeat(np.arange(30, dtype=np.uint8).reshape(5, 6), 20, 0), 20, 1)
    record = make_folder(tmp_path / "many", many, classes=classes, crs="EPSG:3857")
    assert "and 9 more" in text_of(laid_out(record, tmp_path / "many.pdf"))


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32618", Affine(10, 0, 440_000, 0, -10, 4_180_000)),
        ("EPSG:3857", Affine(0.3, 0, -8_426_000, 0, -0.3, 4_530_000)),
        ("EPSG:4326", Affine(0.25, 0, 170, 0, -0.25, 60)),  # over the antimeridian
        ("EPSG:3035", Affine(2000, 0, 4_000_000, 0, -2000, 3_500_000)),
        ("EPSG:32733", Affine(30, 0, 300_000, 0, 30, 7_000_000)),  # rows run north
    ],
)
def test_labels_of_a_graticule_stand_where_pyproj_finds_their_degrees(crs: str, transform: Affine) -> None:
    box = GeoBox((300, 400), transform, crs)
    frame = Frame.of(box, side=1000)
    graticule = Graticule.of(frame, 200)
    assert graticule is not None
    to_earth = Transformer.from_crs(CRS(crs), CRS(crs).geodetic_crs, always_xy=True)
    for kind, edge in ((0, lambda at: (at, 300)), (1, lambda at: (0, at))):
        labels = graticule.labels(kind)
        assert 1 <= len(labels) <= 8
        for at, text in labels:
            degrees = to_earth.transform(*(frame.transform @ edge(at)))[kind]
            parts = [float(part) for part in re.findall(r"[\d.]+", text)]
            named = sum(part / 60**number for number, part in enumerate(parts)) * (-1 if text[-1] in "WS" else 1)
            span = np.ptp(graticule.places[kind])
            assert (named - degrees + 180) % 360 - 180 == pytest.approx(0, abs=span * 2e-3), text


def test_there_is_no_graticule_without_an_ellipsoid_or_around_a_pole(tmp_path: Path) -> None:
    polar = GeoBox((300, 300), Affine(10_000, 0, -1_500_000, 0, -10_000, 1_500_000), "EPSG:3413")
    assert Graticule.of(Frame.of(polar, side=500), 200) is None
    record = make_folder(
        tmp_path / "run", smooth_labels((120, 160)), crs=None, transform=Affine.identity(), imagery=False
    )
    text = text_of(laid_out(record, tmp_path / "map.pdf"))
    assert "°" not in text
    assert "Scale" not in text
    assert "px" in text


@pytest.mark.parametrize(
    ("degrees", "step", "letters", "text"),
    [
        (-75.5, 1800, "EW", f"75°30{MINUTE}W"),
        (190.0, 3600, "EW", "170°W"),
        (0.0, 3600, "NS", "0°"),
        (37 + 59 / 60 + 59.96 / 3600, 1.0, "NS", f"38°00{MINUTE}00{SECOND}N"),
        (12 + 30.2 / 3600, 0.2, "EW", f"12°00{MINUTE}30.2{SECOND}E"),
        (180.0, 3600, "EW", "180°"),
    ],
)
def test_degrees_are_named_as_finely_as_lines_are_apart(degrees: float, step: float, letters: str, text: str) -> None:
    assert name_degrees(degrees, step, letters) == text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["map.tif", "--layout", "a4"],
            "a layout cannot be written as 'map.tif'; its ending is one of .pdf, .svg, .png.",
        ),
        (["map.pdf", "--width", "900"], "a layout is as wide as its paper (a4); leave out width: 900."),
        (["map.jpg", "--show", "classes"], "show: classes is of layouts only; add layout: a4, or leave it out."),
        (["map.pdf", "--show", "polygons"], "the run run has no polygons to show; choose classes."),
    ],
)
def test_what_a_layout_cannot_be_is_said_in_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path / "run", smooth_labels((80, 120)), features=None)
    monkeypatch.chdir(tmp_path)
    assert main(["preview", "run", *words]) != 0
    assert " ".join(capsys.readouterr().err.split()).endswith(sentence)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_without_matplotlib_the_sentence_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_folder(tmp_path / "run", smooth_labels((80, 120)))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["preview", str(record.path), str(tmp_path / "map.pdf")]) == 5
    sentence = "layouts are drawn with Matplotlib, which is not installed; pip install 'geoseg[layout]'."
    assert " ".join(capsys.readouterr().err.split()) == sentence
