"""A run goes on without a worker whose GPU has failed; the GPUs are names in a list, the workers real processes."""

import os
import signal
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from agg_pipeline.execution import waiting
from agg_pipeline.execution.cluster import cluster
from agg_pipeline.execution.lost_gpu import LostGpuError
from agg_pipeline.execution.waiting import lose, ready
from agg_pipeline.execution.workers import WorkerState
from agg_pipeline.models.backend import VISIBLE, NoGpuError
from tests.execution.test_scheduling import CHAIN, Model, made, run, run_or_lose_gpu


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


def open_unless_gone(folder, error):
    """The model cannot be opened on the GPU whose worker has died."""
    gone = folder / "gone"
    if gone.exists() and gone.read_text() == os.environ[VISIBLE]:
        raise error
    return Model()


def die_with_gpu(folder, state, batch, pixels, model):
    """The worker of shard 2 dies, and its GPU is gone."""
    gone = folder / "gone"
    if state.task.index == 2 and not gone.exists():
        gone.write_text(os.environ[VISIBLE])
        os.kill(os.getpid(), signal.SIGKILL)
    return run(state, batch, pixels, model)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoGpuError("device 'cuda' was asked for"), "finds no GPU that it can use; the other workers make its shards"),
        (
            RuntimeError("CUDA error: no CUDA-capable device is detected\nmore"),
            "cannot open the model (CUDA error: no CUDA-capable device is detected); the other workers make its shards",
        ),
    ],
)
def test_a_worker_that_dies_with_its_gpu_is_a_lost_gpu(tmp_path, caplog, error, said):
    chain = chain_with(partial(die_with_gpu, tmp_path))
    with cluster(None, 2, 1, partial(open_unless_gone, tmp_path, error), "cpu", ["0", "1"]) as running:
        running = ready(running)
        done, _ = made(running, *[2] * 5, chain=chain)
        assert [each.sidecar["images"] for each in done] == [[f"{n}-0", f"{n}-1"] for n in range(5)]
        while len(running.addresses()) < 2:
            time.sleep(0.1)
        # A worker that has just come takes no task yet.
        for address in running.addresses():
            running.client.submit(os.getpid, workers=[address], pure=False).result()
        # Both share a single shard.
        (last,), _ = made(running, 10, chain=chain)
        assert (len(last.sidecar["images"]), running.count()) == (10, 1)
    assert said in caplog.text


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
