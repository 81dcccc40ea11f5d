"""The page on the Dask dashboard: what it is told, what it answers, and what a person sees of it in a real browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect

import geoseg
from geoseg.engine import Ended, Opened, Writing, connect
from geoseg.errors import WorkerError
from geoseg.grid import Window
from geoseg.monitor import Monitor
from geoseg.monitor.feed import Feed, page_address
from geoseg.monitor.gauge import LOOKS, Gauge
from geoseg.monitor.page import CHANGES, FILES, RUNS, Message, RunView
from geoseg.monitor.state import RunState
from geoseg.peak_memory import sizes
from tests.browsing import Watched, chromium
from tests.networks import Box, write_model
from tests.rasters import write_raster
from tests.runs_to_watch import done, failed, layout, started, striped

STATIC = Path(geoseg.__file__).parent / "monitor" / "static"
PLACES = [(row, col) for row in range(3) for col in range(2)]
TEAL, GREY, AMBER, RED = "#147d6f", "#d5dbdb", "#e0a02a", "#c0312b"
"""Colours of the light scheme: done, waiting, running, failed."""

RELEASE: dict[str, threading.Event] = {}


def hold(name: str) -> None:
    """A task that ends when a test says so; the worker is a thread of this process."""
    RELEASE[name].wait(60)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A scheduler and two threads of a worker in this process."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, protocol="tcp://", host="127.0.0.1",
            dashboard_address="127.0.0.1:0", silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield client


@contextmanager
def own_scheduler(**more: object) -> Iterator[Client]:
    """A scheduler without workers, for one test."""
    with (
        LocalCluster(
            n_workers=0, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address="127.0.0.1:0",
            scheduler_kwargs=more, silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A page in the light scheme that has asked nobody but its own scheduler, and complained of nothing."""
    page = browser.new_page(color_scheme="light", viewport={"width": 1200, "height": 1100})
    page.set_default_timeout(60_000)
    seen = Watched(page)
    yield seen
    page.close()


class Run:
    """A run that a test moves on by hand, told to a page."""

    def __init__(self, client: Client, *events: object, **more: object) -> None:
        self.state = RunState()
        self.say(started(client=client, **more), *events)
        self.feed = Feed(self.state, client, interval=0.1)
        address = self.feed.start()
        assert address is not None, self.feed.problem
        self.address = f"{address}?run={self.feed.run}"

    def say(self, *events: object) -> None:
        for event in events:
            self.state(event)  # type: ignore[arg-type]

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.feed.stop(waits=False)


def answer(run: Run, since: int = -1) -> Any:
    """What a browser gets."""
    address = run.address.replace("/geoseg?", "/geoseg/state?")
    with urllib.request.urlopen(f"{address}&since={since}") as response:  # noqa: S310 - on this machine
        return json.loads(response.read())


def fetch(address: str) -> tuple[str, Any]:
    with urllib.request.urlopen(address) as response:  # noqa: S310
        return response.read().decode(), response.headers


def wait_for(what: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def cells_of(news: Any) -> list[int]:
    return list(base64.b64decode(news["cells"]))


# ---- what the page is told


class Follower:
    """What a browser does with answers: all that there is, and then what has changed."""

    def __init__(self) -> None:
        self.revision, self.cells, self.picture = -1, b"", np.zeros((0, 0), np.uint8)

    def ask(self, view: RunView) -> None:
        news = json.loads(json.dumps(view.ask(self.revision)))
        self.revision = news["revision"]
        if "layout" in news:
            self.cells = base64.b64decode(news["cells"])
            self.picture = np.frombuffer(base64.b64decode(news["picture"]), np.uint8)
            self.picture = self.picture.reshape(news["layout"]["picture"]).copy()
            return
        cells = bytearray(self.cells)
        for index, value in news["changes"]:
            cells[index] = value
        self.cells = bytes(cells)
        for left, top, width, height, text in news["tiles"]:
            values = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width)
            self.picture[top : top + height, left : left + width] = values


@given(st.data())
def test_whoever_asks_whenever_sees_what_a_run_has_told(data: st.DataObject) -> None:
    height, width, count = 7, 9, 12
    cells, picture = bytearray(count), np.zeros((height, width), np.uint8)
    view, followers = RunView(), [Follower() for _ in range(3)]

    def everything() -> Message:
        return Message(head={}, layout={"picture": [height, width]}, cells=bytes(cells), picture=picture.tobytes())

    view.tell(everything())
    for _ in range(data.draw(st.integers(1, 8))):
        for _ in range(data.draw(st.sampled_from([1, 2, CHANGES + 5]))):
            index, value = data.draw(st.tuples(st.integers(0, count - 1), st.integers(0, 255)))
            top, left = data.draw(st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)))
            tile = np.full((height - top, min(3, width - left)), value, np.uint8)
            cells[index] = value
            picture[top:, left : left + tile.shape[1]] = tile
            packed = (left, top, tile.shape[1], tile.shape[0], tile.tobytes())
            view.tell(Message(head={}, changes=[(index, value)], tiles=[packed]))
        if data.draw(st.booleans()):
            view.tell(everything())  # as after a message that was lost
        for follower in data.draw(st.lists(st.sampled_from(followers), unique=True)):
            follower.ask(view)
            assert (follower.cells, follower.picture.tolist()) == (bytes(cells), picture.tolist())


def test_a_browser_that_comes_late_gets_everything_and_then_only_what_is_new(client: Client) -> None:
    with Run(client, Opened("r1"), done("predict", 0, 0)) as run:
        first = answer(run)
        assert cells_of(first) == [128, 1, 1, 1, 1, 1]  # one of two stages, and waiting
        assert first["layout"]["rows"] == [0, 80, 160, 200]
        assert first["head"]["title"].startswith("mapping with box")
        run.say(done("finish", 0, 0), failed("predict", 2, 1))
        news: list[Any] = []
        wait_for(lambda: bool(news.append(answer(run, first["revision"]))) or len(news[-1]["changes"]) == 2)
        assert dict(map(tuple, news[-1]["changes"])) == {0: 254, 5: 255}
        assert "cells" not in news[-1]
        assert news[-1]["head"]["failures"] == [{"stage": "predict", "id": "2-1", "message": "the disk is full."}]


def test_labels_are_pictured_once_somebody_looks_and_not_before(client: Client) -> None:
    with Run(client, Opened("r2")) as run:
        run.state._begun -= 1000  # a run of 1000 s can spare 10 s
        run.say(*(done(stage, *place) for stage in ("predict", "finish") for place in PLACES))
        time.sleep(0.5)
        assert not run.state.picture.values.any()
        answer(run)
        wait_for(lambda: bool(run.state.picture.values.all()))
        wait_for(lambda: b"\0" not in base64.b64decode(answer(run)["picture"]))


def test_the_page_shows_what_workers_are_busy_with_and_their_memory(client: Client) -> None:
    with Run(client, Opened("r3")) as run:
        RELEASE["r3"] = threading.Event()
        futures = [
            client.submit(hold, "r3", key=key)
            for key in (("predict-r3", 0, 1), ("join-r3", 1, 0, 0), ("predict-other", 2, 0))
        ]
        try:
            wait_for(lambda: len(answer(run)["running"]) > 0)
            assert {tuple(item) for item in answer(run)["running"]} <= {("predict", 0, 1), ("join", 1, 0, 0)}
        finally:
            RELEASE["r3"].set()
            client.gather(futures)
        [(name, memory)] = answer(run)["workers"]
        assert name == "0"
        assert memory > 50 * 2**20
        assert answer(run)["worker_count"] == 1


def test_a_hundred_thousand_blocks_are_told_in_little(client: Client) -> None:
    edge = tuple(range(0, 512 * 401, 512))
    with Run(client, Opened("r4"), blocks=layout(edge, edge)) as run:
        address = run.address.replace("/geoseg?", "/geoseg/state?")
        request = urllib.request.Request(address, headers={"Accept-Encoding": "gzip"})  # noqa: S310
        with urllib.request.urlopen(request) as response:  # noqa: S310
            packed = response.read()
        first = json.loads(gzip.decompress(packed))
        assert len(packed) < 20_000
        assert max(len(first["layout"]["rows"]), len(first["layout"]["cols"])) <= 301
        run.say(*(done("predict", 17, col) for col in range(100)))
        news: list[Any] = []
        wait_for(lambda: bool(news.append(answer(run, first["revision"]))) or len(news[-1]["changes"]) == 50)
        assert len(json.dumps(news[-1])) < 4_000


def test_the_scheduler_keeps_the_latest_runs_only(client: Client) -> None:
    runs = []
    for number in range(RUNS + 2):
        with Run(client, Opened(f"k{number}")) as run:
            runs.append(run)
    names = [item["run"] for item in answer(runs[-1])["runs"]]
    assert names == [run.feed.run for run in runs[2:]]
    assert answer(runs[0])["run"] == runs[-1].feed.run  # one that is gone: the latest
    reply = runs[0].feed._tell()
    assert not reply["is_known"]
    assert runs[0].feed._tell()["is_known"]  # everything is told again
    assert answer(runs[0])["run"] == runs[0].feed.run


def test_memory_is_told_as_plans_count_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gauge = Gauge()
    gauge._shared, gauge._seen, gauge._looked = 0, 0, float("-inf")
    measured = gauge.measure(None)  # type: ignore[arg-type]
    rollup = sizes("smaps_rollup")
    assert abs(measured - rollup["Pss"]) < 0.05 * rollup["Rss"]
    # Told from here on, since a process of many threads gives back as much meanwhile as a test can take.
    told = {"status": {"VmRSS": 1000}, "smaps_rollup": {"Rss": 1000, "Pss": 700}}
    monkeypatch.setattr("geoseg.monitor.gauge.sizes", lambda name: told[name])
    gauge._looked = float("-inf")
    assert gauge.measure(None) == 700  # type: ignore[arg-type]
    told["status"]["VmRSS"], told["smaps_rollup"] = 1090, {"Rss": 1090, "Pss": 300}
    assert gauge.measure(None) == 790  # type: ignore[arg-type] - grown a little: what others hold is as it was
    told["status"]["VmRSS"], told["smaps_rollup"] = 1120, {"Rss": 1120, "Pss": 300}
    assert gauge.measure(None) == 300  # type: ignore[arg-type] - grown by more than GROWTH: another look
    told["smaps_rollup"]["Pss"] = 400
    assert gauge.measure(None) == 300  # type: ignore[arg-type]
    gauge._looked -= LOOKS
    assert gauge.measure(None) == 400  # type: ignore[arg-type] - the last look was LOOKS ago
    assert LOOKS >= 10


# ---- where the page is


def test_the_page_is_one_of_the_dashboard_and_loads_nothing_from_elsewhere(client: Client) -> None:
    with Run(client) as run:
        page, headers = fetch(run.address)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        status, _ = fetch(client.dashboard_link)
        assert 'href="geoseg"' in status
        for name, kind in FILES.items():
            text, headers = fetch(f"{page_address(client.dashboard_link)}/{name}")
            assert headers["Content-Type"].startswith(kind)
            assert text == (STATIC / name).read_text()
            assert f"geoseg/{name}" in page
    for path in STATIC.iterdir():
        assert set(re.findall(r"https?://[\w.]+", path.read_text())) <= {"http://www.w3.org"}


def test_the_page_stays_beside_the_dashboard_behind_a_prefix_and_a_proxy() -> None:
    assert page_address("https://hub/user/me/proxy/8787/status") == "https://hub/user/me/proxy/8787/geoseg"
    assert page_address("") is None
    with own_scheduler(http_prefix="/dask") as client, Run(client) as run:
        address = client.dashboard_link.replace("/status", "/dask/geoseg")
        assert "geoseg" in fetch(address)[0]
        assert json.loads(fetch(f"{address}/state")[0])["run"] == run.feed.run


def bound_to(client: Client) -> set[str]:
    sockets = client.cluster.scheduler.http_server._sockets.values()
    return {item.getsockname()[0] for item in sockets}


def test_the_dashboard_is_for_this_machine_alone_unless_told_otherwise() -> None:
    with connect(None, 0) as client:
        assert bound_to(client) == {"127.0.0.1"}
    with connect(None, 0, "0.0.0.0:0") as client:
        assert bound_to(client) == {"0.0.0.0"}  # noqa: S104
    with (
        pytest.raises(WorkerError, match=r"192\.0\.2\.1:80.*--dashboard") as raised,
        connect(None, 0, "192.0.2.1:80"),
    ):
        pass
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_a_scheduler_that_cannot_have_the_page_costs_a_run_nothing_but_the_page() -> None:
    class Refusing:
        dashboard_link = "http://127.0.0.1:8787/status"

        def register_plugin(self, _: object) -> None:
            raise ModuleNotFoundError("No module named 'geoseg'")

    feed = Feed(RunState(), Refusing())  # type: ignore[arg-type]
    assert feed.start() is None
    assert "No module named 'geoseg'" in feed.problem
    feed.stop(waits=True)


@pytest.mark.parametrize("ends", [True, False])
def test_labels_are_read_at_the_end_for_a_scheduler_that_stays_alone(ends: bool) -> None:
    read: list[Window] = []

    def striped_once(window: Window) -> NDArray[np.uint8]:
        read.append(window)
        return striped(window)

    with (
        connect(None, 0) if ends else own_scheduler() as client,
        Run(client, Opened("r6"), blocks=layout(read=striped_once)) as run,
    ):
        run.say(done("predict", 0, 0), done("finish", 0, 0))
        assert not read  # nobody has asked for the page
    assert len(read) == (0 if ends else 1)


def test_a_feed_goes_on_after_a_scheduler_was_out_of_reach(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run(client, Opened("r5")) as run:
        answer(run)
        real, lost = run.feed._send, threading.Event()

        def unreachable(message: Message) -> object:
            if not lost.is_set() and message.get("changes"):
                lost.set()
                raise OSError("timed out")
            return real(message)

        monkeypatch.setattr(run.feed, "_send", unreachable)
        run.say(done("predict", 0, 0), done("finish", 0, 0))
        wait_for(lost.is_set)
        wait_for(lambda: cells_of(answer(run))[0] == 254)  # nothing was lost with the message


def test_the_page_loads_nothing_that_a_scheduler_has_no_use_for() -> None:
    code = "import sys, geoseg.monitor.page; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "geoseg.monitor.gauge" in loaded
    assert not {"torch", "rasterio", "numba", "zarr", "geoseg.engine", "geoseg.monitor.state"} & set(loaded)


@pytest.mark.slow
def test_an_external_scheduler_has_the_page_and_keeps_what_it_was_told(tmp_path: Path) -> None:
    classes = np.repeat(np.repeat(np.arange(16).reshape(4, 4) % 3 + 1, 64, 0), 64, 1).astype(np.uint8)
    raster = write_raster(tmp_path / "classes.tif", classes[np.newaxis], nodata=0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port),
         "--dashboard-address", "127.0.0.1:0"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"tcp://127.0.0.1:{port}"
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--no-nanny",
            "--nthreads",
            "1",
            "--no-dashboard",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        with Monitor(form="quiet") as monitor:
            geoseg.polygonize(
                str(raster), tmp_path / "out.gpkg", scheduler=address, block_size=128, progress=monitor
            )  # fmt: skip
        with Client(address, set_as_default=False) as client:
            news = json.loads(fetch(f"{page_address(client.dashboard_link)}/state")[0])
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait()
    assert news["head"]["phase"] == "done"
    assert cells_of(news) == [254] * 4
    assert any(base64.b64decode(news["picture"]))  # labels, although nobody has looked while it ran
    assert news["head"]["stages"]["trace"]["done"] == 4


# ---- what a person sees


def until(page: Page, selector: str, text: str | re.Pattern[str]) -> None:
    """Wait until an element has a text; the page forbids scripts from elsewhere, so nothing is evaluated in it."""
    expect(page.locator(selector)).to_have_text(text, timeout=60_000)


def numbers(page: Page) -> dict[str, int]:
    """Blocks by state, as the legend has them."""
    script = "items => Object.fromEntries(items.map(item => [item.dataset.state, item.querySelector('b').textContent]))"
    found = page.eval_on_selector_all("#states li", script)
    return {state: int(count or 0) for state, count in found.items()}


def pixel(page: Page, canvas: str, across: float, down: float) -> str:
    """The colour at a place of a canvas, 0 to 1 in each direction."""
    script = """([id, across, down]) => {
        const canvas = document.getElementById(id);
        const at = [Math.floor(across * canvas.width), Math.floor(down * canvas.height)];
        const [r, g, b, alpha] = canvas.getContext("2d").getImageData(...at, 1, 1).data;
        return alpha ? "#" + [r, g, b].map((value) => value.toString(16).padStart(2, "0")).join("") : "";
    }"""
    found: str = page.evaluate(script, [canvas, across, down])
    return found


def block_pixel(page: Page, row: int, col: int) -> str:
    """The colour of a block of the made-up run, at its upper left."""
    return pixel(page, "blocks", (80 * col + 12) / 160, (80 * row + 8) / 200)


def test_blocks_turn_labels_grow_and_nothing_is_complained_of(client: Client, watched: Watched) -> None:
    with Run(client) as run:
        page = watched.page
        page.goto(run.address)
        until(page, "#phase", "opening the model")
        assert numbers(page) == {"waiting": 6, "running": 0, "part": 0, "done": 0, "failed": 0, "skipped": 0}
        assert block_pixel(page, 0, 0) == GREY
        run.state._begun -= 1000
        run.say(Opened("seen"))
        RELEASE["seen"] = threading.Event()
        future = client.submit(hold, "seen", key=("predict-seen", 2, 0))
        try:
            run.say(done("predict", 0, 0), done("finish", 0, 0), done("predict", 0, 1), failed("predict", 1, 0))
            until(page, "[data-state=running] b", "1")
            until(page, "[data-state=done] b", "1")
            assert numbers(page) == {"waiting": 2, "running": 1, "part": 1, "done": 1, "failed": 1, "skipped": 0}
            assert [block_pixel(page, *place) for place in ((0, 0), (1, 0), (2, 0), (2, 1))] == [TEAL, RED, AMBER, GREY]
            assert block_pixel(page, 0, 1) not in (TEAL, GREY)
        finally:
            RELEASE["seen"].set()
            future.result()
        until(page, "#classes", re.compile("100 %"))
        assert pixel(page, "labels", 0.2, 0.2) == "#419bdf"  # water
        assert "the disk is full." in page.inner_text("#failures")
        assert page.inner_text("#done-more") == "1 of 6 blocks"
        assert "of 900 MiB planned" in page.inner_text("#memory-more")
        assert page.inner_text("#stages tbody tr:first-child .number") == "3 / 6"
        places = [place for place in PLACES if place != (1, 0)]
        run.say(*(done("predict", *place) for place in places[2:]), *(done("finish", *place) for place in places[1:]))
        run.say(done("join", 1, 0, 0), Writing(Path("out/labels.tif")), Ended())
        until(page, "#phase", re.compile("^done"))
        assert numbers(page) == {"waiting": 0, "running": 0, "part": 0, "done": 5, "failed": 1, "skipped": 0}
        assert page.inner_text("#news") == "Written: labels.tif"
    assert watched.complaints == []
    home = page_address(client.dashboard_link)
    assert [address for address in watched.asked if not address.startswith((home, "data:"))] == []


def test_what_a_block_says_of_itself_is_text_and_never_markup(client: Client, watched: Watched) -> None:
    with Run(client, Opened("x1"), failed("predict", 0, 0, message="<img src=x onerror=alert(1)>")) as run:
        watched.page.goto(run.address)
        watched.page.wait_for_selector("#failures tbody tr")
        assert watched.page.inner_text("#failures tbody td:last-child") == "<img src=x onerror=alert(1)>"
        watched.page.wait_for_timeout(300)
    assert watched.complaints == []


def test_blocks_can_be_found_with_the_keyboard_and_by_their_failure(client: Client, watched: Watched) -> None:
    with Run(client, Opened("x2"), done("predict", 0, 1), failed("predict", 2, 1)) as run:
        page = watched.page
        page.goto(run.address)
        page.wait_for_selector("#failures tbody tr")
        page.focus("#blocks")
        said = []
        for key in ("ArrowDown", "ArrowRight", "ArrowUp", "ArrowDown", "ArrowDown"):
            page.keyboard.press(key)
            said.append(page.inner_text("#readout"))
        assert said == [
            "Block 0-0: waiting",
            "Block 0-1: 1 of 2 stages done",
            "Block 0-1: 1 of 2 stages done",
            "Block 1-1: waiting",
            "Block 2-1: failed",
        ]
        page.keyboard.press("ArrowUp")
        page.click("#failures button")
        assert page.inner_text("#readout") == "Block 2-1: failed"
        assert "1 failed" in page.get_attribute("#blocks", "aria-label")


def test_a_region_leaves_blocks_that_are_skipped(client: Client, watched: Watched) -> None:
    with Run(client, Opened("x3"), blocks=layout(places=frozenset({(0, 0), (1, 1)}))) as run:
        watched.page.goto(run.address)
        until(watched.page, "[data-state=skipped] b", "4")
        assert numbers(watched.page)["waiting"] == 2
        watched.page.hover("#blocks", position={"x": 5, "y": 400})
        assert watched.page.inner_text("#readout") == "Block 2-0: skipped, outside what is wanted"


def test_one_of_several_runs_can_be_chosen(client: Client, watched: Watched) -> None:
    with Run(client, Opened("y1")) as first, Run(client, Opened("y2"), done("predict", 0, 0)) as second:
        page = watched.page
        page.goto(second.address)
        page.wait_for_selector("#runs")
        until(page, "[data-state=part] b", "1")
        page.select_option("#runs", first.feed.run)
        until(page, "[data-state=part] b", "0")
        assert first.feed.run in page.url
    assert watched.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_it_stands_on(client: Client, browser: Browser, scheme: str) -> None:
    script = """() => {
        const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((value) => {
            const share = value / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        }).reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
        const ground = (element) => {
            const color = getComputedStyle(element).backgroundColor;
            return color.startsWith("rgba") && color.endsWith(", 0)") ? ground(element.parentElement) : color;
        };
        return [...document.querySelectorAll("h1, h2, p, dt, dd, th, td, li, a, button, small")]
            .filter((element) => element.checkVisibility() && element.textContent.trim())
            .map((element) => {
                const [a, b] = [getComputedStyle(element).color, ground(element)].map(light).sort((x, y) => y - x);
                return [element.tagName + " " + element.textContent.trim().slice(0, 30), (a + 0.05) / (b + 0.05)];
            });
    }"""  # WCAG 2.2, relative luminance and contrast ratio
    with Run(client, Opened(f"z-{scheme}"), failed("predict", 0, 0)) as run:
        page = browser.new_page(color_scheme=scheme)
        page.goto(run.address)
        page.wait_for_selector("#failures tbody tr")
        ratios = page.evaluate(script)
        page.close()
    assert len(ratios) > 30
    assert [item for item in ratios if item[1] < 4.5] == []


def test_a_scheduler_that_is_gone_is_said_and_the_last_picture_stays(watched: Watched) -> None:
    with own_scheduler() as client, Run(client, Opened("g1"), done("predict", 0, 0)) as run:
        watched.page.goto(run.address)
        until(watched.page, "[data-state=part] b", "1")
    until(watched.page, "#news", re.compile("does not answer"))
    assert numbers(watched.page)["part"] == 1


@pytest.mark.slow
def test_a_real_run_is_seen_from_its_first_block_to_its_end(tmp_path: Path, watched: Watched) -> None:
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    scene = write_raster(tmp_path / "scene.tif", np.random.default_rng(0).integers(1, 200, (2, 700, 900), np.uint8))
    settings = {"model": str(model), "input": str(scene), "output": str(tmp_path / "out"), "ramp": 8, "block_tiles": 1}
    seen: list[Any] = []
    ready = threading.Event()

    def run() -> None:
        with Monitor(form="quiet") as monitor:

            def progress(event: Any) -> None:
                monitor(event)
                if isinstance(event, Opened):
                    seen.append(page_address(monitor.state.started.dashboard))
                    ready.set()
                time.sleep(0.02)  # so that a person could follow

            geoseg.run(settings, progress=progress, workers=1, dashboard="127.0.0.1:0", features=["f.gpkg"])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(300)
        page = watched.page
        page.goto(seen[0])
        page.wait_for_selector("#states")
        states = []
        deadline = time.monotonic() + 200
        while not page.inner_text("#phase").startswith("done") and time.monotonic() < deadline:
            states.append(numbers(page))
            page.wait_for_timeout(100)
    finally:
        thread.join()
    assert page.inner_text("#phase") == "done"
    finished = [state["done"] for state in states if sum(state.values())]
    assert finished == sorted(finished)
    assert len(set(finished)) > 3  # blocks turned while somebody looked
    total = max(sum(state.values()) for state in states)
    assert numbers(page) == {"waiting": 0, "running": 0, "part": 0, "done": total, "failed": 0, "skipped": 0}
    assert page.inner_text("#done") == "100 %"
    assert page.inner_text("#classes").count("%") == 3
    assert "labels.tif" in page.inner_text("#news")
    assert [
        said for said in watched.complaints if "ERR_CONNECTION" not in said
    ] == []  # the scheduler ends with the run
