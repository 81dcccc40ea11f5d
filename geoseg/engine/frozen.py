"""Imported last by the process that forks workers: the garbage collector leaves alone what is loaded so far.

Otherwise it would write into every object of every worker, and no page would stay shared.
"""

import gc

gc.freeze()
gc.enable()
