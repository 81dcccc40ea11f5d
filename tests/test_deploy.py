"""Container files of docs/deploy: what they copy is there and enough, and a linter of Dockerfiles finds nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from geoseg.cli import main

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docs" / "deploy").glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def lines(path: Path) -> list[str]:
    """Instructions, those that go over several lines as one, without comments."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE))
    return [line for line in text.splitlines() if line]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_image_copies_all_that_the_package_is_built_of(path: Path) -> None:
    copied = set()
    for line in lines(path):
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    assert all((ROOT / name).exists() for name in copied)
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = PROJECT["project"]
    needed = {*wheel["packages"], *wheel["force-include"], project["readme"], *project["license-files"]}
    assert copied == needed | {"pyproject.toml"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_image_is_pinned_runs_as_nobody_special_and_starts_geoseg(path: Path) -> None:
    found = lines(path)
    bases = [line.split()[1] for line in found if line.startswith("FROM ")]
    assert all(re.fullmatch(r"[\w/.-]+:\d+\.\d+[\w.-]*", base) for base in bases)
    python = re.search(r":(\d+\.\d+)", bases[0])
    assert python is not None
    assert f"Programming Language :: Python :: {python[1]}" in PROJECT["project"]["classifiers"]
    assert [line for line in found if line.startswith("USER ")] == ["USER 1000"]
    extras = re.search(r'install --no-cache-dir "\.\[([\w,]+)\]"', path.read_text())
    assert extras is not None
    assert set(extras[1].split(",")) <= set(PROJECT["project"]["optional-dependencies"]) - {"dev", "docs"}
    assert found[-2:] == ['ENTRYPOINT ["geoseg"]', 'CMD ["--help"]']
    assert "geoseg" in PROJECT["project"]["scripts"]
    assert main(["--help"]) == 0


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), *map(str, FILES)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")
