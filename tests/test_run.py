"""Whole runs on a real Dask cluster: the same map and the same polygons, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
import shapely.geometry
import torch
from distributed import Client, LocalCluster
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

import geoseg
from geoseg.catalog import find_imagery, find_model
from geoseg.engine import Event, connect
from geoseg.errors import BlockError, CatalogError, FingerprintError, ModelError, OutputError
from geoseg.models.precision import multiplies_halves
from geoseg.report.record import read_record
from geoseg.store import RunFolder
from tests.killing import kill_in_the_middle
from tests.networks import Box, Constant, write_model
from tests.rasters import write_raster

HEIGHT, WIDTH, HALO, TILE = 310, 283, 3, 64


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two real worker processes, shared by the runs of this file."""
    with connect(None, 2) as client:
        yield client


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth fields in two bands with a hole of nodata, so that faces are larger than tiles and blocks."""
    rng = np.random.default_rng(3)
    fields = np.stack([gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 4) for _ in range(2)])
    pixels = (128 + 60 * fields / fields.std()).clip(1, 255).astype(np.uint8)
    pixels[:, 100:130, 90:170] = 0
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", pixels, nodata=0)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), Box(HALO), name="box", halo=HALO, tile_size=TILE)


def settings(scene: Path, model: Path, output: Path, **more: Any) -> dict[str, Any]:
    return {"model": str(model), "input": str(scene), "output": str(output), "ramp": 8, "workers": 2, **more}


def labels_of(output: Path) -> NDArray[np.uint8]:
    with rasterio.open(output / "labels.tif") as source:
        return source.read(1)


def polygons_of(output: Path) -> list[tuple[Any, ...]]:
    frame = gpd.read_file(output / "features.gpkg", layer="land_use")
    return [tuple(row) for row in frame.assign(geometry=frame.geometry.to_wkb()).itertuples(index=False)]


@pytest.fixture(scope="module")
def reference(scene: Path, box: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run in one block of 8 x 8 tiles; the raster has 7 x 6."""
    output = tmp_path_factory.mktemp("reference") / "out"
    geoseg.run(settings(scene, box, output, block_tiles=8), client=client)
    return output


def test_a_box_filter_gives_the_whole_image_result_bit_for_bit(scene: Path, reference: Path) -> None:
    with rasterio.open(scene) as source:
        pixels, valid = source.read().astype(np.float32), source.dataset_mask() > 0
    padded = np.pad(pixels, ((0, 0), (HALO, HALO), (HALO, HALO)), mode="reflect")
    with torch.inference_mode():
        probabilities = Box(HALO)(torch.from_numpy(padded)[None]).softmax(1)[0, :, HALO:-HALO, HALO:-HALO]
    integers = (probabilities * 32767).round().to(torch.int16).numpy()
    expected = np.where(valid, integers.argmax(0), 255)
    np.testing.assert_array_equal(labels_of(reference), expected)


@pytest.mark.parametrize("block_tiles", [(1, 1), (3, 2)])
def test_labels_and_polygons_are_the_same_for_every_block_size(
    block_tiles: tuple[int, int], scene: Path, box: Path, client: Client, reference: Path, tmp_path: Path
) -> None:
    geoseg.run(settings(scene, box, tmp_path / "out", block_tiles=block_tiles), client=client)
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), labels_of(reference))
    assert polygons_of(tmp_path / "out") == polygons_of(reference)


def test_labels_and_polygons_are_the_same_with_one_worker(
    scene: Path, box: Path, reference: Path, tmp_path: Path
) -> None:
    result = geoseg.run(settings(scene, box, tmp_path / "out", block_tiles=2, workers=1))
    assert result.plan.workers == 1
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), labels_of(reference))
    assert polygons_of(tmp_path / "out") == polygons_of(reference)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_real_network_on_real_imagery_gives_the_same_bits_for_every_layout(
    precision: str, client: Client, tmp_path: Path
) -> None:
    if precision == "bfloat16" and not multiplies_halves():
        pytest.skip("this CPU has no instructions for bfloat16")
    scene = find_imagery("delmarva").paths[0]
    with rasterio.open(scene) as source:
        window = rasterio.windows.Window(300, 200, 460, 420)
        small = write_raster(
            tmp_path / "small.tif",
            source.read(window=window),
            transform=source.window_transform(window),
            descriptions=source.descriptions,
        )
    wanted = {"model": "sentinel2-land-cover", "input": str(small), "tile_size": 256, "precision": precision}
    for block_tiles in (1, 3):
        output, batch = str(tmp_path / f"out-{block_tiles}"), 1 if precision == "float32" else block_tiles
        ran = geoseg.run(wanted, output=output, block_tiles=block_tiles, batch_size=batch, client=client)
        assert ran.plan.tile_count > 4
    np.testing.assert_array_equal(labels_of(tmp_path / "out-1"), labels_of(tmp_path / "out-3"))
    assert polygons_of(tmp_path / "out-1") == polygons_of(tmp_path / "out-3")


def test_the_lazy_array_has_the_same_labels_and_lies_where_the_raster_lies(
    scene: Path, box: Path, reference: Path
) -> None:
    lazy = geoseg.segment(scene, str(box), ramp=8, block_tiles=2)
    assert len(lazy.data.chunks[0]) > 1
    with rasterio.open(scene) as source:
        assert lazy.odc.geobox.affine == source.transform
        assert lazy.odc.crs == source.crs
        assert float(lazy.x[0]) == source.transform.c + source.transform.a / 2
    np.testing.assert_array_equal(lazy.compute(scheduler="threads").to_numpy(), labels_of(reference))


def test_a_constant_model_gives_a_constant_map(scene: Path, client: Client, tmp_path: Path) -> None:
    model = write_model(tmp_path, Constant(), name="constant", halo=4, tile_size=TILE)
    geoseg.run(settings(scene, model, tmp_path / "out", block_tiles=2), client=client)
    with rasterio.open(scene) as source:
        valid = source.dataset_mask() > 0
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), np.where(valid, 1, 255))
    polygons = gpd.read_file(tmp_path / "out" / "features.gpkg", layer="land_use")
    assert polygons["class"].tolist() == [1]
    assert polygons["name"].tolist() == ["trees"]
    assert polygons["confidence"].iloc[0] == pytest.approx(
        torch.tensor([0.1, 0.7, 0.3]).softmax(0)[1].item(), abs=0.003
    )


def test_polygons_cover_exactly_the_labelled_pixels(reference: Path) -> None:
    labels = labels_of(reference)
    frame = gpd.read_file(reference / "features.gpkg", layer="land_use")
    assert frame.geometry.is_valid.all()
    for value in range(3):
        assert frame[frame["class"] == value].area.sum() == pytest.approx((labels == value).sum() * 100)


def test_the_label_raster_is_a_cog_with_colours_names_and_nodata(reference: Path) -> None:
    with rasterio.open(reference / "labels.tif") as source:
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert source.nodata == 255
        assert source.colormap(1)[0][:3] == (0x41, 0x9B, 0xDF)


def test_the_manifest_says_what_ran(scene: Path, reference: Path) -> None:
    manifest = json.loads((reference / "run.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["blocks"]["done"] == {"predict": 1, "finish": 1, "trace": 1}
    assert manifest["blocks"]["failed"] == {}
    assert str(scene) in json.dumps(manifest["inputs"])
    assert manifest["plan"]["tiles"] == 42
    assert {"geoseg", "torch", "rasterio"} <= set(manifest["versions"])
    assert manifest["seconds"]["total"] > 0


def test_a_finished_run_repeats_nothing(scene: Path, box: Path, client: Client, tmp_path: Path) -> None:
    wanted = settings(scene, box, tmp_path / "out", block_tiles=2)
    blocks = geoseg.run(wanted, client=client).plan.block_count
    again = geoseg.run(wanted, client=client)
    assert not again.outcome.done
    assert again.outcome.kept == {"predict": blocks, "finish": blocks, "trace": blocks, "join": 5}


def test_other_settings_in_the_same_folder_are_refused_until_overwrite(
    scene: Path, box: Path, client: Client, tmp_path: Path
) -> None:
    wanted = settings(scene, box, tmp_path / "out", block_tiles=8)
    geoseg.run(wanted, client=client)
    with pytest.raises(FingerprintError, match="--overwrite"):
        geoseg.run(wanted, client=client, block_tiles=2)
    assert geoseg.run(wanted, client=client, block_tiles=2, overwrite=True).outcome.done["predict"] > 1


def test_a_changed_raster_and_changed_weights_are_noticed(scene: Path, client: Client, tmp_path: Path) -> None:
    copy = tmp_path / "scene.tif"
    copy.write_bytes(scene.read_bytes())
    model = write_model(tmp_path, Box(1), name="box", halo=HALO, tile_size=TILE)
    wanted = settings(copy, model, tmp_path / "out", block_tiles=8)
    geoseg.run(wanted, client=client)
    with rasterio.open(copy, "r+") as target:
        target.write(np.full((2, 5, 5), 9, np.uint8), window=rasterio.windows.Window(0, 0, 5, 5))
    with pytest.raises(FingerprintError, match=r"input scene.tif has another content\. "):
        geoseg.run(wanted, client=client)
    geoseg.run(wanted, client=client, overwrite=True)
    write_model(tmp_path, Box(2), name="box", halo=HALO, tile_size=TILE)
    with pytest.raises(FingerprintError, match="weights"):
        geoseg.run(wanted, client=client)


@pytest.mark.slow
def test_after_kill_9_the_second_start_repeats_only_blocks_in_flight_and_the_result_is_the_same(
    scene: Path, box: Path, reference: Path, tmp_path: Path
) -> None:
    wanted = settings(scene, box, tmp_path / "out", block_tiles=1)
    folder = RunFolder(tmp_path / "out")
    kill_in_the_middle(wanted, folder.state / "finish", 8)
    finished, predicted = folder.journal("finish").places(), folder.journal("predict").places()
    row, col = min(finished)
    folder.strips.file(row, col, "draft").touch()  # as when it is killed between a block's mark and what follows
    assert 8 <= len(finished) < 42, "the run was not interrupted in the middle"
    events: list[Event] = []
    result = geoseg.run(wanted, progress=events.append)
    repeated = {e.place for e in events if isinstance(e, Event) and e.status == "done" and e.stage == "predict"}
    assert repeated.isdisjoint(predicted)
    assert result.outcome.done["predict"] == 42 - len(predicted)
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), labels_of(reference))
    assert polygons_of(tmp_path / "out") == polygons_of(reference)
    assert os.listdir(folder.state / "strips") == [] or all(
        "right" in n or "below" in n or "corner" in n for n in os.listdir(folder.state / "strips")
    )


def test_a_lost_strip_means_predicting_its_block_again_and_nothing_else_changes(
    scene: Path, box: Path, client: Client, reference: Path, tmp_path: Path
) -> None:
    wanted = settings(scene, box, tmp_path / "out", block_tiles=3)
    geoseg.run(wanted, client=client)
    folder = RunFolder(tmp_path / "out")
    block = next(b for b in geoseg.plan(wanted).blocks() if (b.row, b.col) == (1, 1))
    for stage in ("predict", "finish"):
        (folder.state / stage / block.id).unlink()
    (folder.outlines / "trace" / "1-1").unlink()
    again = geoseg.run(wanted, client=client)
    assert again.outcome.done == {"predict": 4, "finish": 1, "trace": 1}
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), labels_of(reference))
    assert polygons_of(tmp_path / "out") == polygons_of(reference)


def test_a_region_is_mapped_alike_and_only_its_blocks_run(
    scene: Path, box: Path, client: Client, reference: Path, tmp_path: Path
) -> None:
    with rasterio.open(scene) as source:
        left, top = source.transform @ (40, 30)
        right, bottom = source.transform @ (120, 110)
    region = f"{left},{bottom},{right},{top},EPSG:32618"
    result = geoseg.run(settings(scene, box, tmp_path / "out", block_tiles=1, region=region), client=client)
    assert 0 < result.plan.block_count < 42
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    expected[30:110, 40:120] = labels_of(reference)[30:110, 40:120]
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), expected)
    frame = gpd.read_file(tmp_path / "out" / "features.gpkg", layer="land_use")
    assert frame.area.sum() == pytest.approx((expected != 255).sum() * 100)


def nodata_polygons(source: rasterio.DatasetReader) -> list[shapely.Geometry]:
    mask = source.dataset_mask()
    shapes = rasterio.features.shapes(mask, mask=mask == 0, transform=source.transform)
    return [shapely.geometry.shape(polygon) for polygon, _ in shapes]


def test_polygons_end_exactly_where_the_region_ends(scene: Path, box: Path, client: Client, tmp_path: Path) -> None:
    with rasterio.open(scene) as source:
        corners = [source.transform @ place for place in ((30.3, 20.7), (140.2, 60.1), (70.6, 130.9))]
    triangle = shapely.Polygon(corners)
    gpd.GeoDataFrame(geometry=[triangle], crs="EPSG:32618").to_file(tmp_path / "region.gpkg")
    for name, block_tiles in (("one", 8), ("many", 1)):
        wanted = settings(scene, box, tmp_path / name, region=str(tmp_path / "region.gpkg"), block_tiles=block_tiles)
        geoseg.run(wanted, client=client, simplify=12)
    frame = gpd.read_file(tmp_path / "one" / "features.gpkg", layer="land_use")
    with rasterio.open(scene) as source:
        empty = shapely.union_all(nodata_polygons(source))
    assert frame.union_all().symmetric_difference(triangle.difference(empty)).area < 1e-3
    assert shapely.coverage_is_valid(frame.geometry.to_numpy(), 0)
    assert frame["pixels"].sum() == pytest.approx(frame.area.sum() / 100, abs=len(frame))
    assert frame["area_m2"].to_numpy() == pytest.approx(frame.area.to_numpy(), rel=2e-3)
    assert polygons_of(tmp_path / "many") == polygons_of(tmp_path / "one")


def break_a_block() -> None:
    """Make the middle block fail on this worker."""
    import geoseg.tasks

    whole = geoseg.tasks.predict_block

    def failing(raster: Any, model: Any, grid: Any, block: Any, **options: Any) -> Any:
        if block.id == "1-1":
            raise OSError("the disk is on fire")
        return whole(raster, model, grid, block, **options)

    failing.whole = whole  # type: ignore[attr-defined]
    geoseg.tasks.predict_block = failing


def mend_the_block() -> None:
    """Undo `break_a_block`."""
    import geoseg.tasks

    geoseg.tasks.predict_block = geoseg.tasks.predict_block.whole


def test_a_failing_block_is_retried_and_named_the_rest_is_finished_and_the_next_start_mends_it(
    scene: Path, box: Path, client: Client, reference: Path, tmp_path: Path
) -> None:
    wanted = settings(scene, box, tmp_path / "out", block_tiles=2, retries=1)
    client.run(break_a_block)
    try:
        with pytest.raises(
            BlockError, match=r"1 of 12 blocks failed \(1-1\).*disk is on fire.*run the same command again"
        ):
            geoseg.run(wanted, client=client)
    finally:
        client.run(mend_the_block)
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["status"] == "incomplete"
    assert list(manifest["blocks"]["failed"]) == ["1-1"]
    assert manifest["blocks"]["done"] == {"predict": 11, "finish": 11, "trace": 12, "join": 5}
    labels, expected = labels_of(tmp_path / "out"), labels_of(reference)
    failed = geoseg.plan(wanted).grid.block(1, 1).core
    assert (labels[failed.slices()] == 255).all()
    differs = labels != expected
    differs[failed.y : failed.bottom + 8, failed.x : failed.right + 8] = False
    assert not differs.any(), "a block that does not touch the failed one's ramps differs"
    again = geoseg.run(wanted, client=client)
    assert again.outcome.done == {"predict": 1, "finish": 4, "trace": 6, "join": 5}
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), expected)
    assert polygons_of(tmp_path / "out") == polygons_of(reference)


def test_a_scheduler_that_is_there_is_used_and_left_running(
    scene: Path, box: Path, reference: Path, tmp_path: Path
) -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        wanted = settings(scene, box, tmp_path / "out", block_tiles=2, scheduler=cluster.scheduler_address)
        geoseg.run(wanted)
        with Client(cluster.scheduler_address, set_as_default=False) as still:
            assert len(still.nthreads()) == 1
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), labels_of(reference))
    assert polygons_of(tmp_path / "out") == polygons_of(reference)


def test_the_first_pass_over_a_dead_worker_repeats_only_what_it_was_doing(
    scene: Path, box: Path, reference: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one(event: object) -> None:
        if isinstance(event, Event) and event.stage == "finish" and not killed:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    with connect(None, 2) as own:
        pids = list(own.run(os.getpid).values())
        wanted = settings(scene, box, tmp_path / "out", block_tiles=1)
        result = geoseg.run(wanted, client=own, progress=kill_one)
    assert killed
    assert result.outcome.done == {"predict": 42, "finish": 42, "trace": 42, "join": 17}
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), labels_of(reference))
    assert polygons_of(tmp_path / "out") == polygons_of(reference)


def test_a_network_of_ones_own_needs_a_description_and_gives_the_same_labels(
    scene: Path, box: Path, reference: Path
) -> None:
    with pytest.raises(ModelError, match="spec=ModelSpec"):
        geoseg.segment(scene, Box(HALO))
    spec = replace(find_model(str(box)), weights=None, checksum=None)
    lazy = geoseg.segment(scene, Box(HALO), spec=spec, ramp=8)
    np.testing.assert_array_equal(lazy.compute(scheduler="sync").to_numpy(), labels_of(reference))
    assert lazy.attrs["flag_meanings"].split() == [name.replace(" ", "_") for name in spec.class_names]
    assert lazy.attrs["nodata"] == 255


def test_features_may_lie_anywhere_and_are_written_once_however_often_they_are_named(
    scene: Path, box: Path, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "out" / "layers").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere.gpkg"
    names = ["layers/land.fgb", str(elsewhere), "./layers/land.fgb", "layers/land.fgb", "../elsewhere.gpkg"]
    result = geoseg.run(settings(scene, box, tmp_path / "out", block_tiles=8, features=names), client=client)
    assert [path.resolve() for path in result.features_paths] == [tmp_path / "out" / "layers" / "land.fgb", elsewhere]
    manifest = json.loads(result.run_file.read_text())
    assert manifest["results"] == ["labels.tif", "layers/land.fgb", str(elsewhere)]
    assert read_record(tmp_path / "out").features in result.features_paths
    (tmp_path / "out" / "layers" / "land.fgb").unlink()
    assert read_record(tmp_path / "out").features == elsewhere, "the report reads them wherever they lie"


def test_without_features_nothing_is_traced(scene: Path, box: Path, client: Client, tmp_path: Path) -> None:
    result = geoseg.run(settings(scene, box, tmp_path / "out", block_tiles=8, features=[]), client=client)
    assert result.outcome.done == {"predict": 1, "finish": 1}
    assert result.features_paths == ()
    later = geoseg.run(settings(scene, box, tmp_path / "out", block_tiles=8), client=client)
    assert later.outcome.done == {"trace": 1}


def test_polygons_of_another_shape_need_no_second_prediction(
    scene: Path, box: Path, client: Client, tmp_path: Path
) -> None:
    wanted = settings(scene, box, tmp_path / "out", block_tiles=2)
    first = geoseg.run(wanted, client=client)
    exact = gpd.read_file(tmp_path / "out" / "features.gpkg", layer="land_use")
    again = geoseg.run(wanted, client=client, simplify=15, classes=["water"])
    assert again.outcome.kept["predict"] == again.outcome.kept["finish"] == first.plan.block_count
    assert set(again.outcome.done) == {"trace", "join"}
    simple = gpd.read_file(tmp_path / "out" / "features.gpkg", layer="land_use")
    assert set(simple["name"]) == {"water"}
    assert len(simple) == (exact["name"] == "water").sum()
    vertices = [
        shapely.get_num_coordinates(frame.geometry[frame["name"] == "water"]).sum() for frame in (simple, exact)
    ]
    assert vertices[0] < vertices[1]


def test_an_output_folder_in_use_is_refused(scene: Path, box: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out").locked(), pytest.raises(OutputError, match="in use"):
        geoseg.run(settings(scene, box, tmp_path / "out"))


def test_the_lazy_array_takes_the_name_of_imagery_in_the_catalog() -> None:
    lazy = geoseg.segment("delmarva", "sentinel2-land-cover")
    with rasterio.open(find_imagery("delmarva").paths[0]) as source:
        assert lazy.shape == source.shape
    with pytest.raises(CatalogError, match="delmarva"):
        geoseg.segment("delmarvo", "sentinel2-land-cover")
