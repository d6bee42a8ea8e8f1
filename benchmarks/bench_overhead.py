"""Everything but model forwards: milliseconds per image and per proposal, one core, 500x375, stub network."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import cv2
import torch

from agg_pipeline import shard as stages_of
from agg_pipeline.database import write_shard
from agg_pipeline.datasets.sbd import open_sbd
from agg_pipeline.rows import tables
from agg_pipeline.shard import ShardTask
from agg_pipeline.storage import Store
from benchmarks.stub import open_stub, write_sbd
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
    print(f"medians of {RUNS} runs over {IMAGES} images of 500x375, milliseconds")
    names = runs[0].keys()
    for name in names:
        print(f"  {name:<42}{statistics.median(run[name] for run in runs):9.2f}")


def _run(root: Path, number: int) -> dict[str, float]:
    config = ProposalsConfig()
    dataset = open_sbd(str(root / "sbd"), "train")
    model = open_stub(224)
    store = Store(str(root / f"out{number}"))
    seconds = dict.fromkeys(("load", "mask_engine", "postprocess", "complement", "granularity", "write"), 0.0)
    proposals = images = 0
    for index, first in enumerate(range(0, IMAGES, config.batch.images_per_shard)):
        entries = dataset.entries[first : first + config.batch.images_per_shard]
        shard = stages_of.load(task := ShardTask(index, "sbd", entries, dataset.read, config))
        started = time.perf_counter()
        shard = stages_of.load(task)
        seconds["load"] += time.perf_counter() - started
        for name, stage in (
            ("mask_engine", lambda shard: stages_of.run_mask_engine(shard, model)),
            ("postprocess", stages_of.run_postprocess),
            ("complement", stages_of.run_complement),
            ("granularity", lambda shard: stages_of.run_granularity(shard, model)),
        ):
            before, started = model.forward_seconds, time.perf_counter()
            shard = stage(shard)
            seconds[name] += time.perf_counter() - started - (model.forward_seconds - before)
        started = time.perf_counter()
        write_shard(store, index, len(entries), "", tables(shard))
        seconds["write"] += time.perf_counter() - started
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
