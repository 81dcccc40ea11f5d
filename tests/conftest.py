"""What several test files share."""

from __future__ import annotations

import os
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


@pytest.fixture(autouse=True)
def _no_catalog_of_ones_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have models of their own; these see what ships."""
    monkeypatch.setenv("GEOSEG_CATALOG", str(tmp_path_factory.getbasetemp() / "no-catalog"))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real imagery that does not ship; a test that needs it is skipped where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs imagery that does not ship with geoseg")
    return SHARED_DATA
