"""Bands are found by what they show, or the error says what the file has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoseg.errors import BandError, RasterError
from geoseg.grid import Window
from geoseg.models.spec import Band
from geoseg.raster import open_raster
from tests.rasters import noise, write_raster

SENTINEL = [Band("B02", "blue"), Band("B03", "green"), Band("B04", "red"), Band("B08", "nir")]


def found(path: Path, bands: list[Band | str | int] | None) -> list[int]:
    """Return which bands of a file of constant bands 1, 2, 3, ... were read."""
    raster = open_raster(path, bands=bands)
    return raster.read(Window(0, 0, 1, 1))[0].ravel().astype(int).tolist()


def numbered(path: Path, count: int, **keywords: object) -> Path:
    pixels = np.arange(1, count + 1, dtype=np.uint16)[:, np.newaxis, np.newaxis] * np.ones((4, 5), np.uint16)
    return write_raster(path, pixels, **keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "descriptions",
    [
        ["B2", "B3", "B4", "B8"],
        ["B02", "B03", "B04", "B08"],
        ["b2", "b_3", "B 4", "B08"],
        ["blue", "green", "red", "nir"],
        ["Blue", "Green", "Red", "Near Infrared"],
        ["B2, blue", "B3, green", "B4, red", "B8, nir"],
        ["B02 (490 nm)", "B03 (560 nm)", "B04 (665 nm)", "B08 (842 nm)"],
    ],
)
def test_bands_of_a_model_are_found_under_every_usual_spelling(tmp_path: Path, descriptions: list[str]) -> None:
    shuffled = [descriptions[i] for i in (3, 0, 2, 1)]
    path = numbered(tmp_path / "scene.tif", 4, descriptions=shuffled)
    assert found(path, [*SENTINEL]) == [2, 4, 3, 1]


def test_b8_and_b8a_are_two_bands(tmp_path: Path) -> None:
    path = numbered(tmp_path / "scene.tif", 3, descriptions=["B8A", "B8", "B11"])
    assert found(path, ["B08", "B8A", "swir16"]) == [2, 1, 3]


def test_a_red_edge_band_is_not_taken_for_red(tmp_path: Path) -> None:
    path = numbered(tmp_path / "scene.tif", 2, descriptions=["Red Edge 1", "Red"])
    assert found(path, ["red", "rededge071"]) == [2, 1]
    with pytest.raises(BandError, match="'red'"):
        open_raster(numbered(tmp_path / "edge.tif", 1, descriptions=["Red Edge 1"]), bands=["red"])


def test_colour_interpretation_names_the_bands(tmp_path: Path) -> None:
    path = numbered(tmp_path / "bgr.tif", 4, colorinterp=["blue", "green", "red", "nir"])
    assert found(path, [Band("R", "red"), Band("G", "green"), Band("B", "blue")]) == [3, 2, 1]
    assert found(path, [*SENTINEL]) == [1, 2, 3, 4]


def test_unnamed_bands_are_taken_in_order_when_the_number_fits(tmp_path: Path) -> None:
    path = numbered(tmp_path / "plain.tif", 4, descriptions=["Band 1", "Band 2", "Band 3", "Band 4"])
    assert found(path, [*SENTINEL]) == [1, 2, 3, 4]
    assert open_raster(path, bands=SENTINEL).bands == ("B02", "B03", "B04", "B08")


def test_numbers_choose_bands_and_their_order_repeats_allowed(tmp_path: Path) -> None:
    path = numbered(tmp_path / "scene.tif", 4, descriptions=["B2", "B3", "B4", "B8"])
    assert found(path, [4, 1, 1]) == [4, 1, 1]
    assert open_raster(path, bands=[4, 1]).bands == ("B8", "B2")


def test_all_bands_but_alpha_are_read_by_default(tmp_path: Path) -> None:
    path = numbered(tmp_path / "rgba.tif", 4, colorinterp=["red", "green", "blue", "alpha"])
    assert found(path, None) == [1, 2, 3]
    assert open_raster(path).bands == ("red", "green", "blue")


def test_an_alpha_band_chosen_by_number_is_data_and_no_mask(tmp_path: Path) -> None:
    pixels = np.stack([np.full((2, 2), 7, np.uint8), np.array([[0, 1], [2, 255]], np.uint8)])
    path = write_raster(tmp_path / "data.tif", pixels, colorinterp=["gray", "alpha"])
    read, mask = open_raster(path, bands=[1, 2]).read(Window(0, 0, 2, 2))
    assert mask.all()
    assert np.array_equal(read, pixels)


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ([*SENTINEL], r"'B02' \(blue\).*3 bands: 1, 2, 3.*4 .*are needed; give imagery with 4 bands"),
        ([4], "does not have the band 4"),
        ([0], "does not have the band 0"),
        ([], "no band"),
    ],
)
def test_missing_bands_are_one_sentence_with_what_there_is(
    tmp_path: Path, bands: list[Band | str | int], message: str
) -> None:
    path = numbered(tmp_path / "three.tif", 3)
    with pytest.raises(BandError, match=message) as caught:
        open_raster(path, bands=bands)
    assert "\n" not in str(caught.value)


def test_a_name_that_fits_two_bands_is_an_error(tmp_path: Path) -> None:
    path = numbered(tmp_path / "two.tif", 2, descriptions=["red, morning", "red, evening"])
    with pytest.raises(BandError, match="2 bands called the band 'red'"):
        open_raster(path, bands=["red"])


def test_bands_of_several_types_are_read_in_their_common_type(tmp_path: Path) -> None:
    low = write_raster(tmp_path / "low.tif", noise(1, 3, 3, "uint8"))
    high = write_raster(tmp_path / "high.tif", np.full((1, 3, 3), -300, np.int16))
    raster = open_raster({"low": low, "high": high})
    read, _ = raster.read(Window(0, 0, 3, 3))
    assert raster.dtype == read.dtype == np.int16
    assert (read[1] == -300).all()


def test_complex_values_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "sar.tif", np.ones((1, 3, 3), np.complex64))
    with pytest.raises(RasterError, match=r"complex64 .* amplitude"):
        open_raster(path)


def test_bands_that_are_taken_in_order_are_told(tmp_path: Path) -> None:
    pixels = np.zeros((4, 8, 8), np.uint16)
    unnamed = write_raster(tmp_path / "unnamed.tif", pixels)
    raster = open_raster(str(unnamed), bands=["B02", "B03", "B04", "B08"])
    assert raster.notes == [
        f"'{unnamed}': it names no band, so its bands are taken in order as 'B02', 'B03', 'B04', 'B08'; give bands if "
        "they are others"
    ]
    assert open_raster(str(unnamed), bands=[1, 2, 3, 4]).notes == []
    named = write_raster(tmp_path / "named.tif", pixels, descriptions=("B02", "B03", "B04", "B08"))
    assert open_raster(str(named), bands=["B02", "B03", "B04", "B08"]).notes == []


@pytest.mark.parametrize(
    "names", [["2020-01-01", "2020-02-01", "2020-03-01"], ["2019", "2020", "2021"], ["0.1", "0.2", "0.3"]]
)
def test_dates_and_quantities_are_no_numbers_of_bands(tmp_path: Path, names: list[str]) -> None:
    """What was seen at three times is not red, green and blue."""
    path = numbered(tmp_path / "series.tif", 3, descriptions=names)
    with pytest.raises(BandError, match=f"does not have the band 'red': it has 3 bands: 1 \\({names[0]}\\)"):
        open_raster(path, bands=["red", "green", "blue"])
    assert found(path, [3, 2, 1]) == [3, 2, 1]
    counted = numbered(tmp_path / "counted.tif", 3, descriptions=["Band 1", "2", "band_003"])
    assert found(counted, ["red", "green", "blue"]) == [1, 2, 3]
