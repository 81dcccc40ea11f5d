"""Imported by the server of workers that predict nothing: it loads the loops that trace and join before it forks.

Loops that no earlier start has compiled are left to the workers, where somebody watching is told. What measures
polygons is left to them too: PROJ's database must not be open in a process that is forked.
"""

from geoseg.outlines.warming import is_compiled, run_loops
from geoseg.vectorize import Shaping

if is_compiled():
    run_loops(Shaping())
