"""One process that feeds a device with several threads, and others for what comes after: the same map, bit for bit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import Client, Worker

import geoseg
from geoseg.engine import connect
from geoseg.models import streams
from geoseg.planning.sharing import ASSISTING, Crew, crew_of
from geoseg.tasks import own_device
from tests.test_run import box, labels_of, polygons_of, scene, settings  # noqa: F401 - fixtures

CREWS = [Crew(1, threads=3), Crew(1, threads=3, assistants=2), Crew(2, threads=2, assistants=1)]


@pytest.fixture(scope="module", params=CREWS, ids=str)
def crew(request: pytest.FixtureRequest) -> Iterator[Client]:
    with connect(None, request.param) as client:
        client.run(watch)
        yield client


def watch(dask_worker: Worker) -> None:
    """Have a worker note which stages it runs."""
    from geoseg import tasks

    dask_worker.stages = set()  # type: ignore[attr-defined]
    for stage in ("predict", "finish"):
        run = getattr(tasks, stage)

        def noted(*arguments: object, stage: str = stage, run: object = run, **more: object) -> object:
            dask_worker.stages.add(stage)  # type: ignore[attr-defined]
            return run(*arguments, **more)  # type: ignore[operator]

        setattr(tasks, stage, noted)


def stages_of(dask_worker: Worker) -> tuple[bool, set[str]]:
    """Whether a worker assists, and which stages it ran."""
    is_assistant = ASSISTING in dask_worker.state.total_resources
    return is_assistant, dask_worker.stages  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def expected(scene: Path, box: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    output = tmp_path_factory.mktemp("expected") / "out"
    geoseg.run(settings(scene, box, output, block_tiles=8, workers=1))
    return output


def test_labels_and_polygons_are_those_of_one_thread(
    scene: Path, box: Path, crew: Client, expected: Path, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    geoseg.run(settings(scene, box, tmp_path / "out", block_tiles=1), client=crew)
    np.testing.assert_array_equal(labels_of(tmp_path / "out"), labels_of(expected))
    assert polygons_of(tmp_path / "out") == polygons_of(expected)
    found = list(crew.run(stages_of).values())
    for is_assistant, stages in found:
        if is_assistant:
            assert "predict" not in stages
        elif any(item[0] for item in found):
            assert "finish" not in stages
    assert {"predict"} <= set().union(*(stages for _, stages in found))


@pytest.mark.parametrize(
    ("device", "cores", "workers", "expected"),
    [
        ("cpu", 16, 16, Crew(16)),
        ("cuda", 16, 1, Crew(1, 8, 8)),
        ("cuda", 16, 4, Crew(4, 2, 8)),
        ("cuda", 64, 4, Crew(4, 8, 32)),
        ("cuda", 2, 1, Crew(1, 2, 0)),
    ],
)
def test_cores_are_shared_out(device: str, cores: int, workers: int, expected: Crew) -> None:
    assert crew_of(device, cores, workers) == expected


def test_gpus_of_a_machine_are_dealt_out_by_worker() -> None:
    assert [own_device("cuda", worker, 2) for worker in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert own_device("cuda", "tcp://node:1", 2) == "cuda"  # a worker of a cluster sees its own GPU first
    assert own_device("cuda", 1, 1) == "cuda"
    assert own_device("cpu", 1, 2) == "cpu"


def test_no_more_batches_are_in_flight_than_a_device_has_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", lambda _device: object())
    monkeypatch.setattr(torch.cuda, "stream", lambda _stream: _Counted())
    streams._streams.cache_clear()
    threads = [threading.Thread(target=_use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    streams._streams.cache_clear()
    assert _Counted.most == streams.IN_FLIGHT


class _Counted:
    """Counts how many of its kind are entered."""

    lock, now, most = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self.lock:
            _Counted.now += 1
            _Counted.most = max(_Counted.most, _Counted.now)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            _Counted.now -= 1


def _use() -> None:
    for _ in range(20):
        with streams.in_flight(torch.device("cuda")):
            threading.Event().wait(0.001)
