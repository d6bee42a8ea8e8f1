"""A run goes on without a worker whose GPU has failed; the GPUs are names in a list, the workers real processes."""

import os
import signal
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from agg_pipeline.execution import waiting
from agg_pipeline.execution.cluster import cluster
from agg_pipeline.execution.lost_gpu import LostGpuError
from agg_pipeline.execution.waiting import lose, ready
from agg_pipeline.execution.workers import WorkerState
from tests.execution.test_scheduling import CHAIN, Model, made, run_or_lose_gpu


def chain_with(predict):
    return replace(CHAIN, stages=(CHAIN.stages[0], replace(CHAIN.stages[1], run=predict)))


def lose_gpu_then_die(folder, state, batch, pixels, model):
    """The worker of shard 1 loses its GPU, and the other one dies once when it comes to shard 6."""
    done = run_or_lose_gpu(folder / "lost", state, batch, pixels, model)
    if state.task.index >= 6 and (folder / "lost").exists() and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return done


def test_a_worker_that_dies_after_another_one_lost_its_gpu_is_replaced_and_the_run_ends(tmp_path):
    with cluster(None, 2, 1, Model) as running:
        done, _ = made(ready(running), *[2] * 9, chain=chain_with(partial(lose_gpu_then_die, tmp_path)))
    assert (tmp_path / "died").exists()
    assert [each.sidecar["images"] for each in done] == [[f"{n}-0", f"{n}-1"] for n in range(9)]


def looks(monkeypatch, *found):
    """Stands for two workers: which of them are there at each look, and whether they are paused; and a clock."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(waiting.time, "sleep", sleep)
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])

    def states():
        there = found[min(int(now[0] / waiting.POLL_SECONDS), len(found) - 1)]
        return {address: WorkerState(0.0, paused, 0, 0, 0) for address, paused in there.items()}

    return SimpleNamespace(lost=set(), began_with=2, states=states), now


def test_a_worker_that_has_died_is_waited_for(monkeypatch):
    workers, now = looks(monkeypatch, {"a": False}, {"a": False, "b": True}, {"a": False, "b": False})
    lose(workers, LostGpuError("worker a: broken", "a"))
    assert now == [1.0]


@pytest.mark.parametrize("there", [{"a": False}, {}, {"a": False, "b": True}])
def test_nobody_comes_in_the_place_of_a_dead_worker(monkeypatch, there):
    workers, now = looks(monkeypatch, there)
    with pytest.raises(LostGpuError, match=r"^worker a: broken; no other worker is left; see what nvidia-smi says"):
        lose(workers, LostGpuError("worker a: broken", "a"))
    assert now[0] == pytest.approx(waiting.NO_WORKER_SECONDS, abs=1)


def test_nobody_is_waited_for_if_all_gpus_are_lost(monkeypatch):
    workers, now = looks(monkeypatch, {"a": False, "b": False})
    workers.lost = {"b"}
    with pytest.raises(LostGpuError, match="no other worker is left"):
        lose(workers, LostGpuError("worker a: broken", "a"))
    assert now == [0.0]
