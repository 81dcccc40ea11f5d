"""One process at a time in a folder, on file systems with locks and on those without.

Where the file system has ``flock``, the system itself lets go when a process dies. Some network file systems refuse it
(Lustre without the mount option, old NFS, some FUSE); there a file says who holds the folder, and its time is renewed
every few seconds. One that is older than a minute is of a process that died, on whatever machine; times are compared
with that of a file written now, so clocks need not agree.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geoseg.errors import OutputError
from geoseg.files import HOST, is_alive, unwritable

REFUSED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""How file systems say that they have no locks."""

BEAT = 5.0
"""Seconds after which a holder says again that it is alive."""

STALE = 60.0
"""Seconds without a word after which a holder counts as dead."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock.

    Parameters
    ----------
    path : Path
        The lock's file, in a folder that may be made.

    Raises
    ------
    OutputError
        Another process holds it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise unwritable(path.parent.parent, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use(path, "another run") from error
        except OSError as error:
            if error.errno not in REFUSED:
                raise OutputError(
                    f"{path} cannot be locked ({error.strerror or error}); choose another output folder."
                ) from error
            with _held(path.with_name(f"{path.name}.held")):
                yield
            return
        yield


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a folder by a file that is there, and say again and again that its writer is alive."""
    own = f"{HOST} {os.getpid()} {uuid.uuid4().hex}"
    try:
        _take(path, own)
    except OutputError:
        raise
    except OSError as error:
        raise unwritable(path.parent.parent, error) from error
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, own, done), name="geoseg-lock", daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()
        if _holder(path) == own:
            path.unlink(missing_ok=True)


def _take(path: Path, own: str) -> None:
    """Create the file; one whose writer has died is removed first."""
    while True:
        try:
            with path.open("x") as file:
                file.write(own)
            return
        except FileExistsError:
            holder = _holder(path)
            if not _is_dead(path, holder):
                host, pid = _parts(holder)
                raise _in_use(path, f"process {pid} on {host}" if pid else "another run") from None
            _remove(path, holder)


def _remove(path: Path, holder: str) -> None:
    """Remove the file of a dead holder; one process at a time, so that none removes that of the next holder."""
    claim = path.with_name(f"{path.name}.claim")
    try:
        claim.open("x").close()
    except FileExistsError:
        if _age(claim) < STALE:
            raise _in_use(path, "another run") from None
        claim.unlink(missing_ok=True)  # of one that died in the middle
        return
    try:
        if _holder(path) == holder:
            path.unlink(missing_ok=True)
    finally:
        claim.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _parts(holder: str) -> tuple[str, str]:
    """Machine and process; empty where the file was cut off."""
    host, pid = (*holder.split(), "", "")[:2]
    return host, pid


def _is_dead(path: Path, holder: str) -> bool:
    """Whether a holder is known to have died, or has said nothing for long."""
    host, pid = _parts(holder)
    return (host == HOST and pid.isdigit() and not is_alive(int(pid))) or _age(path) > STALE


def _age(path: Path) -> float:
    """Seconds since a file was written, by the clock of the file system; infinite when it is gone."""
    now = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    now.touch()
    try:
        return now.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return math.inf
    finally:
        now.unlink()


def _beat(path: Path, own: str, done: threading.Event) -> None:
    while not done.wait(BEAT):
        with suppress(OSError):  # the next beat may come through
            if _holder(path) == own:
                os.utime(path)


def _in_use(path: Path, holder: str) -> OutputError:
    return OutputError(
        f"{path.parent.parent} is in use by {holder}; wait until it ends or choose another output folder."
    )
