"""A model as the mask of an input removes what its labels, given by hand as a mask, remove."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from distributed import Client
from numpy.typing import NDArray

import geoseg
from geoseg.cli import main
from geoseg.engine import Ended, Started, connect
from geoseg.errors import FingerprintError, GridError
from geoseg.workflow.masking import within
from tests.networks import Constant, write_model
from tests.rasters import write_raster
from tests.stac import collection_of, write_json, write_scene
from tests.test_packagings import MEAN, NOTE, SEGMENTOR, save_onnx

HEIGHT, WIDTH = 150, 170
BANDS = ("red", "green", "blue")
CLOUD = 2
pytestmark = pytest.mark.filterwarnings(f"ignore:.*{NOTE}:geoseg.errors.GeosegWarning")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1) as client:
        yield client


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for the map at 10 m, and one for the mask at 20 m, with other statistics."""
    folder = tmp_path_factory.mktemp("models")
    for name, resolution, mean in (("land", 1000, MEAN), ("clouds", 2000, [0.6, 0.2, 0.5])):
        said = SEGMENTOR | {"resolution": resolution, "standardization_mean": mean, "standardization_std": [0.3] * 3}
        save_onnx(folder / f"{name}.onnx", said, activation=torch.nn.Softmax(1))
    return folder


def patchy(seed: int) -> NDArray[np.uint8]:
    """Noise in squares of 8 px: uint8, shape (3, y, x)."""
    small = np.random.default_rng(seed).integers(1, 256, (3, HEIGHT // 8 + 1, WIDTH // 8 + 1), dtype=np.uint8)
    return np.kron(small, np.ones((1, 8, 8), np.uint8))[:, :HEIGHT, :WIDTH]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """One file a band."""
    pixels = patchy(1)
    return {
        band: str(write_raster(tmp_path / f"{band}.tif", pixels[number], nodata=0)) for number, band in enumerate(BANDS)
    }


def run(models: Path, output: Path, client: Client, **given: Any) -> NDArray[np.uint8]:
    settings = {"model": str(models / "land.onnx"), "bands": BANDS, "features": [], "report": False, **given}
    geoseg.run(output=output, client=client, **settings)
    return labels_in(output)


def labels_in(output: Path) -> NDArray[np.uint8]:
    with rasterio.open(output / "labels.tif") as labels:
        pixels: NDArray[np.uint8] = labels.read(1)
    return pixels


def clouds(models: Path, output: Path, client: Client, **given: Any) -> str:
    run(models, output, client, **{"model": str(models / "clouds.onnx"), **given})
    return str(output / "labels.tif")


def mask(models: Path, *classes: str, **more: Any) -> dict[str, Any]:
    return {"model": str(models / "clouds.onnx"), "exclude": list(classes or ["woodland"]), "bands": BANDS, **more}


def test_labels_are_those_of_a_mask_that_was_made_by_hand(
    models: Path, files: dict[str, str], client: Client, tmp_path: Path
) -> None:
    by_hand = clouds(models, tmp_path / "clouds", client, input=files)
    rule = {"asset": "clouds", "exclude": [CLOUD]}
    expected = run(models, tmp_path / "by-hand", client, input={**files, "clouds": by_hand}, mask=rule)
    whole = run(models, tmp_path / "whole", client, input=files)
    labels = run(models, tmp_path / "out", client, input=files, mask=mask(models))
    assert 0.1 < (expected == 255).mean() < 0.9
    assert (whole[expected != 255] != expected[expected != 255]).any(), "no pixel looks different beside a hole"
    np.testing.assert_array_equal(labels, expected)
    blocks = run(models, tmp_path / "blocks", client, input=files, mask=mask(models), block_tiles=3)
    np.testing.assert_array_equal(blocks, expected)
    stacked = np.stack([rasterio.open(path).read(1) for path in files.values()])
    one = write_raster(tmp_path / "one.tif", stacked, nodata=0, descriptions=BANDS)
    np.testing.assert_array_equal(run(models, tmp_path / "of-one", client, input=str(one), mask=mask(models)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("mosaic", ["first", "median"])
def test_each_scene_of_a_mosaic_has_its_own_mask(models: Path, client: Client, tmp_path: Path, mosaic: str) -> None:
    corners = (440_000.0, 4_200_000.0), (440_400.0, 4_199_700.0)
    items = [
        write_scene(tmp_path / "scenes", f"s{number}", dict(zip(BANDS, patchy(number), strict=True)), corner=corner)
        for number, corner in enumerate(corners)
    ]
    catalog = write_json(tmp_path / "items.json", collection_of(*items))
    region = "440300,4198400,441900,4199800,EPSG:32618"
    given = {"input": str(catalog), "mosaic": mosaic, "region": region}
    for number, item in enumerate(items):
        own = write_json(tmp_path / f"item{number}.json", item)
        found = clouds(models, tmp_path / f"clouds{number}", client, input=str(own), region=region)
        with rasterio.open(found) as labels:
            place = {"proj:shape": list(labels.shape), "proj:transform": list(labels.transform)[:6]}
        item["assets"]["clouds"] = {"href": found, "roles": ["data"], "bands": [{"name": "clouds"}], **place}
    write_json(tmp_path / "masked.json", collection_of(*items))
    rule = {"asset": "clouds", "exclude": [CLOUD]}
    expected = run(
        models, tmp_path / "by-hand", client, **given | {"input": str(tmp_path / "masked.json"), "mask": rule}
    )
    labels = run(models, tmp_path / "out", client, mask=mask(models), **given)
    assert 0 < (expected == 255).mean() < 0.5
    np.testing.assert_array_equal(labels, expected)
    assert sorted(path.name for path in (tmp_path / "out" / "mask").iterdir()) == ["s0", "s1"]


def test_several_files_are_masked_one_by_one_and_only_around_the_region(
    models: Path, client: Client, tmp_path: Path
) -> None:
    paths = [str(write_raster(tmp_path / f"{n}.tif", patchy(n), nodata=0, descriptions=BANDS)) for n in range(2)]
    folder = tmp_path / "out"
    labels = run(models, folder, client, input=paths, mask=mask(models), mosaic="median")
    near = run(
        models,
        tmp_path / "near",
        client,
        input=paths,
        mask=mask(models),
        mosaic="median",
        region="440100,4199500,440300,4199900,EPSG:32618",
    )
    inside = near != 255
    assert 0.02 < inside.mean() < 0.1
    np.testing.assert_array_equal(near[inside], labels[inside])
    assert (labels_in(tmp_path / "near" / "mask" / "0") == 255).any()


def test_a_run_goes_on_with_the_masks_that_it_has(
    models: Path, files: dict[str, str], client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    given = {"input": files, "mask": mask(models), "bands": list(BANDS), "output": str(folder), "features": []}
    workflow = write_json(tmp_path / "w.yaml", {"model": str(models / "land.onnx"), **given})
    said = "woodland of clouds in 1 scene, to be found first"
    assert geoseg.plan(str(workflow)).mask == said
    assert main(["plan", str(workflow)]) == 0
    assert said in capsys.readouterr().out
    labels = run(models, folder, client, input=files, mask=mask(models))
    found = folder / "mask" / "red" / "labels.tif"
    before = found.stat().st_mtime_ns
    made = geoseg.plan(str(workflow), report=False)
    assert (made.mask, made.tiles_to_predict) == ("woodland of clouds in 1 scene, found", 0)
    assert geoseg.run(str(workflow), report=False, client=client).is_unchanged
    (folder / "labels.tif").unlink()
    geoseg.resume(folder, client=client)
    assert found.stat().st_mtime_ns == before
    np.testing.assert_array_equal(labels_in(folder), labels)
    with pytest.raises(FingerprintError):
        run(models, folder, client, input=files, mask=mask(models, "building"))
    assert json.dumps(str(found)) in (folder / "run.json").read_text()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"exclude": ["clouds"]}, "mask excludes 'clouds', no class of 'clouds'; "),
        ({"exclude": None}, "not which of its classes are not used (_background, building, woodland)"),
        ({"excludes": [1]}, "mask has an unknown key 'excludes'; did you mean 'exclude'"),
        ({"model": "no-such-model"}, "no-such-model"),
    ],
)
def test_a_mask_that_cannot_be_used_is_one_sentence(
    models: Path,
    files: dict[str, str],
    tmp_path: Path,
    change: dict[str, Any],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"model": str(models / "land.onnx"), "input": files, "bands": list(BANDS), "mask": mask(models) | change}
    workflow = write_json(tmp_path / "w.yaml", given | {"output": str(tmp_path / "out")})
    for command in ("plan", "run"):
        assert main([command, str(workflow)]) != 0
        error = capsys.readouterr().err
        assert sentence in error
        assert "Traceback" not in error


def test_tiles_of_a_mask_that_cannot_be_laid_out_are_said_to_be_its_own(
    models: Path, files: dict[str, str], tmp_path: Path
) -> None:
    narrow = write_model(tmp_path / "narrow", Constant(), name="narrow", halo=20, tile_size=64)
    with pytest.raises(GridError, match=r"^of the mask's model 'narrow', tile_size 64 px is too small for halo 20"):
        geoseg.plan(
            model=str(models / "land.onnx"), input=files, bands=list(BANDS), output=str(tmp_path / "out"),
            mask={"model": str(narrow), "exclude": [0], "bands": BANDS[:2]},
        )  # fmt: skip


def test_a_mask_that_is_being_found_tells_of_itself_and_ends_only_by_an_error() -> None:
    events: list[Any] = []
    tell = within(events.append)
    error = Ended(KeyboardInterrupt())
    for event in (Started("mapping", "", {}), Ended(), error):
        tell(event)
    assert events == [Started("mapping", "", {}), error]


def test_the_entry_of_cloud_mask_says_what_is_masked() -> None:
    from geoseg.catalog import find_model

    assert find_model("cloud-mask").mask == ("cloud", "cloud_shadow")


def test_each_of_two_dates_has_its_own_mask(models: Path, client: Client, tmp_path: Path) -> None:
    seen = {at: patchy(seed) for seed, at in enumerate("ab", start=1)}
    paths = {
        at: str(write_raster(tmp_path / f"{at}.tif", pixels, nodata=0, descriptions=BANDS))
        for at, pixels in seen.items()
    }
    found = [labels_in(Path(clouds(models, tmp_path / at, client, input=path)).parent) for at, path in paths.items()]
    hidden = np.logical_or(*(np.kron(labels, np.ones((2, 2))) == CLOUD for labels in found))
    stacked = np.concatenate([seen["a"][:2], seen["b"][2:]])
    stacked[:, hidden[:HEIGHT, :WIDTH]] = 0
    by_hand = write_raster(tmp_path / "stacked.tif", stacked, nodata=0, descriptions=BANDS)
    dates = {at: {"input": paths[at], "bands": list(bands)} for at, bands in (("a", BANDS[:2]), ("b", BANDS[2:]))}
    labels = run(models, tmp_path / "out", client, input=dates, mask=mask(models))
    np.testing.assert_array_equal(labels, run(models, tmp_path / "by-hand", client, input=str(by_hand)))
    assert {path.name for path in (tmp_path / "out" / "mask").iterdir()} == {"a-a", "b-b"}
