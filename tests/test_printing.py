"""What a terminal shows of names that look like markup, of errors as JSON, and the exit codes as documented."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geoseg import errors
from geoseg.cli import main
from tests.rasters import write_raster

GEOSEG = [sys.executable, "-m", "geoseg"]
STRANGE = ("scene[/a].tif", "[built].tif", "a:fire:b.tif", "[red]x.tif")


def in_a_terminal(*arguments: str) -> str:
    """What a command prints when its streams are a terminal of 80 columns, without colours and line ends."""
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    process = subprocess.Popen([*GEOSEG, *arguments], stdout=child, stderr=child, stdin=child, env=environment)
    os.close(child)
    printed = b""
    try:
        while part := os.read(parent, 4096):
            printed += part
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(parent)
    assert process.wait() != 0
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("name", STRANGE)
def test_a_sentence_is_printed_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["plan", "land_use", "--input", name], ["preview", name, "a.png"], ["evaluate", name, name]):
        assert main(command) == 3
        printed = capsys.readouterr()
        assert name in printed.err
        assert len(printed.err.splitlines()) == 1
        assert printed.out == ""


def test_a_question_ends_with_its_mark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "scene.tif", "--model", "buildngs"]) == 3
    assert capsys.readouterr().err.endswith("did you mean 'buildings'?\n")


def test_a_terminal_shows_the_same() -> None:
    for name in STRANGE[:2]:
        printed = in_a_terminal("run", "land_use", "--input", name)
        assert name in printed
        assert len(printed.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["run", "plan"])
def test_an_error_is_a_json_object_too(verb: str, tmp_path: Path) -> None:
    command = [*GEOSEG, verb, "land_use", "--input", "no.tif", "--output", str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "error"
    assert last["message"].startswith("the input 'no.tif' does not exist")
    assert last["exit_code"] == done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


def test_every_error_exits_with_the_code_of_the_documentation() -> None:
    text = (Path(__file__).parents[1] / "docs" / "errors.md").read_text()
    documented = {name: int(code) for name, code in re.findall(r"^\| `(\w+Error)` \| `\w+` \| (\d) \|", text, re.M)}
    classes = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.GeosegError) and kind is not errors.GeosegError
    }
    assert documented == classes


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"geoseg \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_notes_are_said_where_python_is_told_to_ignore_warnings(tmp_path: Path) -> None:
    pixels = np.full((4, 128, 128), 1500, np.uint16)
    pixels[..., :64] = 0
    scene = write_raster(tmp_path / "scene.tif", pixels, descriptions=["B02", "B03", "B04", "B08"])
    command = [*GEOSEG, "plan", str(scene), "--model", "sentinel2-land-cover"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    assert "are 0 in every band and are mapped like any other; give `--nodata 0`" in " ".join(done.stderr.split())


def test_what_opens_an_address_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    address = "http://127.0.0.1:1/scene.tif?sv=2024&sig=SECRET"
    for command in (
        ["plan", address, "--model", "buildings"],
        ["plan", address, "--model", "buildings", "--json"],
        ["evaluate", address, address],
        ["polygonize", address, "a.gpkg"],
        ["preview", address, "a.png"],
        ["run", "http://me:SECRET@127.0.0.1:1/scene.tif", "--model", "buildings"],
    ):
        assert main(command) != 0
        printed = capsys.readouterr()
        assert "127.0.0.1:1/scene.tif" in printed.err
        assert "SECRET" not in printed.err + printed.out
