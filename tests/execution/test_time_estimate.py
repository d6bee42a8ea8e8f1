"""How long a run would take. The cluster is a stand-in that does shards in this process, by a clock of its own."""

from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from agg_pipeline.execution import run_workers, time_estimate
from agg_pipeline.execution.chain import Chain, CpuStage, Done, ModelStage, Times
from agg_pipeline.execution.job import Job
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.execution.time_estimate import MaskCount, count_masks, estimate_time
from schemas.config import PredictorConfig
from schemas.records import ImageEntry


@dataclass
class Clock:
    """Stands for the time module."""

    now: float = 1000.0

    def perf_counter(self):
        return self.now


def load(task):
    """Every image has as many masks as its annotation says; no more than the task's limit."""
    return [entry.image_id for entry in task.entries for _ in range(entry.annotation)][: task.limit]


CHAIN = Chain((CpuStage("load", load), ModelStage("predict", lambda masks: [masks], None, None, None)), None)


def tasks(*shards):
    """Shards of images with these numbers of masks."""
    return [
        ShardTask(
            index, "toy", tuple(ImageEntry(f"{index}-{n}", "", 1, masks) for n, masks in enumerate(shard)), None, None
        )
        for index, shard in enumerate(shards)
    ]


@pytest.fixture
def run(monkeypatch):
    """A run on a cluster: 3 s to start, a second per mask, shared by the workers; 10 s more for the first images."""
    clock, made, asked = Clock(), [], []
    monkeypatch.setattr(time_estimate, "time", clock)

    def estimated(shards, workers, masks, last=None):
        @contextmanager
        def cluster(scheduler, wanted, threads, _open_model, _device, _gpus):
            asked.append((scheduler, wanted, threads))
            clock.now += 3
            yield Running(workers)

        def run_shards(_running, chain, some, store, stamp):
            first = 0 if made else 10
            clock.now += sum(len(load(task)) for task in some) / workers + first
            made.append(some)
            for task in some:
                assert chain.write(None, store, stamp) == {}
                yield Done(task, {}, Times({"load": 1.0, "predict": len(load(task)) + first - 1.0}))

        def ask(_running, question):
            clock.now += question

        monkeypatch.setattr(run_workers, "cluster", cluster)
        monkeypatch.setattr(time_estimate, "run_shards", run_shards)
        monkeypatch.setattr(time_estimate, "ready", lambda running: running)
        monkeypatch.setattr(time_estimate, "ask", ask)
        job = Job(None, {}, shards, CHAIN, None, PredictorConfig(threads=3), "", None, None, last)
        return estimate_time(job, shards, masks, RunOptions("out", workers=5, scheduler="tcp://a"))

    return estimated, made, asked


@dataclass
class Running:
    workers: int

    def count(self):
        return self.workers


def test_masks_are_counted_as_the_run_does_them():
    assert count_masks(CHAIN, tasks([1, 2], [3])) == MaskCount(6, exact=True)
    assert count_masks(CHAIN, []) == MaskCount(0, exact=True)
    # Only the first four masks of the second shard are wanted.
    limited = [*tasks([1, 2]), replace(tasks([3, 3])[0], limit=4)]
    assert count_masks(CHAIN, limited) == MaskCount(7, exact=True)
    # 64 images of 128, spread over the run: half of each kind.
    assert count_masks(CHAIN, tasks([1] * 64, [3] * 64)) == MaskCount(256, exact=False)


def test_the_time_is_that_of_all_masks_with_the_workers_of_the_run(run):
    estimated, made, asked = run
    shards = tasks([1] * 16, [3] * 16)
    found = estimated(shards, 2, 64)
    assert asked == [("tcp://a", 5, 3)]
    # One image per worker took 12 s, 10 of which were needed once; no second sample would have been shorter than 8 s.
    assert [[len(task.entries) for task in some] for some in made] == [[1, 1]]
    assert (found.workers, found.images) == (2, 2)
    assert found.start == 3
    assert found.work == pytest.approx(64 * 12 / 4)


def test_fast_images_are_measured_again_when_the_workers_are_warm(run, monkeypatch):
    estimated, made, _ = run
    monkeypatch.setattr(time_estimate, "SECONDS", 60.0)
    found = estimated(tasks([1] * 16, [3] * 16), 2, 64)
    # Ten images, as two shards, because the run has two.
    assert [[len(task.entries) for task in some] for some in made] == [[1, 1], [5, 5]]
    assert found.images == 10
    assert found.work == pytest.approx(64 / 2, rel=0.01)
    assert found.start == pytest.approx(3 + 10)
    assert found.seconds == found.start + found.work


def test_the_last_question_to_the_model_is_asked_too(run):
    estimated, _, _ = run
    assert estimated(tasks([2, 2]), 1, 4, last=7).start == 10


def test_a_cluster_without_workers_gives_no_estimate(run):
    estimated, made, _ = run
    assert estimated(tasks([2, 2]), 0, 4).workers == 0
    assert made == []
