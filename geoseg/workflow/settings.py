"""What a person writes: workflows in YAML, and the same words as arguments and options."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, ValidationError

from geoseg.catalog import is_name, locate_workflow, workflow_names, workflows_home
from geoseg.engine.cluster import DASHBOARD
from geoseg.errors import InputNotFoundError, WorkflowError, nearest
from geoseg.files import local_path, plain_value, write_file
from geoseg.prompting import prompts_text
from geoseg.raster import unsigned
from geoseg.vector import GEOJSON, region_text

Input = str | list[str] | dict[str, str]


class OutlineSettings(BaseModel):
    """What polygons are to look like, as a person writes it.

    Attributes
    ----------
    simplify : float
        How far a simplified boundary may stray, CRS units; 0 keeps every corner of the pixels. Neighbours always
        share their boundary, so there are no gaps and no overlaps at any value.
    regularize : bool
        Outlines become straight walls, most of them at right angles: for buildings. ``simplify`` is then how far walls
        may stray, one and a half pixels unless given. All features that are written are regularized: objects, and
        ``classes`` where a model has more than one.
    simplify_method : str
        ``douglas-peucker`` keeps within the distance; ``visvalingam-whyatt`` also removes only vertices whose triangle
        is smaller than its square, and looks smoother.
    min_area : float
        Smaller faces become part of the neighbouring class with the longest common border, m2. What touches at a corner
        only is not one face here, whatever ``connectivity`` says. Objects that are smaller are left out.
    keep_classes : list or None
        Names or values of classes whose faces stay whatever their size.
    classes : list or None
        Names or values of the only classes that become polygons.
    connectivity : int
        4: what touches at a corner only is two polygons; 8: it is one multipolygon.
    max_vertices : int or None
        Faces with a longer boundary are cut along lines of a fixed grid, so that memory stays flat.
    layer : str
        Name of the polygon layer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    simplify: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    regularize: bool = False
    simplify_method: Literal["douglas-peucker", "visvalingam-whyatt"] = "douglas-peucker"
    min_area: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    keep_classes: list[int | str] | None = None
    classes: list[int | str] | None = None
    connectivity: Literal[4, 8] = 4
    max_vertices: PositiveInt | None = 1_000_000
    layer: str = "land_use"


class Workflow(OutlineSettings):
    """One run, as a person writes it; with everything that `OutlineSettings` has.

    Attributes
    ----------
    model : str
        A name in the catalog, or the path of a STAC MLM item.
    things : str or None
        A second model, which finds instances: the map is panoptic then.
    weights : str or None
        A weights file or folder that replaces the catalog's, or ``hub:NAME``.
    trust_model : bool
        Whether you trust the author of the model: TorchScript, which can read and write files, is opened only then.
    input : str, list, dict or None
        A raster, several, a folder, a pattern, ``{band: file}``, or a name in the catalog's imagery; or STAC: an item,
        an item collection, a catalog or collection, or the address of a STAC API.
    output : str
        The folder that receives the results.
    bands : list or None
        Names or 1-based numbers of the raster's bands, in the model's order.
    crs : str, int or None
        CRS of rasters that have none: an EPSG code, or ``local`` for plain pixels, such as those of a photograph: they
        are read as they are, and areas are counted in pixels.
    scale, offset : float or None
        A stored pixel x is read as ``scale * x + offset``, in place of what files or catalogs declare: 10000 brings
        reflectance to digital numbers, 1 reads pixels as they are stored.
    nodata : float, "none" or None
        The value of pixels without data, in place of what is declared; ``none``: every value is data.
    resolution : float or None
        Metres on the ground per pixel at which the model looks; the model's own unless given.
    collections : list or None
        Ids of the collections of a STAC catalog or API that are wanted.
    datetime : str or None
        When scenes were taken: ``2024-06-15``, ``2024-06``, or two of these with a slash between.
    query : str, list, dict or None
        Conditions on properties of scenes, such as ``eo:cloud_cover<20``; or in the words of the STAC query extension.
    mosaic : str
        Which pixel is taken where scenes overlap: of the ``first``, ``newest`` or ``least_cloudy`` one that is valid
        there, or the ``median`` of all valid ones, band by band. Files know ``first`` and ``median``.
    mask : str, dict or None
        Pixels of a scene that are not used: ``{asset: scl, exclude: [3, 8, 9, 10]}``, or ``scl:3,8,9,10``; ``bits`` in
        place of ``exclude`` names bits of a quality band.
    remove_offset : bool
        Whether the offset of digital numbers that STAC items declare is taken off, and all scenes are brought to the
        scale of the first one: Sentinel-2 of before and after 2022 then mean the same.
    on_error : str
        ``stop``, or ``skip``: files and scenes of several that cannot be opened are left out, and the run says which.
    region : str or None
        A vector file, or ``minx,miny,maxx,maxy`` with an optional CRS. With STAC only scenes that touch it are read.
    prompts : str or None
        A vector file, or GeoJSON with a CRS before it, whose points, boxes and polygons say which objects are wanted; a
        point with a false ``positive`` says what is not. Only where there are prompts is the raster read. In Python
        also a GeoDataFrame, a GeoSeries, or a shapely geometry in the raster's CRS.
    text : str or None
        What objects are to be, in words, for models that understand them.
    threshold : float or None
        Probability above which a binary or multi-label model gives a label, 0 to 1; below it a pixel is background. The
        model's own unless given.
    min_score : float or None
        Objects with a lower score are left out, 0 to 1; the model's own unless given.
    refine : str, dict or None
        ``crf``, or its parameters, `geoseg.models.refinement.Refinement`: boundaries follow the imagery.
    tta : bool, str, dict or None
        Test-time augmentation: true, words of ``flips,rotations,scales``, or the fields of
        `geoseg.models.tta.TestTimeAugmentation`; probabilities of the views are averaged.
    tile_size, halo, ramp : int or None
        Px; the model's own unless given, and a ramp of 32.
    block_tiles : int, (int, int) or None
        Tiles of a block, down and across; 2, or 1 for a raster of few tiles, unless given.
    batch_size : int or str
        Tiles per forward pass; ``auto`` is those of a block, as far as they fit on a GPU, and one on a CPU.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    precision : str
        Of the network's inner arithmetic: ``float32``, ``float16``, ``bfloat16``, or ``auto``: bfloat16 on CUDA devices
        that have it, float32 elsewhere.
    compile : bool
        Compile the network first, with torch.compile: minutes once, for long runs.
    workers : int or None
        Local worker processes; unless given one a core on a CPU, and one on a GPU.
    scheduler : str or None
        Address of a Dask scheduler to use instead.
    dashboard : str
        Address and port where the dashboard of local workers is served: for this machine alone unless given, and for
        everyone who reaches it with ``0.0.0.0:8787``.
    retries : int
        How often a failing block is tried again.
    features : list of str
        Polygon files by name; the ending chooses the format.
    overwrite : bool
        Start anew in a folder that holds another run.
    report : bool
        Write ``report.html`` when all is done: the map, areas, timings and memory on one page.
    performance_report : bool
        Write Dask's own report of every task, ``performance.html``.
    """

    model: str
    things: str | None = None
    weights: str | None = None
    trust_model: bool = False
    input: Input | None = None
    output: str = "out"
    bands: list[str | int] | None = None
    crs: str | int | None = None
    scale: FiniteFloat | None = Field(default=None, gt=0)
    offset: FiniteFloat | None = None
    nodata: float | Literal["none"] | None = None
    resolution: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    collections: str | list[str] | None = None
    datetime: str | None = None
    query: str | list[str] | dict[str, Any] | None = None
    mosaic: Literal["first", "newest", "least_cloudy", "median"] = "first"
    mask: str | dict[str, Any] | None = None
    remove_offset: bool = True
    on_error: Literal["stop", "skip"] = "stop"
    region: str | None = None
    prompts: str | None = None
    text: str | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    min_score: float | None = Field(default=None, ge=0, le=1)
    refine: str | dict[str, Any] | None = None
    tta: bool | str | dict[str, Any] | None = None
    tile_size: PositiveInt | None = None
    halo: int | None = Field(default=None, ge=0)
    ramp: int | None = Field(default=None, ge=0)
    block_tiles: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    batch_size: PositiveInt | Literal["auto"] = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    compile: bool = False
    workers: PositiveInt | None = None
    scheduler: str | None = None
    dashboard: str = DASHBOARD
    retries: int = Field(default=2, ge=0)
    features: list[str] = ["features.gpkg"]
    overwrite: bool = False
    report: bool = True
    performance_report: bool = False


WorkflowSource = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Workflow | Mapping[str, Any]
"""What a run begins with: a workflow by file, name or content, or imagery."""


def read_workflow(workflow: WorkflowSource | None = None, **settings: Any) -> Workflow:
    """Read a workflow, or make one of imagery and a model, and replace what is given besides.

    Parameters
    ----------
    workflow : path, list of paths, Workflow or dict, optional
        A YAML file or the name of a shipped workflow such as ``land_use``, with imagery behind it or not; or imagery as
        ``input`` takes it, which needs ``model``; nothing where ``input`` and ``model`` are given. A model that a
        shipped workflow is made for brings the settings of that workflow.
    **settings
        Keys of `Workflow`; None leaves the workflow's own.

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
    given = plain_settings({key: value for key, value in settings.items() if value is not None})
    content, name = _content(workflow, given)
    try:
        read = Workflow(**{**plain_settings(content), **given})
    except ValidationError as error:
        is_given = error.errors()[0]["loc"][0] in given
        raise WorkflowError(sentence(error, "the run" if is_given else name, Workflow)) from error
    local_path(read.output, "output")
    for file in read.features:
        local_path(file, "features")
    return read


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a caller gives in Python, as a workflow file could hold it: paths, regions and prompts as text.

    Raises
    ------
    GeosegError
        An array or a table in memory that is neither region nor prompts.
    """
    texts = {"region": region_text, "prompts": prompts_text}
    return {
        key: texts[key](value) if key in texts and value is not None else plain_value(value, key)
        for key, value in settings.items()
    }


def _content(workflow: WorkflowSource | None, given: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The keys of a workflow, and what an error calls it."""
    if isinstance(workflow, Workflow):
        return workflow.model_dump(), "the workflow"
    if isinstance(workflow, Mapping):
        return workflow, "the workflow"
    named = [workflow] if isinstance(workflow, str | os.PathLike) else workflow
    if not named and "input" in given:
        return _imagery_workflow([], given), "the run"
    if not named:
        raise WorkflowError("neither a workflow nor imagery is given; give one, such as scene.tif with a model.")
    first, *imagery = [os.fspath(source) for source in named]
    file = locate_workflow(first)
    if file is None:
        return _imagery_workflow([first, *imagery], given), "the run"
    return {**_home_of(file), **_read_yaml(file), **_input_of(imagery, given)}, str(file)


RECORD = "workflow.yaml"
"""What ran, in the folder of a run."""


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
        if len(imagery) == 1 and get_close_matches(imagery[0], workflow_names(), n=1):
            raise InputNotFoundError(f"workflow {imagery[0]} does not exist; {nearest(imagery[0], workflow_names())}")
        first = f"'{imagery[0]}'" if imagery else "the input"
        raise WorkflowError(
            f"no model is given for {first}; give --model with a name of `geoseg models`, such as buildings, or "
            "a workflow file."
        )
    shipped = (_read_yaml(workflows_home() / f"{name}.yaml") for name in workflow_names())
    keys = given["model"], given.get("things")
    defaults = next((item for item in shipped if (item["model"], item.get("things")) == keys), {})
    return {**defaults, **_input_of(imagery, given)}


PATHS = ("model", "things", "weights", "input", "region", "prompts")
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
    keys = workflow.model_dump(mode="json", exclude_none=True, exclude={"overwrite", "output"}) | resolved
    keys |= {key: _absolute(keys[key]) for key in PATHS if key in keys and not _is_name(key, keys[key])}
    public = json.loads(unsigned(json.dumps(keys)))
    head = _HEAD + ("" if public == keys else _HEAD_UNSIGNED)
    text = yaml.safe_dump(public, sort_keys=False, allow_unicode=True)
    write_file(path, lambda file: file.write_text(head + text, encoding="utf-8"))


def _is_name(key: str, value: Any) -> bool:
    """Whether a key's value is a name of the catalog, which means the same everywhere."""
    if key not in ("model", "things", "input") or not isinstance(value, str):
        return False
    return is_name("imagery" if key == "input" else "models", value)


def _absolute(value: Any) -> Any:
    """A path or pattern, or all of a list or a dict, if files are there; names and addresses stay."""
    if isinstance(value, list):
        return [_absolute(item) for item in value]
    if isinstance(value, dict):
        return {key: _absolute(item) for key, item in value.items()}
    if not isinstance(value, str) or "://" in value or GEOJSON.match(value):
        return value
    path = str(Path(value).expanduser().absolute())
    is_there = Path(path).exists()
    is_pattern = glob.has_magic(value) and bool(glob.glob(path, recursive=True))  # noqa: PTH207 - it may be absolute
    return path if is_there or is_pattern else value


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f" at line {place.line + 1}" if place else ""
        raise WorkflowError(f"{path} is not YAML{line}; see workflows/land_use.yaml for the form.") from error
    if not isinstance(content, dict):
        raise WorkflowError(f"{path} holds no keys; see workflows/land_use.yaml for the form.")
    return content


def sentence(error: ValidationError, name: str, kind: type[BaseModel]) -> str:
    """The first thing that is wrong, in one sentence.

    Parameters
    ----------
    error : ValidationError
        Of the settings.
    name : str
        Where they come from.
    kind : type
        The settings, for the names that are known.
    """
    first = error.errors()[0]
    key = str(first["loc"][0])
    known = list(kind.model_fields)
    if first["type"] == "extra_forbidden":
        close = get_close_matches(key, known, n=1)
        return f"{name} has an unknown key '{key}'; " + (
            f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}."
        )
    if first["type"] == "missing":
        return f"{name} does not say '{key}'; add that key."
    return f"{name} has {key}: {first.get('input')!r}, which cannot be used ({first['msg']}); give another value."
