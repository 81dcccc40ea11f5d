"""What a person writes: workflows in YAML, and the same words as arguments and options."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias, Unpack

import yaml

from geoseg.catalog import YAML_ENDINGS, is_name, locate_workflow, workflow_names, workflows_home
from geoseg.corrections import corrections_text
from geoseg.errors import InputNotFoundError, InputTypeError, WorkflowError, nearest
from geoseg.files import local_path, plain_value, write_file
from geoseg.held import Held
from geoseg.models.own import OwnModel, own_model
from geoseg.models.spec import ModelSpec
from geoseg.options import RECORD, LegendClass, LegendFile, Workflow, given_options, read_options
from geoseg.options.documents import read_document
from geoseg.prompting import prompts_text
from geoseg.raster import unsigned
from geoseg.raster.given import INPUT, ImageryLike, given_imagery, holds_arrays, is_imagery_object, named
from geoseg.signatures import RunArguments
from geoseg.vector import GEOJSON, region_text

WorkflowSource: TypeAlias = "ImageryLike | Workflow | Mapping[str, Any]"
"""What a run begins with: a workflow by file, name or content, or imagery."""

EXAMPLE = "workflows/land_use.yaml"
"""Shows the form of a workflow."""


def read_workflow(
    workflow: WorkflowSource | None = None, *, spec: ModelSpec | None = None, **settings: Unpack[RunArguments]
) -> Workflow:
    """Read a workflow, or make one of imagery and a model, and replace what is given besides.

    Parameters
    ----------
    workflow : path, list of paths, Workflow or dict, optional
        A YAML file or the name of a shipped workflow such as ``land_use``, with imagery behind it or not; or imagery as
        ``input`` takes it, which needs ``model``; nothing where ``input`` and ``model`` are given. A model that a
        shipped workflow is made for brings the settings of that workflow.
    spec : ModelSpec, optional
        What a network that is given as ``model`` promises.
    **settings
        Options of `Workflow` (docs/options.md); None leaves the workflow's own.

    Returns
    -------
    Workflow
        Checked.

    Raises
    ------
    WorkflowError
        Not YAML, an unknown key, a value that cannot be used, or imagery without a model.
    InputNotFoundError
        No such file.
    """
    given = given_options(Workflow, plain_settings(settings, spec))
    content, name = _content(workflow, given)
    read = read_options(Workflow, {**plain_settings(content), **given}, name, beside=given)
    local_path(read.output, "output")
    for file in read.features:
        local_path(file, "features")
    for output in read.outputs:
        output_file(output)
    return read


OUTPUTS = ("labels", "confidence", "probabilities")
"""Rasters that ``outputs`` may name; labels.tif is always written."""


def output_file(output: str) -> str:
    """The name of the file of a raster that ``outputs`` names.

    Raises
    ------
    WorkflowError
        There is no such raster, or no such format.
    """
    name, _, ending = output.strip().partition(".")
    if name not in OUTPUTS:
        raise WorkflowError(f"outputs has '{output}', which no run writes; {nearest(name, OUTPUTS)}")
    if ending not in ("", "tif", "zarr"):
        raise WorkflowError(f"outputs has '{output}', and a run writes {name}.tif or {name}.zarr.")
    return f"{name}.{ending or 'tif'}"


def plain_settings(settings: Mapping[str, Any], spec: ModelSpec | None = None) -> dict[str, Any]:
    """What a caller gives in Python, as a workflow file could hold it: paths, regions and prompts as text, arrays held.

    Raises
    ------
    GeosegError
        An array or a table in memory that is neither region nor prompts.
    """
    texts: dict[str, Callable[[Any], Any]] = {
        "input": held_imagery,
        "model": lambda model: held_model(model, spec),
        "region": region_text,
        "prompts": prompts_text,
        "legend": read_legend,
        "corrections": corrections_text,
    }
    return {
        key: texts[key](value) if key in texts and value is not None else plain_value(value, key)
        for key, value in settings.items()
    }


def read_legend(legend: Any) -> Any:
    """The classes of a legend that is a file or a list; anything else as it is.

    Raises
    ------
    InputNotFoundError
        There is no such file.
    WorkflowError
        It is not YAML, or has an unknown key or a value that cannot be used.
    """
    is_file = isinstance(legend, os.PathLike) or (isinstance(legend, str) and legend.lower().endswith(YAML_ENDINGS))
    if not is_file:
        return _legend_classes(legend, "the legend") if isinstance(legend, list | tuple) else legend
    path = Path(legend).expanduser()
    name = f"the legend '{path}'"
    if not path.is_file():
        raise InputNotFoundError(f"{name} does not exist; give a YAML file of classes (docs/outputs.md).")
    content = read_document(path, "docs/outputs.md")
    if isinstance(content.get("classes"), list):
        content["classes"] = _legend_classes(content["classes"], name)
    return read_options(LegendFile, _by_name(content), name).classes


def _legend_classes(entries: Sequence[Any], name: str) -> list[LegendClass]:
    """Classes of a legend, each checked."""
    return [_legend_class(entry, f"class {number} of {name}") for number, entry in enumerate(entries, start=1)]


def _legend_class(entry: Any, name: str) -> LegendClass:
    """A class of a legend, checked."""
    if isinstance(entry, LegendClass):
        return entry
    if not isinstance(entry, Mapping):
        raise WorkflowError(f"{name} is '{entry}'; write its keys, such as {{name: Forest, of: [trees]}}.")
    return read_options(LegendClass, _by_name(entry), name)


def _by_name(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Keys of YAML as text, whatever they are."""
    return {str(key): value for key, value in content.items()}


def held_imagery(value: Any) -> Any:
    """Imagery as text, lists and dicts where it is paths, and held where arrays are in it."""
    if isinstance(value, Held):
        return value
    given = given_imagery(value)
    return Held(given, named(value)) if holds_arrays(given) else given


def held_model(value: Any, spec: Any = None) -> Any:
    """A model as text where it is a name or a path, and held where it is a spec, or a network with its spec."""
    if isinstance(value, Held):
        return value
    model = own_model(value, spec)
    return Held(model, model.name) if isinstance(model, OwnModel) else model


def _content(workflow: Any, given: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The keys of a workflow, and what an error calls it."""
    if isinstance(workflow, Workflow):
        return workflow.model_dump(), "the workflow"
    if is_imagery_object(workflow):
        return _imagery_workflow([held_imagery(workflow)], given), "the run"
    if isinstance(workflow, Mapping):
        return workflow, "the workflow"
    named = [workflow] if isinstance(workflow, str | os.PathLike) else workflow
    if not named and "input" in given:
        return _imagery_workflow([], given), "the run"
    if not named:
        raise WorkflowError("neither a workflow nor imagery is given; give one, such as scene.tif with a model.")
    try:
        first, *imagery = [os.fspath(source) for source in named]
    except TypeError:
        raise InputTypeError(
            f"a {type(workflow).__name__} is no workflow; give its path, a dict of its keys, or imagery with a model."
        ) from None
    file = locate_workflow(first)
    if file is None:
        return _imagery_workflow([first, *imagery], given), "the run"
    return {**_home_of(file), **read_document(file, EXAMPLE), **_input_of(imagery, given)}, str(file)


def _home_of(file: Path) -> dict[str, str]:
    """The output of a run's own workflow: the folder that it lies in, wherever that is now."""
    is_own = file.name == RECORD and (file.parent / "state").is_dir()
    return {"output": str(file.parent)} if is_own else {}


def _input_of(imagery: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The key ``input`` of imagery that stands beside a workflow; nothing where there is none."""
    if imagery and "input" in given:
        raise WorkflowError(f"'{imagery[0]}' is imagery, and input names more; give all imagery in one of the two.")
    return {"input": imagery[0] if len(imagery) == 1 else list(imagery)} if imagery else {}


def _imagery_workflow(imagery: Sequence[str], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of imagery and a model: those of the workflow that ships for the model."""
    if "model" not in given:
        if len(imagery) == 1 and isinstance(imagery[0], str) and get_close_matches(imagery[0], workflow_names(), n=1):
            raise InputNotFoundError(f"workflow {imagery[0]} does not exist; {nearest(imagery[0], workflow_names())}")
        first = f"'{imagery[0]}'" if imagery else "the input"
        raise WorkflowError(
            f"no model is given for {first}; give --model with a name of `geoseg models`, such as buildings, or "
            "a workflow file."
        )
    shipped = (read_document(workflows_home() / f"{name}.yaml", EXAMPLE) for name in workflow_names())
    keys = given["model"], given.get("things")
    defaults = next((item for item in shipped if (item["model"], item.get("things")) == keys), {})
    return {**defaults, **_input_of(imagery, given)}


PATHS = ("model", "things", "weights", "input", "region", "prompts", "corrections")
"""Keys whose values may be paths."""

_HEAD = """\
# What made this folder, with all defaults. To continue: geoseg resume FOLDER
# The same map again: geoseg run FOLDER/workflow.yaml --output ELSEWHERE
"""
_HEAD_UNSIGNED = "# Signatures of addresses are left out: give --input with addresses that are signed anew.\n"


def write_workflow(workflow: Workflow, path: Path, **resolved: Any) -> None:
    """Write all keys that decide something as YAML, so that it means the same wherever and whenever it is read.

    Parameters
    ----------
    workflow : Workflow
        What ran.
    path : Path
        The file; the folder that it lies in is its output.
    **resolved
        Values of keys that the workflow left to defaults.
    """
    keys = workflow.model_dump(mode="json", exclude_none=True, exclude={"overwrite", "refresh", "output"}) | resolved
    keys |= {key: _absolute(keys[key]) for key in PATHS if key in keys and not _is_name(key, keys[key])}
    if (mask := keys.get("mask")) is not None:
        keys["mask"] = _absolute_mask(mask)
    public = json.loads(unsigned(json.dumps(keys)))
    head = _HEAD + ("" if public == keys else _HEAD_UNSIGNED)
    text = yaml.safe_dump(public, sort_keys=False, allow_unicode=True)
    write_file(path, lambda file: file.write_text(head + text, encoding="utf-8"))


def _absolute_mask(mask: Any) -> Any:
    """A mask with absolute paths of its model, which may be its only word."""
    if isinstance(mask, str):
        return mask if is_name("models", mask) else _absolute(mask)
    return mask | {
        key: _absolute(mask[key]) for key in ("model", "weights") if key in mask and not _is_name(key, mask[key])
    }


def _is_name(key: str, value: Any) -> bool:
    """Whether a key's value is a name of the catalog, which means the same everywhere."""
    if key not in ("model", "things", "input") or not isinstance(value, str):
        return False
    return is_name("imagery" if key == "input" else "models", value)


def _absolute(value: Any) -> Any:
    """A path or pattern, or all of a list or a dict, if files are there; names and addresses stay."""
    if isinstance(value, list):
        return [_absolute(item) for item in value]
    if isinstance(value, dict) and INPUT in value:
        mask = {"mask": _absolute_mask(value["mask"])} if value.get("mask") is not None else {}
        given = value[INPUT]
        return {**value, **mask, INPUT: given if _is_name("input", given) else _absolute(given)}
    if isinstance(value, dict):
        return {key: item if _is_name("input", item) else _absolute(item) for key, item in value.items()}
    if not isinstance(value, str) or "://" in value or GEOJSON.match(value):
        return value
    path = str(Path(value).expanduser().absolute())
    is_there = Path(path).exists()
    is_pattern = glob.has_magic(value) and bool(glob.glob(path, recursive=True))  # noqa: PTH207 - it may be absolute
    return path if is_there or is_pattern else value
