"""Runs whose state was damaged by a power cut, a person or a disk: it is made again or said, and no map is wrong."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from distributed import Client
from scipy.ndimage import gaussian_filter

import geoseg
from geoseg.engine import ProgressEvent, Started, Writing, connect
from geoseg.errors import DamagedError, FingerprintError, ReportWarning
from geoseg.store import RunFolder
from geoseg.workflow.reporting import make_report
from tests.killing import kill_in_the_middle
from tests.networks import Box, write_model
from tests.rasters import write_raster


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 2) as client:
        yield client


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run in 5 x 5 blocks, with a block without data."""
    folder = tmp_path_factory.mktemp("damage")
    fields = np.stack([gaussian_filter(np.random.default_rng(n).normal(size=(250, 230)), 4) for n in (1, 2)])
    pixels = (128 + 60 * fields / fields.std()).clip(1, 255).astype(np.uint8)
    pixels[:, :110, :110] = 0
    scene = write_raster(folder / "scene.tif", pixels, nodata=0)
    model = write_model(folder / "model", Box(3), name="box", halo=3, tile_size=64)
    return {
        "model": str(model), "input": str(scene), "ramp": 8, "block_tiles": 1, "workers": 2, "min_area": 1_000,
        "report": False,
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(wanted: dict[str, Any], client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended well."""
    output = tmp_path_factory.mktemp("whole") / "out"
    geoseg.run(wanted, output=str(output), client=client)
    return output


def results_of(output: Path) -> tuple[Any, ...]:
    with rasterio.open(output / "labels.tif") as source:
        labels = source.read(1)
    frame = gpd.read_file(output / "features.gpkg", layer="land_use")
    return labels.tolist(), [tuple(row) for row in frame.to_wkb().itertuples(index=False)]


def copied(whole: Path, folder: Path) -> Path:
    """The state of a run whose results are still to be written."""
    shutil.copytree(whole / "state", folder / "out" / "state")
    return folder / "out"


def remove(path: Path) -> None:
    path.unlink()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def json_of_others(path: Path) -> None:
    path.write_text('[1, null, {"a": 3}]')


def other_numbers(path: Path) -> None:
    path.write_text(re.sub(r"\b255\b|\b64\b", "3", path.read_text()))


def change(path: Path) -> None:
    """Other bytes in the middle, the size is the same."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(255 - value for value in content[middle : middle + 8])
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage", "repeated"),
    [
        ("blocks.zarr/labels/c/3/3", remove, {"predict": 4, "finish": 1}),
        ("blocks.zarr/confidence/c/4/4", cut_off, {"predict": 4, "finish": 1}),
        ("finish/3-3", empty, {"predict": 4, "finish": 1}),
        ("outlines/3-3.arrow", cut_off, {"trace": 1}),
        ("outlines/trace/2-2", remove, {"trace": 1}),
        ("outlines/1-1-1.arrow", remove, {"join": 1}),
        ("outlines/3-0-0.arrow", empty, {"join": 1}),
        ("outlines/3-3.survey.npz", remove, {}),
        ("outlines/3-3.labels", cut_off, {}),
        ("outlines/3-3.survey.npz outlines/3-3.arrow", remove, {"trace": 1}),
        ("outlines/3-3.labels outlines/3-3.arrow", cut_off, {"sift": 1, "trace": 1}),
        (
            "outlines/3-3.survey.npz outlines/3-3.labels outlines/3-3.arrow",
            remove,
            {"survey": 1, "merge": 3, "sift": 1, "trace": 1},
        ),
        ("outlines/1-1-1.fates.npz outlines/3-3.arrow", remove, {"trace": 1}),
    ],
)
def test_what_is_missing_or_cut_off_is_made_again_and_nothing_else(
    wanted: dict[str, Any], whole: Path, client: Client, tmp_path: Path, name: str, damage: Callable[[Path], None],
    repeated: dict[str, int],
) -> None:  # fmt: skip
    output = copied(whole, tmp_path)
    for file in name.split():
        damage(output / "state" / file)
    result = geoseg.run(wanted, output=str(output), client=client)
    assert {stage: count for stage, count in result.outcome.done.items() if count} == repeated
    assert results_of(output) == results_of(whole)
    assert os.listdir(output / "state" / "strips") == [], "what no block waits for is not written again"


@pytest.mark.parametrize(
    "name", ["blocks.zarr/labels/c/3/3", "blocks.zarr/confidence/c/4/4", "outlines/3-3.arrow", "outlines/3-0-0.arrow"]
)
def test_what_holds_other_bytes_is_never_a_result_and_is_made_again_at_once(
    wanted: dict[str, Any], whole: Path, client: Client, tmp_path: Path, name: str
) -> None:
    output = copied(whole, tmp_path)
    change(output / "state" / name)
    shutil.rmtree(output / "state" / "outlines") if "confidence" in name else None  # nothing else reads it
    events: list[ProgressEvent] = []
    geoseg.run(wanted, output=str(output), client=client, progress=events.append)
    assert results_of(output) == results_of(whole)
    assert sum(isinstance(event, Started) for event in events) == 2
    assert geoseg.run(wanted, output=str(output), client=client).is_unchanged


def test_what_is_damaged_again_and_again_ends_the_run_with_the_file(
    wanted: dict[str, Any], whole: Path, client: Client, tmp_path: Path
) -> None:
    """A disk that is about to fail."""
    output = copied(whole, tmp_path)
    chunk = output / "state" / "blocks.zarr" / "labels" / "c" / "3" / "3"

    def fail(event: ProgressEvent) -> None:
        if isinstance(event, Writing) and event.path.name == "labels.tif":
            change(chunk)

    with pytest.raises(DamagedError, match=r"labels/c/3/3 was damaged .* and is removed; start the run again"):
        geoseg.run(wanted, output=str(output), client=client, progress=fail)


@pytest.mark.parametrize("name", ["blocks.zarr/labels/zarr.json", "blocks.zarr/zarr.json", "outlines/fingerprint.json"])
@pytest.mark.parametrize("damage", [empty, json_of_others, other_numbers])
def test_a_description_that_a_power_cut_or_a_disk_has_damaged_is_written_again(
    wanted: dict[str, Any], whole: Path, client: Client, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    output = copied(whole, tmp_path)
    damage(output / "state" / name)
    result = geoseg.run(wanted, output=str(output), client=client)
    assert result.outcome.done["predict"] == 0
    assert results_of(output) == results_of(whole)


def test_files_of_other_programs_in_the_state_change_nothing(
    wanted: dict[str, Any], whole: Path, client: Client, tmp_path: Path
) -> None:
    output = copied(whole, tmp_path)
    foreign = [
        output / "state" / folder / name
        for folder in ("predict", "finish", "number", "strips", "objects", "outlines", "blocks.zarr")
        for name in (".DS_Store", "._0-0", "Thumbs.db", "._0-0-top.npy", "._1-2")
    ]
    for path in foreign:
        path.write_bytes(b"\x00")
    result = geoseg.run(wanted, output=str(output), client=client)
    assert sum(result.outcome.done.values()) == 0
    assert results_of(output) == results_of(whole)
    assert all(path.exists() for path in foreign)


def test_blocks_of_which_nobody_knows_what_they_were_made_from_are_refused_with_the_remedy(
    wanted: dict[str, Any], whole: Path, client: Client, tmp_path: Path
) -> None:
    output = copied(whole, tmp_path)
    empty(output / "state" / "fingerprint.json")
    with pytest.raises(FingerprintError, match=r"fingerprint.json is damaged, .* give --overwrite"):
        geoseg.run(wanted, output=str(output), client=client)
    for stage in ("predict", "finish", "number"):
        shutil.rmtree(output / "state" / stage)
    geoseg.run(wanted, output=str(output), client=client)
    assert results_of(output) == results_of(whole), "where nothing was done, nothing is lost"


@pytest.mark.slow
def test_after_kill_9_strips_and_drafts_that_the_disk_has_lost_are_made_again(
    wanted: dict[str, Any], whole: Path, client: Client, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    kill_in_the_middle({**wanted, "output": str(output)}, output / "state" / "finish", 6)
    finished = len(RunFolder(output).journal("finish").places())
    assert finished < 25, "the run was not interrupted in the middle"
    strips = sorted((output / "state" / "strips").glob("*.npy"))
    assert strips
    for path, damage in zip(strips, itertools.cycle([change, remove, cut_off, empty])):
        damage(path)
    result = geoseg.run(wanted, output=str(output), client=client)
    assert result.outcome.kept["finish"] >= finished
    assert results_of(output) == results_of(whole)


def test_a_report_on_a_damaged_state_lacks_the_confidence_and_says_so(whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    change(output / "state" / "blocks.zarr" / "labels" / "c" / "3" / "3")
    with pytest.warns(ReportWarning, match="lacks the confidence, because .*labels/c/3/3 was damaged"):
        page = make_report(output)
    assert "</html>" in page.read_text()
