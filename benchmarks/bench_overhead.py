"""Everything but model forwards: CPU milliseconds per image and per proposal, 500x375, stub network, one thread."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import torch

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.execution.chain import ShardTask
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.proposals.pipeline import (
    load,
    run_complement,
    run_granularity,
    run_mask_engine,
    run_postprocess,
    write_shard,
)
from agg_pipeline.storage.store import Store
from benchmarks.stub import StubNetwork, stub_predictor, write_sbd
from schemas.config import ProposalsConfig

IMAGES = 48
"""Images per run."""
RUNS = 5
"""Runs; the medians are printed."""


class Stopwatch:
    """CPU seconds by stage, without those of the network."""

    def __init__(self, network: StubNetwork) -> None:
        self.seconds: dict[str, float] = {}
        self._network = network

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        before, started = self._network.cpu_seconds, time.process_time()
        yield
        spent = time.process_time() - started - (self._network.cpu_seconds - before)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + spent


def main() -> None:
    """Print the two numbers and where they come from."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_sbd(root / "sbd", IMAGES)
        dataset = open_dataset("sbd", str(root / "sbd"), "train")
        runs = [_run(dataset, Store(str(root / f"out{number}"))) for number in range(RUNS)]
    print(f"medians of {RUNS} runs over {IMAGES} images of 500x375, CPU milliseconds")
    for name in runs[0]:
        print(f"  {name:<42}{statistics.median(run[name] for run in runs):9.2f}")


def _run(dataset: Dataset, store: Store) -> dict[str, float]:
    config = ProposalsConfig()
    network = StubNetwork(224)
    model = stub_predictor(network)
    watch = Stopwatch(network)
    size = config.batch.images_per_shard
    proposals = 0
    for index, first in enumerate(range(0, IMAGES, size)):
        task = ShardTask(index, "sbd", dataset.entries[first : first + size], dataset.read, config)
        proposals += _run_shard(task, store, model, watch)
    per_image = watch.seconds.pop("load") / IMAGES * 1e3
    per_proposal = {stage: seconds / proposals * 1e3 for stage, seconds in watch.seconds.items()}
    return {
        "per image: load": per_image,
        "per proposal: all stages after load": sum(per_proposal.values()),
        **{f"  {stage}": value for stage, value in per_proposal.items()},
        "proposals per image": proposals / IMAGES,
        "forwards per proposal": model.forwards / proposals,
    }


def _run_shard(task: ShardTask[ProposalsConfig], store: Store, model: Predictor, watch: Stopwatch) -> int:
    """Run all stages over a shard; returns the number of proposals."""
    with watch.timed("load"):
        shard = load(task)
    with watch.timed("mask_engine"):
        shard = run_mask_engine(shard, model)
    with watch.timed("postprocess"):
        shard = run_postprocess(shard)
    with watch.timed("complement"):
        shard = run_complement(shard)
    with watch.timed("granularity"):
        shard = run_granularity(shard, model)
    with watch.timed("write"):
        write_shard(shard, store, "")
    return len(shard.estimates)


if __name__ == "__main__":
    main()
