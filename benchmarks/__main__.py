"""``python -m benchmarks [NAME ...]``: run all benchmarks, or those named, and print their tables."""

import sys
from importlib import import_module

NAMES = [
    "bench_overhead",
    "bench_relabel",
    "bench_finishing",
    "bench_refresh",
    "bench_nights",
    "bench_null_model",
    "bench_polygonize",
    "bench_generalize",
    "bench_objects",
    "bench_footprints",
    "bench_families",
    "bench_buildings",
    "bench_watching",
    "bench_pipeline",
    "bench_opening",
    "bench_runtimes",
]

for name in sys.argv[1:] or NAMES:
    import_module(f"benchmarks.{name}").main()
