"""Results at an address: whole, described last, put once, and never over what somebody else has written."""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from distributed import Client
from fsspec.implementations.local import LocalFileSystem

import geoseg
from geoseg.engine import connect
from geoseg.errors import ExistingOutputError, OutputError, WorkflowError
from geoseg.options import Workflow
from geoseg.store import RunFolder
from geoseg.workflow.publishing import Address, publish
from tests.networks import Box, write_model
from tests.rasters import noise, write_raster


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 store on the loopback interface, with a bucket."""
    for package in ("moto.server", "s3fs"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    settings = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    settings |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in settings.items():
            patched.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("maps")
        yield "s3://maps"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(params=["memory", "file", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of its own in a store."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{uuid.uuid4().hex}"
    return f"file://{tmp_path}/store" if request.param == "file" else f"memory://{uuid.uuid4().hex}/map"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """What a finished run leaves: files, a folder, and the record of its results."""
    out = tmp_path / "out"
    (out / "state").mkdir(parents=True)
    (out / "land.parquet" / "class=1").mkdir(parents=True)
    (out / "land.parquet" / "class=2").mkdir()
    files = ["labels.tif", "labels.qml", "item.json", "run.json", "workflow.yaml", "notes.txt"]
    for name in [*files, *(f"land.parquet/class={number}/part-0.parquet" for number in (1, 2))]:
        (out / name).write_text(f"content of {name}")
    entry: dict[str, Any] = {"decided": "", "layer": ""}
    names = ["labels.tif", "land.parquet", "item.json"]
    (out / "state" / "outputs.json").write_text(json.dumps({name: {**entry, "files": {name: ""}} for name in names}))
    return RunFolder(out)


def workflow(folder: RunFolder, address: str, **more: Any) -> Workflow:
    return Workflow(input="a.tif", model="m", output=str(folder.path), publish=address, **more)


def content(address: str) -> dict[str, str]:
    store, root = fsspec.core.url_to_fs(address)
    store.invalidate_cache()
    return {name[len(root) :].lstrip("/"): store.cat_file(name).decode() for name in store.find(root)}


RESULTS = {
    *("labels.tif", "labels.qml", "item.json", "run.json", "workflow.yaml"),
    *(f"land.parquet/class={number}/part-0.parquet" for number in (1, 2)),
}


def test_results_are_put_once_and_what_has_changed_again(
    folder: RunFolder, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, order = workflow(folder, address), []
    put = Address.put
    monkeypatch.setattr(Address, "put", lambda self, path, name: (put(self, path, name), order.append(name)))
    assert publish(wanted, folder) == len(RESULTS)
    assert content(address) == {name: f"content of {name}" for name in RESULTS}  # neither the state nor notes.txt
    assert order[-2:] == ["item.json", "run.json"]
    order.clear()
    assert publish(wanted, folder) == 0
    (folder.path / "labels.tif").touch()  # written again with the same content
    (folder.path / "run.json").write_text("another")
    assert publish(wanted, folder) == 1
    assert order == ["run.json"]
    (folder.path / "land.parquet" / "class=2" / "part-0.parquet").unlink()
    assert publish(wanted, folder) == 1
    assert content(address).keys() == RESULTS - {"land.parquet/class=2/part-0.parquet"}


def test_what_somebody_else_has_written_is_replaced_on_request_alone(folder: RunFolder, address: str) -> None:
    store, root = fsspec.core.url_to_fs(address)
    store.makedirs(root, exist_ok=True)
    store.pipe_file(f"{root}/labels.tif", b"theirs")
    store.pipe_file(f"{root}/theirs.txt", b"theirs")
    with pytest.raises(
        ExistingOutputError, match=r"holds labels\.tif, which this run has not put there .* --overwrite"
    ):
        publish(workflow(folder, address), folder)
    assert content(address) == {"labels.tif": "theirs", "theirs.txt": "theirs"}
    publish(workflow(folder, address, overwrite=True), folder)
    assert content(address).keys() == {*RESULTS, "theirs.txt"}
    store.pipe_file(f"{root}/item.json", b"a newer one of theirs")
    with pytest.raises(ExistingOutputError, match=r"holds item\.json, .* or somebody has changed since"):
        publish(workflow(folder, address), folder)
    assert content(address)["item.json"] == "a newer one of theirs"
    store.rm_file(f"{root}/item.json")
    assert publish(workflow(folder, address), folder) == 1
    assert content(address)["item.json"] == "content of item.json"


def test_a_start_that_was_cut_off_goes_on(folder: RunFolder, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put, done = Address.put, []

    def failing(self: Address, path: Path, name: str) -> None:
        if name == "item.json":
            raise ConnectionError("the network is gone")
        put(self, path, name)
        done.append(name)

    with monkeypatch.context() as patched:
        patched.setattr(Address, "put", failing)
        with pytest.raises(OutputError, match=r"cannot be written \(the network is gone\); the results are in .*again"):
            publish(workflow(folder, address), folder)
    assert content(address).keys() == RESULTS - {"item.json", "run.json"}
    publish(workflow(folder, address), folder)
    assert content(address) == {name: f"content of {name}" for name in RESULTS}


def test_a_file_gets_its_name_when_it_is_whole(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"file://{tmp_path}/store"
    publish(workflow(folder, address), folder)
    before = content(address)
    (folder.path / "labels.tif").write_text("another")

    def half(_: LocalFileSystem, path: str, target: str, **__: Any) -> None:
        Path(target).write_text(Path(path).read_text()[:4])
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(LocalFileSystem, "put_file", half)
        with pytest.raises(OutputError, match="No space left on device"):
            publish(workflow(folder, address), folder)
    assert content(address) == before


def test_a_folder_holds_the_parts_of_one_map_alone(folder: RunFolder, address: str, tmp_path: Path) -> None:
    publish(workflow(folder, address), folder)
    shutil.copytree(folder.path, tmp_path / "other", ignore=shutil.ignore_patterns("class=2", "published.json"))
    other = RunFolder(tmp_path / "other")
    with pytest.raises(ExistingOutputError):
        publish(workflow(other, address), other)
    publish(workflow(other, address, overwrite=True), other)
    assert content(address).keys() == RESULTS - {"land.parquet/class=2/part-0.parquet"}


def test_what_lies_beside_results_in_a_folder_stays(folder: RunFolder, address: str) -> None:
    (folder.path / "sub").mkdir()
    (folder.path / "sub" / "a.gpkg").write_text("polygons")
    record = folder.path / "state" / "outputs.json"
    entry = {"decided": "", "layer": "", "files": {"a.gpkg": ""}}
    record.write_text(json.dumps({**json.loads(record.read_text()), "sub/a.gpkg": entry}))
    store, root = fsspec.core.url_to_fs(address)
    store.makedirs(f"{root}/sub", exist_ok=True)
    store.pipe_file(f"{root}/sub/theirs.txt", b"theirs")
    publish(workflow(folder, address), folder)
    publish(workflow(folder, address, overwrite=True), folder)
    assert content(address)["sub/theirs.txt"] == "theirs"
    assert content(address)["sub/a.gpkg"] == "polygons"


def test_parts_that_a_start_which_was_cut_off_has_put_go_when_they_are_no_result_any_more(
    folder: RunFolder, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Address.put

    def failing(self: Address, path: Path, name: str) -> None:
        if name == "item.json":
            raise ConnectionError("the network is gone")
        put(self, path, name)

    with monkeypatch.context() as patched:
        patched.setattr(Address, "put", failing)
        with pytest.raises(OutputError):
            publish(workflow(folder, address), folder)
    (folder.path / "land.parquet" / "class=2" / "part-0.parquet").unlink()
    publish(workflow(folder, address), folder)
    assert content(address).keys() == RESULTS - {"land.parquet/class=2/part-0.parquet"}
    assert publish(workflow(folder, address), folder) == 0


def test_what_a_start_that_was_killed_has_left_is_removed(folder: RunFolder, tmp_path: Path) -> None:
    address, part = f"file://{tmp_path}/store", tmp_path / "store" / "land.parquet" / "class=1"
    publish(workflow(folder, address), folder)
    for name in ("part-0.parquet.1a2b3c4d.tmp", "theirs.1a2b3c4d.tmp"):
        (part / name).write_text("half")
    (folder.path / "run.json").write_text("another")
    assert publish(workflow(folder, address), folder) == 1
    assert sorted(path.name for path in part.iterdir()) == ["part-0.parquet", "theirs.1a2b3c4d.tmp"]


def test_a_file_that_is_shorter_than_it_was_put_is_told(
    folder: RunFolder, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Address.put
    short = folder.path / "notes.txt"
    short.write_text("")
    with monkeypatch.context() as patched:
        patched.setattr(Address, "put", lambda self, _path, name: put(self, short, name))
        with pytest.raises(OutputError, match=r"does not hold .* as it was put; run the same command again"):
            publish(workflow(folder, address), folder)
    assert publish(workflow(folder, address), folder) == len(RESULTS)


def test_passwords_are_recorded_nowhere(folder: RunFolder) -> None:
    place = uuid.uuid4().hex
    for password in ("secret", "changed"):
        address = Address.of(f"memory://user:{password}@{place}/map", folder)
        address.record({**address.recorded(), password: {}})
    text = (folder.state / "published.json").read_text()
    assert list(json.loads(text)) == [f"memory://user@{place}/map"]
    assert list(address.recorded()) == ["secret", "changed"]
    assert "secret@" not in text
    with pytest.raises(WorkflowError) as told:
        Address.of("SFTP://user:secret@host/x", folder)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("bucket/map", "is no address; give one such as s3://bucket/folder"),
        ("ftp://127.0.0.1:9/map", "cannot be used .*; check address, credentials and network, or give another"),
        ("nostore://bucket/map", "cannot be used .*nostore.*; install the package of fsspec for it, or give another"),
    ],
)
def test_an_address_that_cannot_be_used_is_told(folder: RunFolder, text: str, sentence: str) -> None:
    with pytest.raises(WorkflowError, match=sentence):
        publish(workflow(folder, text), folder)


def test_a_store_that_is_not_installed_is_told(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(WorkflowError, match=r'publish .s3://maps/a. cannot be used .*; pip install "geoseg\[s3\]"'):
        publish(workflow(folder, "s3://maps/a"), folder)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1, "127.0.0.1:0") as workers:
        yield workers


def test_a_run_ends_with_its_results_at_the_address_and_the_next_start_does_nothing(
    tmp_path: Path, client: Client
) -> None:
    scene, address = write_raster(tmp_path / "scene.tif", noise(2, 96, 96)), f"memory://{uuid.uuid4().hex}/map"
    given: dict[str, Any] = {"input": str(scene), "model": str(write_model(tmp_path / "m", Box(1), name="box", halo=3))}
    given |= {"output": str(tmp_path / "out"), "ramp": 8, "client": client, "publish": address}
    given |= {"features": ["a.gpkg", "a.parquet"], "outputs": ["labels.zarr"], "partition": "class"}
    store, root = fsspec.core.url_to_fs(address)
    store.pipe_file(f"{root}/a.gpkg", b"theirs")
    with pytest.raises(ExistingOutputError, match=r"holds a\.gpkg, which this run has not put there"):
        geoseg.run(**given)
    assert not (tmp_path / "out").exists()
    store.rm_file(f"{root}/a.gpkg")
    with pytest.raises(WorkflowError, match=r"lies outside of .*give a name alone"):
        geoseg.run(**given | {"features": [str(tmp_path / "b.parquet")]})
    geoseg.run(**given)
    there = {name[len(root) :].lstrip("/"): store.cat_file(name) for name in store.find(root)}
    assert {"labels.tif", "a.gpkg", "labels.zarr/zarr.json", "report.html", "run.json", "item.json"} <= there.keys()
    assert not any(name.startswith("state") for name in there)
    assert all((tmp_path / "out" / name).read_bytes() == data for name, data in there.items())
    assert geoseg.run(**given).is_unchanged
    store.rm_file(f"{root}/labels.tif")
    assert not geoseg.run(**given).is_unchanged
    assert store.cat_file(f"{root}/labels.tif") == there["labels.tif"]
    resumed = geoseg.resume(tmp_path / "out", client=client, publish=f"{address}-2")
    assert not resumed.is_unchanged
    assert store.cat_file(f"{root}-2/labels.tif") == there["labels.tif"]
