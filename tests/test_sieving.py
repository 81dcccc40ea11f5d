"""A raster with a minimum mapping unit is, pixel by pixel, what polygons with it show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from distributed import Client
from numpy.typing import NDArray
from rasterio.features import rasterize

import geoseg
from geoseg.cli import main
from geoseg.engine import connect
from geoseg.errors import BlockError, ExistingOutputError, OutputError, RasterError, WorkflowError
from tests.rasters import TEN_METRES, write_raster


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1, "127.0.0.1:0") as workers:
        yield workers


def labels(shape: tuple[int, int], seed: int, dtype: str) -> NDArray[np.generic]:
    """Patches of classes with salt of others, and a hole without data."""
    rng = np.random.default_rng(seed)
    found = np.kron(rng.integers(1, 4, (shape[0] // 12, shape[1] // 12)), np.ones((12, 12), int))
    salt = rng.random(found.shape) < 0.15
    found[salt] = rng.integers(1, 6, salt.sum())
    found[20:31, 40:47] = 250
    return found.astype(dtype)


def read(path: Path) -> NDArray[np.generic]:
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        *(("uint8", {}), ("uint8", {"keep_classes": "5"}), ("int16", {}), ("float32", {})),
        ("uint8", {"min_area": {"1": 300, 2: 30_000, "*": 900}}),
        ("uint8", {"min_area": "4=2000,5=300"}),
        *(("uint16", {"connectivity": 8}), ("uint32", {"block_size": 40})),
    ],
)
def test_the_raster_is_that_of_the_polygons(
    tmp_path: Path, client: Client, dtype: str, options: dict[str, Any]
) -> None:
    given = labels((96, 120), 0, dtype)
    path = write_raster(tmp_path / "labels.tif", given[None], transform=TEN_METRES, nodata=250)
    options = {"min_area": 900, **options}
    out = geoseg.sieve(path, tmp_path / "sieved.tif", client=client, **options)
    geoseg.polygonize(path, tmp_path / "a.gpkg", client=client, **options)
    frame = gpd.read_file(tmp_path / "a.gpkg")
    shapes = zip(frame.geometry, frame["class"], strict=True)
    wanted = rasterize(shapes, given.shape, fill=250, transform=TEN_METRES, dtype=dtype)
    sieved = read(out)
    assert sieved.dtype == {"float32": "int32"}.get(dtype, dtype)
    np.testing.assert_array_equal(sieved, wanted)
    assert (sieved != given).any()
    assert ((sieved == 250) == (given == 250)).all()
    other = geoseg.sieve(path, tmp_path / "other.tif", client=client, **{**options, "block_size": 56})
    np.testing.assert_array_equal(read(other), sieved)
    assert not list(tmp_path.glob(".*"))


def test_names_colours_and_region_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_raster(tmp_path / "labels.tif", labels((96, 120), 1, "uint8")[None], transform=TEN_METRES, nodata=250)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {1: (1, 2, 3, 255), 2: (4, 5, 6, 255)})
        file.update_tags(CLASS_1="water", CLASS_2="trees")
        left, top = file.bounds.left, file.bounds.top
    bounds = f"{left + 100},{top - 600},{left + 700},{top - 100},EPSG:32618"
    out = tmp_path / "sieved.tif"
    command = ["sieve", str(path), str(out), "--min-area", "900", "--keep-classes", "water", "--region", bounds]
    assert main([*command, "--workers", "1"]) == 0
    with rasterio.open(out) as file:
        assert file.colormap(1)[2][:3] == (4, 5, 6)
        assert file.tags()["CLASS_1"] == "water"
        assert file.nodata == 250
        assert file.overviews(1) == [] or file.overviews(1)[0] == 2
        found = file.read(1)
    assert (found[10:60, 10:70] != 250).mean() > 0.9
    found[10:60, 10:70] = 250
    assert (found == 250).all()
    capsys.readouterr()
    assert main([*command, "--workers", "1"]) == 2
    assert "sieved.tif is there already; give another output, or --overwrite to replace it." in capsys.readouterr().err
    assert main([*command, "--workers", "1", "--overwrite"]) == 0


def test_classes_have_minimum_areas_of_their_own_by_name(tmp_path: Path) -> None:
    given = np.full((40, 40), 1, np.uint8)
    given[2:5, 2:5], given[10:14, 10:14], given[20:23, 2:5], given[30:34, 30:34] = 2, 2, 3, 3
    path = write_raster(tmp_path / "labels.tif", given[None], transform=TEN_METRES)
    with rasterio.open(path, "r+") as file:
        file.update_tags(CLASS_2="water", CLASS_3="trees, tall")
    command = ["sieve", str(path), str(tmp_path / "out.tif"), "--workers", "1", "--min-area"]
    assert main([*command, '2000,Water=1000,"trees, tall"=500']) == 0
    found = read(tmp_path / "out.tif")
    expected = np.where(np.isin(given, [3]), given, 1)
    expected[10:14, 10:14] = 2
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("watr=500", "no class is called 'watr'; did you mean 'water'?"),
        ("water=500,2=900", "min_area has two areas for class 2, the second one as '2'; give one."),
        ("1,000", "there are two areas for all classes; give one"),
        ("water=big", "'big' is no area; give 0 or more m2"),
        ("-5", "'-5' is no area; give 0 or more m2"),
        ("water=0", "min_area is 0 m2, no more than a pixel; give a larger one"),
    ],
)
def test_areas_that_cannot_be_used_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    path = write_raster(tmp_path / "labels.tif", np.full((1, 40, 40), 2, np.uint8), transform=TEN_METRES)
    with rasterio.open(path, "r+") as file:
        file.update_tags(CLASS_2="water")
    assert main(["sieve", str(path), str(tmp_path / "out.tif"), f"--min-area={text}"]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_sieved_is_refused(tmp_path: Path, client: Client) -> None:
    given = labels((48, 48), 2, "uint8")
    path = write_raster(tmp_path / "labels.tif", given[None], transform=TEN_METRES)
    with pytest.raises(WorkflowError, match="min_area is 50 m2, no more than a pixel; give a larger one"):
        geoseg.sieve(path, tmp_path / "a.tif", min_area=50, client=client)
    with pytest.raises(OutputError, match=r"is no GeoTIFF; give a name that ends in \.tif"):
        geoseg.sieve(path, tmp_path / "a.gpkg", min_area=500, client=client)
    with pytest.raises(ExistingOutputError, match="is read and would be replaced"):
        geoseg.sieve(path, path, min_area=500, client=client, overwrite=True)
    full = np.kron(np.arange(256, dtype=np.uint8).reshape(16, 16), np.ones((4, 4), np.uint8))
    path = write_raster(tmp_path / "full.tif", full[None], transform=TEN_METRES)
    with pytest.raises(RasterError, match="no label, and no number of uint8 is left for them; give --nodata"):
        geoseg.sieve(path, tmp_path / "a.tif", min_area=500, region=_left_part(path, 63), client=client)
    assert not (tmp_path / "a.tif").exists()


def _left_part(path: Path, columns: int = 10) -> str:
    """Bounds of its first columns."""
    with rasterio.open(path) as file:
        left, bottom, _, top = file.bounds
    return f"{left},{bottom},{left + 10 * columns},{top},EPSG:32618"


@pytest.mark.parametrize(
    ("dtype", "declared", "expected"),
    [
        *(("float32", np.nan, 2**31 - 1), ("float32", -3.4028234663852886e38, 2**31 - 1), ("uint8", None, 255)),
        *(("int16", None, 2**15 - 1), ("float64", -9999, -9999), ("float64", 2.0**40, 2**31 - 1)),
        *(("int64", None, 2**53), ("uint64", None, 2**53), ("int64", -9999, -9999)),
    ],
)
def test_pixels_without_a_label_get_a_nodata_that_no_label_is(
    tmp_path: Path, client: Client, dtype: str, declared: float | None, expected: int
) -> None:
    given = labels((48, 60), 3, "int16").astype(dtype)
    given[given == 250] = 1 if declared is None else declared
    path = write_raster(tmp_path / "labels.tif", given[None], transform=TEN_METRES, nodata=declared)
    region = {"region": _left_part(path)} if declared is None else {}
    out = geoseg.sieve(path, tmp_path / "sieved.tif", min_area=900, client=client, block_size=40, **region)
    with rasterio.open(out) as file:
        assert file.nodata == expected
        assert file.dtypes[0] == {"f": "int32"}.get(np.dtype(dtype).kind, dtype)
        mask = file.read_masks(1) > 0
    with rasterio.open(path) as file:
        wanted = file.read_masks(1) > 0
    wanted[:, 10:] &= declared is not None
    np.testing.assert_array_equal(mask, wanted)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("dtype", "declared"), [("int64", -(2**63)), ("int64", 2**63 - 1), ("uint64", 2**53 + 1), ("int64", 2**62)]
)
def test_nodata_of_64_bits_that_no_float_is_stays_nodata(
    tmp_path: Path, client: Client, dtype: str, declared: int
) -> None:
    given = labels((48, 60), 3, "int16").astype(dtype)
    given[given == 250] = declared
    path = write_raster(tmp_path / "labels.tif", given[None], transform=TEN_METRES)
    vrt = tmp_path / "labels.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="60" rasterYSize="48"><SRS>EPSG:32618</SRS><GeoTransform>'
        f"{', '.join(map(str, TEN_METRES.to_gdal()))}</GeoTransform><VRTRasterBand "
        f'dataType="{"Int64" if dtype == "int64" else "UInt64"}" band="1"><NoDataValue>{declared}</NoDataValue>'
        f"<SimpleSource><SourceFilename>{path}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    out = geoseg.sieve(vrt, tmp_path / "sieved.tif", min_area=900, client=client)
    with rasterio.open(out) as file:
        assert file.nodata == 2**53
        np.testing.assert_array_equal(file.read_masks(1) > 0, given != declared)
    classes = geoseg.polygonize(vrt)["class"]
    assert set(classes) == set(np.unique(given[given != declared]).tolist())


def test_tiles_of_which_each_has_a_nodata_of_its_own_are_sieved(tmp_path: Path, client: Client) -> None:
    left, right = np.ones((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    left[:5], right[10:], right[:2] = 0, 1, 255  # 0 is nodata in the one and a class in the other
    paths = [
        write_raster(tmp_path / "left.tif", left[None], transform=TEN_METRES, nodata=0),
        write_raster(tmp_path / "right.tif", right[None], transform=TEN_METRES @ Affine.translation(20, 0), nodata=255),
    ]
    for order in (paths, paths[::-1]):
        out = geoseg.sieve(order, tmp_path / "sieved.tif", min_area=500, client=client, overwrite=True)
        found = read(out)
        assert found.dtype == np.uint8
        assert dict(zip(*np.unique(found, return_counts=True), strict=True)) == {0: 160, 1: 500, 255: 140}


def test_what_has_failed_names_no_traceback_that_is_gone(tmp_path: Path, client: Client) -> None:
    fractions = np.ones((1, 1200, 1200), np.float32)
    fractions[0, 3, 4] = 1.5
    path = write_raster(tmp_path / "fractions.tif", fractions, transform=TEN_METRES)
    for work, name in ((geoseg.sieve, "a.tif"), (geoseg.polygonize, "a.gpkg")):
        with pytest.raises(BlockError, match=r"holds 1\.5.*; fix the cause and run") as caught:
            work(path, tmp_path / name, min_area=900, client=client, retries=0)
        assert "traceback" not in str(caught.value)
        assert not list(tmp_path.glob(".*"))
