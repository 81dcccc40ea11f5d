"""The plugin and its provider: which algorithms there are, and the setting that says where geoseg is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsApplication, QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms import ALGORITHMS, COMMAND

GROUP = "geoseg"
"""Heading of the settings."""


class Provider(QgsProcessingProvider):
    """The commands of geoseg in the Processing toolbox."""

    def id(self) -> str:
        """Before the colon in names of algorithms, such as ``geoseg:run``."""
        return "geoseg"

    def name(self) -> str:
        """In the toolbox."""
        return "geoseg"

    def longName(self) -> str:  # noqa: N802 - as QGIS calls it
        """Where there is room."""
        return "geoseg: segmentation of imagery of any size"

    def icon(self) -> QIcon:
        """Beside the name."""
        return QIcon(str(Path(__file__).with_name("icon.svg")))

    def load(self) -> bool:
        """Add the setting, and the algorithms."""
        ProcessingConfig.settingIcons[GROUP] = self.icon()
        told = "Path of the geoseg command (empty: looked for on PATH)"
        ProcessingConfig.addSetting(Setting(GROUP, COMMAND, told, "", valuetype=Setting.STRING))
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        """Take the setting away."""
        ProcessingConfig.removeSetting(COMMAND)

    def loadAlgorithms(self) -> None:  # noqa: N802 - as QGIS calls it
        """Add the algorithms."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())


class Plugin:
    """What QGIS loads; `iface` is its window, or None in qgis_process."""

    def __init__(self, iface: Any) -> None:
        self.iface, self.provider = iface, None

    def initProcessing(self) -> None:  # noqa: N802 - as QGIS calls it
        """Add the provider; qgis_process calls only this."""
        self.provider = Provider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:  # noqa: N802 - as QGIS calls it
        """Begin with QGIS' window."""
        self.initProcessing()

    def unload(self) -> None:
        """End."""
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
