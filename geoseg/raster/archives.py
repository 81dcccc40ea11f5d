"""Archives in which products are delivered: what is in them, and their small text files; GDAL reads their rasters."""

from __future__ import annotations

import re
import tarfile
import zipfile
from functools import lru_cache
from pathlib import Path

from geoseg.errors import RasterError

PREFIXES = {".zip": "/vsizip/", ".tar": "/vsitar/"}
"""How GDAL calls members of an archive, by the ending of its name."""


_ARCHIVE = re.compile(r"/vsi(zip|tar|gzip|7z|rar)/")


def is_archive(path: Path) -> bool:
    """Say whether a file is an archive whose members can be read in place."""
    return path.suffix.lower() in PREFIXES and path.is_file()


def members(path: Path) -> list[str]:
    """Names by which GDAL opens the files of an archive, sorted.

    Raises
    ------
    RasterError
        It is damaged.
    """
    status = path.stat()
    prefix = PREFIXES[path.suffix.lower()]
    return [f"{prefix}{path.absolute()}/{name}" for name in _names(path, status.st_mtime_ns, status.st_size)]


def archive_of(name: str) -> tuple[Path | None, str]:
    """The archive that a name of GDAL lies in, and the name within it; None where it lies in none."""
    if not _ARCHIVE.match(name):
        return None, ""
    inner = Path(_ARCHIVE.sub("", name).replace("{", "").replace("}", ""))
    archive = next((file for file in (inner, *inner.parents) if file.is_file()), None)
    return archive, "" if archive is None else str(inner.relative_to(archive))


def text_of(name: str) -> str | None:
    """The content of a text file, on disk or in an archive; None where it is not there."""
    archive, member = archive_of(name)
    if archive is None or not is_archive(archive):
        path = Path(name)
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    return _member_text(archive, member, archive.stat().st_mtime_ns)


def beside(name: str) -> list[str]:
    """Names of the files in the folder of a file, on disk or in an archive."""
    archive, _ = archive_of(name)
    if archive is None:
        return sorted(str(path) for path in Path(name).parent.glob("*") if path.is_file())
    home = name.rpartition("/")[0]
    return [other for other in members(archive) if other.rpartition("/")[0] == home]


@lru_cache(maxsize=64)
def _names(path: Path, _written: int, _size: int) -> tuple[str, ...]:
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                return tuple(sorted(item.filename for item in archive.infolist() if not item.is_dir()))
        with tarfile.open(path, "r:") as tar:
            return tuple(sorted(item.name for item in tar.getmembers() if item.isfile()))
    except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise RasterError(f"'{path}' is no whole archive ({error}); copy or download it again.") from error


@lru_cache(maxsize=256)
def _member_text(archive: Path, member: str, _written: int) -> str | None:
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as opened:
                return opened.read(member).decode("utf-8", "replace")
        with tarfile.open(archive, "r:") as tar:
            file = tar.extractfile(member)
            return None if file is None else file.read().decode("utf-8", "replace")
    except KeyError:
        return None
