"""What a person does in QGIS with the plugin, without a window; run by QGIS' own Python, prints JSON.

``python3 tests/in_qgis.py SCENE FOLDER``: the plugin lies in ``FOLDER/plugins``, as the plugin manager unpacks it.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

sys.path.append("/usr/share/qgis/python/plugins")

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsLayerTreeGroup,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize

scene, folder = sys.argv[1], Path(sys.argv[2])
told: dict = {"version": Qgis.QGIS_VERSION}

application = QgsApplication([], False)
application.initQgis()

import processing
import qgis.utils
from processing.core.Processing import Processing

Processing.initialize()
qgis.utils.plugin_paths.append(str(folder / "plugins"))
sys.path.append(str(folder / "plugins"))
qgis.utils.updateAvailablePlugins()
told["loaded"] = qgis.utils.loadPlugin("geoseg_processing")
told["started"] = qgis.utils.startProcessingPlugin("geoseg_processing")
told["metadata"] = {
    key: qgis.utils.pluginMetadata("geoseg_processing", key) for key in ("name", "version", "qgisMinimumVersion")
}
provider = QgsApplication.processingRegistry().providerById("geoseg")
told["algorithms"] = sorted(algorithm.name() for algorithm in provider.algorithms())


class Feedback(QgsProcessingFeedback):
    """Remembers what is said; cancels at a step when it is told to."""

    def __init__(self, cancel_at: str = "") -> None:
        super().__init__(False)
        self.lines, self.shares, self.cancel_at = [], [], cancel_at
        self.progressChanged.connect(self.shares.append)

    def _say(self, text: str) -> None:
        self.lines.append(text)
        if self.cancel_at and self.cancel_at in text:
            self.cancel()

    def pushInfo(self, text: str) -> None:
        self._say(text)

    def pushWarning(self, text: str) -> None:
        self._say(text)

    def setProgressText(self, text: str) -> None:
        self._say(text)

    def pushCommandInfo(self, text: str) -> None:
        self._say(text)

    def reportError(self, text: str, fatalError: bool = False) -> None:
        self._say(text)


def fails(name: str, parameters: dict) -> str:
    """What an algorithm says when it fails."""
    try:
        processing.run(name, parameters, feedback=Feedback())
    except Exception as error:
        return str(error)
    return ""


def tree(node: QgsLayerTreeGroup) -> list:
    """Names of layers and groups."""
    return [
        [child.name(), tree(child)] if isinstance(child, QgsLayerTreeGroup) else child.name()
        for child in node.children()
    ]


def run() -> None:
    """Map a part of the scene, and look at what comes into the project."""
    layer = QgsRasterLayer(scene, "scene")
    QgsProject.instance().addMapLayer(layer)
    left, bottom = layer.extent().xMinimum(), layer.extent().yMinimum()
    extent = f"{left + 1000},{left + 4000},{bottom + 1000},{bottom + 4000} [{layer.crs().authid()}]"
    feedback = Feedback()
    parameters = {"INPUT": [layer], "MODEL": "sentinel2-land-cover", "EXTENT": extent, "OUTPUT": str(folder / "first")}
    results = processing.runAndLoadResults("geoseg:run", {**parameters, "MIN_AREA": 500.0}, feedback=feedback)
    told["run"] = {"results": results, "lines": feedback.lines, "share": max(feedback.shares, default=0)}
    told["tree"] = tree(QgsProject.instance().layerTreeRoot())
    named = {item.name(): item for item in QgsProject.instance().mapLayers().values()}
    labels, polygons = named["labels"], named["land_use"]
    told["raster legend"] = [[item.label, item.color.name()] for item in labels.renderer().classes()]
    told["polygon legend"] = [[item.label(), item.symbol().color().name()] for item in polygons.renderer().categories()]
    told["features"] = polygons.featureCount()
    for name, shown in (("labels.png", [labels]), ("polygons.png", [polygons]), ("map.png", [polygons, layer])):
        settings = QgsMapSettings()
        settings.setLayers(shown)
        settings.setDestinationCrs(labels.crs())
        settings.setExtent(QgsRectangle(left + 1000, bottom + 1000, left + 4000, bottom + 4000))
        settings.setOutputSize(QSize(300, 300))
        settings.setFlag(QgsMapSettings.Antialiasing, False)
        job = QgsMapRendererSequentialJob(settings)
        job.start()
        job.waitForFinished()
        job.renderedImage().save(str(folder / name))


def others() -> None:
    """Go on from the labels: polygons of a selection, scores, changes, a picture."""
    labels = told["run"]["results"]["LABELS"]
    raster = QgsRasterLayer(labels, "labels")
    box = raster.extent()
    zones = QgsVectorLayer(f"Polygon?crs={raster.crs().authid()}", "zones", "memory")
    half = QgsRectangle(box.xMinimum(), box.yMinimum(), box.center().x(), box.yMaximum())
    for part in (half, box):
        feature = QgsFeature()
        feature.setGeometry(QgsGeometry.fromRect(part))
        zones.dataProvider().addFeature(feature)
    QgsProject.instance().addMapLayer(zones)
    zones.selectByIds([1])
    told["half"] = [half.xMinimum(), half.yMinimum(), half.xMaximum(), half.yMaximum()]
    selected = QgsProcessingFeatureSourceDefinition(zones.id(), selectedFeaturesOnly=True)
    output = str(folder / "half.gpkg")
    told["polygonize"] = processing.run(
        "geoseg:polygonize", {"INPUT": labels, "REGION": selected, "OUTPUT": output, "LAYER": "half"}
    )
    features = f"{told['run']['results']['FEATURES']}|layername=land_use"
    told["evaluate"] = processing.run(
        "geoseg:evaluate", {"PREDICTION": labels, "TRUTH": features, "OUTPUT": str(folder / "scores.json")}
    )
    told["compare"] = processing.run(
        "geoseg:compare", {"FIRST": labels, "SECOND": labels, "OUTPUT": str(folder / "changes.gpkg")}
    )
    told["sieve"] = processing.run(
        "geoseg:sieve", {"INPUT": labels, "MIN_AREA": 2000, "OUTPUT": str(folder / "sieved.tif")}
    )
    told["areas"] = processing.run(
        "geoseg:areas", {"INPUT": labels, "ZONES": zones, "UNIT": "km2", "OUTPUT": str(folder / "areas.csv")}
    )
    told["sample"] = processing.run(
        "geoseg:sample", {"INPUT": labels, "SIZE": 40, "MINIMUM": 3, "OUTPUT": str(folder / "points.gpkg")}
    )
    told["preview"] = processing.run("geoseg:preview", {"RUN": str(folder / "first"), "OUTPUT": str(folder / "p.jpg")})
    told["models"] = processing.run("geoseg:models", {})["TEXT"]
    told["plan"] = processing.run("geoseg:plan", {"INPUT": [scene], "MODEL": "sentinel2-land-cover"})["TEXT"]


def failures() -> None:
    """What is said where something is wrong, and what a cancelled run leaves."""
    parameters = {"INPUT": [scene], "OUTPUT": str(folder / "wrong")}
    told["no model"] = fails("geoseg:run", parameters)
    told["wrong model"] = fails("geoseg:run", {**parameters, "MODEL": "sentinel2-land-cove"})
    web = QgsRasterLayer("type=xyz&url=https://host.invalid/%7Bz%7D/%7Bx%7D/%7By%7D.png&zmax=19", "web", "wms")
    from geoseg_processing.layers import source_of

    told["tiles"] = source_of(web)
    command = {"INPUT": [scene], "MODEL": "sentinel2-land-cover", "OUTPUT": str(folder / "cancelled")}
    feedback = Feedback("watch it at")
    told["cancelled"] = [processing.run("geoseg:run", dict(command), feedback=feedback), feedback.lines]
    feedback = Feedback()
    told["continued"] = [processing.run("geoseg:run", dict(command), feedback=feedback), feedback.lines]
    from processing.core.ProcessingConfig import ProcessingConfig

    ProcessingConfig.setSettingValue("GEOSEG_COMMAND", "/nowhere/geoseg")
    told["no command"] = fails("geoseg:models", {})


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    run()
    others()
    failures()
qgis.utils.unloadPlugin("geoseg_processing")
told["left"] = QgsApplication.processingRegistry().providerById("geoseg") is not None
(folder / "told.json").write_text(json.dumps(told))
