"""What stands in a file letter by letter, where GDAL's reading loses it: tags, nodata of 64 bits, a PNG's end.

Bytes come through GDAL's raw bands, so a file may lie wherever GDAL reads: on a server, in an archive.
"""

from __future__ import annotations

import struct
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import rasterio

from geoseg.raster.handles import unplaced_allowed
from geoseg.raster.options import configured_with

_PIXEL_SCALE, _TIE_POINT, _TRANSFORMATION, _NODATA = 33550, 33922, 34264, 42113
"""Tags that place a GeoTIFF (OGC 19-008, section 7.5), and GDAL's own of nodata."""

_RAW = (
    '<VRTDataset rasterXSize="{line}" rasterYSize="{lines}"><VRTRasterBand dataType="Byte" band="1" '
    'subClass="VRTRawRasterBand"><SourceFilename relativeToVRT="0">{path}</SourceFilename><ImageOffset>{start}'
    "</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>{line}</LineOffset></VRTRasterBand></VRTDataset>"
)

_LINE = 256
"""Bytes of a row; of rows that are longer than some kilobytes GDAL refuses those that a file does not hold whole."""

_MOST = 4096
"""Tags of a directory, and letters of a tag, that are read of a file that may be damaged."""


def read_bytes(path: str, start: int, count: int) -> bytes:
    """Read bytes of any file that GDAL reaches, zeros behind its end.

    Raises
    ------
    rasterio.errors.RasterioIOError
        When GDAL cannot reach it.
    """
    raw = _RAW.format(path=escape(path), start=start, line=_LINE, lines=-(-count // _LINE))
    allowed = configured_with({"GDAL_VRT_RAWRASTERBAND_ALLOWED_SOURCE": "ALL"})
    with allowed, unplaced_allowed(), rasterio.open(raw) as opened:
        content: bytes = opened.read(1).tobytes()[:count]
    return content


def lacks_tie_point(path: str) -> bool:
    """Say whether a TIFF has a pixel size and no whole tie point, so that GDAL places it at (0, 0) without a word."""
    counts = {tag: count for tag, (count, _) in _directory(path)[1].items()}
    return _PIXEL_SCALE in counts and counts.get(_TIE_POINT, 0) < 6 and _TRANSFORMATION not in counts


def is_cut_png(path: str) -> bool:
    """Say whether a PNG of this machine ends before its last chunk: GDAL may read noise then, and no error."""
    file = Path(path)
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _MOST))
        return b"IEND" not in opened.read()


def nodata_text(opened: rasterio.DatasetReader, band: int) -> str | None:
    """What a file declares as nodata of a band, letter by letter: in metadata beside it, else in itself.

    None where it declares none, or is neither a TIFF nor a VRT.
    """
    path, *others = opened.files or [opened.name]
    if f"{path}.aux.xml" in others and (text := _text_of_metadata(f"{path}.aux.xml", band)) is not None:
        return text
    if opened.driver == "VRT":
        return _text_of_metadata(path, band)
    return _text_of_tiff(path) if opened.driver == "GTiff" else None


def _text_of_metadata(path: str, band: int) -> str | None:
    """Nodata of a band in GDAL's XML."""
    size = 1 << 16
    while 0 not in (content := read_bytes(path, 0, size)):
        size *= 4
    found = ElementTree.fromstring(content.rstrip(b"\0")).find(f".//*[@band='{band}']/NoDataValue")  # noqa: S314
    return None if found is None else found.text


def _text_of_tiff(path: str) -> str | None:
    """Nodata of the first directory of a TIFF."""
    place, tags = _directory(path)
    count, field = tags.get(_NODATA, (0, b""))
    if count > len(field):
        field = read_bytes(path, struct.unpack(place, field)[0], min(count, _MOST))
    return field[:count].strip(b"\0 ").decode("ascii", "replace") or None


def _directory(path: str) -> tuple[str, dict[int, tuple[int, bytes]]]:
    """The first directory of a TIFF (TIFF 6.0, section 2; BigTIFF has wider numbers).

    Returns
    -------
    place : str
        How a place in the file is packed.
    tags : dict of int to (int, bytes)
        Of each tag the number of its values, and the values or their place.
    """
    head = read_bytes(path, 0, 16)
    order = "<" if head[:2] == b"II" else ">"
    is_big = head[2:4] in (b"+\0", b"\0+")
    place, count, entry = (order + kind for kind in (("Q", "Q", "HHQ8s") if is_big else ("I", "H", "HHI4s")))
    (start,) = struct.unpack_from(place, head, 8 if is_big else 4)
    (entries,) = struct.unpack(count, read_bytes(path, start, struct.calcsize(count)))
    size = struct.calcsize(entry) * min(entries, _MOST)
    rows = struct.iter_unpack(entry, read_bytes(path, start + struct.calcsize(count), size)) if size else ()
    return place, {tag: (values, field) for tag, _, values, field in rows}
