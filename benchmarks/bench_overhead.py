"""Everything but model forwards: CPU milliseconds per image and per proposal, 500x375, stub network, one thread."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import torch

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.shard_files import Stamp, publish
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.proposals.pipeline import chain, write_shard
from agg_pipeline.storage.store import Store
from benchmarks.stub import StubNetwork, stub_predictor, write_sbd
from schemas.config import ProposalsConfig

IMAGES = 48
RUNS = 5


def main() -> None:
    """Print the two numbers and where they come from."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_sbd(root / "sbd", IMAGES)
        runs = [_run(root, number) for number in range(RUNS)]
    print(f"medians of {RUNS} runs over {IMAGES} images of 500x375, CPU milliseconds")
    names = runs[0].keys()
    for name in names:
        print(f"  {name:<42}{statistics.median(run[name] for run in runs):9.2f}")


def _run(root: Path, number: int) -> dict[str, float]:
    config = ProposalsConfig()
    dataset = open_dataset("sbd", str(root / "sbd"), "train")
    network = StubNetwork(224)
    model = stub_predictor(network)
    store = Store(str(root / f"out{number}"))
    seconds = dict.fromkeys(("load", "mask_engine", "postprocess", "complement", "granularity", "write"), 0.0)
    proposals = images = 0
    for index, first in enumerate(range(0, IMAGES, config.batch.images_per_shard)):
        entries = dataset.entries[first : first + config.batch.images_per_shard]
        task = ShardTask(index, "sbd", entries, dataset.read, config)
        shard: Any = task
        for stage in chain(config).stages:
            before, started = network.cpu_seconds, time.process_time()
            shard = run_stages([stage], shard, model)
            seconds[stage.name] += time.process_time() - started - (network.cpu_seconds - before)
        started = time.process_time()
        publish(store, write_shard(shard, store, Stamp("", {})))
        seconds["write"] += time.process_time() - started
        images += len(entries)
        proposals += len(shard.estimates)
    per_proposal = sum(seconds.values()) - seconds["load"]
    return {
        "per image: load": seconds["load"] / images * 1e3,
        "per proposal: all stages after load": per_proposal / proposals * 1e3,
        **{f"  {name}": value / proposals * 1e3 for name, value in seconds.items() if name != "load"},
        "proposals per image": proposals / images,
        "forwards per proposal": model.forwards / proposals,
    }


if __name__ == "__main__":
    main()
