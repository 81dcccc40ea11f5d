"""Whatever is given as input is opened, or refused in one sentence that says what, which and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint

from geoseg.errors import BandError, CrsError, GeosegError, InputNotFoundError, RasterError
from geoseg.grid import Window
from geoseg.raster import open_raster
from tests.rasters import TEN_METRES, noise, write_raster


def values(raster: object) -> list[int]:
    """Return the first pixel of every band."""
    return raster.read(Window(0, 0, 1, 1))[0].ravel().tolist()  # type: ignore[attr-defined, no-any-return]


def constant(path: Path, value: int, **keywords: object) -> Path:
    return write_raster(path, np.full((1, 4, 4), value, np.uint8), **keywords)  # type: ignore[arg-type]


# What can be given


def test_a_folder_is_its_rasters_by_name_without_sidecars_and_text(tmp_path: Path) -> None:
    for name, value in (("b.tif", 2), ("a.tif", 1), ("C.TIFF", 3)):
        constant(tmp_path / name, value)
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset/>")
    (tmp_path / "a.tif.ovr").write_text("")
    (tmp_path / "README.txt").write_text("no raster")
    (tmp_path / ".hidden.tif").write_text("no raster")
    (tmp_path / "sub.tif").mkdir()
    raster = open_raster(tmp_path)
    assert [Path(source.path).name for source in raster.sources] == ["C.TIFF", "a.tif", "b.tif"]
    assert values(raster) == [3]


def test_a_pattern_and_a_list_keep_their_order(tmp_path: Path) -> None:
    paths = [constant(tmp_path / f"{name}.tif", value) for value, name in enumerate("abc")]
    assert values(open_raster(str(tmp_path / "[bc].tif"))) == [1]
    assert values(open_raster(paths[::-1])) == [2]


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path) -> None:
    assert values(open_raster(constant(tmp_path / "scene[1].tif", 5))) == [5]


def test_bands_by_file_may_be_asked_for_by_common_name_in_any_order(tmp_path: Path) -> None:
    files = {name: constant(tmp_path / f"{name}.tif", value) for value, name in enumerate(["B02", "B03", "B04"])}
    assert values(open_raster(files)) == [0, 1, 2]
    assert values(open_raster(files, bands=["red", "B3"])) == [2, 1]
    assert values(open_raster(files, bands=[3, 1])) == [2, 0]
    with pytest.raises(BandError, match=r"does not have the band 'nir'.*3 bands: 1 \(B02\), 2 \(B03\), 3 \(B04\)"):
        open_raster(files, bands=["nir"])


def test_a_relative_path_is_read_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constant(tmp_path / "a.tif", 7)
    monkeypatch.chdir(tmp_path)
    raster = open_raster("a.tif")
    monkeypatch.chdir("/")
    assert values(raster) == [7]
    assert raster.fingerprint()[0]["path"] == "a.tif"


def test_a_vrt_is_read_and_its_sources_belong_to_the_fingerprint(tmp_path: Path) -> None:
    source = constant(tmp_path / "a.tif", 9)
    vrt = tmp_path / "a.vrt"
    with rasterio.open(source) as dataset:
        rasterio.shutil.copy(dataset, vrt, driver="VRT")
    raster = open_raster(vrt)
    assert values(raster) == [9]
    assert [Path(item["absolute"]).name for item in raster.fingerprint()] == ["a.vrt", "a.tif"]


def test_a_raster_in_a_zip_archive_is_read_by_gdals_name(tmp_path: Path) -> None:
    import zipfile

    path = constant(tmp_path / "a.tif", 4)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "a.tif")
    raster = open_raster(f"/vsizip/{tmp_path}/a.zip/a.tif")
    assert values(raster) == [4]
    assert raster.fingerprint()[0]["member"] == "a.tif"


def test_a_raster_without_a_place_is_read_when_that_is_allowed(tmp_path: Path) -> None:
    raster = open_raster(constant(tmp_path / "a.tif", 4, crs=None, transform=None), require_crs=False)
    assert raster.crs is None
    assert values(raster) == [4]


def test_the_crs_may_stand_in_a_sidecar(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.jpg", noise(3, 16, 16), driver="JPEG")
    assert path.with_name("a.jpg.aux.xml").exists()
    raster = open_raster(path)
    assert str(raster.crs) == "EPSG:32618"
    assert raster.transform == TEN_METRES
    assert {Path(item["absolute"]).name for item in raster.fingerprint()} == {"a.jpg", "a.jpg.aux.xml"}


# What is refused


def unplaced(folder: Path) -> Path:
    return write_raster(folder / "unplaced.tif", noise(1, 4, 4), crs=None)


def without_transform(folder: Path) -> Path:
    return write_raster(folder / "flat.tif", noise(1, 4, 4), transform=None)


def with_control_points(folder: Path) -> Path:
    corners = [(0, 0, 10, 50), (0, 4, 11, 50), (4, 0, 10, 49), (4, 4, 11, 49)]
    points = [GroundControlPoint(row, column, x, y) for row, column, x, y in corners]
    path = folder / "points.tif"
    profile = {"driver": "GTiff", "width": 4, "height": 4, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, gcps=points, crs="EPSG:4326") as dataset:
        dataset.write(noise(1, 4, 4))
    return path


def text(folder: Path) -> Path:
    path = folder / "text.tif"
    path.write_text("This is not a raster.")
    return path


def empty(folder: Path) -> Path:
    path = folder / "empty.tif"
    path.touch()
    return path


def vector(folder: Path) -> Path:
    path = folder / "fields.geojson"
    path.write_text('{"type": "FeatureCollection", "features": []}')
    return path


def beheaded(folder: Path) -> Path:
    path = constant(folder / "beheaded.tif", 1)
    path.write_bytes(path.read_bytes()[:40])
    return path


def without_rasters(folder: Path) -> Path:
    path = folder / "documents"
    path.mkdir()
    (path / "notes.txt").write_text("nothing here")
    return path


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda folder: folder / "gone.tif", InputNotFoundError, r"gone\.tif' does not exist; correct"),
        (lambda folder: folder / "*.gone", InputNotFoundError, r"no raster file matches '.*\*\.gone'; correct"),
        (lambda _: [], InputNotFoundError, "empty list; name at least one"),
        (without_rasters, RasterError, "documents' holds no raster file .* give another folder"),
        (text, RasterError, r"text\.tif' is not a raster that GDAL can read .* GeoTIFF"),
        (empty, RasterError, r"empty\.tif' is not a raster .* GeoTIFF"),
        (beheaded, RasterError, r"beheaded\.tif' is not a raster .* copy the file again"),
        (vector, RasterError, r"fields\.geojson' holds no pixels .* must be a raster"),
        (unplaced, CrsError, r"no coordinate reference system; give `crs: EPSG:32618` .*`crs: local`"),
        (without_transform, CrsError, r"no transform, .*`gdal_edit\.py -a_ullr"),
        (with_control_points, CrsError, "4 ground control points .* `gdalwarp -tps"),
    ],
)
def test_each_bad_input_is_one_sentence_with_the_remedy(
    tmp_path: Path, make: object, error: type[GeosegError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        open_raster(make(tmp_path))  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("resolution", [0, -3.0, float("nan"), float("inf")])
def test_a_resolution_must_be_a_length(tmp_path: Path, resolution: float) -> None:
    with pytest.raises(RasterError, match="metres per pixel, such as 10"):
        open_raster(constant(tmp_path / "a.tif", 1), resolution=resolution)


def test_a_resolution_needs_a_crs(tmp_path: Path) -> None:
    with pytest.raises(CrsError, match="assign a CRS"):
        open_raster(unplaced(tmp_path), resolution=10, require_crs=False)


def test_files_that_cannot_share_a_grid_are_refused(tmp_path: Path) -> None:
    placed = constant(tmp_path / "a.tif", 1)
    with pytest.raises(CrsError, match="assign the missing ones"):
        open_raster([placed, unplaced(tmp_path)], require_crs=False)
    transform = Affine(5, 0, 0, 0, -5, 0)
    mars = write_raster(tmp_path / "mars.tif", noise(1, 4, 4), crs="IAU_2015:49910", transform=transform)
    with pytest.raises(CrsError, match="Mars"):
        open_raster([placed, mars])


def test_files_of_different_numbers_of_bands_are_refused(tmp_path: Path) -> None:
    paths = [write_raster(tmp_path / f"{count}.tif", noise(count, 4, 4, "uint16")) for count in (3, 1)]
    with pytest.raises(BandError, match=r"1\.tif' has 1 bands but .*3\.tif' has 3; say which"):
        open_raster(paths)
    assert open_raster(paths, bands=[1]).bands == ("1",)


# Fingerprints


def test_the_fingerprint_is_stable_and_notices_a_change_at_either_end(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1, 400, 400))
    raster = open_raster(path)
    before = raster.fingerprint()
    assert before == raster.fingerprint() == open_raster(path).fingerprint()
    assert before[0]["size"] == path.stat().st_size
    for position in (-1, 200):
        content = bytearray(path.read_bytes())
        status = path.stat()
        content[position] ^= 255
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        after = open_raster(path).fingerprint()
        assert after[0]["mtime_ns"] == before[0]["mtime_ns"]
        assert after[0]["sha256"] != before[0]["sha256"]
        before = after


def test_the_fingerprint_has_the_mask_beside_the_file_but_not_the_overviews(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(1, 400, 400), mask=np.ones((400, 400), bool), sidecar=True)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2])
    assert path.with_name("a.tif.ovr").exists()
    assert [Path(item["path"]).name for item in open_raster(path).fingerprint()] == ["a.tif", "a.tif.msk"]


def test_the_summary_is_plain_values(tmp_path: Path) -> None:
    import json

    summary = open_raster(write_raster(tmp_path / "a.tif", noise(3, 40, 40)), resolution=20).summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["shape"] == [20, 20]
    assert summary["resolution_m"] == [20.0, 20.0]
    assert summary["resampled"] is True
