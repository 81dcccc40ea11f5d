"""A layer put into a GeoPackage that holds other people's work, against what SQLite and GDAL say of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyogrio
import pytest
import shapely
from pyproj import CRS

from geoseg.errors import OutputError
from geoseg.vector import StyledClass, geopackage, write_features
from tests.test_vector import UTM, arrow, squares

STYLE = [StyledClass(0, "water", "#0000ff"), StyledClass(1, "trees", "#00ff00")]
SAVED = "INSERT INTO layer_styles (f_table_name, styleName, styleQML, useAsDefault) VALUES ('{}', 'mine', '', 1)"
CONE = CRS.from_proj4("+proj=lcc +lat_1=30 +lat_2=60 +lon_0=5 +ellps=GRS80")
AZIMUTHAL = CRS.from_proj4("+proj=laea +lat_0=40 +lon_0=5 +ellps=GRS80")


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two layers, a table, a view, a trigger, an index, a relation and a saved style, none of them geoseg's."""
    path = tmp_path / "project.gpkg"
    frame = gpd.GeoDataFrame(
        {"owner": ["x", "y"]}, geometry=[shapely.box(0, 0, 5, 5), shapely.box(9, 0, 12, 5)], crs=UTM
    )
    frame.to_file(path, layer="parcels", driver="GPKG")
    frame.to_crs(4326).to_file(path, layer="landcover by hand", driver="GPKG", mode="a")
    write_features(path, [arrow(squares(1))], layer="parcels 2", crs=UTM, style=STYLE)
    execute(
        path,
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)",
        "INSERT INTO notes VALUES (1, 'do not lose this')",
        "CREATE TABLE log (what TEXT)",
        "CREATE TRIGGER watch AFTER INSERT ON notes BEGIN INSERT INTO log VALUES (new.text); END",
        "CREATE VIEW owners AS SELECT owner FROM parcels",
        "CREATE INDEX by_owner ON parcels (owner)",
        SAVED.format("parcels"),
    )
    return path


def rows_of(connection: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    return connection.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608 - a name cannot be a parameter


def everything(path: Path, but: str) -> dict[str, Any]:
    """All that a file holds of other things than a layer."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE tbl_name NOT IN (?1, 'sqlite_sequence')"
            " AND tbl_name NOT LIKE 'rtree_' || ?1 || '_geom%'",
            (but,),
        )
        schema = dict(rows.fetchall())
        tables = [name for name, sql in schema.items() if str(sql).startswith(("CREATE TABLE", "CREATE VIEW"))]
        content = {
            name: sorted((row for row in rows_of(connection, name) if but not in row), key=repr) for name in tables
        }
    return {"schema": schema, "content": content}


def check(path: Path, layer: str, count: int) -> None:
    """The file is sound, and GDAL reads the layer, by its index too, and keeps the index when it writes."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("SELECT rtreecheck(?)", (f"rtree_{layer}_geom",)).fetchall() == [("ok",)]
    frame = pyogrio.read_dataframe(path, layer=layer)
    assert frame.geometry.geom_equals(squares(count, frame.crs).geometry).all()
    assert pyogrio.read_info(path, layer=layer)["features"] == count
    found = pyogrio.read_dataframe(path, layer=layer, bbox=frame.geometry[1].buffer(-1).bounds)
    assert found["class"].tolist() == [1]
    pyogrio.write_dataframe(frame.iloc[1:2], path, layer=layer, append=True)
    assert len(pyogrio.read_dataframe(path, layer=layer, bbox=frame.geometry[1].buffer(-1).bounds)) == 2
    assert pyogrio.read_info(path, layer=layer)["features"] == count + 1


@pytest.mark.parametrize("style", [None, STYLE], ids=["plain", "styled"])
def test_a_layer_comes_into_a_project_and_leaves_all_else_as_it_was(
    project: Path, style: list[StyledClass] | None
) -> None:
    before = everything(project, "landcover")
    for count in (7, 3):
        write_features(project, [arrow(squares(count))], layer="landcover", crs=UTM, style=style)
        assert everything(project, "landcover") == before
        check(project, "landcover", count)
    assert [path.name for path in project.parent.iterdir()] == ["project.gpkg"]


def test_a_project_of_other_software_without_styles_and_counts_takes_the_layer(tmp_path: Path) -> None:
    path = tmp_path / "project.gpkg"
    squares(2).to_file(path, layer="parcels", driver="GPKG")
    execute(
        path,
        "DROP TRIGGER trigger_insert_feature_count_parcels",
        "DROP TRIGGER trigger_delete_feature_count_parcels",
        "DROP TABLE gpkg_ogr_contents",
    )
    write_features(path, [arrow(squares(4))], layer="landcover", crs=UTM, style=STYLE)
    check(path, "landcover", 4)
    assert len(pyogrio.read_dataframe(path, layer="parcels")) == 2


def test_a_layer_is_replaced_whatever_its_case_and_keeps_what_somebody_gave_it(project: Path) -> None:
    write_features(project, [arrow(squares(7))], layer="LandCover", crs=UTM, style=STYLE)
    execute(
        project,
        "CREATE TRIGGER mine AFTER DELETE ON LandCover BEGIN INSERT INTO log VALUES (old.name); END",
        "CREATE INDEX by_name ON LandCover (name)",
        SAVED.format("landcover"),
    )
    write_features(project, [arrow(squares(3))], layer="landcover", crs=UTM, style=STYLE)
    with closing(sqlite3.connect(project)) as connection:
        names = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE tbl_name LIKE 'landcover'")
        }
        styles = connection.execute(
            "SELECT styleName, useAsDefault FROM layer_styles WHERE f_table_name LIKE 'landcover' ORDER BY 2"
        ).fetchall()
        assert connection.execute("SELECT count(*) FROM log").fetchone() == (0,)
    assert {"mine", "by_name"} <= names
    assert styles == [("landcover", 0), ("mine", 1)]
    check(project, "landcover", 3)


@pytest.mark.parametrize("crs", [CONE, CRS("EPSG:32618")], ids=["custom", "EPSG"])
def test_a_crs_has_another_number_in_a_project(tmp_path: Path, crs: CRS) -> None:
    path = tmp_path / "project.gpkg"
    squares(2, AZIMUTHAL).to_file(path, layer="parcels", driver="GPKG")
    execute(
        path,
        "INSERT INTO gpkg_spatial_ref_sys VALUES ('x', 32618, 'NONE', 32618, 'LOCAL_CS[\"x\"]', NULL)",
        "INSERT INTO gpkg_spatial_ref_sys VALUES ('y', 77, 'epsg', 32618, 'LOCAL_CS[\"y\"]', NULL)",
    )
    write_features(path, [arrow(squares(3, crs))], layer="landcover", crs=crs)
    with closing(sqlite3.connect(path)) as connection:
        number, organization = connection.execute(
            "SELECT srs_id, organization FROM gpkg_geometry_columns JOIN gpkg_spatial_ref_sys USING (srs_id)"
            " WHERE table_name = 'landcover'"
        ).fetchone()
        heads = {blob[4:8] for (blob,) in connection.execute("SELECT geom FROM landcover")}
    assert heads == {number.to_bytes(4, "little")}
    assert (number, organization) == ((77, "epsg") if crs.to_epsg() else (100_001, "NONE"))
    assert pyogrio.read_info(path, layer="parcels")["crs"].count('"latitude_of_center",40')
    assert len(pyogrio.read_dataframe(path, layer="landcover")) == 3


def test_what_fails_in_the_middle_leaves_the_project_as_it_was(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_features(project, [arrow(squares(7))], layer="landcover", crs=UTM, style=STYLE)
    before = project.read_bytes()

    def failing(*_: Any) -> Iterator[tuple[str]]:
        yield ("CREATE TRIGGER nonsense",)

    monkeypatch.setattr(geopackage, "_own_triggers", failing)
    with pytest.raises(OutputError, match=r"project\.gpkg' cannot take the layer .*, and is as it was"):
        write_features(project, [arrow(squares(3))], layer="landcover", crs=UTM, style=STYLE)
    assert project.read_bytes() == before
    assert [path.name for path in project.parent.iterdir()] == ["project.gpkg"]


def test_a_program_that_has_the_project_open_keeps_its_work_and_sees_the_layer(project: Path) -> None:
    with closing(sqlite3.connect(project, isolation_level=None)) as qgis:
        qgis.execute("PRAGMA journal_mode = WAL")
        qgis.execute("UPDATE notes SET text = 'edited'")  # lies in the -wal beside the file
        write_features(project, [arrow(squares(3))], layer="landcover", crs=UTM, style=STYLE)
        assert qgis.execute("SELECT count(*) FROM landcover").fetchone() == (3,)
        qgis.execute("INSERT INTO notes VALUES (2, 'afterwards')")
    with closing(sqlite3.connect(project)) as connection:
        assert connection.execute("SELECT text FROM notes").fetchall() == [("edited",), ("afterwards",)]
    check(project, "landcover", 3)


def test_a_program_that_is_writing_is_named_in_the_remedy(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geopackage, "PATIENCE", 0.1)
    with closing(sqlite3.connect(project, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutputError, match="is being written by another program; save and close it there"):
            write_features(project, [arrow(squares(3))], layer="landcover", crs=UTM)


@pytest.mark.parametrize("layer", ["", " ", "layer_styles", "GPKG_contents", "sqlite_x", "rtree_parcels_geom"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_name_that_no_layer_can_have_is_refused(project: Path, layer: str, is_there: bool) -> None:
    path = project if is_there else project.with_name("new.gpkg")
    with pytest.raises(OutputError, match=f"cannot have a layer '{layer}', whose name is empty or reserved; choose"):
        write_features(path, [arrow(squares(3))], layer=layer, crs=UTM)
    assert is_there or not path.exists()


@pytest.mark.parametrize("layer", ["parcels", "Parcels", "notes", "owners"])
def test_what_geoseg_did_not_write_is_never_replaced(project: Path, layer: str) -> None:
    before = project.read_bytes()
    with pytest.raises(OutputError, match=f"has a layer '{layer}' that geoseg did not write; choose another name"):
        write_features(project, [arrow(squares(3))], layer=layer, crs=UTM)
    assert project.read_bytes() == before


def test_a_file_that_is_no_geopackage_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "project.gpkg"
    path.write_text("a person's notes, badly named")
    with pytest.raises(
        OutputError, match=r"project\.gpkg' is there and is no GeoPackage; delete it, or choose another name"
    ):
        write_features(path, [arrow(squares(3))], layer="landcover", crs=UTM)
    execute(tmp_path / "other.gpkg", "CREATE TABLE a (b)")
    with pytest.raises(OutputError, match=r"other\.gpkg' is there and is no GeoPackage"):
        write_features(tmp_path / "other.gpkg", [arrow(squares(3))], layer="landcover", crs=UTM)
    (tmp_path / "empty.gpkg").touch()
    write_features(tmp_path / "empty.gpkg", [arrow(squares(3))], layer="landcover", crs=UTM)
    check(tmp_path / "empty.gpkg", "landcover", 3)
