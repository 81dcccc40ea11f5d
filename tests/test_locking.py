"""One process at a time in a folder, also where the file system has no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from geoseg.errors import OutputError
from geoseg.store import RunFolder, locking

HOLD = """
import errno, fcntl, sys
from pathlib import Path
from geoseg.store import RunFolder
def refuse(*_): raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = refuse
with RunFolder(Path(sys.argv[1])).locked():
    print("locked", flush=True); input()
"""


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without ``flock``, as NFS without its lock service, Lustre without its option, and some FUSE."""

    def refuse(*_arguments: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_of_the_file_system_a_file_says_who_is_there_and_goes_with_him(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    with folder.locked():
        assert (folder.state / "lock.held").read_text().split()[1] == str(os.getpid())
        with pytest.raises(OutputError, match=rf"in use by process {os.getpid()} on \w+; wait"), folder.locked():
            pass
    assert os.listdir(folder.state) == ["lock"]
    with folder.locked():
        pass


@pytest.mark.usefixtures("no_locks")
def test_a_holder_that_was_killed_on_this_machine_blocks_nobody(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(OutputError, match=f"in use by process {other.pid} on "), folder.locked():
            pass
        os.kill(other.pid, signal.SIGKILL)
    with folder.locked():
        pass


@pytest.mark.usefixtures("no_locks")
def test_a_holder_on_another_machine_counts_as_dead_after_a_minute_of_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "out")
    monkeypatch.setattr(locking, "BEAT", 0.02)
    with folder.locked():
        held = folder.state / "lock.held"
        held.write_text("another_pod 7 0123")  # it took over, as after a long pause of this process
        os.utime(held, (time.time() - 50,) * 2)
        with pytest.raises(OutputError, match="in use by process 7 on another_pod"), folder.locked():
            pass
        time.sleep(0.1)
        assert time.time() - held.stat().st_mtime > 40, "nobody says that another one is alive"
        os.utime(held, (time.time() - 70,) * 2)
        with folder.locked():
            assert "another_pod" not in held.read_text()
            os.utime(held, (1, 1))
            time.sleep(0.2)
            assert time.time() - held.stat().st_mtime < 10, "the holder says again and again that it is alive"
    assert os.listdir(folder.state) == ["lock"]


@pytest.mark.usefixtures("no_locks")
def test_of_many_that_notice_a_dead_holder_one_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "out" / "state" / "lock.held"
    path.parent.mkdir(parents=True)
    inside: list[int] = []

    def enter(number: int) -> bool:
        try:
            with RunFolder(tmp_path / "out").locked():
                inside.append(number)
                time.sleep(0.2)
                assert inside.count(number) == len(inside) == 1
                inside.remove(number)
                return True
        except OutputError:
            return False

    for _ in range(5):
        path.write_text("another_pod 7 0123")
        os.utime(path, (1, 1))
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(enter, range(8))) >= 1
        assert not path.exists()


def test_a_lock_that_fails_for_another_reason_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with (
        pytest.raises(OutputError, match=r"lock cannot be locked \(Input/output error\); choose another"),
        RunFolder(tmp_path / "out").locked(),
    ):
        pass
