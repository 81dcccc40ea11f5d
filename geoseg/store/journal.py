"""A journal of what is on disk: a marker for each name, with the files that were written by size and checksum.

Strategy. A marker is written after its files, and nothing of it is synced: to wait for the disk at every block costs
milliseconds, and the system writes within half a minute anyway. Instead a marker counts only while its files are what
it says. After a power cut a file may be missing, cut off, or hold zeros; so a start compares sizes, which takes
microseconds, and whoever reads a file compares its checksum. What is not what it was is made again.

It knows files, not what they are for.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import DamagedError
from geoseg.files import clear, remove, sweep, write_file
from geoseg.tree import Place, id_of, place_of

READ = 2**20
"""Bytes that are read at once."""

PLACE = re.compile(r"\d+(-\d+)+")
"""Names of blocks and nodes."""


@dataclass(frozen=True)
class Digest:
    """What a file was when it was written.

    Attributes
    ----------
    name : str
        From the folder that the markers speak of.
    size : int
        Bytes.
    crc32 : int
        Of the file, or of the arrays in it.
    """

    name: str
    size: int
    crc32: int

    @classmethod
    def of(cls, path: Path, root: Path, crc32: int | None = None) -> Digest:
        """Take the digest of a file below a folder, whose checksum may be known."""
        name = path.relative_to(root).as_posix()
        return cls(name, path.stat().st_size, _crc32(path) if crc32 is None else crc32)


@dataclass(frozen=True)
class Journal:
    """Markers of one stage, a file for each place.

    Attributes
    ----------
    root : Path
        Names of files begin here.
    folder : Path
        Holds the markers.
    """

    root: Path
    folder: Path

    def put(self, place: Place, digests: Iterable[Digest] = ()) -> None:
        """Say that a step is on disk, and what that is."""
        content = json.dumps({digest.name: [digest.size, digest.crc32] for digest in digests})
        write_file(self._path(place), lambda path: path.write_text(content), durable=False)

    def has(self, place: Place) -> bool:
        """Say whether there is a marker."""
        return self._path(place).exists()

    def places(self) -> set[Place]:
        """Places with a marker; files of others, such as ``.DS_Store``, are none."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.folder) as entries:
            return {place_of(entry.name) for entry in entries if PLACE.fullmatch(entry.name)}
        return set()

    def read(self, place: Place) -> dict[str, Digest] | None:
        """Digests by name of file; None when there is no marker, or one that was cut off."""
        try:
            content = json.loads(self._path(place).read_bytes())
            return {file: Digest(file, int(size), int(crc32)) for file, (size, crc32) in content.items()}
        except (FileNotFoundError, IsADirectoryError, ValueError, TypeError, AttributeError):
            return None

    def digest(self, path: Path, place: Place) -> Digest | None:
        """What a marker says of a file; None when it does not speak of it."""
        return (self.read(place) or {}).get(path.relative_to(self.root).as_posix())

    def differing(self, place: Place, counts: Callable[[str], bool] = lambda _: True) -> list[Path]:
        """Files that count and are not there in their sizes; the marker, when it was cut off or there is none."""
        digests, root = self.read(place), str(self.root)
        if digests is None:
            return [self._path(place)]
        files = (file for file, digest in digests.items() if counts(file) and digest.size != _size(f"{root}/{file}"))
        return [self.root / file for file in files]

    def has_sizes(self, place: Place, counts: Callable[[str], bool] = lambda _: True) -> bool:
        """Say whether the files that a marker speaks of, or those that count, are there and have their sizes."""
        return not self.differing(place, counts)

    def is_whole(self, place: Place) -> bool:
        """Say whether all files that a marker speaks of are what they were, every byte; one that is not is removed."""
        digests = self.read(place)
        try:
            for name, digest in (digests or {}).items():
                compare(self.root / name, digest)
        except DamagedError:
            return False
        return digests is not None

    def check(self, path: Path, place: Place) -> None:
        """Refuse a file that is not what a marker says; one that it does not speak of is taken as it is.

        Raises
        ------
        DamagedError
            It is missing or differs; what differs is removed, so that the next start makes it again.
        """
        compare(path, self.digest(path, place))

    def remove(self, place: Place) -> None:
        """Forget that a step is on disk."""
        clear(self._path(place))

    def keep(self, places: set[Place]) -> None:
        """Forget all steps but some."""
        for place in self.places() - places:
            self.remove(place)

    def sweep(self) -> None:
        """Remove what killed processes were writing here; only where nobody else writes."""
        sweep(self.folder)

    def _path(self, place: Place) -> Path:
        return self.folder / id_of(place)


def compare(path: Path, digest: Digest | None) -> None:
    """Refuse a file that is not there or not what a digest says; as `Journal.check`."""
    if not path.exists():
        raise missing(path)
    if digest is not None and (_size(path) != digest.size or _crc32(path) != digest.crc32):
        raise damaged(path, "its checksum differs")


def missing(path: Path) -> DamagedError:
    """The error of a file that is gone."""
    return DamagedError(f"{path} is missing; start the run again, which makes it anew.")


def damaged(path: Path, reason: object) -> DamagedError:
    """The error of a damaged file, which is removed."""
    words = " ".join(str(reason).split()).rstrip(".")
    remove(path)
    if path.exists():
        return DamagedError(f"{path} is damaged ({words}); remove it and start the run again, which makes it anew.")
    return DamagedError(f"{path} was damaged ({words}) and is removed; start the run again, which makes it anew.")


def _size(path: str | Path) -> int:
    """Bytes; -1 when there is no such file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - of 100,000 blocks, and a Path takes as long as the disk
    except (FileNotFoundError, NotADirectoryError):
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _crc32(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while part := file.read(READ):
            crc32 = zlib.crc32(part, crc32)
    return crc32
