"""Draw what QGIS shows of a run, with its legend: ``python3 qgis/picture.py RUN PICTURE``, by the Python of QGIS.

It makes the picture in docs/qgis.md.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import (
    QgsApplication,
    QgsLayoutExporter,
    QgsLayoutItemLegend,
    QgsLayoutItemMap,
    QgsLayoutItemScaleBar,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsPrintLayout,
    QgsProject,
    QgsVectorLayer,
)

MAP_MM, LEGEND_MM = (150, 124), 55


def draw(run: Path, picture: Path) -> None:
    """Lay out map, legend and scale bar, as a person would in QGIS."""
    project = QgsProject.instance()
    polygons = QgsVectorLayer(f"{run / 'features.gpkg'}|layername=land_use", "land_use", "ogr")
    project.setCrs(polygons.crs())
    project.addMapLayer(polygons)
    layout = QgsPrintLayout(project)
    layout.initializeDefaults()
    layout.pageCollection().page(0).setPageSize(QgsLayoutSize(MAP_MM[0] + LEGEND_MM + 12, MAP_MM[1] + 8))
    shown, legend, bar = QgsLayoutItemMap(layout), QgsLayoutItemLegend(layout), QgsLayoutItemScaleBar(layout)
    for item in (shown, legend, bar):
        layout.addLayoutItem(item)
    shown.attemptMove(QgsLayoutPoint(4, 4))
    shown.attemptResize(QgsLayoutSize(*MAP_MM))
    shown.setExtent(polygons.extent())
    legend.setLinkedMap(shown)
    legend.attemptMove(QgsLayoutPoint(MAP_MM[0] + 6, 4))
    bar.setLinkedMap(shown)
    bar.applyDefaultSize()
    bar.attemptMove(QgsLayoutPoint(MAP_MM[0] + 8, MAP_MM[1] - 12))
    settings = QgsLayoutExporter.ImageExportSettings()
    settings.dpi = 120
    done = QgsLayoutExporter(layout).exportToImage(str(picture), settings)
    if done != QgsLayoutExporter.Success:
        sys.exit(f"{picture} cannot be written")


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    draw(*map(Path, sys.argv[1:]))
