"""Packagings: files and folders that hold a model and tell themselves what it needs, read as if they were its entry.

A row of `PACKAGINGS` turns one kind into the JSON of an MLM item, which `geoseg.models.item` reads like any other. It
reads JSON, graphs, and names and shapes of tensors; it loads no numbers and runs nothing. Where a packaging does not
tell how pixels are scaled, it is asked for: a network that expects 0 to 1 and gets 0 to 255 makes a wrong map.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.errors import CatalogError, GeosegError, GeosegWarning, OutputError
from geoseg.models import SEMANTIC
from geoseg.models.addresses import bring_here, is_address, public_address, public_name, refuse_local
from geoseg.models.background import ADDED, is_background_name
from geoseg.models.embedding import MODEL, read_embedded
from geoseg.models.packagings.checkpoints import GEOAI, read_geoai, read_weights
from geoseg.models.packagings.contents import Contents, result_of
from geoseg.models.packagings.exported import is_torchscript, read_exported, read_torchscript, run_torchscript
from geoseg.models.packagings.folders import read_config, read_smp, read_transformers
from geoseg.models.packagings.gaps import Gaps
from geoseg.models.packagings.graph import read_onnx
from geoseg.models.packagings.maskrcnn import is_maskrcnn, read_maskrcnn
from geoseg.models.packagings.yolo import is_yolo, read_yolo
from geoseg.models.stac import VERSION, Json, read_json, relative, write_json
from geoseg.models.state_dicts import PICKLES

EXTENSIONS = (
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
)
"""Extensions that an item of a packaging uses."""

GAP = "FILL IN: scale (value), z-score (mean, stddev), min-max (minimum, maximum) or none"
"""What a written item has for a scaling that nobody told; no item with it can be used."""

GOLDEN = (5**0.5 - 1) / 2
"""Turns of the colour circle from one class to the next, which comes near no former hue for long."""


@dataclass(frozen=True)
class Packaging:
    """One row of the table: whether a path is of this kind, what it tells, and what more when a person lets it run."""

    fits: Callable[[Path], bool]
    read: Callable[[Path], Contents]
    run: Callable[[Path], Contents] | None = None


PACKAGINGS = (
    Packaging(is_yolo, read_yolo),
    Packaging(is_maskrcnn, read_maskrcnn),
    Packaging(lambda path: path.suffix.lower() == ".onnx", read_onnx),
    Packaging(lambda path: path.suffix.lower() == ".pt2", read_exported),
    Packaging(is_torchscript, read_torchscript, run_torchscript),
    Packaging(lambda path: path.suffix.lower() in (".safetensors", *PICKLES), read_weights),
    Packaging(lambda path: "_model_class" in read_config(path), read_smp),
    Packaging(lambda path: read_config(path).get("model_type") == GEOAI, read_geoai),
    Packaging(lambda path: "architectures" in read_config(path), read_transformers),
)
"""What is read without an entry; the first row that fits counts."""


def find_packaging(path: Path) -> Packaging | None:
    """The packaging of a file or folder; None for items and whatever else is none.

    Raises
    ------
    CatalogError
        A folder's config.json is not JSON.
    """
    return next((row for row in PACKAGINGS if row.fits(path)), None)


def read_item(source: str | Path) -> dict[str, Any]:
    """Read an item from its file or address, or a packaging as one.

    Raises
    ------
    CatalogError
        It is neither, or a packaging that does not tell what has to be known.

    Warns
    -----
    GeosegWarning
        What a packaging leaves open, and how it is understood.
    """
    path = bring_here(source)
    address, file = public_address(source, path), path / MODEL
    is_one_file = path.is_dir() and file.is_file()
    held = read_embedded(*((file, f"{address}/{MODEL}") if is_one_file else (path, address)))
    if held is not None:
        if is_address(source):
            refuse_local(str(source), held)
        return held
    packaging = find_packaging(path)
    if packaging is None and path.is_dir():
        raise _silent(source)
    if packaging is None:
        return read_json(path)
    contents = _read(packaging.read, path)
    if contents.scaling is None:
        raise CatalogError(
            f"'{source}' does not tell how pixels are scaled for its network, and a wrong scaling makes a wrong map; "
            f"write its entry with `geoseg models new {source} --scaling 255` (or imagenet, none, minimum,maximum), "
            "and give that entry."
        )
    positions = ", ".join(contents.band_names)
    bands = f"does not name its bands: it gets {positions} of the imagery, unless you give others with bands"
    for note in (*([] if contents.named_bands else [bands]), *contents.notes):
        warnings.warn(f"'{source}' {note}.", GeosegWarning, stacklevel=4)
    return _item(public_name(source, path), contents, _address(source, path, contents))


def write_new_item(
    source: str | Path, target: Path | None = None, *, gaps: Gaps | None = None, trust_model: bool = False
) -> tuple[Path, list[str]]:
    """Write the item of a packaging, with what it does not tell filled in or ready to fill in.

    Parameters
    ----------
    source : str or Path
        The packaging, or its address.
    target : Path, optional
        The item's file, which must not exist; the packaging's name in the current folder by default.
    gaps : Gaps, optional
        What a person says of the model.
    trust_model : bool
        Whether TorchScript, which tells nothing unless it runs, may run.

    Returns
    -------
    Path
        The item's file.
    list of str
        What neither the packaging nor the person tells.

    Raises
    ------
    CatalogError
        The source is no packaging, or is damaged; or what a person says does not fit it.
    OutputError
        The target exists or cannot be written.
    """
    here = bring_here(source)
    packaging = find_packaging(here)
    if packaging is None:
        raise _silent(source)
    name = public_name(source, here)
    path = target or Path(f"{name}.json")
    if path.exists():
        raise OutputError(f"'{path}' exists; remove it, or choose another file with --output.")
    contents = _read(packaging.run if trust_model and packaging.run else packaging.read, here)
    contents = (gaps or Gaps()).fill(contents)
    write_json(path, _item(name, contents, relative(_address(source, here, contents), path)))
    bands = [] if contents.named_bands else ["bands"]
    return path, [*(["value_scaling"] if contents.scaling is None else []), *bands, *contents.unsaid]


def _address(source: str | Path, here: Path, contents: Contents) -> str:
    """Where the weights are: in a folder whose library has no loader of its own they are one of its files."""
    return str((here / contents.weights).resolve()) if contents.weights else public_address(source, here)


def _silent(source: str | Path) -> CatalogError:
    """What to raise about what is no packaging."""
    return CatalogError(
        f"'{source}' does not describe itself; give an ONNX file (.onnx), a program (.pt2), weights of "
        "segmentation-models-pytorch or torchvision (.safetensors, .pt, .ckpt), or a folder that save_pretrained of "
        "segmentation-models-pytorch or of transformers wrote."
    )


def _read(read: Callable[[Path], Contents], path: Path) -> Contents:
    """What a packaging tells, or one sentence where its fields are not of the types that its library writes."""
    try:
        return read(path)
    except GeosegError:
        raise
    except (AttributeError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise CatalogError(
            f"'{path}' does not describe itself as its library does ({error}); save it again, or write a STAC MLM item."
        ) from error


def _item(name: str, contents: Contents, href: str) -> dict[str, Any]:
    """The item of a packaging, with its weights at an address."""
    bands = [{"name": name} for name in contents.band_names]
    asset = {
        "href": href,
        "title": f"Weights of {name}",
        "roles": ["mlm:model", "mlm:weights"],
        "mlm:artifact_type": contents.artifact,
        "bands": bands,
    }
    return {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": list(EXTENSIONS),
        "id": name,
        "geometry": None,
        "properties": {
            "datetime": None,
            "start_datetime": "2015-06-23T00:00:00Z",
            "end_datetime": "2100-01-01T00:00:00Z",
            "license": "other",
            "bands": bands,
            "mlm:name": name,
            "mlm:architecture": contents.architecture,
            "mlm:framework": contents.framework,
            "mlm:tasks": [contents.task],
            "mlm:input": [_input(contents)],
            "mlm:output": [_output(contents)],
            **contents.properties,
        },
        "assets": {"model": asset},
        "links": [],
    }


def _input(contents: Contents) -> Json:
    """The bands and their scaling, or the gap where it belongs."""
    scaling = [{"type": GAP}] if contents.scaling is None else contents.scaling or None
    return {
        "name": "pixels",
        "bands": contents.band_names,
        "input": {
            "shape": [-1, contents.bands, *contents.sides],
            "dim_order": ["batch", "channel", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": scaling,
    }


def _output(contents: Contents) -> Json:
    classes = [
        {"value": value, "name": name, "description": name, "color_hint": color_of(position, name)}
        for position, (value, name) in enumerate(contents.classes)
    ]
    return {
        "name": "scores" if contents.task == SEMANTIC else "objects",
        "tasks": [contents.task],
        "result": result_of(contents),
        "classification:classes": classes,
    }


def color_of(position: int, name: str) -> str:
    """A colour for a class that has none: hues turned by the golden section, grey for background."""
    if is_background_name(name):
        return ADDED.color.removeprefix("#")
    channels = hsv_to_rgb(position * GOLDEN % 1, 0.6, 0.85)
    return "".join(f"{round(255 * channel):02X}" for channel in channels)
