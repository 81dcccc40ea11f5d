"""What it costs to watch a run: the same run with nobody, with the terminal and the page, and with a browser that asks.

On a machine whose cores are all busy, throughput falls by what watching takes from them. So the CPU time of the process
that hosts client, scheduler and page is compared, and that of the workers; wall times of so short a run vary more than
what is sought. Runs alternate.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile

from benchmarks.measure import table

WAYS = {"none": "nobody listens", "monitor": "terminal and page", "browser": "and a browser looks"}


def main(runs: int = 5) -> None:
    """Print the table."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(runs):
            for way in WAYS:
                command = [sys.executable, "-W", "ignore", "-m", "benchmarks.watched_once", f"{folder}/out", way]
                found[way].append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    rows, base = [], 0.0
    for way, spent in found.items():
        wall, own, workers = (statistics.median(item[key] for item in spent) for key in ("wall", "own", "workers"))
        share = statistics.median(item["own"] / item["wall"] / 2 for item in spent)
        base = base or share
        rows.append([WAYS[way], f"{wall:.1f}", f"{workers:.1f}", f"{own:.2f}", f"{100 * share:.2f}"])
        rows[-1].append(f"{100 * (share - base):.2f}")
    header = ["", "wall s", "workers' CPU s", "host's CPU s", "% of two cores", "more, % of two cores"]
    table(f"watching: the shipped scene in 90 blocks on two workers, medians of {runs} runs", header, rows)


if __name__ == "__main__":
    main()
