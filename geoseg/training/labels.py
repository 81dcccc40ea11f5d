"""Labels of a scene from layers: another model, a raster, polygons; a later layer overrides an earlier one.

It makes class indices on the image's grid and keeps, for every pixel, which layer decided it, so that a
score can be told apart by where its truth comes from.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.errors import ShapelyError

from geoseg.corrections import DENIED
from geoseg.errors import CrsError, GeosegWarning, TrainingError, VectorError, WorkflowError, nearest
from geoseg.evaluation import IGNORE
from geoseg.grid import Window
from geoseg.options.values import whole
from geoseg.raster import Raster, check_labels, open_raster, read_labels
from geoseg.training.conditions import band_names, holds
from geoseg.training.recipe import Recipe
from geoseg.training.recipe_parts import (
    Image,
    InstanceLabels,
    LabelLayer,
    PolygonLabels,
    RasterLabels,
    TeacherLabels,
)
from geoseg.training.scenes import BACKGROUND, LabelledImage, placed, read_image
from geoseg.training.teacher import teacher_labels
from geoseg.vector.grids import turned
from geoseg.vector.tables import check_edges, check_name, with_geometry

UNTOUCHED = 254
"""Value of a pixel that a layer says nothing about (255 says: ignore)."""

POLYGONS, POINTS = ("Polygon", "MultiPolygon"), ("Point", "MultiPoint")
"""Geometries that label what lies inside, and the pixel that they lie in."""


@dataclass(frozen=True)
class LabelMap:
    """Labels of one image.

    Attributes
    ----------
    labels : NDArray
        uint8, shape (y, x), class indices, 253 = no object at all, 255 = none.
    layers : NDArray
        uint8, shape (y, x), number of the layer that decided the pixel, 255 = none.
    instances : NDArray
        uint32, shape (y, x), numbers of objects, 0 = none.
    empty : tuple of int
        Numbers of the layers of polygons none of which lies in the image.
    """

    labels: NDArray[np.uint8]
    layers: NDArray[np.uint8]
    instances: NDArray[np.uint32]
    empty: tuple[int, ...] = ()


def make_labels(recipe: Recipe, image: Image, number: int, geobox: GeoBox) -> LabelMap:
    """Apply the recipe's label layers to one image.

    Parameters
    ----------
    recipe : Recipe
        Gives the layers and the classes.
    image : str or dict
        The image, for teachers and conditions.
    number : int
        Its place in the recipe, for layers with one file an image.
    geobox : GeoBox
        The image's grid.

    Raises
    ------
    TrainingError
        If a layer has values that are not classes, or lies beside the image.
    """
    labels = np.full(geobox.shape, IGNORE, np.uint8)
    layers = np.full(geobox.shape, IGNORE, np.uint8)
    instances = np.zeros(geobox.shape, np.uint32)
    empty = []
    for place, layer in enumerate(recipe.labels):
        found, objects = _layer(recipe, layer, image, number, geobox)
        if isinstance(layer, PolygonLabels) and not objects.any():
            empty.append(place)
        said = found != UNTOUCHED
        if layer.where is not None:
            names = band_names(layer.where)
            pixels, mask, _, _ = read_image(recipe, image, names)
            said = said & mask & holds(layer.where, dict(zip(names, pixels, strict=True)))
        labels[said], layers[said] = found[said], place
        numbers = np.where(objects > 0, objects + instances.max(initial=0), 0)
        instances[said] = numbers[said]
    layers[labels == IGNORE] = IGNORE
    return LabelMap(labels, layers, instances, tuple(empty))


def _layer(
    recipe: Recipe, layer: LabelLayer, image: Image, number: int, geobox: GeoBox
) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """One layer on the image's grid: class indices, 255 = ignore, 254 = nothing said; and numbers of objects."""
    none = np.zeros(geobox.shape, np.uint32)
    if isinstance(layer, TeacherLabels):
        labels = teacher_labels(recipe, layer, image)
        labels[labels == IGNORE] = UNTOUCHED
        return labels, none
    if isinstance(layer, RasterLabels):
        return raster_labels(recipe, layer, number, geobox), none
    if isinstance(layer, InstanceLabels):
        return instance_labels(recipe, layer, number, geobox)
    return polygon_labels(recipe, layer, geobox)


def _file_of(recipe: Recipe, files: str | tuple[str | None, ...], number: int) -> Path | str | None:
    """The file of a layer for an image; None where the list has none for it.

    Raises
    ------
    TrainingError
        If the list is too short.
    """
    paths = (files,) if isinstance(files, str) else files
    if number >= len(paths):
        raise TrainingError(
            f"image {number + 1} has no label raster, {len(paths)} are listed; list one file for each image"
        )
    path = paths[number]
    return None if path is None else recipe.find(path)


def instance_labels(
    recipe: Recipe, layer: InstanceLabels, number: int, geobox: GeoBox
) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Read numbers of objects onto the image's grid, by nearest neighbour.

    Returns
    -------
    tuple of NDArray
        Class indices uint8 (y, x), 254 = nothing said; numbers of objects uint32 (y, x), 0 = none.

    Raises
    ------
    TrainingError
        If there is no file for this image, or it does not overlap it.
    """
    path = _file_of(recipe, layer.instances, number)
    labels, numbers = np.full(geobox.shape, UNTOUCHED, np.uint8), np.zeros(geobox.shape, np.uint32)
    if path is None:
        return labels, numbers
    index = _index(recipe, layer.class_, path)
    values, mask = _read(path, number, geobox, none=0)
    if (values < 0).any():
        raise TrainingError(
            f"the objects of {path} have the number {values.min()}; number them from 1 on, and 0 where there is none"
        )
    is_object = mask & (values > 0)
    labels[is_object] = index
    if recipe.finds_objects:
        labels[mask & (values == 0)] = BACKGROUND
    _, numbers[is_object] = np.unique(values[is_object], return_inverse=True)
    numbers[is_object] += 1
    return labels, numbers


def _read(
    path: Path | str, number: int, geobox: GeoBox, none: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Read whole numbers onto the image's grid, and where there are some; ``none`` is one, whatever is declared."""
    own = open_raster(path, require_crs=False)
    if own.crs is None or geobox.crs is None:
        _check_plain(path, own, number, geobox)
    if own.crs is None and geobox.crs is not None:
        raster = own
    else:
        raster = open_raster(path, geobox=geobox, resampling="nearest", require_crs=geobox.crs is not None)
    raster = raster.with_sources(
        lambda source: replace(source, nodata=tuple(None if value == none else value for value in source.nodata))
    )
    name = f"the label raster '{path}'"
    check_labels(raster, name, TrainingError)
    found, mask = read_labels(raster, Window(0, 0, *geobox.shape), name)
    if not mask.any():
        raise TrainingError(f"label raster {path} does not overlap image {number + 1}; give labels of the same place")
    return found.astype(np.int64), mask


def _check_plain(path: Path | str, own: Raster, number: int, geobox: GeoBox) -> None:
    """Refuse labels that are not laid out as the pixels of their image, where one of both has no CRS."""
    is_beside = geobox.crs is None or own.transform.is_identity or own.transform == geobox.transform
    if own.crs is None and own.shape == geobox.shape and is_beside:
        return
    sizes = [
        f"{width} x {height} px and {'no CRS' if crs is None else crs}"
        for (height, width), crs in ((own.shape, own.crs), (geobox.shape, geobox.crs))
    ]
    raise TrainingError(
        f"label raster {path} has {sizes[0]}, and image {number + 1} has {sizes[1]}, so nothing says how they lie on "
        "one another; give labels of the same pixels"
    )


def raster_labels(recipe: Recipe, layer: RasterLabels, number: int, geobox: GeoBox) -> NDArray[np.uint8]:
    """Read a label raster onto the image's grid, by nearest neighbour.

    Raises
    ------
    TrainingError
        If there is no file for this image, the raster does not overlap it, or a value is no class.
    """
    path = _file_of(recipe, layer.raster, number)
    result = np.full(geobox.shape, UNTOUCHED, np.uint8)
    if path is None:
        return result
    values, mask = _read(path, number, geobox)
    found, places = np.unique(values[mask], return_inverse=True)
    chosen = [
        IGNORE if value in layer.ignore else _index(recipe, layer.values.get(value, value), path)
        for value in found.tolist()
    ]
    result[mask] = np.array(chosen, np.uint8)[places]
    return result


def polygon_labels(
    recipe: Recipe, layer: PolygonLabels, geobox: GeoBox
) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Burn polygons into the image's grid; a pixel belongs to a polygon when its centre does, later features win.

    Returns
    -------
    tuple of NDArray
        Class indices uint8 (y, x), 254 = nothing said; numbers of polygons uint32 (y, x), 0 = none.

    Raises
    ------
    TrainingError
        If a class is not one of the recipe's.
    VectorError
        If the file cannot be read or has no such column.
    """
    path = recipe.find(layer.polygons)
    frame = _placed_features(path, layer, geobox)
    if recipe.finds_objects and not frame.geom_type.isin(POLYGONS).all():
        raise VectorError(f"polygons {path} have points, which outline no object; give polygons only")
    classes = frame[layer.column] if layer.column is not None else [layer.class_] * len(frame)
    table = np.array([UNTOUCHED, *(_index(recipe, item, path) for item in classes)], np.uint8)
    if recipe.finds_objects:
        table[0] = BACKGROUND
    numbers = _burnt(frame, geobox)
    return table[numbers], numbers


def polygon_groups(recipe: Recipe, column: str, geobox: GeoBox) -> tuple[NDArray[np.uint32], list[str]]:
    """Burn the polygons of all layers into an image's grid, to be told apart by a column.

    Returns
    -------
    tuple
        Numbers of polygons, uint32 (y, x), 0 = none, and the value of each from 1 on, as text.

    Raises
    ------
    WorkflowError
        The recipe has no layer of polygons.
    VectorError
        A layer lacks the column, or values in it.
    """
    layers = [layer for layer in recipe.labels if isinstance(layer, PolygonLabels)]
    if not layers:
        raise WorkflowError(f"fold_by is '{column}', and no labels are polygons with columns; give image or block")
    numbers, values = np.zeros(geobox.shape, np.uint32), list[str]()
    for layer in layers:
        path = recipe.find(layer.polygons)
        frame = _placed_features(path, layer, geobox, column)
        if frame[column].isna().any():
            raise VectorError(f"polygons {path} have no value in column '{column}', which makes folds; fill it in")
        burnt = _burnt(frame, geobox)
        numbers = np.where(burnt > 0, burnt + np.uint32(len(values)), numbers)
        values += [str(value) for value in frame[column]]
    return numbers, values


def _burnt(frame: Any, geobox: GeoBox) -> NDArray[np.uint32]:
    """Numbers of features from 1 on, uint32 (y, x), 0 = none.

    Where edges pass through centres of pixels, GDAL gives those of both the upper and the lower edge to a polygon. So
    polygons are moved by a millionth of a pixel, up and left: they hold their upper and left edge, as in an evaluation.
    """
    numbers = np.zeros(geobox.shape, np.uint32)
    if not frame.empty:
        transform = placed(geobox).transform
        x, y = np.subtract(transform @ (-1e-6, -1e-6), transform @ (0, 0))
        moved = frame.geometry.translate(x, y).where(frame.geom_type.isin(POLYGONS), frame.geometry)
        rasterize(zip(moved, range(1, len(frame) + 1), strict=True), out=numbers, transform=transform)
    return numbers


def _placed_features(path: Path | str, layer: PolygonLabels, geobox: GeoBox, *columns: str) -> Any:
    """Read the features of an image, in its CRS, as a GeoDataFrame that has these columns too."""
    frame = _features(path, layer, *columns)
    if geobox.crs is None:
        if frame.crs is not None and not frame.crs.is_engineering:
            raise CrsError(f"polygons {path} are in {frame.crs.name}, and the image has no CRS; georeference the image")
    elif frame.crs is None:
        raise CrsError(f"polygons {path} have no CRS; write it into the file")
    else:
        frame = frame.to_crs(str(geobox.crs))
        if geobox.crs.geographic:
            frame = frame.set_geometry(gpd.GeoSeries(turned(frame.geometry.to_numpy(), geobox), frame.index, frame.crs))
    return frame[frame.intersects(placed(geobox).extent.geom)]


def _features(path: Path | str, layer: PolygonLabels, *columns: str) -> Any:
    """Read the features a layer selects, as a GeoDataFrame."""
    if isinstance(path, Path):
        check_name(path, VectorError)
    try:
        frame = pyogrio.read_dataframe(path, layer=layer.layer)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ShapelyError) as error:
        raise VectorError(f"polygons {path} cannot be read ({error}); give a vector file with polygons") from error
    for column in [*layer.select, *([layer.column] if layer.column is not None else []), *columns]:
        if column not in frame.columns:
            raise VectorError(f"polygons {path} have no column '{column}'; {nearest(column, list(frame.columns))}")
    for column, value in layer.select.items():
        frame = frame[frame[column] == value]
    if layer.column is not None and DENIED in frame.columns:  # what a pixel is not is no label
        frame = frame[frame[layer.column].notna() | frame[DENIED].isna()]
    frame = with_geometry(frame, f"the polygons '{path}'")
    strangers = sorted(set(frame.geom_type) - {*POLYGONS, *POINTS})
    if strangers:
        raise VectorError(
            f"polygons {path} have features of type {strangers[0]}; give polygons, or points that are a pixel each"
        )
    if frame.crs is not None:
        check_edges(frame.geometry.to_numpy(), frame.crs, f"one of the polygons '{path}'", VectorError)
    return frame


def _index(recipe: Recipe, item: object, path: Path | str) -> int:
    """Return the class index of a class name or value, as people write them; 255 for ``ignore`` and 255."""
    text = str(whole(item.strip())).casefold() if isinstance(item, str) else item
    if text in ("ignore", IGNORE, str(IGNORE)):
        return IGNORE
    exact = [index for index, entry in enumerate(recipe.classes) if item in (entry.name, entry.value)]
    alike = [index for index, entry in enumerate(recipe.classes) if text in (entry.name.casefold(), str(entry.value))]
    if found := exact or alike:
        return found[0]
    known = ", ".join(f"{entry.value} {entry.name}" for entry in recipe.classes)
    if item is None or item != item:  # NaN, of a column of numbers
        raise TrainingError(f"{path} has polygons without a class; give them one of {known}, or ignore")
    raise TrainingError(
        f"{path} has class {item!r}, which is not in 'classes' ({known}); add it there, or write ignore in its place"
    )


def check_polygons(recipe: Recipe, names: Sequence[str], maps: Sequence[LabelMap]) -> None:
    """Refuse a layer of polygons that lies in no image, and name the images in which it has none.

    Parameters
    ----------
    recipe : Recipe
        Gives the layers.
    names : sequence of str
        Names of the images.
    maps : sequence of LabelMap
        Their labels.

    Raises
    ------
    TrainingError
        No polygon of a layer lies in an image.

    Warns
    -----
    GeosegWarning
        An image shows no polygon: for models that find objects it is an example of none.
    """
    for place, layer in enumerate(recipe.labels):
        without = [name for name, found in zip(names, maps, strict=True) if place in found.empty]
        if not isinstance(layer, PolygonLabels) or not without:
            continue
        what = f"{layer.polygons}{f' with {layer.select}' if layer.select else ''}"
        if len(without) == len(names):
            raise TrainingError(f"no polygon of {what} overlaps the images; give labels of the same place")
        meaning = "an example without objects" if recipe.finds_objects else "it gives no label there"
        warnings.warn(f"no polygon of {what} lies in {', '.join(without)}: {meaning}", GeosegWarning, stacklevel=3)


def check_shown(recipe: Recipe, scenes: Sequence[LabelledImage]) -> None:
    """Refuse masks of 0 and 255 that show no pixel of a class, and name other classes without a pixel to learn from.

    Parameters
    ----------
    recipe : Recipe
        Gives the classes.
    scenes : sequence of LabelledImage
        With their labels.

    Raises
    ------
    TrainingError
        A class has no labelled pixel outside of the validation part, and a label raster has pixels of 255.

    Warns
    -----
    GeosegWarning
        A class has no labelled pixel outside of the validation part.
    """
    shown = {int(value) for scene in scenes for value in np.unique(scene.labels[~scene.held_out])}
    missing = [entry.name for index, entry in enumerate(recipe.classes) if index not in shown]
    if not missing:
        return
    what = f"no labelled pixel of {', '.join(missing)} lies in the training part"
    path = _file_with(recipe, IGNORE, [scene.geobox for scene in scenes])
    if path is not None:
        raise TrainingError(
            f"{what}, and {path} has pixels of 255, which are no label; say which class they are, such as "
            f"values: {{255: {missing[0]}}} in that layer, or ignore: [255]"
        )
    warnings.warn(f"{what}: the model will not learn it", GeosegWarning, stacklevel=3)


def _file_with(recipe: Recipe, value: int, grids: Sequence[GeoBox]) -> Path | str | None:
    """The first label raster with pixels of a value of which its layer says nothing."""
    for layer in recipe.labels:
        if not isinstance(layer, RasterLabels) or value in layer.ignore or value in layer.values:
            continue
        for number, geobox in enumerate(grids):
            path = _file_of(recipe, layer.raster, number)
            if path is None:
                continue
            values, mask = _read(path, number, geobox)
            if (mask & (values == value)).any():
                return path
    return None


def check_layers(recipe: Recipe) -> None:
    """Check the class names in the label layers before anything is read.

    Raises
    ------
    WorkflowError
        If a layer names a class that the recipe does not have.
    """
    names = [item.name for item in recipe.classes]
    named = [name for layer in recipe.labels if isinstance(layer, TeacherLabels) for name in layer.ignore]
    burnt = [layer.class_ for layer in recipe.labels if isinstance(layer, PolygonLabels | InstanceLabels)]
    burnt += [name for layer in recipe.labels if isinstance(layer, RasterLabels) for name in layer.values.values()]
    named += [name for name in burnt if isinstance(name, str)]
    for name in [*named, *recipe.loss.class_weights, *recipe.logit_adjustment]:
        if name not in (*names, "ignore"):
            raise WorkflowError(f"'{name}' is not one of the recipe's classes; {nearest(name, names)}")
