"""Files that are really damaged: no garbage is read, no raster is moved, and sound files raise no alarm."""

from __future__ import annotations

import logging
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from PIL import Image

from geoseg.errors import GeosegError, RasterError, RasterReadError
from geoseg.grid import Window
from geoseg.raster import Raster, open_raster
from geoseg.raster.damage import is_damage
from tests.rasters import write_raster

SIDE = 256
WHOLE = Window(0, 0, SIDE, SIDE)


def _pixels() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 20, (3, SIDE, SIDE))
    y, x = np.mgrid[:SIDE, :SIDE]
    return (np.stack([(x + y) // 2, x, y]) + noise).clip(0, 255).astype(np.uint8)


def _write(path: Path, compress: str, **options: object) -> Path:
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    return write_raster(path, _pixels(), nodata=3, compress=compress, interleave="pixel", **tiles, **options)


def _broken_jpeg(path: Path) -> Path:
    """A file whose last tiles are damaged, of which GDAL only warns."""
    _write(path, "jpeg", photometric="ycbcr")
    content = bytearray(path.read_bytes())
    with rasterio.open(path) as file:
        sound = file.read()
    random = np.random.default_rng(5)
    for start in range(len(content) // 2, len(content) - 64, 64):
        trial = content.copy()
        trial[start : start + 24] = random.integers(0, 256, 24, dtype=np.uint8).tobytes()
        path.write_bytes(trial)
        with rasterio.open(path) as file:
            try:
                read = file.read()
            except rasterio.errors.RasterioIOError:
                continue
        if (read != sound).any() and (read[:, :64] == sound[:, :64]).all() and _warned(path):
            return path
    raise AssertionError("no such damage")


def _warned(path: Path) -> bool:
    records: list[str] = []

    class Heard(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            records.append(record.getMessage())
            return True

    channel, heard = logging.getLogger("rasterio._err"), Heard()
    channel.addFilter(heard)
    try:
        with rasterio.open(path) as file:
            file.read()
    finally:
        channel.removeFilter(heard)
    return any("Corrupt JPEG" in text for text in records)


@pytest.fixture(scope="module")
def broken_jpeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _broken_jpeg(tmp_path_factory.mktemp("jpeg") / "a.tif")


def test_tile_of_which_gdal_only_warns_is_not_read(broken_jpeg: Path) -> None:
    raster = open_raster(str(broken_jpeg))
    for _ in range(2):  # GDAL keeps the decoded tile and would be silent the second time
        with pytest.raises(
            RasterReadError, match=r"cannot be read at .* \(JPEGLib:.*Corrupt JPEG data.*\); the file is"
        ):
            raster.read(WHOLE)
    pixels, _ = raster.read(Window(0, 0, 64, SIDE))
    assert pixels.any(), "sound tiles are read"


def test_damage_is_noticed_in_every_thread(broken_jpeg: Path) -> None:
    raster, errors = open_raster(str(broken_jpeg)), []

    def read() -> None:
        try:
            raster.read(WHOLE)
        except RasterReadError as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 3


def test_damage_is_noticed_below_a_vrt(broken_jpeg: Path, tmp_path: Path) -> None:
    rasterio.shutil.copy(str(broken_jpeg), str(tmp_path / "a.vrt"), driver="VRT")
    with pytest.raises(RasterReadError, match="Corrupt JPEG"):
        open_raster(str(tmp_path / "a.vrt")).read(WHOLE)


@pytest.mark.parametrize(
    ("driver", "ending", "compress"),
    [
        ("GTiff", ".tif", "jpeg"), ("GTiff", ".tif", "lzw"), ("GTiff", ".tif", "deflate"), ("GTiff", ".tif", "zstd"),
        ("JP2OpenJPEG", ".jp2", None), ("PNG", ".png", None), ("JPEG", ".jpg", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_file_is_never_read_whole(
    tmp_path: Path, driver: str, ending: str, compress: str | None, share: float
) -> None:
    path = tmp_path / f"a{ending}"
    source = _write(tmp_path / "source.tif", compress or "lzw")
    if compress is None:
        rasterio.shutil.copy(str(source), str(path), driver=driver)
    else:
        path = source
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(GeosegError, match="damaged"):
        open_raster(str(path)).read(WHOLE)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_cut_picture_of_another_program_is_never_read_as_noise(tmp_path: Path, share: float) -> None:
    """GDAL decodes a PNG of three bands as a whole, and of one that is cut it returns memory as it finds it."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    whole = open_raster(tmp_path / "a.png", crs="local")
    np.testing.assert_array_equal(whole.read(Window(0, 0, 300, 300))[0], np.moveaxis(noise, 2, 0))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(RasterError, match="is damaged: GDAL reports"):
        open_raster(tmp_path / "cut.png", crs="local").read(Window(0, 0, 300, 300))


def _tags(content: bytes) -> dict[int, int]:
    """Where the entry of each tag begins in a little-endian TIFF."""
    start = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, start)[0]
    entries = [start + 2 + 12 * index for index in range(count)]
    return {struct.unpack_from("<H", content, entry)[0]: entry for entry in entries}


@pytest.mark.parametrize("tag", [33550, 33922, 34735, 42113])  # pixel scale, tie point, keys of the CRS, nodata
@pytest.mark.parametrize("part", ["kind", "count", "place"])
def test_damaged_directory_moves_nothing(tmp_path: Path, tag: int, part: str) -> None:
    path = _write(tmp_path / "a.tif", "lzw")
    content = bytearray(path.read_bytes())
    entry = _tags(bytes(content))[tag]
    if part == "kind":
        struct.pack_into("<H", content, entry + 2, 2 if tag != 42113 else 9)
    elif part == "count":
        struct.pack_into("<I", content, entry + 4, 1 << 30 if tag == 42113 else 1)
    else:
        struct.pack_into("<I", content, entry + 8, 0xFFFFFF0)
    path.write_bytes(content)
    if (tag, part) == (42113, "place"):
        return  # so short a text stands in the entry itself: another number, of which nothing can tell
    with pytest.raises(
        RasterError, match=r'is damaged: GDAL reports ".*"; copy or download it again|instead of a transform'
    ):
        open_raster(str(path))


@pytest.mark.parametrize("big", ["YES", "NO"])
def test_raster_may_lie_at_the_origin(tmp_path: Path, big: str) -> None:
    path = write_raster(tmp_path / "a.tif", _pixels(), transform=Affine(10, 0, 0, 0, -10, 0), BIGTIFF=big)
    assert tuple(open_raster(str(path)).transform)[:6] == (10, 0, 0, 0, -10, 0)


def test_lost_second_directory_is_damage(tmp_path: Path) -> None:
    mask = np.ones((SIDE, SIDE), bool)
    mask[:9] = False
    path = write_raster(tmp_path / "a.tif", _pixels(), mask=mask)
    content = bytearray(path.read_bytes())
    entries = _tags(bytes(content)).values()
    struct.pack_into("<I", content, max(entries) + 12, 0xFFFFFF0)
    path.write_bytes(content)
    with pytest.raises(RasterError, match="is damaged"):
        open_raster(str(path))


def test_harmless_warning_is_noted(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.tif", "lzw")
    content = bytearray(path.read_bytes())
    entry = _tags(bytes(content))[34737]
    struct.pack_into("<I", content, entry + 4, struct.unpack_from("<I", content, entry + 4)[0] + 4)
    path.write_bytes(content)
    raster = open_raster(str(path))
    assert any('"GeoASCIIParams" contains null byte' in note for note in raster.notes)
    assert raster.summary()["notes"] == raster.notes
    assert _same(raster, _write(tmp_path / "b.tif", "lzw"))


def _same(raster: Raster, path: Path) -> bool:
    return bool((raster.read(WHOLE)[0] == open_raster(str(path)).read(WHOLE)[0]).all())


def test_logging_of_the_caller_stays_as_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    channel = logging.getLogger("rasterio._env")
    open_raster(str(_write(tmp_path / "a.tif", "lzw"))).read(WHOLE)
    channel.info("GDAL signalled an error: err_no=1, msg='x'")
    channel.warning("CPLE_AppDefined in x")
    assert [record.levelname for record in caplog.records if record.name == channel.name] == ["WARNING"]


@pytest.mark.parametrize(
    "message",
    [
        "TIFFReadDirectory:Sum of Photometric type-related color channels and ExtraSamples doesn't match",
        'TIFFFetchNormalTag:ASCII value for tag "GeoASCIIParams" contains null byte in value; value incorrectly',
        'TIFFFetchNormalTag:Incompatible type for "RichTIFFIPTC"; tag ignored',
        "error: PROJ: proj_create_from_database: crs not found: EPSG:99999",
        "HTTP error code: 503 - https://example.org/a.tif. Retrying again in 1.0 secs",
        "libpng: iCCP: known incorrect sRGB profile",
    ],
)
def test_messages_that_cost_no_pixel_are_no_damage(message: str) -> None:
    assert not is_damage(message)


def test_awkward_files_of_others_raise_no_alarm(shared_data: Path) -> None:
    for path in sorted((shared_data / "weird").glob("*.tif")):
        raster = open_raster(str(path), crs="local", require_crs=False)
        raster.read(Window(0, 0, min(512, raster.shape[0]), min(512, raster.shape[1])))
