"""Shards on a cluster of two workers: who makes what, and what is reported. The stages are toys, the workers real."""

import os
import signal
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue

import cv2
import dask
import numpy as np
import pyarrow as pa
import pytest
import torch

from agg_pipeline.execution import worker_tasks
from agg_pipeline.execution.chain import Advance, Chain, CpuStage, ModelStage, Times
from agg_pipeline.execution.cluster import cluster
from agg_pipeline.execution.lost_gpu import gpu_failed
from agg_pipeline.execution.scheduling import _Reported, ask, assigned, run_shards
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.execution.worker_tasks import PartReport
from agg_pipeline.storage.store import Store
from schemas.errors import StoppedError, UserError
from schemas.records import ImageEntry, ImageSummary


class Model:
    """Counts its forwards, half a second each, and splits every batch."""

    forward_seconds = 0.0
    splits = 0
    parameters = 0

    def predict(self, interactions):
        self.forward_seconds += 0.5
        self.splits += 1
        return interactions


@dataclass(frozen=True)
class State:
    """The ids of the images, and the workers that have predicted them."""

    task: ShardTask
    images: tuple
    pixels: dict
    workers: tuple = ()


def load(task):
    images = tuple(entry.image_id for entry in task.entries if entry.image_id not in task.excluded)
    return State(task, images, dict.fromkeys(images))


def cut(state):
    return [state.images[first : first + 2] for first in range(0, len(state.images), 2)]


def image_of(image_id):
    return ImageSummary(image_id, "", 1, 1, "", "")


def run(_state, batch, _pixels, model):
    return [os.getpid() for _ in model.predict(batch)]


def run_or_die(state, batch, pixels, model):
    if "0-7" in batch:
        os.kill(os.getpid(), signal.SIGKILL)
    return run(state, batch, pixels, model)


def run_or_lose_gpu(mark, state, batch, pixels, model):
    """The first worker that comes to an image of shard 1 loses its GPU for good."""
    if state.task.index == 1 and not mark.exists():
        mark.write_text(f"{os.getpid()}")
    if mark.exists() and mark.read_text() == f"{os.getpid()}":
        raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be ...")
    return run(state, batch, pixels, model)


def fill(state, results):
    return replace(state, workers=tuple(results))


def write(state, _store, config_hash):
    return {"config_hash": config_hash, "images": list(state.images), "workers": list(state.workers)}


CHAIN = Chain((CpuStage("load", load), ModelStage("predict", cut, image_of, run, fill)), write)


def tasks(*sizes):
    return [
        ShardTask(index, "toy", tuple(ImageEntry(f"{index}-{n}", "", 1, None) for n in range(size)), None, None)
        for index, size in enumerate(sizes)
    ]


@pytest.fixture(scope="module")
def workers():
    with cluster(None, 2, 1, Model) as running:
        yield running


def made(workers, *sizes, chain=CHAIN):
    """Shards in their order, and what was said of the images that are done."""
    said = []
    done = run_shards(workers, chain, tasks(*sizes), Store("memory://toy"), "hash", lambda *now: said.append(now))
    return sorted(done, key=lambda one: one.task.index), said


@pytest.fixture
def lost_gpu(tmp_path):
    """The file with the process whose GPU is lost, and a chain that loses it."""
    mark = tmp_path / "lost"
    return mark, replace(CHAIN, stages=(CHAIN.stages[0], replace(CHAIN.stages[1], run=partial(run_or_lose_gpu, mark))))


def test_a_worker_whose_gpu_fails_gets_nothing_more_and_another_one_makes_its_shards(lost_gpu, caplog):
    mark, chain = lost_gpu
    with cluster(None, 2, 1, Model) as running:
        done, _ = made(running, 2, 2, 2, 2, 2, chain=chain)
        assert (len(running.addresses()), running.count()) == (2, 1)
    assert [each.sidecar["images"] for each in done] == [[f"{n}-0", f"{n}-1"] for n in range(5)]
    assert int(mark.read_text()) not in done[1].sidecar["workers"]
    said = "the GPU failed at stage predict of shard 1 (CUDA error: unspecified launch failure); the other workers make"
    assert said in caplog.text


def test_a_run_whose_only_gpu_fails_says_so(lost_gpu):
    _, chain = lost_gpu
    # Of shard 1, or of another one that comes after it.
    said = r"^worker tcp://\S+: the GPU failed at stage predict of shard \d \(CUDA error: unspecified launch failure\)"
    with cluster(None, 1, 1, Model) as running, pytest.raises(StoppedError, match=said):
        made(running, 2, 2, 2, chain=chain)


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (torch.AcceleratorError("CUDA error: the launch timed out and was terminated"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), False),
        (RuntimeError("CUDA error: out of memory"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), False),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("CUDA error: not of torch"), False),
    ],
)
def test_errors_of_a_gpu_that_cannot_be_used_any_more(error, failed):
    assert gpu_failed(error) == failed


def test_a_single_shard_is_made_by_both_workers(workers):
    (done,), said = made(workers, 10)
    assert done.sidecar["images"] == [f"0-{n}" for n in range(10)]
    pids = done.sidecar["workers"]
    assert pids == [pids[0]] * 4 + [pids[-1]] * 6
    assert pids[0] != pids[-1]
    assert list(done.times.stages) == ["load", "predict", "write"]
    assert (done.times.forwards, done.times.splits) == (2.5, 5)
    assert said[-1][0] == 10


def test_as_many_shards_as_workers_are_made_by_one_worker_each(workers):
    shards, said = made(workers, 6, 6, 3)
    assert [len(one.sidecar["images"]) for one in shards] == [6, 6, 3]
    assert all(len(set(one.sidecar["workers"])) == 1 for one in shards)
    assert said[-1][0] == 15
    assert ask(workers, type) is Model


def test_an_image_that_kills_its_worker_is_found_in_a_shared_shard():
    deadly = Chain((CpuStage("load", load), ModelStage("predict", cut, image_of, run_or_die, fill)), write)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), cluster(None, 2, 1, Model) as workers:
        (done,), said = made(workers, 8, chain=deadly)
    assert done.task.excluded == {"0-7"}
    assert done.sidecar["images"] == [f"0-{n}" for n in range(7)]
    assert said[-1][0] == 8


@pytest.mark.parametrize(
    ("shards", "workers", "expected"),
    [
        ([32, 32, 32], "ab", ["", "", ""]),
        ([20], "ab", ["ab"]),
        ([20], "a", [""]),
        ([20], "", [""]),
        ([3], "abcdef", ["abc"]),
        # The larger shard by both, the smaller one by one of them.
        ([32, 8], "ab", ["ab", "a"]),
        ([32, 28], "abc", ["ab", "c"]),
        ([32, 32], "abcd", ["ab", "cd"]),
        ([], "ab", []),
    ],
)
def test_workers_that_share_a_shard(shards, workers, expected):
    assert assigned(shards, list(workers)) == [tuple(names) for names in expected]


def test_reports_are_shares_of_the_shard_and_at_most_two_a_second(monkeypatch):
    sent, now = [], [100.0]
    monkeypatch.setattr(worker_tasks, "send", lambda run, message: sent.append((run, message)))
    monkeypatch.setattr(worker_tasks.time, "monotonic", lambda: now[0])
    report = PartReport("agg-1", 7, "predict-0", 0.25)
    for seconds, share, batches in ((0, 0.0, 0), (0.4, 0.1, 1), (0.5, 0.5, 2), (0.9, 0.75, 3), (3, 1.0, 4)):
        now[0] = 100 + seconds
        report.update(Advance(share, batches))
    report.send()
    expected = [(0.0, 0), (0.125, 2), (0.25, 4), (0.25, 4)]
    assert sent == [("agg-1", (7, "predict-0", share, batches)) for share, batches in expected]


class Messages:
    """Stands for the workers of a run: its messages come from the test."""

    def __init__(self):
        self.queue = SimpleQueue()
        self.listen = lambda: self.queue


def test_reports_of_a_redone_part_take_the_place_of_those_before():
    workers = Messages()
    reported = _Reported(workers)
    assert not reported.update()
    first, second = tasks(8, 4)
    for message in ((0, "a-0", 0.25, 2), (0, "a-1", 0.125, 1), (1, "a-0", 0.5, 1)):
        workers.queue.put(message)
    assert reported.update()
    assert (reported.images([first]), reported.images([first, second]), reported.batches) == (3, 5, 4)
    # The worker has died; its part begins again.
    workers.queue.put((0, "a-0", 0.0, 0))
    workers.queue.put((0, "a-0", 0.25, 1))
    reported.update()
    assert (reported.images([first]), reported.batches) == (3, 5)


def test_times_of_a_stage_in_parts_add_up():
    stage = CHAIN.stages[1]
    parts = [([1], Times({"predict": 1.0}, 0.5)), ([2, 3], Times({"predict": 2.0}, 1.0))]
    before = load(tasks(3)[0])
    state, times = worker_tasks.join_parts(stage, (before, Times({"load": 4.0}, 0.0)), *parts)
    assert state == replace(before, workers=(1, 2, 3))
    assert times == Times({"load": 4.0, "predict": 3.0}, 1.5)


ERRORS = {
    "memory": (
        MemoryError("x"),
        "there is not enough memory for {} of shard 0; use fewer --workers or smaller --batch-ob",
    ),
    "numpy": (np.exceptions.AxisError("x"), None),
    "torch": (
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        "there is not enough memory for {} of shard 0;",
    ),
    "opencv": (
        cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes"),
        "there is not enough memory for {} of ",
    ),
    "arrow": (pa.ArrowInvalid("broken\nmore"), "{} of shard 0 failed: broken"),
    "system": (BlockingIOError(11, "Resource temporarily unavailable"), "{} of shard 0 failed: Resource temporarily "),
    "device": (RuntimeError("CUDA error: \x1b[31mx\ny"), "the GPU failed at {} of shard 0 (CUDA error: \\x1b[31mx"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_of_libraries_name_the_shard(kind):
    error, said = ERRORS[kind]

    def fail(*_):
        raise error

    started = ShardTask(0, "toy", (), None, None), Times()
    calls = {
        "stage load": lambda: worker_tasks.run_cpu_stage(CpuStage("load", fail), started),
        "stage join": lambda: worker_tasks.join_parts(ModelStage("join", cut, image_of, run, fail), started),
        "writing": lambda: worker_tasks.write(Chain((), fail), Store("x"), "", started),
    }
    for what, call in calls.items():
        with pytest.raises(UserError if said else type(error)) as found:
            call()
        if said:
            assert str(found.value).startswith(said.format(what))
            assert "\n" not in str(found.value)


def fail_to_load(_task):
    raise RuntimeError("std::bad_alloc")


def test_a_worker_without_memory_is_named(tmp_path):
    chain = Chain((CpuStage("load", fail_to_load),), write)
    with (
        cluster(None, 1, 1, Model) as workers,
        pytest.raises(
            UserError, match=r"^worker tcp://\S+: there is not enough memory for stage load of shard 0; use fe"
        ),
    ):
        list(run_shards(workers, chain, tasks(1), Store(str(tmp_path)), "hash"))
