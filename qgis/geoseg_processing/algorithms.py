"""The algorithms: what each asks for, the command that it runs, and what comes of it.

Options that only pass through are read from ``commands.json``, which is made of geoseg's own table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from . import layers
from .command import CancelledError, CommandError, Line, commands, find_command, run_command, words_of

COMMAND = "GEOSEG_COMMAND"
"""Name of the setting that says where geoseg is."""

FORMATS = ";;".join(
    f"{name} (*.{ending})"
    for name, ending in (
        ("GeoPackage", "gpkg"),
        ("GeoParquet", "parquet"),
        ("FlatGeobuf", "fgb"),
        ("GeoJSON", "geojson"),
        ("Shapefile", "shp"),
    )
)
"""Formats of polygons, as a dialogue of QGIS lists them."""

Parameters = dict[str, Any]


class Algorithm(QgsProcessingAlgorithm):
    """A command of geoseg; each subclass is one."""

    command, title = "", ""

    def name(self) -> str:
        """After the colon, such as ``run``."""
        return self.command

    def displayName(self) -> str:  # noqa: N802 - as QGIS calls it
        """In the toolbox."""
        return self.title

    def shortHelpString(self) -> str:  # noqa: N802 - as QGIS calls it
        """Beside the parameters."""
        return str(commands()[self.command]["help"])

    def createInstance(self) -> Algorithm:  # noqa: N802 - as QGIS calls it
        """Return a new one."""
        return type(self)()

    def initAlgorithm(self, configuration: Parameters | None = None) -> None:  # noqa: ARG002, N802 - as QGIS calls it
        """Add the parameters: the command's own, then its options as advanced ones."""
        self.add_own()
        for option in commands()[self.command]["options"]:
            self.addParameter(_parameter(option))

    def add_own(self) -> None:
        """Add the parameters that are layers, files or places."""

    def words(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """Return the arguments of those."""
        raise NotImplementedError

    def results(self, files: list[str], parameters: Parameters, context: QgsProcessingContext) -> Parameters:
        """Return the outputs, and load what is a layer: by default the one file ``OUTPUT``, where ``LOAD`` says so.

        Parameters
        ----------
        files : list of str
            What the command says that it has written.
        parameters : dict
            As they were given.
        context : QgsProcessingContext
            Of the algorithm.
        """
        del files
        if self.parameterDefinition("OUTPUT") is None:
            return {}
        output = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        if self.parameterDefinition("LOAD") is not None and self.parameterAsBool(parameters, "LOAD", context):
            has_layer = self.parameterDefinition("LAYER") is not None
            layer = self.parameterAsString(parameters, "LAYER", context) if has_layer else ""
            layers.load([output], Path(output).stem, layer, context)
        return {"OUTPUT": output}

    def processAlgorithm(  # noqa: N802 - as QGIS calls it
        self, parameters: Parameters, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> Parameters:
        """Run the command, and tell how far it is."""
        options = commands()[self.command]["options"]
        given = {option["name"]: self._value(option, parameters, context) for option in options}
        words = [self.command, *self.words(parameters, context), *words_of(options, given)]
        files, said = list[str](), list[str]()

        def tell(line: Line) -> None:
            said.append(line.text)
            (feedback.pushWarning if line.is_error else feedback.pushInfo)(line.text)

        def hear(event: dict[str, Any]) -> None:
            files.extend(map(str, event.get("files") or ()))
            _tell_event(event, feedback)

        try:
            command = find_command(str(ProcessingConfig.getSetting(COMMAND) or ""))
            feedback.pushCommandInfo(" ".join([command, *words]))
            run_command([command, *words], tell=tell, hear=hear, is_cancelled=feedback.isCanceled)
        except CommandError as error:
            where = "Settings > Options > Processing > Providers > geoseg"
            told = f"{error} in {where}" if str(error).endswith(("choose it", "choose another one")) else str(error)
            raise QgsProcessingException(told) from error
        except CancelledError:
            feedback.pushInfo("cancelled; finished blocks stay, and the same parameters continue from there")
            return {}
        return {**self.results(files, parameters, context), "TEXT": "\n".join(said)}

    def _value(self, option: dict[str, Any], parameters: Parameters, context: QgsProcessingContext) -> Any:
        """What was given for an option; None where nothing was."""
        name = option["name"].upper()
        if parameters.get(name, self.parameterDefinition(name).defaultValue()) is None:
            return None
        kinds = {
            "flag": self.parameterAsBool,
            "choice": self.parameterAsEnumString,
            "integer": self.parameterAsInt,
            "number": self.parameterAsDouble,
        }
        return kinds.get(option["kind"], self.parameterAsString)(parameters, name, context)


def _parameter(option: dict[str, Any]) -> QgsProcessingParameterDefinition:
    """An advanced parameter of an option."""
    name, kind, default = option["name"].upper(), option["kind"], option["default"]
    label = option["name"].replace("_", " ").capitalize()
    if kind == "flag":
        parameter = QgsProcessingParameterBoolean(name, label, default)
    elif kind == "choice":
        parameter = QgsProcessingParameterEnum(
            name, label, option["choices"], defaultValue=default, optional=True, usesStaticStrings=True
        )
    elif kind in ("integer", "number"):
        numbers = QgsProcessingParameterNumber
        how = numbers.Integer if kind == "integer" else numbers.Double
        parameter = numbers(name, label, how, default, optional=True)
    else:
        label += " (one a line)" if option["repeated"] else ""
        parameter = QgsProcessingParameterString(name, label, default, multiLine=option["repeated"], optional=True)
    parameter.setHelp(option["help"])
    parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return parameter


def _tell_event(event: dict[str, Any], feedback: QgsProcessingFeedback) -> None:
    """Show what the command says of itself."""
    kind = event["event"]
    if kind == "started":
        feedback.setProgressText(str(event["title"]))
        if event.get("page"):
            feedback.pushInfo(f"watch it at {event['page']}")
    elif kind == "progress":
        feedback.setProgress(100 * float(event["share"]))
    elif kind == "writing":
        feedback.setProgressText(f"writing {event['path']}")
    elif kind == "block" and event["status"] == "failed":
        feedback.pushWarning(f"block {event['place']}: {event['message']}")
    elif kind == "result" and event.get("note"):
        feedback.pushInfo(str(event["note"]))


class _Places(Algorithm):
    """What reads a place on earth."""

    def add_region(self) -> None:
        """Add an extent and a layer of polygons, of which one may be given."""
        self.addParameter(QgsProcessingParameterExtent("EXTENT", "Extent to process", optional=True))
        kinds = [QgsProcessing.TypeVectorPolygon]
        self.addParameter(QgsProcessingParameterFeatureSource("REGION", "Polygons to process", kinds, optional=True))

    def region(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """Return the option of the region that was given."""
        source = self.parameterAsSource(parameters, "REGION", context)
        if source is not None:
            return ["--region", layers.write_region(source, context)]
        extent = self.parameterAsExtent(parameters, "EXTENT", context)
        if extent.isNull():
            return []
        crs = self.parameterAsExtentCrs(parameters, "EXTENT", context)
        if not crs.authid() or crs.authid().startswith("USER:"):
            crs = QgsCoordinateReferenceSystem("EPSG:4326")
            extent = self.parameterAsExtent(parameters, "EXTENT", context, crs)
        return ["--region", layers.bounds_of(extent, crs)]


class Run(_Places):
    """Map imagery."""

    command, title = "run", "Map imagery"

    def add_own(self) -> None:
        """See `Algorithm`."""
        kinds = QgsProcessing.TypeRaster
        self.addParameter(QgsProcessingParameterMultipleLayers("INPUT", "Imagery", kinds, optional=True))
        model = QgsProcessingParameterString("MODEL", "Model", optional=True)
        model.setHelp(commands()["run"]["model"])
        self.addParameter(model)
        self.addParameter(
            QgsProcessingParameterFile("WORKFLOW", "Workflow, in place of a model", extension="yaml", optional=True)
        )
        self.add_region()
        if self.command == "run":
            self.addParameter(QgsProcessingParameterFolderDestination("OUTPUT", "Folder of the run"))
            self.addParameter(QgsProcessingParameterBoolean("LOAD", "Add the results to the project", True))
            for name in ("LABELS", "FEATURES", "REPORT"):
                self.addOutput(QgsProcessingOutputFile(name, name.capitalize()))

    def checkParameterValues(  # noqa: N802 - as QGIS calls it
        self, parameters: Parameters, context: QgsProcessingContext
    ) -> tuple[bool, str]:
        """Ask for a model or a workflow."""
        if not any(self.parameterAsString(parameters, name, context) for name in ("MODEL", "WORKFLOW")):
            return False, "give a model, such as sentinel2-land-cover, or a workflow"
        return super().checkParameterValues(parameters, context)

    def words(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """See `Algorithm`."""
        workflow, model = (self.parameterAsString(parameters, name, context) for name in ("WORKFLOW", "MODEL"))
        words = [workflow] if workflow else []
        for layer in self.parameterAsLayerList(parameters, "INPUT", context) or ():
            words += ["--input", layers.source_of(layer)]
        words += ["--model", model] if model else []
        words += self.region(parameters, context)
        if self.command == "run":
            words += ["--output", self.parameterAsString(parameters, "OUTPUT", context), "--json"]
        return words

    def results(self, files: list[str], parameters: Parameters, context: QgsProcessingContext) -> Parameters:
        """See `Algorithm`."""
        folder = Path(self.parameterAsString(parameters, "OUTPUT", context))
        if self.parameterAsBool(parameters, "LOAD", context):
            name = self.parameterAsString(parameters, "LAYER", context) or "land_use"
            layers.load(files, folder.name, name, context)
        polygons = (file for file in files if Path(file).suffix in layers.VECTORS)
        return {
            "OUTPUT": str(folder),
            "LABELS": next((file for file in files if Path(file).name == "labels.tif"), ""),
            "FEATURES": next(polygons, ""),
            "REPORT": next((file for file in files if Path(file).name == "report.html"), ""),
        }


class Plan(Run):
    """What a run would take."""

    command, title = "plan", "Plan: tiles, memory and time of a run"

    def add_own(self) -> None:
        """See `Algorithm`."""
        super().add_own()
        self.addOutput(QgsProcessingOutputString("TEXT", "Plan"))


class Polygonize(_Places):
    """Turn labels into polygons."""

    command, title = "polygonize", "Polygonize labels"

    def add_own(self) -> None:
        """See `Algorithm`."""
        kinds = [QgsProcessing.TypeRaster]
        self.addParameter(QgsProcessingParameterMapLayer("INPUT", "Classified raster", types=kinds))
        self.add_region()
        formats = (
            "GeoPackage (*.gpkg);;GeoParquet (*.parquet);;FlatGeobuf (*.fgb);;GeoJSON (*.geojson);;Shapefile (*.shp)"
        )
        self.addParameter(QgsProcessingParameterFileDestination("OUTPUT", "Polygons", formats))
        self.addParameter(QgsProcessingParameterBoolean("LOAD", "Add the polygons to the project", True))

    def words(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """See `Algorithm`."""
        layer = self.parameterAsLayer(parameters, "INPUT", context)
        output = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        return [layers.source_of(layer), output, "--json", *self.region(parameters, context)]


class Sieve(_Places):
    """Give labels a minimum mapping unit."""

    command, title = "sieve", "Sieve labels by a minimum mapping unit"

    def add_own(self) -> None:
        """See `Algorithm`."""
        kinds = [QgsProcessing.TypeRaster]
        self.addParameter(QgsProcessingParameterMapLayer("INPUT", "Classified raster", types=kinds))
        self.add_region()
        self.addParameter(QgsProcessingParameterFileDestination("OUTPUT", "Sieved raster", "GeoTIFF (*.tif)"))
        self.addParameter(QgsProcessingParameterBoolean("LOAD", "Add the raster to the project", True))

    def words(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """See `Algorithm`."""
        layer = self.parameterAsLayer(parameters, "INPUT", context)
        output = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        return [layers.source_of(layer), output, "--json", *self.region(parameters, context)]


class _Judged(_Places):
    """What reads two maps, each a raster or polygons."""

    first, second = ("PREDICTION", "Prediction"), ("TRUTH", "Ground truth")

    def add_maps(self) -> None:
        """Add both."""
        kinds = [QgsProcessing.TypeRaster, QgsProcessing.TypeVectorPolygon]
        for name, label in (self.first, self.second):
            self.addParameter(QgsProcessingParameterMapLayer(name, label, types=kinds))
        self.add_region()

    def maps(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """Return the files of both."""
        names = (self.first[0], self.second[0])
        return [layers.source_of(self.parameterAsLayer(parameters, name, context)) for name in names]


class Evaluate(_Judged):
    """Evaluate a map against ground truth."""

    command, title = "evaluate", "Evaluate against ground truth"

    def add_own(self) -> None:
        """See `Algorithm`."""
        self.add_maps()
        self.addParameter(QgsProcessingParameterFileDestination("OUTPUT", "All numbers", "JSON (*.json)"))
        self.addOutput(QgsProcessingOutputString("TEXT", "Scores"))

    def words(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """See `Algorithm`."""
        output = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        return [*self.maps(parameters, context), "--json", output, *self.region(parameters, context)]


class Compare(_Judged):
    """Compare two maps."""

    command, title = "compare", "Compare two maps"
    first, second = ("FIRST", "First map"), ("SECOND", "Second map, of another date or model")

    def add_own(self) -> None:
        """See `Algorithm`."""
        self.add_maps()
        self.addParameter(QgsProcessingParameterFileDestination("OUTPUT", "Changes", "GeoPackage (*.gpkg)"))
        self.addParameter(QgsProcessingParameterBoolean("LOAD", "Add the changes to the project", True))
        self.addOutput(QgsProcessingOutputString("TEXT", "Changes"))

    def words(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """See `Algorithm`."""
        output = self.parameterAsFileOutput(parameters, "OUTPUT", context)
        return [*self.maps(parameters, context), output, *self.region(parameters, context)]


class Areas(Algorithm):
    """Measure the classes of a map."""

    command, title = "areas", "Areas by class and zone"

    def add_own(self) -> None:
        """See `Algorithm`."""
        self.addParameter(QgsProcessingParameterMapLayer("INPUT", "Classes", types=[QgsProcessing.TypeRaster]))
        for name, label, kind in (
            ("ZONES", "Zones", QgsProcessing.TypeVectorPolygon),
            ("SAMPLE", "Points with the class that is there", QgsProcessing.TypeVectorPoint),
        ):
            self.addParameter(QgsProcessingParameterMapLayer(name, label, optional=True, types=[kind]))
        self.addParameter(QgsProcessingParameterFileDestination("OUTPUT", "Table", "CSV (*.csv)"))
        self.addOutput(QgsProcessingOutputString("TEXT", "Areas"))

    def words(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """See `Algorithm`."""
        words = [layers.source_of(self.parameterAsLayer(parameters, "INPUT", context))]
        for name in ("ZONES", "SAMPLE"):
            layer = self.parameterAsLayer(parameters, name, context)
            words += [] if layer is None else [f"--{name.lower()}", layers.source_of(layer)]
        return [*words, "--csv", self.parameterAsFileOutput(parameters, "OUTPUT", context)]


class Sample(Algorithm):
    """Draw points of a map."""

    command, title = "sample", "Sample of points for areas and accuracy"

    def add_own(self) -> None:
        """See `Algorithm`."""
        self.addParameter(QgsProcessingParameterMapLayer("INPUT", "Classes", types=[QgsProcessing.TypeRaster]))
        formats = "GeoPackage (*.gpkg);;GeoJSON (*.geojson)"
        self.addParameter(QgsProcessingParameterFileDestination("OUTPUT", "Points", formats))
        self.addParameter(QgsProcessingParameterBoolean("LOAD", "Add the points to the project", True))

    def words(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """See `Algorithm`."""
        layer = self.parameterAsLayer(parameters, "INPUT", context)
        return [layers.source_of(layer), self.parameterAsFileOutput(parameters, "OUTPUT", context)]


class Preview(Algorithm):
    """Draw a run."""

    command, title = "preview", "Picture of a run"

    def add_own(self) -> None:
        """See `Algorithm`."""
        folder = QgsProcessingParameterFile.Folder
        self.addParameter(QgsProcessingParameterFile("RUN", "Folder of the run", folder))
        formats = "JPEG (*.jpg);;PNG (*.png);;WebP (*.webp);;PDF (*.pdf);;SVG (*.svg)"
        self.addParameter(QgsProcessingParameterFileDestination("OUTPUT", "Picture", formats))

    def words(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """See `Algorithm`."""
        run = self.parameterAsString(parameters, "RUN", context)
        return [run, self.parameterAsFileOutput(parameters, "OUTPUT", context)]


class Models(Algorithm):
    """List the models."""

    command, title = "models", "List models"

    def add_own(self) -> None:
        """See `Algorithm`."""
        self.addOutput(QgsProcessingOutputString("TEXT", "Models"))

    def words(self, parameters: Parameters, context: QgsProcessingContext) -> list[str]:
        """See `Algorithm`."""
        del parameters, context
        return []


ALGORITHMS = (Run, Plan, Polygonize, Sieve, Evaluate, Compare, Areas, Sample, Preview, Models)
"""The algorithms; a new one is a row, and a row of `docs.generate.COMMANDS`."""
