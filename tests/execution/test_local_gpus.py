"""Workers of a machine with several GPUs; the GPUs are names in a list."""

import asyncio
import itertools
import os
from types import SimpleNamespace

import pytest
from distributed import Status

from agg_pipeline.execution import local_gpus
from agg_pipeline.execution.cluster import cluster
from agg_pipeline.execution.local_gpus import check_numbers, least_used, worker_count
from agg_pipeline.execution.local_workers import ENVIRONMENT, _start
from agg_pipeline.models.backend import VISIBLE
from schemas.config import PredictorConfig
from schemas.errors import UserError


@pytest.mark.parametrize(
    ("gpus", "cores", "threads", "workers", "per_gpu", "count"),
    [
        (0, 8, 1, None, None, 8),
        (0, 8, 4, None, None, 2),
        (0, 8, 16, None, None, 1),
        (0, 8, 1, 3, None, 3),
        (1, 16, 1, None, None, 4),
        (8, 96, 1, None, None, 32),
        (8, 16, 1, None, None, 16),
        (8, 4, 1, None, None, 8),
        (8, 96, 1, None, 2, 16),
        (8, 96, 1, 12, None, 12),
        (8, 96, 1, 1000, None, 64),
    ],
)
def test_number_of_workers(monkeypatch, gpus, cores, threads, workers, per_gpu, count):
    monkeypatch.setattr(local_gpus, "CPU_COUNT", cores)
    monkeypatch.setattr(local_gpus, "visible_gpus", lambda _device: ["gpu"] * gpus)
    assert worker_count(PredictorConfig(threads=threads), 64, workers, per_gpu) == count


def test_numbers_that_contradict_each_other(monkeypatch):
    with pytest.raises(UserError, match="--workers-per-gpu has no effect, because no GPU is used"):
        check_numbers("cpu", None, 2)
    monkeypatch.setattr(local_gpus, "visible_gpus", lambda _device: ["0"])
    with pytest.raises(UserError, match="leave --workers-per-gpu out, or --workers"):
        check_numbers("cuda", 4, 2)


def test_a_gpu_that_only_the_workers_of_a_cluster_have():
    assert worker_count(PredictorConfig(device="cuda:999"), 64, 3, None) == 3


def test_the_least_used_gpu_comes_next():
    used = []
    for _ in range(5):
        used.append(least_used(["3", "GPU-ab"], used))
    assert used == ["3", "GPU-ab", "3", "GPU-ab", "3"]
    # A worker of the second GPU has gone.
    assert least_used(["3", "GPU-ab"], ["3", "3", "GPU-ab"]) == "GPU-ab"


def test_the_gpu_of_a_worker_that_failed_to_start_is_free_again():
    class Started:
        """Stands for a cluster of local workers that are there at once."""

        def __init__(self):
            self.workers, self.worker_spec, self.names = {}, {}, itertools.count()

        def new_worker_spec(self):
            return {next(self.names): {"options": {}}}

        def __await__(self):
            return iter(())

    local = Started()
    asyncio.run(_start(local, 2, ["0", "1"]))
    for name, status in ((0, Status.running), (1, Status.failed)):
        local.workers[name] = SimpleNamespace(status=status)
    asyncio.run(_start(local, 2, ["0", "1"]))
    assert {name: spec["options"][ENVIRONMENT][VISIBLE] for name, spec in local.worker_spec.items()} == {0: "0", 2: "1"}


def test_every_worker_sees_one_gpu():
    with cluster(None, 3, 1, dict, "cpu", ["3", "GPU-ab"]) as workers:
        seen = workers.client.run(os.getenv, VISIBLE)
    assert sorted(seen.values()) == ["3", "3", "GPU-ab"]
    assert os.environ.get(VISIBLE) is None
