"""Styles as QGIS writes and finds them, in a GeoPackage and beside files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import OutputError, VectorError
from geoseg.vector import COLUMNS, FORMATS, StyledClass, styles, write_features

UTM = "EPSG:32618"
CLASSES = [StyledClass(3, "Wässer & 水", "#1A9850"), StyledClass(-1, 'Town "old" <x>', "#ff0000")]
SLD = {"sld": "http://www.opengis.net/sld", "se": "http://www.opengis.net/se", "ogc": "http://www.opengis.net/ogc"}

colors = st.from_regex(r"#[0-9a-fA-F]{6}", fullmatch=True)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))
some_classes = st.lists(st.builds(StyledClass, st.integers(-(2**31), 2**31 - 1), names, colors), max_size=5)


def squares() -> pa.Table:
    geometry = shapely.to_wkb([shapely.box(4e5 + 30 * i, 41e5, 4e5 + 30 * i + 30, 41e5 + 30) for i in range(2)])
    table = pa.table({"class": [3, -1], "name": ["water", "town"], "geometry": pa.array(geometry, pa.binary())})
    for name in COLUMNS:
        if name not in table.column_names:
            table = table.append_column(name, pa.array([1, 2]))
    return table


def write(path: Path, style: list[StyledClass] | None = CLASSES, layer: str = "land_use") -> Path:
    write_features(path, [squares()], layer=layer, crs=UTM, style=style)
    return path


def parse(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 - written a moment ago


def legend(qml: str) -> list[tuple[str | None, ...]]:
    """Value, label, fill and outline of each category, as QGIS finds them: by the name of the symbol."""
    root = parse(qml)
    (renderer,) = root.findall("renderer-v2")
    assert (root.tag, renderer.get("type"), renderer.get("attr")) == ("qgis", "categorizedSymbol", "class")
    found = []
    for category in renderer.findall("categories/category"):
        assert (category.get("render"), category.get("type")) == ("true", "long")
        (symbol,) = renderer.findall(f"symbols/symbol[@name='{category.get('symbol')}']")
        (layer,) = symbol.findall("layer")
        assert (symbol.get("type"), layer.get("class"), layer.get("enabled")) == ("fill", "SimpleFill", "1")
        assert layer.find("Option").get("type") == "Map"
        options = {option.get("name"): option.get("value") for option in layer.findall("Option/Option")}
        assert (options["style"], options["outline_style"], options["outline_width"]) == ("solid", "solid", "0")
        found.append((category.get("value"), category.get("label"), options["color"], options["outline_color"]))
    return found


def rgba(color: str) -> str:
    return f"{int(color[1:3], 16)},{int(color[3:5], 16)},{int(color[5:], 16)},255"


@given(some_classes)
def test_qml_has_a_category_in_its_colour_for_each_class(classes: list[StyledClass]) -> None:
    text = styles.qml(classes)
    assert text.startswith("<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n<qgis version=\"3.")
    expected = [(str(item.value), item.name, rgba(item.color), rgba(item.outline)) for item in classes]
    assert legend(text) == expected


@given(some_classes, names)
def test_sld_has_a_rule_for_each_class(classes: list[StyledClass], layer: str) -> None:
    root = parse(styles.sld(layer, classes))
    assert (root.tag, root.get("version")) == (f"{{{SLD['sld']}}}StyledLayerDescriptor", "1.1.0")
    (named,) = root.findall("sld:NamedLayer", SLD)
    assert named.findtext("se:Name", namespaces=SLD) == layer
    rules = named.findall("sld:UserStyle/se:FeatureTypeStyle/se:Rule", SLD)
    for rule, item in zip(rules, classes, strict=True):
        assert rule.findtext("se:Name", namespaces=SLD) == item.name
        assert rule.findtext("ogc:Filter/ogc:PropertyIsEqualTo/ogc:PropertyName", namespaces=SLD) == "class"
        assert rule.findtext("ogc:Filter/ogc:PropertyIsEqualTo/ogc:Literal", namespaces=SLD) == str(item.value)
        assert [child.tag.rpartition("}")[2] for child in rule] == ["Name", "Filter", "PolygonSymbolizer"]
        fill = rule.find("se:PolygonSymbolizer/se:Fill/se:SvgParameter", SLD)
        assert (fill.get("name"), fill.text) == ("fill", item.color)


def test_objects_that_touch_have_outlines_of_their_own() -> None:
    house, field = StyledClass(1, "house", "#c4281b", is_thing=True), StyledClass(2, "field", "#1a9850")
    assert [row[2:] for row in legend(styles.qml([house, field]))] == [
        ("196,40,27,255", "98,20,13,255"),
        ("26,152,80,255", "26,152,80,255"),
    ]
    strokes = [
        element.text for element in parse(styles.sld("a", [house, field])).iter() if element.get("name") == "stroke"
    ]
    assert strokes == ["#62140d", "#1a9850"]


def test_characters_that_xml_cannot_hold_are_left_out() -> None:
    classes = [StyledClass(1, "a\x00b\x1b\ud800c\ufffe", "#000000")]
    assert legend(styles.qml(classes))[0][1] == "abc"
    assert parse(styles.sld("\x07layer", classes))[0][0].text == "layer"


@pytest.mark.parametrize("color", ["red", "#fff", "#12345g", "123456", "#1234567", "#123456\n"])
def test_a_colour_that_is_written_otherwise_is_refused(color: str) -> None:
    with pytest.raises(VectorError, match="class 'Water' is not known; write it like #1a9850"):
        StyledClass(1, "Water", color)


def test_a_geopackage_opens_in_colour(tmp_path: Path) -> None:
    """The query is that of QGIS; the columns are those of its table."""
    path = write(tmp_path / "land.gpkg")
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute(
            "SELECT * FROM layer_styles WHERE f_table_catalog = '' AND f_table_schema = '' AND f_table_name = ?"
            " AND f_geometry_column = (SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?)"
            " ORDER BY useAsDefault DESC",
            ("land_use", "land_use"),
        ).fetchall()
        contents = dict(connection.execute("SELECT table_name, data_type FROM gpkg_contents").fetchall())
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    (style,) = found
    assert style.keys() == [
        "id", "f_table_catalog", "f_table_schema", "f_table_name", "f_geometry_column", "styleName", "styleQML",
        "styleSLD", "useAsDefault", "description", "owner", "ui", "update_time",
    ]  # fmt: skip
    assert (style["styleName"], style["useAsDefault"]) == ("land_use", 1)
    assert style["update_time"].endswith("Z")
    assert style["styleQML"] == styles.qml(CLASSES)
    assert style["styleSLD"] == styles.sld("land_use", CLASSES)
    assert contents == {"land_use": "features", "layer_styles": "attributes"}
    assert not path.with_suffix(".qml").exists()


def test_gdal_reads_the_layer_first_and_the_styles_as_a_table(tmp_path: Path) -> None:
    path = write(tmp_path / "land.gpkg", layer="a layer with a name of more than thirty letters")
    assert pyogrio.list_layers(path).tolist() == [
        ["a layer with a name of more than thirty letters", "Polygon"],
        ["layer_styles", None],
    ]
    found = pyogrio.read_dataframe(path, layer="layer_styles")
    assert found["styleName"].tolist() == ["a layer with a name of more th"]
    assert pyogrio.read_info(path, layer=0)["capabilities"]["fast_spatial_filter"]


@pytest.mark.parametrize("ending", [ending for ending in FORMATS if ending != ".gpkg"])
def test_other_formats_have_their_style_beside_them(tmp_path: Path, ending: str) -> None:
    write(tmp_path / f"land{ending}")
    assert legend((tmp_path / "land.qml").read_text(encoding="utf-8")) == [
        ("3", "Wässer & 水", "26,152,80,255", "26,152,80,255"),
        ("-1", 'Town "old" <x>', "255,0,0,255", "255,0,0,255"),
    ]


@pytest.mark.parametrize("ending", FORMATS)
def test_without_a_style_there_is_none_and_one_that_is_there_stays(tmp_path: Path, ending: str) -> None:
    (tmp_path / "land.qml").write_text("by hand")
    path = write(tmp_path / f"land{ending}", style=None)
    assert (tmp_path / "land.qml").read_text() == "by hand"
    if ending == ".gpkg":
        assert pyogrio.list_layers(path).tolist() == [["land_use", "Polygon"]]


def test_a_style_that_somebody_saved_beside_a_file_stays(tmp_path: Path) -> None:
    write(tmp_path / "land.fgb")
    saved = (tmp_path / "land.qml").read_text(encoding="utf-8").split("<!--")[0]  # QGIS writes no comment
    (tmp_path / "land.qml").write_text(saved, encoding="utf-8")
    write(tmp_path / "land.fgb", style=CLASSES[:1])
    assert (tmp_path / "land.qml").read_text(encoding="utf-8") == saved


def test_a_style_moves_with_its_file_or_not_at_all(tmp_path: Path) -> None:
    write(tmp_path / "land.fgb")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(VectorError, match="no column"):
        write_features(tmp_path / "land.fgb", [squares().drop_columns("name")], layer="a", crs=UTM, style=CLASSES[:1])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    write(tmp_path / "land.fgb", style=CLASSES[:1])
    assert len(legend((tmp_path / "land.qml").read_text(encoding="utf-8"))) == 1


def test_a_style_needs_the_column_it_colours_by(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="needs the column 'class'"):
        write_features(tmp_path / "land.gpkg", [squares()], layer="a", crs=UTM, columns={"name": "str"}, style=CLASSES)


def test_a_geopackage_that_cannot_take_the_style_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(styles, "_TABLE", "CREATE TABLE gpkg_contents (a)")
    with pytest.raises(OutputError, match="already exists"):
        write(tmp_path / "land.gpkg")
    assert list(tmp_path.iterdir()) == []
