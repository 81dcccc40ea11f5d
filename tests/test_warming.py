"""Compiling ahead: once on a machine, all at once, and noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import json, sys, time
import numba
from geoseg.outlines import is_compiled
from geoseg.outlines.warming import compile_loops
from geoseg.vectorize import Shaping, Simplification

before = is_compiled()
compile_loops(Shaping(simplification=Simplification(1.0)), is_sifted=False)
print(json.dumps([before, is_compiled()]))
"""


@pytest.mark.slow
def test_a_new_machine_is_told_from_one_that_has_compiled(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == [False, True]
