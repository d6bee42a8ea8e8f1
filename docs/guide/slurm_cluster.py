"""Run a command of ``agg`` on a Dask cluster of SLURM jobs, which ends with the command.

    python docs/guide/slurm_cluster.py --jobs 8 --gpus -- agg proposals run --dataset sbd --data /data/sbd --out out

Each job is one node's share: ``--workers`` processes, and with ``--gpus`` one GPU that these share. A site that
asks for more, such as an account, needs other arguments of ``SLURMCluster`` (https://jobqueue.dask.org).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import click
from dask_jobqueue import SLURMCluster

NTHREADS = 2
"""Tasks of a process at a time: one shard is in the model while another one loads or writes."""


def slurm_cluster(
    workers: int = 4, gpus: bool = False, memory: str = "16GB", hours: int = 4, partition: str | None = None
) -> SLURMCluster:
    """A cluster without jobs, whose scheduler is this process.

    Args:
        workers: processes of a job.
        gpus: whether a job has a GPU.
        memory: of a job.
        hours: time limit of a job.
        partition: queue of the jobs; None for the site's default.
    """
    return SLURMCluster(
        cores=NTHREADS * workers,
        processes=workers,
        memory=memory,
        walltime=f"{hours:02}:00:00",
        queue=partition,
        log_directory="slurm-logs",
        job_extra_directives=["--gres=gpu:1"] if gpus else [],
        job_script_prologue=["export MALLOC_TRIM_THRESHOLD_=1073741824 OMP_NUM_THREADS=1"],
        worker_extra_args=["--memory-limit", "0"],
        scheduler_options={"dashboard_address": ":0"},
    )


@click.command()
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Number of jobs.")
@click.option("--workers", default=4, show_default=True, type=click.IntRange(1), help="Processes of a job.")
@click.option("--gpus", is_flag=True, help="A GPU for each job.")
@click.option("--memory", default="16GB", show_default=True, help="Of a job.")
@click.option("--hours", default=4, show_default=True, type=click.IntRange(1), help="Time limit of a job.")
@click.option("--partition", help="Queue of the jobs.  [default: the site's]")
@click.argument("command", nargs=-1, required=True)
def main(
    jobs: int, workers: int, gpus: bool, memory: str, hours: int, partition: str | None, command: Sequence[str]
) -> None:
    """Run COMMAND with the option --scheduler on a cluster of SLURM jobs."""
    with slurm_cluster(workers, gpus, memory, hours, partition) as cluster:
        cluster.scale(jobs=jobs)
        # A run ends if there is no worker for two minutes, and jobs may wait in their queue for hours.
        print(f"waiting for the first of {jobs} jobs", flush=True)
        cluster.wait_for_workers(1)
        sys.exit(subprocess.run([*command, "--scheduler", cluster.scheduler_address]).returncode)


if __name__ == "__main__":
    main()
