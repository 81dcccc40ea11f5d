"""QGIS plugin: the commands of geoseg as algorithms of the Processing toolbox."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:  # noqa: N802 - the name that QGIS calls
    """Return the plugin."""
    from .provider import Plugin

    return Plugin(iface)
