"""How many workers a run has on this machine, and which GPU each of them sees.

A worker sees one GPU, through the environment variable ``CUDA_VISIBLE_DEVICES``, as a worker of a cluster does that was
started by SLURM or dask-cuda. Its model then runs on ``cuda``, whatever the GPU's number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from dask.system import CPU_COUNT

from agg_pipeline.models.backend import visible_gpus
from schemas.config import PredictorConfig
from schemas.errors import UserError

WORKERS_PER_GPU = 4
"""Workers of a GPU, if there is a core for each: while one cuts out and pastes back, the GPU computes for another."""


def worker_count(config: PredictorConfig, images: int, workers: int | None, workers_per_gpu: int | None) -> int:
    """Number of worker processes of a run on this machine.

    Args:
        config: what the model computes on, as it was chosen, and the threads of each worker.
        images: number of images that the run has to do; there are no more workers than images.
        workers: number of all workers that is asked for; None for the default, one per core or ``workers_per_gpu``.
        workers_per_gpu: number of workers of each GPU that is asked for; None for the default.
    """
    gpus = len(visible_gpus(config.device))
    cores = max(1, CPU_COUNT // config.threads)
    wanted = workers or (gpus * (workers_per_gpu or max(1, min(WORKERS_PER_GPU, cores // gpus))) if gpus else cores)
    return min(wanted, max(1, images))


def check_numbers(device: str, workers: int | None, workers_per_gpu: int | None) -> None:
    """UserError if both numbers of ``worker_count`` are asked for, or workers of a GPU, and no GPU is used."""
    if workers_per_gpu and workers:
        raise UserError("--workers is the number of all workers; leave --workers-per-gpu out, or --workers")
    if workers_per_gpu and not visible_gpus(device):
        raise UserError("--workers-per-gpu has no effect, because no GPU is used; leave it out, or use --device cuda")


def least_used(gpus: Sequence[str], used: Iterable[str]) -> str:
    """The GPU that a new worker gets: the first of those that the fewest workers have.

    Args:
        gpus: names of the GPUs, at least one.
        used: the GPU of each worker that is there.
    """
    workers = Counter(used)
    return min(gpus, key=lambda gpu: workers[gpu])
