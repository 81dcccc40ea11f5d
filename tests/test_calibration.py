"""What a network receives beside NumPy on the same pixels, however imagery says what its numbers mean."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg import Band, open_imagery
from geoseg.cli import main
from geoseg.errors import BandError, RasterError, WorkflowError
from geoseg.grid import Window
from geoseg.imagery.adding import add_imagery
from geoseg.raster import open_raster
from geoseg.raster.calibration import Calibration, conversion
from geoseg.workflow.settings import read_workflow
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster
from tests.stac import collection_of, write_json, write_scene

REFLECTANCE = (0.0001, 0.0)
"""Units of a model of reflectance x 10,000."""

SAFE = "S2B_MSIL2A_20240601T155901_N0510_R097_T18SVG_20240601T200000.SAFE"
TILE = "T18SVG_20240601T155901"
METADATA = """<n1:Level-2A_User_Product><General_Info><Product_Image_Characteristics>
<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>{nodata}</SPECIAL_VALUE_INDEX></Special_Values>
<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>
<BOA_ADD_OFFSET_VALUES_LIST><BOA_ADD_OFFSET band_id="3">{offset}</BOA_ADD_OFFSET></BOA_ADD_OFFSET_VALUES_LIST>
<Spectral_Information_List><Spectral_Information bandId="3" physicalBand="B4"/></Spectral_Information_List>
</Product_Image_Characteristics></General_Info></n1:Level-2A_User_Product>"""  # noqa: E501

numbers = st.floats(-1e4, 1e4, allow_nan=False).filter(lambda value: abs(value) > 1e-3 or value == 0)


def read(input: Any, **words: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:  # noqa: A002
    raster = open_imagery(str(input) if isinstance(input, Path) else input, **words)
    return raster.read(Window(0, 0, *raster.shape))


def write_declaring(path: Path, pixels: NDArray[Any], scale: float, offset: float, **more: Any) -> Path:
    """A file whose bands declare scale and offset in GDAL's way."""
    write_raster(path, pixels, **more)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [scale] * file.count, [offset] * file.count
    return path


@given(st.tuples(numbers.filter(bool), numbers), st.tuples(numbers.filter(bool), numbers), numbers)
def test_a_converted_number_means_what_the_number_meant(
    declared: tuple[float, float], wanted: tuple[float, float], number: float
) -> None:
    gain, shift = conversion(declared, wanted)
    meaning = declared[0] * number + declared[1]
    close = 1e-6 * (1 + abs(wanted[0])) + 1e-9 * abs(meaning) + 1e-12 * abs(number * wanted[0])
    assert math.isclose(wanted[0] * (gain * number + shift) + wanted[1], meaning, rel_tol=1e-6, abs_tol=close)


def test_a_file_of_landsats_declared_reflectance_becomes_reflectance_x_10000(tmp_path: Path) -> None:
    stored = noise(2, 40, 50, "uint16")
    path = write_declaring(tmp_path / "a.tif", stored, 0.0000275, -0.2)
    pixels, mask = read(path, units=[REFLECTANCE, REFLECTANCE])
    assert pixels.dtype == np.float32
    assert mask.all()
    np.testing.assert_allclose(pixels, stored * 0.275 - 2000, rtol=1e-6, atol=1e-3)


def test_a_model_of_reflectance_reads_digital_numbers_as_reflectance(tmp_path: Path) -> None:
    stored = noise(1, 20, 20, "uint16")
    path = write_declaring(tmp_path / "a.tif", stored, 0.0001, -0.1)
    np.testing.assert_allclose(read(path, units=[(1, 0)])[0], stored * 0.0001 - 0.1, atol=1e-6)


def test_an_offset_alone_keeps_whole_numbers_and_stops_at_zero(tmp_path: Path) -> None:
    stored = np.array([[1, 999, 1000, 1001, 65535]], np.uint16)
    path = write_declaring(tmp_path / "a.tif", stored, 0.0001, -0.1)
    pixels, _ = read(path, units=[REFLECTANCE])
    assert pixels.dtype == np.uint16
    assert pixels.tolist() == [[[0, 0, 0, 1, 64535]]]


def test_what_a_file_declares_is_left_alone_where_nobody_says_what_is_wanted(tmp_path: Path) -> None:
    stored = noise(1, 20, 20, "uint16")
    path = write_declaring(tmp_path / "a.tif", stored, 0.0001, -0.1)
    np.testing.assert_array_equal(read(path)[0], stored)
    np.testing.assert_array_equal(read(path, units=[None])[0], stored)
    np.testing.assert_array_equal(read(path, units=[REFLECTANCE], scale=1)[0], stored)


def test_scale_and_offset_of_a_person_replace_what_is_declared(tmp_path: Path) -> None:
    stored = noise(1, 20, 20, "float32")
    path = write_declaring(tmp_path / "a.tif", stored, 0.5, 3)
    np.testing.assert_allclose(read(path, units=[REFLECTANCE], scale=10_000)[0], stored * 10_000, rtol=1e-6)
    np.testing.assert_allclose(read(path, scale=2, offset=-7)[0], stored * 2 - 7, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(read(path, offset=-7)[0], stored - 7, rtol=1e-6, atol=1e-4)


def test_each_file_counts_by_its_own_scale(tmp_path: Path) -> None:
    pixels = np.full((10, 10), 4000, np.uint16)
    write_declaring(tmp_path / "a.tif", pixels, 0.0001, 0.0)
    moved = Affine(10, 0, TEN_METRES.c + 100, 0, -10, TEN_METRES.f)
    write_declaring(tmp_path / "b.tif", pixels, 0.0001, -0.1, transform=moved)
    found, _ = read(tmp_path, units=[REFLECTANCE])
    assert (np.unique(found[0, :, :10]), np.unique(found[0, :, 10:])) == ([4000], [3000])


def test_a_file_without_a_scale_beside_one_that_has_one_is_pointed_out(tmp_path: Path) -> None:
    pixels = np.full((10, 10), 4000, np.uint16)
    write_declaring(tmp_path / "a.tif", pixels, 0.0001, -0.1)
    moved = Affine(10, 0, TEN_METRES.c + 100, 0, -10, TEN_METRES.f)
    write_raster(tmp_path / "b.tif", pixels, transform=moved)
    given = {"calibration": Calibration(units=(REFLECTANCE,))}
    (note,) = open_raster(tmp_path, **given).notes
    assert note == (
        f"'{tmp_path / 'b.tif'}': declares no scale and is read as it is stored, unlike '{tmp_path / 'a.tif'}'; give "
        "files of one kind, or --scale."
    )
    assert open_raster(tmp_path, calibration=Calibration(scale=1, units=(REFLECTANCE,))).notes == []
    assert open_raster(tmp_path).notes == []
    (tmp_path / "a.tif").unlink()
    assert open_raster(tmp_path, **given).notes == []


def test_files_of_two_scales_are_pointed_out_where_the_model_declares_none(tmp_path: Path) -> None:
    pixels = np.full((10, 10), 4000, np.uint16)
    write_declaring(tmp_path / "a.tif", pixels, 0.0001, 0.0)
    for number, scale in enumerate((0.0001, 0.001, None), start=1):
        moved = Affine(10, 0, TEN_METRES.c + 100 * number, 0, -10, TEN_METRES.f)
        if scale is None:
            write_raster(tmp_path / f"{number}.tif", pixels, transform=moved)
        else:
            write_declaring(tmp_path / f"{number}.tif", pixels, scale, 0.0, transform=moved)
    files = [tmp_path / f"{name}.tif" for name in "a123"]
    notes = open_raster(files, calibration=Calibration()).notes
    assert [note.split(":")[0] for note in notes] == [f"'{files[2]}'", f"'{files[3]}'"]
    assert notes[0].endswith(
        f": declares another scale than '{files[0]}', and the model declares none, so that both are read as they are "
        "stored; give files of one scale, or scale: 1 where it is meant so."
    )
    assert open_raster(files, calibration=Calibration(scale=1)).notes == []


def test_each_scene_of_a_catalog_of_ones_own_counts_by_its_own_scale(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    folder.mkdir()
    pixels = np.full((10, 10), 8000, np.uint16)
    write_declaring(folder / "a_B04.tif", pixels, 0.0001, 0.0, descriptions=["red"])
    moved = Affine(10, 0, TEN_METRES.c + 100, 0, -10, TEN_METRES.f)
    write_declaring(folder / "b_B04.tif", pixels, 0.0000275, -0.2, transform=moved, descriptions=["red"])
    catalog = add_imagery(folder, name="mine", home=tmp_path / "home")
    found, _ = read(catalog, bands=["red"], units=[REFLECTANCE])
    assert np.unique(found).tolist() == [pytest.approx(0.275 * 8000 - 2000), 8000]


def test_a_catalog_that_says_the_baseline_alone_has_its_offset_taken_off(tmp_path: Path) -> None:
    items = []
    for number, (baseline, more) in enumerate(
        (("02.14", {}), ("05.09", {}), ("05.09", {"sentinel:boa_offset_applied": True}))
    ):
        corner = (440_000.0 + 300 * number, 4_200_000.0)
        properties = {"s2:processing_baseline": baseline, **more}
        bands = {"B04": np.full((30, 30), 3000, np.uint16)}
        items.append(write_scene(tmp_path, f"s{number}", bands, corner=corner, properties=properties))
    found, _ = read(write_json(tmp_path / "items.json", collection_of(*items)), bands=["red"], units=[REFLECTANCE])
    assert found[0, 0, ::30].tolist() == [3000, 2000, 3000]
    asis, _ = read(tmp_path / "items.json", bands=["red"], units=[REFLECTANCE], scale=1)
    assert np.unique(asis).tolist() == [3000]


def sentinel_folder(folder: Path, metadata: str | None) -> Path:
    """The 10 m bands of a Sentinel-2 product, with a swath's edge, and the picture beside them."""
    home = folder / SAFE / "GRANULE" / "L2A_T18SVG_A037000_20240601T160000" / "IMG_DATA" / "R10m"
    home.mkdir(parents=True)
    lossless = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    for band, value in (("B02", 1300), ("B03", 1500), ("B04", 1700), ("B08", 3100), ("AOT", 90)):
        pixels = np.full((64, 64), value, np.uint16)
        pixels[:, :20] = 0
        write_raster(home / f"{TILE}_{band}_10m.jp2", pixels, **lossless)
    write_raster(home / f"{TILE}_TCI_10m.jp2", np.full((3, 64, 64), 90, np.uint8), **lossless)
    if metadata is not None:
        (folder / SAFE / "MTD_MSIL2A.xml").write_text(metadata)
    return home


VISIBLE = [Band("B04", "red"), Band("B08", "nir")]


@pytest.mark.parametrize(
    ("metadata", "red"),
    [(METADATA.format(nodata=0, offset=-1000), 700), (METADATA.format(nodata=0, offset=-500), 1200), (None, 700)],
)
def test_a_sentinel_folder_is_read_by_band_with_its_offset_and_without_the_swaths_outside(
    metadata: str | None, red: int, tmp_path: Path
) -> None:
    pixels, mask = read(sentinel_folder(tmp_path, metadata), bands=VISIBLE, units=[REFLECTANCE] * 2)
    assert np.unique(pixels[0][mask]).tolist() == [red]
    assert not mask[:, :20].any()
    assert mask[:, 20:].all()


@pytest.mark.parametrize("given", [".", SAFE, f"{SAFE}/MTD_MSIL2A.xml", f"{SAFE}/GRANULE", "IMG_DATA"])
def test_a_sentinel_product_opens_wherever_it_is_named_with_each_band_where_it_is_finest(
    given: str, tmp_path: Path
) -> None:
    fine = sentinel_folder(tmp_path, METADATA.format(nodata=0, offset=-1000))
    masks, coarse = fine.parents[1] / "QI_DATA", fine.parent / "R20m"
    for folder, name in (
        (masks, "MSK_DETFOO_B04.jp2"),
        (coarse, f"{TILE}_B04_20m.jp2"),
        (coarse, f"{TILE}_B11_20m.jp2"),
    ):
        folder.mkdir(exist_ok=True)
        lossless = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
        write_raster(folder / name, np.full((64, 64), 5000, np.uint16), **lossless)
    place = fine.parent if given == "IMG_DATA" else tmp_path / given
    pixels, mask = read(place, bands=[*VISIBLE, Band("B11", "swir16")], units=[REFLECTANCE] * 3)
    assert [np.unique(band[mask]).tolist() for band in pixels] == [[700], [3100], [5000]]


def test_the_nodata_of_a_sentinel_folder_is_what_its_metadata_says(tmp_path: Path) -> None:
    home = sentinel_folder(tmp_path, METADATA.format(nodata=1700, offset=-1000))
    _, mask = read(home / f"{TILE}_B04_10m.jp2")
    assert mask[:, :20].all()
    assert not mask[:, 20:].any()


def test_a_sentinel_folder_in_a_catalog_of_ones_own_keeps_its_offset_and_nodata(tmp_path: Path) -> None:
    home = sentinel_folder(tmp_path, METADATA.format(nodata=0, offset=-1000))
    catalog = add_imagery(str(home / "*_B*.jp2"), name="mine", home=tmp_path / "home")
    pixels, mask = read(catalog, bands=VISIBLE, units=[REFLECTANCE] * 2)
    assert np.unique(pixels[0][mask]).tolist() == [700]
    assert not mask[:, :20].any()


LANDSAT = "LC08_{}_015034_20240601_20240610_02_T1"


def landsat_folder(folder: Path, level: str, prefix: str) -> Path:
    folder.mkdir()
    thirty = Affine(30, 0, 440_000, 0, -30, 4_200_000)
    for band in range(1, 9):
        write_raster(
            folder / f"{LANDSAT.format(level)}_{prefix}B{band}.TIF",
            np.full((20, 20), 9000 + band, np.uint16),
            transform=thirty,
        )
    return folder


def test_landsats_numbers_are_not_sentinels(tmp_path: Path) -> None:
    folder = landsat_folder(tmp_path / "l1", "L1TP", "")
    pixels, _ = read(folder, bands=[Band("B02", "blue"), Band("B04", "red"), Band("B08", "nir"), Band("B11", "swir16")])
    assert pixels[:, 0, 0].tolist() == [9002, 9004, 9005, 9006]
    with pytest.raises(BandError, match="rededge071"):
        read(folder, bands=[Band("B05", "rededge071"), Band("B04", "red")])
    assert read(folder, bands=["B8", "B4"])[0][:, 0, 0].tolist() == [9008, 9004]  # a person's own words


def test_landsats_level_2_is_reflectance_by_its_guide(tmp_path: Path) -> None:
    folder = landsat_folder(tmp_path / "l2", "L2SP", "SR_")
    pixels, _ = read(folder, bands=[Band("B04", "red"), Band("B08", "nir")], units=[REFLECTANCE] * 2)
    np.testing.assert_allclose(pixels[:, 0, 0], [0.275 * 9004 - 2000, 0.275 * 9005 - 2000], rtol=1e-5)


def test_landsats_level_1_is_reflectance_by_the_metadata_beside_it(tmp_path: Path) -> None:
    folder = landsat_folder(tmp_path / "l1", "L1TP", "")
    fields = "".join(
        f"    REFLECTANCE_MULT_BAND_{band} = 2.0000E-05\n    REFLECTANCE_ADD_BAND_{band} = -0.100000\n"
        for band in range(1, 10)
    )
    (folder / f"{LANDSAT.format('L1TP')}_MTL.txt").write_text(f"    SUN_ELEVATION = 30.0\n{fields}")
    pixels, _ = read(folder, bands=[Band("B04", "red"), Band("B08", "nir")], units=[REFLECTANCE] * 2)
    np.testing.assert_allclose(pixels[:, 0, 0], [(0.2 * number - 1000) / 0.5 for number in (9004, 9005)], rtol=1e-5)


def test_landsat_items_are_matched_by_common_name_before_number(tmp_path: Path) -> None:
    bands = {f"B{number}": np.full((8, 8), number, np.uint16) for number in (4, 5, 8)}
    item = write_scene(tmp_path, "l", bands, properties={"platform": "landsat-8"}, nodata=None)
    for asset in item["assets"].values():
        asset["bands"][0].pop("eo:common_name", None)
    path = write_json(tmp_path / "item.json", item)
    assert read(path, bands=[Band("B04", "red"), Band("B08", "nir")])[0][:, 0, 0].tolist() == [4, 5]


def test_zeros_are_no_data_where_a_person_says_so(tmp_path: Path) -> None:
    stored = noise(1, 30, 30, "uint16") + 1
    stored[0, :, :10] = 0
    path = write_raster(tmp_path / "a.tif", stored, nodata=7)
    _, mask = read(path, nodata=0)
    np.testing.assert_array_equal(mask, stored[0] != 0)
    _, mask = read(path, nodata="none")
    assert mask.all()
    _, scaled = read(path, nodata=0, scale=0.5, offset=3)
    np.testing.assert_array_equal(scaled, stored[0] != 0)


def test_nodata_of_a_person_goes_before_that_of_item_and_file(tmp_path: Path) -> None:
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    item = write_scene(tmp_path, "s", {"B04": pixels}, nodata=5)
    item["assets"]["b04"]["bands"][0]["nodata"] = 6
    path = write_json(tmp_path / "item.json", item)
    assert np.argwhere(~read(path, bands=["red"], nodata=9)[1]).tolist() == [[1, 1]]
    assert read(path, bands=["red"], nodata="none")[1].all()
    assert np.argwhere(~read(path, bands=["red"])[1]).tolist() == [[0, 5]]


def test_a_nodata_that_no_pixel_can_be_is_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1, 8, 8))
    with pytest.raises(RasterError, match=r"nodata is -9999, which pixels of '.*a\.tif' cannot hold \(uint8\)"):
        read(path, nodata=-9999)


def test_another_scale_or_nodata_is_another_raster(tmp_path: Path) -> None:
    path = str(write_raster(tmp_path / "a.tif", noise(1, 8, 8)))
    read_as = [{}, {"scale": 2}, {"scale": 2, "offset": 1}, {"nodata": 3}, {"nodata": 4}]
    treatments = [json.dumps(open_imagery(path, **words).treatment()) for words in read_as]
    assert len(set(treatments)) == len(treatments)


def test_a_fourth_band_with_a_name_is_data_whatever_it_is_tagged_as(tmp_path: Path) -> None:
    pixels = noise(4, 16, 16) % 100 + 1
    pixels[3, :, 8:] = 0
    tagged = {"colorinterp": ["red", "green", "blue", "alpha"]}
    named = write_raster(tmp_path / "named.tif", pixels, descriptions=["B04", "B03", "B02", "B08"], **tagged)
    found, mask = read(named, bands=[Band("B04", "red"), Band("B08", "nir")])
    assert mask.all()
    np.testing.assert_array_equal(found, pixels[[0, 3]])
    plain = write_raster(tmp_path / "plain.tif", pixels, **tagged)
    assert not read(plain, bands=[1, 2, 3])[1][:, 8:].any()
    image = {"href": str(plain), "type": "image/tiff; application=geotiff", "roles": ["data"]}
    image["eo:bands"] = [{"name": name, "common_name": name.lower()} for name in ("Red", "Green", "Blue", "NIR")]
    item = write_scene(tmp_path, "s", {"B04": pixels[0]})
    path = write_json(tmp_path / "item.json", item | {"assets": {"image": image}})
    found, mask = read(path, bands=["red", "green", "blue"])
    assert mask.all()
    np.testing.assert_array_equal(found, pixels[:3])


def test_keys_and_options_are_the_same_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_workflow({"model": "m", "scale": 10_000, "offset": -1000, "nodata": "none"}).nodata == "none"
    with pytest.raises(WorkflowError, match="nodata"):
        read_workflow({"model": "m", "nodata": "zero"})
    path = write_raster(tmp_path / "a.tif", noise(2, 64, 64))
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    (tmp_path / "map.yaml").write_text(f"model: {model}\nramp: 8\nworkers: 1\nbands: [1, 2]\n")
    words = ["plan", str(tmp_path / "map.yaml"), "--input", str(path), "--scale", "2", "--offset", "-3"]
    for nodata in ("0", "none"):
        assert main([*words, "--nodata", nodata]) == 0
    assert main([*words, "--nodata", "-1"]) != 0
    assert "nodata is -1, which pixels of" in capsys.readouterr().err


def test_a_calibration_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1, 8, 8), nodata=3)
    source = open_imagery(str(path)).sources[0]
    assert source.calibrated(Calibration(), [0]) == source


def test_numbers_of_bands_that_may_be_landsats_are_refused_where_nothing_tells(tmp_path: Path) -> None:
    thirty = Affine(30, 0, 440_000, 0, -30, 4_200_000)
    model = [Band("B04", "red"), Band("B08", "nir")]
    for number in (4, 5, 8):
        write_raster(tmp_path / f"scene_B{number}.tif", noise(1, 8, 8, "uint16"), transform=thirty)
    with pytest.raises(BandError, match=r"scene_B4\.tif' numbers bands as Landsat does .* 'B4' is another"):
        open_imagery(str(tmp_path), bands=model)
    with pytest.raises(BandError, match="'B4' is another"):
        open_imagery(str(tmp_path), bands=["red", "nir"])
    assert open_imagery(str(tmp_path), bands=["B4", "B5"]).bands == ("B4", "B5")
    landsats = [Band("B4", "red"), Band("B5", "nir08")]
    assert open_imagery(str(tmp_path), bands=landsats).bands == ("B4", "B5")
    stack = write_raster(tmp_path / "stack.tif", noise(2, 8, 8, "uint16"), descriptions=["SR_B4", "SR_B5"])
    with pytest.raises(BandError, match=r"stack\.tif' numbers bands as Landsat does .* 'SR_B4' is another band there"):
        open_imagery(str(stack), bands=[Band("B04", "red"), Band("B05", "rededge071")])
    told = write_raster(tmp_path / "LC08_stack.tif", noise(2, 8, 8, "uint16"), descriptions=["SR_B4", "SR_B5"])
    assert [source.indexes for source in open_imagery(str(told), bands=model).sources] == [(1, 2)]
