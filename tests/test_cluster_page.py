"""Scripts of docs/cluster.md: shells, dask-jobqueue and YAML read them; Python is compiled in test_docs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from geoseg.cli import app
from geoseg.engine import WORKER_ENVIRONMENT
from tests.test_docs import blocks

NIGHTLY = blocks("cluster", "bash")[0]
CRON_JOB = next(text for text in blocks("cluster", "yaml") if "CronJob" in text)


@pytest.mark.parametrize(
    ("codes", "runs", "last"),
    [([0], 1, 0), ([1, 0], 2, 0), ([5, 1, 1], 3, 1), ([4], 1, 4), ([3], 1, 3), ([143], 1, 143)],
)
def test_the_script_of_cron_tries_again_what_another_try_may_mend(
    tmp_path: Path, codes: list[int], runs: int, last: int
) -> None:
    (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
    stub = f"""geoseg() {{
      echo "$*" >> {tmp_path}/asked
      return "$(sed -n "$(wc -l < {tmp_path}/asked)p" {tmp_path}/codes)"
    }}
    sleep() {{ :; }}
    """
    script = NIGHTLY.replace("cd /shared/maps", f"cd {tmp_path}").replace("set -u\n", f"set -u\n{stub}")
    assert subprocess.run(["bash", "-c", script]).returncode == last
    assert (tmp_path / "asked").read_text().splitlines() == ["run country.yaml --refresh --quiet"] * runs


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "-"], input=NIGHTLY, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_job_of_kubernetes_runs_a_command_of_geoseg_and_keeps_its_volume() -> None:
    job = yaml.safe_load(CRON_JOB)["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    container = pod["containers"][0]
    command, *arguments = container["args"]
    app.commands[command].make_context(command, arguments)
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert pod["restartPolicy"] == "Never"  # else Kubernetes takes no podFailurePolicy


def test_the_job_that_slurm_gets_starts_workers_of_one_thread() -> None:
    import dask_jobqueue as jobqueue

    code = next(text for text in blocks("cluster", "python") if "SLURMCluster" in text)
    calls = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    call = next(node for node in calls if getattr(node.func, "id", "") == "SLURMCluster")
    names: dict[str, Any] = {"WORKER_ENVIRONMENT": WORKER_ENVIRONMENT}
    given = {item.arg: eval(ast.unparse(item.value), names) for item in call.keywords}  # noqa: S307 - of our own page
    here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with jobqueue.SLURMCluster(**given, n_workers=0, scheduler_options=here) as cluster:
        script = cluster.job_script()
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    lines = script.splitlines()
    assert {f"export {name}={value}" for name, value in WORKER_ENVIRONMENT.items()} <= set(lines)
    assert {"#SBATCH -p compute", "#SBATCH --cpus-per-task=32", "#SBATCH -t 04:00:00"} <= set(lines)
    assert "--nthreads 1" in lines[-1]
    assert "--nworkers 32" in lines[-1]
    assert lines[-1].rstrip().endswith("--memory-limit 0")  # the last one counts
