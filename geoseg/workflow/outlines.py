"""From settings to the plan of an outline: of a run's labels, or of a raster that somebody classified."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from odc.geo.geobox import GeoBox
from pyproj import CRS

from geoseg.errors import WorkflowError, nearest
from geoseg.footprints import STAIRS
from geoseg.mapping_unit import MappingUnit
from geoseg.models.spec import NODATA
from geoseg.options import OTHERS, OutlineOptions
from geoseg.options.values import whole
from geoseg.outlines import TAGGED, OutlineFolder, OutlinePlan, RunLabels, RunObjects
from geoseg.planning import Plan
from geoseg.raster import PixelAreas, Raster, nominal_area, pixel_areas
from geoseg.store import RunFolder
from geoseg.vector import StyledClass
from geoseg.vectorize import Holes, Least, Metric, Shaping, Simplification
from geoseg.versions import OUTLINING, source_digest

BUILDINGS = "build", "house", "roof"
"""What classes of buildings are often called."""

LARGEST_TOLERANCE = 1000.0
"""Px; a simplification by more is a mistake of units, metres where the CRS has degrees."""

STEPS = 1.0
"""Px that boundaries are simplified by before they are smoothed, unless said otherwise: the stairs of pixels go."""

WALLS = 1.5
"""Px that walls may stray from what was traced, unless said otherwise."""


def outlines_of_run(wanted: OutlineOptions, made: Plan, folder: RunFolder) -> OutlinePlan:
    """Plan the polygons of a run, and make their folder ready; arguments as of `plan_outlines`."""
    plan, decided = plan_outlines(wanted, made, folder)
    plan.folder.prepare(decided)
    return plan


def plan_outlines(wanted: OutlineOptions, made: Plan, folder: RunFolder) -> tuple[OutlinePlan, dict[str, Any]]:
    """Plan the polygons of a run; with all that decides them, as JSON values.

    Parameters
    ----------
    wanted : OutlineOptions
        What they are to look like.
    made : Plan
        The run.
    folder : RunFolder
        Holds its labels.
    """
    _check_grouped(wanted, made)
    _check_classes(wanted, made)
    check_walls(wanted)
    names = names_of(made)
    wanted_classes = _written_values(wanted, made)
    axes = made.grid.rows, made.grid.cols
    rows, cols = ((*range(0, axis.blocks * axis.chunk, axis.chunk), axis.length) for axis in axes)
    least = wanted.min_area if made.has_stuff else 0
    unit, areas = mapping_unit(least, wanted.keep_classes, made.raster.geobox, names)
    plan = OutlinePlan(
        source=RunObjects(folder, wanted_classes) if made.has_things else RunLabels(folder),
        folder=OutlineFolder(folder.outlines),
        rows=rows,
        cols=cols,
        transform=made.raster.transform,
        crs=CRS.from_user_input(made.raster.crs),
        shaping=shaping_of(wanted, made.raster.geobox, Least(unit, areas), is_clipped=made.region is not None),
        unit=unit,
        areas=areas,
        names=names,
        classes=None if made.has_things else wanted_classes,
        nodata=NODATA,
        region=made.region.region if made.region else None,
        tolerance=tolerance_of(wanted, made.raster.transform),
        right_angles=wanted.right_angles,
        shortest_edge=wanted.shortest_edge,
        tags=tags_of(wanted, made.raster, getattr(wanted, "attribution", None)),
        places=made.places,
    )
    decided = {"labelling": asdict(made.labelling), "min_score": objects_of(made).get("min_score")}
    return plan, fingerprint_of(wanted, made.raster, names) | decided | {"tags": dict(plan.tags)}


def names_of(made: Plan) -> dict[int, str]:
    """Names of the classes of a run by value."""
    return {item.value: item.name for item in made.classes}


def _check_grouped(wanted: OutlineOptions, made: Plan) -> None:
    """Refuse the value of a class of the model that is a part of another class in the results."""
    names = names_of(made)
    by_class = wanted.min_area if isinstance(wanted.min_area, dict) else ()
    for value in (*(wanted.classes or ()), *(wanted.keep_classes or ()), *by_class):
        if value in made.groups and value not in names:
            group = made.groups[int(value)]
            raise WorkflowError(f"class {value} is a part of '{names[group]}' in the legend; give {group}.")


def _check_classes(wanted: OutlineOptions, made: Plan) -> None:
    """Refuse to regularize what is no building."""
    if wanted.regularize:
        values = _written_values(wanted, made)
        things_values = {made.groups.get(item.value, item.value) for item in made.spec.things}
        written = [item for item in made.classes if values is None or item.value in values]
        things = [item.name for item in written if item.value in things_values]
        stuff = [item.name for item in written if item.value not in things_values]
        check_regularized(stuff, things)


def _written_values(wanted: OutlineOptions, made: Plan) -> frozenset[int] | None:
    """Values of the classes that become polygons; None is all, and background that is implied has to be asked for."""
    values = values_of(wanted.classes, names_of(made))
    if values is None and any(item.implied for item in made.classes):
        return frozenset(item.value for item in made.classes if not item.implied)
    return values


def fingerprint_of(wanted: OutlineOptions, raster: Raster, names: Mapping[int, str]) -> dict[str, Any]:
    """All that decides the polygons of given labels, as JSON values.

    Parameters
    ----------
    wanted : OutlineOptions
        What a person can set.
    raster : Raster
        Its place decides where polygons lie and how large they are.
    names : mapping of int to str
        Names of the classes, by which settings may call them; they decide the names of features alone.
    """
    settings = OutlineOptions(**{key: getattr(wanted, key) for key in OutlineOptions.model_fields})
    return {
        **settings.model_dump(mode="json", exclude={"layer", "partition"}),
        **{key: _sorted(values_of(getattr(wanted, key), names)) for key in ("classes", "keep_classes")},
        "min_area": {str(label): area for label, area in areas_of(wanted.min_area, names).items()},
        "transform": list(raster.transform)[:6],
        "crs": str(raster.crs),
        "versions": {"geoseg": source_digest(OUTLINING), **{name: version(name) for name in ("pyproj", "shapely")}},
    }


def _sorted(values: frozenset[int] | None) -> list[int] | None:
    return None if values is None else sorted(values)


def objects_of(made: Plan) -> dict[str, Any]:
    """All that decides which objects of given predictions there are, as JSON values."""
    if not made.has_things:
        return {}
    place = {} if made.unit.keeps_all else {"crs": str(made.raster.crs)}
    settings = {"unit": [made.unit.pixels, [list(pair) for pair in made.unit.by_class]], "min_score": made.min_score}
    return settings | place


def shaping_of(wanted: OutlineOptions, geobox: GeoBox, least: Least, *, is_clipped: bool) -> Shaping:
    """What polygons are to look like on a grid, when a region clips them and when none does."""
    transform = geobox.transform
    tolerance = _tolerance(wanted.simplify, transform)
    if wanted.smooth is not None:
        if wanted.regularize:
            raise WorkflowError(
                f"regularize makes straight walls and smooth: {wanted.smooth} curves; choose one of both."
            )
        tolerance = tolerance or STEPS * _pixel(transform)
    simplification = Simplification(tolerance, wanted.simplify_method, wanted.smooth)
    if wanted.regularize:
        simplification = Simplification(STAIRS * _pixel(transform))
    return Shaping(
        metric=Metric.of(transform),
        simplification=simplification,
        max_vertices=wanted.max_vertices,
        connectivity=wanted.connectivity,
        holes=_holes(wanted.fill_holes, geobox),
        least=None if wanted.regularize or least.unit.keeps_all else least,
        keeps_outer=is_clipped,
    )


def _holes(area: float, geobox: GeoBox) -> Holes | None:
    """Which holes an area in m2 fills; None when none."""
    if area == 0:
        return None
    areas = pixel_areas(geobox)
    return Holes(area / (nominal_area(geobox) if areas is None else areas.unit), areas)


def tolerance_of(wanted: OutlineOptions, transform: Any) -> float | None:
    """How far walls may stray from what was traced, CRS units; None when outlines do not become walls."""
    return (wanted.simplify or WALLS * _pixel(transform)) if wanted.regularize else None


def _tolerance(simplify: float, transform: Any) -> float:
    """A tolerance that may be meant: in degrees, a number of metres would leave triangles of every polygon."""
    pixels = simplify / _pixel(transform)
    if pixels > LARGEST_TOLERANCE:
        raise WorkflowError(
            f"simplify {simplify:g} is {pixels:,.0f} pixels of this raster, which would leave triangles; give units of "
            f"its CRS, such as {2 * _pixel(transform):.2g} for two pixels."
        )
    return simplify


def _pixel(transform: Any) -> float:
    """The side of a square pixel of the same area, CRS units."""
    return math.sqrt(abs(transform.determinant))


def check_regularized(stuff: Collection[str], things: Collection[str]) -> None:
    """Refuse to regularize a map of which more than buildings would be written.

    Parameters
    ----------
    stuff, things : collection of str
        Names of the classes that would be written, without objects and with.

    Raises
    ------
    WorkflowError
        There are several classes, or a class beside objects.
    """
    if len(stuff) > 1 or (stuff and things):
        names = [*things, *stuff]
        wanted = next((name for name in names if any(word in name.casefold() for word in BUILDINGS)), names[0])
        raise WorkflowError(
            f"regularize makes straight walls of all that is written, and that would be {', '.join(names)}; choose "
            f"what is a building, such as classes: [{wanted}]."
        )


def check_walls(wanted: OutlineOptions) -> None:
    """Refuse options of walls where there are none.

    Raises
    ------
    WorkflowError
        Regularization is off.
    """
    given = [key for key in ("right_angles", "shortest_edge") if getattr(wanted, key)]
    if given and not wanted.regularize:
        raise WorkflowError(f"{given[0]} is about the walls that regularize makes; add regularize, or omit {given[0]}.")


def tags_of(wanted: OutlineOptions, raster: Raster, attribution: str | None = None) -> dict[str, str]:
    """Tags of features in GeoJSON, in place of columns; none without a preset."""
    if wanted.preset is None:
        return {}
    declared = dict.fromkeys(source.attribution for source in raster.sources if source.attribution)
    return {"building": "yes", "source": attribution or "; ".join(declared) or "geoseg"}


def check_preset(wanted: OutlineOptions, files: Sequence[str]) -> None:
    """Refuse a preset without a file that takes its tags.

    Raises
    ------
    WorkflowError
        No file is GeoJSON.
    """
    if wanted.preset is not None and not any(name.lower().endswith(TAGGED) for name in files):
        raise WorkflowError(
            f"preset {wanted.preset} is for GeoJSON, and the polygons go to {', '.join(files) or 'no file'}; name a "
            f"file such as {wanted.preset}{TAGGED}."
        )


def mapping_unit(
    min_area: float | Mapping[int | str, float],
    keep_classes: Sequence[int | str] | None,
    geobox: GeoBox,
    names: Mapping[int, str],
) -> tuple[MappingUnit, PixelAreas | None]:
    """What a face must have to stay, rounded up, at least 1: pixels, or units where pixels differ on the ground.

    Parameters
    ----------
    min_area : float or mapping
        M2, for all classes or by class, as `areas_of` takes it.
    keep_classes : sequence of int or str, optional
        Classes whose faces stay whatever their size.
    geobox : GeoBox
        The grid.
    names : mapping of int to str
        Names of the classes.
    """
    least = areas_of(min_area, names) | dict.fromkeys(values_of(keep_classes, names) or (), 0.0)
    areas = pixel_areas(geobox) if any(least.values()) else None

    def count(area: float) -> int:
        return areas.units(area) if areas else max(1, math.ceil(area / nominal_area(geobox) - 1e-9))

    others = count(least.pop(OTHERS, 0.0))
    return MappingUnit(others, tuple(sorted((int(label), count(area)) for label, area in least.items()))), areas


def areas_of(min_area: float | Mapping[int | str, float], names: Mapping[int, str]) -> dict[int | str, float]:
    """Minimum areas by label, m2, and for the rest by `OTHERS`.

    Raises
    ------
    WorkflowError
        A class is not there, or it is named twice.
    """
    if not isinstance(min_area, Mapping):
        return {OTHERS: min_area}
    found: dict[int | str, float] = {}
    for item, area in min_area.items():
        label = item if item == OTHERS else value_of(item, names)
        if label in found:
            raise WorkflowError(f"min_area has two areas for class {label}, the second one as '{item}'; give one.")
        found[label] = area
    return found


def values_of(classes: Sequence[int | str] | None, names: Mapping[int, str]) -> frozenset[int] | None:
    """Values of classes that are given by value or by name.

    Raises
    ------
    WorkflowError
        No class has that name, or several have.
    """
    if classes is None:
        return None
    return frozenset(value_of(item, names) for item in classes)


def value_of(item: int | str, names: Mapping[int, str]) -> int:
    """The value of a class; a name counts as it is written, else whatever its capitals are."""
    number = whole(item)
    if isinstance(item, int) or isinstance(number, int):
        return int(number)
    exact = [value for value, name in names.items() if name == item]
    alike = exact or [value for value, name in names.items() if name.strip().casefold() == item.strip().casefold()]
    if len(alike) > 1:
        raise WorkflowError(f"{len(alike)} classes are called '{item}'; give a value: {', '.join(map(str, alike))}")
    if not alike:
        raise WorkflowError(f"no class is called '{item}'; {nearest(item, sorted(names.values()))}")
    return alike[0]


def styled_classes(made: Plan) -> list[StyledClass]:
    """Classes of a run as a map shows them."""
    are_all = made.spec.task == "instance-segmentation"
    return [
        StyledClass(item.value, item.name, item.color, is_thing=made.has_things and (are_all or item.isthing))
        for item in made.classes
    ]
