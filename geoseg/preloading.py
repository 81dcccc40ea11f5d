"""Imported first by the process that forks workers: the garbage collector waits until all is loaded.

It would look through what libraries make while they are imported again and again, a fifth of the time, and find next to
nothing. `geoseg.engine.frozen` lets it begin.
"""

import gc

gc.disable()
