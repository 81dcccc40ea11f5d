"""Layers of QGIS as what the command reads, and its results as layers of a project."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsFields,
    QgsLayerTreeGroup,
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingUtils,
    QgsProject,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)

RASTERS = (".tif",)
VECTORS = (".gpkg", ".fgb", ".geojson", ".shp", ".parquet")
"""Endings of results that are added to a project, rasters below polygons."""


def source_of(layer: QgsMapLayer) -> str:
    """Return what the command reads for a layer: a file, or the address of a tile service.

    Raises
    ------
    QgsProcessingException
        It is neither.
    """
    if isinstance(layer, QgsVectorLayer):
        return _vector_file(layer)
    provider = layer.providerType()
    if provider == "gdal":
        return layer.source()
    if provider == "wms":
        parts = QgsProviderRegistry.instance().decodeUri("wms", layer.source())
        if parts.get("type") == "xyz":
            return unquote(str(parts["url"]))
    raise QgsProcessingException(
        f"layer '{layer.name()}' comes from QGIS' provider '{provider}', which geoseg cannot read; save it as a "
        "GeoTIFF and use that"
    )


def _vector_file(layer: QgsVectorLayer) -> str:
    """The file of a layer that shows all of its only layer of geometry; else what the layer shows, in a new file."""
    path = str(QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source()).get("path") or "")
    if layer.providerType() == "ogr" and not layer.subsetString() and not layer.isEditable() and path:
        found = QgsProviderRegistry.instance().querySublayers(path)
        if sum(item.wkbType() not in (QgsWkbTypes.NoGeometry, QgsWkbTypes.Unknown) for item in found) <= 1:
            return path
    path = QgsProcessingUtils.generateTempFilename("layer.gpkg")
    options = QgsVectorFileWriter.SaveVectorOptions()
    done = QgsVectorFileWriter.writeAsVectorFormatV3(layer, path, QgsProject.instance().transformContext(), options)
    if done[0] != QgsVectorFileWriter.NoError:
        raise QgsProcessingException(f"layer '{layer.name()}' cannot be written to a file ({done[1]})")
    return path


def write_region(source: Any, context: QgsProcessingContext) -> str:
    """Write the polygons of a layer, of its selection where that is asked for, to a file; return its path."""
    path = QgsProcessingUtils.generateTempFilename("region.gpkg")
    options = QgsVectorFileWriter.SaveVectorOptions()
    writer = QgsVectorFileWriter.create(
        path, QgsFields(), source.wkbType(), source.sourceCrs(), context.transformContext(), options
    )
    for item in source.getFeatures():
        feature = QgsFeature()
        feature.setGeometry(item.geometry())
        writer.addFeature(feature)
    if writer.hasError() != QgsVectorFileWriter.NoError:
        raise QgsProcessingException(f"the region cannot be written to a file ({writer.errorMessage()})")
    del writer  # closes the file
    return path


def bounds_of(rectangle: Any, crs: QgsCoordinateReferenceSystem) -> str:
    """Bounds as ``--region`` takes them."""
    sides = (rectangle.xMinimum(), rectangle.yMinimum(), rectangle.xMaximum(), rectangle.yMaximum())
    return ",".join([*(f"{side:.15g}" for side in sides), crs.authid()])


class _Grouped(QgsProcessingLayerPostProcessorInterface):
    """Gives a layer that was added to a project its colours, and moves it into a group of its own run."""

    alive: list[_Grouped] = []  # noqa: RUF012 - QGIS calls and deletes it, and Python must not delete it before

    def __init__(self, group: str) -> None:
        super().__init__()
        self.group = group
        self.alive.append(self)

    def postProcessLayer(  # noqa: N802 - as QGIS calls it
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        """Move it: rasters below polygons."""
        del feedback
        self.alive.remove(self)
        layer.loadDefaultStyle()  # which Processing leaves out
        root = (context.project() or QgsProject.instance()).layerTreeRoot()
        group: QgsLayerTreeGroup = root.findGroup(self.group) or root.insertGroup(0, self.group)
        node = root.findLayer(layer.id())
        if node is None:
            group.addLayer(layer)
            return
        if node.parent() is group:
            return
        copy = node.clone()
        if isinstance(layer, QgsRasterLayer):
            group.addChildNode(copy)
        else:
            group.insertChildNode(0, copy)
        node.parent().removeChildNode(node)


def load(files: Iterable[str], group: str, layer: str, context: QgsProcessingContext) -> None:
    """Have QGIS add results to its project when the algorithm has ended.

    Parameters
    ----------
    files : iterable of str
        Results; those that are no layers are left out.
    group : str
        The group in which they stand.
    layer : str
        Name of the layer in files that have several.
    context : QgsProcessingContext
        Of the algorithm.
    """
    if context.project() is None:
        return
    for file in files:
        path = Path(file)
        if path.suffix not in (*RASTERS, *VECTORS) or not path.exists():
            continue
        names = _layers_of(file) if path.suffix == ".gpkg" and not layer else [layer]
        for name in names:
            uri = f"{file}|layername={name}" if path.suffix == ".gpkg" else file
            details = QgsProcessingContext.LayerDetails(
                name if path.suffix == ".gpkg" else path.stem, context.project()
            )
            details.setPostProcessor(_Grouped(group))  # one a layer: QGIS deletes each
            context.addLayerToLoadOnCompletion(uri, details)


def _layers_of(path: str) -> list[str]:
    """Layers of geometry of a GeoPackage."""
    found = QgsProviderRegistry.instance().querySublayers(path)
    return [item.name() for item in found if item.wkbType() not in (QgsWkbTypes.NoGeometry, QgsWkbTypes.Unknown)]
