"""A layer into a GeoPackage that holds other things: one transaction, of which all that is not the layer knows nothing.

GDAL writes the layer into a file of its own. SQLite then copies it, in the file where it lies and in one transaction:
whoever has the file open, as QGIS does, sees the layer before or after and goes on with his own, and a killed process
leaves what was there. Neither time nor memory depends on what else the file holds.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType

from geoseg.errors import LayerError, OutputError
from geoseg.vector import styles
from geoseg.vector.styles import StyledClass

PATIENCE = 60.0
"""Seconds that another program may be writing to the file."""

CACHE_KIB = 65_536
"""Pages that SQLite keeps in memory while a layer is replaced: with its own 2 MB it takes half as long again."""

OWN = frozenset({"area_m2", "perimeter_m", "pixels"})
"""Columns by which a layer that geoseg wrote is known; no other layer is ever replaced."""

_SIGNED = "Written by geoseg: "
"""How the description of a layer begins; what follows tells whether it is as it was written."""

_GDAL = "rtree_", "trigger_insert_feature_count_", "trigger_delete_feature_count_"
"""Names of triggers and tables that come with each layer begin with one of these."""
RESERVED = "gpkg", "sqlite_", "rtree_", "layer_styles"
"""Names of SQLite's, of the standard's and of the styles' own tables begin with one of these."""


def holds_something(path: Path) -> bool:
    """Say whether there is a file that a layer has to be put into."""
    return path.suffix.lower() == ".gpkg" and path.is_file() and path.stat().st_size > 0


def check_layer(path: Path, layer: str, columns: Collection[str] = OWN) -> None:
    """Refuse a name that no layer can have, and to put a layer where something else would be lost.

    Parameters
    ----------
    path : Path
        Any file; what is no GeoPackage by its name takes any layer.
    layer : str
        Name of the layer.
    columns : collection of str
        Its columns.

    Raises
    ------
    LayerError
        The name is empty or reserved; or the file is no GeoPackage, or has a layer of that name that geoseg did not
        write.
    """
    if path.suffix.lower() == ".gpkg" and (not layer.strip() or layer.casefold().startswith(RESERVED)):
        raise LayerError(
            f"'{path}' cannot have a layer '{layer}', whose name is empty or reserved; choose another, such as polygons"
        )
    if not holds_something(path):
        return
    with _opened(path, "?mode=ro") as connection:
        if not _has(connection, "gpkg_contents"):
            raise LayerError(f"'{path}' is there and is no GeoPackage; delete it, or choose another name for the file")
        present = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({_quoted(layer)})")}
    own = OWN & set(columns) or set(columns)
    if present and not present >= own:
        raise LayerError(f"'{path}' has a layer '{layer}' that geoseg did not write; choose another name for the layer")


def layer_state(path: Path, layer: str) -> str | None:
    """When the layer of a GeoPackage was changed, as it says itself, its rows and columns; None where there is none."""
    if path.suffix.lower() != ".gpkg":
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute(
                "SELECT last_change FROM gpkg_contents WHERE table_name = ? COLLATE NOCASE", (layer,)
            ).fetchone()
            if found is None:
                return None
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({_quoted(layer)})")]
            (rows,) = connection.execute(f"SELECT COUNT(*) FROM {_quoted(layer)}").fetchone()
    except sqlite3.Error:  # no GeoPackage any more: whatever is there, it is written anew
        return None
    return f"{found[0]}, {rows} rows of {', '.join(columns)}"


def sign_layer(path: Path, layer: str) -> None:
    """Write into the description of a layer that is whole what `layer_state` says of it."""
    described = f"{_SIGNED}{layer_state(path, layer)}"
    with _opened(path) as connection:
        connection.execute("UPDATE gpkg_contents SET description = ? WHERE table_name = ?", (described, layer))


def refuse_edited(path: Path, layer: str) -> None:
    """Refuse to replace a layer that somebody has changed since it was signed.

    Raises
    ------
    LayerError
        Somebody has.
    """
    if not holds_something(path) or (state := layer_state(path, layer)) is None:
        return
    with _opened(path, "?mode=ro") as connection:
        (described,) = connection.execute(
            "SELECT description FROM gpkg_contents WHERE table_name = ? COLLATE NOCASE", (layer,)
        ).fetchone()
    if described != f"{_SIGNED}{state}":
        raise LayerError(
            f"the layer '{layer}' of '{path}' has been changed since geoseg wrote it; rename it to keep the changes, "
            "delete it, or choose another name for the layer"
        )


def put_layer(path: Path, fresh: Path, layer: str, style: Sequence[StyledClass] | None) -> None:
    """Put a layer into a GeoPackage, instead of the one that geoseg put there before; all else stays.

    Triggers and indexes that somebody gave the layer, and styles that somebody saved for it, stay too.

    Parameters
    ----------
    path : Path
        A GeoPackage that `check_layer` allows.
    fresh : Path
        A GeoPackage of GDAL's with that layer alone.
    layer : str
        Its name.
    style : sequence of StyledClass, optional
        Colours and names of the classes.

    Raises
    ------
    OutputError
        The file cannot be changed, and has not been.
    """
    with _opened(path) as connection:
        connection.execute("ATTACH ? AS fresh", (str(fresh),))
        srs_id = _renumbered(connection)
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            others = _dropped(connection, layer)
            _copy_layer(connection, layer, srs_id)
            for (sql,) in [*_own_triggers(connection, layer), *others]:
                connection.execute(sql)
            styles.put_style(connection, layer, style)


def drop_layer(path: Path, layer: str) -> None:
    """Take a layer that geoseg put there out of a GeoPackage, with its styles; all else stays.

    Raises
    ------
    OutputError
        The file cannot be changed, and has not been.
    """
    with _opened(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            _dropped(connection, layer)
            styles.put_style(connection, layer, None)


@contextmanager
def _opened(path: Path, mode: str = "") -> Iterator[sqlite3.Connection]:
    """Open a file, and say in our words why it cannot be used."""
    address = f"{path.absolute().as_uri()}{mode}"
    try:
        with closing(sqlite3.connect(address, timeout=PATIENCE, isolation_level=None, uri=True)) as connection:
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute("PRAGMA secure_delete = OFF")
            yield connection
    except sqlite3.Error as error:
        raise OutputError(f"'{path}' {_reason(str(error))}") from error


def _reason(error: str) -> str:
    """What SQLite says, with the remedy."""
    if "locked" in error:
        return "is being written by another program; save and close it there, and run the same command again"
    if "not a database" in error:
        return "is there and is no GeoPackage; delete it, or choose another name for the file"
    return f"cannot take the layer ({error}), and is as it was; fix that, delete the file, or choose another"


def _dropped(connection: sqlite3.Connection, layer: str) -> list[tuple[str]]:
    """Drop the layer that is there, with what tables say of it; returns the SQL of what somebody gave it."""
    given = connection.execute(
        "SELECT name, sql FROM main.sqlite_master WHERE type IN ('trigger', 'index') AND sql NOT NULL"
        " AND tbl_name = ? COLLATE NOCASE",
        (layer,),
    ).fetchall()
    spatial = connection.execute(
        "SELECT 'rtree_' || table_name || '_' || column_name FROM main.gpkg_geometry_columns"
        " WHERE table_name = ? COLLATE NOCASE",
        (layer,),
    ).fetchall()
    for name in (*(name for (name,) in spatial), layer):
        connection.execute(f"DROP TABLE IF EXISTS main.{_quoted(name)}")
    for table in _about_layers(connection):
        connection.execute(f"DELETE FROM main.{_quoted(table)} WHERE table_name = ? COLLATE NOCASE", (layer,))
    return [(sql,) for name, sql in given if not name.startswith(_GDAL)]


def _about_layers(connection: sqlite3.Connection) -> list[str]:
    """Tables of the standard with a row for a layer; those that others refer to come last."""
    tables = [name for name in _tables(connection, "main") if "table_name" in _columns(connection, "main", name)]
    return sorted(tables, key=lambda name: name == "gpkg_contents")


def _copy_layer(connection: sqlite3.Connection, layer: str, srs_id: int | None) -> None:
    """Copy the table, its spatial index and its rows in the tables of the standard; triggers come later."""
    for name in _tables(connection, "fresh"):
        if not _has(connection, name):
            _create(connection, name)
    _widen(connection, "main", "fresh")
    _copy(connection, "gpkg_spatial_ref_sys", "srs_id IN (SELECT srs_id FROM fresh.gpkg_geometry_columns)")
    for name in ("gpkg_contents", "gpkg_geometry_columns", "gpkg_ogr_contents", "gpkg_extensions"):
        _copy(connection, name, f"table_name IN ({_text(layer)}, 'gpkg_spatial_ref_sys')")
    _create(connection, layer)
    column = next(connection.execute("SELECT column_name FROM fresh.gpkg_geometry_columns"))[0]
    if srs_id is None:
        _fill(connection, layer)
    else:
        _copy(connection, layer, "1", {column: f"gpkg_placed({_quoted(column)}, {srs_id})"})
    index = f"rtree_{layer}_{column}"
    _create(connection, index)
    for part in ("node", "rowid", "parent"):  # the index as GDAL has packed it
        connection.execute(f"DELETE FROM main.{_quoted(f'{index}_{part}')}")
        _fill(connection, f"{index}_{part}")


def _renumbered(connection: sqlite3.Connection) -> int | None:
    """Give the layer's CRS the number that it has in the other file, or a free one; None when it keeps its own."""
    connection.create_function("gpkg_placed", 2, _placed, deterministic=True)
    _widen(connection, "fresh", "main")
    connection.execute(
        "UPDATE fresh.gpkg_contents SET identifier = NULL WHERE identifier IN"
        " (SELECT identifier FROM main.gpkg_contents WHERE table_name <> fresh.gpkg_contents.table_name COLLATE NOCASE)"
    )
    own, *identity = connection.execute(
        "SELECT srs_id, organization, organization_coordsys_id, definition FROM fresh.gpkg_spatial_ref_sys"
        " WHERE srs_id IN (SELECT srs_id FROM fresh.gpkg_geometry_columns)"
    ).fetchone()
    known = connection.execute(
        "SELECT srs_id FROM main.gpkg_spatial_ref_sys WHERE organization = ?1 COLLATE NOCASE AND CASE"
        " WHEN ?1 = 'NONE' COLLATE NOCASE THEN definition = ?3 AND definition <> 'undefined'"
        " ELSE organization_coordsys_id = ?2 END ORDER BY srs_id <> ?4",
        (*identity, own),
    ).fetchone()
    taken = {number for (number,) in connection.execute("SELECT srs_id FROM main.gpkg_spatial_ref_sys")}
    number: int = known[0] if known else own if own not in taken else max(100_000, *taken) + 1
    if number == own:
        return None
    for table in ("gpkg_contents", "gpkg_geometry_columns", "gpkg_spatial_ref_sys"):
        connection.execute(f"UPDATE fresh.{table} SET srs_id = ? WHERE srs_id = ?", (number, own))
    return number


def _placed(geometry: bytes, srs_id: int) -> bytes:
    """A geometry whose header (OGC 12-128r18, section 2.1.3) names another CRS: bytes 4 to 7, little-endian."""
    return geometry[:4] + struct.pack("<i", srs_id) + geometry[8:]


def _own_triggers(connection: sqlite3.Connection, layer: str) -> Iterable[tuple[str]]:
    """SQL of the triggers that keep the spatial index and the count of features."""
    return connection.execute(
        "SELECT sql FROM fresh.sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (layer,)
    ).fetchall()


def _create(connection: sqlite3.Connection, table: str) -> None:
    """Create a table as it is in the fresh file."""
    (sql,) = connection.execute(
        "SELECT sql FROM fresh.sqlite_master WHERE name = ? AND type = 'table'", (table,)
    ).fetchone()
    connection.execute(sql)


def _widen(connection: sqlite3.Connection, schema: str, other: str) -> None:
    """Give the table of CRS the columns that the other one has: definitions as WKT 2, and epochs."""
    table = "gpkg_spatial_ref_sys"
    present = _columns(connection, schema, table)
    for name, kind in _columns(connection, other, table).items():
        if name not in present:
            default = " NOT NULL DEFAULT 'undefined'" if kind == "TEXT" else ""
            connection.execute(f"ALTER TABLE {schema}.{table} ADD COLUMN {_quoted(name)} {kind}{default}")


def _copy(
    connection: sqlite3.Connection, table: str, where: str, changed: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Copy rows that are not there, column by column."""
    names = [name for name in _columns(connection, "fresh", table) if name in _columns(connection, "main", table)]
    values = [changed.get(name, _quoted(name)) for name in names]
    connection.execute(
        f"INSERT INTO main.{_quoted(table)} ({', '.join(map(_quoted, names))})"
        f" SELECT {', '.join(values)} FROM fresh.{_quoted(table)} WHERE {where} ON CONFLICT DO NOTHING"
    )


def _fill(connection: sqlite3.Connection, table: str) -> None:
    """Copy all rows to an empty table that was created alike: SQLite then copies records without looking into them."""
    connection.execute(f"INSERT INTO main.{_quoted(table)} SELECT * FROM fresh.{_quoted(table)}")


def _tables(connection: sqlite3.Connection, schema: str) -> list[str]:
    """Tables of the standard."""
    rows = connection.execute(
        f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table' AND name LIKE 'gpkg@_%' ESCAPE '@'"
    )
    return [name for (name,) in rows]


def _columns(connection: sqlite3.Connection, schema: str, table: str) -> dict[str, str]:
    """Names and types of columns."""
    rows = connection.execute(f"PRAGMA {schema}.table_info({_quoted(table)})")
    return {name: kind for _, name, kind, *_ in rows}


def _has(connection: sqlite3.Connection, table: str) -> bool:
    return bool(_columns(connection, "main", table))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
