"""What is there already: results that somebody has edited, files of others, and what a command reads, stay."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import zarr
from distributed import Client

import geoseg
from geoseg.cli import main
from geoseg.engine import connect
from geoseg.errors import EvaluationError, ExistingOutputError, LayerError, ModelError, OutputError
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1, "127.0.0.1:0") as workers:
        yield workers


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return write_raster(tmp_path / "in" / "scene.tif", noise(2, 96, 96))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", Box(1), name="box", halo=3)


def run(scene: Path, model: Path, output: Path, client: Client, **more: object) -> geoseg.RunResult:
    return geoseg.run(
        input=str(scene), model=str(model), output=str(output), ramp=8, client=client,
        **{"features": ["a.gpkg", "a.fgb"], "report": False, **more},
    )  # fmt: skip


def test_a_run_replaces_neither_what_it_reads_nor_what_others_wrote(
    scene: Path, model: Path, tmp_path: Path, client: Client
) -> None:
    for name in ("labels.tif", "instances.tif"):
        shutil.copy(scene, tmp_path / name)
    own = scene.parent / "labels.tif"
    scene.rename(own)
    before = own.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(ExistingOutputError, match=r"labels\.tif is read and would be replaced; choose another"):
            run(own, model, own.parent, client, overwrite=overwrite)
    assert own.read_bytes() == before
    region = tmp_path / "aoi.fgb"
    box = shapely.box(*rasterio.open(own).bounds)
    gpd.GeoDataFrame(geometry=[box], crs="EPSG:32618").to_file(region)
    with pytest.raises(ExistingOutputError, match=r"aoi\.fgb is read and would be replaced"):
        run(own, model, tmp_path / "out", client, region=str(region), features=[str(region)], overwrite=True)
    for name in ("labels.tif", "item.json", "workflow.yaml", "run.json", "performance.html", "a.dbf", "a.fgb"):
        folder = tmp_path / f"others-{name}"
        folder.mkdir()
        (folder / name).write_text("of somebody else")
        with pytest.raises(ExistingOutputError, match=rf"{name} is there and is no result of a run in .*--overwrite"):
            run(own, model, folder, client, performance_report=True, features=["a.gpkg", "a.fgb", "a.shp"])
        assert [path.name for path in folder.iterdir()] == [name]
        assert (folder / name).read_text() == "of somebody else"
    run(own, model, folder, client, overwrite=True)
    assert len(gpd.read_file(folder / "a.fgb")) > 0
    assert run(own, model, folder, client).is_unchanged


def test_a_result_that_somebody_has_edited_stays(scene: Path, model: Path, tmp_path: Path, client: Client) -> None:
    out = tmp_path / "out"
    run(scene, model, out, client)
    for name in ("a.gpkg", "a.fgb"):
        table = pyogrio.read_dataframe(out / name)
        table.loc[0, "name"] = "edited"
        pyogrio.write_dataframe(table, out / name, layer="land_use")
        for more in ({}, {"simplify": 15.0}):
            with pytest.raises(
                ExistingOutputError, match=rf"{name} has been changed since this run wrote it; rename it"
            ):
                run(scene, model, out, client, **more)
        assert "edited" in set(pyogrio.read_dataframe(out / name)["name"])
        (out / name).rename(tmp_path / name)
        assert not run(scene, model, out, client).is_unchanged
    with rasterio.open(out / "labels.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.write(np.zeros((5, 5), np.uint8), 1, window=((0, 5), (0, 5)))
    with pytest.raises(ExistingOutputError, match=r"labels\.tif has been changed"):
        run(scene, model, out, client, legend={0: "nothing"})


def test_a_result_that_was_only_looked_at_is_written_again_where_it_must_be(
    scene: Path, model: Path, tmp_path: Path, client: Client
) -> None:
    out = tmp_path / "out"
    run(scene, model, out, client)
    with sqlite3.connect(out / "a.gpkg") as connection:  # as QGIS does when it opens a layer
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    (out / "labels.tif.aux.xml").write_text("<PAMDataset><!-- statistics --></PAMDataset>")
    assert run(scene, model, out, client, legend={0: "nothing"}).labels_path.is_file()
    assert "nothing" in set(pyogrio.read_dataframe(out / "a.gpkg")["name"])


def test_a_killed_writing_is_known_as_the_runs_own(
    scene: Path, model: Path, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("geoseg.workflow.running._conclude", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(scene, model, out, client)
    assert (out / "labels.tif").is_file()
    (out / "a.fgb").write_bytes(b"cut off")
    run(scene, model, out, client)
    assert len(gpd.read_file(out / "a.fgb")) > 0


def test_a_run_folder_whose_record_is_lost_goes_on(scene: Path, model: Path, tmp_path: Path, client: Client) -> None:
    out = tmp_path / "out"
    run(scene, model, out, client)
    (out / "state" / "outputs.json").unlink()
    again = run(scene, model, out, client)
    assert "predict" not in again.outcome.done
    geoseg.workflow.make_report(out)
    assert (out / "report.html").is_file()
    assert run(scene, model, out, client, report=True).report == out / "report.html"


@pytest.mark.parametrize("sql", ["DELETE FROM land_use WHERE fid < 3", "ALTER TABLE land_use ADD COLUMN note TEXT"])
def test_rows_and_columns_that_sql_has_changed_stay(
    scene: Path, model: Path, tmp_path: Path, client: Client, sql: str
) -> None:
    out = tmp_path / "out"
    run(scene, model, out, client, features=["a.gpkg"])
    with sqlite3.connect(out / "a.gpkg") as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')  # they call functions of GDAL
        connection.execute(sql)
    connection.close()
    with pytest.raises(ExistingOutputError, match=r"a\.gpkg has been changed since this run wrote it"):
        run(scene, model, out, client, features=["a.gpkg"])


def test_polygons_outside_of_the_run_folder_stay_known(
    scene: Path, model: Path, tmp_path: Path, client: Client
) -> None:
    for name in ("x.fgb", "y.fgb", "x.fgb"):
        run(scene, model, tmp_path / "out", client, features=[str(tmp_path / name)], simplify=12.0)


def test_an_edited_store_and_an_edited_item_stay(scene: Path, model: Path, tmp_path: Path, client: Client) -> None:
    out = tmp_path / "out"
    run(scene, model, out, client, outputs=["confidence.zarr"])
    zarr.open(out / "confidence.zarr", mode="r+")["confidence"][:5, :5] = 9
    with pytest.raises(ExistingOutputError, match=r"confidence\.zarr has been changed since this run wrote it"):
        run(scene, model, out, client, outputs=["confidence.zarr"])
    shutil.move(out / "confidence.zarr", tmp_path)
    assert not run(scene, model, out, client, outputs=["confidence.zarr"]).is_unchanged
    item = json.loads((out / "item.json").read_text())
    item["properties"]["title"] = "mine"
    (out / "item.json").write_text(json.dumps(item))
    with pytest.raises(ExistingOutputError, match=r"item\.json has been changed since this run wrote it"):
        run(scene, model, out, client, outputs=["confidence.zarr"])


def test_the_place_of_polygons_is_asked_for_before_anything_is_computed(
    scene: Path, model: Path, tmp_path: Path, client: Client
) -> None:
    with pytest.raises(OutputError, match=r"the folder .*nowhere does not exist; create it, or choose another place"):
        run(scene, model, tmp_path / "out", client, features=[str(tmp_path / "nowhere" / "a.gpkg")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ending", [".shp", ".geojson", ".fgb", ".parquet", ".pmtiles"])
def test_polygonize_replaces_its_own_polygons_and_no_others(
    tmp_path: Path, ending: str, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.kron(np.array([[1, 2], [2, 3]], np.uint8), np.ones((8, 8), np.uint8))
    raster, path = write_raster(tmp_path / "labels.tif", labels[None], transform=TEN_METRES), tmp_path / f"a{ending}"
    geoseg.polygonize(raster, path, client=client)
    geoseg.polygonize(raster, path, client=client)
    for file in tmp_path.glob("a.*"):
        file.unlink()
    if ending == ".pmtiles":
        path.write_text("a text")
    else:
        table = gpd.GeoDataFrame({"kind": ["theirs"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326)
        table.to_parquet(path) if ending == ".parquet" else table.to_file(path)
    if ending == ".shp":  # a table of a person's, without a Shapefile
        path, table = path.with_suffix(".dbf"), path
        table.unlink()
    before = path.read_bytes()
    with pytest.raises(LayerError, match="is there and geoseg did not write it; choose another name for the file"):
        geoseg.polygonize(raster, path.with_suffix(ending), client=client)
    assert path.read_bytes() == before
    if ending == ".fgb":
        assert main(["polygonize", str(raster), str(tmp_path / "b.fgb"), "--region", str(tmp_path / "b.fgb")]) != 0
        shutil.copy(path, tmp_path / "b.fgb")
        capsys.readouterr()
        assert main(["polygonize", str(raster), str(tmp_path / "b.fgb"), "--region", str(tmp_path / "b.fgb")]) == 2
        assert "b.fgb is read and would be replaced; choose another output." in " ".join(
            capsys.readouterr().err.split()
        )


def test_polygonize_replaces_no_layer_that_somebody_has_edited(tmp_path: Path, client: Client) -> None:
    labels = np.kron(np.array([[1, 2], [2, 3]], np.uint8), np.ones((8, 8), np.uint8))
    raster, path = write_raster(tmp_path / "labels.tif", labels[None], transform=TEN_METRES), tmp_path / "a.gpkg"
    for _ in range(2):
        geoseg.polygonize(raster, path, layer="land", client=client)
    gpd.GeoDataFrame(geometry=[shapely.Point(0, 0)], crs=4326).to_file(path, layer="theirs")
    geoseg.polygonize(raster, path, layer="land", client=client)
    table = pyogrio.read_dataframe(path, layer="land")
    shutil.copy(path, tmp_path / "b.gpkg")
    with sqlite3.connect(tmp_path / "b.gpkg") as connection:
        connection.execute("DELETE FROM gpkg_extensions")  # whose triggers need functions of GDAL's
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("DELETE FROM land WHERE fid = 1")
    table.assign(name="edited").to_file(path, layer="land", engine="pyogrio")
    for name in ("a.gpkg", "b.gpkg"):
        with pytest.raises(LayerError, match=r"the layer 'land' of .* has been changed since geoseg wrote it; rename"):
            geoseg.polygonize(raster, tmp_path / name, layer="land", client=client)
    assert set(pyogrio.read_dataframe(path, layer="land")["name"]) == {"edited"}
    assert len(pyogrio.read_dataframe(tmp_path / "b.gpkg", layer="land")) == len(table) - 1


@pytest.mark.parametrize("name", ["a.geojson", "a.shp", "a.fgb", "a.parquet"])
def test_polygonize_replaces_no_file_that_somebody_has_edited(
    name: str, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    labels = np.kron(np.array([[1, 2], [2, 3]], np.uint8), np.ones((8, 8), np.uint8))
    raster, path = write_raster(tmp_path / "labels.tif", labels[None], transform=TEN_METRES), tmp_path / name
    for simplify in (0.0, 1.0):
        geoseg.polygonize(raster, path, simplify=simplify, client=client)
    read, write = (
        (gpd.read_parquet, gpd.GeoDataFrame.to_parquet)
        if name.endswith("parquet")
        else (gpd.read_file, gpd.GeoDataFrame.to_file)
    )
    write(read(path).assign(name="edited"), path)
    with pytest.raises(LayerError, match=rf"{name}' has been changed since geoseg wrote it; rename it to keep"):
        geoseg.polygonize(raster, path, client=client)
    assert set(read(path)["name"]) == {"edited"}
    for file in path.parent.glob("a.*"):
        file.unlink()
    geoseg.polygonize(raster, path, client=client)
    assert "edited" not in set(read(path)["name"])


def test_what_is_measured_is_not_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raster = write_raster(tmp_path / "labels.tif", np.ones((1, 8, 8), np.uint8), transform=TEN_METRES)
    before = raster.read_bytes()
    for command in (["evaluate", raster, raster, "--json", raster], ["compare", raster, raster, "--matrix", raster]):
        assert main([str(word) for word in command]) == 2
        assert "labels.tif is read and would be replaced" in " ".join(capsys.readouterr().err.split())
    assert main(["areas", str(raster), "--csv", str(raster)]) == 2
    assert raster.read_bytes() == before


@pytest.mark.parametrize("spelling", ["out", "./out", "sub/../out", "{folder}/out", "link"])
def test_each_output_has_a_file_of_its_own(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    write_raster(tmp_path / "a.tif", np.zeros((1, 8, 8), np.uint8))
    for words in (
        ["compare", "a.tif", "a.tif", "out.gpkg", "--json"],
        ["compare", "a.tif", "a.tif", "out.gpkg", "--matrix"],
        ["compare", "a.tif", "a.tif", "--json", "out.jpg", "--picture"],
        ["evaluate", "a.tif", "a.tif", "--json", "out.png", "--confusion"],
        ["areas", "a.tif", "--csv", "out.csv", "--json"],
    ):
        first, ending = ("OUTPUT" if "out.gpkg" in words else words[-3]), Path(words[-2]).suffix
        other = spelling.format(folder=tmp_path) + ending
        (tmp_path / f"link{ending}").unlink(missing_ok=True)
        (tmp_path / f"link{ending}").symlink_to(f"out{ending}")
        assert main([*words, other]) == 2
        sentence = f"{first} and {words[-1]} are both {other}; give each a file of its own."
        assert " ".join(capsys.readouterr().err.split()) == sentence
    assert not list(tmp_path.glob("out.*"))


def test_no_command_writes_to_what_it_reads(
    scene: Path, model: Path, tmp_path: Path, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    out, labels = tmp_path / "out", write_raster(tmp_path / "a.tif", np.ones((1, 8, 8), np.uint8))
    rasterio.shutil.copy(labels, tmp_path / "a.vrt", driver="VRT")
    box = gpd.GeoDataFrame({"class": [1]}, geometry=[shapely.box(*rasterio.open(scene).bounds)], crs="EPSG:32618")
    box.to_file(tmp_path / "b.gpkg")
    run(scene, model, out, client)
    before = {path: path.read_bytes() for path in (*tmp_path.glob("*.*"), out / "run.json", out / "a.gpkg")}
    for words in (
        ["compare", "b.gpkg", "b.gpkg", "b.gpkg"],
        ["compare", "a.tif", "a.tif", "b.gpkg", "--region", "b.gpkg"],
        ["compare", "out", "out", "out/a.gpkg"],
        ["compare", "out", "out", "--json", "out/run.json"],
        ["evaluate", "out", "a.tif", "--json", "out/run.json"],
        ["evaluate", "a.tif", "a.tif", "--region", "b.gpkg", "--json", "b.gpkg"],
        ["areas", "out", "--json", "out/run.json"],
        ["sieve", "a.vrt", "a.tif", "--min-area", "500", "--overwrite"],
        ["sieve", labels.as_uri(), "a.tif", "--min-area", "500", "--overwrite"],
    ):
        paths = [str(tmp_path / word) if (tmp_path / word).exists() else word for word in words[1:]]
        assert main([words[0], *paths]) == 2, words
        assert "is read and would be replaced; choose another output." in " ".join(capsys.readouterr().err.split())
    layer = str(tmp_path / "b.gpkg")
    with pytest.raises(ExistingOutputError, match=r"b\.gpkg is read and would be replaced"):
        run(scene, model, tmp_path / "new", client, corrections=layer, features=[layer])
    assert {path: path.read_bytes() for path in before} == before
    photo = tmp_path / "photo.png"
    photo.write_text("imagery of the run")
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "inputs": [{"absolute": str(photo)}]}))
    assert main(["preview", str(out), str(photo)]) == 2
    assert photo.read_text() == "imagery of the run"


@pytest.mark.parametrize("values", [(255,), (256,), (-1,), (1.5,), (3, 3)])
def test_a_spec_has_the_values_that_labels_can_hold(values: tuple[int, ...]) -> None:
    classes = tuple(geoseg.ClassSpec(value, f"class {number}") for number, value in enumerate(values))
    with pytest.raises(ModelError, match=r"the classes of model 'own' have the values .*0 to 254 \(255 is nodata\)"):
        geoseg.ModelSpec("own", "semantic-segmentation", (geoseg.Band("a"),), classes)


def test_codes_of_many_digits_are_classes_or_asked_about(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = np.kron(rng.choice([0, 3301010000, 3301060401, 3302000000], (16, 16)), np.ones((8, 8), np.int64))
    many = np.kron(rng.integers(7000, 7300, (64, 64)), np.ones((4, 4), np.int64)).astype(np.int16)
    for name, labels in (("codes", codes), ("many", many)):
        path = write_raster(tmp_path / f"{name}.tif", labels[None], transform=TEN_METRES)
        with pytest.raises(EvaluationError, match="may hold classes or object ids; give --task semantic or --task"):
            geoseg.evaluate(path, path)
    with pytest.raises(EvaluationError, match=r"330\d+ is not a class \(0 to 65,535\); give codes of classes smaller"):
        geoseg.evaluate(tmp_path / "codes.tif", tmp_path / "codes.tif", task="semantic")
    below = write_raster(tmp_path / "below.tif", np.full((1, 8, 8), -9999, np.int16), transform=TEN_METRES)
    with pytest.raises(
        EvaluationError, match=r"-9999 is not a class .*declare it as nodata \(in geoseg evaluate, leave"
    ):
        geoseg.evaluate(below, below, task="semantic")


def test_a_fill_of_floats_is_named_to_polygonize(tmp_path: Path, client: Client) -> None:
    labels = np.ones((1, 8, 8), np.float32)
    labels[0, :2] = -3.4028235e38
    path = write_raster(tmp_path / "labels.tif", labels, transform=TEN_METRES)
    with pytest.raises(geoseg.errors.RasterError, match="or the number as --nodata if it stands for none"):
        geoseg.polygonize(path, tmp_path / "a.gpkg", client=client)
    geoseg.polygonize(path, tmp_path / "a.gpkg", nodata=-3.4028235e38, client=client)
    assert gpd.read_file(tmp_path / "a.gpkg").area.sum() == pytest.approx(48 * 100)


def test_a_signed_address_enters_the_catalog_without_its_signature(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geoseg.imagery import adding
    from geoseg.raster.header import read_header

    signed = "https://host.invalid/scene.tif?sig=SECRET8&sv=1"
    monkeypatch.setattr(adding, "list_files", lambda _: [(signed, signed)])
    monkeypatch.setattr(adding, "read_header", lambda *_: replace(read_header(str(scene), signed), path=signed))
    monkeypatch.setattr(adding, "_taken", lambda _: datetime(2026, 6, 1, tzinfo=UTC))
    adding.add_imagery(signed, name="signed", home=tmp_path / "home")
    text = "".join(path.read_text() for path in (tmp_path / "home").rglob("*.json"))
    assert "host.invalid/scene.tif" in text
    assert "SECRET8" not in text
    assert json.loads((tmp_path / "home" / "imagery" / "signed" / "collection.json").read_text())


@pytest.mark.parametrize(
    "words",
    [
        ["areas", "labels.tif", "--json", "other.tif"],
        ["areas", "labels.tif", "--csv", "other.tif"],
        ["evaluate", "labels.tif", "labels.tif", "--json", "other.tif"],
        ["evaluate", "labels.tif", "labels.tif", "--confusion", "other.tif"],
        ["compare", "labels.tif", "labels.tif", "--matrix", "other.tif"],
    ],
)
def test_numbers_replace_no_file_of_another_kind(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("labels.tif", "other.tif"):
        write_raster(tmp_path / name, np.zeros((1, 8, 8), np.uint8))
    before = (tmp_path / "other.tif").read_bytes()
    assert main(words) == 2
    ending = {"--json": ".json", "--confusion": ".png"}.get(words[-2], ".csv")
    sentence = f"{words[-2]} other.tif is there already and no {ending} file; give a name with that ending."
    assert " ".join(capsys.readouterr().err.split()) == sentence
    assert (tmp_path / "other.tif").read_bytes() == before
