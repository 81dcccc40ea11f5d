"""Imagery whose numbers are not those that a model is meant for is refused or doubted, and no other."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import geoseg
from geoseg import Band, ClassSpec, ModelSpec, Scaling, open_imagery
from geoseg.catalog import find_model
from geoseg.cli import main
from geoseg.errors import AssetMismatchError, GeosegWarning, RasterError, WorkflowError
from geoseg.grid import Window
from geoseg.imagery.checking import check_values
from geoseg.models.value_ranges import expected_ranges
from geoseg.raster.mosaic import Raster
from tests.networks import Constant, write_model
from tests.rasters import write_raster
from tests.stac import write_json, write_scene

BANDS = (Band("B02", "blue"), Band("B03", "green"), Band("B04", "red"), Band("B08", "nir"))


NAMES = ["B02", "B03", "B04", "B08"]


def model(*value_range: float, bands: int = 3, scalings: tuple[Scaling, ...] = ()) -> ModelSpec:
    ranges = (value_range,) if value_range else ()
    return ModelSpec("net", "semantic-segmentation", BANDS[:bands], (ClassSpec(0, "a"),), scalings, ranges)  # type: ignore[arg-type]


def crop(path: str = "delmarva") -> NDArray[np.uint16]:
    """Blue, green, red and near infrared of the shipped scene: Sentinel-2's digital numbers."""
    raster = open_imagery(path, bands=BANDS)
    return raster.read(Window(600, 600, 300, 300))[0]


@pytest.mark.parametrize(("pixel", "is_told"), [(10.0, True), (0.45, True), (0.35, False), (0.1, False)])
def test_imagery_that_is_much_coarser_than_its_model_is_told_of(tmp_path: Path, pixel: float, is_told: bool) -> None:
    path = write_raster(
        tmp_path / "a.tif", np.full((3, 8, 8), 99, np.uint8), transform=Affine(pixel, 0, 440_000, 0, -pixel, 4_199_000)
    )
    raster = open_imagery(str(path), resolution=0.2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GeosegWarning)
        note = check_values(raster, model(0, 255)).note
    assert [str(item.message) for item in caught] == ([note] if is_told else [])
    if pixel == 10:
        assert note is not None
        assert "imagery of 10 m is read at 0.2 m for model 'net', 2,500 times as many pixels" in note
        assert "--resolution 10 " in note


def opened(folder: Path, pixels: NDArray[Any], **more: Any) -> Raster:
    return open_imagery(str(write_raster(folder / "scene.tif", pixels, **more)))


@pytest.mark.parametrize("where", [np.s_[:, 580:], np.s_[:, 295:300], np.s_[:, 400:480, 40:90]])
def test_what_little_data_a_raster_has_is_found_and_looked_at(tmp_path: Path, where: tuple[slice, ...]) -> None:
    pixels = np.full((4, 600, 600), np.nan, np.float32)
    pixels[where] = np.tile(crop(), (2, 2))[where] / 10_000
    with pytest.raises(
        RasterError, match=r"lie between .* and model 'net' is meant for 0 to 10,000; give `--scale 10000`"
    ):
        check_values(opened(tmp_path, pixels), model(0, 10_000, bands=4))


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (Scaling("scale", value=255), (0, 255)),
        (Scaling("min-max", minimum=-25, maximum=5), (-25, 5)),
        (Scaling("clip", minimum=1, maximum=9), (1, 9)),
        (Scaling("z-score", mean=1200, stddev=500), (0, 2700)),
        (Scaling("z-score", mean=-12, stddev=4), (-24, 0)),
        (Scaling("none"), None),
        (Scaling("processing", expression="log(A)"), None),
    ],
)
def test_a_scaling_tells_which_numbers_it_is_for(scaling: Scaling, expected: Any) -> None:
    assert expected_ranges(model(scalings=(scaling,))) == (expected,) * 3
    assert expected_ranges(model(0, 7, scalings=(scaling,))) == ((0, 7),) * 3


def test_models_that_are_shipped_say_their_numbers() -> None:
    for name in ("sentinel2-land-cover", "dynamic-world"):
        spec = find_model(name)
        assert spec.value_range == ((0, 10_000),)
        assert set(spec.units) == {(0.0001, 0.0)}
    for name in ("buildings", "buildings-mask-rcnn", "land-cover-aerial", "mask-rcnn-coco", "sam3", "sam-vit-base"):
        assert find_model(name).value_range == ((0, 255),)


@pytest.mark.parametrize(
    ("factor", "dtype", "remedy"),
    [(1e-4, "float32", "--scale 10000` if they are parts of 1"), (1e-2, "float32", "--scale 100` if they are percent")],
)
def test_reflectance_is_refused_by_a_model_of_digital_numbers(
    factor: float, dtype: str, remedy: str, tmp_path: Path
) -> None:
    raster = opened(tmp_path, (crop() * factor).astype(dtype))
    with pytest.raises(
        RasterError, match=rf"most pixels of '.*scene\.tif' lie between .* meant for 0 to 10,000; .*{remedy}"
    ):
        check_values(raster, model(0, 10_000, bands=4))


def test_bytes_are_refused_by_a_model_of_digital_numbers(tmp_path: Path) -> None:
    raster = opened(tmp_path, np.clip(crop() / 12, 0, 255).astype("uint8"), descriptions=NAMES)
    with pytest.raises(RasterError, match="before it was stretched to bytes"):
        check_values(raster, model(0, 10_000, bands=4))


@pytest.mark.parametrize(("bits", "scale"), [(16, "0.003891"), (12, "0.06227"), (11, "0.1246")])
def test_more_than_8_bits_are_refused_by_a_model_of_bytes(bits: int, scale: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**bits, (3, 200, 200)).astype("uint16")
    with pytest.raises(RasterError, match=rf"meant for 0 to 255; give `--scale {scale}` if they fill {bits} bits"):
        check_values(opened(tmp_path, pixels), model(0, 255))


def test_colours_from_0_to_1_are_refused_by_a_model_of_bytes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((3, 99, 99)).astype("float32")
    with pytest.raises(RasterError, match="--scale 255` if they are parts of 1"):
        check_values(opened(tmp_path, pixels), model(0, 255))


def test_landsats_numbers_are_doubted_by_a_model_of_reflectance(tmp_path: Path) -> None:
    thirty = Affine(30, 0, 440_000, 0, -30, 4_200_000)
    raster = opened(tmp_path, ((crop() + 2000) / 0.275).astype("uint16"), transform=thirty)
    with pytest.warns(GeosegWarning, match="--scale 0.275 --offset -2000` if they are Landsat's Collection 2"):
        values = check_values(raster, model(0, 10_000, bands=4))
    assert "Landsat" in values.note


@given(low=st.integers(0, 254), span=st.integers(1, 255), seed=st.integers(0, 99))
def test_no_picture_of_bytes_is_doubted_by_a_model_of_bytes(
    low: int, span: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pixels = np.random.default_rng(seed).integers(low, min(256, low + span), (3, 70, 70)).astype("uint8")
    folder = tmp_path_factory.mktemp("bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_values(opened(folder, np.maximum(pixels, 1)), model(0, 255)).note == ""


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param((300, 200, 120, 30), id="dark water, corrected for the atmosphere"),
        pytest.param((900, 600, 400, 200), id="water under the atmosphere"),
        pytest.param((12_000, 12_500, 13_000, 14_000), id="cloud"),
        pytest.param((9_000, 9_500, 9_000, 5_000), id="snow"),
        pytest.param((3_000, 3_500, 4_500, 5_500), id="desert"),
        pytest.param((300, 500, 200, 4_000), id="forest"),
    ],
)
def test_dark_and_bright_scenes_are_not_doubted(scene: tuple[int, ...], tmp_path: Path) -> None:
    spread = np.random.default_rng(0).uniform(0.7, 1.3, (4, 128, 128))
    raster = opened(tmp_path, (spread * np.array(scene)[:, None, None]).astype("uint16"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_values(raster, model(0, 10_000, bands=4))


def test_the_shipped_scene_is_not_doubted() -> None:
    spec = find_model("sentinel2-land-cover")
    assert check_values(open_imagery("delmarva", bands=spec.bands, units=spec.units), spec).note == ""


def test_zeros_outside_of_a_swath_are_pointed_out(tmp_path: Path) -> None:
    pixels = crop()
    pixels[:, :, :120] = 0
    raster = opened(tmp_path, pixels)
    with pytest.warns(GeosegWarning, match=r"\d\d% of the pixels .* are 0 in every band .* give `--nodata 0`"):
        check_values(raster, model(0, 10_000, bands=4))
    assert check_values(open_imagery(str(tmp_path), nodata=0), model(0, 10_000, bands=4)).note == ""


@pytest.mark.parametrize(
    ("fill", "dtype", "meant"),
    [
        *((-9999, kind, 10_000) for kind in ("int16", "float32")),
        *((fill, "float32", 10_000) for fill in (-3.4028234663852886e38, 1e20)),
        *((-32768, "int16", 10_000), (65535, "uint16", 10_000), (255, "uint8", 255)),
    ],
)
def test_fill_that_no_file_declares_is_pointed_out(fill: float, dtype: str, meant: int, tmp_path: Path) -> None:
    pixels, number = (crop()[:3] * (meant / 10_000)).astype(dtype), re.escape(f"{fill:.9g}")
    pixels[:, :, :120] = fill
    with pytest.warns(GeosegWarning, match=rf"are {number} in every band .*`--nodata {number}` if"):
        values = check_values(opened(tmp_path, pixels), model(0, meant, bands=3))
    assert values.filled > 0.2
    again = check_values(open_imagery(str(tmp_path), nodata=float(f"{fill:.9g}")), model(0, meant, bands=3))
    assert (again.note, again.filled) == ("", 0)


@pytest.mark.parametrize(("fill", "scale", "offset"), [(65535, 0.0001, -0.1), (0, 0.0001, -0.1), (65535, None, -1000)])
def test_fill_is_pointed_out_as_it_is_stored(fill: int, scale: float | None, offset: float, tmp_path: Path) -> None:
    pixels = crop()[:3] + 1000
    pixels[:, :, :120] = fill
    write_raster(tmp_path / "a.tif", pixels, descriptions=NAMES[:3])
    words = {"scale": scale, "offset": offset}
    with pytest.warns(GeosegWarning, match=rf"are {fill} in every band .*`--nodata {fill}` if"):
        check_values(open_imagery(str(tmp_path), **words), model(0, 1 if scale else 10_000), is_given=True)
    again = check_values(open_imagery(str(tmp_path), nodata=fill, **words), model(0, 1 if scale else 10_000))
    assert (again.note, again.filled) == ("", 0)


def test_a_number_that_is_fill_of_bytes_is_only_a_number_elsewhere(tmp_path: Path) -> None:
    pixels = crop()
    pixels[:, :, :120] = 255
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_values(opened(tmp_path, pixels), model(0, 10_000, bands=4))


def test_a_person_who_says_scale_is_believed(tmp_path: Path) -> None:
    raster = opened(tmp_path, (crop() / 10_000).astype("float32"))
    with pytest.warns(GeosegWarning, match="correct scale and offset"):
        check_values(raster, model(0, 10_000, bands=4), is_given=True)


def test_few_windows_are_read_however_many_scenes_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raster = opened(tmp_path, np.full((3, 2000, 2000), 90, np.uint8))
    read: list[Window] = []
    real = Raster.read
    monkeypatch.setattr(Raster, "read", lambda self, window: (read.append(window), real(self, window))[1])
    check_values(raster, model(0, 255))
    assert len(read) == 5
    assert max(window.area for window in read) <= 64 * 64


def test_windows_without_data_are_passed_over(tmp_path: Path) -> None:
    pixels = np.zeros((3, 1000, 1000), np.uint8)
    pixels[:, 260:340, 260:340] = 90
    values = check_values(opened(tmp_path, pixels, nodata=0), model(0, 255))
    assert [band.middle for band in values.bands] == [90, 90, 90]
    assert check_values(opened(tmp_path, pixels * 0, nodata=0), model(0, 255)).bands == ()


def test_histograms_count_every_pixel_that_was_looked_at(tmp_path: Path) -> None:
    values = check_values(opened(tmp_path, crop()), model(0, 10_000, bands=4))
    assert [sum(band.counts) for band in values.bands] == [values.pixels] * 4
    assert json.loads(json.dumps(values.summary()))["bands"][0]["name"] == "1"


def test_an_item_that_contradicts_its_file_is_named_by_the_plan_and_overruled_by_scale(tmp_path: Path) -> None:
    item = write_scene(tmp_path, "s", {"B04": np.full((80, 80), 900, np.uint16), "B08": np.full((80, 80), 9, np.uint8)})
    item["assets"]["b04"]["bands"][0]["data_type"] = "uint8"
    path = str(write_json(tmp_path / "item.json", item))
    network = write_model(tmp_path / "model", Constant(), name="same")
    plan: dict[str, Any] = {"model": str(network), "input": path, "bands": ["red", "nir"]}
    with pytest.raises(AssetMismatchError, match=r"has uint16 pixels and its catalog says uint8; give `--scale 1`"):
        geoseg.plan(plan)
    made = geoseg.plan(plan, scale=1)
    assert made.values is not None
    assert [band.middle for band in made.values.bands] == [900, 9]


@pytest.mark.filterwarnings("default::geoseg.errors.GeosegWarning")
def test_the_terminal_the_manifest_and_the_report_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = write_model(tmp_path / "model", Constant(), name="same", bands=4)
    document = json.loads(network.read_text())
    document["properties"]["geoseg:value_range"] = [0, 10_000]
    network.write_text(json.dumps(document))
    pixels = crop()
    pixels[:, :, :120] = 0
    scene = write_raster(tmp_path / "scene.tif", pixels)
    (tmp_path / "map.yaml").write_text(f"model: {network}\nramp: 8\nworkers: 1\nbands: [1, 2, 3, 4]\nfeatures: []\n")
    out = tmp_path / "out"
    words = [str(tmp_path / "map.yaml"), "--input", str(scene), "--output", str(out)]
    assert main(["plan", *words, "--scale", "0.0001"]) == 0
    assert "note: most pixels of" in capsys.readouterr().err
    assert main(["run", *words]) == 0
    sentence = "are 0 in every band and are mapped like any other; give `--nodata 0` if nothing was recorded there."
    assert sentence in capsys.readouterr().err.replace("\n", " ")
    assert sentence in json.loads((out / "run.json").read_text())["plan"]["values"]["note"]
    page = (out / "report.html").read_text()
    assert "Pixel values" in page
    assert sentence in page
    write_raster(scene, (crop() / 10_000).astype("float32"))
    assert main(["run", *words, "--output", str(tmp_path / "refused")]) == 3
    assert "give `--scale 10000` if they are parts of 1" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("is_item", [False, True])
@pytest.mark.parametrize(("is_imagery", "notes"), [(True, 1), (False, 0)])
def test_an_alpha_band_that_is_imagery_is_pointed_out(
    is_imagery: bool, notes: int, is_item: bool, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(40, 200, (4, 256, 256)).astype("uint8")
    if not is_imagery:
        pixels[3] = 255
    pixels[3, :, 128:] = 0
    raster = opened(tmp_path, pixels, colorinterp=["red", "green", "blue", "alpha"])
    if is_item:
        image = {"href": raster.sources[0].path, "type": "image/tiff; application=geotiff", "roles": ["data"]}
        item = write_scene(tmp_path, "s", {"B04": pixels[0]}) | {"assets": {"image": image}}
        raster = open_imagery(str(write_json(tmp_path / "item.json", item)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_values(raster, model(0, 255))
    found = [str(item.message) for item in caught if issubclass(item.category, GeosegWarning)]
    assert len(found) == notes
    assert all("band 4 of" in sentence and "-colorinterp_4 undefined" in sentence for sentence in found)


@pytest.mark.parametrize("scale", [0, -1])
def test_a_scale_that_leaves_no_numbers_is_refused(scale: float, tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match=f"scale: {scale}.*greater than 0"):
        geoseg.plan({"model": "sentinel2-land-cover", "input": str(tmp_path / "a.tif"), "scale": scale})
