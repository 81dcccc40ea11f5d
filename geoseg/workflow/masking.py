"""A model as the mask of an input: a run of its own over each scene, whose labels say which pixels are not used.

These runs lie in the folder ``mask`` of the output, a folder a scene, and are continued as every run is. What follows
reads their labels as it reads any file of classes, so they decide its fingerprint by their content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from geoseg.catalog import find_model, is_name
from geoseg.engine import Ended, ProgressCallback, ProgressEvent, Started
from geoseg.errors import GridError, ModelError, RasterError, WorkflowError, nearest
from geoseg.grid import Window
from geoseg.held import Held, value_of
from geoseg.imagery.dates import read_dates
from geoseg.models.spec import ModelSpec
from geoseg.options import Workflow
from geoseg.planning import Plan
from geoseg.raster import Raster
from geoseg.raster.header import read_header
from geoseg.raster.layers import Layer, PlacedSource
from geoseg.raster.scenes import QaMask, Scene
from geoseg.workflow.settings import read_workflow

FOLDER, LABELS = "mask", "labels.tif"

KEYS = ("weights", "bands", "resolution")
"""Of a mask, beside ``model`` and ``exclude``: as the keys of a workflow, for the model of the mask."""

SHARED = (
    *("crs", "remove_offset", "scale", "offset", "nodata", "zoom", "trust_model", "device"),
    *("workers", "scheduler", "dashboard", "retries", "refresh", "overwrite"),
)
"""Keys of a workflow that hold for the runs of its mask too."""


def model_of_mask(mask: str | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The keys of a mask that is a model, given by its name or path alone or with more; None for any other mask."""
    if isinstance(mask, str):
        return {"model": mask} if is_name("models", mask) or Path(mask).exists() else None
    return mask if mask is not None and "model" in mask else None


@dataclass(frozen=True)
class SceneMask:
    """The run that finds the mask of one scene.

    Attributes
    ----------
    position : int
        Of the scene among those of the input.
    settings : mapping
        Of that run.
    """

    position: int
    settings: Mapping[str, Any]

    @property
    def labels(self) -> Path:
        """What the run writes."""
        return Path(self.settings["output"]) / LABELS

    @property
    def workflow(self) -> Workflow:
        """The run."""
        return read_workflow(**self.settings)


@dataclass(frozen=True)
class ModelMask:
    """A model as the mask of an input.

    Attributes
    ----------
    spec : ModelSpec
        The model.
    exclude : tuple of int
        Labels of the pixels that are not used.
    raster : Raster
        The input, scene by scene.
    runs : tuple of SceneMask
        One for each scene that is read.
    """

    spec: ModelSpec
    exclude: tuple[int, ...]
    raster: Raster
    runs: tuple[SceneMask, ...]

    @classmethod
    def of(cls, wanted: Workflow, made: Plan) -> ModelMask | None:
        """The mask of a run; None where no model is its mask.

        Raises
        ------
        WorkflowError
            The mask has an unknown key, or excludes what is no class of its model.
        ModelError
            The model does not label every pixel.
        RasterError
            The imagery has no scenes that can be masked one by one.
        """
        words = model_of_mask(wanted.mask)
        if words is None:
            return None
        if unknown := sorted(set(words) - {"model", "exclude", *KEYS}):
            raise WorkflowError(f"mask has an unknown key '{unknown[0]}'; {nearest(unknown[0], ['exclude', *KEYS])}")
        spec = find_model(words["model"])
        if not spec.stuff:
            raise ModelError(
                f"mask names the model '{spec.name}', which does not label every pixel; name one of classes."
            )
        raster = made.raster.by_scene()
        window = _read_window(made)
        near = [number for number, scene in enumerate(raster.scenes) if scene.extent.intersect(window).area]
        owners = [layer for layer in raster.layers for _ in layer.parts]
        names = _folders(["-".join(filter(None, (owners[at].date, raster.scenes[at].name))) for at in near])
        home = Path(wanted.output) / FOLDER
        shared = {key: getattr(wanted, key) for key in SHARED} | {key: words.get(key) for key in KEYS}
        shared |= {"model": words["model"], "features": [], "report": False, "region": _bounds(made, window)}
        runs = tuple(
            SceneMask(
                number,
                {**shared, **_input(wanted, made, owners[number], raster.scenes[number]), "output": str(home / name)},
            )
            for number, name in zip(near, names, strict=True)
        )
        return cls(spec, excluded(spec, words.get("exclude")), raster, runs)

    @property
    def is_found(self) -> bool:
        """Whether all of the runs have written their labels."""
        return all(run.labels.is_file() for run in self.runs)

    def describe(self, seconds: float | None) -> str:
        """What is done first, in words; ``seconds`` is what one scene takes."""
        names = " and ".join(item.name for item in self.spec.classes if item.value in self.exclude)
        time = "" if seconds is None else f", about {seconds * len(self.runs):,.0f} s"
        done = "found" if self.is_found else "to be found first"
        scenes = f"{len(self.runs):,} scene{'s' * (len(self.runs) != 1)}"
        return f"{names} of {self.spec.name} in {scenes}, {done}{time}"

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Say of tiles that cannot be laid out that they are those of the mask."""
        try:
            yield
        except GridError as error:
            raise GridError(f"of the mask's model '{self.spec.name}', {error}") from error

    def applied(self, made: Plan) -> Plan:
        """The same plan, of imagery without the pixels that the labels exclude."""
        masks = {run.position: self._placed(run.labels, made) for run in self.runs}
        return replace(made, raster=self.raster.with_masks(masks))

    def _placed(self, labels: Path, made: Plan) -> QaMask:
        source, _ = read_header(str(labels), str(labels)).select([1])
        return QaMask(PlacedSource.all_of(source, made.raster.geobox, "nearest")[0], self.exclude)


def excluded(spec: ModelSpec, given: Any) -> tuple[int, ...]:
    """Labels of the classes that a mask excludes, by name or value; those that the model's entry names unless given.

    Raises
    ------
    WorkflowError
        There is no such class, or none is named.
    """
    named = given.split(",") if isinstance(given, str) else [given] if isinstance(given, int) else given
    wanted = [str(item).strip() for item in (spec.mask if named is None else named)]
    labels = {item.name: item.value for item in spec.classes} | {str(item.value): item.value for item in spec.classes}
    for item in wanted:
        if item not in labels:
            raise WorkflowError(f"mask excludes '{item}', no class of '{spec.name}'; {nearest(item, spec.class_names)}")
    if not wanted:
        raise WorkflowError(
            f"mask names the model '{spec.name}' and not which of its classes are not used ("
            f"{', '.join(spec.class_names)}); write them as its key exclude."
        )
    return tuple(sorted({labels[item] for item in wanted}))


def within(progress: ProgressCallback) -> ProgressCallback:
    """What is told of a run that is a part of another: neither its workers, nor its end unless that is an error."""

    def tell(event: ProgressEvent) -> None:
        if isinstance(event, Started):
            progress(replace(event, client=None))
        elif not isinstance(event, Ended) or event.error is not None:
            progress(event)

    return tell


def masked(wanted: Workflow, made: Plan, run: Callable[[Workflow], Any]) -> Plan:
    """The same plan behind its mask, which is found first where a model is one.

    Parameters
    ----------
    run : callable
        Runs a workflow.
    """
    mask = ModelMask.of(wanted, made)
    if mask is None:
        return made
    with mask.named_in_errors():
        for scene in mask.runs:
            run(scene.workflow)
    return mask.applied(made)


def _input(wanted: Workflow, made: Plan, layer: Layer, scene: Scene) -> dict[str, Any]:
    """One scene as the input of a run, with the options that its date has for itself."""
    given, own = wanted.input, {}
    if layer.date:
        spec = made.spec
        dates = read_dates(value_of(wanted.input, "input"), wanted.bands or spec.bands, spec.dates, len(spec.bands))
        date = next(date for date in dates if date.name == layer.date)
        given, own = date.input, {key: value for key, value in date.options.items() if key in SHARED}
    if scene.item is not None:
        return {**own, "input": Held(scene.item, scene.name)}
    if len(layer.parts) == 1:
        return {**own, "input": given}
    if isinstance(wanted.input, Held):
        raise RasterError("a model is the mask of one array, and the input has several; write them as files.")
    return {**own, "input": scene.pieces[0].source.given}


def _folders(names: Sequence[str]) -> list[str]:
    """Names of folders for scenes: their own as far as a file can have them, each once."""
    plain = [re.sub(r"[^\w.-]+", "_", name)[:100].lstrip(".") or "scene" for name in names]
    again = [plain[:number].count(name) for number, name in enumerate(plain)]
    return [name if not count else f"{name}-{count + 1}" for name, count in zip(plain, again, strict=True)]


def _read_window(made: Plan) -> Window:
    """The pixels that blocks of the run may see; all of a raster of items, which ends where the region does."""
    height, width = made.raster.shape
    if made.places is None or made.raster.scenes:
        return Window(0, 0, height, width)
    cores = [made.grid.block(*place).core for place in made.places]
    reach = made.grid.tiling.size
    top, left = max(0, min(core.y for core in cores) - reach), max(0, min(core.x for core in cores) - reach)
    bottom, right = (max(getattr(core, side) for core in cores) + reach for side in ("bottom", "right"))
    return Window(top, left, min(height, bottom) - top, min(width, right) - left)


def _bounds(made: Plan, window: Window) -> str | None:
    """Bounds of that window as a region; None where it is the whole raster of files."""
    raster = made.raster
    if raster.is_plain or (not raster.scenes and window.shape == raster.shape):
        return None
    corner = raster.transform @ Affine.translation(window.x, window.y)
    left, bottom, right, top = GeoBox(window.shape, corner, raster.crs).boundingbox.bbox
    return f"{left!r},{bottom!r},{right!r},{top!r},{raster.crs}"
