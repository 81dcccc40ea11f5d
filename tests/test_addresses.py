"""Models at an address and on the hub are fetched once, checked, and open as the same file here does."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from geoseg.catalog import add_model, find_model
from geoseg.cli import main
from geoseg.errors import CatalogError, WeightsError
from geoseg.models.addresses import MOST_BYTES, bring_here, is_address
from tests.rasters import write_raster
from tests.servers import Traffic, serving
from tests.test_packagings import (
    NORMALIZE,
    SEGMENTOR,
    labels_of,
    patches,
    save_onnx,
    save_smp,
    save_transform,
    save_transformers,
)
from tests.test_published_items import by_geoseg, network, save, torch_item, write

HOST = "https://models.test"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

pytestmark = [
    pytest.mark.usefixtures("empty_cache"),
    pytest.mark.filterwarnings("ignore:.*does not name its bands:geoseg.errors.GeosegWarning"),
]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Traffic]]:
    """A folder that `HOST` serves, by way of a server on loopback."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "*")
    ask = urllib.request.urlopen
    with serving(folder) as traffic:

        def answer(address: str, **options: Any) -> Any:
            found = ask(address.replace(HOST, traffic.url), **options)
            found.url = found.url.replace(traffic.url, HOST)
            return found

        monkeypatch.setattr("urllib.request.urlopen", answer)
        yield folder, traffic


def asked(traffic: Traffic, folder: Path) -> list[str]:
    return [path.lstrip("/") for _, path, _ in traffic.requests if (folder / path.lstrip("/")).is_file()]


def test_an_item_at_an_address_is_fetched_once_and_labels_as_here(
    site: tuple[Path, Traffic], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, traffic = site
    item = torch_item("UNet", save(network(), folder / "m.pth"))
    here = write(item, folder, "item")
    address = f"{HOST}/item.json"
    spec = find_model(address)
    assert spec.weights == f"{HOST}/m.pth"
    assert asked(traffic, folder) == ["item.json"]  # weights only when they are needed
    expected = by_geoseg(here, tmp_path)
    for _ in range(2):
        labels = labels_of(str(tmp_path / "scene.tif"), address)
        assert np.array_equal(labels, expected)
    assert asked(traffic, folder) == ["item.json", "m.pth"]
    monkeypatch.setenv("GEOSEG_CATALOG", str(tmp_path / "own"))
    assert find_model(add_model(address)).weights == f"{HOST}/m.pth"


def test_onnx_at_an_address_is_the_model_that_it_is_here(
    site: tuple[Path, Traffic], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, traffic = site
    address = f"{HOST}/land.onnx"
    path = save_onnx(folder / "land.onnx", SEGMENTOR, activation=torch.nn.Softmax(1))
    raster = str(write_raster(tmp_path / "scene.tif", patches(3)))
    monkeypatch.chdir(tmp_path)
    here, there = find_model(path), find_model(address)
    assert there.weights == address
    assert (there.name, there.classes, there.tile_size, there.fixed_size, there.multiple) == (
        "land", here.classes, here.tile_size, True, here.multiple,
    )  # fmt: skip
    run = ["run", "--input", raster, "--resolution", "10", "--output", "out", "--workers", "1", "--model", address]
    assert main(run) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["workflow"]["model"] == address
    assert main([*run]) == 0  # a second start finds the same model
    assert main(["models", "new", address]) == 0
    assert json.loads((tmp_path / "land.json").read_text())["assets"]["model"]["href"] == address
    assert asked(traffic, folder) == ["land.onnx"]
    capsys.readouterr()
    assert main(["probe", address, "--write"]) != 0
    assert "has no entry to write into" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("<html>", r"'https://models.test/item.json' is not JSON \(.*\); give the address of a STAC item"),
        ("[" * 100_000, r"is not JSON"),
        ("[]", r"is no STAC item with assets; give the address of one"),
        ('{"assets": {"model": {}}}', r"asset 'model' of 'https://models.test/item.json' has no href"),
        (
            '{"assets": {"model": {"href": "file:///etc/hosts"}}}',
            r"href 'file:///etc/hosts', and an item at an address",
        ),
        ('{"assets": {"model": {"href": "/vsizip//tmp/m.zip/m.onnx"}}}', r"href '/vsizip//tmp/m.zip/m.onnx', and an"),
        (
            '{"assets": {}, "properties": {"mlm:hyperparameters": {"text_model": "/home/words"}}}',
            r"has the hyperparameter text_model '/home/words', and an item at an address may only name what is",
        ),
        (
            '{"assets": {}, "properties": {"mlm:hyperparameters": {"encoder_name": "tu-local-dir:/home/net"}}}',
            r"has the hyperparameter encoder_name 'tu-local-dir:/home/net', and an item at an address",
        ),
        (
            '{"assets": {}, "properties": {"mlm:hyperparameters": {"a": {"b": ["~/net"]}}}}',
            r"has the hyperparameter a \{'b': \['~/net'\]\}, and an item at an address",
        ),
        (" " * (MOST_BYTES + 1), r"has more than 16 MiB, which no STAC item has"),
        (None, r"'https://models.test/item.json' cannot be fetched \(HTTP Error 404.*\); check address and connection"),
    ],
    ids=["html", "deep", "list", "no href", "file", "vsi", "words", "encoder", "deep path", "large", "missing"],
)
def test_what_is_no_item_to_be_trusted_is_refused_and_not_kept(
    site: tuple[Path, Traffic], empty_cache: Path, content: str | None, sentence: str
) -> None:
    if content is not None:
        (site[0] / "item.json").write_text(content)
    with pytest.raises(CatalogError, match=sentence) as caught:
        find_model(f"{HOST}/item.json")
    assert "\n" not in str(caught.value)
    assert not list(empty_cache.rglob("*.json"))


def test_an_exported_file_at_an_address_opens_by_its_own_item_which_is_trusted_no_more(
    site: tuple[Path, Traffic], tmp_path: Path
) -> None:
    folder, _ = site
    item = write(torch_item("smp.Unet", save(network(), tmp_path / "m.pth")), tmp_path, "item")
    assert main(["models", "export", str(item), str(folder / "m.safetensors")]) == 0
    there = find_model(f"{HOST}/m.safetensors")
    assert there.weights == f"{HOST}/m.safetensors"
    assert there.class_names == find_model(item).class_names
    assert main(["models", "export", f"{HOST}/m.safetensors", str(tmp_path / "again.safetensors")]) == 0
    held = json.loads(safe_open(folder / "m.safetensors", framework="np").metadata()["mlm-item"])
    held["properties"]["mlm:hyperparameters"] = {"text_model": "/home/words"}
    tensors = load_file(folder / "m.safetensors")
    save_file(tensors, folder / "other.safetensors", metadata={"mlm-item": json.dumps(held)})
    with pytest.raises(CatalogError, match=r"hyperparameter text_model '/home/words', and an item at an address"):
        find_model(f"{HOST}/other.safetensors")


def test_relative_addresses_are_those_of_the_answer(site: tuple[Path, Traffic]) -> None:
    folder, _ = site
    (folder / "models").mkdir()
    write(torch_item("UNet", "/etc/weights.pth"), folder / "models", "item")
    assert find_model(f"{HOST}/models/item.json").weights == f"{HOST}/etc/weights.pth"


@pytest.mark.parametrize("name", ["item.json", "land.onnx"])
def test_a_model_without_encryption_is_refused(site: tuple[Path, Traffic], name: str) -> None:
    folder, traffic = site
    (folder / name).write_text("{}")
    with pytest.raises((CatalogError, WeightsError), match=r"without encryption.*replaced on the way; give https"):
        find_model(f"{traffic.url}/{name}")
    assert asked(traffic, folder) == []


def test_a_file_that_cannot_be_fetched_is_one_sentence(site: tuple[Path, Traffic]) -> None:
    with pytest.raises(
        WeightsError, match=r"cannot be fetched from .*gone.onnx \(.*404.*or fetch it and give its path"
    ):
        find_model(f"{HOST}/gone.onnx")
    assert site[1].requests


@pytest.fixture
def hub(empty_hub: Path) -> Path:
    """Where snapshots of org/name lie in the hub's cache."""
    stored = empty_hub / "models--org--net-b0.5"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text(COMMIT)
    return stored / "snapshots" / COMMIT


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["smp", "transformers"])
def test_a_repository_of_the_hub_labels_as_its_folder_does(tmp_path: Path, hub: Path, kind: str) -> None:
    if kind == "smp":
        save_smp(tmp_path / "saved", classes=3)
        save_transform(tmp_path / "saved", NORMALIZE)
    else:
        save_transformers(tmp_path / "saved", "Segformer")
    shutil.copytree(tmp_path / "saved", hub)
    raster = str(write_raster(tmp_path / "scene.tif", patches(3)))
    spec = find_model("hub:org/net-b0.5")
    assert (spec.name, spec.weights) == ("net-b0.5", f"hub:org/net-b0.5@{COMMIT}")
    assert find_model("https://huggingface.co/org/net-b0.5") == spec
    labels = labels_of(raster, "hub:org/net-b0.5")
    run = ["run", "--input", raster, "--model", "hub:org/net-b0.5", "--output", str(tmp_path / "out"), "--workers", "1"]
    assert main(run) == 0
    links = json.loads((tmp_path / "out" / "item.json").read_text())["links"]
    assert "https://huggingface.co/org/net-b0.5" in [link["href"] for link in links]
    assert len(np.unique(labels)) > 1
    assert np.array_equal(labels, labels_of(raster, tmp_path / "saved"))


def test_the_entry_of_a_repository_is_filled_in_as_that_of_a_folder(
    tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_smp(hub, classes=3)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CatalogError, match=r"'hub:org/net-b0.5' does not tell.*`geoseg models new hub:org/net-b0.5 "):
        find_model("hub:org/net-b0.5")
    assert main(["models", "new", "hub:org/net-b0.5"]) == 0
    assert json.loads((tmp_path / "net-b0.5.json").read_text())["assets"]["model"]["href"].endswith(COMMIT)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hub:name", r"model 'hub:name' has no owner; give hub:ORG/NAME"),
        ("hub:org/other", r"'hub:org/other' .* not in the cache and the hub cannot be reached; connect once"),
        ("hub:org/net-b0.5", r"'hub:org/net-b0.5' does not describe itself; give an ONNX file"),
    ],
)
def test_a_repository_that_cannot_be_used_is_one_sentence(hub: Path, name: str, sentence: str) -> None:
    hub.mkdir(parents=True)
    (hub / "config.json").write_text("{}")
    (hub / "model.safetensors").write_bytes(b"")
    with pytest.raises((CatalogError, WeightsError), match=sentence):
        find_model(name)


def test_a_repository_is_added_by_its_name(tmp_path: Path, hub: Path) -> None:
    save_transformers(hub, "Segformer")
    added = add_model("hub:org/net-b0.5", tmp_path / "own")
    assert find_model(added).weights == f"hub:org/net-b0.5@{COMMIT}"


PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text().partition("### Models at an address")[2]
TABLE = [[cell.strip() for cell in row.strip("|").split("|")] for row in PAGE.split("\n\n")[1].splitlines()[2:]]


def test_the_table_of_addresses_is_true(site: tuple[Path, Traffic], hub: Path) -> None:
    folder, traffic = site
    write(torch_item("UNet", "file:///m.pth"), folder, "local")
    write(torch_item("UNet", "m.pth"), folder, "item")
    save_onnx(folder / "land.onnx", SEGMENTOR)
    save_transformers(hub, "Segformer")
    (hub.parents[1] / "refs" / "v1.0").write_text(COMMIT)
    models = [
        f"{HOST}/item.json", f"{HOST}/land.onnx", "hub:org/net-b0.5", "hub:org/net-b0.5@v1.0",
        f"{traffic.url}/item.json", f"{HOST}/local.json",
    ]  # fmt: skip
    for (_, _, opened), model in zip(TABLE, models, strict=True):
        if opened == "yes":
            assert find_model(model).classes
        else:
            with pytest.raises(CatalogError, match=opened.removeprefix("no: ").strip('"')):
                find_model(model)


def test_a_path_is_no_address() -> None:
    assert [is_address(item) for item in ("land.onnx", "C:/m.onnx", Path("hub:a/b"), "hub:a/b")] == [False] * 3 + [True]
    assert bring_here("land.onnx") == Path("land.onnx")
