"""Items of anyone's models: every version and shape that the MLM extension's own examples have, and what is refused."""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pystac
import pytest
from jsonschema import Draft7Validator
from pystac.validation import JsonSchemaSTACValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7
from stac_model.schema import MLModelProperties

from geoseg.catalog import catalogs_home
from geoseg.errors import BandError, CatalogError, GeosegWarning
from geoseg.models import Band, ClassSpec, ModelSpec, Scaling
from geoseg.models.item import read_model_item
from geoseg.models.item_writing import write_model_item
from geoseg.models.refinement import Refinement
from geoseg.models.tta import TestTimeAugmentation
from geoseg.models.watershed import Watershed
from geoseg.raster.bands import FileBand, match_bands

# stac-model is the extension's own package: of eight broken items (task, shape, scaling, class, data type and so on) it
# refuses seven without a network. pystac-ext-mlm reads items and refuses one of them, so it is no validator.


def check_schema(document: dict[str, Any]) -> MLModelProperties:
    """Validate an item against STAC's schemas and MLM's models.

    stac-model knows five fields of a class and fails at any other, which STAC allows: ours are taken out before.
    """
    kind = pystac.STACObjectType.ITEM
    JsonSchemaSTACValidator().validate_core(document, kind, document["stac_version"], document["id"])
    check_extensions(document)
    properties = copy.deepcopy(document["properties"])
    for entry in properties["mlm:output"][0]["classification:classes"]:
        entry.pop("geoseg:isthing", None)
    return MLModelProperties(**properties)


SCHEMAS = {
    f"https://stac-extensions.github.io/{'/'.join(path.stem.rsplit('-', 1))}/schema.json": json.loads(path.read_text())
    for path in (Path(__file__).parent / "schemas").glob("*.json")
}
"""The extensions' own schemas, as they were published, and those that they refer to."""


def check_extensions(document: dict[str, Any]) -> None:
    """Validate an item against the schemas of the extensions that it declares.

    That of classification 2.0 is not here; the MLM extension validates classes by the stricter one of 1.1.
    """
    declared = [url for url in document["stac_extensions"] if "/classification/" not in url]
    registry: Any = Registry().with_resources(
        [(url, Resource.from_contents(schema, DRAFT7)) for url, schema in SCHEMAS.items()]
    )
    for url in declared:
        Draft7Validator(SCHEMAS[url], registry=registry).validate(document)


SEMANTIC = ModelSpec(
    name="town",
    task="semantic-segmentation",
    bands=(Band("B04", "red"), Band("B08", "nir")),
    classes=(ClassSpec(1, "road", "#00FF00"), ClassSpec(4, "house", "#0000FF", "With a roof")),
    scalings=(Scaling("none"), Scaling("z-score", mean=1000.0, stddev=200.0)),
    resolution=10.0,
    architecture="transformers.SegformerForSemanticSegmentation",
    hyperparameters=(("depths", (2, 2)),),
    weights="hub:somebody/town",
    ramp=64,
    refine=Refinement(iterations=3, window=7),
    fixed_size=True,
    edge_errors=((0, 0.3), (8, 0.1), (128, 0.02)),
)
INSTANCE = replace(
    SEMANTIC,
    task="instance-segmentation",
    activation="sigmoid",
    refine=None,
    min_score=0.25,
    watershed=Watershed(0.4, 0.6, 5, 9),
    tta=TestTimeAugmentation(flips=False, scales=(0.5,)),
)
PANOPTIC = replace(
    replace(INSTANCE, watershed=None),
    task="panoptic-segmentation",
    classes=(SEMANTIC.classes[0], replace(SEMANTIC.classes[1], isthing=True)),
)
TASKS = pytest.mark.parametrize("spec", [SEMANTIC, INSTANCE, PANOPTIC], ids=lambda spec: spec.task)


@TASKS
def test_an_item_of_every_task_is_valid_and_reads_as_the_same_spec(spec: ModelSpec, tmp_path: Path) -> None:
    path = write_model_item(spec, tmp_path)
    document = json.loads(path.read_text())
    found = check_schema(document)
    assert found.tasks == {spec.task}
    assert [item.value for item in found.output[0].classes or []] == [item.value for item in spec.classes]
    assert len(found.output[0].result.shape) == len(found.output[0].result.dim_order)
    assert document["properties"]["mlm:framework"] == "Hugging Face"
    read = read_model_item(path)
    assert read == spec
    assert read.edge_errors == spec.edge_errors


@pytest.mark.parametrize("path", sorted((catalogs_home() / "models").glob("*/*.json")), ids=lambda path: path.stem)
def test_every_shipped_model_is_valid(path: Path) -> None:
    document = json.loads(path.read_text())
    check_schema(document)
    assert all(item["description"] for item in document["properties"]["mlm:output"][0]["classification:classes"])
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", document["properties"]["mlm:name"])


def test_a_metric_that_is_no_number_is_left_out_because_json_has_no_word_for_it(tmp_path: Path) -> None:
    spec = replace(SEMANTIC, metrics=(("precision", math.nan), ("recall", 0.5), ("ratio", math.inf)))

    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = write_model_item(spec, tmp_path).read_text()
    assert json.loads(text, parse_constant=refuse)["properties"]["geoseg:metrics"] == {"recall": 0.5}


def test_only_things_of_panoptic_models_are_marked(tmp_path: Path) -> None:
    classes = json.loads(write_model_item(PANOPTIC, tmp_path).read_text())["properties"]["mlm:output"][0]
    assert [item.get("geoseg:isthing") for item in classes["classification:classes"]] == [None, True]
    marked = replace(SEMANTIC, classes=PANOPTIC.classes)
    assert "geoseg:isthing" not in write_model_item(marked, tmp_path).read_text()
    found = read(example(classes=[{**COLORED[0], "geoseg:isthing": True}, COLORED[1]]), tmp_path)
    assert not found.classes[0].isthing


@pytest.mark.parametrize(
    ("weights", "href"),
    [
        ("hub:somebody/town", "https://huggingface.co/somebody/town"),
        ("hub:somebody/town-2.1@v1", "https://huggingface.co/somebody/town-2.1/tree/v1"),
        ("hub:COCO_V1", "hub:COCO_V1"),
        ("https://example.org/town.pth", "https://example.org/town.pth"),
    ],
)
def test_weights_of_a_hub_are_written_as_an_address_and_read_as_its_name(
    weights: str, href: str, tmp_path: Path
) -> None:
    path = write_model_item(replace(SEMANTIC, weights=weights), tmp_path)
    asset = json.loads(path.read_text())["assets"]["model"]
    assert asset["href"] == href
    assert read_model_item(path).weights == weights
    pickled = weights.endswith((".pth", "_V1"))
    assert asset["mlm:artifact_type"] == ("torch.save" if pickled else "safetensors.torch.save_file")


CLASSES = [
    {"value": 0, "name": "OTHER", "title": None, "description": None, "color_hint": None, "nodata": False},
    {"value": 1, "name": "FIELD", "title": "A field", "description": "Crops", "color_hint": "00ff00", "nodata": False},
]
COLORED = [
    {"value": 0, "name": "BACKGROUND", "color_hint": [0, 0, 0]},
    {"value": 1, "name": "CITY", "color_hint": [0, 0, 255]},
]
SENTINEL = ["B02", "B03", "B04"]
EO_BANDS = [
    {"name": "B02", "common_name": "blue", "center_wavelength": 0.49},
    {"name": "B03", "common_name": "green", "center_wavelength": 0.56},
    {"name": "B04", "common_name": "red", "center_wavelength": 0.665},
]
RASTER_BANDS = [{"name": name, "nodata": 0, "data_type": "uint16", "scale": 0.0001, "unit": "m"} for name in SENTINEL]
Z_SCORES = [{"type": "z-score", "mean": 1000.5 + number, "stddev": 300.0} for number in range(3)]
WEIGHTS_PAGE = "https://huggingface.co/somebody/fields/resolve/main/fields.pth"


def example(
    *,
    shape: list[int] | None = None,
    order: list[str] | None = None,
    bands: list[Any] | None = None,
    classes: list[dict[str, Any]] | None = None,
    properties: dict[str, Any] | None = None,
    model_input: dict[str, Any] | None = None,
    model_output: dict[str, Any] | None = None,
    asset: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An item as the extension's examples are: STAC 1.0, nothing of geoseg, and what one of them shows besides."""
    inner = {
        "shape": shape or [-1, 3, 64, 64],
        "dim_order": order or ["batch", "channel", "height", "width"],
        "data_type": "float32",
    }
    result = {"shape": [-1, 2], "dim_order": ["batch", "class"], "data_type": "float32"}
    output = {"name": "fields", "tasks": ["segmentation", "semantic-segmentation"], "result": result}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/mlm/v1.3.0/schema.json"],
        "id": "model-of-fields",
        "geometry": {"type": "Point", "coordinates": [7.0, 46.0]},
        "bbox": [7.0, 46.0, 7.0, 46.0],
        "properties": {
            "description": "Fields.",
            "datetime": None,
            "start_datetime": "1900-01-01T00:00:00Z",
            "end_datetime": "9999-12-31T23:59:59Z",
            "mlm:name": "U-Net of fields",
            "mlm:architecture": "U-Net",
            "mlm:tasks": ["semantic-segmentation"],
            "mlm:accelerator": "cuda",
            "mlm:input": [{"name": "image", "bands": bands or [], "input": inner, **(model_input or {})}],
            "mlm:output": [{**output, "classification_classes": classes or COLORED, **(model_output or {})}],
            **(properties or {}),
        },
        "links": [{"rel": "self", "href": "./item.json", "type": "application/geo+json"}],
        "assets": {"weights": {"href": WEIGHTS_PAGE, "roles": ["mlm:model", "mlm:weights"], **(asset or {})}},
    }


def read(document: dict[str, Any], folder: Path) -> ModelSpec:
    path = folder / "item.json"
    path.write_text(json.dumps(document))
    return read_model_item(path)


def test_a_basic_item_names_no_band_no_framework_and_a_page_of_a_hub(tmp_path: Path) -> None:
    card = {"href": "https://huggingface.co/somebody/fields", "type": "text/html", "roles": ["mlm:model"]}
    spec = read(example(asset=card), tmp_path)
    assert spec.band_names == ["1", "2", "3"]
    assert spec.weights == "hub:somebody/fields"
    assert [item.color for item in spec.classes] == ["#000000", "#0000FF"]
    assert (spec.tile_size, spec.framework, spec.architecture) == (64, "pytorch", "smp.Unet")


@pytest.mark.parametrize("where", ["asset", "both"])
def test_bands_of_eo_and_raster_get_their_common_names_wherever_they_are_described(where: str, tmp_path: Path) -> None:
    described = {"eo:bands": EO_BANDS, "raster:bands": RASTER_BANDS}
    named = {"eo:bands": [{"name": item["common_name"]} for item in EO_BANDS]}
    document = example(
        bands=SENTINEL,
        classes=CLASSES,
        properties={"mlm:framework": "pytorch", **(described if where == "both" else {})},
        asset=described if where == "asset" else named,
        model_input={"norm_by_channel": True, "scaling": Z_SCORES, "resize_type": None},
    )
    spec = read(document, tmp_path)
    assert spec.bands == tuple(
        Band(*names, scale=0.0001) for names in (("B02", "blue"), ("B03", "green"), ("B04", "red"))
    )
    assert spec.scalings[2] == Scaling("z-score", mean=1002.5, stddev=300.0)
    assert spec.classes == (ClassSpec(0, "OTHER"), ClassSpec(1, "FIELD", "#00FF00", "Crops"))
    assert spec.weights == WEIGHTS_PAGE


def test_a_page_about_a_file_of_a_hub_means_the_file(tmp_path: Path) -> None:
    document = example(asset={"href": WEIGHTS_PAGE.replace("/resolve/", "/blob/")})
    assert read(document, tmp_path).weights == WEIGHTS_PAGE


def test_a_network_written_down_from_two_dates_and_a_tiny_example_input(tmp_path: Path) -> None:
    document = example(
        bands=["B4", "B3", "B4", "B3"],
        shape=[1, 4, 3, 3],
        properties={
            "mlm:framework": "segmentation_models_pytorch.decoders.unet.model",
            "mlm:architecture": "segmentation_models_pytorch.decoders.unet.model.Unet",
        },
        model_input={"variables": [], "pre_processing_function": None},
        asset={"mlm:artifact_type": "torch.save", "eo:bands": [{"name": "B4"}, {"name": "B3"}]},
    )
    with pytest.warns(GeosegWarning, match=r"names the bands B3, B4 more than once.*by number"):
        spec = read(document, tmp_path)
    assert (spec.framework, spec.architecture, spec.tile_size) == ("pytorch", "smp.Unet", 1024)
    assert spec.band_names == ["B4", "B3", "B4", "B3"]


def test_each_kind_of_scaling_is_read_and_code_is_not_run(tmp_path: Path) -> None:
    wanted = {
        "min-max": {"minimum": 0.0, "maximum": 3000.0},
        "z-score": {"mean": 5.0, "stddev": 2.0},
        "clip": {"minimum": 0.0, "maximum": 1.0},
        "clip-min": {"minimum": 0.0},
        "clip-max": {"maximum": 1.0},
        "offset": {"value": 100.0},
        "scale": {"value": 255.0},
        "processing": {"expression": "log(A + 1)"},
    }
    entries: list[Any] = [{"type": kind, **numbers} for kind, numbers in wanted.items()]
    entries[-1]["format"] = "gdal-calc"
    entries += [{"type": None}, None, {"type": "processing", "format": "gdal-calc", "expression": "A"}]
    code = {"format": "python", "expression": "package.module:function"}
    document = example(
        bands=[f"b{number}" for number in range(len(entries))],
        shape=[-1, len(entries), -1, -1],
        model_input={"value_scaling": entries, "pre_processing_function": code},
        model_output={"post_processing_function": code},
    )
    with pytest.warns(GeosegWarning, match="which is code and is not run") as warned:
        spec = read(document, tmp_path)
    assert ["pre_" in str(warned[0].message), "post_" in str(warned[1].message)] == [True, True]
    kinds = [Scaling(kind, **numbers) for kind, numbers in wanted.items()]  # type: ignore[arg-type]
    assert spec.scalings == (*kinds, Scaling("none"), Scaling("none"), Scaling("none"))


def test_statistics_of_the_first_versions_are_scalings(tmp_path: Path) -> None:
    statistics = [{"minimum": 0, "maximum": 255, "mean": 100, "stddev": 50, "valid_percent": 99}] * 3
    document = example(model_input={"norm_type": "z-score", "statistics": statistics})
    assert read(document, tmp_path).scalings == (Scaling("z-score", mean=100, stddev=50),) * 3
    document = example(model_input={"norm_type": "min-max", "statistics": statistics[:1]})
    assert read(document, tmp_path).scalings == (Scaling("min-max", minimum=0, maximum=255),)


@pytest.mark.parametrize("order", [["channel", "height", "width"], ["bands", "y", "x"], ["channel", "row", "column"]])
def test_an_input_without_a_batch_axis_is_read(order: list[str], tmp_path: Path) -> None:
    spec = read(example(order=order, shape=[3, 128, 256]), tmp_path)
    assert (len(spec.bands), spec.tile_size) == (3, 128)


@pytest.mark.parametrize("framework", ["Hugging Face", "Huggingface", "transformers", "timm", "PyTorch Lightning"])
def test_frameworks_on_top_of_torch_are_opened_by_their_architecture(framework: str, tmp_path: Path) -> None:
    path = "transformers.models.segformer.modeling_segformer.SegformerForSemanticSegmentation"
    spec = read(example(properties={"mlm:framework": framework, "mlm:architecture": path}), tmp_path)
    assert spec.framework == "pytorch"
    assert spec.architecture == "transformers.SegformerForSemanticSegmentation"


@pytest.mark.parametrize(
    ("tasks", "heads", "wanted"),
    [
        (["panoptic-segmentation"], ["panoptic-segmentation"], "panoptic-segmentation"),
        (["semantic-segmentation", "instance-segmentation"], ["instance-segmentation"], "instance-segmentation"),
        (["segmentation"], ["segmentation"], "semantic-segmentation"),
        (["segmentation"], ["instance-segmentation"], "instance-segmentation"),
        (["detection", "Instance Segmentation"], ["instance_segmentation"], "instance-segmentation"),
    ],
)
def test_the_task_is_the_one_that_the_output_is_for(
    tasks: list[str], heads: list[str], wanted: str, tmp_path: Path
) -> None:
    classes = [COLORED[0], {**COLORED[1], "geoseg:isthing": True}]
    document = example(classes=classes, properties={"mlm:tasks": tasks}, model_output={"tasks": heads})
    assert read(document, tmp_path).task == wanted


def test_of_several_outputs_the_one_for_the_task_counts(tmp_path: Path) -> None:
    document = example(properties={"mlm:tasks": ["object-detection", "instance-segmentation"]})
    output = document["properties"]["mlm:output"][0]
    boxes = {**output, "name": "boxes", "tasks": ["object-detection"], "classification_classes": []}
    document["properties"]["mlm:output"] = [boxes, {**output, "name": "masks", "tasks": ["instance-segmentation"]}]
    spec = read(document, tmp_path)
    assert (spec.task, spec.class_names) == ("instance-segmentation", ["BACKGROUND", "CITY"])
    document["properties"]["mlm:output"] = [boxes, boxes]
    with pytest.raises(CatalogError, match=r"'mlm:output' .* has 2 entries, 0 for instance-segmentation"):
        read(document, tmp_path)


NDVI = {"name": "NDVI", "format": "rio-calc", "expression": "(B08 - B04) / (B08 + B04)"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "object detection": ({"properties": {"mlm:tasks": ["object-detection"]}}, "mlm:tasks"),
    "classification": ({"properties": {"mlm:tasks": ["classification"]}}, "mlm:tasks"),
    "regression": ({"properties": {"mlm:tasks": ["regression", "downscaling"]}}, "mlm:tasks"),
    "time as batch": ({"order": ["time", "channel", "height", "width"]}, "dim_order"),
    "time besides": (
        {"shape": [1, 4, 3, 64, 64], "order": ["batch", "time", "channel", "height", "width"]},
        "dim_order",
    ),
    "columns before rows": ({"order": ["batch", "channel", "width", "height"]}, "dim_order"),
    "places on the globe": ({"order": ["batch", "variables", "lat", "lon"]}, "dim_order"),
    "variables": ({"model_input": {"variables": ["temperature_2m"]}}, "variables"),
    "a band that is computed": ({"bands": ["B04", "B03", NDVI]}, "bands"),
    "fewer channels than bands": ({"bands": ["B04", "B08"], "shape": [-1, 1, 64, 64]}, "shape"),
    "an old kind of scaling": ({"model_input": {"norm_type": "l2", "statistics": []}}, "norm_type"),
    "statistics that lack a number": (
        {"model_input": {"norm_type": "z-score", "statistics": [{"mean": 1}]}},
        "stddev",
    ),
    "a scaling without a type": (
        {"model_input": {"value_scaling": [{"minimum": 0, "maximum": 255}]}},
        "value_scaling",
    ),
    "an empty scaling": ({"model_input": {"value_scaling": [{}]}}, "value_scaling"),
    "a type that is null beside numbers": (
        {"model_input": {"value_scaling": [{"type": None, "minimum": 0, "maximum": 255}]}},
        "value_scaling",
    ),
    "a scaling of a type that is a list": (
        {"model_input": {"value_scaling": [{"type": ["scale"], "value": 255}]}},
        "value_scaling",
    ),
    "scalings that are no list": ({"model_input": {"value_scaling": {"type": "scale"}}}, "value_scaling"),
    "a scaling that lacks its number": ({"model_input": {"value_scaling": [{"type": "scale"}]}}, "value"),
    "a scaling by a word": ({"model_input": {"value_scaling": [{"type": "scale", "value": "255"}]}}, "value"),
    "half a range": ({"model_input": {"value_scaling": [{"type": "min-max", "minimum": 0}]}}, "maximum"),
    "one class of a softmax": ({"classes": COLORED[:1]}, "classification:classes"),
    "a threshold of a softmax": ({"properties": {"geoseg:threshold": 0.5}}, "classification:classes"),
    "a threshold above 1": (
        {"properties": {"geoseg:threshold": 50, "geoseg:activation": "sigmoid"}},
        "classification:classes",
    ),
    "a threshold in words": ({"properties": {"geoseg:threshold": "half"}}, "geoseg:threshold"),
    "panoptic without things": ({"properties": {"mlm:tasks": ["panoptic-segmentation"]}}, "classification:classes"),
    "no classes": ({"model_output": {"classification_classes": []}}, "classification:classes"),
    "a score above 1": ({"properties": {"geoseg:min_score": 50}}, "geoseg:min_score"),
    "distances that are no numbers": ({"properties": {"geoseg:edge_errors": {"far": 0.1}}}, "geoseg:edge_errors"),
    "errors that are no numbers": ({"properties": {"geoseg:edge_errors": {"8": "big"}}}, "8"),
    "a ramp of half a pixel": ({"properties": {"geoseg:ramp": 0.5}}, "geoseg:ramp"),
    "a misspelt refinement": ({"properties": {"geoseg:refine": {"iteration": 5}}}, "geoseg:refine"),
    "a misspelt watershed": ({"properties": {"geoseg:watershed": {"sead": 0.5}}}, "geoseg:watershed"),
    "an unknown view": ({"properties": {"geoseg:tta": "mirrors"}}, "geoseg:tta"),
    "a refinement in words": ({"properties": {"geoseg:refine": {"iterations": "five"}}}, "geoseg:refine"),
    "a refinement that is a word": ({"properties": {"geoseg:refine": "smooth"}}, "geoseg:refine"),
    "a mark that is no truth": (
        {
            "properties": {"mlm:tasks": ["panoptic-segmentation"]},
            "classes": [{**COLORED[0], "geoseg:isthing": "yes"}],
        },
        "geoseg:isthing",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_by_the_name_of_its_field(name: str, tmp_path: Path) -> None:
    changes, field = REFUSED[name]
    with pytest.raises(CatalogError) as caught:
        read(example(**changes), tmp_path)
    sentence = str(caught.value)
    assert sentence.startswith(f"field '{field}' of catalog entry '{tmp_path / 'item.json'}' ")
    assert sentence.endswith((".", "?"))
    assert len(sentence.splitlines()) == 1


def test_several_inputs_are_refused(tmp_path: Path) -> None:
    document = example()
    document["properties"]["mlm:input"] *= 3
    with pytest.raises(CatalogError, match=r"'mlm:input' .* has 3 entries; models with exactly one can be used"):
        read(document, tmp_path)


def test_the_asset_with_the_weights_counts_not_the_code_beside_it(tmp_path: Path) -> None:
    document = example()
    code = {"href": "https://example.org/code.py", "roles": ["mlm:model", "code", "metadata"]}
    document["assets"] = {"source_code": code, **document["assets"]}
    assert read(document, tmp_path).weights == WEIGHTS_PAGE


def test_a_raster_without_a_band_of_the_model_says_what_it_has(tmp_path: Path) -> None:
    spec = read(example(bands=SENTINEL, asset={"eo:bands": EO_BANDS}), tmp_path)
    file = [FileBand(1, "red", "red"), FileBand(2, "green", "green"), FileBand(3, "nir", "undefined")]
    with pytest.raises(BandError, match=r"the band 'B02' \(blue\): it has 3 bands: 1 \(red\), 2 \(green\), 3 \(nir\)"):
        match_bands(spec.bands, file, file="scene.tif")


def test_every_field_of_an_entry_that_is_read_is_documented() -> None:
    root = Path(__file__).parents[1]
    sources = [path.read_text() for path in (root / "geoseg" / "models").glob("*.py")]
    page = (root / "docs" / "models.md").read_text()
    fields = {field for source in sources for field in re.findall(r'"(geoseg:[a-z_]+)"', source)}
    assert len(fields) > 15
    assert [field for field in sorted(fields) if f"`{field}" not in page] == []
