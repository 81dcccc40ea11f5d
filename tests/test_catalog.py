"""The catalog: entries survive being written and read, anyone's item loads, and every mistake is one sentence."""

from __future__ import annotations

import copy
import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pystac.extensions.mlm import MLMExtension, ValueScaling
from pystac.validation import JsonSchemaSTACValidator

import geoseg.catalog
from geoseg.catalog import (
    add_model,
    catalogs_home,
    find_imagery,
    find_model,
    list_models,
    own_catalog_home,
    read_imagery_item,
    read_model_item,
    workflows_home,
    write_model_item,
)
from geoseg.errors import CatalogError, GeosegWarning, OutputError, WeightsError
from geoseg.models import Band, ClassSpec, ModelSpec, Scaling, load_model
from geoseg.models.availability import Availability, find_availability
from geoseg.models.background import class_problem
from geoseg.models.refinement import Refinement
from geoseg.models.spec import Activation, HalfPrecision, Task
from geoseg.models.weights import weights_digest
from tests.networks import save_divided

words = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=12)
names = st.builds(lambda first, rest: f"{first}{rest}z", st.sampled_from(string.ascii_letters), words)
numbers = st.floats(-1e6, 1e6)
scalings = st.one_of(
    st.builds(lambda low, high: Scaling("min-max", minimum=low, maximum=high), numbers, numbers),
    st.builds(lambda mean, span: Scaling("z-score", mean=mean, stddev=span), numbers, numbers),
    st.builds(lambda low: Scaling("clip-min", minimum=low), numbers),
    st.builds(lambda value: Scaling("offset", value=value), numbers),
    st.builds(lambda number: Scaling("processing", expression=f"log(A + {number})"), numbers),
    st.just(Scaling("none")),
)
values = st.one_of(st.integers(-99, 99), words, st.booleans(), st.lists(st.integers(0, 99)).map(tuple))


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    """Specs with every field set to something."""
    band = st.builds(Band, words, st.none() | words)
    bands = draw(st.lists(band, min_size=1, max_size=5, unique_by=lambda item: item.name))
    labels = draw(st.lists(st.integers(0, 254), min_size=1, max_size=6, unique=True))
    colors = st.text("0123456789ABCDEF", min_size=6, max_size=6).map(lambda text: f"#{text}")
    task = draw(st.sampled_from(Task.__args__))  # type: ignore[attr-defined]
    things = [task == "panoptic-segmentation" and (not number or draw(st.booleans())) for number in range(len(labels))]
    classes = [
        ClassSpec(label, f"class {label}", draw(colors), draw(words), isthing)  # a description that is the name goes
        for label, isthing in zip(labels, things, strict=True)
    ]
    count = draw(st.sampled_from([0, 1, len(bands)]))
    activation = draw(st.sampled_from(Activation.__args__))  # type: ignore[attr-defined]
    fewer = len(classes) > 1 and activation != "softmax" and task != "instance-segmentation" and draw(st.booleans())
    framework = draw(st.sampled_from(["pytorch", "onnx", "torchscript", "torch.export"]))
    shipped = draw(st.booleans())
    suffix = {"pytorch": "safetensors", "onnx": "onnx", "torchscript": "pt", "torch.export": "pt2"}[framework]
    return ModelSpec(
        name=draw(names),
        task=task,
        bands=tuple(bands),
        classes=tuple(classes),
        scalings=tuple(draw(scalings) for _ in range(count)),
        resolution=draw(st.none() | st.floats(0.01, 100)),
        tile_size=draw(st.integers(1, 4096)),
        halo=draw(st.integers(0, 200)),
        multiple=draw(st.integers(1, 64)),
        activation=activation,
        threshold=None if activation == "softmax" or task == "instance-segmentation" else draw(st.floats(0, 1)),
        channels=len(classes) - 1 if fewer else None,
        framework=framework,
        architecture=draw(names),
        hyperparameters=tuple(sorted(draw(st.dictionaries(names, values, max_size=4)).items())),
        weights=draw(st.sampled_from([f"/data/w.{suffix}", f"https://example.org/w.{suffix}", "hub:some/where"]))
        if shipped
        else None,
        checksum=draw(st.none() | st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda h: f"sha256:{h}")),
        obtain="" if shipped else draw(words),
        activation_bytes=draw(st.floats(1, 1e5)),
        seconds_per_mpx=draw(st.none() | st.floats(0.1, 100)),
        bfloat16=draw(st.none() | st.builds(HalfPrecision, st.floats(0, 1), st.floats(0.1, 100))),
        ramp=draw(st.none() | st.integers(0, 512)),
        min_score=0.5 if task == "semantic-segmentation" else draw(st.floats(0, 1)),
        refine=draw(st.none() | st.builds(Refinement, st.integers(1, 9), st.sampled_from([3, 7, 11]))),
        description=draw(words),
        license=draw(st.sampled_from(["", "MIT", "Apache-2.0"])),
        metrics=tuple(draw(st.dictionaries(names, numbers, max_size=3)).items()),
        edge_errors=tuple(sorted(draw(st.dictionaries(st.integers(0, 512), st.floats(0, 1), max_size=3)).items())),
    )


@given(spec=specs().filter(lambda spec: class_problem(spec) is None))
def test_a_spec_survives_being_written_and_read(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write_model_item(spec, tmp_path_factory.mktemp("item"))
    found = read_model_item(path)
    assert found == spec
    assert dict(found.metrics) == dict(spec.metrics)
    assert found.edge_errors == spec.edge_errors
    hash(found)


SPEC = ModelSpec(
    name="small",
    task="semantic-segmentation",
    bands=(Band("B04", "red"), Band("B08", "nir")),
    classes=(ClassSpec(1, "land", "#00FF00"), ClassSpec(4, "water", "#0000FF", "Lakes")),
    scalings=(Scaling("scale", value=10_000),),
    resolution=10.0,
    architecture="smp.Unet",
    hyperparameters=(("encoder_name", "resnet18"),),
    description="Small.",
    license="MIT",
)


def test_weights_in_the_folder_are_written_relative_and_with_their_checksum(tmp_path: Path) -> None:
    weights = tmp_path / "small" / "small.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"abc")
    path = write_model_item(SPEC.with_weights(weights), weights.parent)
    asset = json.loads(path.read_text())["assets"]["model"]
    assert asset["href"] == "./small.safetensors"
    assert asset["file:checksum"] == "1220ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    moved = path.parent.rename(tmp_path / "moved") / path.name
    assert read_model_item(moved).weights == str(tmp_path / "moved" / "small.safetensors")


def test_a_written_item_is_valid_stac_that_pystac_understands(tmp_path: Path) -> None:
    validate(write_model_item(SPEC, tmp_path))


def validate(path: Path) -> None:
    """Check an item against STAC's own schemas (which pystac brings along), and read it with pystac's MLM package."""
    item = pystac.Item.from_file(str(path))
    kind = pystac.STACObjectType.ITEM
    JsonSchemaSTACValidator().validate_core(item.to_dict(include_self_link=False), kind, "1.1.0", str(path))
    mlm = MLMExtension.ext(item)
    assert mlm.mlm_name == item.id
    spec = read_model_item(path)
    assert mlm.tasks == [spec.task]
    assert [band.name if hasattr(band, "name") else band for band in mlm.input[0].bands] == spec.band_names
    assert [found.name for found in mlm.output[0].classes or []] == spec.class_names
    for scaling in item.properties["mlm:input"][0]["value_scaling"] or []:
        if scaling["type"] is not None:
            ValueScaling.create(**scaling)


@pytest.mark.parametrize("path", sorted(catalogs_home().rglob("*.json")), ids=lambda path: path.stem)
def test_every_shipped_document_is_valid_stac(path: Path) -> None:
    document = json.loads(path.read_text())
    if document.get("type") == "Feature" and "mlm:name" in document["properties"]:
        validate(path)
    kinds = {"Feature": "ITEM", "Collection": "COLLECTION", "Catalog": "CATALOG"}
    kind = pystac.STACObjectType[kinds[document["type"]]]
    JsonSchemaSTACValidator().validate_core(document, kind, "1.1.0", str(path))
    for link in document["links"]:
        if not link["href"].startswith("http"):
            assert (path.parent / link["href"]).is_file(), f"{path} links to {link['href']}, which is not there"


def test_every_shipped_item_is_linked_from_its_collection() -> None:
    for name in ("models", "imagery"):
        folder = catalogs_home() / name
        links = json.loads((folder / "collection.json").read_text())["links"]
        linked = {(folder / link["href"]).resolve() for link in links if link["rel"] == "item"}
        assert linked == {path.resolve() for path in folder.glob("*/*.json") if path.stem == path.parent.name}


def test_the_schemas_can_refuse(tmp_path: Path) -> None:
    path = write_model_item(SPEC, tmp_path)
    document = json.loads(path.read_text())
    del document["geometry"]
    with pytest.raises((pystac.errors.STACValidationError, jsonschema.ValidationError)):
        JsonSchemaSTACValidator().validate_core(document, pystac.STACObjectType.ITEM, "1.1.0", str(path))


def test_writing_an_item_links_it_with_its_collection_once(tmp_path: Path) -> None:
    (tmp_path / "collection.json").write_text(json.dumps({"type": "Collection", "id": "models", "links": []}))
    for _ in range(2):
        path = write_model_item(SPEC, tmp_path / "small")
    links = json.loads((tmp_path / "collection.json").read_text())["links"]
    assert [link["href"] for link in links] == ["./small/small.json"]
    assert json.loads(path.read_text())["collection"] == "models"


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_model_item(SPEC, tmp_path / "file" / "small")


def test_the_catalog_lists_dynamic_world() -> None:
    spec = find_model("dynamic-world")
    assert spec in list_models()
    assert spec.class_names[:2] == ["water", "trees"]
    assert spec.classes[0].color == "#419BDF"
    assert spec.band_names == ["B2", "B3", "B4", "B5", "B6", "B7", "B8", "B11", "B12"]
    assert [spec.bands[index].common_name for index in (0, 6, 8)] == ["blue", "nir", "swir22"]
    assert (spec.resolution, spec.multiple, spec.license) == (10.0, 2, "Apache-2.0")


def test_dynamic_world_without_its_weights_says_how_to_get_them() -> None:
    with pytest.raises(WeightsError, match=r"github\.com/google/dynamicworld.* --weights FILE"):
        load_model(find_model("dynamic-world"))


def test_the_entry_of_dynamic_world_has_the_checksum_of_the_file(shared_data: Path) -> None:
    from geoseg.models.weights import weights_digest

    spec = find_model("dynamic-world").with_weights(shared_data / "weights" / "dynamicworld_forward.onnx")
    assert weights_digest(spec) == spec.checksum


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("land", "roofs"):
        write_model_item(replace(SPEC, name=name), tmp_path / "models" / name)
    (tmp_path / "models" / "land" / "scores.json").write_text("[]")
    return tmp_path


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own catalog that is empty, whatever the person who runs the tests has."""
    folder = tmp_path / "own"
    monkeypatch.setenv("GEOSEG_CATALOG", str(folder))
    return folder


def test_a_model_is_found_by_name_by_item_and_by_folder(home: Path) -> None:
    wanted = find_model("land", home)
    assert wanted.name == "land"
    assert find_model(home / "models" / "land" / "land.json") == wanted
    assert find_model(home / "models" / "roofs").name == "roofs"
    assert [spec.name for spec in list_models(home)] == ["land", "roofs"]


def test_an_unknown_model_names_the_nearest(home: Path) -> None:
    with pytest.raises(CatalogError, match="did you mean 'roofs'"):
        find_model("rofs", home)
    with pytest.raises(CatalogError, match="known: land, roofs"):
        find_model("xyz", home)
    with pytest.raises(CatalogError, match=r"holds 2 \.json files"):
        find_model(home / "models" / "land")
    with pytest.raises(CatalogError, match="does not exist"):
        find_model(home / "none.json")


def test_an_installed_package_brings_its_own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (catalogs_home() / "catalog.json").is_file()
    assert workflows_home().name == "workflows"
    (tmp_path / "geoseg" / "catalogs").mkdir(parents=True)
    monkeypatch.setattr(geoseg.catalog, "__file__", str(tmp_path / "geoseg" / "catalog.py"))
    assert catalogs_home() == tmp_path / "geoseg" / "catalogs"
    assert workflows_home() == tmp_path / "workflows"


def test_an_own_catalog_lies_where_a_variable_or_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_catalog_home() == tmp_path / "own"
    monkeypatch.delenv("GEOSEG_CATALOG")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert own_catalog_home() == tmp_path / "data" / "geoseg" / "catalog"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own_catalog_home() == tmp_path / ".local" / "share" / "geoseg" / "catalog"


@pytest.fixture
def item(tmp_path: Path) -> Path:
    """Somebody's item in a folder of its own, with weights, a picture beside it and links to where it came from."""
    folder = tmp_path / "download"
    folder.mkdir()
    weights = folder / "net.safetensors"
    weights.write_bytes(b"abc")
    picture = {"picture": {"href": "./map.png", "roles": ["thumbnail"]}}
    path = write_model_item(replace(SPEC, name="my town").with_weights(weights), folder / "item.json", assets=picture)
    document = json.loads(path.read_text())
    document["links"] = [
        {"rel": "self", "href": "./item.json"},
        {"rel": "collection", "href": "https://example.org/collection.json"},
        {"rel": "cite-as", "href": "https://doi.org/10.1000/1"},
    ]
    path.write_text(json.dumps(document))
    return path


def test_an_added_model_is_listed_found_and_whole(item: Path, own: Path) -> None:
    path = add_model(item)
    assert path == own / "models" / "my-town" / "my-town.json"
    (item.parent / "net.safetensors").unlink()
    spec = find_model("my-town")
    assert spec in list_models()
    assert {"my-town", "dynamic-world"} <= {found.name for found in list_models()}
    assert spec == replace(SPEC, name="my-town", weights=str(path.parent / "net.safetensors"), checksum=spec.checksum)
    assert sorted(file.name for file in path.parent.iterdir()) == ["my-town.json", "net.safetensors"]
    document = json.loads(path.read_text())
    assert document["properties"]["title"] == "my town"
    assert document["assets"]["picture"]["href"] == str(item.parent / "map.png")
    assert [link["rel"] for link in document["links"]] == ["collection", "parent", "cite-as"]


def test_an_own_catalog_is_valid_stac_and_links_each_model_once(item: Path, own: Path) -> None:
    validate(add_model(item))
    add_model(item, overwrite=True)
    collection = json.loads((own / "models" / "collection.json").read_text())
    JsonSchemaSTACValidator().validate_core(collection, pystac.STACObjectType.COLLECTION, "1.1.0")
    assert [link["href"] for link in collection["links"]] == ["./my-town/my-town.json"]


def test_a_model_of_the_same_name_is_replaced_only_on_request(item: Path, own: Path, tmp_path: Path) -> None:
    shipped = write_model_item(replace(SPEC, name="dynamic-world", description="Mine."), tmp_path / "mine")
    for taken in (item, shipped):
        if taken is item:
            add_model(item)
        with pytest.raises(CatalogError, match=r"is in the catalog already \('.*'\); give it another mlm:name"):
            add_model(taken)
    add_model(shipped, overwrite=True)
    assert find_model("dynamic-world").description == "Mine."
    assert [spec.name for spec in list_models()].count("dynamic-world") == 1
    with pytest.raises(CatalogError, match="there is nothing to add"):
        add_model(own / "models" / "my-town" / "my-town.json", overwrite=True)


def test_a_folder_of_weights_is_taken_along(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"abc")
    spec = replace(SPEC, architecture="transformers.SegformerForSemanticSegmentation", weights=str(folder))
    for _ in range(2):
        path = add_model(write_model_item(spec, tmp_path / "item.json"), overwrite=True)
    assert find_model("small").weights == str(path.parent / "saved")
    assert sorted(file.name for file in (path.parent / "saved").iterdir()) == ["config.json", "model.safetensors"]
    assert find_availability(find_model("small")) == Availability("here", str(path.parent / "saved"), 5)


def test_the_data_of_an_onnx_model_is_taken_along(tmp_path: Path) -> None:
    path = save_divided(tmp_path / "net.onnx")
    item = write_model_item(replace(SPEC, framework="onnx", architecture="", weights=str(path)), tmp_path / "item.json")
    content = json.loads(item.read_text())
    content["assets"]["data"] = {"href": "./data/net.bin", "roles": ["mlm:weights"]}
    item.write_text(json.dumps(content))
    added = find_model(add_model(item))
    assert find_availability(added).size == path.stat().st_size + (path.parent / "data" / "net.bin").stat().st_size
    assert weights_digest(added) == weights_digest(read_model_item(item))
    assert added.weights is not None
    assert (Path(added.weights).parent / "data" / "net.bin").is_file()
    taken = json.loads((Path(added.weights).parent / "small.json").read_text())["assets"]
    assert {key: asset["href"] for key, asset in taken.items()} == {"model": "./net.onnx", "data": "./data/net.bin"}
    (Path(added.weights).parent / "data" / "net.bin").unlink()
    assert find_availability(added).state == "missing"


def test_an_entry_says_how_large_its_weights_are(tmp_path: Path) -> None:
    path = write_model_item(replace(SPEC, weights="hub:somebody/town", weights_bytes=1000), tmp_path / "item.json")
    assert read_model_item(path).weights_bytes == 1000
    (tmp_path / "less.json").write_text(path.read_text().replace('"file:size": 1000', '"file:size": -1'))
    with pytest.raises(CatalogError, match=r"'file:size' .* is -1; give a number of 0 or more"):
        read_model_item(tmp_path / "less.json")
    content = json.loads(path.read_text())
    del content["assets"]["model"]["file:size"]
    content["properties"]["mlm:total_parameters"] = 300
    path.write_text(json.dumps(content))
    assert read_model_item(path).weights_bytes == 1200
    for name in ("sam-vit-base", "sam2-hiera-tiny", "sam3", "mask-rcnn-coco"):
        assert find_model(name).weights_bytes


def test_weights_that_are_not_the_entrys_are_not_added(item: Path, own: Path) -> None:
    weights = item.parent / "net.safetensors"
    weights.write_bytes(b"abd")
    with pytest.raises(WeightsError, match="has the checksum"):
        add_model(item)
    weights.unlink()
    with pytest.raises(WeightsError, match=r"net\.safetensors.*does not exist"):
        add_model(item)
    assert not (own / "models" / "my-town").exists()
    assert json.loads((own / "models" / "collection.json").read_text())["links"] == []


def test_weights_of_a_hub_stay_there(tmp_path: Path, home: Path) -> None:
    path = write_model_item(replace(SPEC, weights="hub:somebody/town"), tmp_path / "item.json")
    added = add_model(path, home)
    assert added.parent.parent.parent == home
    assert find_model("small", home).weights == "hub:somebody/town"
    assert [spec.name for spec in list_models(home)] == ["land", "roofs", "small"]


def test_a_catalog_that_cannot_be_written_is_an_error(item: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        add_model(item, tmp_path / "file")


def test_where_weights_are_is_told_without_opening_them(item: Path) -> None:
    weights = str(item.parent / "net.safetensors")
    spec = read_model_item(item)
    assert find_availability(spec) == Availability("here", weights, 3, True)
    assert find_availability(replace(spec, checksum=None)) == Availability("here", weights, 3, None)
    assert find_availability(replace(spec, checksum="sha256:" + "0" * 64)).intact is False
    assert find_availability(replace(spec, weights="/no/where.pt")) == Availability(
        "missing", "/no/where.pt does not exist"
    )
    assert find_availability(replace(spec, weights=None, obtain="Ask.")) == Availability("missing", "Ask.")
    for address in ("https://example.org/w.pt", "hub:somebody/nothing-of-that-name", "hub:COCO_V1"):
        unsized = replace(spec, weights=address, weights_bytes=None)
        assert find_availability(unsized) == Availability("to fetch", address)
        told = find_availability(replace(spec, weights=address, weights_bytes=9))
        assert told == Availability("to fetch", address, 9)


def test_the_classes_of_mask_rcnn_are_those_of_its_weights() -> None:
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights, maskrcnn_resnet50_fpn_v2

    spec = find_model("mask-rcnn-coco")
    weights = MaskRCNN_ResNet50_FPN_V2_Weights[str(spec.weights).removeprefix("hub:")]
    assert set(spec.class_names) <= set(weights.meta["categories"])
    scaler = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None).transform
    assert_scalings(spec, scaler.image_mean, scaler.image_std)


@pytest.mark.parametrize(
    ("name", "processor"), [("sam-vit-base", "SamImageProcessor"), ("sam2-hiera-tiny", "Sam2ImageProcessor")]
)
def test_segment_anything_is_scaled_as_its_own_processor_does(name: str, processor: str) -> None:
    import transformers

    spec, theirs = find_model(name), getattr(transformers, processor)()
    assert_scalings(spec, theirs.image_mean, theirs.image_std)
    assert spec.tile_size == (theirs.size.longest_edge or theirs.size.height)
    assert hasattr(transformers, spec.architecture.removeprefix("transformers."))
    assert (spec.license, spec.resolution, spec.class_names) == ("Apache-2.0", None, ["object"])


def assert_scalings(spec: ModelSpec, means: list[float], deviations: list[float]) -> None:
    """Pixels of 0 to 255 are scaled as a library scales those of 0 to 1."""
    assert spec.band_names == ["red", "green", "blue"]
    assert [scaling.mean for scaling in spec.scalings] == pytest.approx([255 * mean for mean in means])
    assert [scaling.stddev for scaling in spec.scalings] == pytest.approx([255 * size for size in deviations])


def foreign() -> dict[str, Any]:
    """An item as others write them: STAC 1.0, bands in the asset, channels of colours, no geoseg fields."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/mlm/v1.3.0/schema.json"],
        "id": "foreign-item",
        "geometry": None,
        "properties": {
            "datetime": "2024-01-01T00:00:00Z",
            "gsd": 0.5,
            "mlm:name": "Foreign U-Net",
            "mlm:architecture": "segmentation_models_pytorch.decoders.unet.model.Unet",
            "mlm:framework": "PyTorch",
            "mlm:tasks": ["segmentation", "semantic-segmentation"],
            "mlm:input": [
                {
                    "name": "RGB",
                    "bands": ["B04", {"name": "B03"}, "B02"],
                    "input": {
                        "shape": [-1, 3, 96, 96],
                        "dim_order": ["batch", "channel", "height", "width"],
                        "data_type": "float32",
                    },
                    "value_scaling": [
                        {"type": "z-score", "mean": 1000, "stddev": 200},
                        {"type": "clip", "minimum": 0, "maximum": 1},
                        {"type": None},
                    ],
                    "resize_type": None,
                }
            ],
            "mlm:output": [
                {
                    "name": "scores",
                    "tasks": ["semantic-segmentation"],
                    "result": {"shape": [-1, 2], "dim_order": ["batch", "class"], "data_type": "float32"},
                    "classification_classes": [
                        {"value": 0, "name": "BACKGROUND", "color_hint": None},
                        {"value": 1, "title": "City", "color_hint": [0, 0, 255], "description": "Houses"},
                    ],
                }
            ],
            "mlm:hyperparameters": {"encoder_name": "resnet18", "decoder_channels": [16, 8]},
        },
        "assets": {
            "code": {"href": "https://example.org/code", "roles": ["mlm:source_code"]},
            "model": {
                "href": "weights/unet.pt",
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": "torch.save",
                "eo:bands": [{"name": "B04", "common_name": "red"}, {"name": "B03", "common_name": "green"}],
            },
        },
        "links": [],
    }


def read(document: dict[str, Any], folder: Path) -> ModelSpec:
    path = folder / "foreign.json"
    path.write_text(json.dumps(document))
    return read_model_item(path)


def test_anyones_item_loads_with_sane_defaults(tmp_path: Path) -> None:
    spec = read(foreign(), tmp_path)
    assert spec.name == "Foreign U-Net"
    assert spec.architecture == "smp.Unet"
    assert spec.bands == (Band("B04", "red"), Band("B03", "green"), Band("B02"))
    assert spec.scalings[0] == Scaling("z-score", mean=1000, stddev=200)
    assert [scaling.type for scaling in spec.scalings] == ["z-score", "clip", "none"]
    assert spec.classes == (ClassSpec(0, "BACKGROUND"), ClassSpec(1, "City", "#0000FF", "Houses"))
    assert (spec.tile_size, spec.halo, spec.multiple, spec.resolution) == (96, 12, 32, 0.5)
    assert spec.hyperparameters == (("decoder_channels", (16, 8)), ("encoder_name", "resnet18"))
    assert (spec.framework, spec.activation) == ("pytorch", "softmax")
    assert spec.weights == str(tmp_path / "weights" / "unet.pt")


@pytest.mark.parametrize(
    ("framework", "artifact", "href", "wanted"),
    [
        ("ONNX", None, "m.bin", "onnx"),
        (None, None, "m.onnx", "onnx"),
        ("PyTorch", "torch.jit.save", "m.pt", "torchscript"),
        ("pytorch", "torch.jit.script", "m.pt", "torchscript"),
        ("PyTorch", "torch.export.save", "m.bin", "torch.export"),
        ("PyTorch", None, "https://example.org/m.pt2?download=1", "torch.export"),
        ("PyTorch", "torch.save", "m.pth", "pytorch"),
        (None, None, "m.safetensors", "pytorch"),
        ("segmentation_models_pytorch.decoders.unet.model", "torch.save", "m.pth", "pytorch"),
        ("TensorFlow", None, "m.keras", "tensorflow"),
    ],
)
def test_the_framework_is_told_by_field_artifact_and_suffix(
    framework: str | None, artifact: str | None, href: str, wanted: str, tmp_path: Path
) -> None:
    document = foreign()
    document["properties"]["mlm:framework"] = framework
    document["assets"]["model"] |= {"mlm:artifact_type": artifact, "href": href}
    assert read(document, tmp_path).framework == wanted


def test_a_model_without_named_bands_takes_them_by_position(tmp_path: Path) -> None:
    document = foreign()
    document["properties"]["mlm:input"][0] |= {"bands": [], "value_scaling": None}
    assert read(document, tmp_path).band_names == ["1", "2", "3"]


def test_a_pre_processing_function_is_not_run_and_warned_of(tmp_path: Path) -> None:
    document = foreign()
    document["properties"]["mlm:input"][0]["pre_processing_function"] = {"format": "python", "expression": "os:system"}
    with pytest.warns(GeosegWarning, match="not run"):
        read(document, tmp_path)


@pytest.mark.filterwarnings("ignore:.*is code and is not run")
def test_code_alone_does_not_say_how_pixels_are_scaled(tmp_path: Path) -> None:
    document = foreign()
    only = document["properties"]["mlm:input"][0]
    only["pre_processing_function"] = {"format": "python", "expression": "os:system"}
    for missing in (None, []):
        only["value_scaling"] = missing
        with pytest.raises(CatalogError, match=r"'pre_processing_function' .* pixels are scaled; .*add value_scaling"):
            read(document, tmp_path)
    only["value_scaling"] = [{"type": None}]
    assert [item.type for item in read(document, tmp_path).scalings] == ["none"]


PROPERTY = ("properties",)
INPUT = (*PROPERTY, "mlm:input", 0)
OUTPUT = (*PROPERTY, "mlm:output", 0)
MISTAKES: list[tuple[tuple[Any, ...], Any, str]] = [
    (("type",), "Collection", "type"),
    (("properties",), None, "properties"),
    (("assets",), {}, "mlm:model"),
    (("assets", "model", "href"), None, "href"),
    (("assets", "model", "file:checksum"), "abc", "file:checksum"),
    ((*PROPERTY, "mlm:architecture"), None, "mlm:architecture"),
    ((*PROPERTY, "mlm:tasks"), None, "mlm:tasks"),
    ((*PROPERTY, "mlm:tasks"), ["regression"], "mlm:tasks"),
    ((*PROPERTY, "mlm:tasks"), "semantic-segmentation", "mlm:tasks"),
    ((*PROPERTY, "mlm:input"), None, "mlm:input"),
    ((*PROPERTY, "mlm:input"), [], "mlm:input"),
    ((*PROPERTY, "mlm:input"), [1], "mlm:input"),
    ((*PROPERTY, "mlm:output"), None, "mlm:output"),
    ((*PROPERTY, "geoseg:halo"), "wide", "geoseg:halo"),
    ((*PROPERTY, "geoseg:halo"), True, "geoseg:halo"),
    ((*PROPERTY, "geoseg:activation"), "relu", "geoseg:activation"),
    ((*INPUT, "bands"), [{"name": "NDVI", "format": "x", "expression": "B08 - B04"}], "bands"),
    ((*INPUT, "bands"), [7.5], "bands"),
    ((*INPUT, "input"), None, "input"),
    ((*INPUT, "input", "shape"), None, "shape"),
    ((*INPUT, "input", "dim_order"), ["batch", "channel", "width", "height"], "dim_order"),
    ((*INPUT, "input", "shape"), [-1, 3, 96], "dim_order"),
    ((*INPUT, "value_scaling"), [{"type": "l2"}], "value_scaling"),
    ((*INPUT, "value_scaling"), [{"type": "processing", "format": "python", "expression": "x"}], "value_scaling"),
    ((*INPUT, "value_scaling"), [{"type": "scale", "value": "ten"}], "value"),
    ((*INPUT, "value_scaling"), ["scale"], "value_scaling"),
    ((*OUTPUT, "classification_classes"), None, "classification:classes"),
    ((*OUTPUT, "classification_classes"), [{"value": 255, "name": "x"}], "classification:classes"),
    ((*OUTPUT, "classification_classes"), [{"value": 1}, {"value": 1}], "classification:classes"),
    ((*OUTPUT, "classification_classes"), ["water"], "classification:classes"),
]


@pytest.mark.parametrize(("place", "value", "field"), MISTAKES)
def test_a_mistake_names_the_field_and_the_file(place: tuple[Any, ...], value: Any, field: str, tmp_path: Path) -> None:
    document: Any = copy.deepcopy(foreign())
    where = document
    for key in place[:-1]:
        where = where[key]
    where[place[-1]] = value
    with pytest.raises(CatalogError) as caught:
        read(document, tmp_path)
    assert f"'{field}" in str(caught.value)
    assert "foreign.json" in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_file_that_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "item.json").write_text(text)
    with pytest.raises(CatalogError, match=r"item\.json"):
        read_model_item(tmp_path / "item.json")


def test_unknown_imagery_and_items_without_assets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="imagery 'nowhere' is not in the catalog"):
        find_imagery("nowhere", tmp_path)
    (tmp_path / "a.json").write_text('{"type": "Feature", "assets": {}}')
    with pytest.raises(CatalogError, match="not a STAC item with assets"):
        read_imagery_item(tmp_path / "a.json")
