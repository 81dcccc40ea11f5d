"""Imported by the server of workers after their libraries: it loads compiled loops before it forks.

numba imports much of itself and of SciPy when it loads its first loop, which takes each worker a second otherwise.
Loops that no earlier start has compiled are left to the workers, where somebody watching is told. What measures
polygons is left to them too: PROJ's database must not be open in a process that is forked.
"""

import sys
from contextlib import suppress

from geoseg import blending, outlines
from geoseg.outlines.warming import run_loops
from geoseg.vectorize import Shaping

with suppress(Exception):  # workers load them too, and tell of what is wrong
    if outlines.is_compiled():
        run_loops(Shaping())
    if "torch" in sys.modules and blending.is_compiled():
        blending.compile_loops()
