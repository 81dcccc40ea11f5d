"""What several test files share."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

# Tests run in as many processes as there are cores, a thread each: more wait for each other, half as long again.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests start hundreds of commands: the first one compiles geoseg's modules for all of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

hypothesis.settings.register_profile("geoseg", deadline=None, max_examples=30)
hypothesis.settings.load_profile("geoseg")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


CACHES = tempfile.mkdtemp(prefix="geoseg-tests-")
"""Caches of this process. Their folders stay the same ones: processes that fork workers are started for each other."""
os.environ |= {"XDG_CACHE_HOME": f"{CACHES}/cache", "HF_HUB_CACHE": f"{CACHES}/hub"}


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHES, ignore_errors=True)


@pytest.fixture
def empty_cache() -> Path:
    """The folder of what is downloaded, with nothing in it."""
    return emptied(Path(os.environ["XDG_CACHE_HOME"]))


@pytest.fixture
def empty_hub(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what the hub's library has fetched, with nothing in it; and nothing is to be reached beyond it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", os.environ["HF_HUB_CACHE"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # of workers
    return emptied(Path(os.environ["HF_HUB_CACHE"]))


def emptied(folder: Path) -> Path:
    """The same folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def _no_catalog_of_ones_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have models of their own; these see what ships."""
    monkeypatch.setenv("GEOSEG_CATALOG", str(tmp_path_factory.getbasetemp() / "no-catalog"))


@pytest.fixture(autouse=True)
def _the_same_random_weights() -> None:
    """Networks that a test makes have the same weights each time, whatever ran before."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real imagery that does not ship; a test that needs it is skipped where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs imagery that does not ship with geoseg")
    return SHARED_DATA
