"""Colours for QGIS: a style made from classes, in the GeoPackage or beside any other file, of polygons or of a raster.

QML is what QGIS itself saves for a layer (https://docs.qgis.org/latest/en/docs/user_manual/appendices/
qgis_file_formats.html), SLD 1.1 with Symbology Encoding is what map servers read (OGC 05-078r4, 05-077r4). It knows
classes and names of layers; nothing of features.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from geoseg.errors import VectorError

COLUMN = "class"
"""The column that says which colour a feature has, unless a class names another."""

QGIS = "3.28.0-Firenze"
"""The version whose QML this is; later ones read it."""

NAMESPACES = {
    "xmlns": "http://www.opengis.net/sld",
    "xmlns:se": "http://www.opengis.net/se",
    "xmlns:ogc": "http://www.opengis.net/ogc",
}
"""Of a styled layer descriptor."""

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, section 2.2."""

_TABLE = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
    f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)"""
"""As QGIS makes it. The catalog and the schema have to be empty texts: QGIS does not find NULL."""

_CONTENT = "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) VALUES (?, 'attributes', ?, 0)"
_OWN = "Colours of the classes"
"""The description of styles that are written here; others are somebody's work, and stay."""

_MARK = "<!-- written by geoseg, and again by its next run; a style that QGIS saves here stays -->\n"

_CLR_MARK = "# written by geoseg, and again by its next run\n"

_STYLE = """
INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName,
                          styleQML, styleSLD, useAsDefault, description, owner)
SELECT '', '', table_name, column_name, ?2, ?3, ?4,
       NOT EXISTS (SELECT * FROM layer_styles WHERE f_table_name = ?1 COLLATE NOCASE AND useAsDefault), ?5, ''
FROM gpkg_geometry_columns WHERE table_name = ?1"""


@dataclass(frozen=True)
class StyledClass:
    """A class as a map shows it.

    Attributes
    ----------
    value : int or str
        In the column.
    name : str
        In the legend.
    color : str
        ``"#rrggbb"``.
    column : str
        The column that says which colour a feature has; all classes of a style have the same.
    is_thing : bool
        Whether its features are objects, which stay apart on the map where they touch: their outlines are darker.

    Raises
    ------
    VectorError
        The colour is not written so.
    """

    value: int | str
    name: str
    color: str
    column: str = COLUMN
    is_thing: bool = False

    @property
    def outline(self) -> str:
        """Colour of the outlines."""
        parts = bytes.fromhex(self.color[1:])
        return f"#{bytes(part // 2 for part in parts).hex()}" if self.is_thing else self.color

    def __post_init__(self) -> None:
        if not _COLOR.fullmatch(self.color):
            raise VectorError(f"the colour '{self.color}' of class '{self.name}' is not known; write it like #1a9850")


def write_qml(path: Path, classes: Sequence[StyledClass]) -> None:
    """Write the style that QGIS finds beside a file.

    Parameters
    ----------
    path : Path
        The file with the ending .qml.
    classes : sequence of StyledClass
        In the order of the legend.
    """
    path.write_text(qml(classes) + _MARK, encoding="utf-8")


def write_raster_qml(path: Path, classes: Sequence[StyledClass]) -> None:
    """Write the style in which QGIS opens a raster of labels: its colour table has 256 entries, the legend the classes.

    Parameters
    ----------
    path : Path
        The raster's path with the ending .qml.
    classes : sequence of StyledClass
        In the order of the legend; their values are integers.
    """
    root = Element("qgis", version=QGIS, styleCategories="Symbology")
    renderer = SubElement(
        SubElement(root, "pipe"), "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1",
        nodataColor="",
    )  # fmt: skip
    palette = SubElement(renderer, "colorPalette")
    for item in classes:
        SubElement(
            palette, "paletteEntry", value=str(item.value), color=item.color, alpha="255", label=_text(item.name)
        )
    SubElement(root, "blendMode").text = "0"
    path.write_text(_document(root) + _MARK, encoding="utf-8")


def write_clr(path: Path, classes: Sequence[StyledClass]) -> None:
    """Write the colours of a raster of labels as a colormap file of Esri: a line of value, red, green and blue a class.

    Parameters
    ----------
    path : Path
        The raster's path with the ending .clr.
    classes : sequence of StyledClass
        Their values are integers.
    """
    lines = [f"{item.value} {' '.join(map(str, bytes.fromhex(item.color[1:])))}\n" for item in classes]
    path.write_text("".join([_CLR_MARK, *lines]), encoding="ascii")


def is_own(path: Path) -> bool:
    """Say whether a style beside a file may be replaced: there is none, or one that was written here."""
    if not path.is_file():  # a folder of that name stays
        return not path.exists()
    text = path.read_text(encoding="utf-8", errors="replace")
    return text.endswith(_MARK) or text.startswith(_CLR_MARK)


def put_style(connection: sqlite3.Connection, layer: str, classes: Sequence[StyledClass] | None) -> None:
    """Write the style that QGIS opens a layer of a GeoPackage in, unless somebody has saved one for it.

    Parameters
    ----------
    connection : sqlite3.Connection
        To the GeoPackage; the table ``layer_styles`` is made where there is none.
    layer : str
        A layer in it, whose style of an earlier time goes.
    classes : sequence of StyledClass, optional
        In the order of the legend; without them the layer has no style of ours.
    """
    is_there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'layer_styles'").fetchone()
    if is_there:
        connection.execute(
            "DELETE FROM layer_styles WHERE f_table_name = ? COLLATE NOCASE AND description = ?", (layer, _OWN)
        )
    if classes is None:
        return
    if not is_there:
        connection.execute(_TABLE)
        connection.execute(_CONTENT, ("layer_styles", "layer_styles"))
    connection.execute(_STYLE, (layer, layer[:30], qml(classes), sld(layer, classes), _OWN))


def qml(classes: Sequence[StyledClass]) -> str:
    """Write a style of categories as QGIS saves it.

    Outlines have the colour of their polygon, those of objects a darker one, and the width of a device pixel: without
    them the background would shine through between neighbours, because each edge is drawn half transparent from both
    sides.

    Parameters
    ----------
    classes : sequence of StyledClass
        In the order of the legend.

    Returns
    -------
    str
        XML.
    """
    root = Element("qgis", version=QGIS, styleCategories="Symbology")
    column = next((item.column for item in classes), COLUMN)
    renderer = SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr=column, symbollevels="0", enableorderby="0",
        forceraster="0", referencescale="-1",
    )  # fmt: skip
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for number, item in enumerate(classes):
        kind = "long" if isinstance(item.value, int) else "string"
        SubElement(
            categories, "category", value=str(item.value), type=kind, label=_text(item.name), symbol=str(number),
            render="true",
        )  # fmt: skip
        symbols.append(_qml_symbol(str(number), item))
    SubElement(renderer, "rotation")
    SubElement(renderer, "sizescale")
    SubElement(root, "blendMode").text = "0"
    SubElement(root, "featureBlendMode").text = "0"
    SubElement(root, "layerOpacity").text = "1"
    SubElement(root, "layerGeometryType").text = "2"
    return _document(root)


def _document(root: Element) -> str:
    """A style as QGIS saves it."""
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + _xml(root)


def sld(layer: str, classes: Sequence[StyledClass]) -> str:
    """Write a style of rules, one for each class, with the same look.

    Parameters
    ----------
    layer : str
        Name of the layer.
    classes : sequence of StyledClass
        In the order of the legend.

    Returns
    -------
    str
        XML.
    """
    root = Element("StyledLayerDescriptor", NAMESPACES, version="1.1.0")
    named = SubElement(root, "NamedLayer")
    SubElement(named, "se:Name").text = _text(layer)
    style = SubElement(named, "UserStyle")
    SubElement(style, "se:Name").text = _text(layer)
    rules = SubElement(style, "se:FeatureTypeStyle")
    for item in classes:
        rules.append(_sld_rule(item))
    return _xml(root)


def _qml_symbol(name: str, item: StyledClass) -> Element:
    """A plain fill."""
    fill, line = (",".join(map(str, bytes.fromhex(color[1:]))) + ",255" for color in (item.color, item.outline))
    symbol = Element("symbol", type="fill", name=name, alpha="1", clip_to_extent="1", force_rhr="0")
    layer = SubElement(symbol, "layer", {"class": "SimpleFill"}, enabled="1", locked="0")
    layer.set("pass", "0")
    options = SubElement(layer, "Option", type="Map")
    values = {"color": fill, "style": "solid", "joinstyle": "bevel"}
    values |= {"outline_color": line, "outline_style": "solid", "outline_width": "0", "outline_width_unit": "MM"}
    for key, value in values.items():
        SubElement(options, "Option", name=key, type="QString", value=value)
    return symbol


def _sld_rule(item: StyledClass) -> Element:
    """Fill and outline of the features of one class."""
    rule = Element("se:Rule")
    SubElement(rule, "se:Name").text = _text(item.name)
    is_class = SubElement(SubElement(rule, "ogc:Filter"), "ogc:PropertyIsEqualTo")
    SubElement(is_class, "ogc:PropertyName").text = item.column
    SubElement(is_class, "ogc:Literal").text = str(item.value)
    symbolizer = SubElement(rule, "se:PolygonSymbolizer")
    fill, stroke = SubElement(symbolizer, "se:Fill"), SubElement(symbolizer, "se:Stroke")
    SubElement(fill, "se:SvgParameter", name="fill").text = item.color
    SubElement(stroke, "se:SvgParameter", name="stroke").text = item.outline
    SubElement(stroke, "se:SvgParameter", name="stroke-width").text = "1"
    return rule


def _text(text: str) -> str:
    return _NOT_XML.sub("", text)


def _xml(root: Element) -> str:
    """The text of a document."""
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="unicode") + "\n"
