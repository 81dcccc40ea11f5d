"""Objects of a program in and out: arrays, networks, tables; the same map as of files, bit for bit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rioxarray
import torch
import xarray as xr
from distributed import Client, LocalCluster
from numpy.typing import NDArray
from shapely.geometry import box

import geoseg
from geoseg.errors import InputNotFoundError, InputTypeError, ModelError, RasterError, WorkerError, WorkflowError
from geoseg.evaluation import evaluate
from geoseg.files import clear
from geoseg.held import Held
from geoseg.models import Band, ClassSpec, Detections, ModelSpec, Prompts, wrap
from geoseg.models.network_digest import digest_of
from geoseg.models.own import SentNetwork
from geoseg.report.naming import subject_of
from geoseg.workflow import Workflow
from geoseg.workflow.settings import held_imagery
from tests.rasters import TEN_METRES, noise, write_raster
from tests.test_scripts import as_a_file

NAMES = ("a", "b", "c", "d", "e", "f")
SPEC = ModelSpec(
    "own",
    "semantic-segmentation",
    tuple(map(Band, NAMES)),
    (ClassSpec(1, "house", "#d1495b"),),
    activation="sigmoid",
    tile_size=128,
    halo=16,
)


class Own(torch.nn.Module):
    """A network of one's own: six bands in, one channel out."""

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(6, 1, 5, padding=2)
        self.bias = bias

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layer(pixels / 100) + self.bias


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = noise(6, 260, 340, "uint16")
    pixels[:, 30:70, 50:90] = 0
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    return write_raster(path, pixels, nodata=0, descriptions=NAMES, tiled=True)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def read(path: Path | None) -> NDArray[Any]:
    assert path is not None
    with rasterio.open(path) as source:
        pixels: NDArray[Any] = source.read(1)
    return pixels


KINDS: dict[str, Callable[[Path], Any]] = {
    "in memory": lambda path: rioxarray.open_rasterio(path).load(),
    "lazy": rioxarray.open_rasterio,
    "of Dask": lambda path: rioxarray.open_rasterio(path, chunks={"y": 90, "x": 70}),
    "a Dataset": lambda path: rioxarray.open_rasterio(path).to_dataset("band").rename(dict(enumerate(NAMES, start=1))),
    "an open dataset": rasterio.open,
}


@pytest.mark.parametrize("kind", KINDS)
def test_segment_gives_of_an_object_what_it_gives_of_its_file(kind: str, scene: Path) -> None:
    options: dict[str, Any] = {"spec": SPEC, "outputs": ("labels", "confidence"), "block_tiles": 1}
    expected = geoseg.segment(scene, Own(), **options).compute()
    found = geoseg.segment(KINDS[kind](scene), Own(), **options).compute()
    assert found.identical(expected)
    assert set(np.unique(found.labels)) == {0, 1, 255}


def test_a_run_of_arrays_and_of_a_network_maps_like_one_of_the_file(
    scene: Path, tmp_path: Path, client: Client
) -> None:
    expected = geoseg.segment(scene, Own(), spec=SPEC, outputs=("labels", "confidence")).compute()
    for number, kind in enumerate(("in memory", "of Dask")):
        out = tmp_path / f"out{number}"
        given = KINDS[kind](scene)
        how: dict[str, Any] = {"model": Own(), "spec": SPEC, "client": client, "report": number == 0}
        result = geoseg.run(given, output=out, **how)
        np.testing.assert_array_equal(read(result.labels_path), expected.labels)
        assert not (out / "state" / "arrays").exists()
        text = (out / "workflow.yaml").read_text()
        assert "input: memory:DataArray" in text
        assert "model: memory:own" in text
        again = geoseg.run(given.copy(deep=True), output=out, **how)
        assert again.is_unchanged
        with pytest.raises(InputTypeError, match=r"was an object of a program \(.*\), which no file holds; give it"):
            geoseg.resume(out)
        if not number:
            assert_result_is_of_use(result, expected)


def assert_result_is_of_use(result: geoseg.RunResult, expected: xr.Dataset) -> None:
    assert result.report is not None
    assert result.labels.chunks is not None
    assert (result.labels == expected.labels).all()
    assert result.labels.attrs["class_names"] == expected.labels.attrs["class_names"]
    assert result.labels.odc.geobox == expected.labels.odc.geobox
    assert result.instances is None
    assert isinstance(result.features, gpd.GeoDataFrame)
    assert set(result.features["name"]) == {"house"}
    picture = result.plot(width=500)
    assert picture.width == 500
    assert len(repr(result)) < 300
    page = result._repr_html_()
    assert "data:image/jpeg;base64," in page
    assert "<table>" in page
    with pytest.raises(InputNotFoundError, match=r"has no confidence; run it again with outputs=\['confidence'\]"):
        _ = result.confidence
    assert "folium" in type(result.explore()).__module__
    truth = result.features
    assert evaluate(result, truth, task="instance").scores.summary()


def test_results_that_were_moved_since_are_named(scene: Path, tmp_path: Path, client: Client) -> None:
    out, place = tmp_path / "out", tmp_path / "elsewhere" / "map"
    how: dict[str, Any] = {"report": False, "outputs": ["confidence.zarr"], "features": ["a.gpkg", "a.fgb"]}
    result = geoseg.run(scene, model=Own(), spec=SPEC, output=out, client=client, **how)
    (out / "a.gpkg").unlink()
    assert len(result.features) > 0, "the second file has them too"
    for name, file in {"labels": "labels.tif", "confidence": "confidence.zarr", "features": "a.fgb"}.items():
        clear(out / file)
        named = "a.gpkg" if name == "features" else file
        sentence = f"{re.escape(str(out / named))} of the run is not there any more; put it back, or run the same again"
        with pytest.raises(InputNotFoundError, match=f"^{sentence}, which writes what is missing$"):
            getattr(result, name)
    place.parent.mkdir()
    out.rename(place)
    shows = (lambda: result.labels, lambda: result.confidence, lambda: result.features, result.plot, result.explore)
    for show, file in zip(shows, ("labels.tif", "confidence.zarr", "a.gpkg", "run.json", "a.gpkg"), strict=True):
        sentence = f"^the folder {out} of the run's {file} is not there any more; put it back, or give geoseg"
        with pytest.raises(InputNotFoundError, match=sentence):
            show()
    result = geoseg.run(scene, model=Own(), spec=SPEC, output=place, client=client, **{**how, "features": []})
    with pytest.raises(InputNotFoundError, match="the run has no file of polygons that can be read whole; name one"):
        _ = result.features


def test_another_array_is_another_run(scene: Path, tmp_path: Path, client: Client) -> None:
    given = KINDS["in memory"](scene)
    how: dict[str, Any] = {"model": Own(), "spec": SPEC, "client": client, "features": [], "report": False}
    geoseg.run(given, output=tmp_path / "out", **how)
    given[0, 0, 0] += 1
    with pytest.raises(geoseg.errors.FingerprintError):
        geoseg.run(given, output=tmp_path / "out", **how)


def test_polygons_of_an_array_are_a_table_with_its_classes(scene: Path, tmp_path: Path, client: Client) -> None:
    labels = geoseg.segment(scene, Own(), spec=SPEC).compute()
    table = geoseg.polygonize(labels, client=client)
    assert isinstance(table, gpd.GeoDataFrame)
    assert table.crs == "EPSG:32618"
    assert set(table["name"]) == {"house", "background"}
    write_raster(tmp_path / "labels.tif", labels.to_numpy(), nodata=255)
    file = geoseg.polygonize(tmp_path / "labels.tif", tmp_path / "labels.parquet", client=client)
    assert file.count == len(table)
    assert (gpd.read_parquet(file.output).geometry == table.geometry).all()


def test_labels_and_tables_of_a_program_are_evaluated(tmp_path: Path) -> None:
    classes = np.random.default_rng(0).integers(0, 3, (30, 40)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    truth = write_raster(tmp_path / "truth.tif", classes)
    prediction = write_raster(tmp_path / "prediction.tif", np.roll(classes, 1, axis=1))
    expected = evaluate(prediction, truth).summary()["scores"]
    arrays = [rioxarray.open_rasterio(path).load() for path in (prediction, truth)]
    found = evaluate(*arrays)
    assert found.summary()["scores"] == expected
    assert (found.prediction, found.truth) == ("DataArray", "DataArray")
    assert len(repr(found)) < 300
    assert "<th" in found._repr_html_()
    left, top = TEN_METRES.c, TEN_METRES.f
    houses = gpd.GeoDataFrame(geometry=[box(left, top - 100, left + 100, top)], crs="EPSG:32618")
    shifted = gpd.GeoDataFrame(geometry=houses.translate(10), crs=houses.crs)
    houses.to_file(tmp_path / "houses.gpkg")
    shifted.to_file(tmp_path / "shifted.gpkg")
    by_file = evaluate(tmp_path / "shifted.gpkg", tmp_path / "houses.gpkg")
    assert evaluate(shifted, houses).summary()["scores"] == by_file.summary()["scores"]
    assert evaluate(shifted.geometry, houses).summary()["scores"] == by_file.summary()["scores"]


def test_a_network_is_known_by_what_it_computes() -> None:
    assert digest_of(Own()) == digest_of(Own())
    assert digest_of(Own()) != digest_of(Own(bias=1.0))
    other = Own()
    with torch.no_grad():
        other.layer.weight[0, 0, 0, 0] += 1
    assert digest_of(other) != digest_of(Own())


def test_a_network_that_cannot_be_sent_is_told_before_anything_runs(scene: Path, tmp_path: Path) -> None:
    network = Own()
    network.source = (number for number in ())  # type: ignore[assignment]
    with pytest.raises(ModelError, match=r"model Own cannot be sent to worker processes .*use geoseg\.segment"):
        geoseg.run(scene, model=network, spec=SPEC, output=tmp_path / "out")
    sent = SentNetwork.of(Own())
    assert torch.equal(sent.open().layer.weight, Own().layer.weight)


@pytest.mark.parametrize("axis", ["x", "y", "band"])
def test_an_array_without_a_pixel_is_told_of_by_every_reader(scene: Path, axis: str) -> None:
    with rioxarray.open_rasterio(scene) as array:
        empty = array.isel({axis: slice(0, 0)})
    for read in (
        lambda: geoseg.segment(empty, Own(), spec=SPEC),
        lambda: geoseg.open_imagery(empty),
        lambda: geoseg.polygonize(empty),
        lambda: geoseg.evaluate(empty, xr.zeros_like(array.isel(band=0))),
        lambda: geoseg.areas(empty),
        lambda: geoseg.open_imagery(empty, crs="local"),
    ):
        with pytest.raises(RasterError, match=rf"has no pixel: its axis '{axis}' has the length 0; choose a part"):
            read()


def test_the_plan_counts_chunks_of_lazy_arrays(scene: Path) -> None:
    chunked = rioxarray.open_rasterio(scene, chunks={"band": 6, "y": 200, "x": 300})
    counted = geoseg.plan(chunked, model=Own(), spec=SPEC).worker_bytes
    assert counted["chunks of lazy arrays"] == 2 * 6 * 200 * 300 * 2
    assert "chunks of lazy arrays" not in geoseg.plan(scene, model=Own(), spec=SPEC).worker_bytes


def test_models_that_are_none_are_told(scene: Path) -> None:
    for call in (geoseg.segment, geoseg.plan):
        with pytest.raises(ModelError, match=re.escape("model Own comes without a description; give spec=")):
            call(scene, model=Own())
        with pytest.raises(InputTypeError, match="a int is no model; give a name of the catalog"):
            call(scene, model=3)
        with pytest.raises(ModelError, match="spec describes a network of your own, and model is 'buildings'"):
            call(scene, model="buildings", spec=SPEC)


def test_outputs_that_are_none_are_told(scene: Path) -> None:
    with pytest.raises(WorkflowError, match=r"outputs has 'lables', which segment does not give; did you mean"):
        geoseg.segment(scene, Own(), spec=SPEC, outputs="lables")
    with pytest.raises(ModelError, match="tells no objects apart; leave 'instances' out"):
        geoseg.segment(scene, Own(), spec=SPEC, outputs=["labels", "instances"])


@pytest.mark.parametrize(
    ("given", "title"),
    [
        (xr.DataArray(name="ndvi of May"), "ndvi of May"),
        (xr.DataArray(), "Imagery in memory"),
        ({"red": xr.DataArray(name="a"), "nir": "nir.tif"}, "Imagery in memory"),
        ({"red": xr.DataArray(name="a")}, "Imagery in memory"),
    ],
)
def test_pictures_and_reports_of_an_array_have_a_plain_title(given: Any, title: str) -> None:
    record: Any = SimpleNamespace(workflow={"input": repr(held_imagery(given))})
    assert subject_of(record) == title


def test_held_objects_are_in_no_schema_and_are_text_in_files() -> None:
    held = Held(object(), "DataArray ndvi")
    workflow = Workflow(model="buildings", input=held)
    assert workflow.model_dump(mode="json")["input"] == "memory:DataArray ndvi"
    assert workflow.model_dump()["input"] is held
    assert "Held" not in str(Workflow.model_json_schema())


def test_plans_models_and_catalogs_show_themselves_in_a_few_words(scene: Path) -> None:
    plan = geoseg.plan(scene, model=Own(), spec=SPEC)
    for item in (plan, plan.raster, plan.spec):
        assert len(repr(item)) < 400, repr(item)
        assert "<table>" in item._repr_html_()
    for listing in (geoseg.list_models(), geoseg.list_imagery()):
        assert len(repr(listing).splitlines()) == len(listing)
        assert listing[0].name in listing._repr_html_()


def test_a_newcomer_goes_from_an_array_and_a_network_to_polygons_and_a_picture(tmp_path: Path) -> None:
    program = """
import numpy as np, rioxarray, torch, xarray as xr
import geoseg
from geoseg import Band, ClassSpec, ModelSpec

values = np.random.default_rng(0).random((6, 300, 400), np.float32)
place = {"y": 4_200_000 - 10.0 * np.arange(300), "x": 440_000 + 10.0 * np.arange(400)}
scene = xr.DataArray(values, place, ("band", "y", "x")).rio.write_crs("EPSG:32618")
network = torch.nn.Sequential(torch.nn.Conv2d(6, 1, 9, padding=4))
bands, classes = tuple(map(Band, "abcdef")), (ClassSpec(1, "house"),)
spec = ModelSpec("mine", "semantic-segmentation", bands, classes, activation="sigmoid")
result = geoseg.run(scene, model=network, spec=spec, output="out")
result.plot("map.png")
print(type(result.features).__name__, len(result.features) > 0)
"""
    assert as_a_file(tmp_path, program) == "GeoDataFrame True\n"
    assert (tmp_path / "map.png").is_file()


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_networks_whose_weights_are_computed_from_others_are_labelled_with(scene: Path) -> None:
    network = Own()
    network.layer = torch.nn.utils.weight_norm(network.layer)
    network(torch.zeros(1, len(SPEC.bands), 8, 8))  # leaves a weight that torch does not copy
    with rioxarray.open_rasterio(scene) as array:
        same = geoseg.segment(array, network, spec=SPEC) == geoseg.segment(array, Own(), spec=SPEC)
    assert float(same.mean()) > 0.999  # weights are rounded otherwise
    assert network.training


def test_a_network_of_instances_may_take_pixels_alone(scene: Path) -> None:
    spec = replace(SPEC, task="instance-segmentation", activation="none")
    found = Detections.of(np.ones((1, 128, 128), np.bool_), [0], [0.9])

    class Alone(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> list[Detections]:
            return [found] * len(pixels)

    def beside(pixels: torch.Tensor, prompts: list[Prompts]) -> list[Detections]:
        assert [len(item.objects) for item in prompts] == [0] * len(pixels)
        return [found] * len(pixels)

    pixels, mask = np.zeros((2, 6, 128, 128), np.uint16), np.ones((2, 128, 128), np.bool_)
    for network in (lambda pixels: [found] * len(pixels), Alone(), beside):
        assert [len(item) for item in wrap(network, spec).predict(pixels, mask)] == [1, 1]
    with rioxarray.open_rasterio(scene) as array:
        assert int(geoseg.segment(array, Alone(), spec=spec).max()) > 0
    with pytest.raises(ModelError, match="model 'own' finds every object of its classes and takes no prompts; leave"):
        wrap(Alone(), spec).predict(pixels, mask, [Prompts(text="house")] * 2)


def test_a_network_of_other_arguments_is_told_of_those_that_are_given(scene: Path) -> None:
    with rioxarray.open_rasterio(scene) as array:
        for network in (lambda: 1, lambda pixels, _mask: pixels[:, :1]):
            with pytest.raises(ModelError, match=r"argument.*; give a network that takes pixels \(n, band, y, x\)\.$"):
                geoseg.segment(array, network, spec=SPEC).compute()


def test_a_program_of_torch_export_is_given_by_its_file(scene: Path, tmp_path: Path, client: Client) -> None:
    side = torch.export.Dim("side")
    example = torch.zeros(2, len(SPEC.bands), 128, 128)
    shapes = ({0: torch.export.Dim("n"), 2: side, 3: side},)
    program = torch.export.export(Own().eval(), (example,), dynamic_shapes=shapes)
    sentence = (
        r"^model ExportedProgram is a program of torch\.export, which is not called itself; write it to a file with "
        r"torch\.export\.save\(program, 'model\.pt2'\), and give ModelSpec\(\.\.\., framework='torch\.export', "
        r"weights='model\.pt2'\) as the model\.$"
    )
    with pytest.raises(ModelError, match=sentence):
        geoseg.segment(scene, program, spec=SPEC)
    with pytest.raises(ModelError, match=sentence):
        wrap(program, SPEC)
    torch.export.save(program, tmp_path / "model.pt2")
    spec = replace(SPEC, framework="torch.export", weights=str(tmp_path / "model.pt2"))
    with pytest.raises(ModelError, match=sentence):
        geoseg.run(scene, model=program, spec=SPEC, output=tmp_path / "out")
    result = geoseg.run(scene, model=spec, output=tmp_path / "out", client=client, report=False)
    same = result.labels == geoseg.segment(scene, Own(), spec=SPEC)
    assert float(same.mean()) > 0.999


def test_a_network_without_values_is_told(scene: Path) -> None:
    with rioxarray.open_rasterio(scene) as array:
        for network in (torch.nn.LazyConv2d(1, 1), torch.nn.Conv2d(len(SPEC.bands), 1, 1, device="meta")):
            with pytest.raises(ModelError, match=r"'weight' of model \w+ has no values yet .*; load its weights"):
                geoseg.segment(array, network, spec=SPEC).compute()


def test_a_client_that_cannot_be_asked_is_told(scene: Path, tmp_path: Path) -> None:
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        closed = Client(cluster)
        closed.close()
        labels = write_raster(tmp_path / "labels.tif", np.ones((1, 8, 8), np.uint8))
        for call in (
            lambda: geoseg.run(scene, model=Own(), spec=SPEC, output=tmp_path / "out", client=closed),
            lambda: geoseg.polygonize(labels, tmp_path / "x.gpkg", client=closed),
        ):
            with pytest.raises(WorkerError, match="the Dask client is closed; give one that is connected, or leave"):
                call()

        async def ask() -> None:
            async with Client(cluster.scheduler_address, asynchronous=True) as client:
                geoseg.polygonize(labels, tmp_path / "x.gpkg", client=client)

        with pytest.raises(WorkerError, match="the Dask client is asynchronous, and results are waited for here"):
            asyncio.run(ask())


def test_geoparquet_in_capitals_is_read(tmp_path: Path) -> None:
    labels = write_raster(tmp_path / "labels.tif", np.ones((1, 8, 8), np.uint8))
    geoseg.polygonize(labels).to_parquet(tmp_path / "ZONES.PARQUET")
    assert geoseg.areas(labels, zones=tmp_path / "ZONES.PARQUET", zone_column="class") is not None
