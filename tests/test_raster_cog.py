"""Labels arrive in a Cloud Optimized GeoTIFF as they were, with colours, names, nodata and overviews."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.errors import OutputError, WindowError
from geoseg.grid import Window
from geoseg.raster import open_raster, write_cog
from geoseg.raster.cog import most_frequent
from tests.rasters import TEN_METRES

COLORS = {0: (10, 20, 30), 1: (200, 0, 0), 2: (0, 200, 0)}
NAMES = {0: "water", 2: "trees & shrubs <3 m"}


def labels_of(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 3, (height, width)).astype(np.uint8)


def cut(labels: NDArray[Any], size: int) -> Iterator[tuple[Window, NDArray[Any]]]:
    """Give an array in windows, from the last to the first."""
    height, width = labels.shape
    for y in reversed(range(0, height, size)):
        for x in reversed(range(0, width, size)):
            part = labels[y : y + size, x : x + size]
            yield Window(y, x, *part.shape), part


def directories(path: Path) -> list[dict[int, Any]]:
    """Read the directories of a little-endian classic TIFF: tag -> (type, count, value or offset)."""
    content = path.read_bytes()
    assert content[:4] == b"II*\0"
    (offset,) = struct.unpack_from("<I", content, 4)
    found = []
    while offset:
        (count,) = struct.unpack_from("<H", content, offset)
        entries = {}
        for entry in range(count):
            tag, kind, number, value = struct.unpack_from("<HHII", content, offset + 2 + 12 * entry)
            long = 4
            entries[tag] = [value] if number == 1 else []
            if number > 1 and kind == long:
                entries[tag] = list(struct.unpack_from(f"<{number}I", content, value))
        found.append({"at": offset, **entries})  # type: ignore[dict-item]
        (offset,) = struct.unpack_from("<I", content, offset + 2 + 12 * count)
    return found


@pytest.mark.parametrize("size", [512, 300, 4096])
def test_labels_come_back_with_everything_that_belongs_to_them(tmp_path: Path, size: int) -> None:
    labels = labels_of(1100, 1300)
    path = write_cog(
        tmp_path / "out" / "labels.tif", labels.shape, TEN_METRES, "EPSG:32618", cut(labels, size),
        colors=COLORS, categories=NAMES, tags={"MODEL": "land cover"},
    )  # fmt: skip
    with rasterio.open(path) as dataset:
        assert np.array_equal(dataset.read(1), labels)
        assert dataset.transform == TEN_METRES
        assert dataset.crs.to_epsg() == 32618
        assert dataset.nodata == 255
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.descriptions == ("labels",)
        assert dataset.colorinterp[0].name == "palette"
        assert {value: dataset.colormap(1)[value][:3] for value in COLORS} == COLORS
        assert dataset.compression.name == "deflate"
        tags = dataset.tags()
    assert tags["CLASS_0"] == "water"
    assert tags["CLASS_2"] == "trees & shrubs <3 m"
    assert tags["MODEL"] == "land cover"
    assert sorted(item.name for item in path.parent.iterdir()) == ["labels.tif", "labels.tif.aux.xml"]


def test_gdal_shows_the_class_names(tmp_path: Path) -> None:
    labels = labels_of(20, 20)
    path = write_cog(tmp_path / "a.tif", (20, 20), TEN_METRES, "EPSG:32618", cut(labels, 20), categories=NAMES)
    with rasterio.open(path) as dataset:
        rasterio.shutil.copy(dataset, tmp_path / "a.vrt", driver="VRT")
    shown = (tmp_path / "a.vrt").read_text()
    assert "<Category>water</Category>" in shown
    assert "<Category>trees &amp; shrubs &lt;3 m</Category>" in shown


def test_the_file_has_the_layout_of_a_cog(tmp_path: Path) -> None:
    labels = labels_of(2100, 1300)
    path = write_cog(tmp_path / "a.tif", labels.shape, TEN_METRES, "EPSG:32618", cut(labels, 512), colors=COLORS)
    with rasterio.open(path) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.overviews(1) == [2, 4, 8]
    levels = directories(path)
    positions = [level["at"] for level in levels]  # type: ignore[index]
    assert positions == sorted(positions)  # directories first, the full one before its overviews
    offsets, widths = 324, 256
    assert [level[widths][0] for level in levels] == [1300, 650, 325, 163]
    first_pixels = [min(level[offsets]) for level in levels]
    assert max(positions) < min(first_pixels)  # a reader that wants the header gets it in one go
    assert first_pixels == sorted(first_pixels, reverse=True)  # coarse pixels before fine ones


@given(height=st.integers(1, 7), width=st.integers(1, 7), values=st.lists(st.integers(0, 3), min_size=49, max_size=49))
def test_an_overview_takes_the_most_frequent_label_and_the_first_of_equals(
    height: int, width: int, values: list[int]
) -> None:
    labels = np.array(values, np.uint8).reshape(7, 7)[:height, :width]
    halved = most_frequent(labels)
    assert halved.shape == ((height + 1) // 2, (width + 1) // 2)
    for y, x in np.ndindex(halved.shape):
        four = [int(labels[min(2 * y + i, height - 1), min(2 * x + j, width - 1)]) for i in (0, 1) for j in (0, 1)]
        assert halved[y, x] == max(four, key=four.count)


@pytest.mark.parametrize("resampling", ["mode", "nearest"])
def test_overviews_are_made_level_by_level(tmp_path: Path, resampling: Any) -> None:
    labels = labels_of(2300, 1101)
    path = write_cog(
        tmp_path / "a.tif", labels.shape, TEN_METRES, None, cut(labels, 700), overview_resampling=resampling
    )
    for level in range(3):
        labels = most_frequent(labels) if resampling == "mode" else labels[::2, ::2]
        with rasterio.open(path, overview_level=level) as dataset:
            assert np.array_equal(dataset.read(1), labels)


def test_what_is_not_written_is_nodata(tmp_path: Path) -> None:
    window = Window(600, 10, 5, 7)
    path = write_cog(tmp_path / "a.tif", (700, 700), TEN_METRES, "EPSG:32618", [(window, labels_of(5, 7))])
    _, mask = open_raster(path).read(Window(0, 0, 700, 700))
    assert mask.sum() == 35
    assert mask[window.slices()].all()


def test_wider_types_hold_ids(tmp_path: Path) -> None:
    ids = np.arange(600 * 600, dtype=np.uint32).reshape(600, 600)
    path = write_cog(tmp_path / "a.tif", (600, 600), TEN_METRES, None, cut(ids, 512), dtype="uint32", nodata=0)
    with rasterio.open(path) as dataset:
        assert np.array_equal(dataset.read(1), ids)


@pytest.mark.parametrize(
    ("window", "shape"), [(Window(0, 0, 5, 5), (5, 4)), (Window(8, 0, 5, 5), (5, 5)), (Window(-1, 0, 5, 5), (5, 5))]
)
def test_a_window_that_does_not_fit_is_refused_and_leaves_nothing(
    tmp_path: Path, window: Window, shape: tuple[int, int]
) -> None:
    with pytest.raises(WindowError, match="do not fit"):
        write_cog(tmp_path / "a.tif", (10, 10), TEN_METRES, None, [(window, np.zeros(shape, np.uint8))])
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif", (10, 10), TEN_METRES, None, cut(labels_of(10, 10), 10), categories=NAMES)

    def broken() -> Iterator[tuple[Window, NDArray[Any]]]:
        yield Window(0, 0, 1, 1), np.ones((1, 1), np.uint8)
        raise KeyboardInterrupt

    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_cog(path, (10, 10), TEN_METRES, None, broken())
    assert path.read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.tif", "a.tif.aux.xml"]
    write_cog(path, (10, 10), TEN_METRES, None, cut(labels_of(10, 10), 10))
    assert [item.name for item in tmp_path.iterdir()] == ["a.tif"]


def test_a_place_that_cannot_be_written_is_one_sentence_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    places = [tmp_path / "file" / "labels.tif"]
    if os.getuid() != 0:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        places.append(locked / "labels.tif")
    for path in [*places, Path("/proc/labels.tif")]:
        with pytest.raises(OutputError, match=r"labels\.tif' cannot be written .* choose a folder") as caught:
            write_cog(path, (4, 4), TEN_METRES, None, cut(labels_of(4, 4), 4))
        assert "\n" not in str(caught.value)


def test_a_folder_where_the_file_goes_is_refused_before_any_pixel_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.tif"
    path.mkdir()
    with pytest.raises(OutputError) as caught:
        write_cog(path, (4, 4), TEN_METRES, None, iter(()))
    assert str(caught.value) == f"'{path}' is a folder; remove it, or choose another name or folder for the output."
    assert [item.name for item in tmp_path.iterdir()] == ["labels.tif"]


def test_a_full_disk_is_one_sentence_with_the_remedy(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    import signal

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(OutputError, match="space"):
            write_cog(tmp_path / "a.tif", (2048, 2048), TEN_METRES, None, cut(labels_of(2048, 2048), 512))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
