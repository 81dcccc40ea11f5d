"""Products as agencies deliver them: folders and archives give what plain GeoTIFFs of the same pixels give."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

import geoseg
from geoseg.cli import main
from geoseg.errors import BandError, RasterError
from geoseg.grid import Window
from geoseg.imagery import open_imagery
from geoseg.models.spec import Band
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster

REFLECTANCE = (0.0001, 0.0)
RED_NIR = [Band("B04", "red"), Band("B08", "nir")]
LOSSLESS = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
SIDE = 64
TILE = "T18SVG_20240601T155901"
THIRTY = Affine(30, 0, 440_000, 0, -30, 4_200_000)


def pixels(seed: int) -> NDArray[np.uint16]:
    """Digital numbers of a band, without data at the left."""
    found = (noise(1, SIDE, SIDE, seed=seed)[0].astype(np.uint16) * 40 + 1200).astype(np.uint16)
    found[:, :8] = 0
    return found


def read(given: Any, bands: Sequence[Any] = RED_NIR, **more: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    raster = open_imagery(given, bands=bands, **({"units": [REFLECTANCE] * len(bands)} | more))
    return raster.read(Window(0, 0, *raster.shape))


def pack(folder: Path, path: Path) -> Path:
    """A folder as an archive, with the folder's own name in it."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(folder.parent))
    else:
        with tarfile.open(path, "w") as tar:
            for file in sorted(folder.rglob("*")):
                tar.add(file, file.relative_to(folder), recursive=False)
    return path


def sentinel_2(folder: Path, baseline: str, offset: int | None, tile: str = TILE) -> Path:
    """A product of Level 2A with four bands, a classification, and what else lies in one."""
    safe = folder / f"S2B_MSIL2A_20240601T155901_N{baseline}_R097_{tile}.SAFE"
    granule = safe / "GRANULE" / "L2A_T18SVG_A037000_20240601T160000"
    fine, coarse, quality = granule / "IMG_DATA/R10m", granule / "IMG_DATA/R20m", granule / "QI_DATA"
    for home in (fine, coarse, quality):
        home.mkdir(parents=True)
    for seed, band in enumerate(("B02", "B03", "B04", "B08")):
        write_raster(fine / f"{tile}_{band}_10m.jp2", pixels(seed), **LOSSLESS)
    half = TEN_METRES @ Affine.scale(2)
    classes = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    classes[:10] = 9
    write_raster(coarse / f"{tile}_SCL_20m.jp2", classes, transform=half, **LOSSLESS)
    write_raster(coarse / f"{tile}_B04_20m.jp2", pixels(9)[::2, ::2], transform=half, **LOSSLESS)
    write_raster(quality / "MSK_CLDPRB_20m.jp2", classes, transform=half, **LOSSLESS)
    offsets = "" if offset is None else "".join(
        f'<BOA_ADD_OFFSET band_id="{number}">{offset}</BOA_ADD_OFFSET>' for number in range(13)
    )  # fmt: skip
    (safe / "MTD_MSIL2A.xml").write_text(
        '<n1:Level-2A_User_Product><Product_Image_Characteristics><BOA_QUANTIFICATION_VALUE unit="none">10000'
        f"</BOA_QUANTIFICATION_VALUE>{offsets}</Product_Image_Characteristics></n1:Level-2A_User_Product>"
    )
    return safe


def plain(path: Path, bands: Sequence[NDArray[Any]], **more: Any) -> Path:
    return write_raster(path, np.stack(bands), descriptions=["red", "nir"], nodata=0, **more)


@pytest.mark.parametrize(("baseline", "offset"), [("0510", -1000), ("0301", None), ("0400", -1000)])
@pytest.mark.parametrize("form", ["folder", ".zip", ".SAFE.zip"])
def test_a_sentinel_2_product_is_its_bands_without_their_offset(
    baseline: str, offset: int | None, form: str, tmp_path: Path
) -> None:
    safe = sentinel_2(tmp_path, baseline, offset)
    given = safe if form == "folder" else pack(safe, tmp_path / f"product{form}")
    found, mask = read(given)
    stored = np.stack([pixels(2), pixels(3)])
    np.testing.assert_array_equal(mask, stored[0] != 0)
    expected = np.maximum(stored.astype(int) + (offset or 0), 0) * mask
    np.testing.assert_array_equal(found, expected)


def test_labels_of_an_archive_are_those_of_a_geotiff(tmp_path: Path) -> None:
    archive = pack(sentinel_2(tmp_path, "0301", None), tmp_path / "a.zip")
    model = str(write_model(tmp_path / "model", Box(2), name="box", halo=4))
    settings = {"model": model, "ramp": 8, "workers": 1, "features": [], "report": False}
    inputs = {"archive": archive, "plain": plain(tmp_path / "a.tif", [pixels(2), pixels(3)])}
    one, other = (
        geoseg.run(settings, input=str(path), bands=["red", "nir"], output=str(tmp_path / name))
        for name, path in inputs.items()
    )
    with rasterio.open(one.labels_path) as first, rasterio.open(other.labels_path) as second:
        np.testing.assert_array_equal(first.read(), second.read())
        assert first.transform == second.transform
    assert geoseg.run(settings, input=str(archive), bands=["red", "nir"], output=str(one.output)).is_unchanged


def test_several_products_are_one_raster_and_their_own_classes_mask_them(tmp_path: Path) -> None:
    first = pack(sentinel_2(tmp_path / "1", "0510", -1000), tmp_path / "1.zip")
    second = sentinel_2(tmp_path / "2", "0510", -1000, tile="T18SVG_20240611T155901")
    found, mask = read([str(first), str(second)], mask="scl:9")
    alone, valid = read(first)
    assert not mask[:20].any()
    np.testing.assert_array_equal(mask[20:], valid[20:])
    np.testing.assert_array_equal(found[:, 20:], alone[:, 20:])


def landsat(folder: Path, level: str) -> Path:
    """A product of Collection 2, with temperature, quality, angles, a picture and the metadata."""
    product, prefix = f"LC09_{level}_015034_20240601_20240610_02_T1", "SR_" if level.startswith("L2") else ""
    home = folder / product
    home.mkdir(parents=True)
    for band in range(1, 8):
        write_raster(home / f"{product}_{prefix}B{band}.TIF", pixels(band) * 8, transform=THIRTY)
    write_raster(home / f"{product}_{'ST_' if prefix else ''}B10.TIF", pixels(10), transform=THIRTY)
    quality = np.full((SIDE, SIDE), 21824, np.uint16)  # clear land
    quality[:20], quality[20:24], quality[:, :8] = 22280, 23888, 1  # cloud, its shadow, fill
    write_raster(home / f"{product}_QA_PIXEL.TIF", quality, transform=THIRTY, nodata=1)
    write_raster(home / f"{product}_{prefix}QA_AEROSOL.TIF", np.ones((SIDE, SIDE), np.uint8), transform=THIRTY)
    write_raster(home / f"{product}_thumb_small.jpeg", np.ones((3, 20, 20), np.uint8), driver="JPEG")
    fields = "".join(
        f"    REFLECTANCE_MULT_BAND_{band} = 2.0000E-05\n    REFLECTANCE_ADD_BAND_{band} = -0.100000\n"
        for band in range(1, 10)
    )
    (home / f"{product}_MTL.txt").write_text(f"GROUP = L1\n    SUN_ELEVATION = 30.00000000\n{fields}END\n")
    return home


@pytest.mark.parametrize("level", ["L2SP", "L1TP"])
@pytest.mark.parametrize("form", ["folder", ".tar", ".zip"])
def test_a_landsat_product_is_reflectance_without_clouds(level: str, form: str, tmp_path: Path) -> None:
    home = landsat(tmp_path, level)
    given = home if form == "folder" else pack(home, tmp_path / f"{home.name}{form}")
    gain, shift = (0.275, -2000) if level == "L2SP" else (0.4, -2000)
    stored = np.stack([pixels(4), pixels(5)]) * 8
    found, mask = read(given)
    np.testing.assert_array_equal(mask, stored[0] != 0)
    np.testing.assert_allclose(found[:, mask], gain * stored[:, mask] + shift, rtol=1e-4)
    quality, _ = read(given, ["B4", "pixel"], units=())
    assert set(np.unique(quality[1])) <= {0, 21824, 22280, 23888}
    clear, usable = read(given, mask={"asset": "qa_pixel", "bits": [1, 2, 3, 4]})
    assert not usable[:24].any()
    np.testing.assert_array_equal(usable[24:], mask[24:])
    np.testing.assert_array_equal(clear[:, 24:], found[:, 24:])


def planetscope(folder: Path, kind: str) -> Path:
    """A scene with its usable data mask and metadata, as an order has it."""
    scene = "20240601_153012_48_2461"
    home = folder / "PSScene"
    home.mkdir(parents=True)
    count = 8 if "_8b" in kind else 4
    bands = np.stack([pixels(seed) for seed in range(count)])
    write_raster(home / f"{scene}_3B_{kind}_clip.tif", bands, nodata=0)
    usable = np.zeros((8, SIDE, SIDE), np.uint8)
    usable[0, 16:] = 1
    usable[5, :16] = 1
    write_raster(home / f"{scene}_3B_udm2_clip.tif", usable)
    coefficients = "".join(
        f"<ps:bandSpecificMetadata><ps:bandNumber>{band}</ps:bandNumber>\n<ps:radiometricScaleFactor>0.01"
        f"</ps:radiometricScaleFactor><ps:reflectanceCoefficient>{band}.5e-05</ps:reflectanceCoefficient>"
        "</ps:bandSpecificMetadata>"
        for band in range(1, count + 1)
    )
    name = f"{scene}_3B_AnalyticMS{'_8b' if count == 8 else ''}_metadata_clip.xml"
    (home / name).write_text(f"<ps:EarthObservation>{coefficients}</ps:EarthObservation>")
    return folder


@pytest.mark.parametrize(
    ("kind", "red", "nir", "gains"),
    [
        ("AnalyticMS_SR", 2, 3, (1, 1)),
        ("AnalyticMS_SR_harmonized", 2, 3, (1, 1)),
        ("AnalyticMS", 2, 3, (0.35, 0.45)),
        ("AnalyticMS_SR_8b_harmonized", 5, 7, (1, 1)),
        ("AnalyticMS_8b", 5, 7, (0.65, 0.85)),
    ],
)
@pytest.mark.parametrize("form", ["folder", ".zip"])
def test_a_planetscope_scene_is_reflectance_where_it_is_usable(
    kind: str, red: int, nir: int, gains: tuple[float, float], form: str, tmp_path: Path
) -> None:
    folder = planetscope(tmp_path / "order", kind)
    given = folder if form == "folder" else pack(folder, tmp_path / "order.zip")
    stored = np.stack([pixels(red), pixels(nir)])
    found, mask = read(given)
    np.testing.assert_array_equal(mask, stored[0] != 0)
    np.testing.assert_allclose(found, stored * np.reshape(gains, (2, 1, 1)), rtol=1e-5)
    _, usable = read(given, mask="udm2:0")
    assert not usable[:16].any()
    np.testing.assert_array_equal(usable[16:], mask[16:])


def test_of_one_scene_in_two_forms_surface_reflectance_is_read(tmp_path: Path) -> None:
    planetscope(tmp_path / "order", "AnalyticMS_SR")
    home = tmp_path / "order" / "PSScene"
    write_raster(home / "20240601_153012_48_2461_3B_AnalyticMS_clip.tif", np.ones((4, SIDE, SIDE), np.uint16))
    assert read(tmp_path / "order")[0].max() == max(pixels(2).max(), pixels(3).max())


def test_a_folder_with_other_rasters_is_no_product(tmp_path: Path) -> None:
    home = landsat(tmp_path, "L2SP")
    write_raster(home / "slope.tif", pixels(1), transform=THIRTY)
    found, mask = read(home, ["B4", "slope"], units=())
    np.testing.assert_array_equal(found[1], pixels(1) * mask)


def test_archives_that_are_damaged_or_hold_no_raster_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = pack(sentinel_2(tmp_path, "0510", -1000), tmp_path / "a.zip")
    archive.write_bytes(archive.read_bytes()[:-60])
    with pytest.raises(RasterError, match=r"a\.zip' is no whole archive \(.*\); copy or download it again\."):
        read(archive)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as empty:
        empty.writestr("readme.txt", "nothing")
    assert main(["plan", str(tmp_path / "b.zip"), "--model", "sentinel2-land-cover"]) == 3
    assert "b.zip' holds no raster file; give the one of the product, or unpack it." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "bands", "wanted", "place"),
    [
        ("HLS.L30.T18SVG.2024153T155000.v2.0.B{:02}", range(1, 8), "nir", 5),
        ("HLS.S30.T18SVG.2024153T155000.v2.0.B{:02}", range(2, 9), Band("B05", "rededge"), 5),
        ("T18SVG_20240601T155901_B{:02}_10m", (2, 3, 4, 8), "B08", 8),
        ("S1_{}", ("VH", "VV"), "VV", "VV"),
        ("MOD09GA.A2020153.h12v05.061.sur_refl_b{:02}_1", range(1, 8), "red", 1),
        ("SPOT5_HRG_B{}", range(1, 5), Band("B04", "red"), 2),
    ],
)
def test_a_model_of_one_band_gets_that_band_of_many_files(
    tmp_path: Path, name: str, bands: Sequence[Any], wanted: Any, place: Any
) -> None:
    for number, band in enumerate(bands):
        write_raster(tmp_path / f"{name.format(band)}.tif", np.full((9, 9), number, np.uint16))
    found, _ = read(tmp_path, [wanted], units=())
    assert np.unique(found).tolist() == [list(bands).index(place)]


@pytest.mark.parametrize("name", ["LC08_014034_sr_band{}", "HLS.L30.T18SVG.2024153T155000.v2.0.B{:02}", "scene_b{}"])
def test_files_of_other_bands_are_no_mosaic_of_one(tmp_path: Path, name: str) -> None:
    for band in (1, 2, 3):
        write_raster(tmp_path / f"{name.format(band)}.tif", np.full((9, 9), band, np.uint16))
    with pytest.raises(BandError, match=r"none of 3 files, such as '.*', is the band 'pan', and by their names they"):
        read(tmp_path, ["pan"], units=())
    for band in (1, 2, 3):
        (tmp_path / f"{name.format(band)}.tif").rename(tmp_path / f"tile-{band}.tif")
    assert np.unique(read(tmp_path, ["elevation"], units=())[0]).tolist() == [1]  # tiles of one band
