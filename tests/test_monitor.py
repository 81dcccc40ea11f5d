"""What a person and a program see of a run: in the terminal, in lines, and in the state that the page shows."""

from __future__ import annotations

import io
import json
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from geoseg.engine import Compiling, Ended, Event, Opened, Started, Writing
from geoseg.grid import Window
from geoseg.monitor import Monitor
from geoseg.monitor.blockmap import CELLS, DONE, FAILED, SKIPPED, WAITING, BlockMap
from geoseg.monitor.lines import JsonLines, ProgressLines
from geoseg.monitor.pace import Pace, StageProgress, seconds_left, share_done
from geoseg.monitor.picture import EMPTY, NODATA, PIXELS, LabelPicture
from geoseg.monitor.state import RunState
from geoseg.monitor.words import STOPPING, duration, size, speed
from tests.runs_to_watch import done, failed, layout, started, striped

PLACES = [(row, col) for row in range(3) for col in range(2)]


class Clock:
    """Seconds that a test decides on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watch(*events: object, **how: object) -> str:
    """What is printed of a run."""
    page = io.StringIO()
    with Monitor(Console(file=page, width=120, **how)) as monitor:  # type: ignore[arg-type]
        for event in events:
            monitor(event)  # type: ignore[arg-type]
    return page.getvalue()


TOTALS = {"predict": 6, "finish": 6, "join": 1}

WHOLE_RUN = [
    Started(
        "continuing with box: 140 x 150 px", "http://127.0.0.1:8787/status", {"predict": 6, "finish": 6, "join": 1}
    ),
    Compiling(),
    Opened("abcd"),
    *(done("predict", *place) for place in PLACES),
    failed("finish", 0, 0),
    done("join", 1, 0, 0),
    Writing(Path("out/labels.tif")),
    Ended(),
]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_monitor_says_where_how_far_what_failed_and_what_is_written(is_terminal: bool) -> None:
    seen = watch(*WHOLE_RUN, force_terminal=is_terminal)
    for words in (
        "dashboard http://127.0.0.1:8787/status",
        "continuing with box: 140 x 150 px",
        "6/6",
        "block 0-0 failed in finish: the disk is full.",
        str(Path("out/labels.tif")),
        "1 failed",
    ):
        assert words in seen


def test_a_terminal_draws_bars_and_a_log_gets_none() -> None:
    assert "━" in watch(*WHOLE_RUN, force_terminal=True)
    log = watch(*WHOLE_RUN, force_terminal=False)
    assert "━" not in log
    assert "\x1b" not in log
    assert all(line.strip() for line in log.splitlines())


def test_a_run_that_never_starts_draws_nothing() -> None:
    assert watch(force_terminal=True) == ""
    assert watch() == ""


def test_compiling_is_said() -> None:
    assert "compiling, once" in watch(WHOLE_RUN[0], Compiling())


def test_a_stopped_run_says_so_at_once() -> None:
    for is_terminal in (False, True):
        assert STOPPING in watch(WHOLE_RUN[0], Opened("a"), Ended(KeyboardInterrupt()), force_terminal=is_terminal)


@pytest.mark.parametrize("form", ["auto", "json", "quiet"])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_run_that_mends_what_was_damaged_begins_twice(form: str, is_terminal: bool) -> None:
    page = io.StringIO()
    with Monitor(Console(file=page, width=200, force_terminal=is_terminal), form=form) as monitor:  # type: ignore[arg-type]
        for event in (started(), Ended(None), started(), done("predict", 0, 0), Ended(None)):
            monitor(event)
    if form == "json":
        lines = [json.loads(line)["event"] for line in page.getvalue().splitlines()]
        assert [lines.count(kind) for kind in ("started", "ended")] == [2, 2]
    elif form == "auto":
        assert page.getvalue().count("mapping with box") >= 2


def test_a_quiet_monitor_says_nothing_at_all() -> None:
    page = io.StringIO()
    with Monitor(Console(file=page), form="quiet") as monitor:
        for event in WHOLE_RUN:
            monitor(event)
        monitor.result([Path("out/labels.tif")], 3.0)
    assert page.getvalue() == ""


def test_every_event_is_a_json_object_in_a_line_of_its_own() -> None:
    page = io.StringIO()
    with Monitor(Console(file=page, width=20), form="json") as monitor:
        for event in WHOLE_RUN:
            monitor(event)
        monitor.result([Path("out/labels.tif")], 3.0)
    lines = [json.loads(line) for line in page.getvalue().splitlines()]
    events = [line["event"] for line in lines]
    assert events == [
        "started", "compiling", "opened", *["block"] * 8, "writing", "progress", "ended", "result",
    ]  # fmt: skip
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"]) for line in lines)
    assert lines[0]["totals"] == {"predict": 6, "finish": 6, "join": 1}
    assert lines[3] | {"time": ""} == {
        "event": "block", "time": "", "stage": "predict", "status": "done", "place": [0, 0], "seconds": 2.0,
    }  # fmt: skip
    assert lines[9]["message"] == "the disk is full."
    progress, ended, result = lines[-3:]
    assert progress["stages"]["predict"] == {"total": 6, "done": 6, "kept": 0, "failed": 0, "seconds": 12.0}
    assert (ended["status"], ended["failed"]) == ("incomplete", 1)
    assert result["files"] == [str(Path("out/labels.tif"))]


@pytest.mark.parametrize("kind", [ProgressLines, JsonLines])
def test_lines_say_again_and_again_how_far_a_run_is(kind: type[ProgressLines] | type[JsonLines]) -> None:
    page, state = io.StringIO(), RunState()
    state(started())
    state(Opened("a"))
    state(done("predict", 0, 0))
    lines = kind(Console(file=page, width=200), state, every=0.02)
    lines.begin(started(), None, "")
    deadline = time.monotonic() + 10
    while page.getvalue().count("Mpx" if kind is ProgressLines else '"progress"') < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    lines.close()
    assert page.getvalue().count("Mpx" if kind is ProgressLines else '"progress"') >= 3
    assert ("predict 1/6" if kind is ProgressLines else '"done": 1') in page.getvalue()


# ---- what is known of a run


def test_a_summary_tells_stages_blocks_speed_and_time_left() -> None:
    clock = Clock()
    state = RunState(clock)
    state(started())
    assert state.summary().phase == "opening"
    assert state.summary().left == 60.0
    clock.now += 5
    state(Opened("abcd"))
    clock.now += 10
    for place in PLACES[:2]:
        state(done("predict", *place, seconds=4.0))
    state(done("finish", 0, 0, seconds=1.0))
    summary = state.summary()
    assert (summary.phase, state.name, summary.elapsed) == ("running", "abcd", 15.0)
    assert summary.mean_pace == pytest.approx(2 * 80 * 80 / 1e6 / 10)
    # 9 s of workers in 10 s; 4 predictions of 4 s and 5 of 1 s are left
    assert summary.left == pytest.approx((4 * 4 + 5 * 1) * 10 / 9)
    assert summary.blocks == {"waiting": 4, "part": 1, "done": 1, "failed": 0, "skipped": 0}
    assert summary.share == pytest.approx(9 / (6 * 4 + 6 * 1))


def test_what_an_earlier_start_has_done_counts_as_done_and_not_as_speed() -> None:
    clock = Clock()
    state = RunState(clock)
    state(started())
    state(Opened("a"))
    clock.now += 10
    for place in PLACES[:4]:
        state(Event("predict", "kept", place))
    state(done("predict", *PLACES[4]))
    summary = state.summary()
    assert summary.mean_pace == pytest.approx(40 * 80 / 1e6 / 10)
    assert summary.stages["predict"] == StageProgress(total=6, done=1, kept=4, seconds=2.0)
    assert summary.blocks["part"] == 5


@pytest.mark.parametrize(
    ("error", "fails", "phase"),
    [
        (None, False, "done"),
        (None, True, "incomplete"),
        (KeyboardInterrupt(), True, "stopped"),
        (OSError("no space"), False, "broken"),
    ],
)
def test_a_run_ends_in_one_of_four_ways(error: BaseException | None, fails: bool, phase: str) -> None:
    clock = Clock()
    state = RunState(clock)
    state(started())
    state(Opened("a"))
    clock.now += 7
    if fails:
        state(failed("predict", 0, 0))
    state(Ended(error))
    clock.now += 100
    summary = state.summary()
    assert (summary.phase, summary.elapsed, summary.left) == (phase, 7.0, None)
    assert summary.message == ("no space" if phase == "broken" else "")
    assert [failure.id for failure in summary.failures] == (["0-0"] if fails else [])


def test_the_mean_speed_stops_with_the_last_pixel() -> None:
    clock = Clock()
    state = RunState(clock)
    state(started())
    state(Opened("a"))
    clock.now += 10
    for place in PLACES:
        state(done("predict", *place))
    before = state.summary().mean_pace
    clock.now += 50
    assert state.summary().mean_pace == before == pytest.approx(160 * 200 / 1e6 / 10)


def test_speed_now_falls_when_nothing_comes_and_forgets_what_is_long_ago() -> None:
    pace = Pace(0.0)
    for second in range(1, 101):
        pace.add(float(second), 10)
    for second in range(101, 141):
        pace.add(float(second), 30)
    assert pace.now(140.0) == pytest.approx(30.0)
    assert pace.mean(140.0) == pytest.approx((100 * 10 + 40 * 30) / 140)
    assert pace.now(240.0) < 6


def test_slow_blocks_still_have_a_speed() -> None:
    pace = Pace(0.0)
    for minute in range(1, 30):
        pace.add(60.0 * minute, 600)
    assert pace.now(60.0 * 29) == pytest.approx(10.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 100)), min_size=1, max_size=5))
def test_share_done_lies_between_none_and_all(tasks: list[tuple[int, int, float]]) -> None:
    stages = {
        f"stage {number}": StageProgress(total=count + left, done=count, seconds=seconds if count else 0.0)
        for number, (count, left, seconds) in enumerate(tasks)
    }
    assert 0.0 <= share_done(stages) <= 1.0
    left = seconds_left(stages, 10.0, None)
    assert left is None or left >= 0
    finished = {
        name: StageProgress(total=work.total, done=work.total, seconds=work.seconds) for name, work in stages.items()
    }
    assert share_done(finished) == 1.0


def test_no_time_is_promised_when_the_plan_s_is_over() -> None:
    stages = {"predict": StageProgress(total=4), "finish": StageProgress(total=4)}
    assert seconds_left(stages, 5.0, 20.0) == 15.0
    assert seconds_left(stages, 25.0, 20.0) is None


# ---- the map of blocks

edges = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(lambda sizes: tuple(np.cumsum([0, *sizes]).tolist()))


def expected(finished: int, todo: int, *, has_failed: bool) -> int:
    """The value of a cell, by its definition."""
    if todo == 0:
        return SKIPPED
    if has_failed:
        return FAILED
    return {0: WAITING, todo: DONE}.get(finished, 2 + finished * (DONE - 2) // todo)


@given(rows=edges, cols=edges, cells=st.integers(1, 6), data=st.data())
def test_cells_are_what_counting_their_blocks_gives(
    rows: tuple[int, ...], cols: tuple[int, ...], cells: int, data: st.DataObject
) -> None:
    every = [(row, col) for row in range(len(rows) - 1) for col in range(len(cols) - 1)]
    places = data.draw(st.none() | st.frozensets(st.sampled_from(every), min_size=1))
    stages = data.draw(st.integers(1, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoseg.monitor.blockmap.CELLS", cells)
        blocks = BlockMap(layout(rows, cols, places), stages)
    told = list(blocks.values().ravel())
    steps: Counter[tuple[int, int]] = Counter()
    lost: set[tuple[int, int]] = set()
    for place in data.draw(st.lists(st.sampled_from(every), max_size=40)):
        if data.draw(st.booleans()):
            blocks.step(place)
            steps[place] = min(stages, steps[place] + 1)
        else:
            blocks.fail(place)
            lost.add(place)
        if data.draw(st.booleans()):
            for index, value in blocks.take_changes():
                told[index] = value
    for index, value in blocks.take_changes():
        told[index] = value
    assert max(blocks.shape) <= cells
    assert told == list(blocks.values().ravel())  # changes lead to the same as looking at everything
    runs = set(every) if places is None else places
    for (row, col), value in np.ndenumerate(blocks.values()):
        inside = [p for p in runs if (p[0] // blocks.factor, p[1] // blocks.factor) == (row, col)]
        assert value == expected(
            sum(steps[p] for p in inside), stages * len(inside), has_failed=bool(lost & set(inside))
        )
    assert sum(blocks.counts.values()) == len(every)
    assert blocks.counts["skipped"] == len(every) - len(runs)
    assert blocks.counts["failed"] == len(lost & set(runs))
    assert blocks.counts["done"] == sum(steps[place] == stages for place in runs if place not in lost)


def test_half_a_million_blocks_are_drawn_as_few_cells_and_followed_quickly() -> None:
    edge = tuple(range(0, 750 * 512, 512))
    blocks = BlockMap(layout(edge, edge), 4)
    assert max(blocks.shape) <= CELLS
    begin = time.thread_time()
    for row in range(200):
        for col in range(200):
            blocks.step((row, col))
    changes = blocks.take_changes()
    assert time.thread_time() - begin < 3
    assert len(changes) == np.ceil(200 / blocks.factor) ** 2
    assert blocks.edges[0][-1] == edge[-1]
    assert len(blocks.edges[0]) == blocks.shape[0] + 1


# ---- the picture of labels


def everything(picture: LabelPicture, elapsed: float = float("inf")) -> int:
    """Draw until no more comes, and count."""
    count = 0
    while tiles := picture.draw(elapsed):
        count += len(tiles)
    return count


def test_the_picture_shows_the_label_in_the_middle_of_each_pixel() -> None:
    rows, cols = (0, 400, 800, 1000), (0, 500, 1000, 1200)

    def read(window: Window) -> np.ndarray:
        ys, xs = np.mgrid[window.y : window.bottom, window.x : window.right]
        return ((ys // 7 + xs // 5) % 2 * 4 + 3).astype(np.uint8)

    picture = LabelPicture(layout(rows, cols, read=read))
    assert max(picture.shape) == PIXELS
    for row in range(3):
        for col in range(3):
            picture.add((row, col))
    everything(picture)
    height, width = picture.shape
    ys, xs = (np.floor((np.arange(count) + 0.5) * length / count) for count, length in ((height, 1000), (width, 1200)))
    expected = np.add.outer(ys // 7, xs // 5) % 2 + 1  # entries 1 and 2 of the legend
    assert (picture.values == expected).all()


def test_the_picture_grows_block_by_block_and_tells_nodata_from_nothing_yet() -> None:
    picture = LabelPicture(layout())
    assert picture.shape == (200, 160)
    picture.add((0, 0))
    [(left, top, values)] = picture.draw(float("inf"))
    assert (left, top, values.shape) == (0, 0, (80, 80))
    assert set(picture.values.ravel()) == {EMPTY, 1}
    for place in PLACES[1:]:
        picture.add(place)
    everything(picture)
    labels = striped(Window(0, 0, 200, 160))
    assert (picture.values == np.select([labels == 3, labels == 7], [1, 2], NODATA)).all()


def test_classes_that_nobody_announced_get_a_colour_each() -> None:
    picture = LabelPicture(layout(read=lambda window: np.full(window.shape, 42, np.int64)))
    picture.add((0, 0))
    everything(picture)
    assert picture.legend[42][0] == "42"
    assert set(picture.values.ravel()) == {EMPTY, 3}


def test_blocks_without_a_middle_are_never_read() -> None:
    edge = tuple(range(0, 10 * (2 * PIXELS + 1), 10))
    reads: list[Window] = []

    def read(window: Window) -> np.ndarray:
        reads.append(window)
        return np.full(window.shape, 3, np.uint8)

    picture = LabelPicture(layout(edge, (0, 10), read=read))
    for row in range(len(edge) - 1):
        picture.add((row, 0))
    everything(picture)
    assert len(reads) == PIXELS
    assert (picture.values == 1).all()


def test_the_picture_takes_no_more_than_its_share_of_the_time() -> None:
    def read(window: Window) -> np.ndarray:
        begin = time.thread_time()
        while time.thread_time() - begin < 0.01:
            pass
        return np.full(window.shape, 3, np.uint8)

    picture = LabelPicture(layout(read=read))
    for place in PLACES:
        picture.add(place)
    assert everything(picture, 2.5) == 3  # 25 ms are its share, and the block that reaches it is finished
    assert everything(picture, 100.0) == 3


def test_a_block_that_cannot_be_read_leaves_a_hole_and_nothing_else() -> None:
    def read(window: Window) -> np.ndarray:
        if window.y == 0:
            raise OSError("gone")
        return np.full(window.shape, 3, np.uint8)

    picture = LabelPicture(layout(read=read))
    for place in PLACES:
        picture.add(place)
    everything(picture)
    assert (picture.values[:80] == EMPTY).all()
    assert (picture.values[80:] == 1).all()


def test_numbers_are_written_as_people_read_them() -> None:
    assert [duration(seconds) for seconds in (0.2, 99, 100, 5_999, 6_000, 90_000)] == [
        "0 s", "99 s", "1:40 min", "99:59 min", "1:40 h", "25:00 h",
    ]  # fmt: skip
    assert [size(count) for count in (5 * 2**20, 1536 * 2**20)] == ["5 MiB", "1.5 GiB"]
    assert [speed(value) for value in (0.7123, 12.34, 4321.0)] == ["0.712 Mpx/s", "12.3 Mpx/s", "4,321 Mpx/s"]
